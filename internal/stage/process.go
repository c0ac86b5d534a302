// Package stage starts the real servers and programs that a bench needs: brokers,
// databases, and the bench's own program in other roles, each in a process that
// can be killed and does not outlive the bench.
package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"floorwatch/internal/child"
)

// Process is a running child. Its standard output is read by Next; the end of its
// standard error is told when it ends too early.
type Process struct {
	cmd   *exec.Cmd
	In    io.WriteCloser
	lines *bufio.Scanner
	tail  *child.Tail
	stop  context.CancelFunc
}

// Start starts a program. It ends with ctx at the latest.
func Start(ctx context.Context, name string, args ...string) (*Process, error) {
	return StartIn(ctx, nil, name, args...)
}

// StartIn is Start with more environment, as NAME=VALUE.
func StartIn(ctx context.Context, env []string, name string, args ...string) (*Process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{cmd: child.Command(ctx, name, args...), tail: new(child.Tail), stop: cancel}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.tail
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.In, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(name), err)
	}
	p.lines = bufio.NewScanner(out)
	p.lines.Buffer(nil, 1<<20)
	return p, nil
}

// Self starts this program again.
func Self(ctx context.Context, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return Start(ctx, self, args...)
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
		return fmt.Errorf("%s ended: %s", strings.Join(p.cmd.Args[:min(3, len(p.cmd.Args))], " "), p.tail)
	}
	if err := json.Unmarshal(p.lines.Bytes(), v); err != nil {
		return fmt.Errorf("read %q: %w", p.lines.Text(), err)
	}
	return nil
}

// Signal sends a signal to the process and its children.
func (p *Process) Signal(s syscall.Signal) error { return child.Signal(p.cmd, s) }

// Kill sends SIGKILL to the process and its children; what it said before can
// still be read. End must follow.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// End asks the process to end and waits for that; how it ended is no error.
func (p *Process) End() {
	_ = p.In.Close()
	p.stop()
	_ = p.cmd.Wait()
}

// Tail returns the end of what an ended process wrote on standard error.
func (p *Process) Tail() string { return p.tail.String() }

// Pause waits for d or the end of ctx.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until asks done every few milliseconds until it says true; an error after
// patience, which names what was waited for.
func Until(ctx context.Context, what string, patience time.Duration, done func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s in vain for %s", patience, what)
		}
		if err := Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}
