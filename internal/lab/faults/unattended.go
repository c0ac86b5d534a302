package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

func unattendedRows() []row {
	return []row{
		{
			id: "G1", property: "any part of a program hangs",
			goal: "restarted within 30 s; the watchdog is fed by progress alone",
			long: "a part counts as hung after 20 s",
			run:  hangEverything,
		},
		{
			id: "G2", property: "the program crashes again and again, or its configuration is spoilt",
			goal: "after 5 crashes a safe mode that reports why, with the last good configuration; never stays down; back by itself",
			run:  crashLoops,
		},
		{
			id: "G5", property: "nothing grows: memory, goroutines, open files",
			goal: "under 1 MB/h after the warm-up, counts flat, over 30 min at high speed with a link and a camera that break every 30 s",
			long: "a leak shows over minutes",
			run:  soakLeaks,
		},
		{
			id: "G6", property: "a box or a camera that falls silent is told by the cloud",
			goal: "offline within 45 s, a blind camera within 60 s, no false alarm over a bad line",
			long: "silence is told after up to a minute",
			run:  noticeFleet,
		},
	}
}

// service is a program of the bench with a folder and a configuration.
type service struct {
	dir, exe, config string
	args             []string
}

// box is an edge box of the bench: a service with a copy of the agent's program,
// and a camera worker beside it.
type box struct{ service }

const boxConfig = `store: shop
edge: %s
data: %s
metrics: ""
interval: 10s
broker: {url: "tcp://%s", username: anyone, password_file: %s}
backup: {url: "http://127.0.0.1:9", policy: all}
footage: {segment: 10s}
counters:
  mqtt: {broker: "tcp://%s"}
  devices: [{name: beam, topic: %s/beam, series: [{name: beam, kind: event}]}]
cameras:
  - name: lobby
    label: {zh: 大厅, en: Lobby}
    source: %s
    record: %t
    picture: {width: 640, height: 480}
    zones:
      - {name: queue, role: queue, label: {zh: 排队区, en: Queue}, polygon: [[0, 0], [640, 0], [640, 480], [0, 480]]}
`

// newBox makes a box whose camera's people are those of the role crowd; film is
// what is recorded, "" for nothing.
func (b *bench) newBox(name, broker, film string) (*box, error) {
	dir, err := b.sub(name)
	if err != nil {
		return nil, err
	}
	x := &box{service{dir: dir, exe: filepath.Join(dir, "floorwatch-edge"), config: filepath.Join(dir, "edge.yaml")}}
	x.args = []string{"run", "-config", x.config, "-ledger", filepath.Join(dir, "ledger")}
	if err := copyFile(filepath.Join(b.bin, "floorwatch-edge"), x.exe); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	source := film
	if film == "" {
		source = "rtsp://127.0.0.1:9/none" // only the worker looks, and it is ours
	}
	password := filepath.Join(dir, "password")
	return x, errors.Join(
		os.WriteFile(filepath.Join(dir, "floorwatch-camera"), []byte("#!/bin/sh\nexec "+self+" role crowd\n"), 0o755),
		os.WriteFile(password, []byte("none\n"), 0o600),
		os.WriteFile(x.config, fmt.Appendf(nil, boxConfig, name, x.data(), broker, password, broker, name, source, film != ""), 0o600),
	)
}

func (x *box) data() string { return filepath.Join(x.dir, "data") }

func copyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// manager runs the service.
func (x *service) manager() (*manager, io.Closer, error) {
	log, err := os.OpenFile(filepath.Join(x.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("write a log: %w", err)
	}
	return &manager{
		exe: x.exe, args: x.args, env: []string{"PATH=" + kit.SearchPath()}, dir: x.dir, pause: restartTime, log: log,
	}, log, nil
}

// tail returns the end of what it wrote, for an error.
func (x *service) tail() string {
	b, _ := os.ReadFile(filepath.Join(x.dir, "log"))
	return string(b[max(0, len(b)-1500):])
}

// Times of crowd.
const (
	crowdFrame = 200 * time.Millisecond
	crowdStep  = 4 * time.Second // somebody comes
	crowdStay  = 6 * time.Second // and leaves after
)

// crowd is a camera worker of a camera that sees one person come every few
// seconds, walk through the zone, and one who stays for ever.
func crowd([]string) error {
	out := json.NewEncoder(os.Stdout)
	frame := floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), Event: floorwatch.EventOpen, By: "crowd"}
	if err := out.Encode(frame); err != nil {
		return err
	}
	tick := time.NewTicker(crowdFrame)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		now := floorwatch.TimeOf(<-tick.C)
		f := floorwatch.Frame{T: now, N: n, W: 640, H: 480, People: []floorwatch.Person{{ID: 1, X: 300, Y: 200, W: 30, H: 80, Score: 1}}}
		for k := int64(now) / crowdStep.Milliseconds(); k > 0; k-- {
			age := int64(now) - k*crowdStep.Milliseconds()
			if age > crowdStay.Milliseconds() {
				break
			}
			f.People = append(f.People, floorwatch.Person{ID: k, X: 20 + float64(age)/20, Y: 100, W: 30, H: 80, Score: 1})
		}
		if err := out.Encode(f); err != nil {
			return err
		}
	}
}

// film makes a small film with a key frame a second, which can be copied.
func (b *bench) film(ctx context.Context) (string, error) {
	path := filepath.Join(b.dir, "film.mp4")
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=5", "-t", "60",
		"-c:v", "libx264", "-g", "5", "-bf", "0", "-pix_fmt", "yuv420p", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a film: %w: %s", err, out)
	}
	return path, nil
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
	{"measuring lobby", edgePackage + ".(*camera).publishLive"},
	{"measuring lobby", edgePackage + "/footage.(*Trail).flush"},
	{"worker of lobby", "floorwatch.ParseFrame"},
	{"records of lobby", edgePackage + ".(*writer).flush"},
	{"", edgePackage + "/outbox.(*Outbox).commit"}, // whoever appends first stands still first
	{"recorder of lobby", edgePackage + "/footage.(*recording).noRoom"},
	{"retention", edgePackage + "/footage.(*Retention).missing"},
	{"uplink", edgePackage + "/uplink.(*session).resend"},
	{"uploads", edgePackage + "/footage.(*uploading).queue"},
	{"counters", edgePackage + "/counter.(*Feeds).commit"},
	{"health", edgePackage + ".(*run).boxHealth"},
}

// hangEverything makes each part of a running agent stand still, one in each
// box, and beside them watches a box with a dead broker, which must be left
// alone.
func hangEverything(ctx context.Context, b *bench) (finding, error) {
	broker, err := kit.StartBroker(ctx, b.dir, "")
	if err != nil {
		return finding{}, err
	}
	defer broker.End()
	film, err := b.film(ctx)
	if err != nil {
		return finding{}, err
	}
	took := make([]time.Duration, len(hanging)+3)
	var group errgroup.Group
	group.SetLimit(6)
	for i, h := range hanging {
		group.Go(func() error {
			x, err := b.newBox(fmt.Sprintf("box-%d", i), broker.Address, film)
			if err == nil {
				took[i], err = b.hangOne(ctx, &x.service, h)
			}
			return err
		})
	}
	group.Go(func() error { return b.hangCloud(ctx, broker.Address, took[len(hanging):]) })
	false_, err := b.watchDeadLine(ctx)
	if err = errors.Join(err, group.Wait()); err != nil {
		return finding{}, err
	}
	longest := time.Duration(0)
	for _, t := range took {
		longest = max(longest, t)
	}
	return finding{
		Figure: fmt.Sprintf("%d of %d ways to hang ended in a restart; longest %.1f s from standing still to ready again; %d restarts in %d s of a broker that takes connections and says nothing",
			len(took), len(took), longest.Seconds(), false_, int(deadLine.Seconds())),
		Reached: longest <= 30*time.Second && false_ == 0,
		Scope:   "a manager of the bench stands in for systemd, with the times of the unit file",
	}, nil
}

