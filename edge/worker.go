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
	memory  int64 // bytes that it may keep resident
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
	// memoryEvery is how often a worker's memory is looked at.
	memoryEvery = 500 * time.Millisecond
	// killFirst makes the kernel, when memory ends, kill a worker before the
	// agent: the worker is started again, the records and the recorder live on.
	killFirst = "800"

	minPause = time.Second / 2
	maxPause = 5 * time.Second // a camera that comes back is watched again soon
)

// errHung is the cause of a worker's end that we brought about.
var errHung = fmt.Errorf("printed nothing for %s, or for %s after its start", lineTimeout, openTimeout)

// run starts the worker again and again until ctx ends. After each end a closed
// event goes out, so that what follows knows that nobody is watching.
func (w *worker) run(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		began := time.Now()
		w.pulse.Beat()
		err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		w.send(ctx, floorwatch.Frame{T: w.now(), Event: floorwatch.EventClosed, Cause: "camera worker: " + err.Error()})
		if time.Since(began) > steadyRun {
			pause = minPause
		}
		wait := minPause/4 + rand.N(pause) // jitter keeps the cameras of a box apart
		w.log.Warn("camera worker ended, starting it again", "camera", w.camera, "why", err, "in", wait.Round(time.Millisecond))
		w.pulse.Rest()
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
	w.favour(cmd.Process.Pid)
	hung := time.AfterFunc(openTimeout, func() { cancel(errHung) })
	defer hung.Stop()
	go w.watchMemory(ctx, cmd.Process.Pid, cancel)
	scan := bufio.NewScanner(out)
	scan.Buffer(make([]byte, 0, 64<<10), floorwatch.MaxLine+1)
	w.pulse.Rest() // hung bounds the wait for a line
	for scan.Scan() {
		w.pulse.Beat()
		hung.Reset(lineTimeout)
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			cancel(fmt.Errorf("printed what is no camera line: %w", err))
			break
		}
		w.send(ctx, f)
		w.pulse.Rest()
	}
	w.pulse.Beat()
	if err := scan.Err(); err != nil {
		cancel(fmt.Errorf("read its lines: %w", err))
	}
	err = cmd.Wait()
	return endCause(context.Cause(ctx), err, tail.String())
}

// favour makes the kernel choose the worker when memory ends. Raising one's own
// children's score needs no privilege; where there is no /proc nothing is lost.
func (w *worker) favour(pid int) {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(killFirst), 0o644); err != nil {
		w.log.Debug("worker's memory score not set", "camera", w.camera, "err", err)
	}
}

// watchMemory ends a worker that keeps more than w.memory bytes resident. A
// limit of address space would not do: OpenCV maps far more than it uses.
func (w *worker) watchMemory(ctx context.Context, pid int, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if used := resident(pid); w.memory > 0 && used > w.memory {
			cancel(fmt.Errorf("kept %d MiB of memory, limit %d MiB (worker_memory)", used>>20, w.memory>>20))
			return
		}
	}
}

// resident returns the bytes that a process keeps in memory; 0 for one that is
// gone. The second field of statm counts pages (proc(5)).
func resident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// crashRE finds how the Go runtime, or the C library, names a fatal signal.
var crashRE = regexp.MustCompile(`(?m)^(SIG[A-Z]+: .*|double free.*|free\(\): .*|malloc.*: .*|corrupted .*)$`)

// registersRE finds the end of the dump of a crash whose name was pushed out.
var registersRE = regexp.MustCompile(`(?m)^gs +0x[0-9a-f]+$`)

// endCause joins what is known of a worker's end into one error.
func endCause(cause, exit error, stderr string) error {
	switch {
	case cause != nil:
		return cause
	case crashRE.MatchString(stderr):
		return fmt.Errorf("it crashed (%s); the source may have changed its picture, or the decoder may have met damage", crashRE.FindString(stderr))
	case registersRE.MatchString(stderr):
		return errors.New("it crashed by a fatal signal")
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
