package metadata

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch/internal/lab/kit"
)

func open(t *testing.T, at string) *DB {
	t.Helper()
	db, err := Open(t.Context(), at)
	kit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestSQLite(t *testing.T) {
	suite(t, func(t *testing.T) string { return filepath.Join(t.TempDir(), "new", "metadata.db") })
}

func TestPostgres(t *testing.T) {
	server := kit.Postgres(t)
	suite(t, func(t *testing.T) string { return server.Database(t) })
	t.Run("gone for a while", func(t *testing.T) {
		db := open(t, server.Database(t))
		kit.Must(t, put(t, db, "a"))
		kit.Must(t, server.Stop())
		for _, err := range []error{put(t, db, "b"), version(t, db)} {
			var fault *Error
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), "Postgres does not answer") {
				t.Errorf("%v", err)
			}
		}
		_, err := Open(t.Context(), db.name)
		if err == nil || !strings.Contains(err.Error(), "check that it runs") {
			t.Errorf("%v", err)
		}
		kit.Must(t, server.Start(context.Background())) // it outlives this part
		kit.Must(t, put(t, db, "b"))
		if got := leases(t, db); got != "a b" {
			t.Errorf("has %s", got)
		}
	})
}

// put writes a row into a table that every store has.
func put(t *testing.T, db *DB, name string) error {
	t.Helper()
	return db.Write(t.Context(), "test", func(tx *Tx) error {
		tx.Changed()
		_, err := tx.ExecContext(t.Context(), `INSERT INTO lease VALUES ($1, '', 0, 0)`, name)
		return err
	})
}

func version(t *testing.T, db *DB) error {
	_, err := db.Version(t.Context(), "test")
	return err
}

