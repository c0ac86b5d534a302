// Package pipeline makes records of one camera's lines, keeps the lines, and
// shows the present. What a run before left unfinished it takes up again.
//
//	lines ─> stamped ─┬─> zone ─ stays ─> queue ─ records ─> queue of records ─> Store
//	                  └─> trail              └─ now ─> Live
//
// What it stores is a function of the lines in the trail: whoever replays them
// through zone and queue comes to the same records, also after a crash.
package pipeline

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/health"
	"floorwatch/edge/queue"
	"floorwatch/edge/trail"
	"floorwatch/edge/zone"
	"floorwatch/internal/watchdog"
)

// Causes that are written into the lines and gaps of a camera.
const (
	causeStopped = "the agent stopped"
	causeDown    = "the agent was not running"
)

const (
	// LiveEvery is how often the present is published, and liveValid for how long
	// it may be shown.
	LiveEvery = time.Second
	liveValid = 10 * LiveEvery
	// TellEvery is how often the scene is told again: a cloud that has lost or not
	// yet known it has it within the hour.
	TellEvery = time.Hour
	// tickAfter is the silence after which ticks are written, so that stays and
	// intervals settle while nobody watches.
	tickAfter = 2 * time.Second
)

// Settings of a camera's pipeline. All fields but Told, Kept, Log and the pulses
// are required.
type Settings struct {
	Camera   string
	Scene    floorwatch.Scene
	Told     *floorwatch.CameraScene // what the cloud is told of the camera; nil: nothing
	Interval time.Duration
	Lines    <-chan floorwatch.Frame
	Clock    *clock.Clock
	Trail    *trail.Trail
	Kept     Kept // what the outbox still holds of the run before
	// Store stores records durably. What it refuses is offered again, in its place
	// before those that follow.
	Store   func(recs ...floorwatch.Record) error
	Live    func(floorwatch.Live) // publishes the present of a zone
	Meter   *health.Camera
	Pulse   *watchdog.Pulse // of measuring
	Writing *watchdog.Pulse // of the queue of records
	Log     *slog.Logger    // nil = discard
}

// Pipeline is a camera's. It is fed by one goroutine, in Run.
type Pipeline struct {
	Settings
	engine *zone.Engine
	stage  *queue.Stage
	writer *writer
	last   floorwatch.Time // stamp of the latest line
	heard  time.Time       // when it came
	size   floorwatch.Size // of the newest picture
	behind bool            // the clock was set back, and stamps are carried on
	before floorwatch.Time // last frame of the run before this one, 0: none
	by     string          // what the worker sees with
}

// Open builds a pipeline and takes in what the run before left. Nothing may have
// been appended to the camera's trail since then.
func Open(ctx context.Context, set Settings) (p *Pipeline, err error) {
	p = &Pipeline{Settings: set, heard: time.Now()}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	p.Log = p.Log.With("camera", p.Camera)
	if p.engine, err = zone.New(p.Camera, p.Scene); err != nil {
		return nil, err
	}
	if p.stage, err = queue.NewStage(p.engine, p.Scene, p.Interval); err != nil {
		return nil, err
	}
	p.writer = newWriter(p.Store, p.Writing, p.Log)
	return p, p.resume(ctx)
}

// Run feeds the lines through the pipeline until ctx ends, ticks when none come,
// and publishes the present. At its end it closes what is open and stores what
// is left, once.
func (p *Pipeline) Run(ctx context.Context) error {
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var written errgroup.Group
	written.Go(func() error { p.writer.run(writing); return nil })
	p.measure(ctx)
	stop()
	return written.Wait()
}

func (p *Pipeline) measure(ctx context.Context) {
	live := time.NewTicker(LiveEvery)
	defer live.Stop()
	again := time.NewTicker(TellEvery)
	defer again.Stop()
	defer p.Pulse.Rest()
	p.tell()
	for {
		p.Pulse.Beat()
		select {
		case <-ctx.Done():
			p.finish()
			return
		case f := <-p.Lines:
			p.feed(f)
		case <-again.C:
			p.tell()
		case <-live.C:
			if time.Since(p.heard) > tickAfter {
				// Never before what was seen, also when the clock was set back.
				p.feed(floorwatch.Frame{T: max(p.Clock.Time(), p.last.Add(time.Since(p.heard))), Event: floorwatch.EventTick})
			}
			p.publishLive()
		}
	}
}

// feed takes one line in. What the engine saw is kept in the trail, byte for
// byte what `floorwatch stays` needs to come to the same records.
func (p *Pipeline) feed(f floorwatch.Frame) {
	if f.Event != floorwatch.EventTick {
		var ok bool
		if f.T, ok = p.stamp(f); !ok {
			return
		}
	}
	recs, err := p.stage.Feed(f)
	if err != nil {
		p.Log.Error("camera line left out", "error", err)
		return
	}
	if f.Event != floorwatch.EventTick { // the engine lets frames come after a tick
		p.last, p.heard = f.T, time.Now()
	}
	p.notice(floorwatch.Size{Width: f.W, Height: f.H})
	p.look(f)
	if f.Event == floorwatch.EventOpen && f.Cause == "" {
		p.by = f.By
		p.Log.Info("camera is watched", "by", f.By)
	}
	p.Meter.Line(f)
	if err := p.Trail.Append(p.Camera, f); err != nil {
		p.Log.Error("camera line not kept on disk", "error", err)
	}
	p.writer.add(p.final(recs)...)
}

