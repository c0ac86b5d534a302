package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"floorwatch"
)

// Lease says that one of many who share a store does a job until a moment. Fence
// grows each time that the lease is taken: whoever keeps the highest that was seen
// can turn away an owner who slept through the end of its lease.
type Lease struct {
	Name, Owner string
	Until       floorwatch.Time
	Fence       int64
}

// HeldError says that another has the lease.
type HeldError struct{ Lease }

func (e *HeldError) Error() string {
	return fmt.Sprintf("lease %s is held by %s until %s", e.Name, e.Owner, e.Until)
}

// ErrLost says that a lease was taken by another, or by a later run of the same
// owner, or released: its job must stop.
var ErrLost = errors.New("the lease was lost")

// Take takes a lease that nobody holds, or that this owner does: a run of it that
// still thinks so has lost it then. Another's is a *HeldError.
func (db *DB) Take(ctx context.Context, name, owner string, length time.Duration) (Lease, error) {
	l := Lease{Name: name, Owner: owner}
	err := db.Write(ctx, "", func(tx *Tx) error {
		now, err := db.now(ctx, tx)
		if err != nil {
			return err
		}
		l.Until = now.Add(length)
		err = tx.QueryRowContext(ctx, `INSERT INTO lease (name, owner, until, fence) VALUES ($1, $2, $3, 1)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until, fence = lease.fence + 1
			WHERE lease.owner = excluded.owner OR lease.until <= $4 RETURNING fence`,
			name, owner, int64(l.Until), int64(now)).Scan(&l.Fence)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		held := Lease{Name: name}
		if err := tx.QueryRowContext(ctx, `SELECT owner, until, fence FROM lease WHERE name = $1`, name).
			Scan(&held.Owner, &held.Until, &held.Fence); err != nil {
			return err
		}
		return &HeldError{held}
	})
	if err != nil {
		return Lease{}, fmt.Errorf("take lease %s: %w", name, err)
	}
	return l, nil
}

// Renew prolongs a lease that was not taken by another, even one that has ended
// meanwhile; else ErrLost.
func (db *DB) Renew(ctx context.Context, l Lease, length time.Duration) (Lease, error) {
	return db.alter(ctx, l, length)
}

// Release ends a lease; ErrLost where it was no longer this one.
func (db *DB) Release(ctx context.Context, l Lease) error {
	_, err := db.alter(ctx, l, 0)
	return err
}

func (db *DB) alter(ctx context.Context, l Lease, length time.Duration) (Lease, error) {
	err := db.Write(ctx, "", func(tx *Tx) error {
		now, err := db.now(ctx, tx)
		if err != nil {
			return err
		}
		l.Until = now.Add(length)
		res, err := tx.ExecContext(ctx, `UPDATE lease SET until = $1 WHERE name = $2 AND owner = $3 AND fence = $4`,
			int64(l.Until), l.Name, l.Owner, l.Fence)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return ErrLost
	})
	if err != nil {
		return Lease{}, fmt.Errorf("keep lease %s: %w", l.Name, err)
	}
	return l, nil
}

// now is the clock of leases.
func (db *DB) now(ctx context.Context, tx *Tx) (now floorwatch.Time, err error) {
	switch {
	case db.Now != nil:
		return floorwatch.TimeOf(db.Now()), nil
	case !db.postgres:
		return floorwatch.TimeOf(time.Now()), nil
	}
	err = tx.QueryRowContext(ctx, `SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint`).Scan(&now)
	return now, err
}
