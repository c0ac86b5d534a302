package metadata

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables up to date. Of several processes that start at once
// one does it: Postgres has a lock for that, with SQLite the others fail over the
// first one's tables, and look again.
func (db *DB) migrate(ctx context.Context) (err error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect, options, tries := goose.DialectSQLite3, []goose.ProviderOption(nil), 5
	if db.postgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // each second, for five minutes
		if err != nil {
			return err
		}
		dialect, options, tries = goose.DialectPostgres, []goose.ProviderOption{goose.WithSessionLocker(locker)}, 1
	}
	p, err := goose.NewProvider(dialect, db.sql, files, options...)
	if err != nil {
		return err
	}
	for try := range tries {
		if try > 0 {
			time.Sleep(50 * time.Millisecond)
		}
		if err = db.up(ctx, p); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (db *DB) up(ctx context.Context, p *goose.Provider) error {
	have, known, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > known {
		return fmt.Errorf("it was made by a newer floorwatch (tables %d, known here %d); install that one, or put a backup of before there", have, known)
	}
	if have == known {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring tables up to date: %w", err)
	}
	return nil
}
