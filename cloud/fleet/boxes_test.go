package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
)

// chain is many boxes whose last words are stored; gaps name theirs by zone.
type chain struct {
	stored map[string][]floorwatch.Health // by edge
	heard  []influx.Heard
	gaps   []floorwatch.Gap
	err    error
	reads  int             // of gaps
	asked  [][]site.Source // whose health
}

func (c *chain) LastHealth(_ context.Context, boxes []site.Source, _ []floorwatch.Figure, _, _ floorwatch.Time) (out []influx.Sent[floorwatch.Health], err error) {
	c.asked = append(c.asked, boxes)
	for edge, words := range c.stored {
		if boxes != nil && !slices.Contains(boxes, site.Source{Store: "s1", Edge: edge}) {
			continue
		}
		for _, h := range words {
			out = append(out, influx.Sent[floorwatch.Health]{Store: "s1", Edge: edge, Record: h})
		}
	}
	return out, nil
}

func (c *chain) Heard(context.Context, floorwatch.Time, floorwatch.Time) ([]influx.Heard, error) {
	return c.heard, nil
}

func (c *chain) GapsOfAll(_ context.Context, from, to floorwatch.Time) (out []influx.Sent[floorwatch.Gap], err error) {
	c.reads++
	for _, g := range c.gaps {
		if g.To != nil && (*g.To < from || *g.To >= to) {
			continue
		}
		out = append(out, influx.Sent[floorwatch.Gap]{Store: "s1", Edge: g.Zone, Record: g})
	}
	return out, c.err
}

// Observed has the box "fine" deliver all, and the others nothing.
func (c *chain) Observed(_ context.Context, from, to floorwatch.Time) (out []influx.Observed, err error) {
	for t := from.Add(5*time.Minute - 1).Floor(5 * time.Minute); t < to; t = t.Add(5 * time.Minute) {
		out = append(out, influx.Observed{Source: site.Source{Store: "s1", Edge: "fine", Camera: "cam"}, Start: t, End: t.Add(5 * time.Minute), ObservedS: 299})
	}
	return out, c.err
}

// Pieces has every camera recorded for half of the time.
func (*chain) Pieces(_ context.Context, cameras []site.Source, from, to floorwatch.Time) (map[site.Source][]vault.Piece, error) {
	out := map[site.Source][]vault.Piece{}
	for _, c := range cameras {
		for t := from; t < to; t = t.Add(2 * time.Minute) {
			out[c] = append(out[c], vault.Piece{Start: t, End: t.Add(time.Minute)})
		}
	}
	return out, nil
}

// boxNow is 17:17 in Shanghai, so its day began 17 hours and 17 minutes ago.
const boxNow floorwatch.Time = 1_750_065_420_000

func (c *chain) fleet(live *Live, now *floorwatch.Time, edges ...string) *Fleet {
	r := site.Registry{Stores: []site.Store{{ID: "s1", TimeZone: "Asia/Shanghai"}}}
	for _, e := range edges {
		r.Edges = append(r.Edges, site.Edge{Store: "s1", ID: e, Cameras: []site.Camera{{Name: "cam"}}})
	}
	return &Fleet{Sites: site.Of(r), Records: c, Footage: c, Live: live, Now: func() time.Time { return now.Time() }}
}

// see asks the database and looks.
func (f *Fleet) see(ctx context.Context) []Box {
	f.ask(ctx)
	return f.Boxes()
}

func state(t *testing.T, live *Live, edge string, st floorwatch.State) {
	t.Helper()
	if err := live.PutState("s1", edge, st); err != nil {
		t.Fatal(err)
	}
}

func word(camera string, at floorwatch.Time, pairs ...any) floorwatch.Health {
	h := floorwatch.Health{Header: floorwatch.Header{Kind: floorwatch.KindHealth, Camera: camera, At: at}, Figures: map[string]float64{}}
	for i := 0; i < len(pairs); i += 2 {
		h.Figures[pairs[i].(string)] = pairs[i+1].(float64)
	}
	return h
}

