package fleet

import (
	"cmp"
	"math"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/site"
)

// What may be wrong with a box.
const (
	troubleNever   = "never"   // it has never been heard of
	troubleOffline = "offline" // its connection broke
	troubleSilent  = "silent"  // online, but it says nothing of itself
	troubleTwins   = "twins"   // two boxes use its name
	troubleCamera  = "camera"  // a camera gives no pictures
	troublePicture = "picture" // a camera's picture is not the one its zones were drawn on
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
	troubleTwins, troubleNever, troubleOffline, troubleSilent, troubleSafe, troubleLost, troubleDisk, troubleCamera, troublePicture, troubleShort,
	troubleStopped, troubleClock, troubleBacklog, troubleGap,
}

const firstWarning = 10

// Levels of a trouble: whether it can wait.
const (
	levelBad  = "bad"
	levelWarn = "warn"
)

// Trouble is one of them.
type Trouble struct {
	What  string `json:"what"`
	Level string `json:"level"`
}

func viewTroubles(names []string) []Trouble {
	out := make([]Trouble, 0, len(names))
	for _, n := range names {
		level := levelBad
		if slices.Index(troubles, n) >= firstWarning {
			level = levelWarn
		}
		out = append(out, Trouble{n, level})
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
	twinsFor    = time.Hour        // after two were seen to take turns
	brokenFor   = 10 * time.Second // a link that is back by then was not offline
	offLimitS   = 1
	lagLimitS   = 300
	gapLimitS   = 60
	diskLimit   = 0.05 // of the disk; the box leaves that much free
)

// Box is one box. What was not reported is null.
type Box struct {
	Store      string           `json:"store"`
	StoreLabel floorwatch.Label `json:"store_label"`
	TimeZone   string           `json:"time_zone"`
	Path       []Name           `json:"path"` // of the org tree, down to what the store is below
	Edge       string           `json:"edge"`
	Label      floorwatch.Label `json:"label"`
	State      string           `json:"state"`    // online, offline, stopped; "" before the first word
	Since      floorwatch.Time  `json:"state_t"`  // of online: since when; of offline: when it had connected
	Seen       floorwatch.Time  `json:"seen"`     // its newest word; 0: none
	Reported   floorwatch.Time  `json:"reported"` // when it gave these figures; 0: never
	Version    string           `json:"version"`
	Troubles   []Trouble        `json:"troubles"` // worst first

	Backlog      *float64 `json:"backlog_records"`
	BacklogS     *float64 `json:"backlog_s"`
	Lost         *float64 `json:"lost_records"` // dropped and lost since its start
	DiskFree     *float64 `json:"disk_free_bytes"`
	Disk         *float64 `json:"disk_bytes"`
	Footage      *float64 `json:"footage_bytes"`
	ClockSynced  *bool    `json:"clock_synced"`
	ClockOffsetS *float64 `json:"clock_offset_s"`
	Uploads      *float64 `json:"uploads_waiting"`
	UploadBytes  *float64 `json:"uploads_waiting_bytes"`
	Gaps         *Gaps    `json:"gaps_today"` // since midnight in the store
	Notes        []string `json:"notes"`
	Cameras      []Camera `json:"cameras"`

	safe   bool
	lately bool          // it came or went a moment ago
	quiet  time.Duration // since its last live figure
	alive  bool          // it was heard of lately
	twins  bool          // two boxes took turns under its name lately
	known  bool          // what was stored of it before we began has been read
}

// Camera is what a box last said of one, and what it owes.
type Camera struct {
	Name      string           `json:"name"`
	Label     floorwatch.Label `json:"label"`
	Watching  *bool            `json:"watching"`
	FrameAgeS *float64         `json:"frame_age_s"` // of the newest frame, when it was reported
	Coverage  *float64         `json:"coverage"`    // of the newest interval
	Sight     *float64         `json:"sight"`       // share of the last minute that was observed
	Owed      *Owed            `json:"owed"`
	other     bool             // its picture is not the one that its zones were drawn on
}

// Gaps adds up gaps of all cameras; overlapping ones of one camera twice.
type Gaps struct {
	Footage      int     `json:"footage"`
	FootageS     float64 `json:"footage_s"`
	Observation  int     `json:"observation"`
	ObservationS float64 `json:"observation_s"`
}

// place is a box and where it stands.
type place struct {
	store site.Store
	path  []Name
	edge  site.Edge // with its cameras
}

// Name is what a node of the org tree is called.
type Name struct {
	ID    string           `json:"id"`
	Label floorwatch.Label `json:"label"`
}

func (p place) key() key { return key{p.store.ID, p.edge.ID} }

// placesFor is how long the list of boxes is kept: with time halls close and move,
// which no newer snapshot tells.
const placesFor = 30 * time.Second

// places lists the boxes that are registered now. Nobody changes the list.
func (f *Fleet) places() []place {
	snapshot, now := f.Sites.Snapshot(), floorwatch.TimeOf(f.now())
	f.list.Lock()
	defer f.list.Unlock()
	if f.list.of == snapshot && now < f.list.until && now >= f.list.until.Add(-placesFor) {
		return f.list.all
	}
	at := snapshot.At(now)
	var all []place
	for _, id := range at.Halls("") {
		store, _ := at.Store(id)
		path := []Name{}
		for _, above := range at.Path(id) {
			if n, _ := at.Node(above); !n.Hall() {
				path = append(path, Name{n.ID, n.Label})
			}
		}
		for _, e := range at.Edges(id) {
			e.Cameras = at.Cameras(id, e.ID)
			all = append(all, place{store, path, e})
		}
	}
	f.list.of, f.list.until, f.list.all = snapshot, now.Add(placesFor), all
	return all
}

// Boxes returns all boxes, those in trouble first.
func (f *Fleet) Boxes() []Box { return f.view(f.places()) }

func (f *Fleet) view(all []place) []Box {
	f.mu.Lock()
	read, known := f.read, f.known
	f.mu.Unlock()
	views := make([]Box, 0, len(all))
	for _, p := range all {
		f.Live.of(p.store.ID, p.edge.ID, func(b *box) { views = append(views, f.viewBox(p, b, read[p.key()], known)) })
	}
	slices.SortFunc(views, byTrouble)
	return views
}

func byTrouble(a, b Box) int {
	return cmp.Or(cmp.Compare(a.worst(), b.worst()), cmp.Compare(len(b.Troubles), len(a.Troubles)), byName(a, b))
}

func byName(a, b Box) int { return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Edge, b.Edge)) }