// hangOne returns the time from the moment at which the part stood still until
// the agent was ready again.
func (b *bench) hangOne(ctx context.Context, x *service, h hang) (time.Duration, error) {
	m, log, err := x.manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.run(ctx) }()
	defer func() { stop(); <-done }()
	wrong := func(err error) error { return fmt.Errorf("hang %s %s: %w\n%s", h.part, h.function, err, x.tail()) }
	// It works when it has fed twice; then its parts have begun, too.
	if err := kit.Until(ctx, "the agent to be fed by its parts", time.Minute, func() (bool, error) { return m.state().feeds >= 2, nil }); err != nil {
		return 0, wrong(err)
	}
	pid := m.state().pid
	if h.function == "" {
		err = syscall.Kill(pid, syscall.SIGSTOP)
	} else {
		err = makeHang(pid, x.exe, h.function)
	}
	if err != nil {
		return 0, wrong(err)
	}
	err = kit.Until(ctx, "the part to stand still", 90*time.Second, func() (bool, error) { return h.function == "" || hangs(pid), nil })
	if err != nil {
		return 0, wrong(err)
	}
	began := time.Now()
	err = kit.Until(ctx, "the restart", 90*time.Second, func() (bool, error) { return len(m.state().ready) > 1, nil })
	if err != nil {
		return 0, wrong(err)
	}
	s := m.state()
	if !strings.Contains(s.status, h.part) {
		return 0, wrong(fmt.Errorf("it was restarted for %q", s.status))
	}
	took := s.ready[1].Sub(began)
	b.say("%s: %.1f s (%s)", strings.TrimSpace(h.part+" "+filepath.Base(h.function)), took.Seconds(), s.status)
	return took, nil
}

const cloudConfig = `data: %s
stores: [{id: shop, label: {zh: 店, en: Shop}, time_zone: UTC}]
edges: [{store: shop, id: feeder, label: {zh: 盒, en: Box}, key: %q}]
broker: {url: "tcp://%s", username: anyone, password_file: %s}
influx: {child: true}
pages: {listen: %q}
`

// hangCloud makes the two loops of ingest, and then the database, stand still
// while a box delivers.
func (b *bench) hangCloud(ctx context.Context, broker string, took []time.Duration) error {
	feeder, err := b.newBox("feeder", broker, "")
	if err != nil {
		return err
	}
	key, err := exec.CommandContext(ctx, feeder.exe, "key", "-config", feeder.config).Output()
	if err != nil {
		return fmt.Errorf("ask for the box's key: %w", err)
	}
	_, public, _ := strings.Cut(strings.TrimRight(string(key), "}\n"), "key: ")
	feeding, log, err := feeder.manager()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- feeding.run(ctx) }()
	defer func() { stop(); <-done }()

	dir, err := b.sub("cloud")
	if err != nil {
		return err
	}
	x := &service{dir: dir, exe: filepath.Join(b.bin, "floorwatch-cloud"), config: filepath.Join(dir, "cloud.yaml")}
	x.args = []string{"run", "-config", x.config}
	page, err := kit.FreeAddress()
	if err != nil {
		return err
	}
	config := fmt.Appendf(nil, cloudConfig, filepath.Join(dir, "data"), public, broker, filepath.Join(feeder.dir, "password"), page)
	if err := os.WriteFile(x.config, config, 0o600); err != nil {
		return fmt.Errorf("configure the cloud: %w", err)
	}
	const ingest = "floorwatch/cloud/ingest.(*Ingest)."
	for i, h := range []hang{{"ingest: reading", ingest + "retries"}, {"ingest: storing", ingest + "storePoints"}} {
		if took[i], err = b.hangOne(ctx, x, h); err != nil {
			return err
		}
	}
	took[2], err = b.hangDatabase(ctx, x, page)
	return err
}

