package queue

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"floorwatch"
)

// maxBlank bounds the intervals without any observation that are published in a
// row: a camera that is dead for longer has a gap record to say so, and a stamp
// that leaps by years must not cost millions of records.
const maxBlank = floorwatch.Time(24 * time.Hour / time.Millisecond)

// Intervals tells what happened in each zone of a camera in each interval of the
// clock. It is fed stays, waits and observation gaps in any order in which what
// is known at a time has been fed before Advance is called with that time; a
// record may come again, and a stay or gap that runs may come before its end.
// What was observed is told by the gaps alone: everything after the first of
// them that lies in none. It is not safe for use by more than one goroutine.
type Intervals struct {
	every, settle floorwatch.Time
	rev, camera   string
	by            string
	zones         []*ledger
	lines         []*tally
	counts        []*floorwatch.Count // settled and not yet asked for
	gaps          []*floorwatch.Gap   // sorted by From, none without effect
	begun         bool
	next          floorwatch.Time // start of the first interval that is not published
	last          floorwatch.Time // latest At, or time of an Advance
}

// ledger is what is known of one zone.
type ledger struct {
	zone  floorwatch.Zone
	stays map[string]*floorwatch.Stay
	waits map[string]*floorwatch.Wait
	pairs pairs
}

// MinEvery is the shortest interval: below it intervals cost more than they say.
const MinEvery = time.Second

// NewIntervals prepares intervals of the given length, at least MinEvery and in
// whole milliseconds, for the zones of a scene.
func NewIntervals(scene floorwatch.Scene, every time.Duration) (*Intervals, error) {
	if every < MinEvery || every%time.Millisecond != 0 {
		return nil, fmt.Errorf("interval of %v: want whole milliseconds, at least %v", every, MinEvery)
	}
	iv := &Intervals{every: ms(every), settle: ms(Settle(scene)), rev: scene.Rev()}
	for _, z := range scene.Zones {
		iv.zones = append(iv.zones, &ledger{
			zone: z, stays: make(map[string]*floorwatch.Stay), waits: make(map[string]*floorwatch.Wait),
		})
	}
	for _, l := range scene.Lines {
		iv.lines = append(iv.lines, &tally{name: l.Name, crossings: make(map[string]*floorwatch.Crossing)})
	}
	return iv, nil
}

// Feed takes one record in; kinds that do not matter to intervals are ignored.
// A record that cannot be true or was measured with other zones is an error and
// changes nothing.
func (iv *Intervals) Feed(rec floorwatch.Record) error {
	switch r := rec.(type) {
	case *floorwatch.Stay:
		return iv.stay(r)
	case *floorwatch.Wait:
		return iv.wait(r)
	case *floorwatch.Crossing:
		return iv.crossing(r)
	case *floorwatch.Gap:
		if r.Of == floorwatch.OfObservation {
			return iv.gap(r)
		}
	}
	return nil
}

func (iv *Intervals) stay(s *floorwatch.Stay) error {
	l, err := iv.ledger(s.Header, s.Enter, s.Exit)
	if err != nil {
		return err
	}
	if s.Exit == nil || *s.Exit >= iv.next || l.pairs.until == 0 { // what a restart left, for the pairs
		l.stays[s.ID] = s
	} else {
		delete(l.stays, s.ID)
	}
	return nil
}

func (iv *Intervals) wait(w *floorwatch.Wait) error {
	l, err := iv.ledger(w.Header, w.Enter, w.End)
	if err != nil {
		return err
	}
	if w.End != nil && *w.End >= iv.next {
		l.waits[w.ID] = w
	}
	return nil
}

// maxSilence is the longest time without any record that is believed: what comes
// after it is from a broken clock and would cost millions of intervals.
const maxSilence = 366 * maxBlank

