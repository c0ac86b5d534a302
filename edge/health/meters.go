package health

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/metrics"
)

// Meters count what passes through the agent, camera by camera, since its start.
type Meters struct {
	began   time.Time
	cameras []*Camera // in the order of the configuration
}

// NewMeters returns the meters of the named cameras.
func NewMeters(cameras ...string) *Meters {
	m := &Meters{began: time.Now()}
	for _, name := range cameras {
		m.cameras = append(m.cameras, &Camera{name: name, began: m.began, gaps: map[string]gaps{floorwatch.OfFootage: {}, floorwatch.OfObservation: {}}})
	}
	return m
}

// Camera returns a camera's meter, nil for one that the meters do not know.
func (m *Meters) Camera(name string) *Camera {
	if i := slices.IndexFunc(m.cameras, func(c *Camera) bool { return c.name == name }); i >= 0 {
		return m.cameras[i]
	}
	return nil
}

// Stored books records that became durable.
func (m *Meters) Stored(recs []floorwatch.Record) {
	for _, rec := range recs {
		if c := m.Camera(rec.Head().Camera); c != nil {
			c.stored(rec)
		}
	}
}

// Figures returns those of all cameras together, and of each.
func (m *Meters) Figures() []Figure {
	watching := 0
	var each []Figure
	for _, c := range m.cameras {
		if c.isWatched() {
			watching++
		}
		each = append(each, c.metered()...)
	}
	return append([]Figure{
		{Name: floorwatch.FigureUptime, Value: time.Since(m.began).Seconds()},
		{Name: floorwatch.FigureCameras, Value: float64(len(m.cameras))},
		{Name: floorwatch.FigureCamerasWatching, Value: float64(watching)},
	}, each...)
}

// Camera is one camera's meter.
type Camera struct {
	name  string
	began time.Time

	mu       sync.Mutex
	frames   uint64
	last     time.Time // when the newest frame came; zero: none yet
	opens    uint64
	closes   uint64 // the source or its worker ended, or the source stalled
	sizes    uint64 // the picture changed its size
	setBack  uint64 // the clock was set back
	watching bool
	coverage float64 // of the newest interval
	gaps     map[string]gaps
	segments uint64
	bytes    int64         // of those segments
	picture  string        // what is wrong with it, of floorwatch's words; "": nothing
	gop      time.Duration // how far key frames are apart; 0: not too far
	maxGOP   time.Duration // how far they may be
}

// gaps are added up.
type gaps struct {
	n       uint64
	seconds float64
}

// Line counts a camera line.
func (c *Camera) Line(f floorwatch.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// SizeChanged books that the picture is not of the size that it was.
func (c *Camera) SizeChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes++
}

// ClockSetBack books that the stamps have to be carried on.
func (c *Camera) ClockSetBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setBack++
}

// SetPicture books what is wrong with the picture, "" for nothing; false when
// that was known.
func (c *Camera) SetPicture(wrong string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.picture == wrong
	c.picture = wrong
	return !known
}

// SetGOP books how far key frames are apart, 0: not too far, and how far they may
// be at most.
func (c *Camera) SetGOP(apart, most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gop, c.maxGOP = apart, most
}

func (c *Camera) stored(rec floorwatch.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r := rec.(type) {
	case *floorwatch.Interval:
		c.coverage = r.Coverage
	case *floorwatch.Gap:
		if r.To != nil {
			g := c.gaps[r.Of]
			c.gaps[r.Of] = gaps{g.n + 1, g.seconds + r.To.Sub(r.From).Seconds()}
		}
	case *floorwatch.Segment:
		c.segments++
		c.bytes += r.Bytes
	}
}

func (c *Camera) isWatched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watching
}

// frameAge is how long ago the newest frame came, in seconds; before the first,
// since the start. The caller holds the lock.
func (c *Camera) frameAge() float64 {
	if c.last.IsZero() {
		return time.Since(c.began).Seconds()
	}
	return time.Since(c.last).Seconds()
}

