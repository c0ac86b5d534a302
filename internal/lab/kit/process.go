package kit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"floorwatch/internal/child"
)

// Program says how to start a program.
type Program struct {
	Name    string // a path, or what is on PATH or brought by deploy/setup.sh
	Args    []string
	Env     []string // more of it, as NAME=VALUE
	Network *Network // nil: the machine's
	// Lines leaves standard output to Line and Next; without, Output has it
	// together with standard error.
	Lines bool
}

// Process is a program that runs. It does not outlive this process, nor the
// context that it was started with.
type Process struct {
	In    io.WriteCloser
	cmd   *exec.Cmd
	said  output
	lines *bufio.Scanner
	read  *os.File
	stop  context.CancelFunc
	done  chan struct{}
	err   error // how it ended, once done is closed
}

// Start starts a program whose lines are read.
func Start(ctx context.Context, name string, args ...string) (*Process, error) {
	return Program{Name: name, Args: args, Lines: true}.Start(ctx)
}

// Self starts this program again.
func Self(ctx context.Context, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return Start(ctx, self, args...)
}

// Start starts it. The programs that it starts itself are looked for where the
// kit looks, too.
func (c Program) Start(ctx context.Context) (*Process, error) {
	name, args := c.Name, c.Args
	if c.Network != nil { // nsenter replaces itself by the program
		name, args = "nsenter", append([]string{"--net=" + c.Network.path(), name}, args...)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{cmd: child.Command(ctx, name, args...), stop: cancel, done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), "PATH="+SearchPath()), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	var err error
	if p.In, err = p.cmd.StdinPipe(); err == nil && c.Lines {
		var w *os.File
		if p.read, w, err = os.Pipe(); err == nil {
			defer func() { _ = w.Close() }()
			p.cmd.Stdout = w
			p.lines = bufio.NewScanner(p.read)
			p.lines.Buffer(nil, 1<<20)
		}
	}
	if err == nil {
		err = p.run()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Name), err)
	}
	return p, nil
}

// run starts the command from a thread that stays as long as the program: the
// kernel kills the program when its thread ends, and so when we are killed.
func (p *Process) run() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	return <-started
}

// SearchPath is PATH with the folders of what the set-up built in front.
func SearchPath() string {
	path := os.Getenv("PATH") + ":/usr/sbin"
	if root, err := Root(); err == nil {
		path = filepath.Join(root, "bin") + ":" + filepath.Join(root, ".tools/bin") + ":" + path
	}
	return path
}

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Line returns the next line of output; false once the process has ended.
func (p *Process) Line() (line string, ok bool) {
	ok = p.lines.Scan()
	return p.lines.Text(), ok
}

// Next reads the next line, a JSON value, into v. An error when the process ended
// instead.
func (p *Process) Next(v any) error {
	if !p.lines.Scan() {
		p.End()
		return fmt.Errorf("%s ended: %s", strings.Join(p.cmd.Args[:min(3, len(p.cmd.Args))], " "), p.Tail())
	}
	if err := json.Unmarshal(p.lines.Bytes(), v); err != nil {
		return fmt.Errorf("read %q: %w", p.lines.Text(), err)
	}
	return nil
}

// Output returns what the process has written so far, but for its lines.
func (p *Process) Output() string { return p.said.String() }

// Tail returns the end of that.
func (p *Process) Tail() string {
	s := p.said.String()
	return s[max(0, len(s)-6000):]
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Signal sends a signal to the process and its children.
func (p *Process) Signal(s syscall.Signal) error { return child.Signal(p.cmd, s) }

// Kill sends SIGKILL to the process and its children; what it said before can
// still be read. End must follow.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// Crash ends the process, and nothing but it, as kill -9 does, and waits for it.
func (p *Process) Crash() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", filepath.Base(p.cmd.Path), err)
	}
	<-p.done
	return nil
}

// End asks the process to end and waits for that; how it ended is no error.
// Nothing of its group is left.
func (p *Process) End() {
	_ = p.In.Close()
	p.stop()
	<-p.done
	_ = p.Signal(syscall.SIGKILL)
	if p.read != nil {
		_ = p.read.Close()
	}
}

// Quit asks the process to end with SIGTERM; an error unless it does so in order
// and in time.
func (p *Process) Quit(within time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", filepath.Base(p.cmd.Path), err)
	}
	select {
	case <-p.done:
	case <-time.After(within):
		return fmt.Errorf("%s did not end within %s", filepath.Base(p.cmd.Path), within)
	}
	if p.err != nil {
		return fmt.Errorf("%s ended with %w", filepath.Base(p.cmd.Path), p.err)
	}
	return nil
}

// output keeps what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
