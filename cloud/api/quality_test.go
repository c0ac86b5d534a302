package api

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/waits"
)

// doubtful is tenMinutes with a first interval of quality 0.5 and a second one of
// 0.9; in the first, a and b ended, in the second c and d.
func doubtful() *memory {
	m := tenMinutes()
	for i := range m.intervals {
		m.intervals[i].Quality = []float64{0.5, 0.9}[i/2]
		m.intervals[i].Crossings = floorwatch.Sum{N: 2, Sum: 150, Min: 50, Max: 100}
	}
	return m
}

func TestMinQualityOfRecords(t *testing.T) {
	h := queueHandler(doubtful())
	base := t0.Floor(5 * time.Minute)
	span := "&zone=line&from=" + ms(base) + "&to=" + ms(base.Add(10*time.Minute))
	// Of five waits one is of an older rev, which no list has.
	type answer struct {
		Waits   []waitView      `json:"waits"`
		LeftOut figures.LeftOut `json:"left_out"`
	}
	for quality, want := range map[string][2]int{"": {4, 0}, "0": {4, 0}, "0.5": {4, 0}, "0.7": {2, 2}, "0.9": {2, 2}, "1": {0, 4}} {
		got := decode[answer](t, get(t, h, "/api/waits?min_quality="+quality+span))
		if len(got.Waits) != want[0] || got.LeftOut.Records != want[1] {
			t.Errorf("min_quality %q: %d waits, %d left out, want %v", quality, len(got.Waits), got.LeftOut.Records, want)
		}
	}
	for _, quality := range []string{"-0.1", "1.1", "NaN", "good", "0.5&min_quality=0.6"} {
		if w := get(t, h, "/api/waits?min_quality="+quality+span); w.Code != http.StatusBadRequest {
			t.Errorf("min_quality %s: status %d", quality, w.Code)
		}
	}
	w := get(t, h, "/api/waits?format=csv&min_quality=0.7"+span)
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 3 || w.Header().Get("Floorwatch-Left-Out") != "2" {
		t.Errorf("%d rows, header %q, %v", len(rows), w.Header().Get("Floorwatch-Left-Out"), err)
	}
	for _, column := range []string{"bridged_s", "bridges", "standard_error_s"} {
		if !strings.Contains(strings.Join(rows[0], ","), column) {
			t.Errorf("no column %s in %v", column, rows[0])
		}
	}
	intervals := decode[struct {
		Intervals []floorwatch.Interval `json:"intervals"`
	}](t, get(t, h, "/api/intervals?min_quality=0.7"+span))
	if len(intervals.Intervals) != 1 || intervals.Intervals[0].Quality != 0.9 {
		t.Errorf("%+v", intervals)
	}
}

func TestMinQualityOfFigures(t *testing.T) {
	h := queueHandler(doubtful())
	base := t0.Floor(5 * time.Minute)
	span := "&zone=line&from=" + ms(base) + "&to=" + ms(base.Add(10*time.Minute))
	all := decode[figures.WaitSummary](t, get(t, h, "/api/waits/summary?min_quality=0"+span))
	near(t, "quality, by observed time", all.Quality, (0.5*300+0.9*150)/450)
	near(t, "crossings", all.Little.CrossingS, 75)
	if all.LeftOut != (figures.LeftOut{}) || all.Little.Crossings != 4 || all.Realised == nil || all.Realised.People == 0 {
		t.Errorf("%+v", all)
	}
	good := decode[figures.WaitSummary](t, get(t, h, "/api/waits/summary?min_quality=0.7"+span))
	if good.LeftOut.Records != 2 || good.LeftOut.ObservedS != 300 || good.ObservedS != 150 || good.Finished.Waits.N != 1 || *good.Quality != *all.Quality {
		t.Errorf("%+v", good)
	}
	near(t, "mean", good.Finished.Waits.MeanS, 120)
	series := decode[figures.WaitSeries](t, get(t, h, "/api/waits/series?step=300&min_quality=0.7"+span)).Zones[0]
	near(t, "left out", series.LeftOut[0], 1)
	near(t, "left out", series.LeftOut[1], 0)
	near(t, "quality", series.Quality[0], 0.5)
	near(t, "realised", series.Realised[1], 120)
	if series.Mean[0] != nil || series.Realised[0] != nil || series.N[1] == nil || *series.N[1] != 1 {
		t.Errorf("%+v", series)
	}
	zone := decode[figures.Series](t, get(t, h, "/api/series?step=300&camera=cam&min_quality=0.7"+span)).Zones[0]
	near(t, "coverage", zone.Coverage[0], 0)
	near(t, "left out", zone.LeftOut[0], 1)
	if zone.Occupancy[0] != nil || zone.Occupancy[1] == nil {
		t.Errorf("%+v", zone)
	}
}

func TestCompareEndpoint(t *testing.T) {
	m := &memory{}
	base := floorwatch.Time(1_749_960_000_000) // ten hours before t0
	for day := range 2 {
		from := base.Add(time.Duration(day) * 4 * time.Hour)
		iv := floorwatch.Interval{Start: from, End: from.Add(4 * time.Hour), ObservedS: 4 * 3600, Quality: 0.8 + 0.1*float64(day)}
		iv.Camera, iv.Zone, iv.Rev = "cam", "line", "r"
		m.intervals = append(m.intervals, iv)
		for i := range 100 {
			end := float64(from-t0)/1000 + float64(i)*120 + 60
			m.waits = append(m.waits, atWait("w", end-100-float64(i%7)-300*float64(day), end, floorwatch.OutcomeServed))
		}
	}
	h := queueHandler(m)
	span := "from=" + ms(base) + "&to=" + ms(base.Add(4*time.Hour)) + "&b_from=" + ms(base.Add(4*time.Hour)) + "&b_to=" + ms(base.Add(8*time.Hour))
	got := decode[figures.WaitComparison](t, get(t, h, "/api/compare?"+span))
	near(t, "mean", got.Mean.ByS, 300)
	near(t, "median", got.Median.ByS, 300)
	if !got.Mean.Clear || got.A.N != 100 || got.B.N != 100 || got.A.Coverage != 1 || got.A.Blocks != 8 || got.BlockS != waits.Block.Seconds() {
		t.Errorf("%+v", got)
	}
	near(t, "quality", got.B.Quality, 0.9)
	if got := decode[figures.WaitComparison](t, get(t, h, "/api/compare?min_quality=0.85&"+span)); got.A.N != 0 || got.A.LeftOut.Records != 100 || got.Mean.ByS != nil || got.B.N != 100 {
		t.Errorf("%+v", got)
	}
	for query, want := range map[string]int{
		"b_zone=nobody": http.StatusNotFound, "b_store=s2": http.StatusNotFound, "b_from=x": http.StatusBadRequest, "b_zone=line": http.StatusOK,
	} {
		w := get(t, h, "/api/compare?from="+ms(base)+"&to="+ms(base.Add(4*time.Hour))+"&"+query)
		if w.Code != want {
			t.Errorf("%s: status %d, want %d: %s", query, w.Code, want, w.Body)
		}
	}
}
