package zone

import (
	"math"
	"slices"

	"floorwatch"
)

// # How people keep their ids when they meet
//
// Where somebody walks past somebody else a tracker may take the one for the
// other: two ids swap, or the one's id walks away with the other. Bodies do not
// jump, and do not change their way of going in that moment. So while two people
// are close, two stories of them are told: that the ids are right, and that they
// were swapped at the best moment for it. Each sighting costs a story the square
// of how far it is from where the body should be by its place and velocity, and
// a swap has a price. Once the ids have become the dearer story by far they are
// swapped back; whoever is out of sight then is lost under the other's id, and
// may be found. What the wrong id brought about meanwhile is taken back.

const (
	meetWithin   = 0.7 // people are close, heights
	partBeyond   = 1.2 // and apart
	meetFor      = floorwatch.Time(10_000)
	precise      = 0.03 // how exactly a place is known at best from one frame to the next, heights
	wander       = 0.3  // and how that grows with each second unseen
	worst        = 25.0 // the most that one sighting may cost
	swapPrice    = 8.0
	surely       = 16.0
	maxMeetings  = 256 // bounds the work of a frame
	unseenBefore = floorwatch.Time(150)
)

// body is somebody in a story.
type body struct {
	ground floorwatch.Point
	v      motion // pixels per second
	at     floorwatch.Time
}

// sight moves a body to a place and returns what that costs.
func (b *body) sight(p floorwatch.Point, t floorwatch.Time, tr *track) float64 {
	dt := seconds(t - b.at)
	dx, dy := p.X-b.ground.X, p.Y-b.ground.Y
	spread := max(precise*tr.height, math.Sqrt(tr.noise/2)) + wander*tr.height*seconds(max(0, t-b.at-unseenBefore))
	cost := (sq(dx-b.v.x*dt) + sq(dy-b.v.y*dt)) / sq(spread)
	w := min(1, dt/steady)
	b.v.x += w * (dx/dt - b.v.x)
	b.v.y += w * (dy/dt - b.v.y)
	b.ground, b.at = p, t
	return min(worst, cost)
}

// story is where two bodies are, and what it costs to believe it.
type story struct {
	a, b body
	cost float64
}

// meeting is of two people who are close.
type meeting struct {
	a, b     *track
	since    floorwatch.Time
	straight story // a has a's id
	crossed  story // a has b's id, since swapped
	swapped  floorwatch.Time
}

// glimpse is where the frame shows somebody's id.
type glimpse struct {
	ground floorwatch.Point
	seen   bool
}

// tell goes on with both stories.
func (m *meeting) tell(a, b glimpse, t floorwatch.Time) {
	now := m.straight
	now.cost += swapPrice
	now.tell(b, a, t, m.a, m.b)
	if m.swapped != 0 {
		m.crossed.tell(b, a, t, m.a, m.b)
	}
	if m.swapped == 0 || now.cost < m.crossed.cost {
		m.crossed, m.swapped = now, t
	}
	m.straight.tell(a, b, t, m.a, m.b)
}

func (s *story) tell(a, b glimpse, t floorwatch.Time, trA, trB *track) {
	if a.seen {
		s.cost += s.a.sight(a.ground, t, trA)
	}
	if b.seen {
		s.cost += s.b.sight(b.ground, t, trB)
	}
}

// over tells whether there is nothing more to find out.
func (m *meeting) over(t floorwatch.Time) bool {
	a, b := m.straight.a, m.straight.b
	d := math.Hypot(a.ground.X-b.ground.X, a.ground.Y-b.ground.Y)
	return t-m.since > meetFor || d > partBeyond*max(m.a.height, m.b.height)
}

// unswap swaps ids back that were swapped by the frame f.
func (e *Engine) unswap(f *floorwatch.Frame) {
	e.meetings = slices.DeleteFunc(e.meetings, func(m meeting) bool { return m.over(f.T) })
	for i := range e.meetings {
		m := &e.meetings[i]
		m.tell(e.glimpse(f, m.a), e.glimpse(f, m.b), f.T)
		if m.straight.cost > m.crossed.cost+surely {
			e.swap(m)
			m.since = f.T - meetFor - 1 // over
		}
	}
}

// glimpse returns where the frame shows somebody under their present id.
func (e *Engine) glimpse(f *floorwatch.Frame, tr *track) glimpse {
	id := tr.ids[len(tr.ids)-1]
	for i := range f.People {
		if f.People[i].ID == id {
			return glimpse{e.sighting(f.T, f.People[i]).ground, true}
		}
	}
	return glimpse{}
}

// swap gives each of two people the other's id.
func (e *Engine) swap(m *meeting) {
	idA, idB := m.a.ids[len(m.a.ids)-1], m.b.ids[len(m.b.ids)-1]
	m.a.rename(idB)
	m.b.rename(idA)
	e.tracks[idA], e.tracks[idB] = m.b, m.a
	m.a.restore(m.crossed.a, m.swapped)
	m.b.restore(m.crossed.b, m.swapped)
}

// rename adds an id.
func (tr *track) rename(id int64) {
	if len(tr.ids) >= maxTracks {
		tr.ids = slices.Delete(tr.ids, 1, 2)
	}
	tr.ids = append(tr.ids, id)
}

// restore takes back what the other's sightings since a time made of somebody.
func (tr *track) restore(b body, since floorwatch.Time) {
	tr.ground, tr.vx, tr.vy = b.ground, b.v.x, b.v.y
	for z := range tr.visits {
		v := &tr.visits[z]
		switch {
		case v.active && v.outAt >= since:
			v.outAt, v.clearAt, v.wasIn = 0, 0, true
		case v.active && v.enter >= since && !v.qualified:
			*v = visit{}
		}
	}
}

// meet notes who is close to whom, after a frame at t in which the people of
// e.present were seen.
func (e *Engine) meet(t floorwatch.Time) {
	for i, a := range e.present {
		for _, b := range e.present[:i] {
			near := meetWithin * max(a.height, b.height)
			if t-max(a.born, b.born) < proof || math.Abs(a.ground.X-b.ground.X) > near || math.Abs(a.ground.Y-b.ground.Y) > near {
				continue
			}
			if len(e.meetings) < maxMeetings && !e.meeting(a, b) {
				s := story{a: a.body(), b: b.body()}
				e.meetings = append(e.meetings, meeting{a: a, b: b, since: t, straight: s})
			}
		}
	}
	e.present = e.present[:0]
}

func (tr *track) body() body { return body{tr.ground, motion{tr.vx, tr.vy}, tr.lastSeen} }

func (e *Engine) meeting(a, b *track) bool {
	return slices.ContainsFunc(e.meetings, func(m meeting) bool { return m.a == a && m.b == b || m.a == b && m.b == a })
}
