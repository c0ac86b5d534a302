// Package layout says how footage lies in folders, where more than one room
// reads them: the box, the vault, and whoever verifies either. docs/seal.md and
// docs/vault.md describe the folders; their names stay as they are.
package layout

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"floorwatch"
)

// OpenFile is the file of a camera that is being written, the only one without
// a seal.
const OpenFile = "open.mp4"

// Day returns the name of the folder, in that of a camera, for t.
func Day(t floorwatch.Time) string { return t.Time().Format(time.DateOnly) }

// Days lists the day folders of a camera, oldest first; none is no error.
func Days(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by day
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list footage: %w", err)
	}
	var days []string
	for _, e := range entries {
		if t, err := time.Parse(time.DateOnly, e.Name()); err == nil && e.IsDir() && t.Format(time.DateOnly) == e.Name() {
			days = append(days, e.Name())
		}
	}
	return days, nil
}

// CheckSpan refuses names and spans from outside that cannot be served.
func CheckSpan(camera string, from, to floorwatch.Time, limit time.Duration) error {
	switch {
	case !floorwatch.ValidName(camera):
		return fmt.Errorf("camera %.50q: a name is %s", camera, floorwatch.NameRule)
	case from < 0 || from >= to || to > 1<<53:
		return fmt.Errorf("the time range %d to %d is empty or cannot be", from, to)
	case to-from > floorwatch.Time(limit.Milliseconds()):
		return fmt.Errorf("time range of %v, limit %v", to.Sub(from), limit)
	}
	return nil
}

// What lies in the folder of a vault.
const (
	VaultIndex = "vault.sqlite"
	ObjectsDir = "objects"
	LinesDir   = "lines"
)

// ObjectPath is where footage lies below the vault's folder, by the SHA-256 of
// its bytes.
func ObjectPath(hash string) string { return path.Join(ObjectsDir, hash[:2], hash+".mp4") }

// LinesPath is where camera lines over footage lie, in the same way.
func LinesPath(hash string) string { return path.Join(LinesDir, hash[:2], hash+".jsonl.gz") }

// ReadSeal reads and checks one seal file. For a damaged one err wraps
// floorwatch.ErrSealForm or ErrSealSignature, and raw is what was read all the
// same: seals after it name its hash.
func ReadSeal(r io.Reader) (s floorwatch.Seal, raw []byte, err error) {
	raw, err = io.ReadAll(io.LimitReader(r, floorwatch.MaxSealBytes+1))
	if err != nil {
		return s, nil, err
	}
	s, err = floorwatch.ParseSeal(raw)
	return s, raw, err
}
