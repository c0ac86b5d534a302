package edge

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"floorwatch/edge/counter"
	"floorwatch/edge/upload"
	"floorwatch/internal/access"
	"floorwatch/internal/metrics"

	"golang.org/x/sync/errgroup"
)

// claimsFile lists what the cloud holds and asks for, below the data folder.
const claimsFile = "claims.json"

// newUploader returns what answers the cloud's commands about footage and, where
// the configuration names a vault, uploads to it.
func (r *run) newUploader() (*upload.Uploader, error) {
	b := r.Config.Backup
	claims, err := upload.OpenClaims(filepath.Join(r.Config.Data, claimsFile))
	if err != nil {
		r.Log.Warn("hold list unreadable: starting empty, the cloud resends it", "err", err)
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
		Dir: filepath.Join(r.Config.Data, FootageDir), Store: r.Config.Store, Edge: r.Config.Edge,
		URL: b.URL, Key: r.key, Policy: upload.Policy(b.Policy), Night: night, Lead: b.Lead, Tail: b.Tail,
		BytesPerSec: int64(b.BytesPerSec), BytesPerDay: int64(b.BytesPerDay), Claims: claims, Clock: r.clock,
		Client: &http.Client{Transport: transport}, Log: r.Log, Pulse: r.dog.Pulse("uploads"),
	}, nil
}

// runCounters takes the feeds of people counters in until ctx ends.
func (r *run) runCounters(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.feeds.Run(ctx) })
	group.Go(func() error {
		tick := time.NewTicker(liveEvery)
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
		Config: r.Config.Counters, Dir: r.Config.Data, Every: r.Config.Interval,
		ClientID: "floorwatch-counters-" + r.Config.Store + "-" + r.Config.Edge, Emit: r.append, Log: r.Log,
		Now: r.clock.Time, Pulse: r.dog.Pulse("counters"),
	})
}

// backupFigures are those of the uploads.
func (r *run) backupFigures() []metrics.Figure {
	s := r.uploader.Stats()
	return []metrics.Figure{
		metrics.Gauge("floorwatch_upload_wanted", "Pieces of footage that the vault is to have and has not confirmed.", float64(s.Wanted)),
		metrics.Gauge("floorwatch_upload_wanted_bytes", "Bytes of those.", float64(s.WantedBytes)),
		metrics.Counter("floorwatch_upload_pieces_total", "Pieces that the vault confirmed.", float64(s.Uploaded)),
		metrics.Counter("floorwatch_upload_bytes_total", "Bytes sent to the vault.", float64(s.Bytes)),
		metrics.Gauge("floorwatch_upload_today_bytes", "Bytes of the day's budget that are spent.", float64(s.Today)),
		metrics.Counter("floorwatch_upload_faults_total", "Uploads that failed and are tried again.", float64(s.Faults)),
	}
}

// counterFigures are those of the people counters, one sample each.
func (r *run) counterFigures() []metrics.Figure {
	if r.feeds == nil {
		return nil
	}
	stats := r.feeds.Stats()
	figure := func(name, help string, isCounter bool, value func(counter.DeviceStats) float64) metrics.Figure {
		f := metrics.Figure{Name: name, Help: help, Counter: isCounter, Labels: []string{"device"}}
		for _, s := range stats {
			f.Samples = append(f.Samples, metrics.Sample{Value: value(s), Labels: []string{s.Device}})
		}
		return f
	}
	return []metrics.Figure{
		figure("floorwatch_counter_messages_total", "Messages that could be read.", true, func(s counter.DeviceStats) float64 { return float64(s.Messages) }),
		figure("floorwatch_counter_items_total", "Numbers that counted.", true, func(s counter.DeviceStats) float64 { return float64(s.Items) }),
		figure("floorwatch_counter_repeated_total", "Numbers said before.", true, func(s counter.DeviceStats) float64 { return float64(s.Repeated) }),
		figure("floorwatch_counter_refused_total", "Numbers and messages that cannot be true.", true, func(s counter.DeviceStats) float64 { return float64(s.Refused) }),
		figure("floorwatch_counter_limited_total", "Messages over the rate.", true, func(s counter.DeviceStats) float64 { return float64(s.Limited) }),
		figure("floorwatch_counter_resets_total", "Resets of registers.", true, func(s counter.DeviceStats) float64 { return float64(s.Resets) }),
		figure("floorwatch_counter_clock_faults_total", "Messages whose stamps were not believed.", true, func(s counter.DeviceStats) float64 { return float64(s.ClockFaults) }),
		figure("floorwatch_counter_skew_seconds", "Our clock less the device's.", false, func(s counter.DeviceStats) float64 { return s.SkewS }),
	}
}
