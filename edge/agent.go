// Package edge is the agent of a store's edge box: it connects the rooms below
// it and keeps them running. OpenCV is not in it; each camera is read by a
// worker process of its own, so that the agent outlives whatever a camera or a
// decoder does.
//
//	                  ┌────────── pipeline ─────────┐
//	camera worker ─ lines ─> zone ─ stays ─> queue ─ records ─> outbox <─> uplink ─ MQTT ─> cloud
//	       ^           └───> trail                                ^
//	     relay, if the source is no RTSP camera                   │
//	       v                                                      │
//	    recorder ─ footage, seals ─> disk ─ segments and gaps ────┘
//	                                  ^ └──> upload ─ HTTPS ─> vault
//	                              retention
//
// All go by one clock, and health tells of all of them. What is said of one
// camera stands in camera.go, of what it shows to the cloud in pictures.go, of the
// other sources and the vault in sources.go, of the figures in figures.go.
package edge

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/counter"
	"floorwatch/edge/footage"
	"floorwatch/edge/health"
	"floorwatch/edge/outbox"
	"floorwatch/edge/pipeline"
	"floorwatch/edge/standard"
	"floorwatch/edge/trail"
	"floorwatch/edge/uplink"
	"floorwatch/edge/upload"
	"floorwatch/internal/durable"
	"floorwatch/internal/identity"
	"floorwatch/internal/metrics"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"

	"golang.org/x/sync/errgroup"
)

// Agent is the box's program. Config, Broker and Program are required.
type Agent struct {
	Config  Config
	Broker  Broker
	Program string // the camera worker, floorwatch-camera
	Metrics string // where GET /metrics is answered, host:port; "": nowhere
	// Ledger gets each record that became durable, as a JSON line: a second
	// account by which a test can check the whole path. nil: none.
	Ledger io.Writer
	Clock  func() floorwatch.Stamp // nil: this machine's
	// Safe leaves cameras, counters and footage alone: the box only reports.
	Safe    bool
	Crashes int      // runs before this one that crashed, in a row
	Notes   []string // for the box's word about itself
	Log     *slog.Logger
}

// Broker is where the box delivers to, and as whom. TLS is for tls:// addresses;
// nil: the system's roots.
type Broker struct {
	URL, Username, Password string
	TLS                     *tls.Config
}

// Names of what lies in the data folder.
const (
	FootageDir = "footage"
	StillDir   = "stills"
	outboxDir  = "outbox"
	// standardFile is what the cloud told the hall.
	standardFile = "standard.json"
)

// run is a running agent: what its parts are connected by.
type run struct {
	agent    *Agent
	cfg      *Config
	log      *slog.Logger
	key      ed25519.PrivateKey
	clock    *clock.Clock
	outbox   *outbox.Outbox
	uplink   *uplink.Uplink
	trail    *trail.Trail
	meters   *health.Meters
	kept     pipeline.Kept
	uploader *upload.Uploader
	standard *standard.Keeper
	feeds    *counter.Feeds // of the configuration's counters; nil: none
	dog      *watchdog.Dog
	ledger   sync.Mutex // guards the agent's Ledger
}

