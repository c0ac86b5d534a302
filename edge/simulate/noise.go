package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"

	"floorwatch"
)

// Noise is what a detector and a tracker do to the truth. The zero value is
// clean: everybody in the picture is seen whole, those who are hidden too.
type Noise struct {
	Miss    float64 // probability that a detection is missing, each on its own
	False   float64 // false boxes that begin, per frame; one lasts 3 frames on average
	Jitter  float64 // standard deviation of a box's place and size, pixels
	Swap    float64 // probability that two people who cross in the picture swap ids
	Drop    float64 // share of frames that are not there at all
	Hide    float64 // whoever is visible to less than this share is not seen
	Occlude float64 // longest time, s, for which something hides a standing person, on average once in occludeEvery
	Memory  float64 // time unseen, s, after which a person has a new id; 0: never
	Jump    float64 // seconds by which the clock is set in the middle of the play
}

// Level returns the noise of a level: clean, realistic or harsh.
func Level(name string) (Noise, error) {
	switch name {
	case "clean":
		return Noise{}, nil
	case "realistic":
		return Noise{Miss: 0.1, False: 0.01, Jitter: 1.5, Swap: 0.05, Hide: 0.25, Memory: 2}, nil
	case "harsh":
		return Noise{Miss: 0.3, False: 0.05, Jitter: 3, Swap: 0.15, Hide: 0.35, Occlude: 20, Memory: 1}, nil
	}
	return Noise{}, fmt.Errorf("noise %.40q: want clean, realistic or harsh", name)
}

// IDs says what the ids of the lines are.
type IDs string

// The kinds of id.
const (
	IDsTruth  IDs = "truth"  // the person's own
	IDsBroken IDs = "broken" // as a tracker gives them
	IDsNone   IDs = "none"   // 0: detections that nobody has tracked
)

const (
	occludeEvery = 180.0 // s of standing between two occlusions, on average
	falseFrames  = 3.0   // length of a false box, on average
	inPicture    = 0.3   // least share of a box in the picture with which it is seen
	sideways     = 0.3   // of a width apart: clearly on one side of each other
	alike        = 0.3   // intersection over union from which two boxes can be confused
)

// sight is what the picture shows of a person.
type sight struct {
	id          int64
	last        float64 // when last seen
	hiddenUntil float64
	still       point  // where the mask below is right
	mask        uint32 // cells that blocks hide
	masked      bool
}

// eye turns boxes into what a worker prints.
type eye struct {
	Noise
	ids    IDs
	rand   *rand.Rand
	view   *view
	lastID int64
	ghosts []floorwatch.Person // false boxes
	pairs  map[[2]int]pair     // of people who overlap in the picture
	spare  map[[2]int]pair
	before float64 // time of the frame before
}

// look returns the people that a frame at t shows, nearest first.
func (e *eye) look(t float64, boxes []Box) []floorwatch.Person {
	people := make([]floorwatch.Person, 0, len(boxes)+2)
	if e.ids == IDsBroken && e.Swap > 0 {
		e.swap(boxes)
	}
	for i := range boxes {
		b := &boxes[i]
		if e.hidden(t, b) || e.Miss > 0 && e.rand.Float64() < e.Miss {
			continue
		}
		if p, ok := e.detect(b); ok {
			p.ID = e.id(t, b.who)
			people = append(people, p)
		}
	}
	if e.False > 0 {
		people = e.haunt(people)
	}
	e.before = t
	return people
}

// hidden tells whether somebody or something is in front of a person.
func (e *eye) hidden(t float64, b *Box) bool {
	s := &b.who.seen
	if e.Occlude > 0 && b.who.standing() && t >= s.hiddenUntil && e.rand.Float64() < (t-e.before)/occludeEvery {
		s.hiddenUntil = t + e.Occlude*e.rand.Float64()
	}
	return t < s.hiddenUntil || e.Hide > 0 && b.Visible < e.Hide
}

