package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/internal/durable"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// jumpingClock is a box's clock that is moved. It keeps when it was not to be
// trusted: said to be unsynchronised, or back in 1970.
type jumpingClock struct {
	file string // the offset in milliseconds, for workers

	mu      sync.Mutex
	offset  time.Duration
	drift   time.Time // since when it runs fast, zero: it does not
	synced  bool
	latest  floorwatch.Time // it ever read
	blind   []monoSpan      // closed spans
	since   time.Duration   // of the open one
	blinded bool
	err     error
}

// farBack is more than all jumps together: only a start in 1970 is so far behind
// what some part of the box, and so each of them, has read before.
const farBack = 30 * 24 * time.Hour

// monoSpan is a span of the machine's monotonic time.
type monoSpan struct{ from, to time.Duration }

// read is the clock as the agent sees it.
func (c *jumpingClock) read() floorwatch.Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := clock.System()
	s.Wall, s.Synced = s.Wall.Add(c.offset), c.synced
	if !c.drift.IsZero() { // 1 in 1,000 fast
		s.Wall = s.Wall.Add(time.Since(c.drift) / 1000)
	}
	s.Wall = max(0, s.Wall)
	bad := !s.Synced || s.Wall.Add(farBack) < c.latest
	if bad && !c.blinded {
		c.since = s.Mono
	} else if !bad && c.blinded {
		c.blind = append(c.blind, monoSpan{c.since, s.Mono})
	}
	c.blinded = bad
	c.latest = max(c.latest, s.Wall)
	return s
}

// jump moves the clock.
func (c *jumpingClock) jump(rng *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drift = time.Time{}
	switch rng.IntN(8) {
	case 0:
		c.offset += time.Hour
	case 1:
		c.offset -= time.Hour
	case 2: // leap seconds
		c.offset += time.Second
	case 3:
		c.offset -= time.Second
	case 4:
		c.drift = time.Now()
	case 5: // the time server speaks
		now := floorwatch.TimeOf(time.Now().Add(c.offset))
		c.offset += max(0, c.latest.Sub(now)) + 10*time.Millisecond
	case 6:
		c.offset += time.Duration(rng.Int64N(int64(2*time.Minute))) - time.Minute
	case 7:
		c.offset += time.Duration(rng.Int64N(int64(600*time.Millisecond))) - 300*time.Millisecond
	}
	c.synced = rng.IntN(3) > 0
	c.publish()
}

// set puts the clock to t.
func (c *jumpingClock) set(t time.Time, synced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.synced, c.drift = time.Until(t), synced, time.Time{}
	c.publish()
}

func (c *jumpingClock) publish() {
	c.err = errors.Join(c.err, durable.WriteFile(c.file, []byte(fmt.Sprint(c.offset.Milliseconds())), 0o600))
}

// untrusted tells whether the clock could not be trusted over a whole span of
// monotonic time, and at least for margin on either side of it.
func (c *jumpingClock) untrusted(from, to, margin time.Duration) bool {
	for _, b := range c.blind {
		if b.from <= from-margin && b.to >= to+margin {
			return true
		}
	}
	return false
}

// jumper is a camera worker on a clock that jumps: role jumper. FAULTS_CLOCK names
// the file of the offset. Somebody enters the picture every few seconds.
func jumper([]string) error {
	now := func() floorwatch.Time {
		b, _ := os.ReadFile(os.Getenv("FAULTS_CLOCK"))
		var ms int64
		_, _ = fmt.Sscan(string(b), &ms)
		return max(1, floorwatch.TimeOf(time.Now())+floorwatch.Time(ms))
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(floorwatch.Frame{T: now(), W: 320, H: 240, Event: floorwatch.EventOpen, By: "jumper"}); err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		<-time.After(200 * time.Millisecond)
		f := floorwatch.Frame{T: now(), N: n, W: 320, H: 240}
		if x := n % 15; x < 10 {
			f.People = []floorwatch.Person{{ID: 1 + n/15, X: 50 + 5*float64(x), Y: 50, W: 20, H: 60, Score: 1}}
		}
		if err := out.Encode(f); err != nil {
			return err
		}
	}
}

