package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

// deadLinks kills 50 links in three ways, idle and busy ones, each at its own
// time.
func deadLinks(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	broker, err := kit.StartBroker(ctx, b.Dir, kit.Open)
	if err != nil {
		return bench.Finding{}, err
	}
	defer func() { broker.End() }()
	const links = 50
	lines := make([]*chaos.Proxy, links)
	addresses := make([]string, links)
	for i := range lines {
		if lines[i], err = chaos.Start(broker.Address); err != nil {
			return bench.Finding{}, err
		}
		defer lines[i].Close()
		addresses[i] = lines[i].Addr
	}
	dir := filepath.Join(b.Dir, "boxes")
	idle, err := hall.StartCrew(ctx, hall.Boxes{Dir: dir, Ledger: dir + ".ledgers", Broker: addresses[:links/2], Boxes: links / 2})
	if err != nil {
		return bench.Finding{}, err
	}
	defer idle.End()
	busy, err := hall.StartCrew(ctx, hall.Boxes{Dir: dir, Ledger: dir + ".ledgers", Broker: addresses[links/2:], First: links / 2, Boxes: links / 2, Rate: 1})
	if err != nil {
		return bench.Finding{}, err
	}
	defer busy.End()
	for _, c := range []*hall.Crew{idle, busy} {
		if err := c.Until(ctx, "all boxes to be connected", kit.Patience, func(s hall.Said) bool { return s.Connected == links/2 }); err != nil {
			return bench.Finding{}, err
		}
	}
	hold := chaos.Fault{Hold: true}
	ways := [][2]chaos.Fault{{hold, {}}, {{}, hold}, {hold, hold}, {chaos.Fault{Stall: true}, chaos.Fault{Stall: true}}}
	at := make([]float64, links)
	for i, l := range lines {
		if err := kit.Pause(ctx, rand.N(600*time.Millisecond)); err != nil {
			return bench.Finding{}, err
		}
		at[i] = hall.Now()
		l.Mute()
		l.Set(ways[i%len(ways)][0], ways[i%len(ways)][1])
	}
	if err := kit.Pause(ctx, 32*time.Second); err != nil {
		return bench.Finding{}, err
	}
	lost := slices.Concat(idle.Said().Lost, busy.Said().Lost)
	var took []float64
	missed := 0
	for i := range lost {
		if lost[i] < at[i] {
			missed++
			continue
		}
		took = append(took, lost[i]-at[i])
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d links, dead to the broker, from it, both ways, or full: noticed after p50 %.1f s, p95 %.1f s, at most %.1f s; %d not noticed within 32 s",
			links, bench.Quantile(took, 0.5), bench.Quantile(took, 0.95), bench.Quantile(took, 1), missed),
	},
		bench.That(missed == 0 && len(took) == links, "all %d noticed", links),
		bench.Pace(bench.Quantile(took, 1) <= 25, "at most 25 s"),
	), nil
}
