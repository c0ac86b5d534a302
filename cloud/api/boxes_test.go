package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
)

// chain is many boxes whose last words are stored.
type chain struct {
	memory
	stored map[string][]floorwatch.Health // by edge
	reads  atomic.Int32
}

func (c *chain) Gaps(_ context.Context, q influx.Query) ([]floorwatch.Gap, error) {
	if c.reads.Add(1); c.err != nil {
		return nil, c.err
	}
	var out []floorwatch.Gap
	for _, g := range c.gaps {
		if g.Zone == q.Edge {
			out = append(out, g)
		}
	}
	return out, nil
}

// Intervals has the box "fine" deliver all, and the others nothing.
func (c *chain) Intervals(_ context.Context, q influx.Query) (out []floorwatch.Interval, err error) {
	for t := q.From.Floor(5 * time.Minute); q.Edge == "fine" && t < q.To; t = t.Add(5 * time.Minute) {
		for _, zone := range []string{"a", "b"} {
			out = append(out, floorwatch.Interval{
				Header: floorwatch.Header{Camera: "cam", Zone: zone}, Start: t, End: t.Add(5 * time.Minute), ObservedS: 299,
			})
		}
	}
	return out, c.err
}

func (c *chain) Health(_ context.Context, q influx.Query) ([]floorwatch.Health, error) {
	return c.stored[q.Edge], nil
}

// boxNow is 17:17 in Shanghai, so its day began 17 hours and 17 minutes ago.
const boxNow floorwatch.Time = 1_750_065_420_000

func (c *chain) handler(hub *Hub, now *floorwatch.Time, edges ...string) http.Handler {
	r := site.Registry{Stores: []site.Store{{ID: "s1", TimeZone: "Asia/Shanghai"}}}
	for _, e := range edges {
		r.Edges = append(r.Edges, site.Edge{Store: "s1", ID: e, Cameras: []site.Camera{{Name: "cam"}}})
	}
	return New(Settings{Registry: r, Figures: c, Hub: hub, Now: func() time.Time { return now.Time() }})
}

func word(camera string, at floorwatch.Time, pairs ...any) floorwatch.Health {
	h := floorwatch.Health{Header: floorwatch.Header{Kind: floorwatch.KindHealth, Camera: camera, At: at}, Figures: map[string]float64{}}
	for i := 0; i < len(pairs); i += 2 {
		h.Figures[pairs[i].(string)] = pairs[i+1].(float64)
	}
	return h
}

func whats(b boxView) (out []string) {
	for _, t := range b.Troubles {
		out = append(out, t.What)
	}
	return out
}

func TestBoxesInTroubleComeFirst(t *testing.T) {
	hub, now := NewHub(), boxNow
	to := now.Add(-time.Hour)
	c := &chain{}
	c.gaps = []floorwatch.Gap{
		{Header: floorwatch.Header{Zone: "gap"}, Of: floorwatch.OfFootage, From: now.Add(-48 * time.Hour), To: &to},
		{Header: floorwatch.Header{Zone: "gap"}, Of: floorwatch.OfObservation, From: now.Add(-30 * time.Second)},
		{Header: floorwatch.Header{Zone: "fine"}, Of: floorwatch.OfRecords, From: 1},
	}
	edges := []string{"fine", "gap", "lag", "clock", "stopped", "cam", "full", "lost", "silent", "gone", "never", "crash", "short"}
	for _, e := range edges {
		st := floorwatch.State{V: 1, State: floorwatch.StateOnline, T: now.Add(-time.Hour), Version: "1.2"}
		at := now.Add(-20 * time.Second)
		switch e {
		case "never":
			continue
		case "gone":
			st.State = floorwatch.StateOffline
		case "stopped":
			st.State = floorwatch.StateStopped
		case "silent":
			at = now.Add(-10 * time.Minute)
		}
		hub.PublishState("s1", e, st)
		is := func(name string, yes, no float64) float64 {
			if e == name {
				return yes
			}
			return no
		}
		box := word("", at, "backlog_records", 12.0, "backlog_s", is("lag", 400, 3), "dropped_records", is("lost", 5, 0), "lost_records", 0.0,
			"disk_free_bytes", is("full", 4e9, 50e9), "disk_bytes", 100e9, "clock_synced", is("clock", 0, 1), "safe_mode", is("crash", 1, 0))
		if e == "fine" || e == "short" {
			box.Figures["uptime_s"] = 7200
		}
		cam := word("cam", at, "watching", is("cam", 0, 1), "frame_age_s", 0.2, "coverage", 0.98)
		old := word("", at-60_000, "backlog_s", 9999.0)
		hub.PublishStored("s1", e, []floorwatch.Record{&box, &cam, &old}) // an older word that comes later changes nothing
	}
	views := decode[struct{ Boxes []boxView }](t, get(t, c.handler(hub, &now, edges...), "/api/boxes")).Boxes
	want := []string{"never", "offline", "silent", "safe", "lost", "disk", "camera", "short", "stopped", "clock", "backlog", "gap", ""}
	for i, v := range views {
		got := append(whats(v), "")[0]
		if got != want[i] {
			t.Errorf("%d: box %s has %q, want %q", i, v.Edge, whats(v), want[i])
		}
		if len(v.Troubles) > 0 && (v.Troubles[0].Level == "bad") != (i < firstWarning) {
			t.Errorf("%s is %s", v.Edge, v.Troubles[0].Level)
		}
	}
	gap := views[11].Gaps
	if gap.Footage != 1 || gap.FootageS != (16*60+17)*60 || gap.Observation != 1 || gap.ObservationS != 30 {
		t.Errorf("gaps since midnight in the store: %+v", gap)
	}
	fine := views[12]
	if *fine.Backlog != 12 || *fine.Lost != 0 || !*fine.ClockSynced || fine.ClockOffsetS != nil || fine.Uploads != nil ||
		fine.Version != "1.2" || *fine.Cameras[0].Coverage != 0.98 || fine.Seen != now-20_000 || fine.Since != now.Add(-time.Hour) {
		t.Errorf("%+v", fine)
	}
	if o := fine.Cameras[0].Owed; o.Expected != 3300 || o.Observed != 11*299 || o.Recorded != nil {
		t.Errorf("the last hour of a box that works: %+v", o)
	}
	if o := views[7].Cameras[0].Owed; o.Observed != 0 {
		t.Errorf("of one that sends nothing: %+v", o)
	}
}