// clockJumps moves the clock under a running agent, and starts it in 1970.
func clockJumps(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	film := filepath.Join(b.Dir, "film.h264")
	if err := annexB(ctx, film, "320x240", 5, 1); err != nil {
		return bench.Finding{}, err
	}
	cams, sources, end, err := startCameras(ctx, b.Rounds(4, 2), film, film)
	defer end()
	if err != nil {
		return bench.Finding{}, err
	}
	_ = cams
	self, err := os.Executable()
	if err != nil {
		return bench.Finding{}, err
	}
	clock := &jumpingClock{file: filepath.Join(b.Dir, "clock"), synced: true}
	program := filepath.Join(b.Dir, "worker")
	clock.set(time.Now(), true)
	script := fmt.Sprintf("#!/bin/sh\nFAULTS_CLOCK=%s exec %s role jumper\n", clock.file, self)
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		return bench.Finding{}, err
	}
	a, err := newAgent(filepath.Join(b.Dir, "box"), program, sources)
	if err != nil {
		return bench.Finding{}, err
	}
	a.Clock = clock.read
	a.Config.Footage.Segment = 2 * time.Second
	jumps, starts := 0, 0
	for run := range b.Rounds(10, 2) {
		if run > 0 { // the power was away, and the box wakes in 1970
			clock.set(time.Unix(60, 0), false)
			starts++
		}
		if err := a.start(ctx); err != nil {
			return bench.Finding{}, err
		}
		if err := errors.Join(a.watched(ctx), kit.Pause(ctx, time.Duration(b.Rounds(3000, 500))*time.Millisecond)); err != nil {
			return bench.Finding{}, errors.Join(err, a.stop())
		}
		for range b.Rounds(100, 8) {
			clock.jump(b.Rand)
			jumps++
			if err := kit.Pause(ctx, time.Duration(50+b.Rand.IntN(400))*time.Millisecond); err != nil {
				return bench.Finding{}, errors.Join(err, a.stop())
			}
		}
		if err := errors.Join(kit.Pause(ctx, time.Second), a.stop()); err != nil {
			return bench.Finding{}, err
		}
		b.Say("%d jumps", jumps)
	}
	if clock.err != nil {
		return bench.Finding{}, clock.err
	}
	return clock.judge(b, a, jumps, starts, b.Rounds(1, 0))
}

// judge compares what the box sealed and stored with when its clock was wrong, of
// which at least so many segments must have been.
func (c *jumpingClock) judge(b *bench.Bench, a *agent, jumps, starts, least int) (bench.Finding, error) {
	all, err := footageOf(filepath.Join(a.Config.Data, "footage"))
	if err != nil {
		return bench.Finding{}, err
	}
	segments, disordered, blind, unmarked := 0, 0, 0, 0
	last := map[string]floorwatch.Time{}
	for _, k := range all {
		if k.Kind == floorwatch.SealDeleted {
			continue
		}
		if until := last[k.Camera]; until > 0 && (k.Start.Sub(until) < -500*time.Millisecond || k.Start.Sub(until) > time.Second) {
			disordered++
		}
		last[k.Camera] = k.End
		if k.Kind != floorwatch.SealSegment {
			continue
		}
		segments++
		// Fragments, a second each, are stamped when they arrive.
		if c.untrusted(ms(k.MonoStart), ms(k.MonoEnd), time.Second) {
			blind++
			if k.Synced {
				unmarked++
			}
		}
	}
	seen, twice, records, blindRecords, unmarkedRecords := map[string]bool{}, 0, 0, 0, 0
	for i, h := range a.recs {
		if h.Kind == floorwatch.KindInterval {
			var iv floorwatch.Interval
			if err := json.Unmarshal(a.raw[i], &iv); err != nil {
				return bench.Finding{}, err
			}
			key := fmt.Sprint(iv.Camera, iv.Zone, iv.Start)
			if seen[key] {
				twice++
			}
			seen[key] = true
		}
		if h.Boot == "" || strings.HasPrefix(h.Kind, floorwatch.KindSegment) || h.Kind == floorwatch.KindDeleted {
			continue
		}
		records++
		if at := ms(h.Mono); c.untrusted(at, at, 100*time.Millisecond) {
			blindRecords++
			if !h.Unsynced {
				unmarkedRecords++
			}
		}
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s jumps (±1 h, leap seconds, drift, up to ±1 min) and %d starts in 1970: %d of %s sealed spans out of order or overlapping, %d of %s intervals twice; %d of %d segments and %d of %s records of an untrusted clock not marked",
			bench.Number(jumps), starts, disordered, bench.Number(len(all)), twice, bench.Number(len(seen)), unmarked, blind, unmarkedRecords, bench.Number(blindRecords)),
		Scope: "the error of ≤ 250 ms against a synchronised clock is the time server's and is not measured",
	},
		bench.That(disordered+twice == 0, "0 spans out of order or overlapping, 0 intervals twice"),
		bench.That(unmarked+unmarkedRecords == 0, "all times of an untrusted clock marked"),
		bench.That(segments > 0 && len(seen) > 0, "segments and intervals"),
		bench.That(blind >= least && blindRecords > 0, "segments and records of an untrusted clock"),
	), nil
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
