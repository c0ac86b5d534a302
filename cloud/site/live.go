package site

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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

// Snapshot returns the newest snapshot.
func (l *Live) Snapshot() *Snapshot { return l.now.Load() }

// Age returns how long ago the store last said that nothing is newer than the
// snapshot, and why it does not say so now.
func (l *Live) Age() (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.fresh), l.fault
}

// Run asks the store until ctx ends.
func (l *Live) Run(ctx context.Context) error {
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
		if site == old.Version && scene == old.SceneVersion {
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