// Record returns the camera's health record.
func (c *Camera) Record(now floorwatch.Time) *floorwatch.Health {
	figures := c.metered()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Record(now, c.name, figures, c.notes())
}

// metered returns the camera's figures.
func (c *Camera) metered() []Figure {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := func(name floorwatch.Figure, metric string, n uint64) Figure {
		return Figure{Name: name, Metric: metric, Counter: true, Value: float64(n)}
	}
	out := []Figure{
		{Name: floorwatch.FigureWatching, Metric: "floorwatch_camera_watching", Value: metrics.Flag(c.watching)},
		{Name: floorwatch.FigureFrameAge, Metric: "floorwatch_camera_frame_age_seconds", Value: c.frameAge()},
		count(floorwatch.FigureFrames, "floorwatch_camera_frames_total", c.frames),
		count(floorwatch.FigureOpens, "floorwatch_camera_opens_total", c.opens),
		count(floorwatch.FigureCloses, "floorwatch_camera_closes_total", c.closes),
		{Metric: "floorwatch_camera_size_changes_total", Help: "Times that the picture was not of the size that it was before.", Counter: true, Value: float64(c.sizes)},
		{Metric: "floorwatch_camera_clock_set_back_total", Help: "Times that the clock was set back, and stamps carried on until it caught up.", Counter: true, Value: float64(c.setBack)},
		{Name: floorwatch.FigureCoverage, Metric: "floorwatch_camera_coverage", Value: c.coverage},
		{Metric: "floorwatch_camera_picture_wrong", Help: "1: the picture is black, covered or frozen.", Value: metrics.Flag(c.picture != "")},
		{Name: floorwatch.FigurePictureBlank, Value: metrics.Flag(c.picture == floorwatch.PictureBlank)},
		{Name: floorwatch.FigurePictureFrozen, Value: metrics.Flag(c.picture == floorwatch.PictureFrozen)},
		{Name: floorwatch.FigureGOP, Metric: "floorwatch_camera_gop_seconds", Value: c.gop.Seconds()},
		count(floorwatch.FigureSegments, "floorwatch_segments_total", c.segments),
		{Metric: "floorwatch_segment_bytes_total", Help: "Bytes of those files.", Counter: true, Value: float64(c.bytes)},
	}
	for i := range out {
		out[i].Labels = []Label{{"camera", c.name}}
	}
	return append(out, append(c.meteredGaps(floorwatch.OfFootage, floorwatch.FigureFootageGap),
		c.meteredGaps(floorwatch.OfObservation, floorwatch.FigureObservationGap)...)...)
}

func (c *Camera) meteredGaps(of string, name floorwatch.Figure) []Figure {
	labels := []Label{{"camera", c.name}, {"of", of}}
	return []Figure{
		{Metric: "floorwatch_gaps_total", Help: "Times without footage or observation.", Counter: true, Value: float64(c.gaps[of].n), Labels: labels},
		{Name: name, Metric: "floorwatch_gap_seconds_total", Help: "Their length together.", Counter: true, Value: c.gaps[of].seconds, Labels: labels},
	}
}

// PictureNotes say what is wrong with a camera's picture, and what to do.
var PictureNotes = map[string]string{
	floorwatch.PictureBlank:  "the picture is black, or covered: look whether something hangs over the lens, and whether there is light",
	floorwatch.PictureFrozen: "the picture has not changed at all for 20 s: restart the camera",
}

// notes says in words what is wrong. The caller holds the lock.
func (c *Camera) notes() []string {
	var out []string
	if text := PictureNotes[c.picture]; text != "" {
		out = append(out, text)
	}
	if c.gop > 0 {
		out = append(out, fmt.Sprintf("key frames are %.1f s apart, so a power cut takes up to %.0f s of footage: set the camera's I-frame interval to %.0f s at most",
			c.gop.Seconds(), c.gop.Seconds()+1, c.maxGOP.Seconds()))
	}
	return out
}
