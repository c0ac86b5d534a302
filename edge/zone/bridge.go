package zone

import (
	"cmp"
	"math"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/internal/assign"
)

// # How somebody who was lost is found again
//
// Who is lost inside the picture has not left: a person is hidden, or the
// detector misses them. So a track that appears inside is, first of all, one of
// those who were lost. Bridging works on the whole picture and for as long as
// the zone with the longest bridge says.
//
// A track that appears while somebody is lost within reach is a newcomer for
// proof: its sightings wait. Then it is decided who it is, of all newcomers and
// all lost people together, so that the pairs are likely as a whole (assignment
// with a price on staying alone). How likely a pair is, is the density of
// finding the lost person at that place after that time, against that of a
// stranger appearing there:
//
//   - who stood is near: within a third of their height, and as time passes
//     within somewhat more, as lines move up;
//   - who walked is where they were going to, the less surely the longer it lasts;
//   - or they are anywhere they could have walked to.
//
// The height must fit, and nobody is two: a lost person is not found before they
// were lost, and is taken by one newcomer only. At the picture's edge people
// come and go, so that a stranger is likely there.
//
// The sightings of whoever was found are then theirs as if the track had never
// broken. The seconds between are bridged, counted apart. When a zone's border
// lies between the two places the stay begins or ends while nobody looked: they
// stand, walk straight and stand; who walked at one end of the break alone
// walked at that end of it.

const (
	// proof is the age at which it is decided who a newcomer is: enough to know
	// where they are heading.
	proof floorwatch.Time = 1500
	// edgeMargin is how close to the picture's edge a box touches it, pixels.
	edgeMargin = 2
	// maxTracks bounds the ids that a stay names.
	maxTracks = 32
	// maxNewcomers and maxLost bound the work of one decision.
	maxNewcomers, maxLost = 64, 256
)

// The scene is measured in heights of the person: a walk is about 0.7 heights a
// second, a place in a line about 0.4.
const (
	walkPace   = 0.7  // heights per second, an ordinary walk
	reachPace  = 1.2  // the fastest that is believed
	walking    = 0.25 // from this pace on somebody walks
	still      = 0.1  // spread of where a person is found who did not move, heights
	stayed     = 60.0 // seconds for which people stand in one place
	tremble    = 0.3  // spread of where a person is found who shifted a little
	drift      = 0.1  // and how it grows with the root of the seconds
	stray      = 0.3  // spread of a walker's pace, of their pace
	heightTerm = 0.07 // spread of the logarithm of heights, with long tails
	misfit     = 0.7  // what does not fit at all
	// stranger is the density, per square height, of people who appear in the
	// midst of the picture and were not lost there; strangerEdge at its edge.
	stranger, strangerEdge = 0.0015, 0.15
	// Shares of what a lost person does.
	roams = 0.15
)

// sighting is where somebody was seen, in pixels of the polygons.
type sighting struct {
	at     floorwatch.Time
	missed floorwatch.Time // first frame without them since the sighting before; 0: none
	ground floorwatch.Point
	height float64
	edge   bool // the box touches the picture's edge
	found  bool // the first under a new number
	leapt  bool // rather somebody else's
}

// newcomer is a track of which it is not decided who it is.
type newcomer struct {
	id     int64
	seen   []sighting
	missed floorwatch.Time
}

func (n *newcomer) due() floorwatch.Time { return n.seen[0].at + proof }

// velocity is the newcomer's, in pixels per second: from the first sighting to
// the last.
func (n *newcomer) velocity() (x, y float64) {
	a, b := n.seen[0], n.seen[len(n.seen)-1]
	if b.at-a.at < 200 {
		return 0, 0
	}
	dt := seconds(b.at - a.at)
	return (b.ground.X - a.ground.X) / dt, (b.ground.Y - a.ground.Y) / dt
}

// height is the newcomer's mean height.
func (n *newcomer) height() float64 {
	var sum float64
	for _, s := range n.seen {
		sum += s.height
	}
	return sum / float64(len(n.seen))
}

