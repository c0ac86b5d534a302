package unattended

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"floorwatch/cloud/site"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"

	"golang.org/x/sync/errgroup"
)

// muteListener takes connections and says nothing.
func muteListener() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen as a mute broker: %w", err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	return ln, nil
}

// hang is a part that is made to stand still, and how.
type hang struct {
	part     string // how the watchdog names it, "" for the process as a whole
	function string // that never returns; "": the process is stopped
}

const edgePackage = "floorwatch/edge"

// hanging are the parts of the agent.
var hanging = []hang{
	{"", ""},
	{"measuring lobby", edgePackage + "/pipeline.(*Pipeline).publishLive"},
	{"measuring lobby", edgePackage + "/trail.(*Trail).flush"},
	{"worker of lobby", "floorwatch.ParseFrame"},
	{"records of lobby", edgePackage + "/pipeline.(*writer).flush"},
	{"", edgePackage + "/outbox.(*Outbox).commit"}, // whoever appends first stands still first
	{"recorder of lobby", edgePackage + "/footage.(*recording).noRoom"},
	{"retention", edgePackage + "/footage.(*Retention).missing"},
	{"uplink", edgePackage + "/uplink.(*session).resend"},
	{"uploads", edgePackage + "/upload.(*uploading).queue"},
	{"counters", edgePackage + "/counter.(*Feeds).commit"},
	{"health", edgePackage + "/health.(*Report).records"},
}

const ingestLoops = "floorwatch/cloud/ingest.(*Ingest)."

// hangingCloud are the loops of the aggregator.
var hangingCloud = []hang{{"ingest: reading", ingestLoops + "retries"}, {"ingest: storing", ingestLoops + "storePoints"}}

// poisoned lists the functions of each program that rows of this room change
// while it runs.
func poisoned() map[string][]string {
	all := map[string][]string{"floorwatch-edge": crashing}
	for program, hangs := range map[string][]hang{"floorwatch-edge": hanging, "floorwatch-cloud": hangingCloud} {
		for _, h := range hangs {
			if h.function != "" {
				all[program] = append(all[program], h.function)
			}
		}
	}
	return all
}

// hangEverything makes each part of a running agent stand still, one in each
// box, and beside them watches a box with a dead broker, which must be left
// alone.
func hangEverything(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	broker, err := kit.StartBroker(ctx, b.Dir, "")
	if err != nil {
		return bench.Finding{}, err
	}
	defer broker.End()
	film, err := box.Film(ctx, b)
	if err != nil {
		return bench.Finding{}, err
	}
	took := make([]time.Duration, len(hanging)+3)
	var group errgroup.Group
	group.SetLimit(6)
	for i, h := range hanging {
		group.Go(func() error {
			x, err := box.New(b, fmt.Sprintf("box-%d", i), broker.Address, film)
			if err == nil {
				took[i], err = hangOne(ctx, b, &x.Service, h)
			}
			return err
		})
	}
	group.Go(func() error { return hangCloud(ctx, b, broker.Address, took[len(hanging):]) })
	false_, err := watchDeadLine(ctx, b)
	if err = errors.Join(err, group.Wait()); err != nil {
		return bench.Finding{}, err
	}
	longest := time.Duration(0)
	for _, t := range took {
		longest = max(longest, t)
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d of %d ways to hang ended in a restart; longest %.1f s from standing still to ready again; %d restarts in %d s of a broker that takes connections and says nothing",
			len(took), len(took), longest.Seconds(), false_, int(deadLine.Seconds())),
		Scope: "a manager of the bench stands in for systemd, with the times of the unit file",
	},
		bench.Pace(longest <= 30*time.Second, "restarted within 30 s"),
		bench.That(false_ == 0, "0 restarts of the box with a dead broker"),
	), nil
}

// hangOne returns the time from the moment at which the part stood still until
// the agent was ready again.
func hangOne(ctx context.Context, b *bench.Bench, x *box.Service, h hang) (time.Duration, error) {
	m, log, err := x.Manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() { stop(); <-done }()
	wrong := func(err error) error { return fmt.Errorf("hang %s %s: %w\n%s", h.part, h.function, err, x.Tail()) }
	// It works when it has fed twice; then its parts have begun, too.
	if err := kit.Until(ctx, "the agent to be fed by its parts", kit.Patience, func() (bool, error) { return m.State().Feeds >= 2, nil }); err != nil {
		return 0, wrong(err)
	}
	pid := m.State().PID
	if h.function == "" {
		err = syscall.Kill(pid, syscall.SIGSTOP)
	} else {
		err = box.MakeHang(pid, x.Exe, h.function)
	}
	if err != nil {
		return 0, wrong(err)
	}
	err = kit.Until(ctx, "the part to stand still", kit.Patience, func() (bool, error) { return h.function == "" || box.Hangs(pid), nil })
	if err != nil {
		return 0, wrong(err)
	}
	began := time.Now()
	err = kit.Until(ctx, "the restart", kit.Patience, func() (bool, error) { return len(m.State().Ready) > 1, nil })
	if err != nil {
		return 0, wrong(err)
	}
	s := m.State()
	if !strings.Contains(s.Status, h.part) {
		return 0, wrong(fmt.Errorf("it was restarted for %q", s.Status))
	}
	took := s.Ready[1].Sub(began)
	b.Say("%s: %.1f s (%s)", strings.TrimSpace(h.part+" "+filepath.Base(h.function)), took.Seconds(), s.Status)
	return took, nil
}

