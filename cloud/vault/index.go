// Package vault keeps what auditors ask for: footage by the hash of its bytes,
// and beside it the index of everything that a box ever swore about it, before
// the bytes have arrived and after they are gone.
//
//	segment records ─> Index <─ knows the seal ── Uploads <─ signed pieces and lines ─ box
//	                     ^                           └ checked ─> Objects
//	 holds, access log ──┘   Archive (clips, fetching) <─ both ────┘
//
// docs/vault.md describes folder and protocol. Start with OpenIndex.
package vault

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"floorwatch"
	"floorwatch/cloud/site"
	"floorwatch/internal/durable"
)

// MaxSegments bounds the answer to one query: a month of one-minute pieces.
const MaxSegments = 50_000

// ErrTooMany says that a window holds more than MaxSegments pieces.
var ErrTooMany = errors.New("more than 50000 pieces of footage; ask for a shorter window")

// Index is the index of sealed footage in one SQLite file. It is safe for
// concurrent use, by several processes too.
type Index struct{ db *sql.DB }

// refusal is an error that no repetition mends.
type refusal struct{ error }

// Refused tells callers that the record itself is at fault.
func (refusal) Refused() bool   { return true }
func (r refusal) Unwrap() error { return r.error }

const schema = `
CREATE TABLE IF NOT EXISTS segment (
	store TEXT NOT NULL, edge TEXT NOT NULL, camera TEXT NOT NULL, chain TEXT NOT NULL, seq INTEGER NOT NULL,
	start INTEGER NOT NULL, "end" INTEGER NOT NULL,
	sha256 TEXT NOT NULL,
	seal TEXT NOT NULL,   -- verbatim
	record TEXT NOT NULL, -- JSON of the rest
	PRIMARY KEY (store, edge, camera, chain, seq)
) STRICT;
CREATE INDEX IF NOT EXISTS segment_span ON segment (store, edge, camera, start);
CREATE INDEX IF NOT EXISTS segment_hash ON segment (sha256);
CREATE TABLE IF NOT EXISTS seal ( -- of gaps and deletions
	store TEXT NOT NULL, edge TEXT NOT NULL, camera TEXT NOT NULL, chain TEXT NOT NULL, seq INTEGER NOT NULL,
	seal TEXT NOT NULL,   -- verbatim
	PRIMARY KEY (store, edge, camera, chain, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS object (
	sha256 TEXT PRIMARY KEY, bytes INTEGER NOT NULL,
	received INTEGER NOT NULL, -- Unix ms, checked against the hash then
	state TEXT NOT NULL        -- here; going, gone: retention; absent: the box has it no more
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines ( -- of the camera, over a piece of footage that is here
	segment TEXT NOT NULL, -- SHA-256 of the piece
	store TEXT NOT NULL, edge TEXT NOT NULL,
	sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
	at INTEGER NOT NULL, signature TEXT NOT NULL, -- of the request by which they came
	PRIMARY KEY (segment, store, edge)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lines_hash ON lines (sha256);
CREATE TABLE IF NOT EXISTS hold (
	id TEXT PRIMARY KEY, store TEXT NOT NULL, edge TEXT NOT NULL, camera TEXT NOT NULL,
	start INTEGER NOT NULL, "end" INTEGER NOT NULL,
	who TEXT NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL,
	released INTEGER NOT NULL DEFAULT 0,
	told INTEGER NOT NULL DEFAULT 0 -- what the box has confirmed: 1 the hold, 2 its release
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access (
	n INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
	store TEXT NOT NULL, edge TEXT NOT NULL, camera TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
	why TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS access_stays BEFORE DELETE ON access BEGIN SELECT RAISE(ABORT, 'the access log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS access_fixed BEFORE UPDATE ON access BEGIN SELECT RAISE(ABORT, 'the access log is append-only'); END;`

// OpenIndex opens the index at path, made with its folder where absent. What is
// confirmed survives a power cut (WAL, synchronous FULL).
func OpenIndex(path string) (*Index, error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open footage index: %w", err)
	}
	at := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: "_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}
	db, err := sql.Open("sqlite", at.String())
	if err != nil {
		return nil, fmt.Errorf("open footage index %s: %w", path, err)
	}
	db.SetMaxOpenConns(4)
	if _, err := db.Exec(schema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open footage index %s: %w; if the file is damaged, move it away: seals are sent again from the boxes' folders", path, err)
	}
	return &Index{db}, nil
}

// Close closes the file.
func (x *Index) Close() error { return x.db.Close() }