// detect returns the box that is printed for a true one: trembling, cut by the
// picture's edge.
func (e *eye) detect(b *Box) (floorwatch.Person, bool) {
	x, y, w, h := b.X, b.Y, b.W, b.H
	if e.Jitter > 0 {
		dx, foot := e.Jitter*e.rand.NormFloat64(), e.Jitter*e.rand.NormFloat64()
		wide, tall := e.Jitter*e.rand.NormFloat64(), e.Jitter*e.rand.NormFloat64()
		w, h = max(w+wide, w/2), max(h+tall, h/2)
		x, y = b.X+b.W/2+dx-w/2, b.Y+b.H+foot-h
	}
	left, top := max(x, 0), max(y, 0)
	right, bottom := min(x+w, e.view.w), min(y+h, e.view.h)
	if right-left < 2 || bottom-top < 2 || (right-left)*(bottom-top) < inPicture*w*h {
		return floorwatch.Person{}, false
	}
	p := floorwatch.Person{X: tenth(left), Y: tenth(top), Score: math.Round((0.5+0.45*b.Visible)*100) / 100}
	p.W, p.H = tenth(right-p.X), tenth(bottom-p.Y)
	return p, true
}

func tenth(v float64) float64 { return math.Round(v*10) / 10 }

// id returns the id under which a person is seen at t.
func (e *eye) id(t float64, p *person) int64 {
	switch e.ids {
	case IDsNone:
		return 0
	case IDsTruth:
		return int64(p.id)
	}
	s := &p.seen
	if s.id == 0 || e.Memory > 0 && t-s.last > e.Memory {
		e.lastID++
		s.id = e.lastID
	}
	s.last = t
	return s.id
}

// pair is how two people stand to each other in the picture since they overlap.
type pair struct {
	side int8    // of the first: -1 left, 1 right, 0 not yet clear
	iou  float64 // largest so far
}

// swap lets people who cross each other in the picture, so close that they look
// alike, swap ids.
func (e *eye) swap(boxes []Box) {
	clear(e.spare)
	for i := range boxes {
		for j := range i {
			a, b := &boxes[i], &boxes[j]
			if a.Person > b.Person {
				a, b = b, a
			}
			iou := overlap(a, b)
			if iou == 0 {
				continue
			}
			key := [2]int{a.Person, b.Person}
			before := e.pairs[key]
			now := pair{before.side, max(before.iou, iou)}
			switch apart := (a.X + a.W/2 - b.X - b.W/2) / min(a.W, b.W); {
			case apart < -sideways:
				now.side = -1
			case apart > sideways:
				now.side = 1
			}
			if before.side != 0 && now.side != before.side {
				if now.iou >= alike && e.rand.Float64() < e.Swap {
					s, o := &a.who.seen, &b.who.seen
					s.id, o.id, s.last, o.last = o.id, s.id, o.last, s.last
				}
				now.iou = iou
			}
			e.spare[key] = now
		}
	}
	e.pairs, e.spare = e.spare, e.pairs
}

// overlap returns the intersection over union of two boxes.
func overlap(a, b *Box) float64 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}

// haunt appends false boxes.
func (e *eye) haunt(people []floorwatch.Person) []floorwatch.Person {
	kept := e.ghosts[:0]
	for _, g := range e.ghosts {
		if e.rand.Float64() >= 1/falseFrames {
			kept = append(kept, g)
		}
	}
	e.ghosts = kept
	if e.rand.Float64() < e.False {
		e.lastID++
		h := e.view.h * (0.1 + 0.3*e.rand.Float64())
		w := h * (0.3 + 0.2*e.rand.Float64())
		g := floorwatch.Person{ID: e.lastID, W: tenth(w), H: tenth(h), Score: 0.4}
		g.X, g.Y = tenth(e.rand.Float64()*(e.view.w-w)), tenth(e.rand.Float64()*(e.view.h-h))
		e.ghosts = append(e.ghosts, g)
	}
	for _, g := range e.ghosts {
		switch e.ids {
		case IDsNone:
			g.ID = 0
		case IDsTruth:
			g.ID += ghostIDs
		}
		people = append(people, g)
	}
	return people
}

// ghostIDs keeps the ids of false boxes apart from those of people.
const ghostIDs = 1_000_000
