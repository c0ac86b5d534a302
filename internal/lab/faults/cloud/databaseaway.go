package cloud

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

// databaseAway takes the database away in three ways, one after the other, while
// boxes go on, and kills the aggregator in each.
func databaseAway(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	h, err := hall.New(ctx, b, b.Dir, 4)
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	ledgers := filepath.Join(b.Dir, "ledgers")
	c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(b.Dir, "boxes"), Ledger: ledgers, Broker: []string{h.Line.Addr}, Boxes: 4, Rate: 25})
	if err != nil {
		return bench.Finding{}, err
	}
	defer c.End()
	if err := c.Until(ctx, "records to arrive", kit.Patience, func(s hall.Said) bool { return s.Acked > 20 }); err != nil {
		return bench.Finding{}, err
	}
	var pid atomic.Int64
	pid.Store(int64(h.Cloud.PID()))
	memory := watchMemory(ctx, func() []int { return []int{int(pid.Load())} })
	defer memory.end()
	away, part := time.Duration(0), time.Duration(b.Rounds(200, 2))*time.Second
	for _, fault := range []func(){
		func() { h.Gate.Closed.Store(true) },
		func() { h.Gate.Closed.Store(false); h.Gate.Hold.Store(true) },
		func() { h.Gate.Delay.Store(int64(12 * time.Second)); h.Gate.Hold.Store(false) }, // longer than a write may take
	} {
		fault()
		b.Say("another way of being away; %d records wait", c.Said().Waiting)
		if err := kit.Pause(ctx, part/2); err != nil {
			return bench.Finding{}, err
		}
		if !b.Short { // the boxes send again half a minute after such a death, which the short form does not wait for
			if err := h.KillCloud(ctx); err != nil {
				return bench.Finding{}, err
			}
			pid.Store(int64(h.Cloud.PID()))
		}
		if err := kit.Pause(ctx, part/2); err != nil {
			return bench.Finding{}, err
		}
		away += part
	}
	waiting := c.Said().Waiting
	h.Gate.Delay.Store(0)
	healed := time.Now()
	if err := c.Until(ctx, "the boxes to be rid of what waited", 10*time.Minute, func(s hall.Said) bool { return s.Oldest < 2 }); err != nil {
		return bench.Finding{}, err
	}
	drained := time.Since(healed)
	if err := c.Finish(ctx); err != nil {
		return bench.Finding{}, err
	}
	v, err := h.Judge(ctx, ledgers)
	peak := memory.end()
	killed := "aggregator killed in each"
	if b.Short {
		killed = "aggregator alive"
	}
	limit := max(away/5, 20*time.Second) // a request that hung is given up after some seconds
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s of 503, of silence and of answers that come too late, 100 records/s, %s: %s; %s records waited at the end, drained in %.0f s; aggregator at most %d MiB",
			away, killed, v, bench.Number(waiting), drained.Seconds(), peak),
	},
		bench.That(v.Clean(), "records, 0 of them lost, doubled or wrong"),
		bench.That(peak > 0 && peak <= memoryLimit, "at most %d MiB", memoryLimit),
		bench.Pace(drained <= limit, "drained within %s", limit),
	), err
}
