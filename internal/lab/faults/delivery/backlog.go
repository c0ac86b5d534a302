package delivery

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

// backlog drains a day of records while the box goes on recording.
func backlog(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	h, err := hall.New(ctx, b, b.Dir, 1)
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	records := b.Rounds(86_400, 8_640)
	ledgers := filepath.Join(b.Dir, "ledgers")
	h.Line.Blackhole()
	c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(b.Dir, "boxes"), Ledger: ledgers, Broker: []string{h.Line.Addr}, Boxes: 1, Rate: 20, Preset: records, Max: 64 << 20})
	if err != nil {
		return bench.Finding{}, err
	}
	defer c.End()
	if err := c.Until(ctx, "the backlog to be stored", kit.Patience, func(s hall.Said) bool { return s.Stored >= uint64(records) }); err != nil {
		return bench.Finding{}, err
	}
	h.Line.Reset()
	h.Line.Pass()
	if err := c.Until(ctx, "the link", kit.Patience, func(s hall.Said) bool { return s.Connected == 1 }); err != nil {
		return bench.Finding{}, err
	}
	began := time.Now()
	c.Forget()
	if err := c.Until(ctx, "the backlog to be acknowledged", 10*time.Minute, func(s hall.Said) bool { return s.Acked >= uint64(records) }); err != nil {
		return bench.Finding{}, err
	}
	took := time.Since(began).Seconds()
	live := c.LiveAges(began)
	if err := c.Finish(ctx); err != nil {
		return bench.Finding{}, err
	}
	v, err := h.Judge(ctx, ledgers)
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s records in %.1f s (%s per second); live records meanwhile acknowledged after p50 %.2f s, p95 %.2f s (%d of them); %s",
			bench.Number(records), took, bench.Number(int(float64(records)/took)), bench.Quantile(live, 0.5), bench.Quantile(live, 0.95), len(live), v),
	},
		bench.Pace(took <= 120*float64(records)/86_400+5 && took <= 120, "at most 120 s for 86,400 records"),
		bench.That(len(live) > 0, "live records meanwhile"),
		bench.Pace(bench.Quantile(live, 0.95) <= 5, "live p95 at most 5 s"),
		bench.That(v.Clean(), "records, 0 of them lost, doubled or wrong"),
	), err
}
