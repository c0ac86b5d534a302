package delivery

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

// brokerDies holds the cloud's side of the broker, waits until the boxes have
// their PUBACKs, and kills it.
func brokerDies(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	halls := b.Rounds(10, 1) // mostly they wait
	rounds := b.Rounds(10, 2)
	var mu sync.Mutex
	var all hall.Judged
	var resent, kills uint64
	err := bench.Each(ctx, halls, halls, func(ctx context.Context, i int) error {
		dir, err := b.Sub(fmt.Sprint("hall", i))
		if err != nil {
			return err
		}
		h, err := hall.New(ctx, b, dir, 4)
		if err != nil {
			return err
		}
		defer h.End()
		ledgers := filepath.Join(dir, "ledgers")
		c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(dir, "boxes"), Ledger: ledgers, Broker: []string{h.Line.Addr}, Boxes: 4, Rate: 20})
		if err != nil {
			return err
		}
		defer c.End()
		for range rounds {
			if err := killBetween(ctx, h, c); err != nil {
				return err
			}
		}
		if err := c.Finish(ctx); err != nil {
			return err
		}
		v, err := h.Judge(ctx, ledgers)
		mu.Lock()
		defer mu.Unlock()
		all.Add(v)
		kills += uint64(rounds)
		resent += c.Said().Again
		return err
	})
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d kills between PUBACK and delivery: %s; %.0f records sent again per kill", kills, all, float64(resent)/float64(max(kills, 1))),
	},
		bench.That(all.Clean(), "records, 0 of them lost, doubled or wrong"),
	), err
}

func killBetween(ctx context.Context, h *hall.Hall, c *hall.Crew) error {
	up := func(s hall.Said) bool { return s.Connected == 4 && s.Acked > 0 }
	if err := c.Until(ctx, "the boxes to be connected", kit.Patience, up); err != nil {
		return err
	}
	h.Behind.Set(chaos.Fault{}, chaos.Fault{Hold: true}) // what is delivered goes nowhere
	before := c.Said().Stored
	held := func(s hall.Said) bool { return s.Stored > before+12 && s.Waiting > 12 }
	if err := c.Until(ctx, "records to be on their way", kit.Patience, held); err != nil {
		return err
	}
	if err := kit.Pause(ctx, 50*time.Millisecond); err != nil { // for the last PUBACK
		return err
	}
	h.Line.Down() // the cloud comes back first; boxes that do wait half a minute
	if err := h.Broker.Kill(); err != nil {
		return err
	}
	h.Broker.End()
	h.Behind.Reset()
	h.Behind.Pass()
	at := c.Said()
	if err := h.Broker.Start(ctx); err != nil {
		return err
	}
	if err := h.Connected(ctx); err != nil {
		return err
	}
	if err := h.Line.Up(); err != nil {
		return err
	}
	return c.Until(ctx, "what the broker forgot to be acknowledged", kit.Patience, func(s hall.Said) bool { return s.Acked >= at.Stored })
}
