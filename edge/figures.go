package edge

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/trail"
	"floorwatch/internal/child"
	"floorwatch/internal/metrics"
	"floorwatch/internal/watchdog"

	"golang.org/x/sys/unix"
)

// meters count what passes through the agent, camera by camera, since its start.
type meters struct {
	began time.Time

	mu      sync.Mutex
	names   []string // of the cameras, in the order of the configuration
	cameras map[string]*meter
	footage int64 // bytes of footage on disk, as last counted
}

// meter is one camera's.
type meter struct {
	frames   uint64
	last     time.Time // when the newest frame came; zero: none yet
	opens    uint64
	closes   uint64 // the source or its worker ended, or the source stalled
	sizes    uint64 // the picture changed its size
	setBack  uint64 // the clock was set back
	watching bool
	coverage float64 // of the newest interval
	gaps     map[string]span
	segments uint64
	bytes    int64         // of those segments
	picture  string        // what is wrong with it, of floorwatch's words; "": nothing
	gop      time.Duration // how far key frames are apart; 0: not too far
}

// span adds up gaps.
type span struct {
	n       uint64
	seconds float64
}

func newMeters(cameras []Camera) *meters {
	m := &meters{began: time.Now(), cameras: map[string]*meter{}}
	for _, c := range cameras {
		m.names = append(m.names, c.Name)
		m.cameras[c.Name] = &meter{gaps: map[string]span{floorwatch.OfFootage: {}, floorwatch.OfObservation: {}}}
	}
	return m
}

// meteredTrail is the trail, through which every camera line passes.
type meteredTrail struct {
	*trail.Trail
	meters *meters
}

// Append counts a line and keeps it.
func (t meteredTrail) Append(camera string, at floorwatch.Time, line []byte) error {
	t.meters.line(camera, line)
	return t.Trail.Append(camera, at, line)
}

func (m *meters) line(camera string, line []byte) {
	f, err := floorwatch.ParseFrame(line)
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.cameras[camera]
	if err != nil || !ok {
		return
	}
	switch f.Event {
	case "":
		c.frames++
		c.last, c.watching = time.Now(), true
	case floorwatch.EventOpen:
		c.opens++
	case floorwatch.EventClosed, floorwatch.EventStall:
		c.closes++
		c.watching = false
	}
}

// sizeChanged books that a camera's picture is not of the size that it was.
func (m *meters) sizeChanged(camera string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.cameras[camera]; ok {
		c.sizes++
	}
}

// clockSetBack books that a camera's stamps have to be carried on.
func (m *meters) clockSetBack(camera string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.cameras[camera]; ok {
		c.setBack++
	}
}

// stored books records that became durable.
func (m *meters) stored(recs []floorwatch.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rec := range recs {
		switch r := rec.(type) {
		case *floorwatch.Interval:
			if c, ok := m.cameras[r.Camera]; ok {
				c.coverage = r.Coverage
			}
		case *floorwatch.Gap:
			m.gap(r)
		case *floorwatch.Segment:
			m.segment(r)
		}
	}
}

func (m *meters) gap(g *floorwatch.Gap) {
	if c, ok := m.cameras[g.Camera]; ok && g.To != nil {
		s := c.gaps[g.Of]
		c.gaps[g.Of] = span{s.n + 1, s.seconds + g.To.Sub(g.From).Seconds()}
	}
}

func (m *meters) segment(s *floorwatch.Segment) {
	if c, ok := m.cameras[s.Camera]; ok {
		c.segments++
		c.bytes += s.Bytes
	}
}

// frameAge is how long ago the newest frame came, in seconds; before the first,
// since the start. The caller holds the lock.
func (m *meters) frameAge(c *meter) float64 {
	if c.last.IsZero() {
		return time.Since(m.began).Seconds()
	}
	return time.Since(c.last).Seconds()
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
func countFootage(ctx context.Context, dir string, pulse *watchdog.Pulse) (bytes int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		pulse.Beat()
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".mp4") {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return ctx.Err()
	})
	return bytes
}

// healthEvery is the time between two health records.
const healthEvery = time.Minute

// reportHealth appends the box's word about itself once a minute, and the first
// soon after the start.
func (r *run) reportHealth(ctx context.Context) {
	first := 10 * time.Second
	if r.Safe {
		first = time.Second // what is wrong may be all that it will say
	}
	next := time.NewTimer(first)
	defer next.Stop()
	pulse := r.dog.Pulse("health")
	for {
		pulse.Beat()
		bytes := countFootage(ctx, filepath.Join(r.Config.Data, FootageDir), pulse)
		r.meters.mu.Lock()
		r.meters.footage = bytes
		r.meters.mu.Unlock()
		pulse.Rest()
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		pulse.Beat()
		if err := r.append(r.health()...); err != nil {
			r.Log.Error("health record not stored", "err", err)
		}
		next.Reset(healthEvery)
	}
}

// health returns the box's word about itself: one record without a camera, and
// one for each camera. docs/health.md lists the figures.
func (r *run) health() []floorwatch.Record {
	now, m := r.clock.Time(), r.meters
	box := healthRecord(now, "", r.boxHealth(now))
	box.Notes = r.Notes
	recs := []floorwatch.Record{box}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.names {
		recs = append(recs, m.health(now, name))
	}
	return recs
}

