package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/internal/child"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/kit"
)

// agent is the box's agent with cameras of the bench, in this process; its
// workers are the real ones. Its uplink is dead.
type agent struct {
	edge.Agent
	names   []string
	metrics string // address
	stop    func() error

	mu   sync.Mutex
	recs []floorwatch.Header // of records that became durable
	raw  [][]byte
}

// Write takes the ledger's lines.
func (a *agent) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for line := range bytes.SplitSeq(bytes.TrimSpace(p), []byte("\n")) {
		var h floorwatch.Header
		if json.Unmarshal(line, &h) == nil {
			a.recs, a.raw = append(a.recs, h), append(a.raw, bytes.Clone(line))
		}
	}
	return len(p), nil
}

const agentConfig = `store: shop
edge: box
data: %s
interval: 1m
footage: {segment: 10s}
cameras:
`

const agentCamera = `  - name: c%d
    source: %s
    detector: motion
    fps: 2
    zones: [{name: z%[1]d, role: queue, label: {zh: 区, en: Zone}, polygon: [[0, 0], [480, 0], [480, 360], [0, 360]]}]
`

// agentFile is a configuration as it stands in a file.
type agentFile struct{ edge.Config }

// Check implements the configuration's checking.
func (f *agentFile) Check(r *config.Report) { f.Config.Check(r, "") }

// newAgent prepares an agent for sources, one camera each.
func newAgent(dir, program string, sources []string) (*agent, error) {
	text := fmt.Sprintf(agentConfig, dir)
	a := &agent{}
	for i, s := range sources {
		text += fmt.Sprintf(agentCamera, i, s)
		a.names = append(a.names, fmt.Sprintf("c%d", i))
	}
	file := &agentFile{edge.DefaultConfig()}
	if err := config.Parse("edge.yaml", []byte(text), file); err != nil {
		return nil, err
	}
	a.Agent = edge.Agent{
		Config: file.Config, Broker: edge.Broker{URL: "tcp://127.0.0.1:9", Username: "none", Password: "none"}, Program: program, Ledger: a,
	}
	if os.Getenv("FAULTS_LOG") != "" {
		a.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return a, nil
}

// start runs the agent until stop is called.
func (a *agent) start(ctx context.Context) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.Metrics, a.metrics = ln, ln.Addr().String()
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	a.stop = func() error { cancel(); return <-done }
	return nil
}

// look returns figures by name and camera, such as "watching c0".
func (a *agent) look(ctx context.Context) (map[string]float64, error) {
	all, err := kit.ReadFigures(ctx, nil, a.metrics)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, n := range a.names {
		for _, figure := range []string{"watching", "frames_total", "closes_total"} {
			if v, ok := all[fmt.Sprintf("floorwatch_camera_%s{camera=%q}", figure, n)]; ok {
				out[figure+" "+n] = v
			}
		}
	}
	return out, nil
}

