package cloud

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

// instances runs three aggregators and does something to one of them all the time.
func instances(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	h, err := hall.New(ctx, b, b.Dir, 4)
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	members := []*hall.Hall{h}
	for range 2 {
		twin, err := twin(ctx, h)
		if err != nil {
			return bench.Finding{}, err
		}
		defer func() { twin.Cloud.End() }()
		members = append(members, twin)
	}
	ledgers := filepath.Join(b.Dir, "ledgers")
	c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(b.Dir, "boxes"), Ledger: ledgers, Broker: []string{h.Line.Addr}, Boxes: 4, Rate: 20})
	if err != nil {
		return bench.Finding{}, err
	}
	defer c.End()
	kills, pauses, oldest := 0, 0, 0.0
	look := func(ctx context.Context, d time.Duration) error {
		for end := time.Now().Add(d); time.Now().Before(end); {
			oldest = max(oldest, c.Said().Oldest)
			if err := kit.Pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	}
	for end := time.Now().Add(time.Duration(b.Rounds(480, 4)) * time.Second); time.Now().Before(end); {
		m := members[b.Rand.IntN(len(members))]
		if b.Rand.IntN(2) == 0 {
			kills++
			err = errors.Join(m.Cloud.Kill(), look(ctx, time.Duration(b.Rand.IntN(3000))*time.Millisecond))
			m.Cloud.End()
			err = errors.Join(err, m.StartCloud(ctx))
		} else {
			pauses++
			err = errors.Join(m.Cloud.Signal(syscall.SIGSTOP), look(ctx, time.Duration(b.Rand.IntN(b.Rounds(20_000, 1500)))*time.Millisecond), m.Cloud.Signal(syscall.SIGCONT))
		}
		if err := errors.Join(err, look(ctx, time.Duration(b.Rand.IntN(2000))*time.Millisecond)); err != nil {
			return bench.Finding{}, err
		}
	}
	if err := c.Finish(ctx); err != nil {
		return bench.Finding{}, err
	}
	v, err := h.Judge(ctx, ledgers)
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d kills and %d pauses of three aggregators at 80 records/s: %s; no record waited longer than %.0f s", kills, pauses, v, oldest),
		Scope:  "8 minutes in place of an hour",
	},
		bench.That(v.Clean(), "records, 0 of them lost, doubled or wrong"),
		bench.That(kills+pauses > 0, "kills and pauses"),
		bench.Pace(oldest <= 60, "no record waits longer than 60 s"),
	), err
}

// twin starts another aggregator of the hall, with the same folder and its own
// pages.
func twin(ctx context.Context, h *hall.Hall) (*hall.Hall, error) {
	t := &hall.Hall{Bench: h.Bench, Dir: filepath.Join(h.Dir, fmt.Sprintf("twin%d", rand.Uint32())), Broker: h.Broker, Database: h.Database}
	b, err := os.ReadFile(filepath.Join(h.Dir, "cloud.yaml"))
	if err != nil {
		return nil, err
	}
	if t.Pages, err = kit.FreeAddress(); err != nil {
		return nil, err
	}
	text := strings.Replace(string(b), h.Pages, t.Pages, 1)
	err = errors.Join(os.MkdirAll(t.Dir, 0o700), os.WriteFile(filepath.Join(t.Dir, "cloud.yaml"), []byte(text), 0o600))
	if err != nil {
		return nil, err
	}
	return t, t.StartCloud(ctx)
}