// fleeting tells whether the newcomer is gone already: more likely a false box
// than anybody.
func (n *newcomer) fleeting() bool {
	return n.missed != 0 && n.seen[len(n.seen)-1].at < n.due()-proof/2
}

// arrive takes in the first sighting of a track: of somebody new where nobody is
// lost, otherwise of a newcomer.
func (e *Engine) arrive(id int64, s sighting) {
	if len(e.newcomers) < maxNewcomers && e.anyLost(s) {
		e.newcomers = append(e.newcomers, &newcomer{id: id, seen: []sighting{s}})
		return
	}
	e.see(e.newTrack(id), &s, false, s.at)
}

// anyLost tells whether somebody is lost who could be found with s.
func (e *Engine) anyLost(s sighting) bool {
	if e.bridge <= proof {
		return false
	}
	for _, tr := range e.tracks {
		if e.reachable(tr, s) {
			return true
		}
	}
	return false
}

// reachable tells whether somebody is lost and could be found with s.
func (e *Engine) reachable(tr *track, s sighting) bool {
	gap := s.at - tr.lastSeen
	if tr.absentAt == 0 || gap <= 0 || gap > e.bridge-proof || tr.lastSeen-tr.born < proof && gap > proof {
		return false
	}
	d := math.Hypot(s.ground.X-tr.ground.X, s.ground.Y-tr.ground.Y)
	return d <= (2*tremble+reachPace*seconds(gap))*max(tr.height, s.height)
}

// follow takes in a sighting of a newcomer, and tells whether id is one.
func (e *Engine) follow(id int64, s sighting) bool {
	for _, n := range e.newcomers {
		if n.id != id {
			continue
		}
		if n.seen[len(n.seen)-1].at < s.at {
			s.missed, n.missed = n.missed, 0
			n.seen = append(n.seen, s)
		}
		return true
	}
	return false
}

// decideDue decides who the newcomers are whose time has come by t.
func (e *Engine) decideDue(t floorwatch.Time) {
	for len(e.newcomers) > 0 && e.newcomers[0].due() <= t {
		due := e.newcomers[0].due()
		e.decide(due, due)
	}
}

// decideAll decides who the newcomers are, because nothing more will be known.
func (e *Engine) decideAll() {
	if n := len(e.newcomers); n > 0 {
		e.decide(e.newcomers[n-1].due(), e.now)
	}
}

// decide says at `at` who the newcomers are that are due by `due`. The others take
// part, so that nobody is given away who is likelier to be one of them.
func (e *Engine) decide(due, at floorwatch.Time) {
	lost := e.lostPeople()
	match := assign.Heaviest(len(e.newcomers), len(lost), func(i, j int) float64 { return e.likely(lost[j], e.newcomers[i]) })
	all := e.newcomers
	e.newcomers = nil
	for i, n := range all {
		switch {
		case n.due() > due:
			e.newcomers = append(e.newcomers, n)
		case match[i] >= 0:
			e.find(lost[match[i]], n, at)
		default:
			e.replay(e.newTrack(n.id), n, false, at)
		}
	}
}

// lostPeople returns those who may be found, in an order that does not depend on
// chance.
func (e *Engine) lostPeople() []*track {
	var lost []*track
	for _, tr := range e.tracks {
		if slices.ContainsFunc(e.newcomers, func(n *newcomer) bool { return e.reachable(tr, n.seen[0]) }) {
			lost = append(lost, tr)
		}
	}
	slices.SortFunc(lost, func(a, b *track) int { return cmp.Or(cmp.Compare(b.lastSeen, a.lastSeen), cmp.Compare(a.id, b.id)) })
	return lost[:min(len(lost), maxLost)]
}

// find gives a newcomer's track to a lost person.
func (e *Engine) find(tr *track, n *newcomer, at floorwatch.Time) {
	delete(e.tracks, tr.ids[len(tr.ids)-1])
	tr.rename(n.id)
	e.tracks[n.id] = tr
	n.seen[0].found = true
	e.replay(tr, n, true, at)
}

