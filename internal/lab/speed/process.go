package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

const roleArg = "-role"

// ticks of a processor second in /proc; Linux has told user space 100 for ever.
const ticks = 100

// usage is what a process has used so far.
type usage struct {
	cpu      float64 // seconds
	memory   float64 // peak, MiB
	resident float64 // now, MiB
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
	_, now, _ := strings.Cut(string(status), "VmRSS:")
	_, err4 := fmt.Sscan(peak, &u.memory)
	_, err5 := fmt.Sscan(now, &u.resident)
	u.cpu, u.memory, u.resident = (user+system)/ticks, u.memory/1024, u.resident/1024
	return u, errors.Join(err1, err2, err3, err4, err5)
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

// play starts this program in a role.
func play(ctx context.Context, role string, conf any) (*kit.Process, error) {
	b, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	return kit.Self(ctx, roleArg, role, string(b))
}

// place is a broker and a database of one run's own.
type place struct {
	dir      string
	broker   *kit.Broker
	database *influxdb.Database
	sink     *kit.Process // nil: InfluxDB
}

// newPlace starts both; limits are lines of mosquitto's configuration, "" its
// defaults.
func (p *plan) newPlace(ctx context.Context, limits string) (*place, error) {
	s := new(place)
	var err error
	if s.dir, err = os.MkdirTemp(p.dir, "run-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	if s.broker, err = kit.StartBroker(ctx, s.dir, limits); err != nil {
		return nil, err
	}
	if s.database, err = influxdb.Start(ctx, s.dir); err != nil {
		s.broker.End()
		return nil, err
	}
	return s, nil
}

func (s *place) end() {
	s.broker.End()
	s.database.End()
	_ = os.RemoveAll(s.dir)
}
