package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/health"
	"floorwatch/edge/queue"
	"floorwatch/edge/trail"
	"floorwatch/edge/zone"
)

// hall has one queue zone that is the whole picture, in which nobody is found
// again.
func hall() floorwatch.Scene {
	z := floorwatch.NewZone("queue", floorwatch.RoleQueue, []floorwatch.Point{{X: 0, Y: 0}, {X: 640, Y: 0}, {X: 640, Y: 480}, {X: 0, Y: 480}}...)
	z.Bridge = 0
	return floorwatch.Scene{Zones: []floorwatch.Zone{z}}
}

// stored is what a pipeline has stored, in order.
type stored struct {
	mu   sync.Mutex
	recs []floorwatch.Record
	err  error // of the next calls
}

func (s *stored) store(recs ...floorwatch.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.recs = append(s.recs, recs...)
	}
	return s.err
}

func (s *stored) all() []floorwatch.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recs)
}

// settings of a pipeline over the trail in dir.
func settings(t *testing.T, dir string, s *stored) Settings {
	t.Helper()
	tr := &trail.Trail{Dir: dir}
	t.Cleanup(func() { _ = tr.Close() })
	return Settings{
		Camera: "door", Scene: hall(), Interval: 10 * time.Second, Clock: clock.New(nil), Trail: tr, Store: s.store,
		Live: func(floorwatch.Live) {}, Meter: health.NewMeters("door").Camera("door"),
	}
}

// visits are the lines of a camera from start on, ten a second: one person stays,
// another comes for 3 of every 5 seconds. They end in the midst.
func visits(start floorwatch.Time, seconds int) []floorwatch.Frame {
	lines := []floorwatch.Frame{{T: start, Event: floorwatch.EventOpen, By: "test"}}
	for n := 1; n < 10*seconds; n++ {
		f := floorwatch.Frame{T: start + floorwatch.Time(100*n), N: int64(n), W: 640, H: 480, People: []floorwatch.Person{{ID: 1, X: 300, Y: 200, W: 30, H: 80}}}
		if n%50 < 30 {
			f.People = append(f.People, floorwatch.Person{ID: int64(2 + n/50), X: 100, Y: 100, W: 30, H: 80})
		}
		lines = append(lines, f)
	}
	return lines
}

