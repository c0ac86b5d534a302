package simulate

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"floorwatch"
)

// Options of a play. Zero values are the defaults.
type Options struct {
	Seed   uint64
	Noise  Noise
	IDs    IDs             // default: broken where Noise has a memory, else truth
	FPS    float64         // frames per second; default 10
	From   time.Duration   // the lines begin here; the truth holds what was before too
	Length time.Duration   // when the play ends; default: the hall's
	Start  floorwatch.Time // default: DefaultStart
	Camera string          // name in the truth's records; default "camera"
}

// DefaultStart is a Monday, 09:00 in Shanghai.
const DefaultStart floorwatch.Time = 1767574800000

// DefaultFPS is how many frames a second a play has.
const DefaultFPS = 10

// Play is one play of a hall. It is not safe for use by more than one goroutine.
type Play struct {
	hall   *Hall
	opts   Options
	view   *view
	world  *world
	record *recorder
	eye    *eye
	boxes  []Box
	k      int64 // frames so far, dropped ones too
	n      int64 // frames that were given
	last   floorwatch.Time
	opened bool
	closed bool
}

// New prepares a play of a hall that Load or Parse returned.
func New(h *Hall, opts Options) *Play {
	opts.FPS = min(max(cmp.Or(opts.FPS, DefaultFPS), 0.1), 100)
	opts.Length = cmp.Or(opts.Length, h.Length)
	opts.Start = cmp.Or(opts.Start, DefaultStart)
	opts.Camera = cmp.Or(opts.Camera, "camera")
	if opts.IDs == "" {
		opts.IDs = IDsTruth
		if opts.Noise.Memory > 0 {
			opts.IDs = IDsBroken
		}
	}
	p := &Play{hall: h, opts: opts, view: h.view(), last: opts.Start.Add(opts.From)}
	p.k = int64(math.Round(opts.From.Seconds() * opts.FPS))
	scene := h.Scene()
	p.record = &recorder{
		view: p.view, scene: scene, rev: scene.Rev(), camera: opts.Camera, start: opts.Start, inside: map[*person]bool{},
	}
	p.world = newWorld(h, opts.Seed, p.record)
	p.eye = &eye{
		Noise: opts.Noise, ids: opts.IDs, rand: stream(opts.Seed, 4), view: p.view, before: opts.From.Seconds(),
		pairs: map[[2]int]pair{}, spare: map[[2]int]pair{},
	}
	return p
}

// Scene returns the hall's zones in pixels, as `floorwatch stays -zones` takes them.
func (p *Play) Scene() floorwatch.Scene { return p.record.scene }

// Next returns the next line: an open event, the frames, a closed event. It
// returns false when the play is over. Frames do not share memory.
func (p *Play) Next() (floorwatch.Frame, bool) {
	if !p.opened {
		p.opened = true
		return floorwatch.Frame{T: p.last, Event: floorwatch.EventOpen, W: p.hall.Picture.Width, H: p.hall.Picture.Height, By: "simulated " + p.hall.Name}, true
	}
	for {
		p.k++
		t := float64(p.k) / p.opts.FPS
		if p.closed {
			return floorwatch.Frame{}, false
		}
		if t > p.opts.Length.Seconds() {
			p.closed = true
			p.advance(p.opts.Length.Seconds())
			return floorwatch.Frame{T: p.stamp(p.opts.Length.Seconds()), Event: floorwatch.EventClosed, Cause: "the play is over"}, true
		}
		p.advance(t)
		people := p.eye.look(t, p.see(t))
		if p.opts.Noise.Drop > 0 && p.eye.rand.Float64() < p.opts.Noise.Drop {
			continue
		}
		p.n++
		return floorwatch.Frame{T: p.stamp(t), N: p.n, W: p.hall.Picture.Width, H: p.hall.Picture.Height, People: people}, true
	}
}

// advance plays until the state that is not before t.
func (p *Play) advance(t float64) {
	for p.world.now < t-1e-9 {
		p.world.advance()
	}
}

// stamp returns the worker's stamp of time t: the clock's, never running back.
func (p *Play) stamp(t float64) floorwatch.Time {
	at := p.record.stamp(t)
	if p.opts.Noise.Jump != 0 && t > p.opts.Length.Seconds()/2 {
		at += floorwatch.Time(math.Round(p.opts.Noise.Jump * 1000))
	}
	p.last = max(at, p.last+1)
	return p.last
}

// see returns where everybody is at t, nearest to the camera first, with what is
// visible of them.
func (p *Play) see(t float64) []Box {
	u := 1 - (p.world.now-t)/step
	p.boxes = p.boxes[:0]
	for _, who := range p.world.people {
		at := lerp(who.was, who.pos, u)
		if b, ok := p.view.box(at, who.height, who.width); ok {
			b.Person, b.who = who.id, who
			b.mask = p.view.cut(&b) | p.behind(who, at)
			p.boxes = append(p.boxes, b)
		}
	}
	slices.SortFunc(p.boxes, func(a, b Box) int { return cmp.Or(cmp.Compare(a.deep, b.deep), cmp.Compare(a.Person, b.Person)) })
	for i := range p.boxes {
		b := &p.boxes[i]
		for j := range i {
			if o := &p.boxes[j]; o.X < b.X+b.W && b.X < o.X+o.W && o.Y < b.Y+b.H && b.Y < o.Y+o.H {
				b.mask |= o.covers(b)
			}
		}
		b.Visible = 1 - float64(bits.OnesCount32(b.mask))/(bodyCols*bodyRows)
	}
	return p.boxes
}

// behind returns the cells that blocks hide, remembered while a person stands.
func (p *Play) behind(who *person, at point) uint32 {
	s := &who.seen
	if !s.masked || s.still != at {
		s.mask, s.still, s.masked = p.view.hides(at, who.height, who.width), at, true
	}
	return s.mask
}

// Boxes returns where everybody truly is in the picture of the frame that Next
// gave last, nearest first. The slice is valid until the next call of Next.
func (p *Play) Boxes() []Box { return p.boxes }

// Truth returns what happened up to the line that Next gave last.
func (p *Play) Truth() Truth {
	t := Truth{Tally: p.world.tally}
	t.Stays, t.Waits = p.record.records()
	return t
}
