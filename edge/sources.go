package edge

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"floorwatch/edge/counter"
	"floorwatch/edge/footage"
	"floorwatch/edge/pipeline"
	"floorwatch/edge/upload"
	"floorwatch/internal/access"

	"golang.org/x/sync/errgroup"
)

// claimsFile lists what the cloud holds and asks for, below the data folder.
const claimsFile = "claims.json"

// newUploader returns what answers the cloud's commands about footage and, where
// the configuration names a vault, uploads to it.
func (r *run) newUploader() (*upload.Uploader, error) {
	b := r.cfg.Backup
	claims, err := upload.OpenClaims(filepath.Join(r.cfg.Data, claimsFile))
	if err != nil {
		r.log.Warn("hold list unreadable: starting empty, the cloud resends it", "error", err)
	}
	night, err := b.hours()
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	trust, err := access.Trust(b.CA)
	if err != nil {
		return nil, fmt.Errorf("backup.ca: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trust
	return &upload.Uploader{
		Dir: r.footageDir(), Store: r.cfg.Store, Edge: r.cfg.Edge,
		URL: b.URL, Key: r.key, Policy: upload.Policy(b.Policy), Night: night, Lead: b.Lead, Tail: b.Tail,
		BytesPerSec: int64(b.BytesPerSec), BytesPerDay: int64(b.BytesPerDay), Claims: claims, Clock: r.clock,
		Lines: r.trail.Lines, Client: &http.Client{Transport: transport}, Log: r.log, Pulse: r.dog.Pulse("uploads"),
	}, nil
}

// runCounters takes the feeds of people counters in until ctx ends.
func (r *run) runCounters(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.feeds.Run(ctx) })
	group.Go(func() error {
		tick := time.NewTicker(pipeline.LiveEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			for _, l := range r.feeds.Live() {
				r.uplink.PublishLive(l)
			}
		}
	})
	return group.Wait()
}

func (r *run) newCounters() (*counter.Feeds, error) {
	return counter.New(counter.Settings{
		Config: r.cfg.Counters, Dir: r.cfg.Data, Every: r.cfg.Interval,
		ClientID: "floorwatch-counters-" + r.cfg.Store + "-" + r.cfg.Edge, Emit: r.store, Log: r.log,
		Now: r.clock.Time, Pulse: r.dog.Pulse("counters"),
	})
}

func (r *run) newRetention() *footage.Retention {
	return &footage.Retention{
		Dir: r.footageDir(), Store: r.cfg.Store, Edge: r.cfg.Edge, Key: r.key,
		MaxBytes: int64(r.cfg.Footage.MaxBytes), MaxAge: r.cfg.Footage.MaxAge, Log: r.log,
		Holds: r.uploader.Claims, Wanted: r.uploader, Clock: r.clock, Pulse: r.dog.Pulse("retention"),
	}
}
