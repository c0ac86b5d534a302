//go:build cgo

package camera

import (
	"math"
	"time"

	"floorwatch"
)

// jump is how far the wall clock may run ahead of the monotonic one before the
// stamps follow it: more than slewing does, less than what spoils a clip.
const jump = 200 * time.Millisecond

// clock gives receive stamps: wall time carried on by the monotonic clock, so
// that it never runs back. A step of the wall clock forwards (a box that found
// its time server) is followed; a step back is not, for the stamps of one run
// must increase; it is taken over when the worker starts again.
type clock struct {
	read func() time.Time
	base time.Time // with its monotonic reading
}

func newClock(read func() time.Time) *clock { return &clock{read: read, base: read()} }

// at turns a reading of time.Now into a stamp.
func (c *clock) at(now time.Time) floorwatch.Time {
	carried := c.base.Round(0).Add(now.Sub(c.base))
	if now.Round(0).Sub(carried) > jump {
		c.base = now
		carried = now.Round(0)
	}
	return floorwatch.TimeOf(carried)
}

func (c *clock) now() floorwatch.Time { return c.at(c.read()) }

// pacer lets through at most one frame per interval, and the right number on
// average when the frames do not divide it.
type pacer struct {
	interval time.Duration // 0: everything
	next     floorwatch.Time
}

// due tells whether the frame with stamp t is to be analysed.
func (p *pacer) due(t floorwatch.Time) bool {
	if p.interval == 0 {
		return true
	}
	if t < p.next {
		return false
	}
	if p.next = p.next.Add(p.interval); p.next <= t { // the first, or after a gap
		p.next = t.Add(p.interval)
	}
	return true
}

// perSecond is the interval of a rate; 0 for no rate.
func perSecond(fps float64) time.Duration {
	if fps <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / fps)
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }
