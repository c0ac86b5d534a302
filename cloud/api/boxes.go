package api

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"

	"golang.org/x/sync/errgroup"
)

// HealthFigures is what Figures may be besides: the newest health record of each
// camera, and of the box itself, in [From, To), as Figures promises for its
// records. Without it /api/boxes knows only what came since this program began.
type HealthFigures interface {
	Health(ctx context.Context, q influx.Query) ([]floorwatch.Health, error)
}

// What may be wrong with a box.
const (
	troubleNever   = "never"   // it has never been heard of
	troubleOffline = "offline" // its connection broke
	troubleSilent  = "silent"  // online, but it says nothing of itself
	troubleCamera  = "camera"  // a camera gives no pictures
	troubleSafe    = "safe"    // it crashed again and again, and only reports
	troubleShort   = "short"   // it delivers less than its cameras and the opening hours ask for
	troubleLost    = "lost"    // it had to give up records
	troubleDisk    = "disk"    // less is free than it may ever use
	troubleStopped = "stopped" // someone stopped it
	troubleClock   = "clock"   // not synchronised, or off
	troubleBacklog = "backlog" // the cloud lags behind it
	troubleGap     = "gap"     // it missed more of today than restarts explain
)

// troubles are all of them, worst first; from firstWarning on they can wait.
var troubles = []string{
	troubleNever, troubleOffline, troubleSilent, troubleSafe, troubleLost, troubleDisk, troubleCamera, troubleShort,
	troubleStopped, troubleClock, troubleBacklog, troubleGap,
}

const firstWarning = 8

// troubleView is one of them; Level is bad or warn.
type troubleView struct {
	What  string `json:"what"`
	Level string `json:"level"`
}

func viewTroubles(names []string) []troubleView {
	out := make([]troubleView, 0, len(names))
	for _, n := range names {
		level := "bad"
		if slices.Index(troubles, n) >= firstWarning {
			level = "warn"
		}
		out = append(out, troubleView{n, level})
	}
	return out
}

// Above these it is a trouble.
const (
	silentAfter = 200 * time.Second // health comes once a minute
	liveSilence = 45 * time.Second  // live figures come once a second
	freshOnline = time.Minute       // cameras still open
	frameLimitS = 30
	sightLimit  = 0.5              // of the last minute
	brokenFor   = 10 * time.Second // a link that is back by then was not offline
	offLimitS   = 1
	lagLimitS   = 300
	gapLimitS   = 60
	diskLimit   = 0.05 // of the disk; the box leaves that much free
)

// How long what the database says of the boxes is kept, and how far back the
// last word of a box is looked for.
const (
	boxesFor  = 20 * time.Second
	healthFor = 30 * 24 * time.Hour
	boxesTime = 5 * time.Second // for all of it
	boxReads  = 4               // at a time
)

// boxView is one box. What was not reported is null.
type boxView struct {
	Store      string           `json:"store"`
	StoreLabel floorwatch.Label `json:"store_label"`
	TimeZone   string           `json:"time_zone"`
	Edge       string           `json:"edge"`
	Label      floorwatch.Label `json:"label"`
	State      string           `json:"state"`    // online, offline, stopped; "" before the first word
	Since      floorwatch.Time  `json:"state_t"`  // of online: since when; of offline: when it had connected
	Seen       floorwatch.Time  `json:"seen"`     // its newest word; 0: none
	Reported   floorwatch.Time  `json:"reported"` // when it gave these figures; 0: never
	Version    string           `json:"version"`
	Troubles   []troubleView    `json:"troubles"` // worst first

	Backlog      *float64     `json:"backlog_records"`
	BacklogS     *float64     `json:"backlog_s"`
	Lost         *float64     `json:"lost_records"` // dropped and lost since its start
	DiskFree     *float64     `json:"disk_free_bytes"`
	Disk         *float64     `json:"disk_bytes"`
	Footage      *float64     `json:"footage_bytes"`
	ClockSynced  *bool        `json:"clock_synced"`
	ClockOffsetS *float64     `json:"clock_offset_s"`
	Uploads      *float64     `json:"uploads_waiting"`
	UploadBytes  *float64     `json:"uploads_waiting_bytes"`
	Gaps         *gapsView    `json:"gaps_today"` // since midnight in the store
	Notes        []string     `json:"notes"`
	Cameras      []cameraWord `json:"cameras"`

	safe   bool
	lately bool          // it came or went a moment ago
	quiet  time.Duration // since its last live figure
}

type cameraWord struct {
	Name      string           `json:"name"`
	Label     floorwatch.Label `json:"label"`
	Watching  *bool            `json:"watching"`
	FrameAgeS *float64         `json:"frame_age_s"` // of the newest frame, when it was reported
	Coverage  *float64         `json:"coverage"`    // of the newest interval
	Sight     *float64         `json:"sight"`       // share of the last minute that was observed
	Owed      *owed            `json:"owed"`
}

