package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"floorwatch"
)

// Retention deletes footage from the vault when it is older than MaxAge and not
// held, and the camera lines over it. Seals stay. Fields are set before Run.
type Retention struct {
	Index   *Index
	Objects Objects
	Lines   Objects          // nil: there are none
	MaxAge  time.Duration    // from the end of a piece; 0 = nothing is deleted
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil discards
}

const (
	retainEvery = 10 * time.Minute
	retainBatch = 500
)

// Run looks every ten minutes until ctx ends.
func (r *Retention) Run(ctx context.Context) error {
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if r.MaxAge <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			log.Error("old footage stays in the vault for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep decides in the index first, with a line in the access log, and deletes
// then: what a crash leaves is deleted by the next sweep.
func (r *Retention) sweep(ctx context.Context) error {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	t := floorwatch.TimeOf(now())
	for {
		n, err := r.Index.expire(ctx, t.Add(-r.MaxAge), t)
		if err != nil {
			return err
		}
		if err := r.purge(ctx); err != nil {
			return err
		}
		if n < retainBatch {
			return nil
		}
	}
}

func (r *Retention) purge(ctx context.Context) error {
	hashes, err := r.Index.inState(ctx, stateGoing)
	if err != nil {
		return err
	}
	for _, hash := range hashes {
		if err := r.purgeLines(ctx, hash); err != nil {
			return err
		}
		if err := errors.Join(ctx.Err(), r.Objects.Remove(ctx, hash)); err != nil {
			return err
		}
		if err := r.Index.purged(ctx, hash); err != nil {
			return err
		}
	}
	return nil
}

// expire marks objects whose pieces all ended before limit and are not held.
func (x *Index) expire(ctx context.Context, limit, now floorwatch.Time) (int64, error) {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("expire footage: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	const old = `SELECT o.sha256 FROM object o WHERE o.state = 'here'
		AND EXISTS (SELECT 1 FROM segment s WHERE s.sha256 = o.sha256)
		AND NOT EXISTS (SELECT 1 FROM segment s WHERE s.sha256 = o.sha256 AND (s."end" > ?1 OR EXISTS (
			SELECT 1 FROM hold h WHERE h.released = 0 AND h.store = s.store AND h.edge = s.edge AND h.camera = s.camera
			AND h.start < s."end" AND h."end" > s.start)))
		LIMIT ?2`
	if _, err := tx.ExecContext(ctx, `INSERT INTO access (at, who, what, store, edge, camera, start, "end", why)
		SELECT ?3, 'retention', 'delete', store, edge, camera, min(start), max("end"), count(*) || ' pieces older than the retention'
		FROM segment WHERE sha256 IN (`+old+`) GROUP BY store, edge, camera`, int64(limit), retainBatch, int64(now)); err != nil {
		return 0, fmt.Errorf("expire footage: %w", err)
	}
	res, err := tx.ExecContext(ctx, `UPDATE object SET state = 'going' WHERE sha256 IN (`+old+`)`, int64(limit), retainBatch)
	if err != nil {
		return 0, fmt.Errorf("expire footage: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

// purged notes that an object that was to go is gone.
func (x *Index) purged(ctx context.Context, hash string) error {
	if _, err := x.db.ExecContext(ctx, `UPDATE object SET state = 'gone' WHERE sha256 = ? AND state = 'going'`, hash); err != nil {
		return fmt.Errorf("note deletion of %s: %w", hash, err)
	}
	return nil
}

func (x *Index) inState(ctx context.Context, state string) ([]string, error) {
	rows, err := x.db.QueryContext(ctx, `SELECT sha256 FROM object WHERE state = ?`, state)
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var hash string
		if err := rows.Scan(&hash); err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		out = append(out, hash)
	}
	return out, rows.Err()
}
