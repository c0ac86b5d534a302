package zone

import (
	"math"

	"floorwatch"
)

// track is a person's memory between sightings.
type track struct {
	id       int64           // of the first track that was taken for them
	person   int64           // number among all people of this engine
	ids      []int64         // all of those tracks, the latest last
	born     floorwatch.Time // first seen
	inside   bool            // then, in the midst of the picture
	leftAt   floorwatch.Time // when they were last seen to leave a queue
	lastSeen floorwatch.Time
	absentAt floorwatch.Time // first frame without the person since lastSeen; 0: none
	decided  floorwatch.Time // when it was decided that sightings are theirs; 0: they never waited
	visits   []visit         // one per zone
	passages []passage       // one per line
	ground   floorwatch.Point
	height   float64
	vx, vy   float64 // pixels per second, smoothed
	noise    float64 // square of how far places are from where they should be, smoothed, pixels
	edge     bool    // was last seen at the picture's edge
}

// steady is the time, in seconds, over which a velocity is smoothed, and calm the
// weight of one sighting in the trembling.
const (
	steady = 0.7
	calm   = 0.05
)

// move brings the memory to a sighting.
func (tr *track) move(s *sighting, known bool) {
	if dt := seconds(s.at - tr.lastSeen); known && dt > 0 {
		w := min(1, dt/steady)
		if dt < seconds(unseenBefore) {
			off := sq(s.ground.X-tr.ground.X-tr.vx*dt) + sq(s.ground.Y-tr.ground.Y-tr.vy*dt)
			tr.noise += calm * (min(off, sq(0.3*tr.height)) - tr.noise)
		}
		tr.vx += w * ((s.ground.X-tr.ground.X)/dt - tr.vx)
		tr.vy += w * ((s.ground.Y-tr.ground.Y)/dt - tr.vy)
		tr.height += w * (s.height - tr.height)
	} else {
		tr.height, tr.born, tr.noise = s.height, s.at, 2*sq(precise*s.height)
		tr.inside = !s.edge
	}
	tr.lastSeen, tr.absentAt, tr.ground, tr.edge = s.at, 0, s.ground, s.edge
}

// visit is what one track does in one zone: a stay in the making. Only a
// qualified visit is a stay.
type visit struct {
	active    bool
	wasIn     bool // where the last sighting was, by the bare polygon
	confirmed bool // was clearly inside, or long enough
	qualified bool // confirmed and at least min_stay long, bridges apart: a stay, and announced
	enterSeen bool
	id        int64 // of the track under which it began
	enter     floorwatch.Time
	merged    floorwatch.Time // milliseconds of joined breaks
	bridged   floorwatch.Time // milliseconds unseen between two tracks, or for long
	bridges   int
	variance  float64 // of the length, square seconds
	exitSeen  bool    // the border was seen crossed at outAt

	outAt   floorwatch.Time // first sighting outside after the last inside; 0: inside
	clearAt floorwatch.Time // first sighting clearly outside since outAt; 0: none
}

// sight takes in where the person was seen, before the track's own memory is
// brought there. It tells whether the visit became a stay just now, or one that
// is bridged.
func (v *visit) sight(a *area, tr *track, s *sighting, known, in, clear bool) bool {
	if !in && !v.active {
		v.wasIn = false
		return false
	}
	bridges, t := v.bridges, s.at
	guess := known && (s.found || t-tr.lastSeen > a.patience)
	if in && v.active && v.outAt == 0 && v.qualified && !guess && tr.absentAt == 0 && t-tr.lastSeen <= ms(floorwatch.MaxFrameGap) {
		v.wasIn = true
		return false // as most of the time
	}
	crossed, off := t, 0.0
	if guess { // nothing of it is certain before t
		tr.decided = max(tr.decided, t)
	}
	if in != v.wasIn {
		switch off = seconds(t-tr.lastSeen) / math.Sqrt(12); {
		case guess:
			crossed, off = a.crossing(tr, s, v.wasIn)
		case s.leapt:
			off = doubt
		}
	}
	switch {
	case in && v.active:
		v.resume(tr, t, guess)
	case in:
		v.begin(a, tr, t, known, guess, crossed, off)
	case v.active && !v.confirmed:
		v.active = false // swayed over the border and back
	case v.active && v.outAt == 0:
		v.leave(a, tr, t, guess, crossed, off)
	}
	if v.active && in {
		v.confirmed = v.confirmed || clear || t-v.enter >= a.linger
	}
	if v.active && !in && clear && v.clearAt == 0 {
		v.clearAt = t
	}
	v.wasIn = in
	if v.active && v.qualified {
		return v.bridges != bridges && v.outAt == 0
	}
	if !v.active || !v.confirmed || v.end(t)-v.enter-v.bridged < a.minStay {
		return false
	}
	v.qualified = true
	return true
}

