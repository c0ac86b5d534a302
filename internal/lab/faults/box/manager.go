package box

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"floorwatch/internal/child"
	"floorwatch/internal/lab/kit"
)

// What deploy/systemd/*.service say.
const (
	watchdogTime = 20 * time.Second
	abortTime    = 5 * time.Second
	restartTime  = 2 * time.Second
)

// Manager runs one program as systemd runs a service with Type=notify,
// WatchdogSec and Restart=always, which the machine of a bench may not have.
type Manager struct {
	exe     string
	args    []string
	Env     []string
	dir     string        // for the socket
	pause   time.Duration // RestartSec
	log     io.Writer
	Started func(pid int) // called with each process before anything else happens

	mu     sync.Mutex
	pid    int
	starts int
	ready  []time.Time // of each READY
	ended  []time.Time
	feeds  int    // since the start of the process
	status string // the last that was not "working"
}

// Run starts the program again and again until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := m.once(ctx); err != nil {
			return err
		}
		m.mu.Lock()
		pause := m.pause
		m.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

func (m *Manager) once(ctx context.Context) error {
	socket := filepath.Join(m.dir, "notify")
	_ = os.Remove(socket)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("listen as service manager: %w", err)
	}
	defer func() { _ = conn.Close() }()
	p := &child.Process{
		Path: m.exe, Args: m.args, Stdout: m.log, Stderr: m.log,
		Env: append(slices.Clone(m.Env), "NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", watchdogTime.Microseconds())),
	}
	if err := p.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // nobody wants it any more
		}
		return err
	}
	if m.Started != nil {
		m.Started(p.PID())
	}
	m.mu.Lock()
	m.pid, m.feeds = p.PID(), 0
	m.starts++
	m.mu.Unlock()
	words := make(chan string, 64)
	go func() {
		defer close(words)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			words <- string(b[:n])
		}
	}()
	go func() { m.watch(p, words) }()
	_ = p.Wait()
	m.mu.Lock()
	m.pid = 0
	m.ended = append(m.ended, time.Now())
	m.mu.Unlock()
	return nil
}

// watch ends the program when it is no longer heard, or asks for it.
func (m *Manager) watch(p *child.Process, words <-chan string) {
	dog := time.NewTimer(time.Hour) // from READY on
	defer dog.Stop()
	for {
		select {
		case <-p.Done():
			return
		case <-dog.C:
		case word, open := <-words:
			if !open {
				words = nil
				continue
			}
			if !m.heard(word) {
				dog.Reset(watchdogTime)
				continue
			}
		}
		_ = p.Signal(syscall.SIGABRT)
		_ = p.Signal(syscall.SIGCONT) // as systemd does
		select {
		case <-p.Done():
		case <-time.After(abortTime):
			_ = p.Signal(syscall.SIGKILL)
		}
		return
	}
}

// heard books a message and tells whether it asks for the restart.
func (m *Manager) heard(word string) (trigger bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range strings.Lines(word) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case key == "READY":
			m.ready = append(m.ready, time.Now())
		case key == "WATCHDOG" && value == "trigger":
			trigger = true
		case key == "WATCHDOG":
			m.feeds++
		case key == "STATUS" && value != "working":
			m.status = value
		}
	}
	return trigger
}

// SetPause changes the time between the end of one process and the next.
func (m *Manager) SetPause(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pause = d
}

// State is what is known of the program at a moment.
type State struct {
	PID, Starts, Feeds int
	Ready              []time.Time
	Status             string
}

// State returns it.
func (m *Manager) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return State{m.pid, m.starts, m.feeds, m.ready, m.status}
}

// ChildOf finds a child process by its program's name; 0: there is none.
func ChildOf(parent int, name string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		head, rest, ok := strings.Cut(string(b), ") ") // PID (NAME) STATE PPID …
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 2 || fields[1] != strconv.Itoa(parent) || !strings.HasSuffix(head, "("+name) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		return pid
	}
	return 0
}

// FigureOf reads a figure without labels from a program's /metrics; -1 while
// there is none.
func FigureOf(ctx context.Context, host, name string) float64 {
	all, _ := kit.ReadFigures(ctx, nil, host)
	return all.Get(name)
}