// gapsView adds up gaps of all cameras; overlapping ones of one camera twice.
type gapsView struct {
	Footage      int     `json:"footage"`
	FootageS     float64 `json:"footage_s"`
	Observation  int     `json:"observation"`
	ObservationS float64 `json:"observation_s"`
}

// boxCache keeps what was read of the boxes, by store and edge.
type boxCache struct {
	mu    sync.Mutex
	until time.Time
	read  map[[2]string]boxRead
}

// boxRead is what the database says of a box; nil where it could not be read.
type boxRead struct {
	gaps *gapsView
	owed map[string]*owed // by camera
}

// boxes answers /api/boxes, those in trouble first.
func (s *server) boxes(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, map[string]any{"boxes": s.boxViews(r.Context()), "t": floorwatch.TimeOf(s.Now())})
}

// boxViews returns all boxes, those in trouble first.
func (s *server) boxViews(ctx context.Context) []boxView {
	read := s.readBoxes(ctx)
	now := floorwatch.TimeOf(s.Now())
	views := []boxView{}
	for _, e := range s.Registry.Edges {
		store, _ := s.Registry.Store(e.Store)
		views = append(views, s.box(store, e, read[[2]string{e.Store, e.ID}], now))
	}
	worst := func(b boxView) int {
		if len(b.Troubles) == 0 {
			return len(troubles)
		}
		return slices.Index(troubles, b.Troubles[0].What)
	}
	slices.SortFunc(views, func(a, b boxView) int {
		return cmp.Or(cmp.Compare(worst(a), worst(b)), cmp.Compare(len(b.Troubles), len(a.Troubles)),
			cmp.Compare(a.Store, b.Store), cmp.Compare(a.Edge, b.Edge))
	})
	return views
}

// readBoxes asks the database for the gaps of today, and for the last words that
// the hub has not heard. What cannot be read is missing in the answer: whether
// boxes are online is to be seen also while the database is down.
func (s *server) readBoxes(ctx context.Context) map[[2]string]boxRead {
	s.boxen.mu.Lock()
	defer s.boxen.mu.Unlock()
	if s.Now().Before(s.boxen.until) {
		return s.boxen.read
	}
	ctx, cancel := context.WithTimeout(ctx, boxesTime)
	defer cancel()
	var mu sync.Mutex
	read := map[[2]string]boxRead{}
	var group errgroup.Group // one box that cannot be read does not stop the others
	group.SetLimit(boxReads)
	for _, e := range s.Registry.Edges {
		group.Go(func() error {
			store, _ := s.Registry.Store(e.Store)
			s.readHealth(ctx, e.Store, e.ID)
			g, err := s.gapsToday(ctx, store, e.ID)
			o, owedErr := s.owedBy(ctx, store, e)
			mu.Lock()
			defer mu.Unlock()
			read[[2]string{e.Store, e.ID}] = boxRead{g, o}
			return errors.Join(err, owedErr)
		})
	}
	err := group.Wait()
	if errors.Is(ctx.Err(), context.Canceled) { // the caller left; the next one reads anew
		return read
	}
	if err != nil {
		s.Log.Warn("gaps of boxes are not shown", "err", err)
	}
	s.boxen.read, s.boxen.until = read, s.Now().Add(boxesFor)
	return read
}

// readHealth gives the hub the stored word of a box that it knows none of.
func (s *server) readHealth(ctx context.Context, store, edge string) {
	f, ok := s.Figures.(HealthFigures)
	if _, known := s.Hub.healthOf(store, edge, ""); !ok || known {
		return
	}
	now := floorwatch.TimeOf(s.Now())
	all, err := f.Health(ctx, influx.Query{Store: store, Edge: edge, From: now.Add(-healthFor), To: now, Limit: figures.MaxRecords})
	if err != nil {
		s.Log.Warn("last word of a box is not shown", "store", store, "edge", edge, "err", err)
		return
	}
	for _, h := range all {
		s.Hub.keepHealth(store, edge, h)
	}
}

func (s *server) gapsToday(ctx context.Context, store site.Store, edge string) (*gapsView, error) {
	now := floorwatch.TimeOf(s.Now())
	from := store.Midnight(now)
	if from >= now {
		return &gapsView{}, nil
	}
	all, err := s.Figures.Gaps(ctx, influx.Query{Store: store.ID, Edge: edge, From: from, To: now, Limit: figures.MaxRecords})
	if err != nil {
		return nil, err
	}
	v := &gapsView{}
	for _, g := range all {
		end := now
		if g.To != nil {
			end = min(now, *g.To)
		}
		length := floorwatch.Seconds(end.Sub(max(from, g.From)))
		switch {
		case length <= 0:
		case g.Of == floorwatch.OfFootage:
			v.Footage++
			v.FootageS += length
		case g.Of == floorwatch.OfObservation:
			v.Observation++
			v.ObservationS += length
		}
	}
	return v, nil
}