// replay takes in the sightings that have waited, at the time of the decision.
func (e *Engine) replay(tr *track, n *newcomer, known bool, at floorwatch.Time) {
	tr.decided = at
	for i := range n.seen {
		s := &n.seen[i]
		if known {
			e.settleVisits(tr, s.at)
		}
		e.see(tr, s, known, at)
		known = true
	}
	if tr.absentAt == 0 {
		tr.absentAt = n.missed
	}
}

// likely returns by how much, in logarithms, it is likelier that n is tr than
// that n is a stranger; 0 or less: rather not.
func (e *Engine) likely(tr *track, n *newcomer) float64 {
	s := n.seen[0]
	size := math.Log(n.height() / tr.height)
	if !e.reachable(tr, s) || math.Abs(size) > misfit {
		return 0
	}
	gap, h := seconds(s.at-tr.lastSeen), max(1, (tr.height+s.height)/2)
	nx, ny := n.velocity()
	place := whereabouts(motion{(s.ground.X - tr.ground.X) / h, (s.ground.Y - tr.ground.Y) / h}, motion{tr.vx / h, tr.vy / h}, motion{nx / h, ny / h}, gap)
	alien := stranger
	if s.edge {
		alien = strangerEdge
	}
	if tr.edge {
		alien *= 10
	}
	if n.fleeting() {
		alien *= 100
	}
	return math.Log(place/alien) - math.Log(1+sq(size/heightTerm))
}

// motion is a way or a velocity, in heights.
type motion struct{ x, y float64 }

func (m motion) size() float64 { return math.Hypot(m.x, m.y) }

// whereabouts returns the density, per square height, of finding somebody at d
// from where they were lost with velocity v, heading with velocity w, after gap
// seconds.
func whereabouts(d, v, w motion, gap float64) float64 {
	walks, walked := w.size() > walking, v.size() > walking
	stands, same := 1-roams, 0.6*math.Exp(-gap/stayed)
	if walked {
		stands, same = stands*0.5, 0
		if turn := (v.x*w.x + v.y*w.y) / (v.size() * w.size()); walks { // stopped between, and hardly to turn back
			stands *= 0.5 * max(0.05, (1+turn)/2)
		}
	}
	p := stands * (same*normal(d.size(), still) + (1-same)*normal(d.size(), tremble+drift*math.Sqrt(gap)))
	if walked {
		off := motion{d.x - v.x*gap, d.y - v.y*gap}
		p += (1 - roams) * 0.5 * normal(off.size(), tremble+drift*math.Sqrt(gap)+stray*v.size()*gap)
	}
	radius := 2*tremble + walkPace*gap
	if d.size() <= radius {
		p += roams / (math.Pi * radius * radius)
	}
	return p
}

// normal is the density of the circular normal distribution at d.
func normal(d, spread float64) float64 {
	return math.Exp(-d*d/(2*spread*spread)) / (2 * math.Pi * spread * spread)
}

// crossing estimates when somebody who was lost at one place and found at
// another, on the other side of a border, crossed it, and how far that may be
// wrong (standard error, seconds).
func (a *area) crossing(tr *track, s *sighting, wasIn bool) (floorwatch.Time, float64) {
	low, high := 0.0, 1.0
	for range 12 {
		mid := (low + high) / 2
		p := floorwatch.Point{X: tr.ground.X + mid*(s.ground.X-tr.ground.X), Y: tr.ground.Y + mid*(s.ground.Y-tr.ground.Y)}
		if contains(a.polygon, p) == wasIn {
			low = mid
		} else {
			high = mid
		}
	}
	gap, h := seconds(s.at-tr.lastSeen), max(1, (tr.height+s.height)/2)
	way := math.Hypot(s.ground.X-tr.ground.X, s.ground.Y-tr.ground.Y) / h
	walk := min(gap, way/walkPace)
	idle := gap - walk
	before := 0.5
	if math.Hypot(tr.vx, tr.vy)/h > walking {
		before = 0.25
	}
	after := time.Duration((idle*before + walk*high) * float64(time.Second))
	return min(s.at, max(tr.lastSeen, tr.lastSeen.Add(after))), idle / math.Sqrt(12)
}