// worst is the place of its worst trouble among all of them.
func (v *Box) worst() int {
	if len(v.Troubles) == 0 {
		return len(troubles)
	}
	return slices.Index(troubles, v.Troubles[0].What)
}

func (f *Fleet) viewBox(p place, b *box, read reading, known bool) Box {
	now, e := f.now(), p.edge
	v := Box{
		Store: p.store.ID, StoreLabel: p.store.Label, TimeZone: p.store.TimeZone, Path: p.path, Edge: e.ID, Label: e.Label,
		State: b.state.State, Since: b.state.T, Version: b.state.Version, Seen: b.seen(),
		Notes: []string{}, Cameras: []Camera{}, Gaps: read.gaps,
		lately: b.lately(now), quiet: b.quiet(now), alive: b.lives(floorwatch.TimeOf(now)), known: known,
		twins: !b.twins.IsZero() && time.Since(b.twins) < twinsFor,
	}
	if h, ok := b.health[""]; ok {
		v.report(h)
	}
	for _, c := range e.Cameras {
		h := b.health[c.Name]
		w := Camera{
			Name: c.Name, Label: c.Label, other: otherPicture(c), Owed: read.owed[c.Name], Watching: flag(h, floorwatch.FigureWatching),
			FrameAgeS: value(h, floorwatch.FigureFrameAge), Coverage: value(h, floorwatch.FigureCoverage),
		}
		if floorwatch.TimeOf(now).Sub(v.Since) > freshOnline {
			w.Sight = b.sight(c.Name, now)
		}
		v.Cameras = append(v.Cameras, w)
	}
	v.Troubles = viewTroubles(v.wrong(floorwatch.TimeOf(now)))
	return v
}

