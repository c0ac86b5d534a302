package vault

import (
	"context"
	"fmt"

	"floorwatch"
)

// EachHere calls do for every object that the vault has, by hash.
func (x *Index) EachHere(ctx context.Context, do func(hash string, bytes int64) error) error {
	rows, err := x.db.QueryContext(ctx, `SELECT sha256, bytes FROM object WHERE state = 'here' ORDER BY sha256`)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var hash string
		var bytes int64
		if err := rows.Scan(&hash, &bytes); err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if err := do(hash, bytes); err != nil {
			return err
		}
	}
	return rows.Err()
}

// restorer is who stands in the access log for a restore.
const restorer = "restore"

// Restored says of an index that was put back from a backup as of from, at the
// moment to, which objects did not come with it: they are fetched from their boxes
// like any that never arrived. The access log says between which moments it may
// lack lines.
func (x *Index) Restored(ctx context.Context, from, to floorwatch.Time, missing []string) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("note the restore: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, hash := range missing {
		if _, err := tx.ExecContext(ctx, `DELETE FROM object WHERE sha256 = ? AND state = 'here'`, hash); err != nil {
			return fmt.Errorf("note that object %s is missing: %w", hash, err)
		}
	}
	why := fmt.Sprintf("put back from a backup: what was logged in between may be missing here; %d object(s) did not come with it", len(missing))
	if err := logAccess(ctx, tx, Access{At: to, Who: restorer, What: restorer, From: from, To: to, Why: why}); err != nil {
		return err
	}
	return tx.Commit()
}
