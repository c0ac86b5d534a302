package queue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
	"floorwatch/edge/zone"
)

func ptr(t floorwatch.Time) *floorwatch.Time { return &t }

func zoneOf(name string, role floorwatch.Role, serves ...string) floorwatch.Zone {
	return floorwatch.Zone{
		Name: name, Role: role, Serves: serves, MinStay: time.Second, MergeGap: time.Second, Reach: 10 * time.Second,
		Polygon: []floorwatch.Point{{X: 0, Y: 0}, {X: 9, Y: 0}, {X: 0, Y: 9}},
	}
}

// bank has one queue, two counters and an area.
func bank() floorwatch.Scene {
	return floorwatch.Scene{Zones: []floorwatch.Zone{
		zoneOf("line", floorwatch.RoleQueue), zoneOf("till-1", floorwatch.RoleService),
		zoneOf("till-2", floorwatch.RoleService, "line"), zoneOf("hall", floorwatch.RoleArea),
	}}
}

// at makes a stay record, in seconds; exit 0 for one that runs, settled one
// second after what it tells.
func at(s floorwatch.Scene, zone string, track int64, enter, exit float64) *floorwatch.Stay {
	r := &floorwatch.Stay{
		Header: floorwatch.Header{
			Kind: floorwatch.KindStay, Camera: "cam", Zone: zone, Rev: s.Rev(),
			ID: fmt.Sprintf("%s-%d-%d", zone, int64(enter*1000), track), At: sec(enter) + 1000,
		},
		Enter: sec(enter), EnterSeen: true, Tracks: []int64{track}, Person: track,
	}
	if exit > 0 {
		r.Exit, r.ExitSeen, r.At, r.SeenS = ptr(sec(exit)), true, sec(exit)+1001, exit-enter
	}
	return r
}

func sec(s float64) floorwatch.Time { return floorwatch.Time(s * 1000) }

func lost(r *floorwatch.Stay) *floorwatch.Stay     { r.ExitSeen = false; return r }
func appeared(r *floorwatch.Stay) *floorwatch.Stay { r.EnterSeen = false; return r }

func dark(s floorwatch.Scene, from, to float64) *floorwatch.Gap {
	g := &floorwatch.Gap{
		Header: floorwatch.Header{Kind: floorwatch.KindGap, Camera: "cam", Rev: s.Rev(), ID: fmt.Sprint("gap-", from), At: sec(from) + 1001},
		Of:     floorwatch.OfObservation, From: sec(from), Cause: "no frames",
	}
	if to > 0 {
		g.To, g.At = ptr(sec(to)), sec(to)
	}
	return g
}

// tell prints waits as "zone enter-end outcome service @settled".
func tell(waits []*floorwatch.Wait) string {
	var out []string
	for _, w := range waits {
		end := ""
		if w.End != nil {
			end = fmt.Sprintf("%g", float64(*w.End)/1000)
		}
		text := fmt.Sprintf("%s %g-%s %s %s", w.Zone, float64(w.Enter)/1000, end, w.Outcome, w.ServiceZone)
		if w.Direct {
			text += " direct"
		}
		if !w.EnterSeen {
			text += " unseen"
		}
		out = append(out, fmt.Sprintf("%s @%g", strings.Join(strings.Fields(text), " "), float64(w.At)/1000))
	}
	return strings.Join(out, "; ")
}

func TestWaits(t *testing.T) {
	s := bank()
	for _, c := range []struct {
		name string
		recs []floorwatch.Record
		want string
	}{
		{"served", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70), at(s, "till-2", 1, 75, 0), at(s, "till-2", 1, 75, 200)}, "line 10-75 served till-2 @76"},
		{"served at the end of reach", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70), at(s, "till-1", 1, 80, 0)}, "line 10-80 served till-1 @81"},
		{"abandoned", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70)}, "line 10-70 abandoned @83.001"},
		{"too late for the counter", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70), at(s, "till-1", 1, 80.001, 0)}, "line 10-70 abandoned @83.001; line 80.001-80.001 served till-1 direct @83.002"},
		{"another track at the counter", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70), appeared(at(s, "till-1", 2, 72, 0))}, "line 10-70 abandoned @83.001"},
		{"lost in the queue", []floorwatch.Record{at(s, "line", 1, 10, 0), lost(at(s, "line", 1, 10, 70))}, "line 10-70 unknown @83.001"},
		{"lost and found at the counter", []floorwatch.Record{at(s, "line", 1, 10, 0), lost(at(s, "line", 1, 10, 70)), appeared(at(s, "till-1", 1, 73, 0))}, "line 10-73 served till-1 @74"},
		{"the camera did not watch", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70), dark(s, 71, 0), dark(s, 71, 74)}, "line 10-70 unknown @83.001"},
		{"direct", []floorwatch.Record{at(s, "till-1", 1, 10, 0), at(s, "till-1", 1, 10, 50)}, "line 10-10 served till-1 direct @13.001"},
		{"appears at the counter", []floorwatch.Record{appeared(at(s, "till-1", 1, 10, 0))}, ""},
		{"from counter to counter", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 20), at(s, "till-1", 1, 22, 0), at(s, "till-1", 1, 22, 25), at(s, "till-2", 1, 27, 0)}, "line 10-22 served till-1 @23"},
		{"comes again", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 20), at(s, "till-1", 1, 22, 0), at(s, "till-1", 1, 22, 25), at(s, "till-1", 1, 60, 0)}, "line 10-22 served till-1 @23; line 60-60 served till-1 direct @63.001"},
		{"counter inside the queue zone", []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "till-1", 1, 40, 0), at(s, "line", 1, 10, 45), at(s, "till-1", 1, 40, 90)}, "line 10-40 served till-1 @41"},
		{"start not seen", []floorwatch.Record{appeared(at(s, "line", 1, 10, 0)), at(s, "hall", 1, 12, 0)}, "line 10- unseen @200"},
		{"runs at the end", []floorwatch.Record{at(s, "line", 1, 195, 0), at(s, "line", 2, 100, 0), at(s, "line", 2, 100, 196)}, "line 100- @200; line 195- @200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := queue.NewWaits(s)
			var got []*floorwatch.Wait
			for _, r := range c.recs {
				var now floorwatch.Time
				switch r := r.(type) {
				case *floorwatch.Stay:
					now = r.At
				case *floorwatch.Gap:
					now = r.At
				}
				got = append(got, w.Advance(now)...)
				got = append(got, w.Feed(r)...)
			}
			if c.name != "runs at the end" {
				got = append(got, w.Advance(sec(200))...)
			}
			got = append(got, w.Close(sec(200))...)
			if tell(got) != c.want {
				t.Errorf("got  %s\nwant %s", tell(got), c.want)
			}
		})
	}
}