// TestBoxesAreWatchedByTheirLiveFigures: a camera without pictures and a box
// that falls silent are seen within a minute.
func TestBoxesAreWatchedByTheirLiveFigures(t *testing.T) {
	hub, now := NewHub(), floorwatch.TimeOf(time.Now())
	hub.PublishState("s1", "e0", floorwatch.State{V: 1, State: floorwatch.StateOnline, T: now.Add(-time.Hour)})
	box, cam := word("", now.Add(-50*time.Second)), word("cam", now.Add(-50*time.Second), "watching", 1.0, "frame_age_s", 0.1)
	hub.PublishStored("s1", "e0", []floorwatch.Record{&box, &cam})
	c := &chain{}
	see := func(coverage float64, after time.Duration) []string {
		hub.PublishLive("s1", "e0", floorwatch.Live{V: 1, Camera: "cam", Zone: "z", T: now, Coverage: coverage})
		at := now.Add(after)
		return whats(decode[struct{ Boxes []boxView }](t, get(t, c.handler(hub, &at, "e0"), "/api/boxes")).Boxes[0])
	}
	for _, want := range []struct {
		coverage float64
		after    time.Duration
		what     []string
	}{{1, time.Second, nil}, {0.4, time.Second, []string{"camera"}}, {0.9, time.Second, nil}, {0.9, 50 * time.Second, []string{"silent"}}} {
		if got := see(want.coverage, want.after); !slices.Equal(got, want.what) {
			t.Errorf("coverage %g, %s later: %q, want %q", want.coverage, want.after, got, want.what)
		}
	}
}

// TestBoxesWithoutTheDatabase: presence is shown all the same, the database is
// not asked at every look, and stored words fill in what the hub never heard.
func TestBoxesWithoutTheDatabase(t *testing.T) {
	hub, now := NewHub(), boxNow
	c := &chain{stored: map[string][]floorwatch.Health{"e0": {word("", now.Add(-72*time.Hour), "disk_bytes", 7.0), word("cam", now.Add(-72*time.Hour), "frame_age_s", 2.0)}}}
	c.err = errors.New("no connection")
	hub.PublishState("s1", "e0", floorwatch.State{V: 1, State: floorwatch.StateOffline, T: now.Add(-80 * time.Hour)})
	h := c.handler(hub, &now, "e0")
	read := func() boxView { return decode[struct{ Boxes []boxView }](t, get(t, h, "/api/boxes")).Boxes[0] }
	v := read()
	if v.Gaps != nil || *v.Disk != 7 || *v.Cameras[0].FrameAgeS != 2 || v.Seen != now.Add(-72*time.Hour) || !slices.Equal(whats(v), []string{"offline"}) {
		t.Errorf("%+v", v)
	}
	c.err = nil
	if read(); c.reads.Load() != 1 {
		t.Errorf("the database was asked %d times", c.reads.Load())
	}
	now += floorwatch.Time(boxesFor / time.Millisecond)
	if v := read(); c.reads.Load() != 2 || v.Gaps == nil {
		t.Errorf("later: %d reads, gaps %v", c.reads.Load(), v.Gaps)
	}
}

// TestDoctorIsNoWordOfTheBox: what floorwatch doctor delivers for a box that is
// stopped leaves the box's last figures on the page.
func TestDoctorIsNoWordOfTheBox(t *testing.T) {
	hub, now := NewHub(), boxNow
	hub.PublishState("s1", "e0", floorwatch.State{V: 1, State: floorwatch.StateStopped, T: now.Add(-time.Hour)})
	box, probe := word("", now.Add(-2*time.Hour), "disk_bytes", 7.0), word("", now, floorwatch.FigureProbe, 1.0)
	hub.PublishStored("s1", "e0", []floorwatch.Record{&box})
	hub.PublishStored("s1", "e0", []floorwatch.Record{&probe})
	v := decode[struct{ Boxes []boxView }](t, get(t, (&chain{}).handler(hub, &now, "e0"), "/api/boxes")).Boxes[0]
	if v.Disk == nil || *v.Disk != 7 || v.Reported != box.At || len(v.Notes) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestHubBoundsHealth(t *testing.T) {
	hub := NewHub()
	for i := range maxLive + 10 {
		hub.keepHealth("s1", fmt.Sprint(i), word("", 1))
	}
	if len(hub.health) != maxLive {
		t.Errorf("%d words are kept", len(hub.health))
	}
}