func healthRecord(now floorwatch.Time, camera string, figures map[string]float64) *floorwatch.Health {
	return &floorwatch.Health{
		Header:  floorwatch.Header{Kind: floorwatch.KindHealth, Camera: camera, ID: fmt.Sprintf("health-%d", now), At: now},
		Figures: figures,
	}
}

// health returns the word about one camera. The caller holds the lock.
func (m *meters) health(now floorwatch.Time, name string) *floorwatch.Health {
	c := m.cameras[name]
	h := healthRecord(now, name, map[string]float64{
		"watching": metrics.Flag(c.watching), "frame_age_s": m.frameAge(c), "frames": float64(c.frames),
		"opens": float64(c.opens), "closes": float64(c.closes), "coverage": c.coverage,
		"footage_gap_s":     c.gaps[floorwatch.OfFootage].seconds,
		"observation_gap_s": c.gaps[floorwatch.OfObservation].seconds,
		"segments":          float64(c.segments),
		"picture_blank":     metrics.Flag(c.picture == floorwatch.PictureBlank),
		"picture_frozen":    metrics.Flag(c.picture == floorwatch.PictureFrozen),
		"gop_s":             c.gop.Seconds(),
	})
	h.Notes = c.notes()
	return h
}

func (r *run) boxHealth(now floorwatch.Time) map[string]float64 {
	out, up := r.outbox.Stats(), r.uplink.Stats()
	free, size := diskSpace(r.Config.Data)
	uploads := r.uploader.Stats()
	figures := map[string]float64{
		"uptime_s":        time.Since(r.meters.began).Seconds(),
		"backlog_records": float64(out.Records), "outbox_bytes": float64(out.Bytes),
		"dropped_records": float64(out.Dropped), "lost_records": float64(out.Lost),
		"backlog_s": 0, "online_s": 0, "connects": float64(up.Connects), "resent_batches": float64(up.Resent),
		"disk_free_bytes": free, "disk_bytes": size,
		"clock_synced":    metrics.Flag(clock.System().Synced),
		"uploads_waiting": float64(uploads.Wanted), "uploads_waiting_bytes": float64(uploads.WantedBytes),
		"safe_mode": metrics.Flag(r.Safe), "crashes": float64(r.Crashes),
		"goroutines": float64(runtime.NumGoroutine()), "memory_bytes": float64(child.Resident(os.Getpid())),
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		figures["open_files"] = float64(len(open))
	}
	if offset, ok := clockOffset(); ok {
		figures["clock_offset_s"] = offset.Seconds()
	}
	if out.Oldest > 0 {
		figures["backlog_s"] = max(0, now.Sub(out.Oldest).Seconds())
	}
	if !up.Since.IsZero() {
		figures["online_s"] = time.Since(up.Since).Seconds()
	}
	m := r.meters
	m.mu.Lock()
	defer m.mu.Unlock()
	watching := 0
	for _, c := range m.cameras {
		if c.watching {
			watching++
		}
	}
	figures["cameras"], figures["cameras_watching"] = float64(len(m.cameras)), float64(watching)
	figures["footage_bytes"] = float64(m.footage)
	return figures
}

