// Package verify checks footage against its seals: a box's folder, one file with
// its seal, or a vault. It is what an auditor trusts, so it changes nothing,
// reaches for no network and prints nothing: whoever asks gets a Report.
//
//	v := verify.Verifier{Key: box}
//	report, err := v.Folder(ctx, "data/footage")
//
// docs/seal.md says what is checked and what is not. The JSON of a Report stays
// readable for programs.
package verify

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"floorwatch"
	"floorwatch/internal/layout"
)

// Verifier says what footage is checked against.
type Verifier struct {
	Key  ed25519.PublicKey // of the box; nil: a signature by any key is accepted, and the report says so
	Head string            // hash of a seal that must be in the chain; "": none
}

// Report is what was found.
type Report struct {
	Sound   bool     `json:"sound"`
	Pinned  bool     `json:"key_pinned"`
	Keys    []string `json:"keys"` // that signed the seals
	Cameras []Camera `json:"cameras"`
	Faults  []Fault  `json:"faults"`
	Notes   []string `json:"notes"`
}

// Camera sums up one camera, in seconds.
type Camera struct {
	Store        string          `json:"store"`
	Edge         string          `json:"edge"`
	Camera       string          `json:"camera"`
	From         floorwatch.Time `json:"from"`
	To           floorwatch.Time `json:"to"`
	Segments     int             `json:"segments"`
	StoredS      float64         `json:"stored_s"`
	DeletedS     float64         `json:"deleted_s"`
	GapS         float64         `json:"gap_s"`
	UnexplainedS float64         `json:"unexplained_s"`
	Faults       int             `json:"faults"`
	LastSeal     string          `json:"last_seal"` // hash; compare it with the cloud's
}

// Fault is one thing that is not as it was sealed, with the span of capture time
// that it puts in doubt where that is known.
type Fault struct {
	Camera string          `json:"camera,omitempty"`
	Path   string          `json:"path,omitempty"`
	What   string          `json:"what"`
	From   floorwatch.Time `json:"from,omitempty"`
	To     floorwatch.Time `json:"to,omitempty"`
}

func (f Fault) String() string {
	var b strings.Builder
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.What)
	if f.To != 0 {
		fmt.Fprintf(&b, " (%s to %s)", f.From, f.To)
	}
	return b.String()
}

// IsVault tells a vault's folder (docs/vault.md) from a box's.
func IsVault(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, layout.VaultIndex))
	return err == nil
}

// Folder checks a box's folder of footage. A box at work may change it meanwhile:
// faults are then looked at again.
func (v Verifier) Folder(ctx context.Context, dir string) (Report, error) {
	return v.folder(ctx, dir, "")
}

// File checks one .mp4 file against the .seal beside it, not its place in the
// chain.
func (v Verifier) File(ctx context.Context, path string) (Report, error) {
	return v.folder(ctx, filepath.Dir(path), filepath.Base(path))
}

func (v Verifier) folder(ctx context.Context, dir, only string) (Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = root.Close() }()
	for attempt := 0; ; attempt++ {
		f, err := collect(ctx, root, only)
		if err != nil {
			return Report{}, fmt.Errorf("verify %s: %w", dir, err)
		}
		c := newChecker(v, f)
		c.single = only != ""
		out, err := c.run(ctx)
		if err != nil || out.Sound || attempt == 2 {
			return out, err
		}
		if again, err := collect(ctx, root, only); err != nil || again.same(f) {
			return out, err
		}
	}
}

// checker works through one folder.
type checker struct {
	found
	want    Verifier
	single  bool // one file, outside of its chain
	out     Report
	content map[string]string // SHA-256 of a file -> the path that it belongs to
	hashes  map[string]bool   // of all seals
	claimed map[string]bool   // files that have a seal
}