func leases(t *testing.T, db *DB) string {
	t.Helper()
	var names []string
	kit.Must(t, db.Read(t.Context(), func(tx *Tx) error {
		rows, err := tx.QueryContext(t.Context(), `SELECT name FROM lease ORDER BY name`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return rows.Err()
	}))
	return strings.Join(names, " ")
}

// suite is the contract; fresh returns the address of an empty store.
func suite(t *testing.T, fresh func(t *testing.T) string) {
	ctx := t.Context()
	must := func(t *testing.T, err error) { t.Helper(); kit.Must(t, err) }

	t.Run("all or nothing", func(t *testing.T) {
		db := open(t, fresh(t))
		mine := errors.New("mine")
		err := db.Write(ctx, "test", func(tx *Tx) error {
			tx.Changed()
			_, err := tx.ExecContext(ctx, `INSERT INTO lease VALUES ('half', '', 0, 0)`)
			return errors.Join(err, mine)
		})
		if !errors.Is(err, mine) {
			t.Errorf("%v", err)
		}
		if n, err := db.Version(ctx, "test"); n != 0 || err != nil || leases(t, db) != "" {
			t.Errorf("version %d, %v, rows %q of what failed", n, err, leases(t, db))
		}
		if err := put(t, db, "a"); err != nil {
			t.Error(err)
		}
		var fault *Error
		if err := put(t, db, "a"); !errors.As(err, &fault) {
			t.Errorf("a row twice: %v", err)
		}
	})

	t.Run("versions grow with changes alone", func(t *testing.T) {
		at := fresh(t)
		db, other := open(t, at), open(t, at)
		for want := range int64(3) {
			n, err := other.Version(ctx, "test")
			if must(t, err); n != want {
				t.Errorf("version %d, want %d", n, want)
			}
			must(t, put(t, db, fmt.Sprint(want)))
			must(t, db.Write(ctx, "test", func(*Tx) error { return nil }))
			must(t, db.Write(ctx, "another", func(tx *Tx) error { tx.Changed(); return nil }))
		}
	})

	t.Run("a reader sees one moment", func(t *testing.T) {
		at := fresh(t)
		db, other := open(t, at), open(t, at)
		must(t, put(t, db, "a"))
		must(t, db.Read(ctx, func(tx *Tx) error {
			before, err := tx.Version(ctx, "test")
			must(t, err)
			must(t, put(t, other, "b"))
			var n int
			must(t, tx.QueryRowContext(ctx, `SELECT count(*) FROM lease`).Scan(&n))
			after, err := tx.Version(ctx, "test")
			if must(t, err); n != 1 || before != 1 || after != 1 {
				t.Errorf("%d rows, versions %d and %d", n, before, after)
			}
			return nil
		}))
	})

	t.Run("two at once lose nothing", func(t *testing.T) {
		at := fresh(t)
		var group sync.WaitGroup
		for range 2 {
			db := open(t, at)
			for range 2 {
				group.Go(func() {
					for range 25 {
						if err := count(ctx, db); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		group.Wait()
		db := open(t, at)
		var got int
		must(t, db.Read(ctx, func(tx *Tx) error {
			return tx.QueryRowContext(ctx, `SELECT fence FROM lease WHERE name = 'count'`).Scan(&got)
		}))
		if n, err := db.Version(ctx, "test"); got != 100 || n != 100 || err != nil {
			t.Errorf("counted %d, version %d, want 100; %v", got, n, err)
		}
	})

	t.Run("opened by many at once", func(t *testing.T) {
		at := fresh(t)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if db, err := Open(ctx, at); err != nil {
					t.Error(err)
				} else {
					_ = db.Close()
				}
			})
		}
		group.Wait()
	})

	t.Run("a newer store is left alone", func(t *testing.T) {
		at := fresh(t)
		db := open(t, at)
		_, err := db.sql.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
		must(t, err)
		if _, err := Open(ctx, at); err == nil || !strings.Contains(err.Error(), "newer floorwatch") {
			t.Errorf("%v", err)
		}
	})

	t.Run("leases", func(t *testing.T) { leaseSuite(t, open(t, fresh(t))) })
}

// count reads and writes, which goes wrong where two do it at once.
func count(ctx context.Context, db *DB) error {
	return db.Write(ctx, "test", func(tx *Tx) error {
		tx.Changed()
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(fence), 0) FROM lease WHERE name = 'count'`).Scan(&n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO lease VALUES ('count', '', 0, $1) ON CONFLICT (name) DO UPDATE SET fence = excluded.fence`, n+1)
		return err
	})
}

func leaseSuite(t *testing.T, db *DB) {
	ctx := t.Context()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	db.Now = func() time.Time { return now }
	first, err := db.Take(ctx, "rollup", "a", time.Minute)
	kit.Must(t, err)
	var held *HeldError
	if _, err := db.Take(ctx, "rollup", "b", time.Minute); !errors.As(err, &held) || held.Owner != "a" || held.Until != first.Until {
		t.Errorf("taken twice: %v", err)
	}
	now = now.Add(50 * time.Second)
	first, err = db.Renew(ctx, first, time.Minute)
	kit.Must(t, err)
	now = now.Add(59 * time.Second)
	if _, err := db.Take(ctx, "rollup", "b", time.Minute); !errors.As(err, &held) {
		t.Errorf("taken before its end: %v", err)
	}
	now = now.Add(time.Second)
	second, err := db.Take(ctx, "rollup", "b", time.Minute)
	if kit.Must(t, err); second.Fence <= first.Fence {
		t.Errorf("fence %d after %d", second.Fence, first.Fence)
	}
	if _, err := db.Renew(ctx, first, time.Minute); !errors.Is(err, ErrLost) {
		t.Errorf("a lost lease is renewed: %v", err)
	}
	if err := db.Release(ctx, first); !errors.Is(err, ErrLost) {
		t.Errorf("another's lease is released: %v", err)
	}
	again, err := db.Take(ctx, "rollup", "b", time.Minute) // after a crash
	if kit.Must(t, err); again.Fence <= second.Fence {
		t.Errorf("fence %d after %d", again.Fence, second.Fence)
	}
	if _, err := db.Renew(ctx, second, time.Minute); !errors.Is(err, ErrLost) {
		t.Errorf("the run before the crash goes on: %v", err)
	}
	kit.Must(t, db.Release(ctx, again))
	if _, err := db.Take(ctx, "rollup", "a", time.Minute); err != nil {
		t.Errorf("released, and not to be had: %v", err)
	}
	db.Now = nil // the store's own clock
	if l, err := db.Take(ctx, "clock", "a", time.Minute); err != nil || time.Until(l.Until.Time()) > 2*time.Minute || time.Until(l.Until.Time()) < 0 {
		t.Errorf("until %s: %v", l.Until, err)
	}
}

// TestTwoProcesses: the same with a process of its own, as a command beside the cloud.
func TestTwoProcesses(t *testing.T) {
	const name = "FLOORWATCH_TEST_METADATA"
	at := os.Getenv(name)
	other := exec.Command(os.Args[0], "-test.run=^TestTwoProcesses$")
	if at == "" {
		at = filepath.Join(t.TempDir(), "metadata.db")
		other.Env = append(os.Environ(), name+"="+at)
		kit.Must(t, other.Start())
	}
	db := open(t, at)
	for range 50 {
		kit.Must(t, count(t.Context(), db))
	}
	if other.Process == nil {
		return
	}
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := db.Version(t.Context(), "test"); n != 100 || err != nil {
		t.Errorf("counted %d, want 100; %v", n, err)
	}
}

func TestFullDisk(t *testing.T) {
	kit.Superuser(t, "a small disk")
	dir := t.TempDir()
	kit.Must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	db := open(t, filepath.Join(dir, "metadata.db"))
	kit.Must(t, put(t, db, "small"))
	err := db.Write(t.Context(), "test", func(tx *Tx) error {
		tx.Changed()
		for i := range 1000 {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO lease VALUES ($1, '', 0, 0)`, fmt.Sprint(i, strings.Repeat("x", 5000))); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the disk is full: free space there; nothing was changed") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
	if n, err := db.Version(t.Context(), "test"); n != 1 || err != nil || leases(t, db) != "small" {
		t.Errorf("version %d, %v, half of it is there", n, err)
	}
	if err := put(t, db, "again"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNotAStore(t *testing.T) {
	dir := t.TempDir()
	for at, want := range map[string]string{
		kit.Write(t, filepath.Join(dir, "text"), strings.Repeat("no database\n", 100)): "the file is damaged",
		filepath.Join(dir, "text", "below"):                                            "check that the disk is there",
		"mysql://root:secret@db/floorwatch":                                            "want a path or postgres://",
		"postgres://u:secret@127.0.0.1:1/floorwatch":                                   "Postgres does not answer",
		"postgres://u:secret@127.0.0.1:port/floorwatch?password=secret":                "open metadata",
	} {
		_, err := Open(t.Context(), at)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", at, err, want)
		}
	}
	if _, err := os.Stat("mysql:"); err == nil {
		t.Error("a folder was made of a URL")
	}
}
