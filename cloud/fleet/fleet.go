// Package fleet says what is wrong with boxes, for the page of boxes, the log and
// alarms alike:
//
//	live figures, states, health ─> Live ─┐
//	gaps of today, what is owed ─> Records ┴─> Boxes ─> page; Run ─> log, Troubles
//
// The database is asked once for all boxes, every 20 seconds at most.
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
)

// Records is where the records of all boxes come from; influx.Client is one. Safe
// for concurrent use.
type Records interface {
	LastHealth(ctx context.Context, boxes []site.Source, from, to floorwatch.Time) ([]influx.Sent[floorwatch.Health], error)
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

	mu    sync.Mutex // held while the database is asked
	until time.Time
	read  map[key]reading
	every time.Duration // the longest interval of a box, as known so far

	last struct {
		sync.Mutex
		boxes []Box
	}
}

// reading is what the database says of a box; nil where it could not be read.
type reading struct {
	gaps *Gaps
	owed map[string]*Owed // by camera
}

// How long what the database says is kept, and how far back the last word of a
// box is looked for.
const (
	readFor   = 20 * time.Second
	healthFor = 30 * 24 * time.Hour
	readTime  = 5 * time.Second // for all of it
	lookEvery = 5 * time.Second
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

// Run logs of each box when it becomes unhealthy and when it has recovered, until
// ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.look(f.Boxes(ctx))
		}
	}
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
	for _, b := range all {
		now, old := b.names(), before[key{b.Store, b.Edge}]
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

// ask reads what the database says of all boxes, for the last words that Live has
// not heard too. What cannot be read is missing: whether boxes are online is to
// be seen also while the database is down.
func (f *Fleet) ask(ctx context.Context) map[key]reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now().Before(f.until) {
		return f.read
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	healthErr := f.readHealth(ctx)
	gaps, gapsErr := f.gapsToday(ctx)
	owed, owedErr := f.owed(ctx)
	read := map[key]reading{}
	for _, e := range f.Sites.Now().Registry().Edges {
		k := key{e.Store, e.ID}
		read[k] = reading{gaps[k], owed[k]}
	}
	if errors.Is(ctx.Err(), context.Canceled) { // the caller left; the next one reads anew
		return read
	}
	if err := errors.Join(healthErr, gapsErr, owedErr); err != nil {
		f.log().Warn("boxes are shown without what the database knows of them", "error", err)
	}
	f.read, f.until = read, f.now().Add(readFor)
	return read
}

// readHealth gives Live the stored words of boxes that it knows none of.
func (f *Fleet) readHealth(ctx context.Context) error {
	var unknown []site.Source
	for _, e := range f.Sites.Now().Registry().Edges {
		b := f.Live.of(e.Store, e.ID)
		if _, known := b.health[""]; !known {
			unknown = append(unknown, site.Source{Store: e.Store, Edge: e.ID})
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	now := floorwatch.TimeOf(f.now())
	all, err := f.Records.LastHealth(ctx, unknown, now.Add(-healthFor), now)
	for _, h := range all {
		f.Live.PutHealth(h.Store, h.Edge, h.Record)
	}
	return err
}

// gapsToday adds up the gaps since midnight, of each store's own day.
func (f *Fleet) gapsToday(ctx context.Context) (map[key]*Gaps, error) {
	now := floorwatch.TimeOf(f.now())
	from, midnight := now, map[string]floorwatch.Time{}
	for _, s := range f.Sites.Now().Registry().Stores {
		midnight[s.ID] = s.Midnight(now)
		from = min(from, midnight[s.ID])
	}
	all, err := f.Records.GapsOfAll(ctx, from, now)
	if err != nil {
		return nil, err
	}
	sums := map[key]*Gaps{}
	for _, e := range f.Sites.Now().Registry().Edges {
		sums[key{e.Store, e.ID}] = &Gaps{}
	}
	for _, g := range all {
		if sum := sums[key{g.Store, g.Edge}]; sum != nil {
			sum.add(g.Record, midnight[g.Store], now)
		}
	}
	return sums, nil
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