func TestQueueWithoutCounterInView(t *testing.T) {
	s := floorwatch.Scene{Zones: []floorwatch.Zone{zoneOf("line", floorwatch.RoleQueue), zoneOf("other", floorwatch.RoleQueue), zoneOf("till", floorwatch.RoleService, "other")}}
	w := queue.NewWaits(s)
	var got []*floorwatch.Wait
	for _, r := range []floorwatch.Record{at(s, "line", 1, 10, 0), at(s, "line", 1, 10, 70), at(s, "line", 2, 20, 0), lost(at(s, "line", 2, 20, 80))} {
		got = append(got, w.Feed(r)...)
	}
	if want := "line 10-70 left @71.001; line 20-80 unknown @81.001"; tell(got) != want {
		t.Errorf("got  %s\nwant %s", tell(got), want)
	}
}

func TestNewSessionKnowsNobody(t *testing.T) {
	s := bank()
	w := queue.NewWaits(s)
	w.Feed(at(s, "line", 1, 10, 0))
	w.Feed(at(s, "line", 1, 10, 70))
	w.Feed(at(s, "till-2", 2, 71, 0))
	got := tell(w.Restart(sec(72)))
	if want := "line 10-70 unknown @72; line 71-71 served till-2 direct @72"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if late := w.Feed(appeared(at(s, "till-1", 1, 73, 0))); len(late) != 0 {
		t.Errorf("another person under an old id gave %s", tell(late))
	}
}

func TestSettleCoversSlowCounters(t *testing.T) {
	s := bank()
	if got, want := queue.Settle(s), 13001*time.Millisecond; got != want {
		t.Errorf("settle %v, want %v", got, want)
	}
	s.Zones[1].MinStay = 5 * time.Second
	if got, want := queue.Settle(s), 17001*time.Millisecond; got != want {
		t.Errorf("settle %v, want %v", got, want)
	}
}

func TestLostOnTheWayIsUnknown(t *testing.T) {
	for last, want := range map[float64]string{103: floorwatch.OutcomeUnknown, 115: floorwatch.OutcomeAbandoned} {
		s := bank()
		w := queue.NewWaits(s)
		w.Feed(at(s, "line", 1, 50, 0))
		w.Feed(at(s, "line", 1, 50, 100))
		w.Feed(&zone.Lost{Header: floorwatch.Header{At: sec(last) + 2}, Person: 1, Last: sec(last)})
		if out := w.Advance(sec(200)); len(out) != 1 || out[0].Outcome != want {
			t.Errorf("last seen at %v: %+v, want %s", last, out, want)
		}
	}
}

// TestWhoComesFromNowhereIsNotDirect: who appears near a counter after somebody was
// lost in its queue may be that one; but one only, and not who came by the door.
func TestWhoComesFromNowhereIsNotDirect(t *testing.T) {
	s := bank()
	w := queue.NewWaits(s)
	w.Feed(at(s, "line", 1, 50, 0))
	w.Feed(lost(at(s, "line", 1, 50, 100)))
	var out []*floorwatch.Wait
	for track, from := range []float64{2: 0, 3: 140, 4: 140, 5: 120} {
		if track >= 2 {
			c := at(s, "till-1", int64(track), 145, 0)
			c.Appeared = sec(from)
			w.Feed(c)
		}
	}
	for _, x := range w.Advance(sec(300)) {
		if x.Outcome == floorwatch.OutcomeServed {
			out = append(out, x)
		}
	}
	unseen := 0
	for _, x := range out {
		if !x.EnterSeen && !x.Direct {
			unseen++
		}
	}
	if len(out) != 4 || unseen != 1 {
		t.Errorf("%d waits, %d of them without a beginning, want 4 and 1", len(out), unseen)
	}
}
