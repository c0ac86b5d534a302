package vault

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"floorwatch"
)

// States of an object.
const (
	stateHere   = "here"
	stateGoing  = "going" // retention has decided, the bytes may still be there
	stateGone   = "gone"
	stateAbsent = "absent" // never arrived, and its box has it no more
)

// object is what the index knows of the bytes of a segment.
type object struct {
	bytes    int64
	received floorwatch.Time
	state    string // "" where nothing is known
}

func (x *Index) object(ctx context.Context, hash string) (object, error) {
	var o object
	err := x.db.QueryRowContext(ctx, `SELECT bytes, received, state FROM object WHERE sha256 = ?`, hash).Scan(&o.bytes, &o.received, &o.state)
	if errors.Is(err, sql.ErrNoRows) {
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("look up object %s: %w", hash, err)
	}
	return o, nil
}

// putObject notes a state, durably. What is here is not made absent.
func (x *Index) putObject(ctx context.Context, hash string, o object) error {
	_, err := x.db.ExecContext(ctx, `INSERT INTO object VALUES (?,?,?,?) ON CONFLICT DO UPDATE
		SET bytes = excluded.bytes, received = excluded.received, state = excluded.state
		WHERE excluded.state <> 'absent' OR state <> 'here'`, hash, o.bytes, int64(o.received), o.state)
	if err != nil {
		return fmt.Errorf("note object %s: %w", hash, err)
	}
	return nil
}

// errNoSeal says that no segment record has named a hash yet.
var errNoSeal = errors.New("no seal of this footage has arrived")

// sealed returns the segment of a box whose file has that hash.
func (x *Index) sealed(ctx context.Context, store, edge, hash string) (floorwatch.Segment, error) {
	var record string
	var s floorwatch.Segment
	err := x.db.QueryRowContext(ctx, `SELECT record FROM segment WHERE sha256 = ? AND store = ? AND edge = ? LIMIT 1`, hash, store, edge).Scan(&record)
	if errors.Is(err, sql.ErrNoRows) {
		return s, errNoSeal
	}
	if err == nil {
		err = json.Unmarshal([]byte(record), &s)
	}
	if err != nil {
		return s, fmt.Errorf("look up seal of %s: %w", hash, err)
	}
	return s, nil
}

// PutSeal stores the seal of a gap or a deletion, verbatim, and returns nil once
// it is durable. It follows the rules of PutSegment.
func (x *Index) PutSeal(ctx context.Context, store, edge, raw string) error {
	s, err := floorwatch.ParseSeal([]byte(raw))
	if err == nil && (s.Store != store || s.Edge != edge || s.Kind == floorwatch.SealSegment) {
		err = fmt.Errorf("a seal of %s/%s about a %s came from %s/%s", s.Store, s.Edge, s.Kind, store, edge)
	}
	if err != nil {
		return refusal{fmt.Errorf("index seal: %w", err)}
	}
	res, err := x.db.ExecContext(ctx, `INSERT INTO seal VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING`, store, edge, s.Camera, s.Chain, int64(s.Seq), raw)
	if err != nil {
		return fmt.Errorf("index seal %s %d: %w", s.Chain, s.Seq, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var have string
	if err := x.db.QueryRowContext(ctx, `SELECT seal FROM seal WHERE store=? AND edge=? AND camera=? AND chain=? AND seq=?`,
		store, edge, s.Camera, s.Chain, int64(s.Seq)).Scan(&have); err != nil {
		return fmt.Errorf("index seal %s %d: %w", s.Chain, s.Seq, err)
	}
	if have != raw {
		return refusal{fmt.Errorf("index seal %s %d: two different seals for the same place in the chain: possible tampering; keep both files", s.Chain, s.Seq)}
	}
	return nil
}
