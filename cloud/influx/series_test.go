package influx

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// A hall as the series limit counts it.
var (
	hallCameras = []string{"hall", "door"}
	hallZones   = []string{"queue", "counter", "rest", "area"} // two of each camera
)

// hallPoints has a point in each series that a hall with 2 cameras and 4 zones can
// have.
func hallPoints(store string, at floorwatch.Time) (all []Point) {
	put := func(rec floorwatch.Record) {
		all = append(all, Point{Store: store, Edge: "box", Log: testLog, Seq: uint64(len(all) + 1), Record: rec})
	}
	header := func(kind, camera, zone string) floorwatch.Header {
		return floorwatch.Header{Kind: kind, Camera: camera, Zone: zone, At: at}
	}
	put(&floorwatch.Health{Header: header(floorwatch.KindHealth, "", ""), Figures: map[string]float64{"uptime_s": 1}})
	put(&floorwatch.Gap{Header: header(floorwatch.KindGap, "", ""), Of: floorwatch.OfRecords, Log: testLog, First: 1, N: 1})
	for i, camera := range hallCameras {
		put(&floorwatch.Health{Header: header(floorwatch.KindHealth, camera, ""), Figures: map[string]float64{"frames": 1}})
		put(&floorwatch.Gap{Header: header(floorwatch.KindGap, camera, ""), Of: floorwatch.OfFootage, From: at, To: &at})
		put(&floorwatch.Count{Header: header(floorwatch.KindCount, camera, ""), Line: "door", Start: at, End: at + 1})
		for _, zone := range hallZones[2*i : 2*i+2] {
			put(&floorwatch.Stay{Header: header(floorwatch.KindStay, camera, zone), Enter: at, Exit: &at})
			put(&floorwatch.Wait{Header: header(floorwatch.KindWait, camera, zone), Enter: at, End: &at})
			put(&floorwatch.Interval{Header: header(floorwatch.KindInterval, camera, zone), Start: at, End: at + 1})
			put(&floorwatch.Alert{Header: header(floorwatch.KindAlert, camera, zone), Level: "warning", Since: at})
		}
	}
	return all
}

// TestSeriesOfTenThousandHalls: what they have at once is a quarter of the limit at
// most, so that cameras and zones may be renamed and boxes replaced.
func TestSeriesOfTenThousandHalls(t *testing.T) {
	series := map[string]bool{}
	for _, p := range hallPoints("s1", t0) {
		line, err := appendLine(nil, p)
		kit.Must(t, err)
		name, _, _ := strings.Cut(string(line), " ")
		series[name] = true
	}
	if len(series) != 24 {
		t.Errorf("a hall has %d series; docs/deploy.md says 24", len(series))
	}
	if n := 10_000 * len(series); n > maxSeries/4 {
		t.Errorf("10,000 halls have %d series, the limit is %d", n, maxSeries)
	}
}

// TestManySeriesAreTaken writes more than the 100,000 that once were the limit of
// the child: with another index it would refuse them.
func TestManySeriesAreTaken(t *testing.T) {
	kit.Long(t)
	s := &Server{Bin: kit.Tool(t, "influxd"), Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	_, err := s.WaitReady(ctx)
	kit.Must(t, err)
	c := &Client{Endpoint: s.Endpoint}
	defer c.Close()
	w, err := c.writer()
	kit.Must(t, err)
	for part := range 11 {
		var lines strings.Builder
		for i := range 10_000 {
			fmt.Fprintf(&lines, "health,edge=box,store=hall-%06d f_uptime_s=1\n", 10_000*part+i)
		}
		kit.Must(t, w.WriteRecord(ctx, lines.String()))
	}
}
