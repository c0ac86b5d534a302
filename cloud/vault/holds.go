package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"floorwatch"
)

// What stands in the access log.
const (
	DidWatch   = "watch"
	DidExport  = "export"
	DidHold    = "hold"
	DidRelease = "release"
	DidFetch   = "fetch"  // asked the box to send
	DidDelete  = "delete" // retention
)

// Access is a line of the access log. N counts from 1.
type Access struct {
	N                   int64
	At                  floorwatch.Time
	Who, What           string
	Store, Edge, Camera string
	From, To            floorwatch.Time
	Why                 string
}

// Limits of a line and of an answer.
const (
	maxText   = 500
	maxAccess = 1000
	MaxHolds  = 10_000 // not released
)

// LogAccess appends a line and returns once it is durable. Lines are never
// changed or removed.
func (x *Index) LogAccess(ctx context.Context, a Access) error {
	return logAccess(ctx, x.db, a)
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func logAccess(ctx context.Context, db execer, a Access) error {
	if a.Who == "" || a.What == "" || len(a.Who) > maxText || len(a.Why) > maxText {
		return fmt.Errorf("log access: who %.50q and what %.50q are needed, at most %d bytes each", a.Who, a.What, maxText)
	}
	_, err := db.ExecContext(ctx, `INSERT INTO access (at, who, what, store, edge, camera, start, "end", why) VALUES (?,?,?,?,?,?,?,?,?)`,
		int64(a.At), a.Who, a.What, a.Store, a.Edge, a.Camera, int64(a.From), int64(a.To), a.Why)
	if err != nil {
		return fmt.Errorf("log access: %w", err)
	}
	return nil
}

// AccessLog returns up to 1,000 lines with N above after, in order.
func (x *Index) AccessLog(ctx context.Context, after int64) ([]Access, error) {
	rows, err := x.db.QueryContext(ctx, `SELECT n, at, who, what, store, edge, camera, start, "end", why FROM access WHERE n > ? ORDER BY n LIMIT ?`, after, maxAccess)
	if err != nil {
		return nil, fmt.Errorf("read access log: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Access
	for rows.Next() {
		var a Access
		if err := rows.Scan(&a.N, &a.At, &a.Who, &a.What, &a.Store, &a.Edge, &a.Camera, &a.From, &a.To, &a.Why); err != nil {
			return nil, fmt.Errorf("read access log: %w", err)
		}
		out = append(out, a)
	}
	return out, rows.Err()
}

// Hold keeps the footage of a span, here and on its box, until it is released.
// Several holds of one span are independent of each other.
type Hold struct {
	ID                  string // 16 to 40 of 0-9, a-f
	Store, Edge, Camera string
	From, To            floorwatch.Time
	Who, Why            string
	At, Released        floorwatch.Time
	Told                bool // the box has confirmed the hold, or its release
}

// check borrows the rules of the command that tells the box.
func (h Hold) check() error {
	if !floorwatch.ValidName(h.Store) || !floorwatch.ValidName(h.Edge) {
		return fmt.Errorf("store %.50q, edge %.50q: a name is %s", h.Store, h.Edge, floorwatch.NameRule)
	}
	return h.command(h.ID, h.At+1).Check()
}

func (h Hold) command(id string, expires floorwatch.Time) floorwatch.Command {
	c := floorwatch.Command{V: floorwatch.Version, ID: id, Do: floorwatch.DoHold, Expires: expires, Camera: h.Camera, From: h.From, To: h.To, Hold: h.ID}
	if h.Released != 0 {
		c.Do = floorwatch.DoRelease
	}
	return c
}

// PutHold stores a hold and its line in the access log. The same twice is
// success and one line.
func (x *Index) PutHold(ctx context.Context, h Hold) error {
	h.Released = 0
	if err := h.check(); err != nil {
		return fmt.Errorf("hold footage: %w", err)
	}
	return x.logged(ctx, Access{At: h.At, Who: h.Who, What: DidHold, Store: h.Store, Edge: h.Edge, Camera: h.Camera, From: h.From, To: h.To, Why: h.Why},
		`INSERT INTO hold (id, store, edge, camera, start, "end", who, why, at)
		SELECT ?,?,?,?,?,?,?,?,? WHERE (SELECT count(*) FROM hold WHERE released = 0) < ? ON CONFLICT DO NOTHING`,
		h.ID, h.Store, h.Edge, h.Camera, int64(h.From), int64(h.To), h.Who, h.Why, int64(h.At), MaxHolds)
}

// ErrNoHold says that no hold has that id.
var ErrNoHold = errors.New("no such hold")

// Release ends a hold; one that has ended is success.
func (x *Index) Release(ctx context.Context, id, who string, at floorwatch.Time) error {
	h, err := x.hold(ctx, id)
	if err != nil || h.Released != 0 {
		return err
	}
	return x.logged(ctx, Access{At: at, Who: who, What: DidRelease, Store: h.Store, Edge: h.Edge, Camera: h.Camera, From: h.From, To: h.To, Why: "hold " + id},
		`UPDATE hold SET released = ? WHERE id = ? AND released = 0`, int64(at), id)
}

// logged runs one statement and logs it if it changed something, or neither.
func (x *Index) logged(ctx context.Context, a Access, query string, args ...any) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s footage: %w", a.What, err)
	}
	defer func() { _ = tx.Rollback() }()
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s footage: %w", a.What, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if err := logAccess(ctx, tx, a); err != nil {
		return err
	}
	return tx.Commit()
}

const holdColumns = `SELECT id, store, edge, camera, start, "end", who, why, at, released, told >= 1 + (released > 0) FROM hold `

func (x *Index) hold(ctx context.Context, id string) (Hold, error) {
	all, err := x.holds(ctx, `WHERE id = ?`, id)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("hold %.50q: %w", id, ErrNoHold)
	}
	if err != nil {
		return Hold{}, err
	}
	return all[0], nil
}

// Holds returns the holds that last, oldest first.
func (x *Index) Holds(ctx context.Context) ([]Hold, error) {
	return x.holds(ctx, `WHERE released = 0 ORDER BY at, id`)
}

// untold returns holds and releases that their box has not confirmed.
func (x *Index) untold(ctx context.Context) ([]Hold, error) {
	return x.holds(ctx, `WHERE told < 1 + (released > 0) ORDER BY at, id LIMIT 1000`)
}

func (x *Index) holds(ctx context.Context, where string, args ...any) ([]Hold, error) {
	rows, err := x.db.QueryContext(ctx, holdColumns+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Hold
	for rows.Next() {
		var h Hold
		if err := rows.Scan(&h.ID, &h.Store, &h.Edge, &h.Camera, &h.From, &h.To, &h.Who, &h.Why, &h.At, &h.Released, &h.Told); err != nil {
			return nil, fmt.Errorf("list holds: %w", err)
		}
		out = append(out, h)
	}
	return out, rows.Err()
}

// told notes what h's box has confirmed.
func (x *Index) told(ctx context.Context, h Hold) error {
	level := 1
	if h.Released != 0 {
		level = 2
	}
	if _, err := x.db.ExecContext(ctx, `UPDATE hold SET told = max(told, ?) WHERE id = ?`, level, h.ID); err != nil {
		return fmt.Errorf("note hold %s: %w", h.ID, err)
	}
	return nil
}