// notice tells when the picture is not of the size that it was: within a stream,
// or after the worker was started again, as OpenCV may not survive the change.
func (p *Pipeline) notice(size floorwatch.Size) {
	if size.Width == 0 || size == p.size {
		return
	}
	if p.size.Width != 0 {
		p.Meter.SizeChanged()
		p.Log.Warn("the picture changed its size; zones are scaled to it, check on the page that they still lie right",
			"width", size.Width, "height", size.Height)
	}
	p.size = size
	p.tell()
}

// tell has the cloud know what is measured on which picture.
func (p *Pipeline) tell() {
	if p.Told == nil {
		return
	}
	told := *p.Told
	told.At, told.By, told.Stream = p.Clock.Time(), p.by, p.size
	p.writer.add(&told)
}

// look tells, at once, that the picture shows nothing any more, or does again.
func (p *Pipeline) look(f floorwatch.Frame) {
	if f.Event != "" || !p.Meter.SetPicture(f.Picture) {
		return
	}
	p.writer.add(p.Meter.Record(p.Clock.Time())) // now, ahead of the minute
	if f.Picture != "" {
		p.Log.Warn("the picture shows nothing", "note", health.PictureNotes[f.Picture])
	} else {
		p.Log.Info("the picture is good again")
	}
}

// setBackBy is the step back of the clock that is told and carried over; below
// it the next frames are later by themselves.
const setBackBy = time.Second

// stamp returns the time of a line, later than the one before: time never runs
// back. After a step back of the clock it goes on from the last stamp by the
// monotonic clock until the wall clock has caught up; otherwise nothing would be
// seen for as long as the clock was ahead. False: the line may be left out.
func (p *Pipeline) stamp(f floorwatch.Frame) (floorwatch.Time, bool) {
	t, ahead := p.Clock.Place(f.T)
	if t > p.last && ahead < setBackBy {
		if p.behind {
			p.behind = false
			p.Log.Info("the clock has caught up, stamps follow it again")
		}
		return t, true
	}
	back := max(ahead, p.last.Sub(t))
	if f.Event == "" && !p.behind && back >= setBackBy {
		p.behind = true
		p.Meter.ClockSetBack()
		p.Log.Warn("the clock was set back; stamps go on from the last one until it has caught up, check the box's time server",
			"by", back)
	}
	if t > p.last {
		return t, true
	}
	if f.Event != "" || p.behind {
		return p.last.Add(max(time.Millisecond, time.Since(p.heard).Truncate(time.Millisecond))), true
	}
	return 0, false
}

// final keeps the records that are published: not the gaps that still last, and
// instead of the input's start the time for which no agent ran.
func (p *Pipeline) final(recs []floorwatch.Record) []floorwatch.Record {
	kept := recs[:0]
	for _, rec := range recs {
		g, ok := rec.(*floorwatch.Gap)
		switch {
		case !ok:
			kept = append(kept, rec)
		case g.To == nil:
		case g.Cause == zone.CauseStart:
			if p.before > 0 && p.before < *g.To {
				down := *g
				down.From, down.Cause = p.before, causeDown
				kept = append(kept, &down)
			}
		default:
			kept = append(kept, rec)
		}
	}
	return kept
}

// finish ends what is open: whoever is inside now was last seen now. An open
// event says that nobody will be followed any further.
func (p *Pipeline) finish() {
	p.feed(floorwatch.Frame{T: p.Clock.Time(), Event: floorwatch.EventClosed, Cause: causeStopped})
	p.feed(floorwatch.Frame{T: p.last + 1, Event: floorwatch.EventOpen, By: p.by, Cause: causeStopped})
}

func (p *Pipeline) publishLive() {
	now := p.Clock.Time()
	waiting := p.stage.Waiting()
	for _, z := range p.engine.Live(max(now, p.last)) {
		l := floorwatch.Live{
			V: floorwatch.Version, Camera: p.Camera, Zone: z.Zone, T: now, ValidS: floorwatch.Seconds(liveValid),
			Coverage: z.Coverage, People: z.People, LongestS: z.LongestS,
		}
		if q, ok := waiting[z.Zone]; ok { // of a queue, who waits and not who is there
			l.Queue, l.LongestS = int(q.Length), 0
			if q.Since > 0 {
				l.LongestS = floorwatch.Seconds(max(0, now.Sub(q.Since)))
			}
		}
		p.Live(l)
	}
}
