package site

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"floorwatch"
	"floorwatch/cloud/metadata"
)

// StandardTopic grows with each standard that is set.
const StandardTopic = "standard"

// StandardVersion is a standard as a node of the org tree has issued it. Body is
// what was signed, verbatim; the rest is told beside it, to be found by. Who
// writes one has checked the signature.
type StandardVersion struct {
	Node      string // the one that issued it
	Serial    int64
	ValidFrom floorwatch.Time
	Hash      string // SHA-256 of Body, in hex
	Signature []byte
	Body      []byte
}

// PutStandard keeps a version for good. The same one twice is success; another
// under a serial that the node has used is an error, as is one that is older than
// its newest.
func PutStandard(ctx context.Context, db *metadata.DB, s StandardVersion) error {
	sum := sha256.Sum256(s.Body)
	err := db.Write(ctx, StandardTopic, func(tx *metadata.Tx) error {
		if hex.EncodeToString(sum[:]) != s.Hash {
			return errors.New("its hash is not that of its body")
		}
		var have, newest int64
		var body, signature []byte
		err := tx.QueryRowContext(ctx, `SELECT coalesce(max(serial), 0) FROM standard WHERE node = $1`, s.Node).Scan(&newest)
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `SELECT serial, body, signature FROM standard WHERE node = $1 AND serial = $2`, s.Node, s.Serial).Scan(&have, &body, &signature)
		switch {
		case err == nil && bytes.Equal(body, s.Body) && bytes.Equal(signature, s.Signature):
			return nil
		case err == nil:
			return errors.New("another is there with this serial; a standard is never changed, it is followed by the next")
		case !errors.Is(err, sql.ErrNoRows):
			return err
		case s.Serial <= newest:
			return fmt.Errorf("want a serial above %d", newest)
		}
		tx.Changed()
		_, err = tx.ExecContext(ctx, `INSERT INTO standard (node, serial, valid_from, hash, signature, body) VALUES ($1, $2, $3, $4, $5, $6)`,
			s.Node, s.Serial, int64(s.ValidFrom), s.Hash, s.Signature, s.Body)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep standard %d of %s: %w", s.Serial, s.Node, err)
	}
	return nil
}

// Standards returns every version, by node and serial.
func Standards(ctx context.Context, db *metadata.DB) (all []StandardVersion, err error) {
	err = db.Read(ctx, func(tx *metadata.Tx) error {
		all = nil
		return each(ctx, tx, `SELECT node, serial, valid_from, hash, signature, body FROM standard ORDER BY node, serial`, func(rows *sql.Rows) error {
			var s StandardVersion
			if err := rows.Scan(&s.Node, &s.Serial, &s.ValidFrom, &s.Hash, &s.Signature, &s.Body); err != nil {
				return err
			}
			all = append(all, s)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read standards: %w", err)
	}
	return all, nil
}

// InForce returns the versions that hold at a moment, by the node that issued
// them: of each the highest serial that is valid by then.
func InForce(all []StandardVersion, t floorwatch.Time) map[string]StandardVersion {
	in := map[string]StandardVersion{}
	for _, s := range all {
		if s.ValidFrom <= t && s.Serial > in[s.Node].Serial {
			in[s.Node] = s
		}
	}
	return in
}
