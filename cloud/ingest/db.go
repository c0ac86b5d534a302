package ingest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"floorwatch"
	"floorwatch/internal/durable"
)

// Limits of a DB.
const (
	MaxLetters     = 100_000
	MaxLetterBytes = 256 << 20
	MaxNames       = 64 // of each sort, for each box

	maxReason = 1000 // bytes
)

// DB is what ingest instances share beside InfluxDB and the footage index: the
// dead letters and the camera, zone and figure names that boxes have announced.
// It is one SQLite file, safe for concurrent use, by several processes too.
type DB struct {
	MaxLetters     int   // oldest out above this; set before use
	MaxLetterBytes int64 // the same for their bytes

	db    *sql.DB
	mu    sync.Mutex
	names map[name]bool // known to be admitted
}

const dbSchema = `
CREATE TABLE IF NOT EXISTS name (
	store TEXT NOT NULL, edge TEXT NOT NULL, sort TEXT NOT NULL, name TEXT NOT NULL,
	PRIMARY KEY (store, edge, sort, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letter (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	hash TEXT NOT NULL UNIQUE,
	topic TEXT NOT NULL, log TEXT NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL,
	whole INTEGER NOT NULL, bytes BLOB NOT NULL, size INTEGER NOT NULL,
	reason TEXT NOT NULL, received INTEGER NOT NULL, times INTEGER NOT NULL DEFAULT 1,
	retry INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS letter_retry ON letter (id) WHERE retry = 1;
CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY CHECK (one = 1),
	letters INTEGER NOT NULL, bytes INTEGER NOT NULL, evicted INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO total VALUES (1, 0, 0, 0);
CREATE TRIGGER IF NOT EXISTS letter_in AFTER INSERT ON letter BEGIN
	UPDATE total SET letters = letters + 1, bytes = bytes + new.size; END;
CREATE TRIGGER IF NOT EXISTS letter_out AFTER DELETE ON letter BEGIN
	UPDATE total SET letters = letters - 1, bytes = bytes - old.size; END;`

// OpenDB opens the file at path, made with its folder where absent. What is
// confirmed survives a power cut (WAL, synchronous FULL).
func OpenDB(path string) (*DB, error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	at := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: "_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}
	db, err := sql.Open("sqlite", at.String())
	if err != nil {
		return nil, fmt.Errorf("open dead letters %s: %w", path, err)
	}
	db.SetMaxOpenConns(2)
	if _, err := db.Exec(dbSchema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open dead letters %s: %w; if the file is damaged, move it away and start again", path, err)
	}
	d := &DB{MaxLetters: MaxLetters, MaxLetterBytes: MaxLetterBytes, db: db, names: map[name]bool{}}
	if err := d.loadNames(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open dead letters %s: %w", path, err)
	}
	return d, nil
}

