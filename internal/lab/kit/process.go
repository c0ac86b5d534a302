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
	"path/filepath"
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
	name  string
	child *child.Process
	said  output
	lines *bufio.Scanner
	stop  context.CancelFunc
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
	p := &Process{name: filepath.Base(c.Name), child: &child.Process{
		Path: name, Args: args, Env: append([]string{"PATH=" + SearchPath()}, c.Env...),
	}}
	p.child.Stdout, p.child.Stderr = &p.said, &p.said
	var err error
	if p.In, err = p.child.StdinPipe(); err != nil {
		return nil, err
	}
	if c.Lines {
		out, err := p.child.StdoutPipe()
		if err != nil {
			return nil, err
		}
		p.lines = bufio.NewScanner(out)
		p.lines.Buffer(nil, 1<<20)
	}
	ctx, p.stop = context.WithCancel(ctx)
	if err := p.child.Start(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
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
func (p *Process) PID() int { return p.child.PID() }

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
		return fmt.Errorf("%s ended: %s", strings.Join(append([]string{p.name}, p.child.Args[:min(2, len(p.child.Args))]...), " "), p.Tail())
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
func (p *Process) Ended() <-chan struct{} { return p.child.Done() }

// Signal sends a signal to the process and its children.
func (p *Process) Signal(s syscall.Signal) error { return p.child.Signal(s) }

// Kill ends the process as kill -9 does, and waits for that; what it said before
// can still be read. End must follow.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.Ended()
	return nil
}

// End asks the process to end and waits for that; how it ended is no error.
func (p *Process) End() {
	_ = p.In.Close()
	p.stop()
	_ = p.child.Wait()
}

// Quit asks the process to end with SIGTERM; an error unless it does so in order
// and in time.
func (p *Process) Quit(within time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	select {
	case <-p.Ended():
	case <-time.After(within):
		return fmt.Errorf("%s did not end within %s", p.name, within)
	}
	if err := p.child.Wait(); err != nil {
		return fmt.Errorf("%s ended with %w", p.name, err)
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
