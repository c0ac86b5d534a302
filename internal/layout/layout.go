// Package layout says how footage lies in folders, where more than one room
// reads them: the box, the vault, and whoever verifies either. docs/seal.md and
// docs/vault.md describe the folders; their names stay as they are.
package layout

import (
	"io"
	"path"

	"floorwatch"
)

// OpenFile is the file of a camera that is being written, the only one without
// a seal.
const OpenFile = "open.mp4"

// What lies in the folder of a vault.
const (
	VaultIndex = "vault.sqlite"
	ObjectsDir = "objects"
)

// ObjectPath is where footage lies below the vault's folder, by the SHA-256 of
// its bytes.
func ObjectPath(hash string) string { return path.Join(ObjectsDir, hash[:2], hash+".mp4") }

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