// whole returns the final stays and waits that lines tell of when the camera is
// lost after them, by their keys.
func whole(t *testing.T, lines []floorwatch.Frame) map[string]bool {
	t.Helper()
	engine, err := zone.New("door", hall())
	if err != nil {
		t.Fatal(err)
	}
	stage, err := queue.NewStage(engine, hall(), 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, f := range append(slices.Clone(lines), floorwatch.Frame{T: lines[len(lines)-1].T + 1, Event: floorwatch.EventOpen}) {
		recs, err := stage.Feed(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			if _, to := rec.Span(); to != nil && isVisit(rec) {
				out[recordKey(rec.Head())] = true
			}
		}
	}
	return out
}

func isVisit(rec floorwatch.Record) bool {
	kind := rec.Head().Kind
	return kind == floorwatch.KindStay || kind == floorwatch.KindWait
}

// visitsOf counts the stays and waits among records.
func visitsOf(recs []floorwatch.Record) map[string]int {
	out := map[string]int{}
	for _, rec := range recs {
		if isVisit(rec) {
			out[recordKey(rec.Head())]++
		}
	}
	return out
}

// crash leaves the trail of a run that was killed after lines, of which it had
// stored those records that were settled up to a share of them, and returns what
// the outbox says of them.
func crash(t *testing.T, dir string, lines []floorwatch.Frame, published int) (Kept, []floorwatch.Record) {
	t.Helper()
	var s stored
	set := settings(t, dir, &s)
	p, err := Open(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	kept := Kept{}
	for i, f := range lines {
		p.feed(f)
		if i == published {
			if err := p.writer.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := set.Trail.Close(); err != nil {
		t.Fatal(err)
	}
	for _, rec := range s.all() {
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		kept.Found(b)
	}
	return kept, s.all()
}

func TestCrashLosesNoVisitAndTellsNoneTwice(t *testing.T) {
	start := floorwatch.TimeOf(time.Now()).Add(-time.Minute)
	lines := visits(start, 40)
	want := whole(t, lines)
	if len(want) < 10 {
		t.Fatalf("the lines tell of %d stays and waits only", len(want))
	}
	for name, published := range map[string]int{"nothing was stored": -1, "half was stored": 200, "all was stored": len(lines) - 1} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			kept, before := crash(t, dir, lines, published)
			var s stored
			set := settings(t, dir, &s)
			set.Kept = kept
			p, err := Open(t.Context(), set)
			if err != nil {
				t.Fatal(err)
			}
			got := visitsOf(append(before, s.all()...))
			for key := range want {
				if got[key] != 1 {
					t.Errorf("%s is stored %d times", key, got[key])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d stays and waits are stored, want %d", len(got), len(want))
			}
			back := floorwatch.TimeOf(time.Now())
			p.feed(floorwatch.Frame{T: back, Event: floorwatch.EventOpen, By: "test"})
			p.feed(floorwatch.Frame{T: back + 100, N: 1, W: 640, H: 480})
			if err := p.writer.flush(); err != nil {
				t.Fatal(err)
			}
			down := slices.ContainsFunc(s.all(), func(rec floorwatch.Record) bool {
				g, ok := rec.(*floorwatch.Gap)
				return ok && g.Cause == causeDown && g.From == lines[len(lines)-1].T
			})
			if !down {
				t.Errorf("the time without an agent is not booked")
			}

			// The next start, as after a crash at once, has nothing to recover.
			if err := set.Trail.Close(); err != nil {
				t.Fatal(err)
			}
			var again stored
			set = settings(t, dir, &again)
			if _, err := Open(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			if n := len(visitsOf(again.all())); n != 0 {
				t.Errorf("%d stays and waits are recovered a second time", n)
			}
		})
	}
}

// TestRecoveredRecordsWaitForTheDisk when it does not take them at the start.
func TestRecoveredRecordsWaitForTheDisk(t *testing.T) {
	lines := visits(floorwatch.TimeOf(time.Now()).Add(-time.Minute), 20)
	dir := t.TempDir()
	crash(t, dir, lines, -1)
	s := stored{err: errors.New("the disk is full")}
	p, err := Open(t.Context(), settings(t, dir, &s))
	if err != nil {
		t.Fatal(err)
	}
	s.err = nil
	if err := p.writer.flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := visitsOf(s.all()), whole(t, lines); len(got) != len(want) {
		t.Errorf("%d stays and waits, want %d", len(got), len(want))
	}
}

// TestRunEndsWhatIsOpen at a stop, shows the present meanwhile, and writes ticks
// while no line comes.
func TestRunEndsWhatIsOpen(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var s stored
		lines := make(chan floorwatch.Frame)
		var live []floorwatch.Live
		set := settings(t, dir, &s)
		set.Lines = lines
		set.Live = func(l floorwatch.Live) { live = append(live, l) }
		p, err := Open(t.Context(), set)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		for _, f := range visits(floorwatch.TimeOf(time.Now()), 10) {
			time.Sleep(time.Until(f.T.Time()))
			lines <- f
		}
		time.Sleep(5 * time.Second) // in silence
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(live); n < 13 || n > 15 || live[8].Queue != 2 && live[8].Queue != 1 || live[8].ValidS != 10 {
			t.Errorf("%d live figures in 15 s, the ninth %+v", n, live[8])
		}
		open := 0
		for _, rec := range s.all() {
			if stay, ok := rec.(*floorwatch.Stay); ok && slices.Equal(stay.Tracks, []int64{1}) && stay.Exit != nil {
				open++
			}
		}
		if open != 1 {
			t.Errorf("the one who never left has %d stays", open)
		}
		if err := set.Trail.Close(); err != nil {
			t.Fatal(err)
		}
	})
	read := &trail.Trail{Dir: dir}
	defer func() { _ = read.Close() }()
	// synctest begins in 2000.
	base := floorwatch.TimeOf(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	got, err := read.Lines(t.Context(), "door", base, base.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ticks := 0
	for _, f := range got {
		if f.Event == floorwatch.EventTick {
			ticks++
		}
	}
	if last := got[len(got)-1]; ticks < 2 || ticks > 4 || !closes(last) || last.By != "test" {
		t.Errorf("%d ticks, and the trail ends with %+v", ticks, last)
	}
}

func TestRefusedRecordsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stored{err: errors.New("the disk is full")}
		w := newWriter(s.store, nil, slog.New(slog.DiscardHandler))
		ctx := t.Context()
		go w.run(ctx)
		for i := range floorwatch.Time(3) {
			w.add(&floorwatch.Stay{Header: floorwatch.Header{At: i}})
			time.Sleep(300 * time.Millisecond)
		}
		if n := len(s.all()); n != 0 {
			t.Errorf("%d records are stored on a full disk", n)
		}
		s.mu.Lock()
		s.err = nil
		s.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		at := func(rec floorwatch.Record) floorwatch.Time { return rec.Head().At }
		if got := s.all(); len(got) != 3 || !slices.IsSortedFunc(got, func(a, b floorwatch.Record) int { return int(at(a) - at(b)) }) {
			t.Errorf("stored %d records, or not in their order", len(got))
		}
	})
}

func TestQueueOfRecordsIsBounded(t *testing.T) {
	s := stored{err: errors.New("the disk is full")}
	w := newWriter(s.store, nil, slog.New(slog.DiscardHandler))
	for i := range floorwatch.Time(maxQueued + 5) {
		w.add(&floorwatch.Stay{Header: floorwatch.Header{At: i}})
	}
	if err := w.flush(); err == nil {
		t.Error("a refused record is no error")
	}
	s.err = nil
	if err := w.flush(); err != nil || len(s.recs) != maxQueued || s.recs[0].Head().At != 5 || w.dropped != 5 {
		t.Errorf("%v: %d are left, %d dropped; the oldest should go", err, len(s.recs), w.dropped)
	}
}
