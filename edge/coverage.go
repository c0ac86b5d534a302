package edge

import (
	"time"

	"floorwatch"
)

// coverage tells which share of the last minute a source was really watching,
// by the rule of the vocabulary: frames at most MaxFrameGap apart.
type coverage struct {
	began, last floorwatch.Time
	spans       []span // of the last window, oldest first
}

type span struct{ from, to floorwatch.Time }

// coverageWindow is the time over which live coverage is told.
const coverageWindow = time.Minute

// frame books an analysed frame.
func (c *coverage) frame(t floorwatch.Time) {
	switch {
	case c.last == 0:
		c.began = t
		c.spans = append(c.spans, span{t, t})
	case t.Sub(c.last) <= floorwatch.MaxFrameGap:
		c.spans[len(c.spans)-1].to = t
	default:
		c.spans = append(c.spans, span{t, t})
	}
	c.last = t
}

// share returns the observed part of the minute before now, 0..1; before a
// minute has passed since the first frame, of the time since then.
func (c *coverage) share(now floorwatch.Time) float64 {
	from := max(now.Add(-coverageWindow), c.began)
	if c.last == 0 || now <= from {
		return 0
	}
	for len(c.spans) > 1 && c.spans[0].to < from {
		c.spans = c.spans[1:]
	}
	var seen time.Duration
	for _, s := range c.spans {
		seen += max(min(s.to, now).Sub(max(s.from, from)), 0)
	}
	if tail := now.Sub(c.last); tail <= floorwatch.MaxFrameGap {
		seen += max(tail, 0)
	}
	return min(float64(seen)/float64(now.Sub(from)), 1)
}
