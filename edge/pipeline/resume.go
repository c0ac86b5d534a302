package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
	"floorwatch/edge/zone"
)

const (
	// How much of the run before is read again at a start, and how much after a
	// crash: who was inside for longer has a stay whose beginning was not seen.
	resumeAtLeast = 2 * time.Minute
	resumeAtMost  = time.Hour
	// recallFor is for how long before the last record that became durable its
	// fellows are told apart one by one. It is longer than what a crash, or the
	// kernel after a power cut, may take from the end of the trail.
	recallFor = time.Minute
	// darkAtMost is how far back the last frame of a dark camera is looked for.
	darkAtMost = 7 * 24 * time.Hour
)

// Kept is what the outbox still holds, settled or not, of what was measured, by
// camera: the account of what the run before had published at its end.
type Kept map[string]*published

// published are the newest records of a camera.
type published struct {
	last   floorwatch.Time            // the latest At
	ended  floorwatch.Time            // the latest End of an interval
	recent map[string]floorwatch.Time // At by recordKey, of those near last
}

// recordKey tells records of a camera apart.
func recordKey(h *floorwatch.Header) string { return h.Kind + " " + h.Zone + " " + h.ID }

// Found takes in one record of the outbox.
func (k Kept) Found(raw json.RawMessage) {
	var r struct {
		floorwatch.Header
		Of  string          `json:"of"`
		End floorwatch.Time `json:"end"`
	}
	if json.Unmarshal(raw, &r) != nil || r.Camera == "" {
		return
	}
	switch r.Kind {
	case floorwatch.KindStay, floorwatch.KindWait, floorwatch.KindCount, floorwatch.KindInterval:
	case floorwatch.KindGap:
		if r.Of != floorwatch.OfObservation {
			return
		}
	default:
		return
	}
	p := k[r.Camera]
	if p == nil {
		p = &published{recent: map[string]floorwatch.Time{}}
		k[r.Camera] = p
	}
	if r.Kind == floorwatch.KindInterval {
		p.ended = max(p.ended, r.End)
	}
	p.last = max(p.last, r.At)
	p.recent[recordKey(&r.Header)] = r.At
	if len(p.recent)%1000 == 0 {
		p.forget()
	}
}

// forget drops what is not near the end.
func (p *published) forget() {
	for key, at := range p.recent {
		if at < p.last.Add(-2*recallFor) {
			delete(p.recent, key)
		}
	}
}

// has tells whether the run before had published a record. They are published in
// the order of At, so all that is older than the last was.
func (p *published) has(h *floorwatch.Header) bool {
	if p == nil {
		return false
	}
	_, known := p.recent[recordKey(h)]
	return known || h.At < p.last.Add(-recallFor)
}

// resume takes in what the run before left: the time at which it ended, so that
// the time between is booked; its last records, so that an interval which the
// restart cut in two is published whole; and after a crash those that it had not
// yet published, so that who was inside then has a stay that ends with the last
// sighting instead of none.
func (p *Pipeline) resume(ctx context.Context) error {
	last, err := p.Trail.Last(p.Camera)
	if err != nil || last == 0 {
		return err
	}
	back := min(resumeAtMost, max(queue.Settle(p.Scene)+2*p.Interval, resumeAtLeast))
	lines, err := p.trailBefore(ctx, last, back)
	if err != nil {
		return err
	}
	crashed := len(lines) > 0 && !closes(lines[len(lines)-1])
	if crashed {
		if lines, err = p.trailBefore(ctx, last, resumeAtMost); err != nil {
			return err
		}
	}
	if p.before, err = p.lastFrame(ctx, lines, last); err != nil {
		return err
	}
	p.last, p.heard = last+1, time.Now() // stamps go on from here, whatever the clock says now
	recs, now, err := p.replay(lines, last)
	if err != nil {
		return err
	}
	if err := p.stage.Replay(recs, p.settled(now)); err != nil || !crashed {
		return err
	}
	p.recover(lines, recs, last)
	return nil
}

func (p *Pipeline) trailBefore(ctx context.Context, last floorwatch.Time, back time.Duration) ([]floorwatch.Frame, error) {
	lines, err := p.Trail.Lines(ctx, p.Camera, max(0, last.Add(-back)), last+1)
	if err != nil {
		return nil, fmt.Errorf("read the trail of the run before: %w", err)
	}
	return lines, nil
}

