package health

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/internal/child"
	"floorwatch/internal/metrics"
	"floorwatch/internal/watchdog"
)

const (
	// firstAfter is how soon after the start the first records come, and Every the
	// time between two.
	firstAfter = 10 * time.Second
	every      = time.Minute
)

// Report appends the box's word about itself once a minute, and the first soon
// after the start: one record without a camera, and one for each camera. All
// fields but Notes, Log and Pulse are required.
type Report struct {
	Data    string // folder, whose disk is told of
	Footage string // folder below it; its files are counted
	Meters  *Meters
	Other   func() []Figure // what this package cannot know
	Clock   *clock.Clock
	Store   func(recs ...floorwatch.Record) error
	AtOnce  bool     // begin after a second: what is wrong may be all that is ever told
	Notes   []string // about the box
	Log     *slog.Logger
	Pulse   *watchdog.Pulse

	footage atomic.Int64 // bytes, as last counted
}

// Run reports until ctx ends.
func (r *Report) Run(ctx context.Context) error {
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	first := firstAfter
	if r.AtOnce {
		first = time.Second
	}
	next := time.NewTimer(first)
	defer next.Stop()
	for {
		r.Pulse.Beat()
		r.footage.Store(r.countFootage(ctx))
		r.Pulse.Rest()
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		r.Pulse.Beat()
		if err := r.Store(r.records()...); err != nil {
			log.Error("health record not stored", "error", err)
		}
		next.Reset(every)
	}
}

func (r *Report) records() []floorwatch.Record {
	now := r.Clock.Time()
	var own []Figure // without those of cameras and devices
	for _, f := range r.Figures() {
		if len(f.Labels) == 0 {
			own = append(own, f)
		}
	}
	recs := []floorwatch.Record{Record(now, "", own, r.Notes)}
	for _, c := range r.Meters.cameras {
		recs = append(recs, c.Record(now))
	}
	return recs
}

// Figures returns all that is known of the box at this moment.
func (r *Report) Figures() []Figure {
	free, size := diskSpace(r.Data)
	out := append(r.Other(),
		Figure{Name: floorwatch.FigureFootageBytes, Metric: "floorwatch_footage_bytes", Value: float64(r.footage.Load())},
		Figure{Name: floorwatch.FigureDiskFreeBytes, Metric: "floorwatch_disk_free_bytes", Value: free},
		Figure{Name: floorwatch.FigureDiskBytes, Metric: "floorwatch_disk_bytes", Value: size},
		Figure{Name: floorwatch.FigureClockSynced, Metric: "floorwatch_clock_synced", Value: metrics.Flag(clock.System().Synced)},
		Figure{Name: floorwatch.FigureGoroutines, Value: float64(runtime.NumGoroutine())},
		Figure{Name: floorwatch.FigureMemoryBytes, Value: float64(child.Resident(os.Getpid()))},
	)
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		out = append(out, Figure{Name: floorwatch.FigureOpenFiles, Value: float64(len(open))})
	}
	if offset, ok := clock.Offset(); ok {
		out = append(out, Figure{Name: floorwatch.FigureClockOffset, Value: offset.Seconds()})
	}
	return append(out, r.Meters.Figures()...)
}

// diskSpace returns the bytes that an ordinary process may still write to the
// disk of dir, and the size of that disk; 0, 0 when it does not answer.
func diskSpace(dir string) (free, size float64) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, 0
	}
	return float64(st.Bavail) * float64(st.Bsize), float64(st.Blocks) * float64(st.Bsize)
}

// countFootage adds up the recorded files; a folder that changes meanwhile, as
// retention works in it, is counted as far as it goes.
func (r *Report) countFootage(ctx context.Context) (bytes int64) {
	_ = filepath.WalkDir(r.Footage, func(path string, d fs.DirEntry, err error) error {
		r.Pulse.Beat()
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".mp4") {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return ctx.Err()
	})
	return bytes
}
