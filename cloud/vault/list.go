package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"floorwatch"
	"floorwatch/internal/verify"
)

// ReadIndex opens the index at path and changes nothing, also while the cloud
// works with it.
func ReadIndex(path string) (*Index, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open footage index: %w", err)
	}
	var errs []error
	// On a medium that cannot be written to, SQLite has to be told so.
	for _, mode := range []string{"mode=ro&_pragma=busy_timeout(5000)", "mode=ro&immutable=1"} {
		at := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: mode}
		db, err := sql.Open("sqlite", at.String())
		if err != nil {
			return nil, fmt.Errorf("open footage index %s: %w", path, err)
		}
		var n int
		if err = db.QueryRow(`SELECT (SELECT count(*) FROM seal) + (SELECT count(*) FROM object)`).Scan(&n); err == nil {
			return &Index{db}, nil
		}
		errs = append(errs, err, db.Close())
	}
	return nil, fmt.Errorf("open footage index %s: %w; an index of an earlier version is brought up to date by starting the cloud", path, errors.Join(errs...))
}

// SealOf returns the seal of a box's footage.
func (x *Index) SealOf(ctx context.Context, store, edge, hash string) (floorwatch.Seal, error) {
	var raw string
	err := x.db.QueryRowContext(ctx, `SELECT seal FROM segment WHERE sha256 = ? AND store = ? AND edge = ? LIMIT 1`, hash, store, edge).Scan(&raw)
	if err != nil {
		return floorwatch.Seal{}, fmt.Errorf("look up seal of %s: %w", hash, err)
	}
	return floorwatch.ParseSeal([]byte(raw))
}

// EachSeal calls do for every seal of every box, verbatim, camera by camera in
// the order of the chain, until do returns an error.
func (x *Index) EachSeal(ctx context.Context, do func(seal string) error) error {
	rows, err := x.db.QueryContext(ctx, `SELECT seal FROM (SELECT store, edge, camera, seq, seal FROM segment
		UNION ALL SELECT store, edge, camera, seq, seal FROM seal) ORDER BY store, edge, camera, seq`)
	if err != nil {
		return fmt.Errorf("list seals: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var seal string
		if err := rows.Scan(&seal); err != nil {
			return fmt.Errorf("list seals: %w", err)
		}
		if err := do(seal); err != nil {
			return err
		}
	}
	return rows.Err()
}

// EachObject calls do for everything that the vault has or had, by hash.
func (x *Index) EachObject(ctx context.Context, do func(verify.Object) error) error {
	rows, err := x.db.QueryContext(ctx, `SELECT sha256, received, state = 'here' FROM object ORDER BY sha256`)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var o verify.Object
		if err := rows.Scan(&o.SHA256, &o.Received, &o.Here); err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if err := do(o); err != nil {
			return err
		}
	}
	return rows.Err()
}
