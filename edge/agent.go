// Package edge is the agent of a store's edge box: it connects the rooms below
// it and keeps them running. OpenCV is not in it; each camera is read by a
// worker process of its own, so that the agent outlives whatever a camera or a
// decoder does.
//
//	camera worker ─ lines ─> zone ─ stays ─> queue ─ records ─> outbox <─> uplink ─ MQTT ─> cloud
//	       ^           └───> trail                                ^
//	     relay, if the source is no RTSP camera                   │
//	       v                                                      │
//	    recorder ─ footage, seals ─> disk ─ segments and gaps ────┘
package edge

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/counter"
	"floorwatch/edge/footage"
	"floorwatch/edge/outbox"
	"floorwatch/edge/trail"
	"floorwatch/edge/uplink"
	"floorwatch/edge/upload"
	"floorwatch/internal/durable"
	"floorwatch/internal/metrics"
	"floorwatch/internal/watchdog"

	"golang.org/x/sync/errgroup"
)

// Agent is the box's program. Config, Broker and Program are required.
type Agent struct {
	Config  Config
	Broker  Broker
	Program string // the camera worker, floorwatch-camera
	// Metrics answers GET /metrics until Run ends; nil: nothing does.
	Metrics net.Listener
	// Ledger gets each record that became durable, as a JSON line: a second
	// account by which a test can check the whole path. nil: none.
	Ledger io.Writer
	Clock  func() clock.Stamp // nil: this machine's
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
)

// run is what the parts of a running agent share.
type run struct {
	*Agent
	key    ed25519.PrivateKey
	outbox *outbox.Outbox
	uplink *uplink.Uplink
	trail  meteredTrail
	meters *meters
	ledger sync.Mutex // guards Ledger
	// Of the configuration's counters; nil: none.
	feeds    *counter.Feeds
	uploader *upload.Uploader
	dog      *watchdog.Dog
	kept     kept
	clock    *clock.Clock
}