// clockOffset is how far the kernel holds its clock to be off, where a time
// server disciplines it.
func clockOffset() (time.Duration, bool) {
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err != nil || state == unix.TIME_ERROR {
		return 0, false
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	return time.Duration(t.Offset) * unit, true
}

// figures returns what /metrics shows.
func (r *run) figures() []metrics.Figure {
	out, up := r.outbox.Stats(), r.uplink.Stats()
	free, size := diskSpace(r.Config.Data)
	var oldest float64
	if out.Oldest > 0 {
		oldest = max(0, r.clock.Time().Sub(out.Oldest).Seconds())
	}
	r.meters.mu.Lock()
	kept := float64(r.meters.footage)
	r.meters.mu.Unlock()
	return slices.Concat([]metrics.Figure{
		{
			Name: "floorwatch_edge_info", Help: "1, with who and what this box is.", Labels: []string{"store", "edge", "version"},
			Samples: []metrics.Sample{{Value: 1, Labels: []string{r.Config.Store, r.Config.Edge, floorwatch.BuildVersion}}},
		},
		metrics.Gauge("floorwatch_outbox_records", "Records that the cloud has not acknowledged.", float64(out.Records)),
		metrics.Gauge("floorwatch_outbox_bytes", "Size of the outbox on disk.", float64(out.Bytes)),
		metrics.Gauge("floorwatch_outbox_max_bytes", "Budget of the outbox.", float64(r.Config.Outbox.MaxBytes)),
		metrics.Gauge("floorwatch_outbox_oldest_seconds", "Age of the oldest record not acknowledged; 0: none.", oldest),
		metrics.Counter("floorwatch_outbox_appended_total", "Records made durable since the start.", float64(out.Appended)),
		metrics.Counter("floorwatch_outbox_dropped_total", "Records given up because the budget was spent.", float64(out.Dropped)),
		metrics.Counter("floorwatch_outbox_lost_total", "Records lost to damage.", float64(out.Lost)),
		metrics.Counter("floorwatch_outbox_faults_total", "Writes that failed, after which a new log was begun.", float64(out.Faults)),
		metrics.Gauge("floorwatch_uplink_connected", "1 while the broker is connected.", metrics.Flag(!up.Since.IsZero())),
		metrics.Gauge("floorwatch_uplink_in_flight", "Batches sent and not acknowledged.", float64(up.InFlight)),
		metrics.Counter("floorwatch_uplink_connects_total", "Connections made to the broker.", float64(up.Connects)),
		metrics.Counter("floorwatch_uplink_batches_total", "Batches sent for the first time in a session.", float64(up.Batches)),
		metrics.Counter("floorwatch_uplink_resent_total", "Batches sent again within a session.", float64(up.Resent)),
		metrics.Counter("floorwatch_uplink_acked_records_total", "Records that the cloud acknowledged.", float64(up.Acked)),
		metrics.Counter("floorwatch_uplink_ignored_acks_total", "Acknowledgements that were not believed.", float64(up.Ignored)),
		metrics.Gauge("floorwatch_footage_bytes", "Recorded footage on disk, counted once a minute.", kept),
		metrics.Gauge("floorwatch_disk_free_bytes", "Free on the disk of the data folder.", free),
		metrics.Gauge("floorwatch_disk_bytes", "Size of the disk of the data folder.", size),
		metrics.Gauge("floorwatch_safe_mode", "1 while the box only reports, because it crashed again and again.", metrics.Flag(r.Safe)),
		metrics.Gauge("floorwatch_crashes", "Runs before this one that crashed, in a row.", float64(r.Crashes)),
		metrics.Gauge("floorwatch_stuck_parts", "Loops of this program that have work and stand still; the service manager restarts it.", float64(len(r.dog.Stuck()))),
		metrics.Gauge("floorwatch_clock_synced", "1 while the kernel holds the clock for synchronised.", metrics.Flag(clock.System().Synced)),
	}, r.meters.figures(), r.backupFigures(), r.counterFigures())
}

// figures returns those with a label for the camera.
func (m *meters) figures() []metrics.Figure {
	m.mu.Lock()
	defer m.mu.Unlock()
	figure := func(name, help string, counter bool, value func(*meter) float64) metrics.Figure {
		f := metrics.Figure{Name: name, Help: help, Counter: counter, Labels: []string{"camera"}}
		for _, n := range m.names {
			f.Samples = append(f.Samples, metrics.Sample{Value: value(m.cameras[n]), Labels: []string{n}})
		}
		return f
	}
	gaps := metrics.Figure{Name: "floorwatch_gaps_total", Help: "Spans without footage or observation.", Counter: true, Labels: []string{"camera", "of"}}
	gapS := metrics.Figure{Name: "floorwatch_gap_seconds_total", Help: "Their length together.", Counter: true, Labels: gaps.Labels}
	for _, n := range m.names {
		for of, s := range m.cameras[n].gaps {
			gaps.Samples = append(gaps.Samples, metrics.Sample{Value: float64(s.n), Labels: []string{n, of}})
			gapS.Samples = append(gapS.Samples, metrics.Sample{Value: s.seconds, Labels: []string{n, of}})
		}
	}
	return []metrics.Figure{
		figure("floorwatch_camera_watching", "1 while frames come.", false, func(c *meter) float64 { return metrics.Flag(c.watching) }),
		figure("floorwatch_camera_frame_age_seconds", "Time since the newest frame; before the first, since the start.", false, m.frameAge),
		figure("floorwatch_camera_frames_total", "Frames analysed.", true, func(c *meter) float64 { return float64(c.frames) }),
		figure("floorwatch_camera_opens_total", "Times that the source was opened.", true, func(c *meter) float64 { return float64(c.opens) }),
		figure("floorwatch_camera_closes_total", "Times that the source or its worker ended or stalled.", true, func(c *meter) float64 { return float64(c.closes) }),
		figure("floorwatch_camera_size_changes_total", "Times that the picture was not of the size that it was before.", true, func(c *meter) float64 { return float64(c.sizes) }),
		figure("floorwatch_camera_clock_set_back_total", "Times that the clock was set back, and stamps carried on until it caught up.", true, func(c *meter) float64 { return float64(c.setBack) }),
		figure("floorwatch_camera_coverage", "Share of the newest interval that was observed.", false, func(c *meter) float64 { return c.coverage }),
		figure("floorwatch_camera_picture_wrong", "1 while the picture is black, covered or frozen.", false, func(c *meter) float64 { return metrics.Flag(c.picture != "") }),
		figure("floorwatch_camera_gop_seconds", "How far key frames are apart, where that is more than 2 s.", false, func(c *meter) float64 { return c.gop.Seconds() }),
		figure("floorwatch_segments_total", "Footage files sealed.", true, func(c *meter) float64 { return float64(c.segments) }),
		figure("floorwatch_segment_bytes_total", "Bytes of those.", true, func(c *meter) float64 { return float64(c.bytes) }),
		gaps, gapS,
	}
}