// await polls the figures until done says so of every camera that it is asked
// about, and returns how long each took; patience for those that never did.
func (a *agent) await(ctx context.Context, since map[string]time.Time, patience time.Duration, done func(fig map[string]float64, camera string) bool) (map[string]time.Duration, error) {
	took := map[string]time.Duration{}
	for began := time.Now(); len(took) < len(since) && time.Since(began) < patience; {
		fig, err := a.look(ctx)
		if err != nil {
			return nil, err
		}
		for camera, from := range since {
			if _, ok := took[camera]; !ok && done(fig, camera) {
				took[camera] = time.Since(from)
			}
		}
		if err := kit.Pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	for camera := range since {
		if _, ok := took[camera]; !ok {
			took[camera] = patience
		}
	}
	return took, nil
}

// watched waits until every camera gives frames and footage.
func (a *agent) watched(ctx context.Context) error {
	all := map[string]time.Time{}
	for _, n := range a.names {
		all[n] = time.Now()
	}
	took, err := a.await(ctx, all, 4*time.Minute, func(fig map[string]float64, n string) bool { return fig["frames_total "+n] > 2 })
	if err != nil {
		return err
	}
	for n, d := range took {
		if d >= 4*time.Minute {
			return fmt.Errorf("camera %s gave no frames", n)
		}
		open := filepath.Join(a.Config.Data, edge.FootageDir, n, "open.mp4")
		if err := kit.Until(ctx, "footage of "+n, time.Minute, func() (bool, error) { _, err := os.Stat(open); return err == nil, nil }); err != nil {
			return err
		}
	}
	return nil
}

// seals returns the seals of each camera, in order, and how many seconds lie
// between two that neither footage nor a gap explains.
func (a *agent) seals() (map[string][]kept, time.Duration, error) {
	all, err := footageOf(filepath.Join(a.Config.Data, edge.FootageDir))
	if err != nil {
		return nil, 0, err
	}
	out, until := map[string][]kept{}, map[string]floorwatch.Time{}
	var unexplained time.Duration
	for _, k := range all {
		if u := until[k.Camera]; u > 0 && k.Start.Sub(u).Abs() > 500*time.Millisecond {
			unexplained += k.Start.Sub(u).Abs()
		}
		until[k.Camera] = k.End
		out[k.Camera] = append(out[k.Camera], k)
	}
	return out, unexplained, nil
}

// Faults of a camera.
var cameraFaults = []string{"stopped", "line mute", "garbage", "other size", "reset loop"}

// watchedCamera is a camera behind a line.
type watchedCamera struct {
	*camera
	line *chaos.Proxy
}

// startCameras starts n cameras that play film, and other when told to.
func startCameras(ctx context.Context, n int, film, other string) (cams []watchedCamera, sources []string, end func(), err error) {
	end = func() {
		for _, c := range cams {
			_ = c.Signal(syscall.SIGCONT)
			c.line.Close()
			c.End()
		}
	}
	for range n {
		c, err := startCamera(ctx, 5, film, other)
		if err != nil {
			return cams, nil, end, err
		}
		line, err := chaos.Start(c.addr)
		if err != nil {
			return cams, nil, end, err
		}
		cams = append(cams, watchedCamera{c, line})
		sources = append(sources, "rtsp://"+line.Addr+"/stream")
	}
	return cams, sources, end, nil
}

// fault begins or ends a fault; a reset loop goes on until ctx ends.
func (c watchedCamera) fault(ctx context.Context, kind string, on bool) error {
	switch {
	case kind == "stopped" && on:
		return c.Signal(syscall.SIGSTOP)
	case kind == "stopped":
		return c.Signal(syscall.SIGCONT)
	case kind == "line mute" && on:
		c.line.Blackhole()
	case kind == "line mute":
		c.line.Pass()
		c.line.Reset()
	case kind == "garbage" && on:
		return c.tell(camGarbage)
	case kind == "other size" && on:
		return c.tell(camOther)
	case kind == "reset loop" && on:
		go func() {
			for kit.Pause(ctx, 300*time.Millisecond) == nil {
				c.line.Reset()
			}
		}()
	case kind != "reset loop":
		return c.tell(camPlay)
	}
	return nil
}

// camerasLost makes cameras hang and get lost in five ways, several at a time.
func camerasLost(ctx context.Context, b *bench) (finding, error) {
	film, other := filepath.Join(b.dir, "film.h264"), filepath.Join(b.dir, "other.h264")
	if err := errors.Join(annexB(ctx, film, "320x240", 5, 1), annexB(ctx, other, "480x360", 5, 1)); err != nil {
		return finding{}, err
	}
	cams, sources, end, err := startCameras(ctx, b.rounds(16, 5), film, other)
	defer end()
	if err != nil {
		return finding{}, err
	}
	a, err := newAgent(filepath.Join(b.dir, "box"), filepath.Join(b.bin, "floorwatch-camera"), sources)
	if err != nil {
		return finding{}, err
	}
	if err := a.start(ctx); err != nil {
		return finding{}, err
	}
	if err := a.watched(ctx); err != nil {
		return finding{}, errors.Join(err, a.stop())
	}
	sum := &lossTally{}
	for round := range b.rounds(13, 1) {
		if err := loseCameras(ctx, b, a, cams, round, sum); err != nil {
			return finding{}, errors.Join(err, a.stop())
		}
		b.say("round %d: noticed after at most %.1f s, back after at most %.1f s", round+1, most(sum.noticed).Seconds(), most(sum.back).Seconds())
	}
	if err := a.stop(); err != nil {
		return finding{}, err
	}
	seals, unexplained, err := a.seals()
	if err != nil {
		return finding{}, err
	}
	missing := 0
	for _, l := range sum.outages {
		if !slices.ContainsFunc(seals[l.camera], func(k kept) bool {
			return k.Kind == floorwatch.SealGap && k.Cause != "" && k.Start < l.to && k.End > l.from
		}) {
			missing++
		}
	}
	var p95 time.Duration
	if slices.Sort(sum.back); len(sum.back) > 0 {
		p95 = sum.back[len(sum.back)*95/100]
	}
	return finding{
		Figure: fmt.Sprintf("%d faults (camera process stopped, line mute, noise in place of H.264, other picture size in the running stream, connections reset all the time): noticed after at most %.1f s, seen again after p95 %.1f s, at most %.1f s, recorded again after at most %.1f s; %d of %d outages without a signed gap, %.1f s of footage time unexplained, %d supervisors hung",
			sum.faults, most(sum.noticed).Seconds(), p95.Seconds(), most(sum.back).Seconds(), most(sum.recorded).Seconds(), missing, len(sum.outages), unexplained.Seconds(), sum.hung),
		Reached: most(sum.noticed) <= 10*time.Second && max(most(sum.back), most(sum.recorded)) <= 15*time.Second && missing == 0 && unexplained == 0 && sum.hung == 0,
	}, nil
}

func most(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Max(d)
}

// outage is a span in which a camera gave nothing.
type outage struct {
	camera   string
	from, to floorwatch.Time
}

type lossTally struct {
	faults, hung  int
	noticed, back []time.Duration
	recorded      []time.Duration // like back, of the recorder
	outages       []outage
}

// loseCameras gives every camera a fault, ends it, and waits for all to be back.
func loseCameras(ctx context.Context, b *bench, a *agent, cams []watchedCamera, round int, sum *lossTally) error {
	faulty, heal := context.WithCancel(ctx)
	defer heal()
	kinds, lost := map[string]string{}, map[string]time.Time{}
	for i, c := range cams {
		n := a.names[i]
		kinds[n] = cameraFaults[(i+round)%len(cameraFaults)]
		if err := c.fault(faulty, kinds[n], true); err != nil {
			return err
		}
		if kinds[n] != "other size" { // that one loses nothing
			lost[n] = time.Now()
		}
	}
	sum.faults += len(cams)
	from, hold := time.Now(), time.Duration(b.rounds(14, 8))*time.Second
	noticed, err := a.await(ctx, lost, hold, func(fig map[string]float64, n string) bool { return fig["watching "+n] == 0 })
	if err := errors.Join(err, kit.Pause(ctx, time.Until(from.Add(hold)))); err != nil {
		return err
	}
	sum.noticed = slices.AppendSeq(sum.noticed, maps.Values(noticed))
	before, err := a.look(ctx)
	if err != nil {
		return err
	}
	heal()
	back := map[string]time.Time{}
	for i, c := range cams {
		n := a.names[i]
		if err := c.fault(ctx, kinds[n], false); err != nil {
			return err
		}
		back[n] = time.Now()
		if k := kinds[n]; k == "stopped" || k == "line mute" || k == "reset loop" {
			sum.outages = append(sum.outages, outage{n, floorwatch.TimeOf(lost[n].Add(time.Second)), floorwatch.TimeOf(back[n])})
		}
	}
	const patience = 40 * time.Second
	took, err := a.await(ctx, back, patience, func(fig map[string]float64, n string) bool {
		return fig["watching "+n] == 1 && fig["frames_total "+n] > before["frames_total "+n]+2
	})
	if err != nil {
		return err
	}
	for _, d := range took {
		if d >= patience {
			sum.hung++
		}
		sum.back = append(sum.back, d)
	}
	for n, from := range back {
		open := filepath.Join(a.Config.Data, edge.FootageDir, n, "open.mp4")
		err := kit.Until(ctx, "footage of "+n, patience, func() (bool, error) {
			st, err := os.Stat(open)
			return err == nil && st.ModTime().After(from.Add(time.Second)), nil
		})
		if err != nil {
			return err
		}
		sum.recorded = append(sum.recorded, time.Since(from))
	}
	return nil
}

// eat is a worker that takes more and more memory: role eater.
func eat([]string) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), W: 320, H: 240, Event: floorwatch.EventOpen, By: "eater"}); err != nil {
		return err
	}
	var held [][]byte
	for {
		held = append(held, bytes.Repeat([]byte{1}, 16<<20))
		<-time.After(200 * time.Millisecond)
		if err := out.Encode(floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), N: int64(len(held)), W: 320, H: 240}); err != nil {
			return err
		}
	}
}

