//go:build cgo

// Package camera turns the pictures of one camera into people: it opens a
// source (RTSP, a file, a device), detects, has the boxes tracked, and emits a
// floorwatch.Frame for each picture it analysed and for each event. It is the
// only package that imports gocv (OpenCV), and it belongs in a process of its
// own: a call into OpenCV that hangs cannot be cancelled, opens are serialised
// inside one process, and a crash in C++ takes everything with it.
//
// Settings.Run is the whole of it:
//
//	source ──> reader goroutine ──> mailbox (newest picture) ──> mask ──> Detector ──> Tracker ──> Emit
//	   └── watchdog: a call that does not return ends the process (Settings.Stuck)
//
// A live source is read at its full rate into a one-picture mailbox, so that
// what is analysed is the present; OpenCV keeps frames for whoever reads more
// slowly and falls behind without limit. A file with PaceMax is read one frame
// after the other and every frame is analysed, with stamps from the file.
package camera

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gocv.io/x/gocv"

	"floorwatch"
)

// A Detector finds people in a BGR picture. Boxes are in pixels of that
// picture, scores from 0 to 1. Calls come from one goroutine. A box of a score
// below the tracker's threshold is welcome: it may continue a track.
type Detector interface {
	Detect(picture gocv.Mat) ([]floorwatch.Person, error)
	By() string // detector and model, for the open event
	Close() error
}

// A Tracker gives detections their track ids; people that are only predicted
// are not returned.
type Tracker interface {
	Update(t floorwatch.Time, dets []floorwatch.Person) []floorwatch.Person
}

// sized is a Tracker that wants to know the size of the pictures.
type sized interface{ Picture(width, height int) }

// Pace says how fast a file is read.
type Pace string

// The paces. A live source has its own.
const (
	PaceMax  Pace = "max"  // as fast as it can be analysed, every frame
	PaceReal Pace = "real" // like a camera: in real time, the newest frame
)

// Defaults of Settings.
const (
	DefaultOpenTimeout = 5 * time.Second
	DefaultStall       = 5 * time.Second
	DefaultStillEvery  = 10 * time.Second
)

// Settings describe one run over one source.
type Settings struct {
	Source   Source
	Detector Detector
	Tracker  Tracker

	// Emit takes each line. An error of it ends the run. It is called from one
	// goroutine, with strictly increasing stamps.
	Emit func(floorwatch.Frame) error

	Pace       Pace            // of a file; default PaceMax
	Start      time.Time       // capture time of a file's first frame; default now
	MaxFPS     float64         // analyse at most this many frames per second; 0 all
	Masks      []Mask          // blackened before anything looks at the picture
	Still      string          // JPEG file of the newest masked picture; "" none
	StillEvery time.Duration   // default DefaultStillEvery
	Stall      time.Duration   // a live source without a frame for so long is given up; default DefaultStall
	Log        *slog.Logger    // nil: discard
	Stuck      func(err error) // a call into OpenCV does not return: end the process
}

func (s Settings) withDefaults() Settings {
	if s.Pace == "" {
		s.Pace = PaceMax
	}
	if s.StillEvery <= 0 {
		s.StillEvery = DefaultStillEvery
	}
	if s.Stall <= 0 {
		s.Stall = DefaultStall
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Stuck == nil {
		s.Stuck = func(error) {}
	}
	return s
}

// ErrStalled marks a live source that stopped giving frames.
var ErrStalled = errors.New("no frame")

// Run reads the source until it ends, fails or ctx is done, and returns when
// its goroutines are gone. The end of a file and the end of ctx are no errors.
// The last line is a closed event with the cause, unless Emit itself failed.
func (s Settings) Run(ctx context.Context) error {
	s = s.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	dog := newWatchdog(s.Stuck)
	defer dog.stop()
	defer cancel()
	w := &worker{Settings: s, dog: dog, clock: newClock(time.Now)}
	err := w.run(ctx)
	var broken emitError
	if errors.As(err, &broken) {
		return broken.error
	}
	if last := w.emit(floorwatch.Frame{T: w.endStamp(), Event: floorwatch.EventClosed, Cause: cause(ctx, err)}); err == nil {
		err = last
	}
	return err
}

// cause says in words why a run ended.
func cause(ctx context.Context, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case ctx.Err() != nil:
		return "stopped"
	}
	return "end of the file"
}

// emitError carries an error of Emit out, after which nothing can be emitted.
type emitError struct{ error }

func (e emitError) Unwrap() error { return e.error }

// worker is one run.
type worker struct {
	Settings
	dog       *watchdog
	clock     *clock
	frames    int64           // analysed
	last      floorwatch.Time // stamp of the latest line
	emitted   bool
	step      time.Duration // between two frames of a file
	size      floorwatch.Size
	nextStill floorwatch.Time
	mask      *maskSet
	sight     sight
}

