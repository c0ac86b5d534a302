package queue_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
)

func newIntervals(t *testing.T, s floorwatch.Scene, every time.Duration) *queue.Intervals {
	t.Helper()
	iv, err := queue.NewIntervals(s, every)
	if err != nil {
		t.Fatal(err)
	}
	return iv
}

func feed(t *testing.T, iv *queue.Intervals, recs ...floorwatch.Record) {
	t.Helper()
	for _, r := range recs {
		if err := iv.Feed(r); err != nil {
			t.Fatal(err)
		}
	}
}

// of returns the intervals of one zone.
func of(zone string, all []*floorwatch.Interval) []*floorwatch.Interval {
	var out []*floorwatch.Interval
	for _, r := range all {
		if r.Zone == zone {
			out = append(out, r)
		}
	}
	return out
}

func TestFigures(t *testing.T) {
	s := bank()
	iv := newIntervals(t, s, time.Minute)
	feed(t, iv, dark(s, 0, 75), // observed from 75 s on: the first interval is 60..120
		appeared(at(s, "line", 1, 75, 100)), // 25 s
		at(s, "line", 2, 80, 130),           // 40 s in this interval, 10 in the next
		at(s, "line", 3, 90, 0),             // 30 s, runs on
		dark(s, 100, 110),                   // 2 people were inside: 20 person-seconds not seen
		lost(at(s, "line", 4, 115, 118)),
	)
	waits := []*floorwatch.Wait{
		wait(s, 2, 80, 110, floorwatch.OutcomeServed), wait(s, 1, 75, 100, floorwatch.OutcomeAbandoned),
		wait(s, 9, 75, 101, floorwatch.OutcomeUnknown), wait(s, 8, 90, 120, floorwatch.OutcomeServed),
	}
	waits[1].EnterSeen = false
	for _, w := range waits {
		feed(t, iv, w)
	}
	got := of("line", iv.Advance(sec(120)+13001))
	if len(got) != 1 {
		t.Fatalf("%d intervals, want 1", len(got))
	}
	b, err := json.Marshal(got[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"interval","camera":"cam","zone":"line","id":"line-60000-60000","at":133001,"rev":"` + s.Rev() + `",` +
		`"start":60000,"end":120000,"coverage":0.5833333333333334,"observed_s":35,"person_s":78,"occupancy":2.2285714285714286,` +
		`"occupancy_min":1,"occupancy_max":3,"inside":2,"arrived":3,"appeared":1,"departed":1,"lost":1,` +
		`"stays":{"n":2,"sum":28,"min":3,"max":25},"crossings":{"n":0,"sum":0,"min":0,"max":0},"quality":0.6666666666666667,"waits":{"n":1,"sum":30,"min":30,"max":30},"served":1,"abandoned":1,"unknown":1}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if again := iv.Advance(sec(120) + 13001); len(again) != 0 {
		t.Errorf("published again: %d intervals", len(again))
	}
}

func wait(s floorwatch.Scene, track int64, enter, end float64, outcome string) *floorwatch.Wait {
	st := at(s, "line", track, enter, end)
	st.Kind = floorwatch.KindWait
	return &floorwatch.Wait{Header: st.Header, Enter: st.Enter, End: st.Exit, Outcome: outcome, EnterSeen: true}
}

func TestNoPeopleIsNotNoCamera(t *testing.T) {
	s := bank()
	iv := newIntervals(t, s, time.Minute)
	feed(t, iv, dark(s, 0, 60), dark(s, 120, 180))
	for i, r := range of("hall", iv.Advance(sec(300))) {
		want := []float64{1, 0, 1}[i]
		if r.Coverage != want || r.ObservedS != 60*want || r.PersonS != 0 {
			t.Errorf("interval %d: coverage %v, want %v", i, r.Coverage, want)
		}
	}
}

func TestLongGapIsNotPublishedInPieces(t *testing.T) {
	s := bank()
	const year = 366 * 24 * 3600
	live, offline := newIntervals(t, s, time.Minute), newIntervals(t, s, time.Minute)
	feed(t, live, dark(s, 0, 60), dark(s, 600, 0))
	n := len(live.Advance(sec(year)))
	feed(t, live, dark(s, 600, 30*year+30))
	n += len(live.Advance(sec(30*year + 600)))
	feed(t, offline, dark(s, 0, 60), dark(s, 600, 30*year+30))
	m := len(offline.Advance(sec(30*year + 600)))
	if n != m || n > 4*(9+24*60+15) || n < 4*24*60 {
		t.Errorf("%d intervals live, %d offline, want those of a day", n, m)
	}
}

func TestRestartGoesOn(t *testing.T) {
	// The first run ends at 90 s, the second begins at 100 s and is fed what the
	// first had published: the interval 60..120 comes out whole.
	s := bank()
	iv := newIntervals(t, s, time.Minute)
	end := dark(s, 90, 0)
	end.At = sec(90)
	feed(t, iv, dark(s, 0, 30), at(s, "hall", 1, 40, 80), end, dark(s, 0, 100), at(s, "hall", 1, 100, 110))
	got := of("hall", iv.Advance(sec(200)))
	if len(got) != 3 || math.Abs(got[1].ObservedS-50) > 1e-9 || got[1].PersonS != 30 || got[0].PersonS != 20 {
		t.Errorf("got %d intervals, second %+v", len(got), got[1])
	}
}

func TestFeedRefuses(t *testing.T) {
	s := bank()
	other := at(s, "hall", 1, 10, 20)
	other.Rev = "000000000000"
	camera := at(s, "hall", 1, 10, 20)
	camera.Camera = "cam2"
	backwards := at(s, "hall", 1, 10, 5)
	unknown := at(s, "attic", 1, 10, 20)
	leap := at(s, "hall", 1, 400*24*3600, 0)
	ancient := at(s, "hall", 1, -10, 20)
	for _, c := range []struct {
		rec  *floorwatch.Stay
		want string
	}{
		{other, "measured with other zones"},
		{camera, "feed one camera at a time"},
		{backwards, "ends before it begins"},
		{unknown, "not among the zones given"},
		{leap, "check the clock"},
		{ancient, "not between 1970 and 2200"},
	} {
		iv := newIntervals(t, s, time.Minute)
		feed(t, iv, dark(s, 0, 10))
		if err := iv.Feed(c.rec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got error %v, want one with %q", err, c.want)
		}
	}
	for _, every := range []time.Duration{0, -time.Minute, time.Millisecond, time.Second + 1} {
		if _, err := queue.NewIntervals(s, every); err == nil {
			t.Errorf("an interval of %v was taken", every)
		}
	}
}

func FuzzRecords(f *testing.F) {
	s := bank()
	for _, r := range []floorwatch.Record{
		dark(s, 0, 10), at(s, "hall", 1, 20, 0), at(s, "hall", 1, 20, 300), wait(s, 2, 80, 110, floorwatch.OutcomeServed),
		dark(s, 300, 0), dark(s, 300, 100000), dark(s, 0, 100100), at(s, "line", 3, 7e7, 0),
	} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		iv := newIntervals(t, s, 24*time.Hour)
		feed(t, iv, dark(s, 0, 10), at(s, "hall", 7, 12, 50))
		w := queue.NewWaits(s)
		for _, line := range [][]byte{a, b} {
			rec, err := floorwatch.ParseRecord(line)
			if err != nil || iv.Feed(rec) != nil {
				continue
			}
			w.Feed(rec)
			w.Advance(sec(1e6))
		}
		w.Close(sec(1e7))
		for _, r := range iv.Close() {
			if r.Coverage < 0 || r.Coverage > 1 || r.PersonS < 0 || r.Stays.Sum < 0 || r.Inside < 0 || r.Min > r.Max {
				t.Fatalf("impossible interval %+v", r)
			}
		}
	})
}

func BenchmarkIntervals(b *testing.B) {
	s := bank()
	b.ReportAllocs()
	for b.Loop() {
		iv, err := queue.NewIntervals(s, 5*time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if err := iv.Feed(dark(s, 0, 1)); err != nil {
			b.Fatal(err)
		}
		for i := range 1000 { // a day with 1000 stays of 8 minutes
			if err := iv.Feed(at(s, "hall", int64(i), float64(10+80*i), float64(500+80*i))); err != nil {
				b.Fatal(err)
			}
		}
		if n := len(iv.Advance(sec(86400))); n < 1100 {
			b.Fatalf("%d intervals", n)
		}
	}
}
