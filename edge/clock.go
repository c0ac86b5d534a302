package edge

import (
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
)

// clock is the box's time: never before a stamp on disk, never back, and with a
// memory of when it could not be trusted.
type clock struct {
	steady *footage.Steady

	mu    sync.Mutex
	blind floorwatch.Time // latest time that was read unsynchronised
}

// newClock goes on from the latest stamp that a run before left.
func (r *run) newClock() (*clock, error) {
	var last floorwatch.Time
	for _, c := range r.Config.Cameras {
		seen, err := r.trail.Last(c.Name)
		if err != nil {
			return nil, err
		}
		sealed, err := footage.LastStamp(r.trail.Dir, c.Name)
		if err != nil {
			return nil, err
		}
		last = max(last, seen, sealed)
	}
	return &clock{steady: footage.NewSteady(r.Clock, last)}, nil
}

func (k *clock) read() (now footage.Stamp, ahead time.Duration) {
	now, ahead = k.steady.Carried()
	if !now.Synced {
		k.mu.Lock()
		k.blind = max(k.blind, now.Wall)
		k.mu.Unlock()
	}
	return now, ahead
}

func (k *clock) now() floorwatch.Time {
	s, _ := k.read()
	return s.Wall
}

// near is how far the stamp of a line may be from the present for its worker to
// go by the same wall clock, or by one that it carries on itself.
const near = 5 * time.Second

// place returns a line's stamp on the box's time, and how far that runs ahead of
// the wall clock. While it does, workers that were started before the clock was
// set back are ahead too, and those started since are not.
func (k *clock) place(t floorwatch.Time) (floorwatch.Time, time.Duration) {
	now, ahead := k.read()
	switch {
	case ahead == 0:
		return t, 0
	case now.Wall.Add(-ahead).Sub(t).Abs() <= near:
		return min(t.Add(ahead), now.Wall), ahead
	case now.Wall.Sub(t).Abs() <= near:
		return min(t, now.Wall), ahead
	}
	return now.Wall, ahead
}

// stamp returns rec with what the clock says of it. Records of footage say it
// themselves, as their seals do.
func (k *clock) stamp(rec floorwatch.Record) floorwatch.Record {
	switch rec.(type) {
	case *floorwatch.Segment, *floorwatch.Deleted:
	default:
		from, _ := rec.Span()
		k.mark(rec.Head(), from)
	}
	return rec
}

// mark says when, on which boot's clock, a record was made whose earliest time is
// from, and whether the clock was synchronised since then.
func (k *clock) mark(h *floorwatch.Header, from floorwatch.Time) {
	now, _ := k.read()
	k.mu.Lock()
	blind := k.blind
	k.mu.Unlock()
	h.Boot = now.Boot[:min(8, len(now.Boot))]
	h.Mono = now.Mono.Milliseconds()
	h.Unsynced = from <= blind
}
