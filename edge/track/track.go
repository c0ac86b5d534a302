// Package track joins the boxes that a detector sees, frame by frame, into
// tracks: one id for one person for as long as they can be followed. It is
// pure and deterministic: the same boxes and stamps give the same ids.
//
// New makes a Tracker, Update takes the boxes of one frame. All motion is
// timed by the frames' stamps, so 5 and 30 frames a second, and frames that
// come irregularly, need no other settings.
//
// How: each track predicts its box with a Kalman filter. Boxes with a high
// score are assigned to the tracks first; tracks left over, if they were seen a
// moment ago, may go on with a box of low score, which is how a half-hidden
// person keeps the id (the BYTE rule, Zhang et al., ECCV 2022). Both
// assignments minimise the total cost with a price on leaving a pair
// unmatched: a bad pair is worse than none. Tracks that are left over go on with
// a box that shows a part of the person or a group, or with one near the place
// where they were lost; who stood still is waited for longer than who walked.
//
// How tall people are in which row of the picture is learnt from those who walk
// (stature). Where the feet are out of sight, below the picture's edge or behind
// somebody nearer, the box is completed down to where they must be, so that the
// ground point is where the person stands.
package track

import (
	"time"

	"floorwatch/internal/assign"

	"floorwatch"
)

// Options tune a Tracker to its detector. A zero field takes the default.
type Options struct {
	High float64       // score from which a box may find any track; default 0.6
	Low  float64       // score below which a box is ignored; default 0.1
	New  float64       // score from which a box may begin a track; default High + 0.1
	Lost time.Duration // how long an unseen track waits to be found again, unless it stood still; default 2 s
}

func (o Options) withDefaults() Options {
	if o.High == 0 {
		o.High = 0.6
	}
	if o.Low == 0 {
		o.Low = 0.1
	}
	if o.New == 0 {
		o.New = o.High + 0.1
	}
	if o.Lost == 0 {
		o.Lost = 2 * time.Second
	}
	return o
}

// What a pair may cost at most; a dearer pair is left unmatched. The cost is 1
// minus a likeness of 0 to 1, see likeness.
const (
	priceHigh      = 0.8 // boxes of high score, tracks seen lately or lost
	priceLow       = 0.5 // boxes of low score: only a clear continuation
	pricePart      = 0.6 // boxes of a part of a person or of a group
	priceNear      = 1.0 // boxes near a lost track's place: see nearby
	priceTentative = 0.7 // a second box for a track that has only one
)

// lowWithin is how long ago a track may have been seen to go on with a box of
// low score; a track that is lost for longer needs a better witness. A
// continuation from one frame to the next is always allowed.
const lowWithin = 100 * time.Millisecond

// duplicate is the overlap from which two tracks follow the same person.
const duplicate = 0.85

// A Tracker follows the people of one camera. It is not safe for concurrent
// use.
type Tracker struct {
	opt     Options
	tracks  []*person // oldest first
	lastID  int64
	last    floorwatch.Time // stamp of the latest frame
	started bool
	scale   stature
	bottom  float64 // row of the picture's lower edge; 0: not known
}

// person is one track.
type person struct {
	id     int64 // 0 until confirmed by a second box
	body   motion
	seen   floorwatch.Time // stamp of the latest box
	born   floorwatch.Time
	score  float64
	box    floorwatch.Person // where the filter sees it in this frame
	active bool              // had a box in the latest frame

	rest   floorwatch.Point // the ground point that it has not left
	restAt floorwatch.Time  // since then
	taught floorwatch.Point // where it was last a lesson in height
}

// New returns a Tracker without tracks.
func New(opt Options) *Tracker { return &Tracker{opt: opt.withDefaults()} }

// Update takes the boxes that were detected in the frame with stamp t, in
// pixels with scores of 0 to 1 (their ids are ignored), and returns the people
// who are seen in it, with track ids that count from 1 and are unique within
// the Tracker. A track that is only predicted is not returned. A new track is
// returned from its second box on, except in the first frame, where all are
// taken at their word. A stamp that is not after the one before counts as the
// same moment.
func (k *Tracker) Update(t floorwatch.Time, dets []floorwatch.Person) []floorwatch.Person {
	first := !k.started
	previous := k.last
	if first || t > k.last {
		k.advance(t)
	}
	high, low := k.split(k.whole(dets))
	known, tentative := k.partition()

	rest, high := k.associate(known, high, fused, priceHigh)
	recent := make([]*person, 0, len(rest))
	for _, p := range rest {
		if p.seen >= previous || k.last.Sub(p.seen) <= lowWithin || p.stood() {
			recent = append(recent, p)
		}
	}
	k.associate(recent, low, likeness, priceLow)
	_, high = k.associate(hidden(recent), high, partly, pricePart)
	_, high = k.associate(hidden(rest), high, k.nearby, priceNear)
	_, high = k.associate(tentative, high, fused, priceTentative)
	for _, d := range high {
		if d.Score >= k.opt.New && k.alone(d) {
			k.birth(d, first)
		}
	}
	k.prune()
	return k.visible()
}