func TestBoxesInTroubleComeFirst(t *testing.T) {
	live, now := NewLive(), boxNow
	to := now.Add(-time.Hour)
	c := &chain{}
	c.gaps = []floorwatch.Gap{
		{Header: floorwatch.Header{Zone: "gap"}, Of: floorwatch.OfFootage, From: now.Add(-48 * time.Hour), To: &to},
		{Header: floorwatch.Header{Zone: "gap"}, Of: floorwatch.OfObservation, From: now.Add(-31 * time.Second), To: new(now.Add(-time.Second))},
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
		state(t, live, e, st)
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
		if e == "short" {
			cam.Figures["segments"] = 3
		}
		old := word("", at-60_000, "backlog_s", 9999.0)
		for _, h := range []floorwatch.Health{box, cam, old} { // an older word that comes later changes nothing
			live.PutHealth("s1", e, h)
		}
	}
	views := c.fleet(live, &now, edges...).see(t.Context())
	want := []string{"never", "offline", "silent", "safe", "lost", "disk", "camera", "short", "stopped", "clock", "backlog", "gap", ""}
	for i, v := range views {
		got := append(v.names(), "")[0]
		if got != want[i] {
			t.Errorf("%d: box %s has %q, want %q", i, v.Edge, v.names(), want[i])
		}
		if len(v.Troubles) > 0 && (v.Troubles[0].Level == "bad") != (slices.Index(troubles, v.Troubles[0].What) < firstWarning) {
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
	if o := views[7].Cameras[0].Owed; o.Observed != 0 || *o.Recorded != 1680 {
		t.Errorf("of one that sends nothing: %+v", o)
	}
}

// TestBoxesAreWatchedByTheirLiveFigures: a camera without pictures and a box
// that falls silent are seen within a minute.
func TestBoxesAreWatchedByTheirLiveFigures(t *testing.T) {
	live, now := NewLive(), floorwatch.TimeOf(time.Now())
	state(t, live, "e0", floorwatch.State{V: 1, State: floorwatch.StateOnline, T: now.Add(-time.Hour)})
	box, cam := word("", now.Add(-50*time.Second)), word("cam", now.Add(-50*time.Second), "watching", 1.0, "frame_age_s", 0.1)
	live.PutHealth("s1", "e0", box)
	live.PutHealth("s1", "e0", cam)
	c := &chain{}
	see := func(coverage float64, after time.Duration) []string {
		if err := live.PutLive("s1", "e0", floorwatch.Live{V: 1, Camera: "cam", Zone: "z", T: now, Coverage: coverage}); err != nil {
			t.Fatal(err)
		}
		at := now.Add(after)
		return c.fleet(live, &at, "e0").see(t.Context())[0].names()
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
	live, now := NewLive(), boxNow
	c := &chain{stored: map[string][]floorwatch.Health{"e0": {word("", now.Add(-72*time.Hour), "disk_bytes", 7.0), word("cam", now.Add(-72*time.Hour), "frame_age_s", 2.0)}}}
	c.err = errors.New("no connection")
	state(t, live, "e0", floorwatch.State{V: 1, State: floorwatch.StateOffline, T: now.Add(-80 * time.Hour)})
	f := c.fleet(live, &now, "e0")
	read := func() Box { return f.see(t.Context())[0] }
	v := read()
	if v.Gaps != nil || *v.Disk != 7 || *v.Cameras[0].FrameAgeS != 2 || v.Seen != now.Add(-72*time.Hour) || !slices.Equal(v.names(), []string{"offline"}) {
		t.Errorf("%+v", v)
	}
	c.err = nil
	if v := read(); v.Gaps == nil {
		t.Error("the database is back, and what it knows is not there")
	}
}

func TestLiveIsBounded(t *testing.T) {
	live := NewLive()
	for i := range maxBoxes + 10 {
		live.PutHealth("s1", fmt.Sprint(i), word("", 1))
	}
	if len(live.boxes) != maxBoxes || live.health != maxBoxes {
		t.Errorf("%d boxes and %d words are kept", len(live.boxes), live.health)
	}
	live = NewLive()
	for i := range maxZones {
		if err := live.PutLive("s1", "box", floorwatch.Live{Zone: fmt.Sprint(i), T: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if live.PutLive("s1", "box", floorwatch.Live{Zone: "more", T: 1}) == nil {
		t.Error("a box shows as many zones as it likes")
	}
}

// TestAProbeIsNoWord: what floorwatch doctor sends from a stopped box
// does not hide what the box said last.
func TestAProbeIsNoWord(t *testing.T) {
	live, now := NewLive(), boxNow
	live.PutHealth("s1", "e0", word("", now-10, "disk_bytes", 7.0))
	live.PutHealth("s1", "e0", word("", now, "doctor", 1.0))
	if v := (&chain{}).fleet(live, &now, "e0").see(t.Context())[0]; v.Disk == nil || v.Reported != now-10 {
		t.Errorf("%+v", v)
	}
}

// TestChangesAreLoggedOnce: when a box becomes unhealthy and when it recovers.
func TestChangesAreLoggedOnce(t *testing.T) {
	var said strings.Builder
	f := &Fleet{Log: slog.New(slog.NewTextHandler(&said, nil))}
	box := func(names ...string) []Box { return []Box{{Store: "s1", Edge: "e0", Troubles: viewTroubles(names)}} }
	broken := func() []Box { return []Box{{Store: "s1", Edge: "e0", State: floorwatch.StateOffline, lately: true}} } // it may be back in a moment
	for _, boxes := range [][]Box{box(), box(troubleClock), broken(), box(troubleClock), box(troubleDisk, troubleClock), box()} {
		f.look(boxes)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), said.String())
	}
	for i, want := range [][]string{
		{"level=WARN", "box unhealthy", "troubles=clock"}, {"level=ERROR", `troubles="disk clock" before=clock`}, {"level=INFO", "box recovered", `before="disk clock"`},
	} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("no %s in %s", part, lines[i])
			}
		}
	}
}

// TestTwoBoxesUnderOneName: their outboxes take turns. A box that begins a new
// outbox, and the will of its old connection that comes late, are none.
func TestTwoBoxesUnderOneName(t *testing.T) {
	live, now := NewLive(), boxNow
	f := (&chain{}).fleet(live, &now, "a", "b")
	say := func(edge, is, log string) {
		state(t, live, edge, floorwatch.State{V: 1, State: is, T: now.Add(-time.Minute), Log: log})
	}
	say("a", floorwatch.StateOnline, "old")
	say("a", floorwatch.StateOnline, "new")
	say("a", floorwatch.StateOffline, "old")
	say("a", floorwatch.StateOnline, "new")
	for _, log := range []string{"one", "two", "one"} {
		say("b", floorwatch.StateOnline, log)
	}
	for _, b := range f.see(t.Context()) {
		if twins := slices.Contains(b.names(), troubleTwins); twins != (b.Edge == "b") {
			t.Errorf("box %s: %v", b.Edge, b.names())
		}
	}
}

// TestAPictureThatGrew: zones that cannot lie right are told.
func TestAPictureThatGrew(t *testing.T) {
	zone := floorwatch.NewZone("z", floorwatch.RoleArea, floorwatch.Point{X: 10, Y: 10}, floorwatch.Point{X: 600, Y: 10}, floorwatch.Point{X: 600, Y: 400})
	size := func(w, h int) floorwatch.Size { return floorwatch.Size{Width: w, Height: h} }
	for name, c := range map[string]struct {
		drawn, now floorwatch.Size
		want       bool
	}{
		"as drawn": {size(640, 480), size(640, 480), false}, "twice as large": {size(640, 480), size(1280, 960), false},
		"wider": {size(640, 480), size(1280, 720), true}, "of the stream, and fits": {size(0, 0), size(640, 480), false},
		"of the stream, which shrank": {size(0, 0), size(320, 240), true}, "not seen yet": {size(640, 480), size(0, 0), false},
	} {
		if got := otherPicture(site.Camera{Scene: floorwatch.Scene{Picture: c.drawn, Zones: []floorwatch.Zone{zone}}, Stream: c.now}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