const cloudConfig = `data: %s
broker: {url: "tcp://%s", username: anyone, password_file: %s}
influx: {child: true}
pages: {listen: %q}
`

// hangCloud makes the two loops of ingest, and then the database, stand still
// while a box delivers.
func hangCloud(ctx context.Context, b *bench.Bench, broker string, took []time.Duration) error {
	feeder, err := box.New(b, "feeder", broker, "")
	if err != nil {
		return err
	}
	key, err := exec.CommandContext(ctx, feeder.Exe, "key", "-config", feeder.Config).Output()
	if err != nil {
		return fmt.Errorf("ask for the box's key: %w", err)
	}
	feeding, log, err := feeder.Manager()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- feeding.Run(ctx) }()
	defer func() { stop(); <-done }()

	dir, err := b.Sub("cloud")
	if err != nil {
		return err
	}
	x := &box.Service{Dir: dir, Exe: filepath.Join(b.Bin, "floorwatch-cloud"), Config: filepath.Join(dir, "cloud.yaml")}
	x.Args = []string{"run", "-config", x.Config}
	page, err := kit.FreeAddress()
	if err != nil {
		return err
	}
	config := fmt.Appendf(nil, cloudConfig, filepath.Join(dir, "data"), broker, filepath.Join(feeder.Dir, "password"), page)
	if err := os.WriteFile(x.Config, config, 0o600); err != nil {
		return fmt.Errorf("configure the cloud: %w", err)
	}
	if err := halls.Register(ctx, filepath.Join(dir, "data"), halls.One("shop", map[string]site.Key{"feeder": halls.Key(key)})); err != nil {
		return err
	}
	for i, h := range hangingCloud {
		if took[i], err = hangOne(ctx, b, x, h); err != nil {
			return err
		}
	}
	took[2], err = hangDatabase(ctx, b, x, page)
	return err
}

// hangDatabase stops influxd, which the cloud has as a child, and returns how
// long it took until there was another one that was asked and had answered.
func hangDatabase(ctx context.Context, b *bench.Bench, x *box.Service, page string) (time.Duration, error) {
	m, log, err := x.Manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() { stop(); <-done }()
	wrong := func(err error) error { return fmt.Errorf("hang the database: %w\n%s", err, x.Tail()) }
	up := func() (bool, error) {
		return box.ChildOf(m.State().PID, "influxd") != 0 && box.FigureOf(ctx, page, "floorwatch_influx_up") == 1, nil
	}
	if err := kit.Until(ctx, "the database", kit.Patience, up); err != nil {
		return 0, wrong(err)
	}
	pid := box.ChildOf(m.State().PID, "influxd")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return 0, wrong(err)
	}
	began := time.Now()
	err = kit.Until(ctx, "another database", kit.Patience, func() (bool, error) {
		if box.ChildOf(m.State().PID, "influxd") == pid {
			return false, nil
		}
		return up()
	})
	if err != nil {
		return 0, wrong(err)
	}
	took := time.Since(began)
	b.Say("influxd: %.1f s", took.Seconds())
	if m.State().Starts != 1 {
		return 0, wrong(errors.New("the cloud was restarted with it"))
	}
	return took, nil
}

// deadLine is for how long a box with a mute broker is watched.
const deadLine = 100 * time.Second

// watchDeadLine returns how often a box was restarted whose parts have nothing
// worse than a broker that never answers.
func watchDeadLine(ctx context.Context, b *bench.Bench) (int, error) {
	mute, err := muteListener()
	if err != nil {
		return 0, err
	}
	defer func() { _ = mute.Close() }()
	x, err := box.New(b, "mute", mute.Addr().String(), "")
	if err != nil {
		return 0, err
	}
	m, log, err := x.Manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	running, stop := context.WithTimeout(ctx, deadLine)
	defer stop()
	if err := m.Run(running); err != nil {
		return 0, err
	}
	if s := m.State(); s.Feeds == 0 {
		return 0, fmt.Errorf("the agent with a mute broker was never fed\n%s", x.Tail())
	}
	return m.State().Starts - 1, ctx.Err()
}
