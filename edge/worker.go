package edge

import (
	"bufio"
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

// worker keeps a camera worker running: a child process that prints one JSON
// line per analysed frame. OpenCV can hang or crash in there without touching
// the agent; whatever happens, the worker is started again.
type worker struct {
	camera  string
	program string
	args    []string
	env     []string // carries what must not be seen in a process list
	log     *slog.Logger
	now     func() floorwatch.Time
	lines   chan<- floorwatch.Frame
	memory  int64 // bytes that it may keep resident; it is started again, the records and the recorder live on
	pulse   *watchdog.Pulse
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

// errHung is the cause of a worker's end that we brought about.
var errHung = fmt.Errorf("printed nothing for %s, or for %s after its start", lineTimeout, openTimeout)

// run starts the worker again and again until ctx ends. After each end a closed
// event goes out, so that what follows knows that nobody is watching.
func (w *worker) run(ctx context.Context) {
	apart := retry.Backoff{Min: minPause, Max: maxPause, Steady: steadyRun, Full: true} // keeps the cameras of a box apart
	_ = apart.Until(ctx, func() error {
		w.pulse.Beat()
		return w.once(ctx)
	}, func(err error, in time.Duration) {
		w.send(ctx, floorwatch.Frame{T: w.now(), Event: floorwatch.EventClosed, Cause: "camera worker: " + err.Error()})
		w.log.Warn("camera worker ended, starting it again", "camera", w.camera, "error", err, "in", in.Round(time.Millisecond))
		w.pulse.Rest()
	}) // ctx has ended
}

func (w *worker) send(ctx context.Context, f floorwatch.Frame) {
	select {
	case w.lines <- f:
	case <-ctx.Done():
	}
}

// once runs the worker to its end and says why it ended.
func (w *worker) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &child.Process{
		Path: w.program, Args: w.args, Memory: w.memory, Expendable: true,
		// Of a crash the first lines say all; a dump of registers would push them out.
		Env: append(slices.Clone(w.env), "GOTRACEBACK=none"),
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
	hung := time.AfterFunc(openTimeout, func() { cancel(errHung) })
	defer hung.Stop()
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 0, 64<<10), floorwatch.MaxLine+1)
	w.pulse.Rest() // hung bounds the wait for a line
	for scan.Scan() {
		w.pulse.Beat()
		hung.Reset(lineTimeout)
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			cancel(fmt.Errorf("printed an invalid line: %w", err))
			break
		}
		w.send(ctx, f)
		w.pulse.Rest()
	}
	w.pulse.Beat()
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
