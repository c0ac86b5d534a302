package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"floorwatch/cloud/influx"
	"floorwatch/internal/child"
)

const roleArg = "-role"

// ticks of a processor second in /proc; Linux has told user space 100 for ever.
const ticks = 100

// usage is what a process has used so far.
type usage struct {
	cpu    float64 // seconds
	memory float64 // peak, MiB
}

func usageOf(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read processor time: %w", err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // after PID (NAME)
	if len(f) < 13 {
		return u, fmt.Errorf("read processor time of %d: %d fields", pid, len(f))
	}
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	status, err3 := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, err4 := fmt.Sscan(peak, &u.memory)
	u.cpu, u.memory = (user+system)/ticks, u.memory/1024
	return u, errors.Join(err1, err2, err3, err4)
}

// busy returns the processor seconds that the whole machine has used.
func busy() (float64, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read the machine's load: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	var sum float64
	for i, text := range f {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("read the machine's load: %w", err)
		}
		sum += v / ticks
	}
	return sum, nil
}

// process is a child: a server, or this program in a role.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	tail  *child.Tail
	stop  context.CancelFunc
}

func start(ctx context.Context, name string, args ...string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cmd: child.Command(ctx, name, args...), tail: new(child.Tail), stop: cancel}
	p.cmd.Stderr = p.tail
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(name), err)
	}
	p.lines = bufio.NewScanner(out)
	return p, nil
}

// play starts this program in a role.
func play(ctx context.Context, role string, conf any) (*process, error) {
	b, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return start(ctx, self, roleArg, role, string(b))
}

// next reads the next line that a role says into v.
func (p *process) next(v any) error {
	if !p.lines.Scan() {
		p.end()
		return fmt.Errorf("%s ended: %s", strings.Join(p.cmd.Args[1:min(3, len(p.cmd.Args))], " "), p.tail)
	}
	if err := json.Unmarshal(p.lines.Bytes(), v); err != nil {
		return fmt.Errorf("read %q: %w", p.lines.Text(), err)
	}
	return nil
}

func (p *process) usage() (usage, error) { return usageOf(p.cmd.Process.Pid) }

// end ends a process; that it was told to is no error.
func (p *process) end() {
	_ = p.in.Close()
	p.stop()
	_ = p.cmd.Wait()
}

// stage is a broker and a database of one run's own.
type stage struct {
	dir      string
	broker   *process
	address  string // of the broker
	database *influx.Server
	client   *influx.Client
	endDB    func()
	sink     *process // nil: InfluxDB
}

const brokerOpen = "max_inflight_messages 0\nmax_queued_messages 0\n"

// newStage starts both; limits are lines of mosquitto's configuration, "" its
// defaults.
func (p *plan) newStage(ctx context.Context, limits string) (*stage, error) {
	s := new(stage)
	var err error
	if s.dir, err = os.MkdirTemp(p.dir, "run-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	s.address = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(s.address)
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nlog_type none\nset_tcp_nodelay true\n%s", port, limits)
	if err := os.WriteFile(filepath.Join(s.dir, "mosquitto.conf"), []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("configure mosquitto: %w", err)
	}
	if err := s.startBroker(ctx); err != nil {
		return nil, err
	}
	s.database = &influx.Server{Dir: filepath.Join(s.dir, "influx")}
	s.client = &influx.Client{Endpoint: s.database.Endpoint}
	if err := s.startDatabase(ctx); err != nil {
		s.broker.end()
		return nil, err
	}
	return s, nil
}

func (s *stage) startBroker(ctx context.Context) (err error) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto" // where Debian keeps it, off a user's PATH
	}
	if s.broker, err = start(ctx, bin, "-c", filepath.Join(s.dir, "mosquitto.conf")); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			s.broker.end()
			return fmt.Errorf("reach mosquitto: %w; %s", err, s.broker.tail)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// startDatabase starts influxd and writes where it is, for ingest to read.
func (s *stage) startDatabase(ctx context.Context) error {
	dbCtx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.database.Run(dbCtx) }()
	s.endDB = func() { cancel(); <-done }
	ready, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	at, err := s.database.WaitReady(ready)
	if err == nil {
		b := fmt.Appendf(nil, "%s %s", at.URL, at.Token)
		if err = os.WriteFile(s.endpointFile()+".new", b, 0o600); err == nil {
			err = os.Rename(s.endpointFile()+".new", s.endpointFile())
		}
	}
	if err != nil {
		s.endDB()
		return fmt.Errorf("start influxd: %w", err)
	}
	return nil
}

func (s *stage) endpointFile() string { return filepath.Join(s.dir, "endpoint") }

func (s *stage) end() {
	s.client.Close()
	s.broker.end()
	s.endDB()
	_ = os.RemoveAll(s.dir)
}

// databasePID finds influxd, which influx.Server keeps to itself.
func (s *stage) databasePID() (int, error) {
	alive, err := child.Alive()
	for pid, line := range alive {
		if strings.Contains(line, s.dir) && strings.Contains(line, "influxd") {
			return pid, nil
		}
	}
	return 0, errors.Join(err, errors.New("find influxd among the children"))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
