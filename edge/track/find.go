package track

import (
	"math"
	"time"

	"floorwatch"
)

// Who stands still, and how long they are waited for while nobody sees them.
const (
	stillWithin = 0.3 // heights: who stays so near to one place
	stillFor    = 1500 * time.Millisecond
	lostStill   = 8 * time.Second
)

// How far from where a hidden person should be they may be found again, in
// heights: at once, more per second, and at most. A step along the line of
// sight looks shorter than one across.
const (
	reachAtOnce = 0.3
	reachGrows  = 0.2
	reachMost   = 0.8
	foreshorten = 1.5
	sameSize    = 0.25 // log ratio of heights up to which it can be the same person
)

// crowd is the overlap with somebody seen from which a box is nobody new.
const crowd = 0.5

// stood tells whether the person stood still when last seen.
func (p *person) stood() bool { return p.id != 0 && p.seen.Sub(p.restAt) >= stillFor }

// patience is how long an unseen track waits: who stood still will most likely
// be seen in the same place.
func (k *Tracker) patience(p *person) time.Duration {
	if p.stood() {
		return max(k.opt.Lost, lostStill)
	}
	return k.opt.Lost
}

// hidden lists the tracks that have no box in this frame.
func hidden(tracks []*person) []*person {
	var out []*person
	for _, p := range tracks {
		if !p.active {
			out = append(out, p)
		}
	}
	return out
}

// nearby is the likeness of a lost track and a box by ground point and height.
func (k *Tracker) nearby(p *person, d floorwatch.Person) float64 {
	h := max(p.box.H, d.H)
	if math.Abs(math.Log(p.box.H/d.H)) > sameSize {
		return 0
	}
	a, b := p.box.Ground(), d.Ground()
	reach := h * min(reachMost, reachAtOnce+reachGrows*k.last.Sub(p.seen).Seconds())
	return 1 - math.Hypot(a.X-b.X, foreshorten*(a.Y-b.Y))/reach
}

// alone tells whether a box does not lie on somebody who is seen.
func (k *Tracker) alone(d floorwatch.Person) bool {
	for _, p := range k.tracks {
		if p.active && iou(p.box, d) > crowd {
			return false
		}
	}
	return true
}

func distance(a, b floorwatch.Point) float64 { return math.Hypot(a.X-b.X, a.Y-b.Y) }
