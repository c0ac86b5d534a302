package api

import (
	"context"
	"encoding/csv"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/waits"
)

func queueHandler(m figures.Reader) http.Handler {
	return New(Settings{
		Sites: shop("",
			camera("cam", floorwatch.Scene{Zones: []floorwatch.Zone{
				{Name: "line", Role: floorwatch.RoleQueue},
				{Name: "till-1", Role: floorwatch.RoleService, Serves: []string{"line"}},
				{Name: "till-2", Role: floorwatch.RoleService},
				{Name: "other", Role: floorwatch.RoleService, Serves: []string{"else"}},
			}}),
			camera("hall", floorwatch.Scene{Zones: []floorwatch.Zone{{Name: "z"}}}),
		),
		Figures: m, Now: func() time.Time { return t0.Add(10 * time.Minute).Time() },
	})
}

// atWait makes a wait of the zone line, in seconds after t0.
func atWait(id string, enter, end float64, outcome string) floorwatch.Wait {
	at := func(s float64) floorwatch.Time { return t0 + floorwatch.Time(s*1000) }
	return floorwatch.Wait{
		Header: floorwatch.Header{Kind: floorwatch.KindWait, Camera: "cam", Zone: "line", ID: id, Rev: "r"},
		Enter:  at(enter), End: new(at(end)), Outcome: outcome, EnterSeen: true,
	}
}

// tenMinutes is a queue of two intervals, the second one half observed, in which
// one person still waits.
func tenMinutes() *memory {
	base := t0.Floor(5 * time.Minute)
	rel := (base - t0).Time().Sub(floorwatch.Time(0).Time()).Seconds()
	m := &memory{waits: []floorwatch.Wait{
		atWait("a", rel+10, rel+70, floorwatch.OutcomeServed),
		atWait("b", rel+20, rel+40, floorwatch.OutcomeAbandoned),
		atWait("c", rel+200, rel+320, floorwatch.OutcomeServed),
		atWait("d", rel+330, rel+350, floorwatch.OutcomeUnknown),
	}}
	other := m.waits[0]
	other.Zone = "elsewhere"
	old := m.waits[0]
	old.Rev = "before"
	m.waits = append(m.waits, other, old)
	for i, v := range []struct {
		observed, person       float64
		arrived, departed, ins int64
	}{{300, 180, 3, 2, 1}, {150, 60, 2, 1, 1}} {
		iv := floorwatch.Interval{Start: base.Add(time.Duration(i) * 5 * time.Minute)}
		iv.End = iv.Start.Add(5 * time.Minute)
		iv.Camera, iv.Zone, iv.Rev = "cam", "line", "r"
		iv.ObservedS, iv.PersonS, iv.Arrived, iv.Departed, iv.Inside = v.observed, v.person, v.arrived, v.departed, v.ins
		till := iv
		till.Zone, till.PersonS = "till-1", 90
		m.intervals = append(m.intervals, iv, till)
	}
	service := stay("till-1", base.Add(70*time.Second), 45)
	service.Camera, service.Rev, service.EnterSeen, service.ExitSeen = "cam", "r", true, true
	m.stays = append(m.stays, service)
	return m
}

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-3 {
		t.Errorf("%s: %v, want %v", what, deref(got), want)
	}
}

func deref(v *float64) any {
	if v == nil {
		return "nothing"
	}
	return *v
}

func TestWaitSummary(t *testing.T) {
	h := queueHandler(tenMinutes())
	base := t0.Floor(5 * time.Minute)
	span := "&from=" + ms(base) + "&to=" + ms(base.Add(10*time.Minute))
	got := decode[figures.WaitSummary](t, get(t, h, "/api/waits/summary?target=60"+span))
	if got.Cohort != "finished" || got.Zone != "line" || got.Camera != "cam" || got.Began != nil || got.SettledTo != base.Add(10*time.Minute) {
		t.Fatalf("%+v", got)
	}
	f := got.Finished
	if f.Waits.N != 3 || f.Served != 2 || f.Abandoned != 1 || f.Unknown != 1 || *f.Waits.Over != 1 || *got.Judged.WhatIfS != 60 {
		t.Errorf("%+v", f)
	}
	near(t, "mean", f.Waits.MeanS, 200.0/3)
	if got := decode[figures.WaitSummary](t, get(t, h, "/api/waits/summary?"+span[1:])); got.Finished.Waits.Over != nil || got.Finished.TargetS != nil ||
		got.Judged.WhatIfS != nil || len(got.Judged.Standard) != 1 || got.Judged.Standard[0].Wait != nil {
		t.Errorf("judged where nobody set a target: %+v %+v", got.Judged, got.Finished)
	}
	near(t, "coverage", &got.Coverage, 0.75)
	near(t, "little", got.Little.WaitS, 80)
	near(t, "disagreement", got.Little.Disagreement, 0.2)
	near(t, "service", got.Service.Times.MeanS, 45)
	near(t, "per hour", got.Service.PerHour, 2*3600/450.0)
	if got.Running.N != 1 || got.Service.BusyS != 180 {
		t.Errorf("%+v %+v", got.Running, got.Service)
	}
	near(t, "running since the middle of its interval", got.Running.LongestS, 150)

	began := decode[figures.WaitSummary](t, get(t, h, "/api/waits/summary?cohort=began&zone=line&target=60"+span)).Began
	if began == nil || began.N != 5 || began.Ended != 3 || began.Running != 1 || began.Unknown != 1 || !began.LastCensored {
		t.Fatalf("%+v", began)
	}
	near(t, "over", began.OverShare, 4.0/5*2/3) // of 5, one ends at 20 s; one of 3 at 60 s
	if dark := decode[figures.WaitSummary](t, get(t, h, "/api/waits/summary?from="+ms(t0-9e8)+"&to="+ms(t0-8e8))); dark.Finished != nil || dark.Coverage != 0 {
		t.Errorf("figures without coverage: %+v", dark)
	}
}

func TestWaitSeriesAndRecords(t *testing.T) {
	h := queueHandler(tenMinutes())
	base := t0.Floor(5 * time.Minute)
	span := "from=" + ms(base) + "&to=" + ms(base.Add(15*time.Minute))
	got := decode[figures.WaitSeries](t, get(t, h, "/api/waits/series?"+span))
	if got.StepS != 300 || len(got.Zones) != 1 || len(got.Zones[0].T) != 3 || got.QuantileMethod != waits.QuantileMethod {
		t.Fatalf("%+v", got)
	}
	z := got.Zones[0]
	near(t, "mean", z.Mean[0], 40)
	near(t, "p90", z.P90[1], 120)
	near(t, "little", z.Little[0], 90)
	near(t, "disagreement", z.Disagree[1], -0.5)
	near(t, "coverage", z.Coverage[1], 0.5)
	near(t, "unknown", z.Unknown[1], 1)
	near(t, "queue", z.Queue[1], 0.4)
	if z.Mean[2] != nil || !z.Pending[2] || z.Coverage[2] != nil {
		t.Error("a bucket that has not settled has figures")
	}
	short := decode[figures.WaitSeries](t, get(t, h, "/api/waits/series?step=60&"+span))
	if short.StepS != 300 {
		t.Errorf("buckets of %v s out of intervals of 300 s", short.StepS)
	}
	rows, err := csv.NewReader(get(t, h, "/api/waits/series?format=csv&"+span).Body).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][7] != "finished" || rows[1][10] != "40" {
		t.Errorf("%v %v", rows, err)
	}
	list := decode[struct{ Waits []waitView }](t, get(t, h, "/api/waits?zone=line&limit=2&"+span)).Waits
	if len(list) != 2 || list[0].ID != "d" || list[1].WaitS != 120 {
		t.Errorf("%+v", list)
	}
	w := get(t, h, "/api/waits?format=csv&zone=line&"+span)
	if !strings.Contains(w.Body.String(), "wait_s,outcome") || strings.Count(w.Body.String(), "\n") != 5 || w.Header().Get("Floorwatch-Redrawn") == "" { // without the one before the zone was redrawn
		t.Errorf("%s", w.Body)
	}
}

func TestWaitParameters(t *testing.T) {
	with := queueHandler(tenMinutes())
	for target, want := range map[string]int{
		"/api/waits": 200, "/api/waits/series": 200, "/api/waits/summary": 200,
		"/api/waits/summary?zone=till-1":          404, // no queue
		"/api/waits/summary?camera=hall":          404,
		"/api/waits/summary?cohort=all":           400,
		"/api/waits/summary?target=-1":            400,
		"/api/waits/summary?target=x":             400,
		"/api/waits/series?step=7":                400,
		"/api/waits/series?camera=hall":           200, // no queue zones: no columns
		"/api/waits?format=xml":                   400,
		"/api/waits/summary?cohort=a&cohort=b":    400,
		"/api/waits/none":                         404,
		"/api/waits/series?from=0":                400,
		"/api/waits/summary?from=1&to=99999999":   200, // near 1970: nothing was observed
		"/api/waits?zone=line&from=1750000000000": 200,
	} {
		if w := get(t, with, target); w.Code != want {
			t.Errorf("%s: %d, want %d: %s", target, w.Code, want, w.Body)
		}
	}
}

// manyIntervals is what a database may answer at most.
const manyIntervals = 100_000

// crowded answers as a database does that gives at most so many rows.
type crowded struct{ *memory }

func (c crowded) Intervals(ctx context.Context, q influx.Query) ([]floorwatch.Interval, error) {
	all, err := c.memory.Intervals(ctx, q)
	return all[:min(len(all), q.Limit)], err
}

// TestManyIntervalsAreReadZoneByZone: an answer that was cut must not look like
// a time without observation.
func TestManyIntervalsAreReadZoneByZone(t *testing.T) {
	m := &memory{}
	from := (t0 - 7*24*3600_000).Floor(24 * time.Hour)
	for i := range manyIntervals * 3 / 5 {
		at := from + floorwatch.Time(i)*10_000
		for _, zone := range []string{"line", "till-1"} {
			m.intervals = append(m.intervals, floorwatch.Interval{
				Header: floorwatch.Header{Camera: "cam", Zone: zone, Rev: "r"}, Start: at, End: at + 10_000, ObservedS: 10, Coverage: 1,
			})
		}
	}
	h := queueHandler(crowded{m})
	to := from + floorwatch.Time(manyIntervals)*3/5*10_000
	got := decode[figures.Series](t, get(t, h, "/api/series?camera=cam&step=86400&from="+ms(from)+"&to="+ms(to)))
	for _, z := range got.Zones[:2] {
		near(t, z.Zone+" on its first day", z.Coverage[0], 1)
		near(t, z.Zone+" on its sixth day", z.Coverage[5], 1)
	}
}

func TestWaitEvents(t *testing.T) {
	live := fleet.NewLive()
	hub := NewHub(live)
	h := New(Settings{Figures: &memory{}, Hub: hub})
	sc := stream(t, h)
	wantLine(t, sc, "event: ping")
	x := atWait("a", 1, 3.5, floorwatch.OutcomeServed)
	hub.PublishStored("s1", "box", []floorwatch.Record{&x})
	wantLine(t, sc, "event: wait")
	wantLine(t, sc, `"wait_s":2.5`)
	hub.Close()
}
