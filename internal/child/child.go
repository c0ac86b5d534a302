// Package child runs other programs so that none outlives us. Each has its own
// process group: when the context ends, the group is asked to end and then
// killed, and whatever the program started dies with it. The kernel kills it when
// our process dies, however that happens. A Ctrl-C at the terminal reaches only
// us; we end the children.
//
// Fill in a Process and call Run; or Start, read what it prints, and Wait.
package child

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StopGrace is how long a child may take to end after it was asked to.
const StopGrace = 2 * time.Second

const (
	memoryEvery = 500 * time.Millisecond
	// killFirst is the score of an Expendable process.
	killFirst = "800"
)

// ErrMemory is what Wait returns, with the figures, of a process that was ended
// because it kept more than its Memory.
var ErrMemory = errors.New("too much memory")

// Process is one run of a program. Its fields are set before Start and not
// changed after; only Path must be set.
type Process struct {
	Path string
	Args []string // without the program's own name; anybody on this machine can read them
	Env  []string // NAME=VALUE, beside ours; carries what must not be seen in a process list

	Stdin  io.Reader // nil: nothing to read; see StdinPipe
	Stdout io.Writer // nil: thrown away; see StdoutPipe
	Stderr io.Writer // nil: the end of it is kept for Tail

	Stop  syscall.Signal // asks it to end; 0: SIGTERM. SIGKILL ends what does not listen
	Grace time.Duration  // from Stop to SIGKILL; 0: StopGrace

	// Memory is how many bytes it may keep resident before it is ended; 0: any
	// number. A limit of address space would not do: many map far more than they use.
	Memory int64
	// Expendable makes the kernel, when memory ends, kill it before us. Raising
	// one's own children's score needs no privilege; where there is no /proc
	// nothing is lost.
	Expendable bool

	cmd    *exec.Cmd
	tail   Tail
	ours   []*os.File // ends of pipes
	theirs []*os.File
	exited chan struct{} // it is dead; its number is still its own
	done   chan struct{}
	err    error

	mu   sync.Mutex
	gone bool // its number may be another's
}

// StdoutPipe returns what it prints. Call it before Start, and read to the end
// before Wait, which closes it.
func (p *Process) StdoutPipe() (io.Reader, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p.Stdout = w
	p.ours, p.theirs = append(p.ours, r), append(p.theirs, w)
	return r, nil
}

// StdinPipe returns where to write what it reads. Call it before Start, and close
// it for an end of input; Wait closes it too.
func (p *Process) StdinPipe() (io.WriteCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p.Stdin = r
	p.ours, p.theirs = append(p.ours, w), append(p.theirs, r)
	return w, nil
}

// Start starts it. It ends, at the latest, Grace after ctx does. Wait must follow.
func (p *Process) Start(ctx context.Context) error {
	name := filepath.Base(p.Path)
	if ctx.Err() != nil {
		closeAll(p.ours, p.theirs)
		return fmt.Errorf("start %s: %w", name, context.Cause(ctx))
	}
	p.cmd = exec.Command(p.Path, p.Args...)
	p.cmd.Env = append(os.Environ(), p.Env...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.Stdin, p.Stdout, p.Stderr
	if p.Stderr == nil {
		p.cmd.Stderr = &p.tail
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = p.grace() // for pipes in the hands of somebody who left the group
	p.exited, p.done = make(chan struct{}), make(chan struct{})
	started := make(chan error, 1)
	go p.run(ctx, started)
	if err := <-started; err != nil {
		closeAll(p.ours)
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// run starts the process and sees it to its end, on one thread: the kernel sends
// the death signal when the thread that forked ends.
func (p *Process) run(ctx context.Context, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	closeAll(p.theirs)
	if err == nil && p.Expendable {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID()), []byte(killFirst), 0o644)
	}
	started <- err
	if err != nil {
		return
	}
	why := make(chan error, 1)
	go func() { why <- p.watch(ctx) }()
	for unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	close(p.exited)
	ended := <-why
	_ = p.Signal(syscall.SIGKILL) // to what it started
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.err = cmp.Or(ended, p.cmd.Wait())
	close(p.done)
}

// watch ends the process when ctx does, or when it keeps too much, and says why;
// nil when it ended by itself.
func (p *Process) watch(ctx context.Context) (why error) {
	var look <-chan time.Time
	if p.Memory > 0 {
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		look = tick.C
	}
	for why == nil {
		select {
		case <-p.exited:
			return nil
		case <-ctx.Done():
			why = context.Cause(ctx)
		case <-look:
			if used := Resident(p.PID()); used > p.Memory {
				why = fmt.Errorf("%w: it kept %d MiB of memory, limit %d MiB", ErrMemory, used>>20, p.Memory>>20)
			}
		}
	}
	_ = p.Signal(cmp.Or(p.Stop, syscall.SIGTERM))
	patience := time.NewTimer(p.grace())
	defer patience.Stop()
	select {
	case <-p.exited:
	case <-patience.C:
		_ = p.Signal(syscall.SIGKILL)
	}
	return why
}

func (p *Process) grace() time.Duration { return cmp.Or(p.Grace, StopGrace) }

// Wait returns when the process is gone, and what it started is killed: the
// context's cause where that ended it, ErrMemory, or how it ended by itself. It may
// be called again, and by several.
func (p *Process) Wait() error {
	<-p.done
	closeAll(p.ours)
	return p.err
}

// Done is closed when the process is gone. Wait must follow all the same.
func (p *Process) Done() <-chan struct{} { return p.done }

// Run is Start and Wait.
func (p *Process) Run(ctx context.Context) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	return p.Wait()
}

// Output is Run for all that it prints.
func (p *Process) Output(ctx context.Context) ([]byte, error) {
	var b bytes.Buffer
	p.Stdout = &b
	err := p.Run(ctx)
	return b.Bytes(), err
}

// PID is the number of the process, which Start has started.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends sig to the process and what it started, at any time after Start;
// os.ErrProcessDone when they are gone.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || syscall.Kill(-p.PID(), sig) != nil {
		return os.ErrProcessDone
	}
	return nil
}

// Tail returns the end of what it has written to standard error, if Stderr is nil.
func (p *Process) Tail() string { return p.tail.String() }

// LastLine returns the last line of Tail: mostly why it ended.
func (p *Process) LastLine() string {
	text := strings.TrimSpace(p.Tail())
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func closeAll(lists ...[]*os.File) {
	for _, list := range lists {
		for _, f := range list {
			_ = f.Close() // a pipe; closed perhaps
		}
	}
}

// Resident returns the bytes that a process keeps in memory; 0 for one that is
// gone. The second field of statm counts pages (proc(5)).
func Resident(pid int) int64 {
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

// Tail keeps the last bytes that a child wrote, for the message about its end.
type Tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailBytes bounds what Tail keeps.
const tailBytes = 4096

// Write implements io.Writer and never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

// String returns what is kept.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Alive lists the children of this process by their process id, with their
// command lines: what a clean stop must not leave behind.
func Alive() (map[int]string, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	alive := map[int]string{}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// PID (NAME) STATE PPID …, and the name may hold anything.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		pid, errPID := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if errPID != nil || len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil {
			alive[pid] = strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return alive, nil
}