// Run runs the box until ctx ends. It returns early only for what a restart
// cannot heal: a data folder that cannot be used, a key that cannot be read.
func (a *Agent) Run(ctx context.Context) (err error) {
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{
		Agent: a, dog: &watchdog.Dog{Log: a.Log}, kept: kept{},
	}
	data := a.Config.Data
	for _, dir := range []string{data, filepath.Join(data, FootageDir), filepath.Join(data, StillDir)} {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if r.key, err = LoadKey(data); err != nil {
		return err
	}
	r.outbox, err = outbox.Open(outbox.Settings{
		Dir: filepath.Join(data, outboxDir), MaxBytes: int64(a.Config.Outbox.MaxBytes), Commit: a.Config.Outbox.Commit, Log: a.Log,
		Found: r.kept.found,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.outbox.Close()) }()
	r.meters = newMeters(a.Config.Cameras)
	r.trail = meteredTrail{&trail.Trail{Dir: filepath.Join(data, FootageDir)}, r.meters}
	defer func() { err = errors.Join(err, r.trail.Close()) }()
	if r.clock, err = r.newClock(); err != nil {
		return err
	}
	return r.parts(ctx)
}

// newClock goes on from the latest stamp that a run before left.
func (r *run) newClock() (*clock.Clock, error) {
	k := clock.New(r.Clock)
	for _, c := range r.Config.Cameras {
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
	if r.uploader, err = r.newUploader(); err != nil {
		return err
	}
	if r.uplink, err = r.newUplink(); err != nil {
		return err
	}
	if r.Config.Counters.Enabled() && !r.Safe {
		if r.feeds, err = r.newCounters(); err != nil {
			return err
		}
	}
	upCtx, stopUplink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopUplink()
	var sent errgroup.Group
	sent.Go(func() error { return r.uplink.Run(upCtx) })

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { r.dog.Run(ctx); return nil })
	group.Go(func() error { r.reportHealth(ctx); return nil })
	if !r.Safe {
		for i := range r.Config.Cameras {
			c := &camera{run: r, cfg: &r.Config.Cameras[i], lines: make(chan floorwatch.Frame, 64)}
			group.Go(func() error { return c.watch(ctx) })
		}
		group.Go(func() error { return r.retention().Run(ctx) })
	}
	if r.Config.Backup.URL != "" && !r.Safe {
		group.Go(func() error { return r.uploader.Run(ctx) })
	}
	if r.feeds != nil {
		group.Go(func() error { return r.runCounters(ctx) })
	}
	if r.Metrics != nil {
		group.Go(func() error { return metrics.Serve(ctx, r.Metrics, r.figures) })
	}
	err = group.Wait()
	r.drain()
	stopUplink()
	return errors.Join(err, sent.Wait())
}

// drainTime is how long a clean stop waits for the cloud to acknowledge the
// last records. What is left then goes out after the next start.
const drainTime = 1500 * time.Millisecond

func (r *run) drain() {
	for deadline := time.Now().Add(drainTime); time.Now().Before(deadline) && r.outbox.Stats().Records > 0; {
		<-time.After(20 * time.Millisecond)
	}
}

func (r *run) retention() *footage.Retention {
	return &footage.Retention{
		Dir: filepath.Join(r.Config.Data, FootageDir), Store: r.Config.Store, Edge: r.Config.Edge, Key: r.key,
		MaxBytes: int64(r.Config.Footage.MaxBytes), MaxAge: r.Config.Footage.MaxAge, Log: r.Log,
		Holds: r.uploader.Claims, Wanted: r.uploader, Clock: r.clock, Pulse: r.dog.Pulse("retention"),
	}
}

// append stores records durably. A record that cannot be encoded is our own
// mistake and is logged; the others must not wait for it.
func (r *run) append(recs ...floorwatch.Record) error {
	encoded := make([]floorwatch.Encoded, 0, len(recs))
	for _, rec := range recs {
		r.clock.Mark(rec)
		b, err := floorwatch.MarshalRecord(rec)
		if err != nil {
			r.Log.Error("record left out", "err", err)
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
	r.meters.stored(recs)
	r.account(encoded)
	return nil
}

// account writes what became durable to the ledger, if there is one.
func (r *run) account(recs []floorwatch.Encoded) {
	if r.Ledger == nil {
		return
	}
	r.ledger.Lock()
	defer r.ledger.Unlock()
	if _, err := r.Ledger.Write(append(bytes.Join(asBytes(recs), []byte("\n")), '\n')); err != nil {
		r.Log.Error("ledger not written", "err", err)
	}
}

func asBytes(recs []floorwatch.Encoded) [][]byte {
	out := make([][]byte, len(recs))
	for i, r := range recs {
		out[i] = r.JSON
	}
	return out
}

// writer appends records in their order without making the camera wait for the
// disk: what cannot be stored now is kept and tried again.
type writer struct {
	append func(recs ...floorwatch.Record) error
	log    *slog.Logger
	pulse  *watchdog.Pulse

	mu      sync.Mutex
	queue   []floorwatch.Record
	wake    chan struct{}
	dropped int
}

// maxQueued bounds the records that wait for a disk that does not take them.
const maxQueued = 10000

func newWriter(appendTo func(...floorwatch.Record) error, pulse *watchdog.Pulse, log *slog.Logger) *writer {
	return &writer{append: appendTo, pulse: pulse, log: log, wake: make(chan struct{}, 1)}
}

func (w *writer) add(recs ...floorwatch.Record) {
	if len(recs) == 0 {
		return
	}
	w.mu.Lock()
	w.queue = append(w.queue, recs...)
	if over := len(w.queue) - maxQueued; over > 0 {
		w.queue = append(w.queue[:0], w.queue[over:]...)
		w.dropped += over
		w.log.Error("records given up, the disk does not take them", "records", over, "in_all", w.dropped)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run stores what is added until ctx ends, and then what is left, once.
func (w *writer) run(ctx context.Context) {
	for {
		w.pulse.Rest()
		select {
		case <-ctx.Done():
			_ = w.flush()
			return
		case <-w.wake:
		}
		w.pulse.Beat()
		for err := w.flush(); err != nil; err = w.flush() {
			w.log.Error("records wait, the outbox does not take them", "err", err)
			w.pulse.Beat()
			select {
			case <-ctx.Done():
				_ = w.flush()
				return
			case <-time.After(time.Second):
			}
		}
	}
}

func (w *writer) flush() error {
	w.mu.Lock()
	recs := w.queue
	w.queue = nil
	w.mu.Unlock()
	if len(recs) == 0 {
		return nil
	}
	err := w.append(recs...)
	if err != nil {
		w.mu.Lock()
		w.queue = append(recs, w.queue...)
		w.mu.Unlock()
	}
	return err
}

func (r *run) newUplink() (*uplink.Uplink, error) {
	return uplink.New(uplink.Settings{
		Broker: r.Broker.URL, Username: r.Broker.Username, Password: r.Broker.Password, TLS: r.Broker.TLS,
		Store: r.Config.Store, Edge: r.Config.Edge, Version: floorwatch.BuildVersion, Log: r.Log,
		Outbox: r.outbox, OutboxID: r.outbox.Log, Changed: r.outbox.Changed(),
		Command: r.uploader.Command, Pulse: r.dog.Pulse("uplink"),
	})
}