// closes tells whether a line ends a run for good: everything before it has been
// published.
func closes(f floorwatch.Frame) bool {
	return f.Event == floorwatch.EventOpen && (f.Cause == causeStopped || f.Cause == causeDown)
}

// lastFrame returns the stamp of the last frame that was seen, looking further
// back where the camera was dark; without any, that of the last line.
func (p *Pipeline) lastFrame(ctx context.Context, lines []floorwatch.Frame, last floorwatch.Time) (floorwatch.Time, error) {
	for to := last; ; {
		for _, f := range slices.Backward(lines) {
			if f.Event == "" {
				return f.T, nil
			}
		}
		if to = to.Add(-resumeAtMost); to <= last.Add(-darkAtMost) {
			return last, nil
		}
		var err error
		if lines, err = p.trailBefore(ctx, to, resumeAtMost); err != nil {
			return 0, err
		}
	}
}

// replay returns the records of the lines of the run before, and the time up to
// which they tell everything.
func (p *Pipeline) replay(lines []floorwatch.Frame, last floorwatch.Time) (recs []floorwatch.Record, now floorwatch.Time, err error) {
	engine, err := zone.New(p.Camera, p.Scene)
	if err != nil {
		return nil, 0, err
	}
	stage, err := queue.NewStage(engine, p.Scene, 0)
	if err != nil {
		return nil, 0, err
	}
	// The open event ends what a crash left running.
	for _, f := range append(lines, floorwatch.Frame{T: last + 1, Event: floorwatch.EventOpen}) {
		more, err := stage.Feed(f)
		if err != nil {
			continue // a stamp that does not follow; the run before left it out too
		}
		recs = append(recs, more...)
	}
	return recs, engine.Now(), nil
}

// settled returns the time up to which the run before had published intervals:
// the end of the last that is durable, or where none is to be found, what it
// must have published by now.
func (p *Pipeline) settled(now floorwatch.Time) floorwatch.Time {
	by := now.Add(-queue.Settle(p.Scene))
	kept := p.Kept[p.Camera]
	if kept == nil || kept.ended == 0 {
		return by
	}
	return min(max(kept.ended, by.Add(-2*p.Interval)), by.Add(p.Interval))
}

// recover stores the records that a crash kept from being published, and then
// notes in the trail that everything before is told.
func (p *Pipeline) recover(lines []floorwatch.Frame, recs []floorwatch.Record, last floorwatch.Time) {
	told := floorwatch.Time(0) // everything up to here is
	for _, f := range lines {
		if closes(f) {
			told = f.T
		}
	}
	kept := p.Kept[p.Camera]
	var missing []floorwatch.Record
	for _, rec := range recs {
		h, from := measured(rec)
		if h == nil || h.At <= told || kept.has(h) {
			continue
		}
		if kept != nil && h.At <= kept.last && from <= lines[0].T {
			continue // it began before these lines, where it had another id
		}
		missing = append(missing, rec)
	}
	if len(missing) > 0 {
		p.Log.Info("records that a crash had kept from being stored are recovered", "records", len(missing))
	}
	for part := range slices.Chunk(missing, 500) {
		if err := p.Store(part...); err != nil {
			p.Log.Error("recovered records wait, the outbox does not take them", "error", err)
			p.writer.add(part...)
		}
	}
	if err := p.Trail.Append(p.Camera, floorwatch.Frame{T: last + 1, Event: floorwatch.EventOpen, Cause: causeDown}); err != nil {
		p.Log.Error("camera line not kept on disk", "error", err)
	}
}

// measured returns the header and the beginning of a record that stands for
// itself and is final; nil for others. Crossings are in counts.
func measured(rec floorwatch.Record) (*floorwatch.Header, floorwatch.Time) {
	if _, crossing := rec.(*floorwatch.Crossing); crossing {
		return nil, 0
	}
	from, to := rec.Span()
	if _, gap := rec.(*floorwatch.Gap); to == nil || gap && from <= 0 {
		return nil, 0
	}
	return rec.Head(), from
}