// doubt is the standard error, in seconds, of a visit which begins or ends with a
// leap: it may be another's.
const doubt = 10.0

// leaps tells whether somebody would have been faster than anybody walks.
func leaps(tr *track, s *sighting) bool {
	way := math.Hypot(s.ground.X-tr.ground.X, s.ground.Y-tr.ground.Y)
	return way > (leap+reachPace*seconds(s.at-tr.lastSeen))*tr.height
}

// leap is how far a place may be off at most, and samePlace how near somebody is at
// the same place, heights.
const leap, samePlace = 0.1, 0.3

// leapt tells whether somebody leaps to where somebody else is or just was, so that
// the sighting is rather the other's.
func (e *Engine) leapt(tr *track, s *sighting) bool {
	if e.bridge == 0 || !leaps(tr, s) {
		return false
	}
	near := samePlace * tr.height
	for _, o := range e.tracks {
		at := s.ground
		if o.lastSeen == s.at { // they have changed places
			at = tr.ground
		}
		if o != tr && math.Hypot(o.ground.X-at.X, o.ground.Y-at.Y) <= near {
			return true
		}
	}
	return false
}

// begin opens a visit. Whoever appears inside is inside; whoever was seen to
// cross the border has to come clear of it first.
func (v *visit) begin(a *area, tr *track, t floorwatch.Time, known, guess bool, at floorwatch.Time, off float64) {
	crossed := known && !v.wasIn && t-tr.lastSeen <= a.hold
	*v = visit{active: true, id: tr.ids[len(tr.ids)-1], enter: t, enterSeen: crossed && t-tr.lastSeen <= a.patience, confirmed: !crossed}
	switch {
	case !crossed:
		v.variance = sq(seconds(a.unseen))
	case guess:
		v.enter, v.bridged, v.bridges, v.variance = at, t-at, 1, sq(off)
	default:
		v.variance = sq(off)
	}
}

// resume joins a break that a sighting inside at t has ended.
func (v *visit) resume(tr *track, t floorwatch.Time, guess bool) {
	unseen := tr.absentAt != 0 || t-tr.lastSeen > ms(floorwatch.MaxFrameGap)
	switch {
	case v.outAt != 0 && (v.clearAt != 0 || unseen):
		v.merged += t - v.outAt
	case v.outAt != 0:
	case guess:
		v.bridged += t - tr.lastSeen
		v.bridges++
	case unseen:
		v.merged += t - tr.lastSeen
	}
	v.outAt, v.clearAt = 0, 0
}

// leave notes the first sighting outside. A person who was out of sight before
// it left somewhere in between; the sighting is what we know.
func (v *visit) leave(a *area, tr *track, t floorwatch.Time, guess bool, at floorwatch.Time, off float64) {
	v.outAt, v.exitSeen = t, t-tr.lastSeen <= a.patience
	if a.role == floorwatch.RoleQueue && v.exitSeen {
		tr.leftAt = t
	}
	v.variance += sq(off)
	switch {
	case guess:
		v.outAt = at
		v.bridged += at - tr.lastSeen
		v.bridges++
	case tr.absentAt != 0 || t-tr.lastSeen > ms(floorwatch.MaxFrameGap):
		v.merged += t - tr.lastSeen
	}
}

func sq(x float64) float64 { return x * x }

// end returns when the visit ended if nothing more of it is seen after last.
func (v *visit) end(last floorwatch.Time) floorwatch.Time {
	if v.outAt != 0 {
		return v.outAt
	}
	return last
}

// due returns the first millisecond at which the visit is over for certain if
// nothing more is seen. It depends on frames only, never on when it is asked.
func (v *visit) due(a *area, tr *track) floorwatch.Time {
	patience, gap := a.patience, a.mergeGap
	if !v.confirmed { // must be decided within linger plus one frame gap of its start
		patience = ms(floorwatch.MaxFrameGap)
		gap = min(gap, patience)
	}
	if v.outAt == 0 { // who is lost inside may be found
		patience, gap = max(patience, a.bridge), max(gap, a.bridge)
	}
	silent := tr.lastSeen + patience + 1
	if v.outAt == 0 {
		if tr.absentAt == 0 {
			return silent
		}
		return max(tr.absentAt, tr.lastSeen+gap+1)
	}
	if tr.absentAt != 0 {
		return max(tr.absentAt, v.outAt+gap+1)
	}
	if v.clearAt == 0 && v.qualified {
		return min(silent, v.outAt+a.linger+1)
	}
	return min(silent, max(v.clearAt, v.outAt+gap+1))
}
