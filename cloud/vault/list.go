package vault

import (
	"context"
	"fmt"

	"floorwatch"
)

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

// Stored says what the index knows of the bytes of a segment.
type Stored struct {
	SHA256   string
	Bytes    int64
	Received floorwatch.Time // 0: never
	Here     bool            // the bytes must be there
}

// EachObject calls do for everything that the vault has or had, by hash.
func (x *Index) EachObject(ctx context.Context, do func(Stored) error) error {
	rows, err := x.db.QueryContext(ctx, `SELECT sha256, bytes, received, state = 'here' FROM object ORDER BY sha256`)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s Stored
		if err := rows.Scan(&s.SHA256, &s.Bytes, &s.Received, &s.Here); err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if err := do(s); err != nil {
			return err
		}
	}
	return rows.Err()
}
