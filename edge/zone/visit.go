package zone

import (
	"floorwatch"
)

// track is a person's memory between sightings.
type track struct {
	id       int64
	lastSeen floorwatch.Time
	absentAt floorwatch.Time // first frame without the person since lastSeen; 0: none
	visits   []visit         // one per zone
	passages []passage       // one per line
	ground   floorwatch.Point
}

// visit is what one track does in one zone: a stay in the making. Only a
// qualified visit is a stay.
type visit struct {
	active    bool
	wasIn     bool // where the last sighting was, by the bare polygon
	confirmed bool // was clearly inside, or long enough
	qualified bool // confirmed and at least min_stay long: a stay, and announced
	enterSeen bool
	enter     floorwatch.Time
	merged    floorwatch.Time // milliseconds of joined breaks

	outAt   floorwatch.Time // first sighting outside after the last inside; 0: inside
	clearAt floorwatch.Time // first sighting clearly outside since outAt; 0: none
}

// sight takes in where the person was seen at t, before the track's own memory
// is brought to t. It tells whether the visit became a stay just now.
func (v *visit) sight(a *area, tr *track, t floorwatch.Time, known, in, clear bool) bool {
	switch {
	case in && v.active:
		v.resume(tr, t)
	case in:
		v.begin(a, tr, t, known)
	case v.active && !v.confirmed:
		v.active = false // swayed over the border and back
	case v.active && v.outAt == 0:
		v.leave(tr, t)
	}
	if v.active && in {
		v.confirmed = v.confirmed || clear || t-v.enter >= a.linger
	}
	if v.active && !in && clear && v.clearAt == 0 {
		v.clearAt = t
	}
	v.wasIn = in
	if !v.active || !v.confirmed || v.qualified || v.end(t)-v.enter < a.minStay {
		return false
	}
	v.qualified = true
	return true
}

// begin opens a visit. Whoever appears inside is inside; whoever was seen to
// cross the border has to come clear of it first.
func (v *visit) begin(a *area, tr *track, t floorwatch.Time, known bool) {
	crossed := known && !v.wasIn && t-tr.lastSeen <= a.patience
	*v = visit{active: true, enter: t, enterSeen: crossed, confirmed: !crossed}
}

// resume joins a break that a sighting inside at t has ended.
func (v *visit) resume(tr *track, t floorwatch.Time) {
	unseen := tr.absentAt != 0 || t-tr.lastSeen > ms(floorwatch.MaxFrameGap)
	switch {
	case v.outAt != 0 && (v.clearAt != 0 || unseen):
		v.merged += t - v.outAt
	case v.outAt == 0 && unseen:
		v.merged += t - tr.lastSeen
	}
	v.outAt, v.clearAt = 0, 0
}

// leave notes the first sighting outside. A person who was out of sight before
// it left somewhere in between; the sighting is what we know.
func (v *visit) leave(tr *track, t floorwatch.Time) {
	if tr.absentAt != 0 || t-tr.lastSeen > ms(floorwatch.MaxFrameGap) {
		v.merged += t - tr.lastSeen
	}
	v.outAt = t
}

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