// loadNames makes a restart cost no transaction for each name again.
func (d *DB) loadNames() error {
	rows, err := d.db.Query(`SELECT store, edge, sort, name FROM name`)
	if err != nil {
		return fmt.Errorf("read names: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n name
		if err := rows.Scan(&n.store, &n.edge, &n.sort, &n.name); err != nil {
			return fmt.Errorf("read names: %w", err)
		}
		d.names[n] = true
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read names: %w", err)
	}
	return nil
}

// Close closes the file.
func (d *DB) Close() error { return d.db.Close() }

// name is what a box announces: of a camera, of a zone behind its camera's, of a
// figure of health.
type name struct{ store, edge, sort, name string }

// admit takes names that boxes announce, all of them durably in one transaction,
// and returns those that would be more than MaxNames of their sort. Series in
// InfluxDB are bounded by it.
func (d *DB) admit(ctx context.Context, names []name) (refused map[name]bool, err error) {
	d.mu.Lock()
	names = slices.DeleteFunc(names, func(n name) bool { return d.names[n] })
	d.mu.Unlock()
	if len(names) == 0 {
		return nil, nil
	}
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("admit names: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	refused = map[name]bool{}
	for place, group := range groups(names) {
		if err := admitGroup(ctx, tx, place, group, refused); err != nil {
			return nil, fmt.Errorf("admit %ss of box %s of store %s: %w", place.sort, place.edge, place.store, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("admit names: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range names {
		if !refused[n] {
			d.names[n] = true
		}
	}
	return refused, nil
}

// groups are the names of each sort of each box; the keys have no name.
func groups(names []name) map[name][]string {
	all := map[name][]string{}
	for _, n := range names {
		place := name{n.store, n.edge, n.sort, ""}
		all[place] = append(all[place], n.name)
	}
	return all
}

// admitGroup admits names of one sort of one box: two statements for all of them,
// as a box that is new announces dozens, and thousands of boxes may be.
func admitGroup(ctx context.Context, tx *sql.Tx, place name, names []string, refused map[name]bool) error {
	rows, err := tx.QueryContext(ctx, `SELECT name FROM name WHERE store = ? AND edge = ? AND sort = ?`, place.store, place.edge, place.sort)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return errors.Join(err, rows.Close())
		}
		known[s] = true
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	var fresh []any
	for _, s := range names {
		switch {
		case known[s]:
		case len(known) >= MaxNames:
			refused[name{place.store, place.edge, place.sort, s}] = true
		default:
			known[s] = true
			fresh = append(fresh, place.store, place.edge, place.sort, s)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO name VALUES (?, ?, ?, ?)`+strings.Repeat(`, (?, ?, ?, ?)`, len(fresh)/4-1), fresh...)
	return err
}

// Letter is a dead letter: what was refused, byte for byte, and why. It is a
// record, or with Whole everything that came in one message.
type Letter struct {
	ID       int64
	Topic    string
	Log      string // "" when the envelope could not be read
	First    uint64 // number of the record, or of the batch's first
	N        int
	Whole    bool
	Bytes    []byte
	Reason   string
	Received floorwatch.Time
	Times    int // how often the same bytes came
}

func (l Letter) hash() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%t\x00%s", l.Topic, l.Log, l.First, l.Whole, l.Bytes))
	return hex.EncodeToString(sum[:])
}

// put stores letters durably in one transaction and removes the one that done
// names, unless it is among them again. The same letter twice is one that came
// twice. The oldest leave when there are too many, and are counted.
func (d *DB) put(ctx context.Context, letters []Letter, done ...string) error {
	if len(letters) == 0 && len(done) == 0 {
		return nil
	}
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store dead letters: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	again := map[string]bool{}
	for _, l := range letters {
		h := l.hash()
		again[h] = true
		_, err := tx.ExecContext(ctx, `INSERT INTO letter (hash, topic, log, first, n, whole, bytes, size, reason, received)
			VALUES (?,?,?,?,?,?,?,?,?,?)
			ON CONFLICT (hash) DO UPDATE SET times = times + 1, reason = excluded.reason`,
			h, l.Topic, l.Log, int64(l.First), l.N, l.Whole, l.Bytes, len(l.Bytes), strings.ToValidUTF8(l.Reason[:min(len(l.Reason), maxReason)], ""), int64(l.Received))
		if err != nil {
			return fmt.Errorf("store dead letter: %w", err)
		}
	}
	for _, h := range done {
		if again[h] {
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM letter WHERE hash = ?`, h); err != nil {
			return fmt.Errorf("remove dead letter: %w", err)
		}
	}
	if err := d.evict(ctx, tx); err != nil {
		return fmt.Errorf("evict dead letters: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store dead letters: %w", err)
	}
	return nil
}

func (d *DB) evict(ctx context.Context, tx *sql.Tx) error {
	for {
		var n int
		var size int64
		if err := tx.QueryRowContext(ctx, `SELECT letters, bytes FROM total`).Scan(&n, &size); err != nil {
			return err
		}
		if n <= d.MaxLetters && size <= d.MaxLetterBytes {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM letter WHERE id = (SELECT min(id) FROM letter)`); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE total SET evicted = evicted + 1`); err != nil {
			return err
		}
	}
}

// Totals of the dead letters; Evicted counts those that had to leave unread.
type Totals struct{ Letters, Bytes, Evicted int64 }

// Totals returns how many letters there are.
func (d *DB) Totals(ctx context.Context) (t Totals, err error) {
	err = d.db.QueryRowContext(ctx, `SELECT letters, bytes, evicted FROM total`).Scan(&t.Letters, &t.Bytes, &t.Evicted)
	if err != nil {
		err = fmt.Errorf("count dead letters: %w", err)
	}
	return t, err
}

// List returns up to limit letters with an id above after, in order of their
// ids; go on with the last one's.
func (d *DB) List(ctx context.Context, after int64, limit int) ([]Letter, error) {
	return d.letters(ctx, `WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
}

func (d *DB) letters(ctx context.Context, where string, args ...any) ([]Letter, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT id, topic, log, first, n, whole, bytes, reason, received, times FROM letter `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Letter
	for rows.Next() {
		var l Letter
		if err := rows.Scan(&l.ID, &l.Topic, &l.Log, &l.First, &l.N, &l.Whole, &l.Bytes, &l.Reason, &l.Received, &l.Times); err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		out = append(out, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return out, nil
}

// Retry marks letters, all of them without ids, for a running Ingest to take up
// again within seconds, and returns how many. A letter that is stored then
// leaves; one that is refused again stays with the new reason.
func (d *DB) Retry(ctx context.Context, ids ...int64) (int64, error) {
	return d.change(ctx, `UPDATE letter SET retry = 1`, ids)
}

// Drop removes letters for good, all of them without ids, and returns how many.
func (d *DB) Drop(ctx context.Context, ids ...int64) (int64, error) {
	return d.change(ctx, `DELETE FROM letter`, ids)
}

func (d *DB) change(ctx context.Context, statement string, ids []int64) (int64, error) {
	var args []any
	if len(ids) > 0 {
		statement += ` WHERE id IN (?` + strings.Repeat(`,?`, len(ids)-1) + `)`
		for _, id := range ids {
			args = append(args, id)
		}
	}
	res, err := d.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, fmt.Errorf("change dead letters: %w", err)
	}
	return res.RowsAffected()
}

// takeRetries returns up to limit marked letters and takes the mark off: one
// that is lost with this process is still a letter, to be marked again.
func (d *DB) takeRetries(ctx context.Context, limit int) ([]Letter, error) {
	marked, err := d.letters(ctx, `WHERE retry = 1 ORDER BY id LIMIT ?`, limit)
	if err != nil || len(marked) == 0 {
		return nil, err
	}
	ids := make([]int64, len(marked))
	for i, l := range marked {
		ids[i] = l.ID
	}
	if _, err := d.change(ctx, `UPDATE letter SET retry = 0`, ids); err != nil {
		return nil, err
	}
	return marked, nil
}
