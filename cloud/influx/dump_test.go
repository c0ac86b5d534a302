package influx

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// TestDump copies a database at work, puts it into a new one, and finds every
// record there that was confirmed before.
func TestDump(t *testing.T) {
	c := client(t)
	day := floorwatch.Time(86_400_000)
	var points []Point
	for i := range 3000 { // over several shards
		end := t0 + floorwatch.Time(i)*day/100
		points = append(points, Point{"dumped", "b1", testLog, uint64(i + 1), stay("queue", end-5000, end, "")})
	}
	backlog := 90.0
	points = append(points, Point{"dumped", "b1", testLog, 4000, &floorwatch.Health{
		Header: floorwatch.Header{Kind: floorwatch.KindHealth, At: t0 + 30*day}, Figures: map[string]float64{string(floorwatch.FigureBacklog): backlog},
	}}, Point{"dumped", "b1", testLog, 4001, &floorwatch.Interval{
		Header: floorwatch.Header{Kind: floorwatch.KindInterval, Camera: "hall", Zone: "queue", At: t0}, Start: t0, End: t0 + 300_000,
	}}, Point{"dumped", "b2", testLog, 1, &floorwatch.Interval{
		Header: floorwatch.Header{Kind: floorwatch.KindInterval, Camera: "hall", Zone: "queue", At: t0}, Start: t0, End: t0 + 60_000,
	}})
	kit.Must(t, c.Write(t.Context(), points))
	census := func(c *Client) map[string]int64 {
		n, err := c.Census(t.Context(), t0, t0+40*day)
		kit.Must(t, err)
		return n
	}
	before := census(c)
	if before[floorwatch.KindStay] < 3000 || before[floorwatch.KindHealth] < 1 {
		t.Fatalf("counted %v", before)
	}
	other := &Server{Dir: shared.Dir}
	at, rpc, err := other.Running()
	kit.Must(t, err)
	if want, _ := shared.Endpoint(); at != want {
		t.Errorf("another process hears of %v, want %v", at, want)
	}
	dir := filepath.Join(t.TempDir(), "dump")
	kit.Must(t, Dump(t.Context(), shared.Bin, rpc, DefaultDatabase, dir))
	if err := Dump(t.Context(), shared.Bin, rpc, "nowhere", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a database that is not there was copied")
	}
	if err := Dump(t.Context(), shared.Bin, "127.0.0.1:1", DefaultDatabase, dir); err == nil || !strings.Contains(err.Error(), "start it, or the cloud") {
		t.Errorf("%v", err)
	}

	into := &Server{Bin: shared.Bin, Dir: filepath.Join(t.TempDir(), "influx"), Seed: dir}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- into.Run(ctx) }()
	defer func() { cancel(); <-done }()
	ready, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	_, err = into.WaitReady(ready)
	kit.Must(t, err)
	restored := &Client{Endpoint: into.Endpoint}
	t.Cleanup(restored.Close)
	if after := census(restored); !maps.Equal(after, before) {
		t.Errorf("put back: %v, want %v", after, before)
	}
	settled, err := restored.SettledOf(t.Context())
	kit.Must(t, err)
	for _, want := range []Settled{{"dumped", "b1", t0 + 30*day - 90_000, 300_000}, {"dumped", "b2", 0, 60_000}} {
		if !slices.Contains(settled, want) {
			t.Errorf("%+v is not among %+v", want, settled)
		}
	}
}