// advance moves the clock to t and predicts every track.
func (k *Tracker) advance(t floorwatch.Time) {
	if k.started {
		dt := t.Sub(k.last).Seconds()
		for _, p := range k.tracks {
			p.body.predict(dt)
		}
	}
	for _, p := range k.tracks {
		p.active = false
		p.box = p.body.box()
	}
	k.last, k.started = t, true
}

// split sorts the boxes by score into the two stages. Boxes without size are
// dropped: nothing can be assigned to them.
func (k *Tracker) split(dets []floorwatch.Person) (high, low []floorwatch.Person) {
	for _, d := range dets {
		switch {
		case !usable(d):
		case d.Score >= k.opt.High:
			high = append(high, d)
		case d.Score >= k.opt.Low:
			low = append(low, d)
		}
	}
	return high, low
}

// partition separates confirmed tracks from those with a single box.
func (k *Tracker) partition() (known, tentative []*person) {
	for _, p := range k.tracks {
		if p.id != 0 {
			known = append(known, p)
		} else {
			tentative = append(tentative, p)
		}
	}
	return known, tentative
}

// associate gives boxes to tracks at least total cost and returns what is left
// of both, in their order.
func (k *Tracker) associate(tracks []*person, dets []floorwatch.Person,
	like func(p *person, d floorwatch.Person) float64, price float64,
) ([]*person, []floorwatch.Person) {
	if len(tracks) == 0 || len(dets) == 0 {
		return tracks, dets
	}
	match := assign.Cheapest(len(tracks), len(dets), price, func(i, j int) float64 {
		return 1 - like(tracks[i], dets[j])
	})
	taken := make([]bool, len(dets))
	var restT []*person
	var restD []floorwatch.Person
	for i, j := range match {
		if j < 0 {
			restT = append(restT, tracks[i])
			continue
		}
		taken[j] = true
		k.hit(tracks[i], dets[j])
	}
	for j, d := range dets {
		if !taken[j] {
			restD = append(restD, d)
		}
	}
	return restT, restD
}

// hit tells a track its box of this frame.
func (k *Tracker) hit(p *person, d floorwatch.Person) {
	_, whole := complete(p, d)
	if whole == d && p.id != 0 {
		k.teach(p, d)
	}
	p.body.update(whole)
	p.box = p.body.box()
	p.seen, p.score, p.active = k.last, d.Score, true
	if g := p.box.Ground(); distance(g, p.rest) > stillWithin*p.box.H {
		p.rest, p.restAt = g, k.last
	}
	if p.id == 0 {
		k.lastID++
		p.id = k.lastID
	}
}

// birth begins a track.
func (k *Tracker) birth(d floorwatch.Person, confirmed bool) {
	p := &person{
		body: newMotion(d), seen: k.last, born: k.last, score: d.Score, box: d, active: true,
		rest: d.Ground(), restAt: k.last, taught: d.Ground(),
	}
	if confirmed {
		k.lastID++
		p.id = k.lastID
	}
	k.tracks = append(k.tracks, p)
}

// prune forgets tracks that waited too long, tentative ones without a second
// box, and of two tracks on one person the younger.
func (k *Tracker) prune() {
	kept := k.tracks[:0]
	for _, p := range k.tracks {
		switch {
		case p.active:
		case p.id == 0, k.last.Sub(p.seen) > k.patience(p):
			continue
		}
		kept = append(kept, p)
	}
	k.tracks = kept
	k.dropDuplicates()
}

// dropDuplicates ends the younger of a seen and a lost track that lie on each
// other: the detector once saw one person twice.
func (k *Tracker) dropDuplicates() {
	gone := make(map[*person]bool)
	for i, a := range k.tracks {
		for _, b := range k.tracks[i+1:] {
			if a.active != b.active && iou(a.box, b.box) > duplicate {
				if a.seen.Sub(a.born) >= b.seen.Sub(b.born) {
					gone[b] = true
				} else {
					gone[a] = true
				}
			}
		}
	}
	if len(gone) == 0 {
		return
	}
	kept := k.tracks[:0]
	for _, p := range k.tracks {
		if !gone[p] {
			kept = append(kept, p)
		}
	}
	k.tracks = kept
}

// visible returns the confirmed tracks that had a box in this frame.
func (k *Tracker) visible() []floorwatch.Person {
	out := make([]floorwatch.Person, 0, len(k.tracks))
	for _, p := range k.tracks {
		if p.active && p.id != 0 {
			b := p.box
			b.ID, b.Score = p.id, p.score
			out = append(out, b)
		}
	}
	return out
}