// names lists what is wrong with the box, worst first.
func (v *Box) names() []string {
	out := make([]string, 0, len(v.Troubles))
	for _, t := range v.Troubles {
		out = append(out, t.What)
	}
	return out
}

func (v *Box) report(h floorwatch.Health) {
	v.Reported = h.At
	v.Backlog, v.BacklogS = value(h, floorwatch.FigureBacklogRecords), value(h, floorwatch.FigureBacklog)
	if dropped, lost := value(h, floorwatch.FigureDroppedRecords), value(h, floorwatch.FigureLostRecords); dropped != nil && lost != nil {
		sum := *dropped + *lost
		v.Lost = &sum
	}
	v.DiskFree, v.Disk, v.Footage = value(h, floorwatch.FigureDiskFreeBytes), value(h, floorwatch.FigureDiskBytes), value(h, floorwatch.FigureFootageBytes)
	v.ClockSynced, v.ClockOffsetS = flag(h, floorwatch.FigureClockSynced), value(h, floorwatch.FigureClockOffset)
	v.Uploads, v.UploadBytes = value(h, floorwatch.FigureUploadsWaiting), value(h, floorwatch.FigureUploadsWaitingBytes)
	v.Notes = append(v.Notes, h.Notes...)
	v.safe = over(value(h, floorwatch.FigureSafeMode), 0)
}

func value(h floorwatch.Health, name floorwatch.Figure) *float64 {
	if f, ok := h.Figure(name); ok {
		return &f
	}
	return nil
}

func flag(h floorwatch.Health, name floorwatch.Figure) *bool {
	f, ok := h.Figure(name)
	if !ok {
		return nil
	}
	return new(f != 0)
}

func over(f *float64, limit float64) bool { return f != nil && *f > limit }

// wrong lists the troubles. Of a box that is away or silent nothing else is
// known: its figures are of the past.
func (v *Box) wrong(now floorwatch.Time) []string {
	switch {
	case v.State == "" && v.Seen == 0 && !v.known:
		return []string{} // the database has not answered yet
	case v.State == "" && v.Seen == 0:
		return []string{troubleNever}
	case v.State == floorwatch.StateOffline && v.lately:
		return []string{}
	case v.State == floorwatch.StateOffline, v.State == "" && !v.alive:
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
		{v.twins, troubleTwins},
		{v.safe, troubleSafe},
		{over(v.Lost, 0), troubleLost},
		{v.Disk != nil && v.DiskFree != nil && *v.DiskFree < diskLimit**v.Disk, troubleDisk},
		{!v.safe && slices.ContainsFunc(v.Cameras, blind), troubleCamera},
		{slices.ContainsFunc(v.Cameras, func(c Camera) bool { return c.other }), troublePicture},
		{slices.ContainsFunc(v.Cameras, func(c Camera) bool { return c.Owed.short() }), troubleShort},
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

// otherPicture tells whether a camera's zones cannot lie right: they were drawn on
// a picture of another shape, or reach out of the one that comes now.
func otherPicture(c site.Camera) bool {
	drawn, now := c.Scene.Picture, c.Stream
	if now.Width == 0 {
		return false
	}
	if drawn.Width != 0 {
		a, b := float64(drawn.Width)*float64(now.Height), float64(now.Width)*float64(drawn.Height)
		return math.Abs(a-b) > 0.02*max(a, b)
	}
	return slices.ContainsFunc(c.Scene.Zones, func(z floorwatch.Zone) bool {
		return slices.ContainsFunc(z.Polygon, func(p floorwatch.Point) bool {
			return p.X > float64(now.Width)+1 || p.Y > float64(now.Height)+1
		})
	})
}

// blind tells whether a camera gives no pictures: by its live figures, or where
// there are none by what the box last said of it.
func blind(c Camera) bool {
	if c.Sight != nil {
		return *c.Sight < sightLimit
	}
	return c.Watching != nil && !*c.Watching || over(c.FrameAgeS, frameLimitS)
}