// workerPID finds the worker of a camera among our children, once it runs.
func workerPID(ctx context.Context, camera string) (pid int, err error) {
	return pid, kit.Until(ctx, "the worker of "+camera, 30*time.Second, func() (bool, error) {
		alive, err := child.Alive()
		for p, line := range alive {
			if strings.Contains(line, "/"+camera+".jpg") {
				pid = p
			}
		}
		return pid != 0, err
	})
}

// workersCrash crashes camera workers in several ways beside their recorders.
func workersCrash(ctx context.Context, b *bench) (finding, error) {
	film := filepath.Join(b.dir, "film.h264")
	if err := annexB(ctx, film, "320x240", 5, 1); err != nil {
		return finding{}, err
	}
	cams, sources, end, err := startCameras(ctx, b.rounds(20, 4), film, film)
	defer end()
	if err != nil {
		return finding{}, err
	}
	program, err := b.hungryWorker()
	if err != nil {
		return finding{}, err
	}
	a, err := newAgent(filepath.Join(b.dir, "box"), program, sources)
	if err != nil {
		return finding{}, err
	}
	a.Config.WorkerMemory = 200 << 20
	if err := a.start(ctx); err != nil {
		return finding{}, err
	}
	if err := a.watched(ctx); err != nil {
		return finding{}, errors.Join(err, a.stop())
	}
	if err := kit.Pause(ctx, time.Duration(b.rounds(10, 1))*time.Second); err != nil {
		return finding{}, errors.Join(err, a.stop())
	}
	began := floorwatch.TimeOf(time.Now())
	var restart, eaten []time.Duration
	crashes := 0
	for round := range b.rounds(15, 1) {
		back, fat, err := b.crashWorkers(ctx, a, round)
		if err != nil {
			return finding{}, errors.Join(err, a.stop())
		}
		restart, eaten, crashes = append(restart, back...), append(eaten, fat...), crashes+len(a.names)
		b.say("round %d: seeing again after at most %.1f s", round+1, most(restart).Seconds())
	}
	fuzz := time.Duration(b.rounds(60, 2)) * time.Second
	for _, c := range cams {
		if err := c.tell(camFlip); err != nil {
			return finding{}, errors.Join(err, a.stop())
		}
	}
	err = kit.Pause(ctx, fuzz)
	ended := floorwatch.TimeOf(time.Now())
	if err := errors.Join(err, a.stop()); err != nil {
		return finding{}, err
	}
	seals, _, err := a.seals()
	if err != nil {
		return finding{}, err
	}
	var lost time.Duration
	for _, list := range seals {
		for _, k := range list {
			if k.Kind == floorwatch.SealGap && k.Start >= began && k.Start < ended {
				lost += k.End.Sub(k.Start)
			}
		}
	}
	return finding{
		Figure: fmt.Sprintf("%d workers crashed (SIGSEGV, SIGABRT, SIGKILL, memory): seeing again after at most %.1f s, a memory eater ended after at most %.1f s; then %s with a byte changed in most pictures, %d pictures; recorders lost %.1f s",
			crashes, most(restart).Seconds(), most(eaten).Seconds(), fuzz, int(fuzz.Seconds()*5)*len(cams)*2/3, lost.Seconds()),
		// The short form shares the machine with other tests.
		Reached: most(restart) <= time.Duration(b.rounds(3, 15))*time.Second && most(eaten) <= 10*time.Second && lost == 0,
		Scope:   fmt.Sprintf("%d crashes in place of 1,000", crashes),
	}, nil
}

