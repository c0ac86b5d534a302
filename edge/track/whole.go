package track

import "floorwatch"

// A box shorter or taller than these shares of the track's height shows a part
// of the person, or a group; completed, it is worth a share of a whole one.
const (
	partFrom  = 0.8
	partTo    = 1.25
	partWorth = 0.8
)

// Where feet are out of sight: a box that ends so near to the picture's edge
// (pixels), and one behind somebody that is shorter than people are by so much.
const (
	edge = 3.0
	cut  = 1.15
)

// partly is the likeness of a track and a box that shows a part of the person,
// or a group that they stand in.
func partly(p *person, d floorwatch.Person) float64 {
	l, _ := complete(p, d)
	return l
}

// complete gives a box that is too short or too tall for the track the track's
// height, measured from the head or from the feet, whichever fits better. It
// returns the likeness and the box.
func complete(p *person, d floorwatch.Person) (float64, floorwatch.Person) {
	best, box := likeness(p, d), d
	r := d.H / p.box.H
	if p.id == 0 || r >= partFrom && r <= partTo || r < 0.3 || r > 3 {
		return best, box
	}
	for _, c := range [...]floorwatch.Person{
		{X: d.X, Y: d.Y, W: d.W, H: p.box.H, Score: d.Score},
		{X: d.X, Y: d.Y + d.H - p.box.H, W: d.W, H: p.box.H, Score: d.Score},
	} {
		if l := partWorth * likeness(p, c); l > best {
			best, box = l, c
		}
	}
	return best, box
}

// whole completes boxes of people whose feet are out of sight: below the
// picture's edge, where the head comes in first, or behind somebody nearer.
func (k *Tracker) whole(dets []floorwatch.Person) []floorwatch.Person {
	out := make([]floorwatch.Person, 0, len(dets))
	for _, d := range dets {
		if usable(d) {
			d.H = k.trueHeight(d, dets)
		}
		out = append(out, d)
	}
	return out
}

// trueHeight returns the height of d with the feet that are out of sight.
func (k *Tracker) trueHeight(d floorwatch.Person, dets []floorwatch.Person) float64 {
	want, ok := k.scale.below(d.Y)
	if !ok || want < d.H || want > 4*d.H {
		return d.H
	}
	if k.bottom > 0 && d.Y+d.H >= k.bottom-edge {
		return want
	}
	if want < cut*d.H {
		return d.H
	}
	for _, e := range dets {
		if e.Score >= k.opt.High && usable(e) && covers(e, d) {
			return max(d.H, min(want, e.Y+e.H-d.Y)) // who is behind stands higher up
		}
	}
	return d.H
}

// covers tells whether somebody nearer hides the feet of d.
func covers(nearer, d floorwatch.Person) bool {
	foot := d.Y + d.H
	wide := min(nearer.X+nearer.W, d.X+d.W) - max(nearer.X, d.X)
	return nearer.Y < foot && nearer.Y > d.Y && nearer.Y+nearer.H > foot+0.1*d.H && wide > 0.5*d.W
}

// teach lets a person who has walked on teach how tall people are there.
func (k *Tracker) teach(p *person, d floorwatch.Person) {
	g := d.Ground()
	if d.Score < k.opt.New || distance(g, p.taught) < d.H/4 || k.bottom > 0 && g.Y >= k.bottom-edge {
		return
	}
	p.taught = g
	k.scale.learn(g.Y, d.H)
}

// Picture tells the size of the pictures in pixels, without which nobody can
// be known to stand below the lower edge.
func (k *Tracker) Picture(_, height int) { k.bottom = float64(height) }