// ledger checks a record and returns the ledger of its zone.
func (iv *Intervals) ledger(h floorwatch.Header, from floorwatch.Time, to *floorwatch.Time) (*ledger, error) {
	if err := iv.check(h, from, to); err != nil {
		return nil, err
	}
	for _, l := range iv.zones {
		if l.zone.Name == h.Zone {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%s record %.100q: zone %.50q is not among the zones given", h.Kind, h.ID, h.Zone)
}

func (iv *Intervals) check(h floorwatch.Header, from floorwatch.Time, to *floorwatch.Time) error {
	switch {
	case h.Rev != iv.rev:
		return fmt.Errorf("%s record %.100q was measured with other zones (rev %.20q, the zones given have %s)", h.Kind, h.ID, h.Rev, iv.rev)
	case to != nil && *to < from:
		return fmt.Errorf("%s record %.100q ends before it begins", h.Kind, h.ID)
	case h.ID == "":
		return fmt.Errorf("%s record at %d has no id", h.Kind, int64(from))
	case from < 0 || h.At < 0 || max(from, h.At) > floorwatch.MaxTime || to != nil && *to > floorwatch.MaxTime:
		return fmt.Errorf("%s record %.100q has a time that is not between 1970 and 2200", h.Kind, h.ID)
	case iv.last > 0 && from > iv.last+maxSilence:
		return fmt.Errorf("%s record %.100q begins more than a year after all before it: check the clock of the camera", h.Kind, h.ID)
	case iv.camera != "" && h.Camera != iv.camera:
		return fmt.Errorf("%s record %.100q is of camera %.50q, those before of %s: feed one camera at a time", h.Kind, h.ID, h.Camera, iv.camera)
	}
	iv.camera = h.Camera
	iv.last = max(iv.last, h.At)
	return nil
}

// gap takes in an observation gap. One that begins at 0 says where an input
// begins: the first time that is the beginning of everything, later it closes
// the span since the input before it.
func (iv *Intervals) gap(g *floorwatch.Gap) error {
	before := iv.last
	if err := iv.check(g.Header, g.From, g.To); err != nil {
		return err
	}
	if g.From == 0 {
		if g.To == nil {
			return nil // nothing was ever observed
		}
		if iv.begun {
			g = iv.since(g, before)
		} else {
			iv.begin(*g.To)
		}
	}
	if !iv.begun {
		iv.begin(g.From)
	}
	i, found := slices.BinarySearchFunc(iv.gaps, g.From, func(g *floorwatch.Gap, t floorwatch.Time) int { return cmp.Compare(g.From, t) })
	if found {
		iv.gaps[i] = g
	} else {
		iv.gaps = slices.Insert(iv.gaps, i, g)
	}
	return nil
}

// since returns the gap between an input and the one before it, whose last record
// settled at before.
func (iv *Intervals) since(g *floorwatch.Gap, before floorwatch.Time) *floorwatch.Gap {
	between := *g
	between.From = min(before, *g.To)
	if n := len(iv.gaps); n > 0 && iv.gaps[n-1].To == nil {
		between.From = iv.gaps[n-1].From
	}
	return &between
}

func (iv *Intervals) begin(t floorwatch.Time) {
	iv.begun = true
	iv.next = max(iv.next, t.Floor(time.Duration(iv.every)*time.Millisecond))
}

// Advance returns the intervals that have settled at t, in order of time and
// then of the scene's zones. Each is returned once and never revised.
func (iv *Intervals) Advance(t floorwatch.Time) []*floorwatch.Interval {
	iv.last = max(iv.last, t)
	var out []*floorwatch.Interval
	for iv.begun && iv.next+iv.every+iv.settle <= t {
		if blank := iv.blankUntil(t - iv.settle); blank > iv.next {
			iv.next = blank
			continue
		}
		out = iv.publish(out, iv.next+iv.every+iv.settle)
	}
	return out
}

// Close returns the intervals that are left at the end of the input, the last
// of them cut short by it. Without any gap record nothing is known to have been
// observed and nothing comes out.
func (iv *Intervals) Close() []*floorwatch.Interval {
	out := iv.Advance(iv.last)
	for iv.begun && iv.next < iv.last {
		out = iv.publish(out, iv.last)
	}
	return out
}

// publish appends the next interval of every zone and forgets what only it
// needed.
func (iv *Intervals) publish(out []*floorwatch.Interval, at floorwatch.Time) []*floorwatch.Interval {
	start, end := iv.next, iv.next+iv.every
	seen := iv.observed(start, end)
	for _, l := range iv.zones {
		r := &floorwatch.Interval{
			Header: floorwatch.Header{
				Kind: floorwatch.KindInterval, Camera: iv.camera, Zone: l.zone.Name, At: at, Rev: iv.rev, By: iv.by,
				ID: fmt.Sprintf("%s-%d-%d", l.zone.Name, start, iv.every),
			},
			Start: start, End: end,
		}
		l.fill(r, seen)
		l.forget(end)
		out = append(out, r)
	}
	for _, l := range iv.lines {
		iv.counts = append(iv.counts, iv.count(l, start, end, at, seen))
	}
	iv.next = end
	iv.gaps = slices.DeleteFunc(iv.gaps, func(g *floorwatch.Gap) bool { return g.To != nil && *g.To < end })
	return out
}

// blankUntil returns where to go on when the next interval is in the midst of a
// long gap, at most the interval of t; otherwise 0.
func (iv *Intervals) blankUntil(t floorwatch.Time) floorwatch.Time {
	step := time.Duration(iv.every) * time.Millisecond
	for _, g := range iv.gaps {
		switch {
		case g.From+maxBlank > iv.next:
		case g.To == nil:
			return t.Floor(step)
		case *g.To >= iv.next+iv.every:
			return g.To.Floor(step)
		}
	}
	return 0
}

// span is [from, to), never empty.
type span struct{ from, to floorwatch.Time }

// observed returns the parts of [start, end) that lie in no gap, and takes note
// of the detector that was at work.
func (iv *Intervals) observed(start, end floorwatch.Time) []span {
	var seen []span
	at := start
	for _, g := range iv.gaps {
		if g.From >= end {
			break
		}
		if g.From > at {
			seen = append(seen, span{at, g.From})
		}
		if g.To == nil {
			return seen
		}
		at = max(at, *g.To)
		if *g.To < end {
			iv.by = g.By
		}
	}
	if at < end {
		seen = append(seen, span{at, end})
	}
	return seen
}

// forget drops what cannot matter to an interval that starts at end.
func (l *ledger) forget(end floorwatch.Time) {
	for id, s := range l.stays {
		if s.Exit != nil && *s.Exit < end {
			delete(l.stays, id)
		}
	}
	for id, w := range l.waits {
		if *w.End < end {
			delete(l.waits, id)
		}
	}
}
