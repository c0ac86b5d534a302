package site

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/internal/retry"
)

// Live keeps the newest snapshot of the sites: what is changed here or by another
// process is seen within Every. While the store cannot be read the last snapshot
// goes on, and says its age. Make it with Open.
type Live struct {
	Every time.Duration // how often to ask; set before Run

	db  *metadata.DB
	log *slog.Logger
	now atomic.Pointer[Snapshot]

	mu    sync.Mutex
	fresh time.Time // when the store last said that nothing is newer
	fault error     // why it does not now
}

// Open reads the sites. Run keeps them new.
func Open(ctx context.Context, db *metadata.DB, log *slog.Logger) (*Live, error) {
	l := &Live{Every: time.Second, db: db, log: log}
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Of returns what never changes and lies in no database.
func Of(r Registry) *Live {
	l := &Live{log: slog.New(slog.DiscardHandler)}
	l.now.Store(r.snapshot())
	return l
}

// Snapshot returns the newest snapshot.
func (l *Live) Snapshot() *Snapshot { return l.now.Load() }

// Now is the sites at this moment.
func (l *Live) Now() At { return l.At(floorwatch.TimeOf(time.Now())) }

// At is the sites as they were at a moment, which may be in the future.
func (l *Live) At(t floorwatch.Time) At { return l.Snapshot().At(t) }

// Edge returns a box that is registered now.
func (l *Live) Edge(store, id string) (Edge, bool) { return l.Now().Edge(store, id) }

// Key returns the public key of a box that is registered now.
func (l *Live) Key(store, edge string) (ed25519.PublicKey, bool) { return l.Now().Key(store, edge) }

// PutScenes is the function of that name; where there is no database nothing is
// kept.
func (l *Live) PutScenes(ctx context.Context, told ...SceneVersion) error {
	if l.db == nil {
		return nil
	}
	return PutScenes(ctx, l.db, told...)
}

// Age returns how long ago the store last said that nothing is newer than the
// snapshot, and why it does not say so now.
func (l *Live) Age() (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.fresh), l.fault
}

// Run asks the store until ctx ends.
func (l *Live) Run(ctx context.Context) error {
	if l.db == nil {
		<-ctx.Done()
		return nil
	}
	for retry.Pause(ctx, l.Every) {
		_ = l.Refresh(ctx) // told in the log, and by Age
	}
	return nil
}

// Refresh asks now, for those who have just changed something.
func (l *Live) Refresh(ctx context.Context) error {
	began := time.Now()
	err := l.refresh(ctx)
	if ctx.Err() != nil {
		return err
	}
	l.mu.Lock()
	was, age := l.fault, began.Sub(l.fresh)
	if l.fault = err; err == nil {
		l.fresh = began
	}
	l.mu.Unlock()
	switch {
	case err != nil && was == nil && l.now.Load() != nil:
		l.log.Warn("sites cannot be read; what was known of them goes on", "error", err)
	case err == nil && was != nil:
		l.log.Info("sites can be read again", "after", age.Round(time.Second))
	}
	return err
}

func (l *Live) refresh(ctx context.Context) error {
	old := l.now.Load()
	if old != nil {
		site, err := l.db.Version(ctx, Topic)
		if err != nil {
			return err
		}
		scene, err := l.db.Version(ctx, SceneTopic)
		if err != nil {
			return err
		}
		standard, err := l.db.Version(ctx, StandardTopic)
		if err != nil {
			return err
		}
		if site == old.Version && scene == old.SceneVersion && standard == old.StandardsVersion {
			return nil
		}
	}
	s, err := read(ctx, l.db, old)
	if err != nil {
		return err
	}
	l.now.Store(s)
	return nil
}
