package queue

import (
	"fmt"

	"floorwatch"
)

// tally is what is known of one line: the crossings of intervals that are not
// published.
type tally struct {
	name      string
	crossings map[string]*floorwatch.Crossing
}

// Counts returns the counts of the lines for the intervals that Advance and
// Close have returned since the last call, in order of time and then of the
// scene's lines: one for each line and interval, with what was observed.
func (iv *Intervals) Counts() []*floorwatch.Count {
	out := iv.counts
	iv.counts = nil
	return out
}

func (iv *Intervals) crossing(c *floorwatch.Crossing) error {
	if err := iv.check(c.Header, c.T, nil); err != nil {
		return err
	}
	for _, l := range iv.lines {
		if l.name != c.Line {
			continue
		}
		if c.T >= iv.next {
			l.crossings[c.ID] = c
		}
		return nil
	}
	return fmt.Errorf("%s record %.100q: line %.50q is not among the lines given", c.Kind, c.ID, c.Line)
}

// count returns the count of [start, end) and forgets what only it needed.
func (iv *Intervals) count(l *tally, start, end, at floorwatch.Time, seen []span) *floorwatch.Count {
	r := &floorwatch.Count{
		Header: floorwatch.Header{
			Kind: floorwatch.KindCount, Camera: iv.camera, At: at, Rev: iv.rev, By: iv.by,
			ID: fmt.Sprintf("%s-%d-%d", l.name, start, iv.every),
		},
		Line: l.name, Start: start, End: end,
	}
	var observed floorwatch.Time
	for _, s := range seen {
		observed += s.to - s.from
	}
	r.Coverage = float64(observed) / float64(end-start)
	for id, c := range l.crossings {
		if c.T >= end {
			continue
		}
		if delete(l.crossings, id); c.T < start {
			continue
		}
		if c.In {
			r.In++
		} else {
			r.Out++
		}
	}
	return r
}
