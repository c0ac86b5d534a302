package zone

import (
	"math"
	"slices"
	"strconv"
	"time"

	"floorwatch"
)

// Causes of an observation gap that the engine names itself; a closed or stall
// line that says more is quoted instead. CauseStart marks the span before the
// first frame (From is 0) and CauseEnd the one after the last line (To is nil):
// they say where the input begins and ends, not that a camera was dark.
const (
	CauseStart    = "start of input"
	CauseEnd      = "end of input"
	CauseFrames   = "no frames"
	CauseStall    = "stall"
	CauseClosed   = "closed"
	CauseReopened = "reopened"
)

// watch is what the engine knows of its own sight.
type watch struct {
	seen      bool            // there was a frame
	lastFrame floorwatch.Time // stamp of the latest
	dark      bool            // a gap since lastFrame was announced
	cause     string
	recent    []blind // gaps of the last minute
}

// blind is a finished gap.
type blind struct{ from, to floorwatch.Time }

// noticeGap announces a gap once no frame came for longer than MaxFrameGap.
func (e *Engine) noticeGap(t floorwatch.Time) {
	due := e.watch.lastFrame + ms(floorwatch.MaxFrameGap) + 1
	if e.watch.seen && !e.watch.dark && due <= t {
		e.dark(due, CauseFrames)
	}
}

// dark ends the observation with the latest frame. Whatever is said of a gap
// that lasts already is the better cause for it.
func (e *Engine) dark(at floorwatch.Time, cause string) {
	w := &e.watch
	if !w.seen {
		return
	}
	if w.dark {
		if cause != CauseReopened { // says nothing of why
			w.cause = cause
		}
		return
	}
	w.dark, w.cause = true, cause
	e.gap(at, w.lastFrame, nil, cause)
}

// light takes note of a frame.
func (e *Engine) light(t floorwatch.Time) {
	w := &e.watch
	switch {
	case !w.seen:
		e.gap(t, 0, &t, CauseStart)
		w.recent = append(w.recent, blind{t - ms(liveWindow), t})
	case w.dark:
		e.gap(t, w.lastFrame, &t, w.cause)
		w.recent = append(w.recent, blind{w.lastFrame, t})
	}
	w.seen, w.dark, w.lastFrame = true, false, t
	if len(w.recent) > 0 && w.recent[0].to < t-ms(liveWindow) {
		w.recent = slices.Delete(w.recent, 0, 1)
	}
}

func (e *Engine) endOfInput() {
	w := &e.watch
	switch {
	case !w.seen:
		e.gap(e.now, 0, nil, CauseStart)
	case w.dark:
		if now := e.now; now > w.lastFrame {
			e.gap(now, w.lastFrame, &now, w.cause)
		}
		e.gap(e.now, e.now, nil, CauseEnd)
	default:
		e.gap(e.now, w.lastFrame, nil, CauseEnd)
	}
}

func (e *Engine) gap(at, from floorwatch.Time, to *floorwatch.Time, cause string) {
	h := e.header(floorwatch.KindGap, at)
	h.ID = "gap-" + strconv.FormatInt(int64(from), 10)
	e.emit(at, -1, 0, &floorwatch.Gap{Header: h, Of: floorwatch.OfObservation, From: from, To: to, Cause: cause})
}

// liveWindow is the time over which ZoneState tells coverage.
const liveWindow = time.Minute

// ZoneState is the unsettled present of one zone.
type ZoneState struct {
	Zone     string
	People   int     // people inside, too short stays included
	LongestS float64 // seconds of the longest running visit, 0 when empty
	Coverage float64 // share of the last minute that was observed, 0..1
}

// Live returns the present of every zone at t, which should not be before the
// latest line.
func (e *Engine) Live(t floorwatch.Time) []ZoneState {
	states := make([]ZoneState, len(e.areas))
	coverage := e.coverage(t)
	for z := range states {
		states[z] = ZoneState{Zone: e.areas[z].name, Coverage: coverage}
	}
	for _, tr := range e.tracks {
		for z, v := range tr.visits {
			if v.active && v.confirmed && v.clearAt == 0 && v.due(&e.areas[z], tr) > t && !tr.seemsGone(t, e.areas[z].patience) {
				states[z].People++
				states[z].LongestS = max(states[z].LongestS, seconds(t-v.enter))
			}
		}
	}
	return states
}

// seemsGone tells whether somebody who has been lost for longer than patience
// may have left: they walked, or stood at the picture's edge.
func (tr *track) seemsGone(t, patience floorwatch.Time) bool {
	return t-tr.lastSeen > patience && (tr.edge || math.Hypot(tr.vx, tr.vy) > walking*tr.height)
}

// coverage returns the observed share of the last minute before t.
func (e *Engine) coverage(t floorwatch.Time) float64 {
	w := &e.watch
	if !w.seen {
		return 0
	}
	from, unseen := t-ms(liveWindow), floorwatch.Time(0)
	if w.dark || t-w.lastFrame > ms(floorwatch.MaxFrameGap) {
		unseen += max(0, t-max(from, w.lastFrame))
	}
	for _, b := range w.recent {
		unseen += max(0, min(t, b.to)-max(from, b.from))
	}
	return max(0, 1-float64(unseen)/float64(ms(liveWindow)))
}