// Run runs the box until ctx ends. It returns early only for what a restart
// cannot heal: a data folder that cannot be used, a key that cannot be read.
func (a *Agent) Run(ctx context.Context) (err error) {
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{agent: a, cfg: &a.Config, log: a.Log, dog: &watchdog.Dog{Log: a.Log}, kept: pipeline.Kept{}}
	data := r.cfg.Data
	for _, dir := range []string{data, r.footageDir(), filepath.Join(data, StillDir)} {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if r.key, err = LoadKey(data); err != nil {
		return err
	}
	if r.standard, err = r.openStandard(); err != nil {
		return err
	}
	r.outbox, err = outbox.Open(outbox.Settings{
		Dir: filepath.Join(data, outboxDir), MaxBytes: int64(r.cfg.Outbox.MaxBytes), Commit: r.cfg.Outbox.Commit, Log: r.log,
		Found: r.kept.Found,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.outbox.Close()) }()
	r.trail = &trail.Trail{Dir: r.footageDir()}
	defer func() { err = errors.Join(err, r.trail.Close()) }()
	if r.clock, err = r.newClock(); err != nil {
		return err
	}
	return r.parts(ctx)
}

func (r *run) footageDir() string { return filepath.Join(r.cfg.Data, FootageDir) }

// openStandard reads what the cloud told the hall before.
func (r *run) openStandard() (*standard.Keeper, error) {
	cloud, err := identity.Parse(r.cfg.CloudKey)
	if err != nil {
		return nil, fmt.Errorf("cloud_key: %w", err)
	}
	return standard.Open(filepath.Join(r.cfg.Data, standardFile), r.cfg.Store, cloud, r.log), nil
}

// newClock goes on from the latest stamp that a run before left.
func (r *run) newClock() (*clock.Clock, error) {
	k := clock.New(r.agent.Clock)
	for _, c := range r.cfg.Cameras {
		seen, err := r.trail.Last(c.Name)
		if err != nil {
			return nil, err
		}
		sealed, err := footage.LastStamp(r.trail.Dir, c.Name)
		if err != nil {
			return nil, err
		}
		k.NotBefore(max(seen, sealed))
	}
	return k, nil
}

// parts runs what records and measures, and beside it the uplink, which stops
// last so that the final records still leave if they can.
func (r *run) parts(ctx context.Context) (err error) {
	var names []string
	for _, c := range r.cfg.Cameras {
		names = append(names, c.Name)
	}
	r.meters = health.NewMeters(names...)
	if r.uploader, err = r.newUploader(); err != nil {
		return err
	}
	if r.uplink, err = r.newUplink(); err != nil {
		return err
	}
	if r.cfg.Counters.Enabled() && !r.agent.Safe {
		if r.feeds, err = r.newCounters(); err != nil {
			return err
		}
	}
	upCtx, stopUplink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopUplink()
	var sent errgroup.Group
	sent.Go(func() error { return r.uplink.Run(upCtx) })

	group, ctx := errgroup.WithContext(ctx)
	report := r.newReport()
	group.Go(func() error { r.dog.Run(ctx); return nil })
	group.Go(func() error { return report.Run(ctx) })
	group.Go(func() error { return r.tellBox(ctx) })
	if !r.agent.Safe {
		for i := range r.cfg.Cameras {
			group.Go(func() error { return r.watch(ctx, &r.cfg.Cameras[i]) })
		}
		group.Go(func() error { return r.newRetention().Run(ctx) })
	}
	if r.cfg.Backup.URL != "" && !r.agent.Safe {
		group.Go(func() error { return r.uploader.Run(ctx) })
	}
	if r.feeds != nil {
		group.Go(func() error { return r.runCounters(ctx) })
	}
	if r.agent.Metrics != "" {
		group.Go(func() error {
			return metrics.Keep(ctx, r.agent.Metrics, r.log, func() []metrics.Figure { return health.Metrics(report.Figures()) })
		})
	}
	err = group.Wait()
	r.drain()
	stopUplink()
	return errors.Join(err, sent.Wait())
}

// tellBox has the cloud know which cameras and people counters there are, at the
// start and every hour.
func (r *run) tellBox(ctx context.Context) error {
	var cameras []string
	for _, c := range r.cfg.Cameras {
		cameras = append(cameras, c.Name)
	}
	var counters []floorwatch.SceneCounter
	for _, d := range r.cfg.Counters.Devices {
		for _, s := range d.Series {
			counters = append(counters, floorwatch.SceneCounter{Name: s.Name, Label: s.Label})
		}
	}
	if o := r.cfg.Counters.Occupancy; o != "" {
		counters = append(counters, floorwatch.SceneCounter{Name: o})
	}
	for {
		told := floorwatch.TellBox(cameras, counters)
		told.At = r.clock.Time()
		pause := pipeline.TellEvery
		if err := r.store(told); err != nil {
			r.log.Error("what the box has is not told to the cloud, trying again", "error", err)
			pause = time.Minute
		}
		if !retry.Pause(ctx, pause) {
			return nil
		}
	}
}

// drainTime is how long a clean stop waits for the cloud to acknowledge the
// last records. What is left then goes out after the next start.
const drainTime = 1500 * time.Millisecond

func (r *run) drain() {
	for deadline := time.Now().Add(drainTime); time.Now().Before(deadline) && r.outbox.Stats().Records > 0; {
		<-time.After(20 * time.Millisecond)
	}
}

// store makes records durable, and has those who wait for them know. A record
// that cannot be encoded is our own mistake and is logged; the others must not
// wait for it.
func (r *run) store(recs ...floorwatch.Record) error {
	encoded := make([]floorwatch.Encoded, 0, len(recs))
	for _, rec := range recs {
		r.clock.Mark(rec)
		b, err := floorwatch.MarshalRecord(rec)
		if err != nil {
			r.log.Error("record left out", "error", err)
			continue
		}
		encoded = append(encoded, b)
	}
	if len(encoded) == 0 {
		return nil
	}
	if err := r.outbox.Append(encoded...); err != nil {
		return err
	}
	r.meters.Stored(recs)
	r.uploadAround(recs)
	r.account(encoded)
	return nil
}

// uploadAround has the footage around alerts uploaded.
func (r *run) uploadAround(recs []floorwatch.Record) {
	for _, rec := range recs {
		if a, ok := rec.(*floorwatch.Alert); ok {
			if err := r.uploader.Alert(a.Camera, a.At); err != nil {
				r.log.Error("footage around an alert is not queued for upload", "camera", a.Camera, "error", err)
			}
		}
	}
}

// account writes what became durable to the ledger, if there is one.
func (r *run) account(recs []floorwatch.Encoded) {
	if r.agent.Ledger == nil {
		return
	}
	var lines []byte
	for _, rec := range recs {
		lines = append(append(lines, rec.JSON...), '\n')
	}
	r.ledger.Lock()
	defer r.ledger.Unlock()
	if _, err := r.agent.Ledger.Write(lines); err != nil {
		r.log.Error("ledger not written", "error", err)
	}
}

func (r *run) newUplink() (*uplink.Uplink, error) {
	b := r.agent.Broker
	return uplink.New(uplink.Settings{
		Broker: b.URL, Username: b.Username, Password: b.Password, TLS: b.TLS,
		Store: r.cfg.Store, Edge: r.cfg.Edge, Version: floorwatch.BuildVersion, Log: r.log,
		Outbox: r.outbox, OutboxID: r.outbox.Log, Changed: r.outbox.Changed(),
		Standard: r.standard.Hash, Command: r.command, Pulse: r.dog.Pulse("uplink"),
	})
}

// command does what the cloud asks for.
func (r *run) command(ctx context.Context, c floorwatch.Command) floorwatch.Reply {
	switch c.Do {
	case floorwatch.DoStandard:
		return r.standard.Take(*c.Standard)
	case floorwatch.DoStill, floorwatch.DoLines:
		return r.picture(ctx, c)
	}
	return r.uploader.Command(ctx, c)
}
