package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

const (
	herdSize = 500
	// herdAddress is not loopback, where a box has no fleet and does not wait. It
	// exists in a network namespace of the row's own only.
	herdAddress = "192.0.2.1"
)

// herdTold is what the process in that namespace finds.
type herdTold struct {
	What   string
	First  []float64 // s from the return of the line to each box's first acknowledgement
	Missed int
	Peak   int // connections in any second since
}

// fleetReturns cuts off 500 boxes together, by a blackhole and by the end of
// every connection.
func fleetReturns(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	self, err := os.Executable()
	if err != nil {
		return bench.Finding{}, err
	}
	const script = `ip link set lo up && ip addr add ` + herdAddress + `/32 dev lo && exec "$0" role herd "$1" "$2" "$3"`
	rounds := b.Rounds(2, 1)
	p, err := kit.Start(ctx, "unshare", "-n", "sh", "-c", script, self, b.Bin, b.Dir, fmt.Sprint(rounds))
	if err != nil {
		return bench.Finding{}, err
	}
	defer p.End()
	f := bench.Finding{Scope: fmt.Sprintf("blackholes of 1 minute, %d times; 10 and 60 minutes were not run (the pause between attempts is the same after each). The goal for connects is near what chance allows: 500 boxes, each for itself evenly over 35 s, are 14 a second in the mean and some 25 in the worst", rounds)}
	var needs []bench.Need
	for range 2 * rounds {
		var t herdTold
		if err := p.Next(&t); err != nil {
			return bench.Finding{}, err
		}
		b.Say("%s: %d back, p95 %.1f s", t.What, len(t.First), bench.Quantile(t.First, 0.95))
		f.Figure += fmt.Sprintf("%s, %d boxes: first record accepted p50 %.1f s, p95 %.1f s, max %.1f s, %d not back, at most %d connects in any second; ",
			t.What, herdSize, bench.Quantile(t.First, 0.5), bench.Quantile(t.First, 0.95), bench.Quantile(t.First, 1), t.Missed, t.Peak)
		needs = append(needs, bench.That(t.Missed == 0, "%s: all back", t.What), bench.That(t.Peak <= 25, "%s: at most 25 connects a second", t.What),
			bench.Pace(bench.Quantile(t.First, 0.95) <= 35 && bench.Quantile(t.First, 1) <= 60, "%s: p95 at most 35 s, all within 60 s", t.What))
	}
	var v hall.Judged
	if err := p.Next(&v); err != nil {
		return bench.Finding{}, err
	}
	f.Figure += v.String()
	return b.Judge(f, append(needs, bench.That(v.Clean(), "records, 0 of them lost, doubled or wrong"))...), nil
}

// playHerd is the row inside its namespace: role herd BIN DIR ROUNDS.
func playHerd(args []string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := &bench.Bench{Bin: args[0], Dir: args[1], Say: func(string, ...any) {}, Rand: rand.New(rand.NewPCG(1, 1))}
	var rounds int
	if _, err := fmt.Sscan(args[2], &rounds); err != nil {
		return err
	}
	h, err := hall.New(ctx, b, b.Dir, herdSize)
	if err != nil {
		return err
	}
	defer h.End()
	line, err := chaos.At(herdAddress, h.Broker.Address)
	if err == nil {
		err = line.Up()
	}
	if err != nil {
		return err
	}
	defer line.Close()
	scratch, end, err := b.Scratch()
	if err != nil {
		return err
	}
	defer end()
	ledgers := filepath.Join(scratch, "ledgers")
	c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(scratch, "boxes"), Ledger: ledgers, Broker: []string{line.Addr}, Boxes: herdSize, Rate: 0.1})
	if err != nil {
		return err
	}
	defer c.End()
	out := json.NewEncoder(os.Stdout)
	for range rounds {
		for _, what := range []string{"blackhole of a minute", "all connections cut"} {
			if err := c.Until(ctx, "all boxes to be connected", kit.Patience, func(s hall.Said) bool { return s.Connected == herdSize }); err != nil {
				return err
			}
			t := herdTold{What: what}
			if what == "all connections cut" {
				line.Cut()
			} else {
				line.Blackhole()
				if err := kit.Pause(ctx, time.Minute); err != nil {
					return err
				}
				line.Pass()
				line.Reset() // what was taken and not answered is over
			}
			if err := t.watch(ctx, line, c); err != nil {
				return err
			}
			if err := out.Encode(t); err != nil {
				return err
			}
		}
	}
	if err := c.Finish(ctx); err != nil {
		return err
	}
	v, err := h.Judge(ctx, ledgers)
	if err != nil {
		return err
	}
	return out.Encode(v)
}

// watch notes when the boxes come back, for 65 s from now.
func (t *herdTold) watch(ctx context.Context, line *chaos.Proxy, c *hall.Crew) error {
	type sample struct {
		at    time.Time
		taken int64
	}
	var second []sample // the last of them; a busy machine takes fewer
	back := hall.Now()
	for end := time.Now().Add(65 * time.Second); time.Now().Before(end); {
		s := sample{time.Now(), line.Taken()}
		for len(second) > 0 && s.at.Sub(second[0].at) > time.Second {
			second = second[1:]
		}
		second = append(second, s)
		t.Peak = max(t.Peak, int(s.taken-second[0].taken))
		if err := kit.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	for _, first := range c.Said().First {
		if first < back {
			t.Missed++
			continue
		}
		t.First = append(t.First, first-back)
	}
	return nil
}
