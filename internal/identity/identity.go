// Package identity keeps the Ed25519 key by which a box or a cloud is known. What
// stays compatible: the file, PKCS #8 in PEM, which openssl reads too; and the
// text of a public key, standard base64.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"floorwatch/internal/durable"
)

// Load reads the private key at path, or makes one where there is none, readable
// by its owner alone. A key that cannot be read is an error and is never replaced:
// what was signed with it would no longer be ours.
func Load(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read key %s: it holds no PEM block; restore it from a backup, or remove it to make a new one", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key %s: it is no Ed25519 key", path)
	}
	return private, nil
}

func create(path string) (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return private, durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// Text writes a public key down.
func Text(k ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(k) }

// Parse reads a public key; nil for an empty text.
func Parse(text string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	if n := len(b); n != 0 && n != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key has %d bytes, want %d", n, ed25519.PublicKeySize)
	}
	return b, nil
}
