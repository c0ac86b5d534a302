package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/edge/queue"
	"floorwatch/edge/relay"
	"floorwatch/edge/worker"
	"floorwatch/edge/zone"
	"floorwatch/internal/watchdog"

	"golang.org/x/sync/errgroup"
)

// Causes that the agent writes into the lines and gaps of a camera.
const (
	causeStopped = "the agent stopped"
	causeDown    = "the agent was not running"
)

const (
	// liveEvery is how often the present is published, and for how many of
	// those it may be shown.
	liveEvery = time.Second
	liveValid = 10 * liveEvery
	// relayPatience is how long a source may take to be served before it counts
	// as a camera that is away.
	relayPatience = 10 * time.Second
	// tickAfter is the silence after which the agent writes ticks, so that
	// stays and intervals settle while nobody watches.
	tickAfter = 2 * time.Second
)

// camera runs everything that belongs to one camera.
type camera struct {
	*run
	cfg    *Camera
	lines  chan floorwatch.Frame
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

// watch runs relay, recorder, worker and measurement until ctx ends.
func (c *camera) watch(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return fmt.Errorf("camera %s: %w", c.cfg.Name, err)
	}
	source, err := c.cfg.address(c.cfg.Source)
	if err != nil {
		return err
	}
	// The writer ends after everything that adds to it.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	var written errgroup.Group
	written.Go(func() error { c.writer.run(writing); return nil })
	defer func() { stopWriting(); _ = written.Wait() }()

	group, ctx := errgroup.WithContext(ctx)
	if relay.Needed(c.cfg.Source) {
		rel, err := relay.New(relay.Settings{Source: c.cfg.Source, Log: c.Log.With("camera", c.cfg.Name)})
		if err != nil {
			return err
		}
		source = rel.URL()
		group.Go(func() error { return rel.Run(ctx) })
		// Worker and recorder would call it a dead camera; it only starts.
		select {
		case <-rel.Ready():
		case <-time.After(relayPatience):
		case <-ctx.Done():
		}
	}
	if c.cfg.Record {
		recorded := source
		if c.cfg.Main != "" {
			if recorded, err = c.cfg.address(c.cfg.Main); err != nil {
				return err
			}
		}
		group.Go(func() error { return c.recorder(recorded).Run(ctx) })
	}
	group.Go(func() error { return c.worker(source).Run(ctx) })
	group.Go(func() error { c.measure(ctx); return nil })
	return group.Wait()
}

func (c *camera) recorder(source string) *footage.Recorder {
	return &footage.Recorder{
		Dir: filepath.Join(c.Config.Data, FootageDir), Store: c.Config.Store, Edge: c.Config.Edge, Camera: c.cfg.Name,
		Source: source, Every: c.Config.Footage.Segment, Key: c.key, Clock: c.clock, Log: c.Log,
		Emit: func(rec floorwatch.Record) error { return c.append(rec) }, Pulse: c.pulse("recorder of"),
		GOP: func(apart time.Duration) { c.meters.setGOP(c.cfg.Name, apart) },
	}
}

// worker returns the camera worker's supervisor. The source goes by environment,
// because it may hold a password and arguments are visible to everybody.
func (c *camera) worker(source string) *worker.Worker {
	args := []string{
		"-detector", c.cfg.Detector, "-models", c.Config.Models,
		"-fps", strconv.FormatFloat(c.cfg.FPS, 'f', -1, 64),
		"-still", StillFile(c.Config.Data, c.cfg.Name), "-still-every", "5s",
	}
	for _, m := range c.cfg.Masks.Polygons {
		args = append(args, "-mask", maskArg(m))
	}
	return &worker.Worker{
		Camera: c.cfg.Name, Program: c.Program, Args: args, Env: []string{"FLOORWATCH_SOURCE=" + source},
		Log: c.Log, Now: c.clock.Time, Lines: c.lines, Memory: int64(c.Config.WorkerMemory),
		Pulse: c.pulse("worker of"),
	}
}

func (c *camera) pulse(what string) *watchdog.Pulse { return c.dog.Pulse(what + " " + c.cfg.Name) }

// StillFile is where a camera's newest still lies.
func StillFile(data, camera string) string {
	return filepath.Join(data, StillDir, camera+".jpg")
}

func maskArg(polygon []floorwatch.Point) string {
	points := make([]string, len(polygon))
	for i, p := range polygon {
		points[i] = fmt.Sprintf("%g,%g", p.X, p.Y)
	}
	return strings.Join(points, " ")
}

