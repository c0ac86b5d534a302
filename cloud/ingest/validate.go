package ingest

import (
	"fmt"
	"time"

	"floorwatch"
)

// maxAhead is how far a box's clock may run ahead of ours.
const maxAhead = 10 * time.Minute

// window is the span in which a record may lie.
type window struct{ oldest, newest floorwatch.Time }

// check tells why rec cannot be true or cannot be stored; nil when it can. It
// never panics, whatever a box sends.
func check(rec floorwatch.Record, w window) error {
	if err := rec.Check(); err != nil {
		return err
	}
	return w.check(rec)
}

func (w window) check(rec floorwatch.Record) error {
	if err := w.holds("at", rec.Head().At); err != nil {
		return err
	}
	from, to := rec.Span()
	switch rec.(type) {
	case *floorwatch.Deleted:
		return nil // what is deleted may be older than all that is stored
	case *floorwatch.Interval: // its start is its point's time
		if err := w.holds("start", from); err != nil {
			return err
		}
	}
	if to != nil {
		return w.holds("end", *to)
	}
	return nil
}

func (w window) holds(what string, t floorwatch.Time) error {
	switch {
	case t < w.oldest:
		return fmt.Errorf("%s %d is older than the retention, which reaches back to %s", what, t, w.oldest)
	case t > w.newest:
		return fmt.Errorf("%s %d is more than %s ahead of the clock", what, t, maxAhead)
	}
	return nil
}