// emit passes one line on and keeps stamps strictly increasing.
func (w *worker) emit(f floorwatch.Frame) error {
	if w.emitted && f.T <= w.last {
		f.T = w.last + 1
	}
	w.last, w.emitted = f.T, true
	if err := w.Emit(f); err != nil {
		return emitError{err}
	}
	return nil
}

// endStamp is when the source ended: now, or for a file the end of its last
// frame.
func (w *worker) endStamp() floorwatch.Time {
	if w.Source.Live() || !w.emitted {
		return w.clock.now()
	}
	return w.last.Add(w.step)
}

func (w *worker) run(ctx context.Context) error {
	w.mask = newMaskSet(w.Masks)
	defer w.mask.close()
	defer w.sight.close()
	w.dog.begin("open "+w.Source.String(), 4*DefaultOpenTimeout)
	capture, err := open(ctx, w.Source)
	w.dog.end("open " + w.Source.String())
	if err != nil {
		return err
	}
	w.step = capture.step()
	if w.Source.Live() || w.Pace == PaceReal {
		return w.follow(ctx, capture)
	}
	defer capture.close()
	return w.analyseAll(ctx, capture)
}

// opened emits the open event with the stamp t.
func (w *worker) opened(t floorwatch.Time, c *capture) error {
	w.size = c.size
	return w.emit(floorwatch.Frame{
		T: t, W: c.size.Width, H: c.size.Height,
		Event: floorwatch.EventOpen, By: w.Detector.By(),
	})
}

// analyseAll goes through a file frame by frame. The open event lies one
// millisecond before the first frame, whose stamp is exactly Start.
func (w *worker) analyseAll(ctx context.Context, c *capture) error {
	start := w.start()
	if err := w.opened(start-1, c); err != nil {
		return err
	}
	picture := gocv.NewMat()
	defer func() { _ = picture.Close() }()
	limit := pacer{interval: perSecond(w.MaxFPS)}
	for ctx.Err() == nil {
		at, err := w.readFile(c, &picture)
		if err != nil || at < 0 {
			return err
		}
		if t := start.Add(at); limit.due(t) {
			if err := w.analyse(t, picture); err != nil {
				return err
			}
		}
	}
	return nil
}

// start is the capture time of a file's first frame.
func (w *worker) start() floorwatch.Time {
	if w.Start.IsZero() {
		return w.clock.now()
	}
	return floorwatch.TimeOf(w.Start)
}

// readFile reads the next frame and returns its time since the first, or -1 at
// the end of the file.
func (w *worker) readFile(c *capture, picture *gocv.Mat) (time.Duration, error) {
	w.dog.begin("read", readTimeout)
	ok := c.read(picture)
	w.dog.end("read")
	if !ok && c.count == 0 {
		return -1, fmt.Errorf("read %s: no picture in it; check that it is a video that ffmpeg can play", w.Source)
	}
	if !ok {
		return -1, nil
	}
	return c.position(), nil
}

// analyse does one picture: mask, detect, track, emit, still.
func (w *worker) analyse(t floorwatch.Time, picture gocv.Mat) error {
	size := floorwatch.Size{Width: picture.Cols(), Height: picture.Rows()}
	if err := checkSize(w.Source, size); err != nil {
		return err
	}
	if size != w.size {
		w.size = size
		if err := w.emit(floorwatch.Frame{T: t - 1, W: size.Width, H: size.Height, Event: floorwatch.EventSize}); err != nil {
			return err
		}
	}
	w.mask.apply(&picture)
	wrong := w.sight.look(t, picture)
	w.dog.begin("detect", detectTimeout)
	dets, err := w.Detector.Detect(picture)
	w.dog.end("detect")
	if err != nil {
		return fmt.Errorf("detect people in %s: %w", w.Source, err)
	}
	if t <= w.last {
		t = w.last + 1
	}
	if k, ok := w.Tracker.(sized); ok {
		k.Picture(size.Width, size.Height)
	}
	people := w.Tracker.Update(t, dets)
	w.frames++
	if err := w.emit(floorwatch.Frame{T: t, N: w.frames, W: size.Width, H: size.Height, People: tidy(people), Picture: wrong}); err != nil {
		return err
	}
	w.still(t, picture)
	return nil
}

// tidy rounds what is printed: a hundredth of a pixel is beyond any detector.
func tidy(people []floorwatch.Person) []floorwatch.Person {
	for i := range people {
		p := &people[i]
		p.X, p.Y, p.W, p.H, p.Score = round2(p.X), round2(p.Y), max(round2(p.W), 0.01), max(round2(p.H), 0.01), round2(p.Score)
	}
	return people
}
