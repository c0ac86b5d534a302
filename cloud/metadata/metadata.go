// Package metadata is the store below the domain: what the cloud knows beside
// figures and footage, in one SQLite file or, where there are many aggregators,
// in Postgres. The same SQL runs on both: placeholders are $1, $2, …, each used
// in order.
//
//	Open ─> migrations ─> Write: one transaction, tried again while others hold the store
//	                      Read:  one moment, seen whole
//	                      Version: did a topic change? one row
//
// Rooms above own their tables; the migrations stand here, in one row.
package metadata

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	_ "modernc.org/sqlite"             // registers the driver "sqlite"

	"floorwatch/internal/durable"
	"floorwatch/internal/retry"
)

// DB is an open store of metadata. It is safe for concurrent use, by several
// processes too. What Write returns nil for survives a power cut.
type DB struct {
	// Patience is how long a Write is tried again while others hold the store.
	Patience time.Duration
	// Now is the clock of leases; nil is the store's own, which all who share it
	// have in common.
	Now func() time.Time

	sql      *sql.DB
	postgres bool
	name     string // file, or URL without its password
}

// Open opens the store and brings its tables up to date. At is a path, file:PATH
// or postgres://USER:PASSWORD@HOST/DATABASE; a file is made where absent.
func Open(ctx context.Context, at string) (*DB, error) {
	db := &DB{Patience: 10 * time.Second, name: Redact(at)}
	err := db.open(at)
	if err == nil {
		err = db.migrate(ctx)
	}
	if err != nil {
		if db.sql != nil {
			_ = db.sql.Close()
		}
		return nil, db.explain("open", err)
	}
	return db, nil
}

// IsPostgres tells whether an address names a Postgres, and not a file.
func IsPostgres(at string) bool {
	return strings.HasPrefix(at, "postgres://") || strings.HasPrefix(at, "postgresql://")
}

// Redact returns an address as it may be shown: without password.
func Redact(at string) string {
	scheme, _, isURL := strings.Cut(at, "://")
	if !isURL {
		return strings.TrimPrefix(at, "file:")
	}
	u, err := url.Parse(at)
	if err != nil {
		return scheme + "://…"
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	q.Del("password")
	u.RawQuery = q.Encode()
	return u.String()
}

func (db *DB) open(at string) (err error) {
	if IsPostgres(at) {
		db.postgres = true
		if db.sql, err = sql.Open("pgx", at); err != nil {
			return err
		}
		db.sql.SetMaxOpenConns(8)
		db.sql.SetConnMaxIdleTime(time.Minute)
		return nil
	}
	path := db.name
	if path == "" || strings.Contains(path, "://") {
		return errors.New("want a path or postgres://USER@HOST/DATABASE")
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would make it for everybody
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	uri := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: "_txlock=immediate&_pragma=busy_timeout(1000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"}
	if db.sql, err = sql.Open("sqlite", uri.String()); err != nil {
		return err
	}
	db.sql.SetMaxOpenConns(4)
	return nil
}

// Close closes the store.
func (db *DB) Close() error { return db.sql.Close() }

// String returns the file or the URL, without password.
func (db *DB) String() string { return db.name }

// Tx is a transaction. It ends with the function that it was given to.
type Tx struct {
	*sql.Tx
	next    int64
	changed bool
}

// Changed says that this transaction changes what readers of its topic keep; they
// hear of it when it is committed. It returns the topic's new version.
func (tx *Tx) Changed() int64 {
	tx.changed = true
	return tx.next
}

// Write runs do in a transaction: all of it is kept, or nothing. Those who write
// under one topic do so one after the other, across processes too; "" is none, and
// Changed is then not for use. Do is run again where others held the store for a
// while; it must have no effect but through tx.
func (db *DB) Write(ctx context.Context, topic string, do func(tx *Tx) error) error {
	var last error
	attempt := func() error {
		last = db.write(ctx, topic, do)
		if last != nil && busy(last) {
			return last
		}
		return nil
	}
	wait, stop := context.WithTimeout(ctx, db.Patience)
	defer stop()
	pauses := retry.Backoff{Min: 10 * time.Millisecond, Max: time.Second}
	_ = pauses.Until(wait, attempt, func(error, time.Duration) {}) // last tells more
	return db.explain("write", last)
}

func (db *DB) write(ctx context.Context, topic string, do func(tx *Tx) error) error {
	inner, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = inner.Rollback() }()
	tx := &Tx{Tx: inner}
	if topic != "" {
		// The row is locked before anything is read, so that nothing that is read
		// under it is old.
		err := tx.QueryRowContext(ctx, `INSERT INTO change (topic, n) VALUES ($1, 0)
			ON CONFLICT (topic) DO UPDATE SET n = change.n RETURNING n + 1`, topic).Scan(&tx.next)
		if err != nil {
			return err
		}
	}
	if err := do(tx); err != nil {
		return err
	}
	if tx.changed {
		if _, err := tx.ExecContext(ctx, `UPDATE change SET n = $1 WHERE topic = $2`, tx.next, topic); err != nil {
			return err
		}
	}
	return inner.Commit()
}

// Read runs do on one moment of the store: what it reads fits together.
func (db *DB) Read(ctx context.Context, do func(tx *Tx) error) error {
	inner, err := db.sql.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.snapshot()})
	if err != nil {
		return db.explain("read", err)
	}
	defer func() { _ = inner.Rollback() }()
	return db.explain("read", do(&Tx{Tx: inner}))
}

// snapshot is the level at which a transaction sees one moment: SQLite's always does.
func (db *DB) snapshot() sql.IsolationLevel {
	if db.postgres {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// Version returns how often a topic has changed; 0: never. It costs one row.
func (db *DB) Version(ctx context.Context, topic string) (n int64, err error) {
	err = db.sql.QueryRowContext(ctx, versionOf, topic).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, db.explain("read", err)
}

const versionOf = `SELECT n FROM change WHERE topic = $1`

// Version is DB.Version, of the transaction's moment.
func (tx *Tx) Version(ctx context.Context, topic string) (n int64, err error) {
	err = tx.QueryRowContext(ctx, versionOf, topic).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}
