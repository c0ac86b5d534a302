package unattended

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/kit"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"
)

// crashing are functions of parts that safe mode leaves alone.
var crashing = []string{
	edgePackage + "/pipeline.(*Pipeline).feed",
	edgePackage + "/footage.(*recording).noRoom",
	edgePackage + "/counter.(*Feeds).commit",
}

// crashLoop is what became of one box.
type crashLoop struct {
	safe, report, back time.Duration // from its first start
	starts, reports    int
}

// crashLoops makes a part of each box crash in every process until the box is in
// safe mode, and spoils the configuration of another.
func crashLoops(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	broker, err := kit.StartBroker(ctx, b.Dir, "")
	if err != nil {
		return bench.Finding{}, err
	}
	defer broker.End()
	film, err := box.Film(ctx, b)
	if err != nil {
		return bench.Finding{}, err
	}
	functions := crashing[:b.Rounds(len(crashing), 1)]
	loops := make([]crashLoop, len(functions))
	var group errgroup.Group
	for i, f := range functions {
		group.Go(func() (err error) {
			loops[i], err = crashOne(ctx, b, fmt.Sprintf("box-%d", i), broker.Address, film, f)
			return err
		})
	}
	spoilt, err := spoilConfig(ctx, b, broker.Address)
	if err = errors.Join(err, group.Wait()); err != nil {
		return bench.Finding{}, err
	}
	var worst crashLoop
	for _, l := range loops {
		worst.safe, worst.report, worst.back = max(worst.safe, l.safe), max(worst.report, l.report), max(worst.back, l.back)
		worst.starts, worst.reports = max(worst.starts, l.starts), worst.reports+l.reports
	}
	found := b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d of %d crash loops ended in safe mode, with the start after the 5th crash, at most %.1f s after the first start; first report at the broker after %.1f s, %d reports; a spoilt configuration file: works with the last good one after %.1f s",
			len(loops), len(loops), worst.safe.Seconds(), worst.report.Seconds(), worst.reports, spoilt.Seconds()),
		Scope: "the last good configuration is put there by the bench; the box keeps one after 10 minutes of work",
	},
		bench.That(worst.starts == 6, "safe mode with the 6th start, not the %d.", worst.starts),
		bench.That(b.Short || worst.back > 0, "cameras watched again"),
	)
	if !b.Short {
		found.Figure += fmt.Sprintf("; cameras are watched again by themselves within %.0f s", worst.back.Seconds())
	}
	return found, nil
}

func crashOne(ctx context.Context, b *bench.Bench, name, broker, film, function string) (l crashLoop, err error) {
	x, err := box.New(b, name, broker, film)
	if err != nil {
		return l, err
	}
	m, log, err := x.Manager()
	if err != nil {
		return l, err
	}
	defer func() { _ = log.Close() }()
	if b.Short {
		m.SetPause(100 * time.Millisecond)
	}
	var broken error
	starts := 0
	m.Started = func(pid int) {
		// The sixth, which begins in safe mode, is a repaired one.
		if starts++; starts <= 5 {
			broken = errors.Join(broken, box.MakeCrash(pid, x.Exe, function))
		}
	}
	reports, err := listen(b, broker, name, `"safe_mode":1`)
	if err != nil {
		return l, err
	}
	defer reports.Close()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- m.Run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-done, broken) }()
	wait := func(what string, is func() bool) error {
		err := kit.Until(ctx, what, 8*time.Minute, func() (bool, error) { return is(), nil })
		if err != nil {
			err = fmt.Errorf("crash %s: %w\n%s", function, err, x.Tail())
		}
		return err
	}
	if err := wait("safe mode", func() bool { return x.Logged("msg=\"safe mode") }); err != nil {
		return l, err
	}
	l.safe = time.Since(began)
	if err := wait("its report", func() bool { return reports.count() > 0 }); err != nil {
		return l, err
	}
	l.report = time.Since(began)
	b.Say("%s: safe mode after %.1f s, reported after %.1f s", function, l.safe.Seconds(), l.report.Seconds())
	if !b.Short {
		if err := wait("the camera", func() bool { return x.Logged("camera is watched") }); err != nil {
			return l, err
		}
		l.back = time.Since(began)
	}
	l.starts, l.reports = m.State().Starts, reports.count()
	return l, nil
}

// spoilConfig returns how long a box takes to watch whose configuration file a
// power cut emptied.
func spoilConfig(ctx context.Context, b *bench.Bench, broker string) (time.Duration, error) {
	x, err := box.New(b, "spoilt", broker, "")
	if err != nil {
		return 0, err
	}
	config, err := os.ReadFile(x.Config)
	if err == nil {
		err = errors.Join(os.MkdirAll(x.Data(), 0o700), os.WriteFile(filepath.Join(x.Data(), "edge.good.yaml"), config, 0o600), os.Truncate(x.Config, 0))
	}
	if err != nil {
		return 0, fmt.Errorf("spoil a configuration: %w", err)
	}
	m, log, err := x.Manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	m.Env = append(m.Env, "STATE_DIRECTORY="+x.Data())
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- m.Run(ctx) }()
	defer func() { stop(); <-done }()
	err = kit.Until(ctx, "the camera of the box with a spoilt configuration", kit.Patience, func() (bool, error) { return x.Logged("camera is watched"), nil })
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, x.Tail())
	}
	return time.Since(began), nil
}

// ear counts the deliveries of a box at the broker that hold a text.
type ear struct {
	mqtt.Client
	n atomic.Int64
}

func (e *ear) count() int { return int(e.n.Load()) }

// Close stops listening.
func (e *ear) Close() { e.Disconnect(100) }

// listen begins to count, and acknowledges what it hears, as a cloud would: a box
// without answers says no more than its window holds.
func listen(b *bench.Bench, broker, edge, text string) (*ear, error) {
	e := new(ear)
	e.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("ear-" + edge))
	if t := e.Connect(); t.Wait() && t.Error() != nil {
		return nil, fmt.Errorf("listen at the broker: %w", t.Error())
	}
	t := e.Subscribe(floorwatch.Topic("shop", edge, floorwatch.LeafUp), 1, func(_ mqtt.Client, m mqtt.Message) {
		if strings.Contains(string(m.Payload()), text) {
			e.n.Add(1)
		}
		if sent, err := floorwatch.ParseBatch(m.Payload()); err == nil {
			ack, _ := json.Marshal(floorwatch.Ack{V: floorwatch.Version, Log: sent.Log, First: sent.First, N: sent.N}) // of strings and numbers
			e.Publish(floorwatch.Topic("shop", edge, floorwatch.LeafAck), 1, false, ack)
		}
	})
	if t.Wait() && t.Error() != nil {
		return nil, fmt.Errorf("listen at the broker: %w", t.Error())
	}
	return e, nil
}