// hungryWorker writes a program that is the real worker, or for once the eater
// where a file named after the camera asks for it.
func (b *bench) hungryWorker() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, "worker")
	script := fmt.Sprintf("#!/bin/sh\nfor a; do case $a in *.jpg) n=$(basename \"$a\" .jpg);; esac; done\n"+
		"if [ -e %[1]s/eat-$n ]; then rm %[1]s/eat-$n; exec %[2]s role eater; fi\nexec %[3]s \"$@\"\n", b.dir, self, filepath.Join(b.bin, "floorwatch-camera"))
	return path, os.WriteFile(path, []byte(script), 0o755)
}

// crashWorkers ends every worker once, each in its way, and returns how long the
// cameras were unseen, and how long an eater lived.
func (b *bench) crashWorkers(ctx context.Context, a *agent, round int) (restart, eaten []time.Duration, err error) {
	signals := []syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGKILL, syscall.SIGKILL}
	before, err := a.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	crashed, fat := map[string]time.Time{}, map[string]time.Time{}
	for i, n := range a.names {
		kind := (i + round) % len(signals)
		pid, err := workerPID(ctx, n)
		if err != nil {
			return nil, nil, err
		}
		crashed[n] = time.Now()
		if kind == 3 { // killed, and what is started then eats
			delete(crashed, n)
			fat[n] = time.Now()
			if err := os.WriteFile(filepath.Join(b.dir, "eat-"+n), nil, 0o600); err != nil {
				return nil, nil, err
			}
		}
		if err := syscall.Kill(pid, signals[kind]); err != nil {
			return nil, nil, fmt.Errorf("kill a worker: %w", err)
		}
	}
	const patience = 40 * time.Second
	back, err := a.await(ctx, crashed, patience, func(fig map[string]float64, n string) bool {
		return fig["closes_total "+n] > before["closes_total "+n] && fig["watching "+n] == 1
	})
	if err != nil {
		return nil, nil, err
	}
	gone, err := a.await(ctx, fat, patience, func(fig map[string]float64, n string) bool {
		return fig["closes_total "+n] > before["closes_total "+n]+1
	})
	if err != nil {
		return nil, nil, err
	}
	restart, eaten = slices.AppendSeq(restart, maps.Values(back)), slices.AppendSeq(eaten, maps.Values(gone))
	if err := a.watched(ctx); err != nil {
		return nil, nil, err
	}
	return restart, eaten, kit.Pause(ctx, time.Duration(b.rounds(11000, 500))*time.Millisecond) // so that the next is a new trouble
}
