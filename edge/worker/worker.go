// Package worker keeps a camera worker running: a child process that prints one
// JSON line per analysed frame. OpenCV can hang or crash in there without touching
// the agent; whatever happens, the worker is started again.
package worker

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/child"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"
)

// Worker is a camera's worker and what it is started with. All fields but Memory,
// Pulse and Log are required.
type Worker struct {
	Camera  string
	Program string
	Args    []string
	Env     []string // carries what must not be seen in a process list
	Now     func() floorwatch.Time
	Lines   chan<- floorwatch.Frame // gets its lines, and a closed event after each end
	Memory  int64                   // bytes that it may keep resident before it is started again; 0: any number
	Pulse   *watchdog.Pulse         // rests while a line is waited for
	Log     *slog.Logger            // nil = discard

	open, silence time.Duration // in place of openTimeout and lineTimeout; 0: those
}

const (
	// openTimeout is how long a worker may take to its first line: it loads its
	// model, and its steps to a camera that does not answer have time limits of
	// their own, 15 s together.
	openTimeout = 18 * time.Second
	// lineTimeout is the silence after which a worker that has printed is taken
	// for hung. A camera that stalls it reports by itself within 5 s.
	lineTimeout = 8 * time.Second
	// steadyRun is how long a worker must have run for its next end to be
	// taken for a new trouble, with the short pause.
	steadyRun = 10 * time.Second

	minPause = time.Second / 2
	maxPause = 5 * time.Second // a camera that comes back is watched again soon
)

// Run starts the worker again and again until ctx ends. After each end a closed
// event goes out, so that what follows knows that nobody is watching.
func (w *Worker) Run(ctx context.Context) error {
	log := w.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	apart := retry.Backoff{Min: minPause, Max: maxPause, Steady: steadyRun, Full: true} // keeps the cameras of a box apart
	_ = apart.Until(ctx, func() error {
		w.Pulse.Beat()
		return w.once(ctx)
	}, func(err error, in time.Duration) {
		w.send(ctx, floorwatch.Frame{T: w.Now(), Event: floorwatch.EventClosed, Cause: "camera worker: " + err.Error()})
		log.Warn("camera worker ended, starting it again", "camera", w.Camera, "error", err, "in", in.Round(time.Millisecond))
		w.Pulse.Rest()
	}) // ctx has ended
	return nil
}

func (w *Worker) send(ctx context.Context, f floorwatch.Frame) {
	select {
	case w.Lines <- f:
	case <-ctx.Done():
	}
}

// once runs the worker to its end and says why it ended.
func (w *Worker) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &child.Process{
		Path: w.Program, Args: w.Args, Memory: w.Memory, Expendable: true,
		// Of a crash the first lines say all; a dump of registers would push them out.
		Env: append(slices.Clone(w.Env), "GOTRACEBACK=none"),
		// A worker stuck in a C++ call does not hear SIGTERM.
		Stop: syscall.SIGKILL,
	}
	out, err := p.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	open, silence := cmp.Or(w.open, openTimeout), cmp.Or(w.silence, lineTimeout)
	hung := time.AfterFunc(open, func() {
		cancel(fmt.Errorf("printed nothing for %s, or for %s after its start", silence, open))
	})
	defer hung.Stop()
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 0, 64<<10), floorwatch.MaxLine+1)
	w.Pulse.Rest() // hung bounds the wait for a line
	for scan.Scan() {
		w.Pulse.Beat()
		hung.Reset(silence)
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			cancel(fmt.Errorf("printed an invalid line: %w", err))
			break
		}
		w.send(ctx, f)
		w.Pulse.Rest()
	}
	w.Pulse.Beat()
	if err := scan.Err(); err != nil {
		cancel(fmt.Errorf("read its lines: %w", err))
	}
	return endCause(context.Cause(ctx), p.Wait(), p)
}

// crashRE finds how the Go runtime, or the C library, names a fatal signal.
var crashRE = regexp.MustCompile(`(?m)^(SIG[A-Z]+: .*|double free.*|free\(\): .*|malloc.*: .*|corrupted .*)$`)

// registersRE finds the end of the dump of a crash whose name was pushed out.
var registersRE = regexp.MustCompile(`(?m)^gs +0x[0-9a-f]+$`)

// endCause joins what is known of a worker's end into one error.
func endCause(cause, exit error, p *child.Process) error {
	stderr := p.Tail()
	switch {
	case cause != nil:
		return cause
	case errors.Is(exit, child.ErrMemory):
		return fmt.Errorf("%w (worker_memory)", exit)
	case crashRE.MatchString(stderr):
		return fmt.Errorf("it crashed (%s); the source may have changed its picture, or the decoder may have met damage", crashRE.FindString(stderr))
	case registersRE.MatchString(stderr):
		return errors.New("it crashed by a fatal signal")
	case stderr != "":
		return errors.New(p.LastLine())
	case exit != nil:
		return exit
	}
	return errors.New("exited without an error message")
}
