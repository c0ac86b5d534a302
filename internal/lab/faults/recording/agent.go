package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/kit"
)

// agent is the box's agent with cameras of the bench, in this process; its
// workers are the real ones. Its uplink is dead.
type agent struct {
	edge.Agent
	names []string
	stop  func() error

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
	a.Metrics = ln.Addr().String()
	if err := ln.Close(); err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	a.stop = func() error { cancel(); return <-done }
	return kit.Until(ctx, "the agent's figures", kit.Patience, func() (bool, error) {
		_, err := kit.ReadFigures(ctx, nil, a.Metrics)
		return err == nil, nil
	})
}

// look returns figures by name and camera, such as "watching c0".
func (a *agent) look(ctx context.Context) (map[string]float64, error) {
	all, err := kit.ReadFigures(ctx, nil, a.Metrics)
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
		if err := kit.Until(ctx, "footage of "+n, kit.Patience, func() (bool, error) { _, err := os.Stat(open); return err == nil, nil }); err != nil {
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
