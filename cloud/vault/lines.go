package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"floorwatch"
	"floorwatch/cloud/site"
)

// errOtherLines says that a piece of footage has other lines already. The first
// stay: what people were shown to have done is not rewritten later.
var errOtherLines = errors.New("other lines of this piece are here already")

// errNoFootageOf says that lines have nothing to lie over.
var errNoFootageOf = errors.New("the footage of these lines is not here")

// keepLines stores the camera lines over a piece of footage that is here. The
// signature of the request stays with them: it says that the box sent these lines
// for this piece, and nothing of whether they are true.
func (u *Uploads) keepLines(ctx context.Context, t target, c floorwatch.UploadClaim, signature string, seg floorwatch.Segment) (answer, error) {
	lines, err := floorwatch.UnpackFrames(c.Body)
	if err != nil {
		return no(http.StatusUnprocessableEntity, err.Error(), "send gzip of JSON lines"), nil
	}
	if n := len(lines); n == 0 || lines[0].T < seg.Start || lines[n-1].T >= seg.End {
		return no(http.StatusUnprocessableEntity, "the lines are not of the piece's span", ""), nil
	}
	sum := sha256.Sum256(c.Body)
	row := linesRow{hex.EncodeToString(sum[:]), int64(len(c.Body)), c.At, signature}
	if err := u.Lines.Keep(ctx, row.sha256, row.bytes, bytes.NewReader(c.Body)); err != nil {
		return answer{}, err
	}
	err = u.Index.putLines(ctx, t, row)
	if errors.Is(err, errOtherLines) || errors.Is(err, errNoFootageOf) {
		return no(http.StatusUnprocessableEntity, err.Error(), ""), removeLines(ctx, u.Index, u.Lines, row.sha256, "")
	}
	if err != nil {
		return answer{}, err
	}
	u.count(func(s *UploadStats) { s.Bytes += row.bytes })
	return at(row.bytes), nil
}

// linesRow is what the index knows of lines.
type linesRow struct {
	sha256    string
	bytes     int64
	at        floorwatch.Time // of the signature
	signature string
}

// putLines notes the lines of a piece, durably. The same ones twice is success.
func (x *Index) putLines(ctx context.Context, t target, l linesRow) error {
	res, err := x.db.ExecContext(ctx, `INSERT INTO lines SELECT ?1,?2,?3,?4,?5,?6,?7
		WHERE EXISTS (SELECT 1 FROM object WHERE sha256 = ?1 AND state = 'here') ON CONFLICT DO NOTHING`,
		t.hash, t.store, t.edge, l.sha256, l.bytes, int64(l.at), l.signature)
	if err != nil {
		return fmt.Errorf("note lines of %s: %w", t.hash, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	have, err := x.linesOf(ctx, t.store, t.edge, t.hash)
	switch {
	case err != nil:
		return err
	case have == "":
		return errNoFootageOf
	case have != l.sha256:
		return errOtherLines
	}
	return nil
}

// linesOf returns the hash of the lines over a piece of footage, "" where there
// are none.
func (x *Index) linesOf(ctx context.Context, store, edge, segment string) (hash string, err error) {
	err = x.db.QueryRowContext(ctx, `SELECT sha256 FROM lines WHERE segment = ? AND store = ? AND edge = ?`, segment, store, edge).Scan(&hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look up lines of %s: %w", segment, err)
	}
	return hash, nil
}

// purgeLines deletes the lines over a piece that goes, before the piece itself: a
// crash in between is taken up by the next sweep.
func (r *Retention) purgeLines(ctx context.Context, segment string) error {
	if r.Lines == nil {
		return nil
	}
	hashes, err := r.Index.linesOver(ctx, segment)
	if err != nil {
		return err
	}
	for _, hash := range hashes {
		if err := removeLines(ctx, r.Index, r.Lines, hash, segment); err != nil {
			return err
		}
	}
	if _, err := r.Index.db.ExecContext(ctx, `DELETE FROM lines WHERE segment = ?`, segment); err != nil {
		return fmt.Errorf("note deletion of the lines of %s: %w", segment, err)
	}
	return nil
}

func (x *Index) linesOver(ctx context.Context, segment string) (out []string, err error) {
	rows, err := x.db.QueryContext(ctx, `SELECT sha256 FROM lines WHERE segment = ?`, segment)
	if err != nil {
		return nil, fmt.Errorf("list lines of %s: %w", segment, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var hash string
		if err := rows.Scan(&hash); err != nil {
			return nil, fmt.Errorf("list lines of %s: %w", segment, err)
		}
		out = append(out, hash)
	}
	return out, rows.Err()
}

// removeLines deletes lines, unless they lie over another piece than segment too.
func removeLines(ctx context.Context, x *Index, objects Objects, hash, segment string) error {
	var used bool
	err := x.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM lines WHERE sha256 = ? AND segment <> ?)`, hash, segment).Scan(&used)
	if err != nil {
		return fmt.Errorf("look up lines %s: %w", hash, err)
	}
	if used {
		return nil
	}
	return objects.Remove(ctx, hash)
}

// linesJoin is how far apart two pieces may lie and still be one span.
const linesJoin = 1000 // ms

// FramesOf returns the camera lines that came with the footage of [from, to), in
// order of time, and the least span outside which nothing is missing: lo = hi
// where none is.
func (a *Archive) FramesOf(ctx context.Context, c site.Source, from, to floorwatch.Time) (frames []floorwatch.Frame, lo, hi floorwatch.Time, err error) {
	if a.Lines == nil {
		return nil, from, to, nil
	}
	segs, err := a.Segments(ctx, c, from, to)
	if err != nil {
		return nil, 0, 0, err
	}
	lack := func(l, h floorwatch.Time) {
		if lo == hi {
			lo = l
		}
		hi = h
	}
	last := from
	for _, seg := range segs {
		all, err := a.frames(ctx, c, seg)
		if err != nil {
			a.log().Warn("camera lines of the vault are left out", "store", c.Store, "edge", c.Edge, "camera", c.Camera, "piece", seg.SHA256, "error", err)
		}
		if len(all) == 0 {
			continue
		}
		if seg.Start-last > linesJoin {
			lack(last, seg.Start)
		}
		last = max(last, seg.End)
		for _, f := range all {
			if f.T >= from && f.T < to {
				frames = append(frames, f)
			}
		}
	}
	if to-last > linesJoin {
		lack(last, to)
	}
	return frames, lo, hi, nil
}

// frames reads the lines over one piece; none where none came.
func (a *Archive) frames(ctx context.Context, c site.Source, seg floorwatch.Segment) ([]floorwatch.Frame, error) {
	hash, err := a.Index.linesOf(ctx, c.Store, c.Edge, seg.SHA256)
	if err != nil || hash == "" {
		return nil, err
	}
	r, err := a.Lines.Open(ctx, hash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // on its way out
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, floorwatch.MaxUploadChunk+1))
	if err != nil {
		return nil, fmt.Errorf("read lines %s: %w", hash, err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != hash {
		return nil, fmt.Errorf("read lines %s: %w", hash, ErrAltered)
	}
	return floorwatch.UnpackFrames(b)
}