func (s *server) box(store site.Store, e site.Edge, read boxRead, now floorwatch.Time) boxView {
	v := boxView{
		Store: store.ID, StoreLabel: store.Label, TimeZone: cmp.Or(store.TimeZone, "UTC"), Edge: e.ID, Label: e.Label,
		Notes: []string{}, Cameras: []cameraWord{}, Gaps: read.gaps,
	}
	st, seen := s.Hub.presence(store.ID, e.ID)
	v.State, v.Since, v.Version, v.Seen = st.State, st.T, st.Version, seen
	h, ok := s.Hub.healthOf(store.ID, e.ID, "")
	if ok {
		v.report(h)
	}
	for _, c := range e.Cameras {
		w := cameraWord{Name: c.Name, Label: c.Label, Owed: read.owed[c.Name]}
		if sight, ok := s.Hub.sight(store.ID, e.ID, c.Name, s.Now()); ok && now.Sub(v.Since) > freshOnline {
			w.Sight = &sight
		}
		if h, ok := s.Hub.healthOf(store.ID, e.ID, c.Name); ok {
			w.Watching, w.FrameAgeS, w.Coverage = flag(h, "watching"), value(h, "frame_age_s"), value(h, "coverage")
		}
		v.Cameras = append(v.Cameras, w)
	}
	v.lately = s.Hub.lately(store.ID, e.ID, s.Now())
	v.quiet = s.Hub.quiet(store.ID, e.ID, v.Since, s.Now())
	v.Troubles = viewTroubles(v.wrong(now))
	return v
}

func (v *boxView) report(h floorwatch.Health) {
	v.Reported, v.Seen = h.At, max(v.Seen, h.At)
	v.Backlog, v.BacklogS = value(h, "backlog_records"), value(h, "backlog_s")
	if dropped, lost := value(h, "dropped_records"), value(h, "lost_records"); dropped != nil && lost != nil {
		sum := *dropped + *lost
		v.Lost = &sum
	}
	v.DiskFree, v.Disk, v.Footage = value(h, "disk_free_bytes"), value(h, "disk_bytes"), value(h, "footage_bytes")
	v.ClockSynced, v.ClockOffsetS = flag(h, "clock_synced"), value(h, "clock_offset_s")
	v.Uploads, v.UploadBytes = value(h, "uploads_waiting"), value(h, "uploads_waiting_bytes")
	v.Notes = append(v.Notes, h.Notes...)
	v.safe = over(value(h, "safe_mode"), 0)
}

func value(h floorwatch.Health, name string) *float64 {
	if f, ok := h.Figures[name]; ok {
		return &f
	}
	return nil
}

func flag(h floorwatch.Health, name string) *bool {
	f, ok := h.Figures[name]
	if !ok {
		return nil
	}
	b := f != 0
	return &b
}

func over(f *float64, limit float64) bool { return f != nil && *f > limit }

// wrong lists the troubles. Of a box that is away or silent nothing else is
// known: its figures are of the past.
func (v *boxView) wrong(now floorwatch.Time) []string {
	switch {
	case v.State == "" && v.Seen == 0:
		return []string{troubleNever}
	case v.State == floorwatch.StateOffline && v.lately:
		return []string{}
	case v.State == floorwatch.StateOffline, v.State == "":
		return []string{troubleOffline}
	case v.State == floorwatch.StateStopped:
		return []string{troubleStopped}
	case now.Sub(max(v.Reported, v.Since)) > silentAfter, v.quiet > liveSilence && !v.safe:
		return []string{troubleSilent}
	}
	out := []string{}
	for _, t := range []struct {
		is   bool
		what string
	}{
		{v.safe, troubleSafe},
		{over(v.Lost, 0), troubleLost},
		{v.Disk != nil && v.DiskFree != nil && *v.DiskFree < diskLimit**v.Disk, troubleDisk},
		{!v.safe && slices.ContainsFunc(v.Cameras, blind), troubleCamera},
		{slices.ContainsFunc(v.Cameras, func(c cameraWord) bool { return c.Owed.short() }), troubleShort},
		{v.ClockSynced != nil && !*v.ClockSynced || v.ClockOffsetS != nil && math.Abs(*v.ClockOffsetS) > offLimitS, troubleClock},
		{over(v.BacklogS, lagLimitS), troubleBacklog},
		{v.Gaps != nil && max(v.Gaps.FootageS, v.Gaps.ObservationS) > gapLimitS, troubleGap},
	} {
		if t.is {
			out = append(out, t.what)
		}
	}
	return out
}

// blind tells whether a camera gives no pictures: by its live figures, or where
// there are none by what the box last said of it.
func blind(c cameraWord) bool {
	if c.Sight != nil {
		return *c.Sight < sightLimit
	}
	return c.Watching != nil && !*c.Watching || over(c.FrameAgeS, frameLimitS)
}
