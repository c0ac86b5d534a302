// Package fleet says what is wrong with boxes, for the page of boxes, the log and
// alarms alike:
//
//	live figures, states, stored records ─> Live ─┐
//	gaps of today, what is owed ─> Records ───────┴─> Boxes ─> page; Run ─> log, Troubles
//
// Nobody who looks waits for the database: Run asks it for all boxes at once, for
// what is new, and for the rest now and then. It stays the truth: several
// aggregators share what boxes send, so that each hears a part of it only.
package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/retry"
)

// Records is where the records of all boxes come from; influx.Client is one. Safe
// for concurrent use. Without boxes LastHealth is asked for all.
type Records interface {
	LastHealth(ctx context.Context, boxes []site.Source, figures []floorwatch.Figure, from, to floorwatch.Time) ([]influx.Sent[floorwatch.Health], error)
	Heard(ctx context.Context, from, to floorwatch.Time) ([]influx.Heard, error)
	GapsOfAll(ctx context.Context, from, to floorwatch.Time) ([]influx.Sent[floorwatch.Gap], error)
	Observed(ctx context.Context, from, to floorwatch.Time) ([]influx.Observed, error)
}

// Footage is where it is known what was recorded; vault.Index is one. Safe for
// concurrent use.
type Footage interface {
	Pieces(ctx context.Context, cameras []site.Source, from, to floorwatch.Time) (map[site.Source][]vault.Piece, error)
}

// Fleet knows the boxes. Fields are set before use and not changed after.
type Fleet struct {
	Sites   *site.Live
	Records Records
	Footage Footage // nil: it is not asked whether cameras record
	Live    *Live
	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil: time.Now

	mu    sync.Mutex
	read  map[key]reading
	known bool // what was stored before we began is in Live

	// Of the goroutine that asks.
	gapsDue   time.Time
	gapsRead  map[key]*Gaps
	gaps      window[influx.Sent[floorwatch.Gap]]
	owedOf    floorwatch.Time // the moment by which owedRead was due
	owedRead  map[key]map[string]*Owed
	intervals window[influx.Observed]
	every     time.Duration // the longest interval of a box, as known so far

	last struct {
		sync.Mutex
		boxes []Box
	}
	list struct {
		sync.Mutex
		of    *site.Snapshot
		until floorwatch.Time
		all   []place
	}
}

// reading is what the database says of a box; nil where it could not be read.
type reading struct {
	gaps *Gaps
	owed map[string]*Owed // by camera
}

// How often the database is asked, for how long, and how far back the last word of
// a box is looked for.
const (
	askEvery     = 20 * time.Second
	askShare     = 20 // times as long as the last answer took is the pause before the next question, at least
	askLatest    = 5 * time.Minute
	askTime      = 3 * time.Minute // for all of its questions
	gapsEvery    = time.Minute
	healthFor    = 30 * 24 * time.Hour
	overdueAfter = 90 * time.Second // health comes once a minute; what another aggregator stored is asked for then
	overdueFor   = 5 * time.Minute
	namedAtMost  = 100 // boxes in one question; of more, all are asked for
	lookEvery    = 5 * time.Second
)

func (f *Fleet) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

func (f *Fleet) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// Run asks the database, and logs of each box when it becomes unhealthy and when
// it has recovered, until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		for pause := time.Duration(0); retry.Pause(ctx, pause); {
			began := time.Now()
			f.ask(ctx)
			pause = min(max(askEvery, askShare*time.Since(began)), askLatest)
		}
	})
	for retry.Pause(ctx, lookEvery) {
		f.look(f.Boxes())
	}
	return nil
}

// Troubles returns all boxes as Run saw them last.
func (f *Fleet) Troubles() []Box {
	f.last.Lock()
	defer f.last.Unlock()
	return f.last.boxes
}

func (f *Fleet) look(all []Box) {
	before := map[key][]string{}
	for _, b := range f.Troubles() {
		before[key{b.Store, b.Edge}] = b.names()
	}
	for i, b := range all {
		now, old := b.names(), before[key{b.Store, b.Edge}]
		if b.State == floorwatch.StateOffline && b.lately { // nobody can say yet; it has not recovered
			all[i].Troubles = viewTroubles(old)
			continue
		}
		if slices.Equal(old, now) {
			continue
		}
		level, text := slog.LevelWarn, "box unhealthy; the page /boxes says what to do"
		switch {
		case len(now) == 0:
			level, text = slog.LevelInfo, "box recovered"
		case slices.ContainsFunc(b.Troubles, func(t Trouble) bool { return t.Level == levelBad }):
			level = slog.LevelError
		}
		attrs := []any{"store", b.Store, "edge", b.Edge}
		if len(now) > 0 {
			attrs = append(attrs, "troubles", strings.Join(now, " "))
		}
		if len(old) > 0 {
			attrs = append(attrs, "before", strings.Join(old, " "))
		}
		f.log().Log(context.Background(), level, text, attrs...)
	}
	f.last.Lock()
	defer f.last.Unlock()
	f.last.boxes = all
}

// ask reads what the database says of all boxes. What cannot be read is missing:
// whether boxes are online is to be seen also while the database is down.
func (f *Fleet) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all, now := f.places(), floorwatch.TimeOf(f.now())
	err := f.readWords(ctx, all, now)
	gapsErr := f.readGaps(ctx, all, now)
	owedErr := f.readOwed(ctx, all, now)
	if errors.Is(ctx.Err(), context.Canceled) {
		return // we end
	}
	read := make(map[key]reading, len(all))
	for _, p := range all {
		k := p.key()
		read[k] = reading{f.gapsRead[k], f.owedRead[k]}
	}
	f.mu.Lock()
	f.read = read
	f.mu.Unlock()
	if err := errors.Join(err, gapsErr, owedErr); err != nil {
		f.log().Warn("boxes are shown without what the database knows of them", "error", err)
	}
}

