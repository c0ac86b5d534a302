package cloud

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
)

// overload lets boxes come at once with far more than a slow database takes.
func overload(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	boxes, each := b.Rounds(20, 2), b.Rounds(20_000, 4000)
	h, err := hall.New(ctx, b, b.Dir, boxes)
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	delay := time.Duration(b.Rounds(4000, 200)) * time.Millisecond
	h.Gate.Delay.Store(int64(delay))
	memory := watchMemory(ctx, func() []int { return []int{h.Cloud.PID()} })
	defer memory.end()
	ledgers := filepath.Join(b.Dir, "ledgers")
	began := time.Now()
	c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(b.Dir, "boxes"), Ledger: ledgers, Broker: []string{h.Line.Addr}, Boxes: boxes, Rate: 1, Preset: each, Max: 64 << 20})
	if err != nil {
		return bench.Finding{}, err
	}
	defer c.End()
	all := uint64(boxes * each)
	var again uint64
	err = c.Until(ctx, "the boxes to be rid of what they hold", 20*time.Minute, func(s hall.Said) bool {
		again = max(again, s.Again)
		return s.Stored >= all && s.Waiting < uint64(boxes)*50 // only fresh ones wait
	})
	if err != nil {
		return bench.Finding{}, err
	}
	took := time.Since(began)
	h.Gate.Delay.Store(0)
	if err := c.Finish(ctx); err != nil {
		return bench.Finding{}, err
	}
	v, err := h.Judge(ctx, ledgers)
	peak := memory.end()
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d boxes with %s records at once before a database that takes %s for each write: %s, stored after %.0f s; %.2f records sent again for each; aggregator at most %d MiB",
			boxes, bench.Number(all), delay, v, took.Seconds(), float64(again)/float64(all), peak),
		Scope: "as long as that takes, in place of 10 minutes",
	},
		bench.That(v.Clean(), "records, 0 of them lost, doubled or wrong"),
		bench.That(peak > 0 && peak <= memoryLimit, "at most %d MiB", memoryLimit),
		bench.That(again <= all, "at most one record sent again for each"),
	), err
}
