package edge

import (
	"crypto/ed25519"
	"path/filepath"

	"floorwatch/internal/identity"
)

// KeyFile is the name of the box's private key in its data folder.
const KeyFile = "edge.key"

// LoadKey reads the box's key from dir, or makes one where there is none. One that
// cannot be read is never replaced: seals signed with it would no longer be ours.
func LoadKey(dir string) (ed25519.PrivateKey, error) {
	return identity.Load(filepath.Join(dir, KeyFile))
}
