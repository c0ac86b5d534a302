package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/child"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// eat is a worker that takes more and more memory: role eater.
func eat([]string) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), W: 320, H: 240, Event: floorwatch.EventOpen, By: "eater"}); err != nil {
		return err
	}
	var held [][]byte
	for {
		held = append(held, bytes.Repeat([]byte{1}, 16<<20))
		<-time.After(200 * time.Millisecond)
		if err := out.Encode(floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), N: int64(len(held)), W: 320, H: 240}); err != nil {
			return err
		}
	}
}

// workerPID finds the worker of a camera among our children, once it runs.
func workerPID(ctx context.Context, camera string) (pid int, err error) {
	return pid, kit.Until(ctx, "the worker of "+camera, kit.Patience, func() (bool, error) {
		alive, err := child.Alive()
		for p, line := range alive {
			if strings.Contains(line, "/"+camera+".jpg") {
				pid = p
			}
		}
		return pid != 0, err
	})
}

// workersCrash crashes camera workers in several ways beside their recorders.
func workersCrash(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	film := filepath.Join(b.Dir, "film.h264")
	if err := annexB(ctx, film, "320x240", 5, 1); err != nil {
		return bench.Finding{}, err
	}
	cams, sources, end, err := startCameras(ctx, b.Rounds(20, 4), film, film)
	defer end()
	if err != nil {
		return bench.Finding{}, err
	}
	program, err := hungryWorker(b)
	if err != nil {
		return bench.Finding{}, err
	}
	a, err := newAgent(filepath.Join(b.Dir, "box"), program, sources)
	if err != nil {
		return bench.Finding{}, err
	}
	a.Config.WorkerMemory = 200 << 20
	if err := a.start(ctx); err != nil {
		return bench.Finding{}, err
	}
	if err := a.watched(ctx); err != nil {
		return bench.Finding{}, errors.Join(err, a.stop())
	}
	if err := kit.Pause(ctx, time.Duration(b.Rounds(10, 1))*time.Second); err != nil {
		return bench.Finding{}, errors.Join(err, a.stop())
	}
	began := floorwatch.TimeOf(time.Now())
	var restart, eaten []time.Duration
	crashes := 0
	for round := range b.Rounds(15, 1) {
		back, fat, err := crashWorkers(ctx, b, a, round)
		if err != nil {
			return bench.Finding{}, errors.Join(err, a.stop())
		}
		restart, eaten, crashes = append(restart, back...), append(eaten, fat...), crashes+len(a.names)
		b.Say("round %d: seeing again after at most %.1f s", round+1, most(restart).Seconds())
	}
	fuzz := time.Duration(b.Rounds(60, 2)) * time.Second
	for _, c := range cams {
		if err := c.tell(camFlip); err != nil {
			return bench.Finding{}, errors.Join(err, a.stop())
		}
	}
	err = kit.Pause(ctx, fuzz)
	ended := floorwatch.TimeOf(time.Now())
	if err := errors.Join(err, a.stop()); err != nil {
		return bench.Finding{}, err
	}
	seals, _, err := a.seals()
	if err != nil {
		return bench.Finding{}, err
	}
	var lost time.Duration
	for _, list := range seals {
		for _, k := range list {
			if k.Kind == floorwatch.SealGap && k.Start >= began && k.Start < ended {
				lost += k.End.Sub(k.Start)
			}
		}
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d workers crashed (SIGSEGV, SIGABRT, SIGKILL, memory): seeing again after at most %.1f s, a memory eater ended after at most %.1f s; then %s with a byte changed in most pictures, %d pictures; recorders lost %.1f s",
			crashes, most(restart).Seconds(), most(eaten).Seconds(), fuzz, int(fuzz.Seconds()*5)*len(cams)*2/3, lost.Seconds()),
		Scope: fmt.Sprintf("%d crashes in place of 1,000", crashes),
	},
		bench.Pace(most(restart) <= 3*time.Second, "seen again within 3 s"),
		bench.Pace(most(eaten) <= 10*time.Second, "a memory eater ended within 10 s"),
		bench.That(lost == 0, "recorders lose 0 s"),
	), nil
}

// hungryWorker writes a program that is the real worker, or for once the eater
// where a file named after the camera asks for it.
func hungryWorker(b *bench.Bench) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.Dir, "worker")
	script := fmt.Sprintf("#!/bin/sh\nfor a; do case $a in *.jpg) n=$(basename \"$a\" .jpg);; esac; done\n"+
		"if [ -e %[1]s/eat-$n ]; then rm %[1]s/eat-$n; exec %[2]s role eater; fi\nexec %[3]s \"$@\"\n", b.Dir, self, filepath.Join(b.Bin, "floorwatch-camera"))
	return path, os.WriteFile(path, []byte(script), 0o755)
}

// crashWorkers ends every worker once, each in its way, and returns how long the
// cameras were unseen, and how long an eater lived.
func crashWorkers(ctx context.Context, b *bench.Bench, a *agent, round int) (restart, eaten []time.Duration, err error) {
	signals := []syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGKILL, syscall.SIGKILL}
	before, err := a.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	crashed, fat := map[string]time.Time{}, map[string]time.Time{}
	for i, n := range a.names {
		kind := (i + round) % len(signals)
		pid, err := workerPID(ctx, n)
		if err != nil {
			return nil, nil, err
		}
		crashed[n] = time.Now()
		if kind == 3 { // killed, and what is started then eats
			delete(crashed, n)
			fat[n] = time.Now()
			if err := os.WriteFile(filepath.Join(b.Dir, "eat-"+n), nil, 0o600); err != nil {
				return nil, nil, err
			}
		}
		if err := syscall.Kill(pid, signals[kind]); err != nil {
			return nil, nil, fmt.Errorf("kill a worker: %w", err)
		}
	}
	const patience = 40 * time.Second
	back, err := a.await(ctx, crashed, patience, func(fig map[string]float64, n string) bool {
		return fig["closes_total "+n] > before["closes_total "+n] && fig["watching "+n] == 1
	})
	if err != nil {
		return nil, nil, err
	}
	gone, err := a.await(ctx, fat, patience, func(fig map[string]float64, n string) bool {
		return fig["closes_total "+n] > before["closes_total "+n]+1
	})
	if err != nil {
		return nil, nil, err
	}
	restart, eaten = slices.AppendSeq(restart, maps.Values(back)), slices.AppendSeq(eaten, maps.Values(gone))
	if err := a.watched(ctx); err != nil {
		return nil, nil, err
	}
	return restart, eaten, kit.Pause(ctx, time.Duration(b.Rounds(11000, 500))*time.Millisecond) // so that the next is a new trouble
}
