package edge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/edge/pipeline"
	"floorwatch/edge/relay"
	"floorwatch/edge/worker"
	"floorwatch/internal/watchdog"

	"golang.org/x/sync/errgroup"
)

// relayPatience is how long a source may take to be served before it counts as a
// camera that is away.
const relayPatience = 10 * time.Second

// watch runs all that belongs to one camera until ctx ends: relay, recorder,
// worker, and the pipeline from its lines to records.
func (r *run) watch(ctx context.Context, c *Camera) error {
	if err := os.Remove(StillFile(r.cfg.Data, c.Name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("camera %s: remove the still of an earlier run: %w", c.Name, err)
	}
	lines := make(chan floorwatch.Frame, 64)
	measuring, err := r.newPipeline(ctx, c, lines)
	if err != nil {
		return fmt.Errorf("camera %s: %w", c.Name, err)
	}
	source, err := c.address(c.Source)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if relay.Needed(c.Source) {
		rel, err := relay.New(relay.Settings{Source: c.Source, Log: r.log.With("camera", c.Name)})
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
	if c.Record {
		recorded := source
		if c.Main != "" {
			if recorded, err = c.address(c.Main); err != nil {
				return err
			}
		}
		group.Go(func() error { return r.newRecorder(c, recorded).Run(ctx) })
	}
	group.Go(func() error { return r.newWorker(c, source, lines).Run(ctx) })
	group.Go(func() error { return measuring.Run(ctx) })
	return group.Wait()
}

func (r *run) newPipeline(ctx context.Context, c *Camera, lines <-chan floorwatch.Frame) (*pipeline.Pipeline, error) {
	return pipeline.Open(ctx, pipeline.Settings{
		Camera: c.Name, Scene: c.Scene(), Told: c.told(), Interval: r.cfg.Interval, Lines: lines, Clock: r.clock, Trail: r.trail, Kept: r.kept,
		Store: r.store, Live: r.uplink.PublishLive, Meter: r.meters.Camera(c.Name),
		Pulse: r.pulse("measuring", c), Writing: r.pulse("records of", c), Log: r.log,
	})
}

// told is what the cloud is told of the camera.
func (c *Camera) told() *floorwatch.CameraScene {
	t := floorwatch.TellScene(c.Name, c.Scene())
	t.Label, t.Notice = c.Label, c.Notice
	t.Masks = append(t.Masks, c.Masks.Polygons...)
	return t
}

// firstPiece is the length of the first piece of footage after a start: whoever has
// just installed the box sees within seconds that it records, and can play it.
const firstPiece = 4 * time.Second

func (r *run) newRecorder(c *Camera, source string) *footage.Recorder {
	meter := r.meters.Camera(c.Name)
	return &footage.Recorder{
		Dir: r.footageDir(), Store: r.cfg.Store, Edge: r.cfg.Edge, Camera: c.Name,
		Source: source, Every: r.cfg.Footage.Segment, First: firstPiece, Key: r.key, Clock: r.clock, Log: r.log,
		Emit: func(rec floorwatch.Record) error { return r.store(rec) }, Pulse: r.pulse("recorder of", c),
		GOP: func(apart time.Duration) { meter.SetGOP(apart, footage.MaxGOP) },
	}
}

// newWorker returns the camera worker's supervisor. The source goes by
// environment, because it may hold a password and arguments are visible to
// everybody.
func (r *run) newWorker(c *Camera, source string, lines chan<- floorwatch.Frame) *worker.Worker {
	args := []string{
		"-detector", c.Detector, "-models", r.cfg.Models,
		"-fps", strconv.FormatFloat(c.FPS, 'f', -1, 64),
		"-still", StillFile(r.cfg.Data, c.Name), "-still-every", "5s",
	}
	for _, m := range c.Masks.Polygons {
		args = append(args, "-mask", maskArg(m))
	}
	return &worker.Worker{
		Camera: c.Name, Program: r.agent.Program, Args: args, Env: []string{"FLOORWATCH_SOURCE=" + source},
		Log: r.log, Now: r.clock.Time, Lines: lines, Memory: int64(r.cfg.WorkerMemory),
		Pulse: r.pulse("worker of", c),
	}
}

func (r *run) pulse(what string, c *Camera) *watchdog.Pulse { return r.dog.Pulse(what + " " + c.Name) }

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