// hangDatabase stops influxd, which the cloud has as a child, and returns how
// long it took until there was another one that was asked and had answered.
func (b *bench) hangDatabase(ctx context.Context, x *service, page string) (time.Duration, error) {
	m, log, err := x.manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.run(ctx) }()
	defer func() { stop(); <-done }()
	wrong := func(err error) error { return fmt.Errorf("hang the database: %w\n%s", err, x.tail()) }
	up := func() (bool, error) {
		return childOf(m.state().pid, "influxd") != 0 && figureOf(ctx, page, "floorwatch_influx_up") == 1, nil
	}
	if err := kit.Until(ctx, "the database", time.Minute, up); err != nil {
		return 0, wrong(err)
	}
	pid := childOf(m.state().pid, "influxd")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return 0, wrong(err)
	}
	began := time.Now()
	err = kit.Until(ctx, "another database", 2*time.Minute, func() (bool, error) {
		if childOf(m.state().pid, "influxd") == pid {
			return false, nil
		}
		return up()
	})
	if err != nil {
		return 0, wrong(err)
	}
	took := time.Since(began)
	b.say("influxd: %.1f s", took.Seconds())
	if m.state().starts != 1 {
		return 0, wrong(errors.New("the cloud was restarted with it"))
	}
	return took, nil
}

// deadLine is for how long a box with a mute broker is watched.
const deadLine = 100 * time.Second

// watchDeadLine returns how often a box was restarted whose parts have nothing
// worse than a broker that never answers.
func (b *bench) watchDeadLine(ctx context.Context) (int, error) {
	mute, err := muteListener()
	if err != nil {
		return 0, err
	}
	defer func() { _ = mute.Close() }()
	x, err := b.newBox("mute", mute.Addr().String(), "")
	if err != nil {
		return 0, err
	}
	m, log, err := x.manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	running, stop := context.WithTimeout(ctx, deadLine)
	defer stop()
	if err := m.run(running); err != nil {
		return 0, err
	}
	if s := m.state(); s.feeds == 0 {
		return 0, fmt.Errorf("the agent with a mute broker was never fed\n%s", x.tail())
	}
	return m.state().starts - 1, ctx.Err()
}

// crashing are functions of parts that safe mode leaves alone.
var crashing = []string{
	edgePackage + ".(*camera).feed",
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
func crashLoops(ctx context.Context, b *bench) (finding, error) {
	broker, err := kit.StartBroker(ctx, b.dir, "")
	if err != nil {
		return finding{}, err
	}
	defer broker.End()
	film, err := b.film(ctx)
	if err != nil {
		return finding{}, err
	}
	functions := crashing[:b.rounds(len(crashing), 1)]
	loops := make([]crashLoop, len(functions))
	var group errgroup.Group
	for i, f := range functions {
		group.Go(func() (err error) {
			loops[i], err = b.crashOne(ctx, fmt.Sprintf("box-%d", i), broker.Address, film, f)
			return err
		})
	}
	spoilt, err := b.spoilConfig(ctx, broker.Address)
	if err = errors.Join(err, group.Wait()); err != nil {
		return finding{}, err
	}
	var worst crashLoop
	for _, l := range loops {
		worst.safe, worst.report, worst.back = max(worst.safe, l.safe), max(worst.report, l.report), max(worst.back, l.back)
		worst.starts, worst.reports = max(worst.starts, l.starts), worst.reports+l.reports
	}
	found := finding{
		Figure: fmt.Sprintf("%d of %d crash loops ended in safe mode, with the start after the 5th crash, at most %.1f s after the first start; first report at the broker after %.1f s, %d reports; a spoilt configuration file: works with the last good one after %.1f s",
			len(loops), len(loops), worst.safe.Seconds(), worst.report.Seconds(), worst.reports, spoilt.Seconds()),
		Reached: worst.starts == 6,
		Scope:   "the last good configuration is put there by the bench; the box keeps one after 10 minutes of work",
	}
	if !b.short {
		found.Figure += fmt.Sprintf("; cameras are watched again by themselves within %.0f s", worst.back.Seconds())
		found.Reached = found.Reached && worst.back > 0
	}
	return found, nil
}

func (b *bench) crashOne(ctx context.Context, name, broker, film, function string) (l crashLoop, err error) {
	x, err := b.newBox(name, broker, film)
	if err != nil {
		return l, err
	}
	m, log, err := x.manager()
	if err != nil {
		return l, err
	}
	defer func() { _ = log.Close() }()
	if b.short {
		m.setPause(100 * time.Millisecond)
	}
	var broken error
	starts := 0
	m.started = func(pid int) {
		// The sixth, which begins in safe mode, is a repaired one.
		if starts++; starts <= 5 {
			broken = errors.Join(broken, makeCrash(pid, x.exe, function))
		}
	}
	reports, err := b.listen(broker, name, `"safe_mode":1`)
	if err != nil {
		return l, err
	}
	defer reports.Close()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- m.run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-done, broken) }()
	wait := func(what string, patience time.Duration, is func() bool) error {
		err := kit.Until(ctx, what, patience, func() (bool, error) { return is(), nil })
		if err != nil {
			err = fmt.Errorf("crash %s: %w\n%s", function, err, x.tail())
		}
		return err
	}
	if err := wait("safe mode", 3*time.Minute, func() bool { return x.logged("msg=\"safe mode") }); err != nil {
		return l, err
	}
	l.safe = time.Since(began)
	if err := wait("its report", time.Minute, func() bool { return reports.count() > 0 }); err != nil {
		return l, err
	}
	l.report = time.Since(began)
	b.say("%s: safe mode after %.1f s, reported after %.1f s", function, l.safe.Seconds(), l.report.Seconds())
	if !b.short {
		if err := wait("the camera", 8*time.Minute, func() bool { return x.logged("camera is watched") }); err != nil {
			return l, err
		}
		l.back = time.Since(began)
	}
	l.starts, l.reports = m.state().starts, reports.count()
	return l, nil
}