// PutSegment stores a segment record and returns nil once it is durable. The
// same one twice is success. A different one in the same place of a chain, or
// one that does not repeat what its seal says, is an error whose Refused method
// returns true; any other error may be mended by calling again.
func (x *Index) PutSegment(ctx context.Context, store, edge string, s floorwatch.Segment) error {
	if err := repeatsSeal(store, edge, s); err != nil {
		return refusal{fmt.Errorf("index footage %s %d: %w", s.Chain, s.Seq, err)}
	}
	seal := s.Seal
	s.Seal = ""
	record, err := json.Marshal(s)
	if err != nil {
		return refusal{fmt.Errorf("index footage %s %d: %w", s.Chain, s.Seq, err)}
	}
	res, err := x.db.ExecContext(ctx, `INSERT INTO segment VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		store, edge, s.Camera, s.Chain, int64(s.Seq), int64(s.Start), int64(s.End), s.SHA256, seal, string(record))
	if err != nil {
		return fmt.Errorf("index footage %s %d: %w", s.Chain, s.Seq, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var have string
	err = x.db.QueryRowContext(ctx, `SELECT seal FROM segment WHERE store=? AND edge=? AND camera=? AND chain=? AND seq=?`,
		store, edge, s.Camera, s.Chain, int64(s.Seq)).Scan(&have)
	if err != nil {
		return fmt.Errorf("index footage %s %d: %w", s.Chain, s.Seq, err)
	}
	if have != seal {
		return refusal{fmt.Errorf("index footage %s %d: two different seals for the same place in the chain: possible tampering; keep both files", s.Chain, s.Seq)}
	}
	return nil
}

// repeatsSeal checks the seal's form and signature, and that the record says
// nothing else than the seal does. Whose key it is, is the caller's matter.
func repeatsSeal(store, edge string, s floorwatch.Segment) error {
	seal, err := floorwatch.ParseSeal([]byte(s.Seal))
	if err != nil {
		return err
	}
	for _, c := range [...]struct {
		what         string
		record, seal any
	}{
		{"kind", floorwatch.SealSegment, seal.Kind},
		{"store", store, seal.Store},
		{"edge", edge, seal.Edge},
		{"camera", s.Camera, seal.Camera},
		{"chain", s.Chain, seal.Chain},
		{"seq", s.Seq, seal.Seq},
		{"start", s.Start, seal.Start},
		{"end", s.End, seal.End},
		{"file", s.File, seal.File},
		{"bytes", s.Bytes, seal.Length},
		{"sha256", s.SHA256, seal.SHA256},
	} {
		if c.record != c.seal {
			return fmt.Errorf("the record says %s %v, its seal %v", c.what, c.record, c.seal)
		}
	}
	return nil
}

// Segments returns the pieces of one camera's footage that overlap [from, to),
// in order of their start, with their seals; ErrTooMany rather than a part.
func (x *Index) Segments(ctx context.Context, store, edge, camera string, from, to floorwatch.Time) ([]floorwatch.Segment, error) {
	rows, err := x.db.QueryContext(ctx, `SELECT seal, record FROM segment
		WHERE store=? AND edge=? AND camera=? AND start < ? AND "end" > ? ORDER BY start, chain, seq LIMIT ?`,
		store, edge, camera, int64(to), int64(from), MaxSegments+1)
	if err != nil {
		return nil, fmt.Errorf("list footage of %s: %w", camera, err)
	}
	defer func() { _ = rows.Close() }()
	var out []floorwatch.Segment
	for rows.Next() {
		var seal, record string
		if err := rows.Scan(&seal, &record); err != nil {
			return nil, fmt.Errorf("list footage of %s: %w", camera, err)
		}
		var s floorwatch.Segment
		if err := json.Unmarshal([]byte(record), &s); err != nil {
			return nil, fmt.Errorf("list footage of %s: %w", camera, err)
		}
		s.Seal = seal
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list footage of %s: %w", camera, err)
	}
	if len(out) > MaxSegments {
		return nil, fmt.Errorf("list footage of %s: %w", camera, ErrTooMany)
	}
	return out, nil
}

// Piece is when a piece of footage began and ended.
type Piece struct{ Start, End floorwatch.Time }

// maxPiece is longer than any piece: boxes begin a new file every minute.
const maxPiece = time.Hour

// Pieces returns the pieces of the cameras' footage that overlap [from, to), in
// order of their start.
func (x *Index) Pieces(ctx context.Context, cameras []site.Source, from, to floorwatch.Time) (map[site.Source][]Piece, error) {
	stmt, err := x.db.PrepareContext(ctx, `SELECT start, "end" FROM segment
		WHERE store=? AND edge=? AND camera=? AND start < ? AND start > ? AND "end" > ? ORDER BY start`)
	if err != nil {
		return nil, fmt.Errorf("list footage of all cameras: %w", err)
	}
	defer func() { _ = stmt.Close() }()
	out := make(map[site.Source][]Piece, len(cameras))
	for _, c := range cameras {
		rows, err := stmt.QueryContext(ctx, c.Store, c.Edge, c.Camera, int64(to), int64(from.Add(-maxPiece)), int64(from))
		if err != nil {
			return nil, fmt.Errorf("list footage of %s: %w", c.Camera, err)
		}
		for rows.Next() {
			var p Piece
			if err := rows.Scan(&p.Start, &p.End); err != nil {
				return nil, errors.Join(fmt.Errorf("list footage of %s: %w", c.Camera, err), rows.Close())
			}
			out[c] = append(out[c], p)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, fmt.Errorf("list footage of %s: %w", c.Camera, err)
		}
	}
	return out, nil
}
