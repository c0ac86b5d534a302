package main

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// manager runs one program as systemd runs a service with Type=notify,
// WatchdogSec and Restart=always, which the machine of a bench may not have.
type manager struct {
	exe     string
	args    []string
	env     []string
	dir     string        // for the socket
	pause   time.Duration // RestartSec
	log     io.Writer
	started func(pid int) // called with each process before anything else happens
	aborted func()        // called when one was told to end

	mu     sync.Mutex
	pid    int
	starts int
	ready  []time.Time // of each READY
	ended  []time.Time
	feeds  int    // since the start of the process
	status string // the last that was not "working"
}

// run starts the program again and again until ctx ends.
func (m *manager) run(ctx context.Context) error {
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

func (m *manager) once(ctx context.Context) error {
	socket := filepath.Join(m.dir, "notify")
	_ = os.Remove(socket)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("listen as service manager: %w", err)
	}
	defer func() { _ = conn.Close() }()
	cmd := child.Command(ctx, m.exe, m.args...)
	cmd.Env = append(append(os.Environ(), m.env...), "NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", watchdogTime.Microseconds()))
	cmd.Stdout, cmd.Stderr = m.log, m.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", m.exe, err)
	}
	if m.started != nil {
		m.started(cmd.Process.Pid)
	}
	m.mu.Lock()
	m.pid, m.feeds = cmd.Process.Pid, 0
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
	gone := make(chan struct{})
	go func() { m.watch(cmd, words, gone) }()
	_ = cmd.Wait()
	close(gone)
	m.mu.Lock()
	m.pid = 0
	m.ended = append(m.ended, time.Now())
	m.mu.Unlock()
	return nil
}

// watch ends the program when it is no longer heard, or asks for it.
func (m *manager) watch(cmd *exec.Cmd, words <-chan string, gone <-chan struct{}) {
	dog := time.NewTimer(time.Hour) // from READY on
	defer dog.Stop()
	for {
		select {
		case <-gone:
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
		_ = cmd.Process.Signal(syscall.SIGABRT)
		_ = cmd.Process.Signal(syscall.SIGCONT) // as systemd does
		if m.aborted != nil {
			m.aborted()
		}
		select {
		case <-gone:
		case <-time.After(abortTime):
			_ = child.Signal(cmd, syscall.SIGKILL)
		}
		return
	}
}

// heard books a message and tells whether it asks for the restart.
func (m *manager) heard(word string) (trigger bool) {
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

// setPause changes the time between the end of one process and the next.
func (m *manager) setPause(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pause = d
}

// state is what is known of the program at a moment.
type state struct {
	pid, starts, feeds int
	ready              []time.Time
	status             string
}

func (m *manager) state() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return state{m.pid, m.starts, m.feeds, m.ready, m.status}
}

// codeCrash is an instruction that no processor knows.
var codeCrash = []byte{0x0f, 0x0b}

// hangMark is the name of the thread in which a poisoned function was called.
const hangMark = "hangs"

// codeHang returns code for the beginning of the function at address at: it names
// its thread and then waits for ever, as a goroutine waits that has locked itself
// out, by receiving from a nil channel with the runtime's function at receive.
func codeHang(at, receive uint64) []byte {
	code := []byte{
		0xb8, 0x9d, 0, 0, 0, // mov eax, prctl
		0xbf, 0x0f, 0, 0, 0, // mov edi, PR_SET_NAME
		0x48, 0x8d, 0x35, 11, 0, 0, 0, // lea rsi, [hangMark]
		0x0f, 0x05, // syscall
		0x31, 0xc0, // xor eax, eax
		0x31, 0xdb, // xor ebx, ebx
		0xe9, // jmp receive
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(receive-at-uint64(len(code))-4))
	return append(append(code, hangMark...), 0)
}

// makeHang makes a function of a running Go program never return from its next
// call on; the product needs no hook for it.
func makeHang(pid int, exe, function string) error {
	at, err := address(exe, function, 40)
	if err != nil {
		return err
	}
	receive, err := address(exe, "runtime.chanrecv1", 1)
	if err != nil {
		return err
	}
	return poison(pid, function, at, codeHang(at, receive))
}

// makeCrash makes the next call of a function end the program, as a bug would.
func makeCrash(pid int, exe, function string) error {
	at, err := address(exe, function, 40)
	if err != nil {
		return err
	}
	return poison(pid, function, at, codeCrash)
}

// poison writes code over the beginning of a function.
func poison(pid int, function string, at uint64, code []byte) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("poison %s: the bench has no code for %s", function, runtime.GOARCH)
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("poison %s: %w", function, err)
	}
	defer func() { _ = mem.Close() }()
	// Nobody may be inside while the bytes change.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("poison %s: %w", function, err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	if _, err := mem.WriteAt(code, int64(at)); err != nil {
		return fmt.Errorf("poison %s: %w", function, err)
	}
	return nil
}

// address finds a function of at least size bytes.
func address(exe, function string, size uint64) (uint64, error) {
	f, err := elf.Open(exe)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", exe, err)
	}
	defer func() { _ = f.Close() }()
	symbols, err := f.Symbols()
	if err != nil {
		return 0, fmt.Errorf("read %s: %w; the bench needs programs that are not stripped", exe, err)
	}
	for _, s := range symbols {
		if s.Name == function && s.Size >= size {
			return s.Value, nil
		}
	}
	return 0, fmt.Errorf("%s has no function %s: the bench names one that was renamed or inlined", filepath.Base(exe), function)
}

// hangs tells whether a poisoned function was called.
func hangs(pid int) bool {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	for _, path := range names {
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == hangMark {
			return true
		}
	}
	return false
}

// muteListener takes connections and says nothing.
func muteListener() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen as a mute broker: %w", err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	return ln, nil
}

// childOf finds a child process by its program's name; 0: there is none.
func childOf(parent int, name string) int {
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

// figureOf reads a figure without labels from a program's /metrics; -1 while
// there is none.
func figureOf(ctx context.Context, host, name string) float64 {
	all, _ := kit.ReadFigures(ctx, nil, host)
	return all.Get(name)
}
