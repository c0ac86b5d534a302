//go:build cgo

// Command floorwatch-camera reads one camera and prints what it sees: one JSON
// line per analysed frame, and one per event. It is the only program of
// floorwatch that links OpenCV; the agent runs one per camera and starts it
// again when it ends.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"floorwatch"
	"floorwatch/edge/camera"
	"floorwatch/edge/track"
	"floorwatch/internal/program"
)

// exitStuck is the exit code after a call into OpenCV that did not return.
const exitStuck = 3

func main() {
	program.Main("floorwatch-camera", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

// options are the command line.
type options struct {
	source, detector, models, pace, start string
	fps                                   float64
	masks                                 []camera.Mask
	track                                 bool
	still                                 string
	stillEvery, stall                     time.Duration
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("floorwatch-camera", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.source, "source", os.Getenv("FLOORWATCH_SOURCE"),
		"video file, rtsp:// URL or number of a video device; FLOORWATCH_SOURCE keeps a password out of the process list")
	fs.StringVar(&o.detector, "detector", "auto", "auto, motion, hog or nanodet; auto is nanodet where its model is there, else motion")
	fs.StringVar(&o.models, "models", envOr("FLOORWATCH_MODELS", "models"), "folder of the detector models; FLOORWATCH_MODELS names it too")
	fs.BoolVar(&o.track, "track", true, "join boxes to tracks; -track=false prints every box that was detected, with id 0")
	fs.StringVar(&o.pace, "pace", "max", "of a file: max analyses every frame, real plays it like a camera")
	fs.StringVar(&o.start, "start", "", "RFC 3339 capture time of a file's first frame (default now)")
	fs.Float64Var(&o.fps, "fps", 0, "analyse at most this many frames per second (default all)")
	fs.Func("mask", "privacy mask as \"x,y x,y x,y\" in pixels of the stream, blackened before detection; repeatable", func(s string) error {
		m, err := camera.ParseMask(s)
		o.masks = append(o.masks, m)
		return err
	})
	fs.StringVar(&o.still, "still", "", "JPEG file that is kept at the newest frame")
	fs.DurationVar(&o.stillEvery, "still-every", camera.DefaultStillEvery, "how often the still is written")
	fs.DurationVar(&o.stall, "stall", camera.DefaultStall, "a live source without a frame for so long is given up")
	fs.Usage = func() {
		fmt.Fprint(stderr, "Usage: floorwatch-camera -source FILE|URL|DEVICE [flags]\n"+
			"Prints one JSON line per analysed frame with the people in it, and one per event\n"+
			"(open, stall, size, closed). Exit codes: 0 the source ended or SIGTERM came, 1 it\n"+
			"failed, 2 wrong flags, 3 OpenCV hung.\n")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("%w: unexpected argument; the source is named by -source", program.ErrUsage)
	}
	return o, nil
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// settings checks the flags that need no opening.
func (o options) settings() (camera.Settings, error) {
	s := camera.Settings{
		Pace: camera.Pace(o.pace), MaxFPS: o.fps, Masks: o.masks,
		Still: o.still, StillEvery: o.stillEvery, Stall: o.stall,
	}
	var err error
	if s.Source, err = camera.ParseSource(o.source); err != nil {
		return s, fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if s.Pace != camera.PaceMax && s.Pace != camera.PaceReal {
		return s, fmt.Errorf("%w: -pace %q is not max or real", program.ErrUsage, o.pace)
	}
	if o.start != "" {
		if s.Start, err = time.Parse(time.RFC3339, o.start); err != nil {
			return s, fmt.Errorf("%w: -start %q is not RFC 3339, like 2025-11-21T20:00:00Z", program.ErrUsage, o.start)
		}
	}
	if !(o.fps >= 0 && o.fps <= 240) {
		return s, fmt.Errorf("%w: -fps %g is not between 0 and 240", program.ErrUsage, o.fps)
	}
	if o.stillEvery < 100*time.Millisecond || o.stall < time.Second {
		return s, fmt.Errorf("%w: -still-every is at least 100ms, -stall at least 1s", program.ErrUsage)
	}
	return s, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	s, err := o.settings()
	if err != nil {
		return err
	}
	eye, tuning, err := choose(o.detector, o.models, o.fps)
	if err != nil {
		return err
	}
	defer func() { _ = eye.Close() }()
	s.Detector, s.Tracker = eye, untracked{}
	if o.track {
		s.Tracker = track.New(tuning)
	}
	s.Emit = func(f floorwatch.Frame) error { return writeLine(stdout, f) }
	s.Log = slog.New(slog.NewTextHandler(stderr, nil))
	s.Stuck = func(err error) {
		fmt.Fprintln(stderr, "floorwatch-camera:", err)
		os.Exit(exitStuck)
	}
	return s.Run(ctx)
}

// untracked leaves detections as they are.
type untracked struct{}

func (untracked) Update(_ floorwatch.Time, dets []floorwatch.Person) []floorwatch.Person { return dets }

// writeLine writes one line in one call, so that a reader never waits for the
// rest of it.
func writeLine(w io.Writer, f floorwatch.Frame) error {
	var line bytes.Buffer
	if err := json.NewEncoder(&line).Encode(f); err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	if _, err := w.Write(line.Bytes()); err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	return nil
}