// prepare builds the camera's pipeline and takes in what the run before left.
func (c *camera) prepare(ctx context.Context) (err error) {
	scene := c.cfg.Scene()
	if c.engine, err = zone.New(c.cfg.Name, scene); err != nil {
		return err
	}
	if c.stage, err = queue.NewStage(c.engine, scene, c.Config.Interval); err != nil {
		return err
	}
	c.writer = newWriter(c.append, c.pulse("records of"), c.Log)
	c.heard = time.Now()
	if err := os.Remove(StillFile(c.Config.Data, c.cfg.Name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the still of an earlier run: %w", err)
	}
	return c.resume(ctx)
}

// measure feeds the worker's lines through the pipeline until ctx ends, ticks
// when none come, and publishes the present.
func (c *camera) measure(ctx context.Context) {
	live := time.NewTicker(liveEvery)
	defer live.Stop()
	pulse := c.pulse("measuring")
	defer pulse.Rest()
	for {
		pulse.Beat()
		select {
		case <-ctx.Done():
			c.finish()
			return
		case f := <-c.lines:
			c.feed(f)
		case <-live.C:
			if time.Since(c.heard) > tickAfter {
				// Never before what was seen, also when the clock was set back.
				c.feed(floorwatch.Frame{T: max(c.clock.Time(), c.last.Add(time.Since(c.heard))), Event: floorwatch.EventTick})
			}
			c.publishLive()
		}
	}
}

// feed takes one line in. What the engine saw is kept in the trail, byte for
// byte what `floorwatch stays` needs to come to the same records.
func (c *camera) feed(f floorwatch.Frame) {
	if f.Event != floorwatch.EventTick {
		var ok bool
		if f.T, ok = c.stamp(f); !ok {
			return
		}
	}
	recs, err := c.stage.Feed(f)
	if err != nil {
		c.Log.Error("camera line left out", "camera", c.cfg.Name, "err", err)
		return
	}
	if f.Event != floorwatch.EventTick { // the engine lets frames come after a tick
		c.last, c.heard = f.T, time.Now()
	}
	c.notice(floorwatch.Size{Width: f.W, Height: f.H})
	c.look(f)
	if f.Event == floorwatch.EventOpen && f.Cause == "" {
		c.by = f.By
		c.Log.Info("camera is watched", "camera", c.cfg.Name, "by", f.By)
	}
	line, err := json.Marshal(f)
	if err == nil {
		err = c.trail.Append(c.cfg.Name, f.T, line)
	}
	if err != nil {
		c.Log.Error("trail", "camera", c.cfg.Name, "err", err)
	}
	c.writer.add(c.final(recs)...)
}

// notice tells when the picture is not of the size that it was: within a stream,
// or after the worker was started again, as OpenCV may not survive the change.
func (c *camera) notice(size floorwatch.Size) {
	if size.Width == 0 || size == c.size {
		return
	}
	if c.size.Width != 0 {
		c.meters.sizeChanged(c.cfg.Name)
		c.Log.Warn("the picture changed its size; zones are scaled to it, check on the page that they still lie right",
			"camera", c.cfg.Name, "width", size.Width, "height", size.Height)
	}
	c.size = size
}

// look tells, at once, that the picture shows nothing any more, or does again.
func (c *camera) look(f floorwatch.Frame) {
	if f.Event != "" || !c.meters.setPicture(c.cfg.Name, f.Picture) {
		return
	}
	c.tell()
	if f.Picture != "" {
		c.Log.Warn("the picture shows nothing", "camera", c.cfg.Name, "note", pictureNotes[f.Picture])
	} else {
		c.Log.Info("the picture is good again", "camera", c.cfg.Name)
	}
}

// setBackBy is the step back of the clock that is told and carried over; below
// it the next frames are later by themselves.
const setBackBy = time.Second

// stamp returns the time of a line, later than the one before: time never runs
// back. After a step back of the clock it goes on from the last stamp by the
// monotonic clock until the wall clock has caught up; otherwise nothing would be
// seen for as long as the clock was ahead. False: the line may be left out.
func (c *camera) stamp(f floorwatch.Frame) (floorwatch.Time, bool) {
	t, ahead := c.clock.Place(f.T)
	if t > c.last && ahead < setBackBy {
		if c.behind {
			c.behind = false
			c.Log.Info("the clock has caught up, stamps follow it again", "camera", c.cfg.Name)
		}
		return t, true
	}
	back := max(ahead, c.last.Sub(t))
	if f.Event == "" && !c.behind && back >= setBackBy {
		c.behind = true
		c.meters.clockSetBack(c.cfg.Name)
		c.Log.Warn("the clock was set back; stamps go on from the last one until it has caught up, check the box's time server",
			"camera", c.cfg.Name, "by", back)
	}
	if t > c.last {
		return t, true
	}
	if f.Event != "" || c.behind {
		return c.last.Add(max(time.Millisecond, time.Since(c.heard).Truncate(time.Millisecond))), true
	}
	return 0, false
}

// final keeps the records that are published: not the gaps that still last, and
// instead of the input's start the time for which no agent ran.
func (c *camera) final(recs []floorwatch.Record) []floorwatch.Record {
	kept := recs[:0]
	for _, rec := range recs {
		g, ok := rec.(*floorwatch.Gap)
		switch {
		case !ok:
			kept = append(kept, rec)
		case g.To == nil:
		case g.Cause == zone.CauseStart:
			if c.before > 0 && c.before < *g.To {
				down := *g
				down.From, down.Cause = c.before, causeDown
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
func (c *camera) finish() {
	c.feed(floorwatch.Frame{T: c.clock.Time(), Event: floorwatch.EventClosed, Cause: causeStopped})
	c.feed(floorwatch.Frame{T: c.last + 1, Event: floorwatch.EventOpen, By: c.by, Cause: causeStopped})
}

func (c *camera) publishLive() {
	now := c.clock.Time()
	waiting := c.stage.Waiting()
	for _, z := range c.engine.Live(max(now, c.last)) {
		l := floorwatch.Live{
			V: floorwatch.Version, Camera: c.cfg.Name, Zone: z.Zone, T: now, ValidS: floorwatch.Seconds(liveValid),
			Coverage: z.Coverage, People: z.People, LongestS: z.LongestS,
		}
		if q, ok := waiting[z.Zone]; ok { // of a queue, who waits and not who is there
			l.Queue, l.LongestS = int(q.Length), 0
			if q.Since > 0 {
				l.LongestS = floorwatch.Seconds(max(0, now.Sub(q.Since)))
			}
		}
		c.uplink.PublishLive(l)
	}
}
