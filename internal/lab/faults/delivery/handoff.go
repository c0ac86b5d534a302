package delivery

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/kit"

	"golang.org/x/sys/unix"
)

// handed is what the camera worker of the bench writes into its file once a
// second: how long the agent made it wait.
type handed struct {
	Lines int
	Waits []int // lines by the ms that writing them took; the last holds longer ones
}

// playLines is a camera worker with a crowd that never stops coming: role lines
// FILE LINES-PER-SECOND. Its pipe is as small as a pipe can be, so that an agent
// that does not read is felt at once.
func playLines(args []string) error {
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(1, unix.F_SETPIPE_SZ, 4096); err != nil {
		return fmt.Errorf("make the pipe small: %w", err)
	}
	told := handed{Waits: make([]int, 1001)}
	put := func(f floorwatch.Frame) error {
		b, err := json.Marshal(f)
		if err != nil {
			return err
		}
		began := time.Now()
		_, err = os.Stdout.Write(append(b, '\n'))
		told.Waits[min(1000, int(time.Since(began).Milliseconds()))]++
		told.Lines++
		return err
	}
	if err := put(floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), Event: floorwatch.EventOpen, By: "bench"}); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	last := floorwatch.TimeOf(time.Now())
	for n := int64(1); ; n++ {
		t := max(last+1, floorwatch.TimeOf(<-tick.C))
		last = t
		f := floorwatch.Frame{T: t, N: n, W: 640, H: 480}
		for i := range int64(10) { // ten people, of whom five change every second
			id := i*1_000_000 + int64(t)/1000/(1+i%2*9)
			f.People = append(f.People, floorwatch.Person{ID: id, X: float64(20 + 60*i), Y: 100, W: 30, H: 80, Score: 0.9})
		}
		if err := put(f); err != nil {
			return err
		}
		if n%int64(rate) == 0 {
			b, err := json.Marshal(told)
			if err == nil {
				err = os.WriteFile(args[0]+".new", b, 0o600)
			}
			if err == nil {
				err = os.Rename(args[0]+".new", args[0])
			}
			if err != nil {
				return err
			}
		}
	}
}

func readHanded(path string) (h handed, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	return h, err
}

// handOff runs the real agent under load while nothing passes on its line.
func handOff(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	broker, err := kit.StartBroker(ctx, b.Dir, kit.Open)
	if err != nil {
		return bench.Finding{}, err
	}
	defer func() { broker.End() }()
	line, err := chaos.Start(broker.Address)
	if err != nil {
		return bench.Finding{}, err
	}
	defer line.Close()
	x, err := box.New(b, "handoff", line.Addr, "")
	if err != nil {
		return bench.Finding{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return bench.Finding{}, fmt.Errorf("find this program: %w", err)
	}
	const rate = 100
	told := filepath.Join(x.Dir, "told")
	worker := fmt.Sprintf("#!/bin/sh\nexec %s role lines %s %d\n", self, told, rate)
	if err := os.WriteFile(filepath.Join(x.Dir, "floorwatch-camera"), []byte(worker), 0o755); err != nil {
		return bench.Finding{}, err
	}
	p, err := kit.Start(ctx, x.Exe, x.Args...)
	if err != nil {
		return bench.Finding{}, err
	}
	defer p.End()
	err = kit.Until(ctx, "the worker", kit.Patience, func() (bool, error) { _, err := readHanded(told); return err == nil, nil })
	if err != nil {
		return bench.Finding{}, err
	}
	if err := kit.Pause(ctx, 2*time.Second); err != nil {
		return bench.Finding{}, err
	}
	line.Mute()
	line.Both(chaos.Fault{Stall: true})
	before, err := readHanded(told)
	if err != nil {
		return bench.Finding{}, err
	}
	span := time.Duration(b.Rounds(240, 4)) * time.Second
	if err := kit.Pause(ctx, span); err != nil {
		return bench.Finding{}, err
	}
	after, err := readHanded(told)
	if err != nil {
		return bench.Finding{}, err
	}
	lines := after.Lines - before.Lines
	p999, worst, sum := 0, 0, 0
	for ms := range after.Waits {
		n := after.Waits[ms] - before.Waits[ms]
		if sum += n; n > 0 {
			worst = ms
		}
		if float64(sum) < 0.999*float64(lines) {
			p999 = ms + 1
		}
	}
	records, err := countLines(filepath.Join(x.Dir, "ledger"))
	missed := max(0, int(span.Seconds())*rate-lines-rate)
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s lines of ten people at %d a second while the link was dead: the agent took each within p99.9 %d ms, at most %d ms; %d lines fell behind; %s records stored meanwhile",
			bench.Number(lines), rate, p999, worst, missed, bench.Number(records)),
		Scope: fmt.Sprintf("a blackhole of %s instead of 10 minutes", span),
	},
		bench.Pace(p999 <= 5, "p99.9 at most 5 ms"),
		bench.That(missed == 0, "0 lines behind"),
		bench.That(records > 0, "records stored meanwhile"),
	), err
}

func countLines(path string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	defer func() { _ = f.Close() }()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if strings.TrimSpace(s.Text()) != "" {
			n++
		}
	}
	return n, s.Err()
}