// spoilConfig returns how long a box takes to watch whose configuration file a
// power cut emptied.
func (b *bench) spoilConfig(ctx context.Context, broker string) (time.Duration, error) {
	x, err := b.newBox("spoilt", broker, "")
	if err != nil {
		return 0, err
	}
	config, err := os.ReadFile(x.config)
	if err == nil {
		err = errors.Join(os.MkdirAll(x.data(), 0o700), os.WriteFile(filepath.Join(x.data(), "edge.good.yaml"), config, 0o600), os.Truncate(x.config, 0))
	}
	if err != nil {
		return 0, fmt.Errorf("spoil a configuration: %w", err)
	}
	m, log, err := x.manager()
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	m.env = append(m.env, "STATE_DIRECTORY="+x.data())
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- m.run(ctx) }()
	defer func() { stop(); <-done }()
	err = kit.Until(ctx, "the camera of the box with a spoilt configuration", time.Minute, func() (bool, error) { return x.logged("camera is watched"), nil })
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, x.tail())
	}
	return time.Since(began), nil
}

// logged tells whether the service has written a text.
func (x *service) logged(text string) bool {
	b, _ := os.ReadFile(filepath.Join(x.dir, "log"))
	return strings.Contains(string(b), text)
}

// ear counts the deliveries of a box at the broker that hold a text.
type ear struct {
	mqtt.Client
	n atomic.Int64
}

func (e *ear) count() int { return int(e.n.Load()) }

// Close stops listening.
func (e *ear) Close() { e.Disconnect(100) }

// listen begins to count.
func (b *bench) listen(broker, edge, text string) (*ear, error) {
	e := new(ear)
	e.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("ear-" + edge))
	if t := e.Connect(); t.Wait() && t.Error() != nil {
		return nil, fmt.Errorf("listen at the broker: %w", t.Error())
	}
	t := e.Subscribe(floorwatch.Topic("shop", edge, floorwatch.LeafUp), 1, func(_ mqtt.Client, m mqtt.Message) {
		if strings.Contains(string(m.Payload()), text) {
			e.n.Add(1)
		}
	})
	if t.Wait() && t.Error() != nil {
		return nil, fmt.Errorf("listen at the broker: %w", t.Error())
	}
	return e, nil
}
