package queue

import (
	"cmp"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/edge/zone"
)

// Lines is a source of stays, crossings and gaps, a zone engine: deterministic, every
// record ordered by At, running stays told with Exit nil as soon as they are
// recognised. Now is the time up to which it has told everything.
type Lines interface {
	Feed(f floorwatch.Frame) ([]floorwatch.Record, error)
	Close() []floorwatch.Record
	Now() floorwatch.Time
}

// Stage is a camera's pipeline from its lines to the records to publish:
//
//	line -> Lines -> stays, gaps -> Waits -> waits -> Intervals -> intervals
//	             \-> crossings -----------------------------------> counts
//
// What it publishes is a function of the lines alone. It is not safe for use by
// more than one goroutine.
type Stage struct {
	lines     Lines
	waits     *Waits
	intervals *Intervals // nil: none wanted
}

// NewStage ties lines to the waits of a scene, and to its intervals unless every
// is 0.
func NewStage(lines Lines, scene floorwatch.Scene, every time.Duration) (*Stage, error) {
	s := &Stage{lines: lines, waits: NewWaits(scene)}
	if every == 0 {
		return s, nil
	}
	var err error
	s.intervals, err = NewIntervals(scene, every)
	return s, err
}

// Feed takes one camera line in and returns the records that have settled, all
// of them final but for gaps that last. A line that the source of stays refuses
// changes nothing.
func (s *Stage) Feed(f floorwatch.Frame) ([]floorwatch.Record, error) {
	recs, err := s.lines.Feed(f)
	if err != nil {
		return nil, err
	}
	var out []floorwatch.Record
	for _, r := range recs {
		if out, err = s.take(out, r); err != nil {
			return nil, err
		}
	}
	if f.Event == floorwatch.EventOpen {
		if out, err = s.publish(out, s.waits.Restart(f.T)); err != nil {
			return nil, err
		}
	}
	if out, err = s.advance(out, s.lines.Now()); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b floorwatch.Record) int { return cmp.Compare(a.Head().At, b.Head().At) })
	return out, nil
}

// Close returns what is left at the end of the input: what is certain, and the
// stays and waits that still run. It publishes no interval that the end has cut
// short, for a restart may go on with it.
func (s *Stage) Close() ([]floorwatch.Record, error) {
	var out []floorwatch.Record
	for _, r := range s.lines.Close() {
		if stay, ok := r.(*floorwatch.Stay); ok && stay.Exit == nil {
			out = append(out, r) // was taken in when it was recognised
			continue
		}
		var err error
		if out, err = s.take(out, r); err != nil {
			return nil, err
		}
	}
	return s.publish(out, s.waits.Close(s.lines.Now()))
}

// Replay takes records of an earlier run in, before the first line, so that an
// interval which a restart has cut in two is published whole. Intervals that
// ended by the time given count as published.
func (s *Stage) Replay(recs []floorwatch.Record, published floorwatch.Time) error {
	if s.intervals == nil {
		return nil
	}
	s.intervals.next = published.Floor(time.Duration(s.intervals.every) * time.Millisecond)
	for _, r := range recs {
		if err := s.intervals.Feed(r); err != nil {
			return err
		}
	}
	return nil
}

// take advances to the time of a record of the source and passes it on.
func (s *Stage) take(out []floorwatch.Record, rec floorwatch.Record) ([]floorwatch.Record, error) {
	out, err := s.advance(out, rec.Head().At)
	if err != nil {
		return nil, err
	}
	if s.final(rec) {
		out = append(out, rec)
	}
	if s.intervals != nil {
		if err := s.intervals.Feed(rec); err != nil {
			return nil, err
		}
	}
	return s.publish(out, s.waits.Feed(rec))
}

// final tells whether a record is to be published.
func (s *Stage) final(rec floorwatch.Record) bool {
	switch r := rec.(type) {
	case *zone.Lost:
		return false
	case *floorwatch.Crossing:
		return s.intervals == nil // else it is in a count, and in the store once
	case *floorwatch.Stay:
		return r.Exit != nil
	}
	return true
}

// advance settles what is certain at t.
func (s *Stage) advance(out []floorwatch.Record, t floorwatch.Time) ([]floorwatch.Record, error) {
	out, err := s.publish(out, s.waits.Advance(t))
	if err != nil || s.intervals == nil {
		return out, err
	}
	for _, iv := range s.intervals.Advance(t) {
		out = append(out, iv)
	}
	for _, c := range s.intervals.Counts() {
		out = append(out, c)
	}
	return out, nil
}

// publish appends waits and counts them.
func (s *Stage) publish(out []floorwatch.Record, waits []*floorwatch.Wait) ([]floorwatch.Record, error) {
	for _, w := range waits {
		if s.intervals != nil {
			if err := s.intervals.Feed(w); err != nil {
				return nil, err
			}
		}
		out = append(out, w)
	}
	return out, nil
}