// readWords gives Live what is stored of boxes: once all of it, then the words of
// those of whom we should have heard and have not, as others store them too.
func (f *Fleet) readWords(ctx context.Context, all []place, now floorwatch.Time) error {
	f.mu.Lock()
	known := f.known
	f.mu.Unlock()
	registered := make(map[key]bool, len(all))
	var overdue []site.Source
	for _, p := range all {
		k := p.key()
		registered[k] = true
		if f.Live.overdue(k, now) {
			overdue = append(overdue, site.Source{Store: k.store, Edge: k.edge})
		}
	}
	from := now.Add(-overdueFor)
	switch {
	case !known:
		from, overdue = now.Add(-healthFor), nil
		heard, err := f.Records.Heard(ctx, from, now)
		if err != nil {
			return err
		}
		for _, h := range heard {
			if registered[key{h.Store, h.Edge}] {
				f.Live.Heard(h.Store, h.Edge, h.At)
			}
		}
	case len(overdue) == 0:
		return nil
	case len(overdue) > namedAtMost:
		overdue = nil
	}
	words, err := f.Records.LastHealth(ctx, overdue, judged(), from, now)
	if err != nil {
		return err
	}
	for _, h := range words {
		if registered[key{h.Store, h.Edge}] {
			f.Live.PutHealth(h.Store, h.Edge, h.Record)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = true
	return nil
}

// judged returns the figures that a box is judged by.
func judged() (all []floorwatch.Figure) {
	for _, info := range floorwatch.Figures {
		if info.Page {
			all = append(all, info.Name)
		}
	}
	return all
}

// window keeps what was read of a span that moves on: what is older than fresh is
// read again every wholeEvery only, for what came late.
type window[T any] struct {
	old  []T
	from floorwatch.Time // of old
	cut  floorwatch.Time // its end
	due  floorwatch.Time // to be read again
}

const (
	fresh      = 20 * time.Minute
	wholeEvery = 10 * time.Minute
)

// read returns what is in [from, to), in two parts; the first may hold more.
func (w *window[T]) read(ctx context.Context, from, to floorwatch.Time, ask func(ctx context.Context, from, to floorwatch.Time) ([]T, error)) (parts [2][]T, err error) {
	if to >= w.due || from < w.from || to < w.cut {
		cut := max(from, to.Add(-fresh))
		if w.old, err = ask(ctx, from, cut); err != nil {
			w.due = 0
			return parts, err
		}
		w.from, w.cut, w.due = from, cut, to.Add(wholeEvery)
	}
	now, err := ask(ctx, w.cut, to)
	return [2][]T{w.old, now}, err
}

func (f *Fleet) readGaps(ctx context.Context, all []place, now floorwatch.Time) (err error) {
	if f.now().Before(f.gapsDue) {
		return nil
	}
	if f.gapsRead, err = f.gapsToday(ctx, all, now); err == nil {
		f.gapsDue = f.now().Add(gapsEvery)
	}
	return err
}

// readOwed asks again when another of the shortest intervals is due: until then
// nothing is owed that was not.
func (f *Fleet) readOwed(ctx context.Context, all []place, now floorwatch.Time) (err error) {
	due := now.Add(-owedLag).Floor(shortest)
	if due == f.owedOf {
		return nil
	}
	if f.owedRead, err = f.owed(ctx, all, now); err == nil {
		f.owedOf = due
	}
	return err
}

// gapsToday adds up the gaps since midnight, of each store's own day.
func (f *Fleet) gapsToday(ctx context.Context, all []place, now floorwatch.Time) (map[key]*Gaps, error) {
	from, midnights := now, map[string]floorwatch.Time{} // by time zone
	for _, p := range all {
		if _, known := midnights[p.store.TimeZone]; !known {
			midnights[p.store.TimeZone] = p.store.Midnight(now)
			from = min(from, midnights[p.store.TimeZone])
		}
	}
	parts, err := f.gaps.read(ctx, from, now, f.Records.GapsOfAll)
	if err != nil {
		return nil, err
	}
	type sum struct {
		Gaps
		midnight floorwatch.Time
	}
	sums := make(map[key]*sum, len(all))
	for _, p := range all {
		sums[p.key()] = &sum{midnight: midnights[p.store.TimeZone]}
	}
	for _, part := range parts {
		for _, g := range part {
			if s := sums[key{g.Store, g.Edge}]; s != nil {
				s.add(g.Record, s.midnight, now)
			}
		}
	}
	out := make(map[key]*Gaps, len(all))
	for k, s := range sums {
		out[k] = &s.Gaps
	}
	return out, nil
}

func (s *Gaps) add(g floorwatch.Gap, from, now floorwatch.Time) {
	end := now
	if g.To != nil {
		end = min(now, *g.To)
	}
	length := floorwatch.Seconds(end.Sub(max(from, g.From)))
	switch {
	case length <= 0:
	case g.Of == floorwatch.OfFootage:
		s.Footage++
		s.FootageS += length
	case g.Of == floorwatch.OfObservation:
		s.Observation++
		s.ObservationS += length
	}
}
