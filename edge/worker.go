package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/child"
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
}

const (
	// lineTimeout is the silence after which a worker is taken for hung. It
	// reports a stalled camera by itself within 5 s and a dead one within 10.
	lineTimeout = 15 * time.Second
	// steadyRun is how long a worker must have run for its next end to be
	// taken for a new trouble, with the short pause.
	steadyRun = time.Minute

	minPause = time.Second
	maxPause = 30 * time.Second
)

// errHung is the cause of a worker's end that we brought about.
var errHung = fmt.Errorf("printed nothing for %s", lineTimeout)

// run starts the worker again and again until ctx ends. After each end a closed
// event goes out, so that what follows knows that nobody is watching.
func (w *worker) run(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		began := time.Now()
		err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		w.send(ctx, floorwatch.Frame{T: w.now(), Event: floorwatch.EventClosed, Cause: "camera worker: " + err.Error()})
		if time.Since(began) > steadyRun {
			pause = minPause
		}
		// Full jitter keeps boxes that lost power together apart.
		wait := minPause/2 + rand.N(pause)
		w.log.Warn("camera worker ended, starting it again", "camera", w.camera, "why", err, "in", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		pause = min(2*pause, maxPause)
	}
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
	cmd := child.Command(ctx, w.program, w.args...)
	// Of a crash the first lines say all; a dump of registers would push them out.
	cmd.Env = append(append(os.Environ(), w.env...), "GOTRACEBACK=none")
	// A worker stuck in a C++ call does not hear SIGTERM.
	cmd.Cancel = func() error { return child.Signal(cmd, syscall.SIGKILL) }
	var tail child.Tail
	cmd.Stderr = &tail
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	hung := time.AfterFunc(lineTimeout, func() { cancel(errHung) })
	defer hung.Stop()
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 0, 64<<10), floorwatch.MaxLine+1)
	for scan.Scan() {
		hung.Reset(lineTimeout)
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			cancel(fmt.Errorf("printed what is no camera line: %w", err))
			break
		}
		w.send(ctx, f)
	}
	if err := scan.Err(); err != nil {
		cancel(fmt.Errorf("read its lines: %w", err))
	}
	err = cmd.Wait()
	return endCause(context.Cause(ctx), err, tail.String())
}

// crashRE finds how the Go runtime, or the C library, names a fatal signal.
var crashRE = regexp.MustCompile(`(?m)^(SIG[A-Z]+: .*|double free.*|free\(\): .*|malloc.*: .*|corrupted .*)$`)

// endCause joins what is known of a worker's end into one error.
func endCause(cause, exit error, stderr string) error {
	switch {
	case cause != nil:
		return cause
	case crashRE.MatchString(stderr):
		return fmt.Errorf("it crashed (%s); the source may have changed its picture, or the decoder may have met damage", crashRE.FindString(stderr))
	case stderr != "":
		return fmt.Errorf("%s", lastLine(stderr))
	case exit != nil:
		return exit
	}
	return errors.New("ended by itself")
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
