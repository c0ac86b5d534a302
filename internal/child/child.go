// Package child prepares child processes so that none outlives us: each has its
// own process group, which gets SIGTERM and then SIGKILL when the context ends,
// and the kernel kills it when the thread that started it, so in practice our
// process, dies. A Ctrl-C at the terminal reaches only us; we end the children.
package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// StopGrace is how long a child may take to end after SIGTERM.
const StopGrace = 2 * time.Second

// Command is exec.CommandContext with the rules of this package.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return Signal(cmd, syscall.SIGTERM) }
	cmd.WaitDelay = StopGrace
	return cmd
}

// Signal sends sig to the child's whole process group.
func Signal(cmd *exec.Cmd, sig syscall.Signal) error {
	if cmd.Process == nil {
		return os.ErrProcessDone
	}
	if err := syscall.Kill(-cmd.Process.Pid, sig); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// Tail keeps the last bytes that a child wrote, for the message about its end.
type Tail struct{ buf []byte }

// tailBytes bounds what Tail keeps.
const tailBytes = 2048

// Write implements io.Writer and never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

// String returns what is kept. Call it after the child has ended.
func (t *Tail) String() string { return string(t.buf) }

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
