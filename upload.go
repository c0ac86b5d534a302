package floorwatch

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// UploadPath is where the vault takes footage: UploadPath/STORE/EDGE/SHA256.
// HEAD asks how far an upload is, PATCH appends at that offset (docs/vault.md).
const UploadPath = "/vault/v1/"

// UploadLines ends the path of the camera lines over a piece of footage: PUT
// UploadPath/STORE/EDGE/SHA256 of the piece + UploadLines.
const UploadLines = "/lines"

// Headers of an upload request and its answer.
const (
	HeaderOffset    = "Upload-Offset" // bytes that the vault has, or at which the body goes
	HeaderComplete  = "Upload-Complete"
	HeaderTime      = "Floorwatch-Time"      // of signing, Unix ms
	HeaderSignature = "Floorwatch-Signature" // Ed25519, hex
)

// Limits of an upload.
const (
	MaxUploadChunk = 1 << 20 // bytes of one PATCH
	MaxObjectBytes = 2 << 30 // of one file
	UploadFresh    = 5 * time.Minute
)

// UploadClaim is what a box signs of an upload request. Path begins with
// UploadPath, whatever the vault stands behind; Offset is -1 where the request
// has none.
type UploadClaim struct {
	Method, Path string
	Offset       int64
	At           Time // of signing
	Body         []byte
}

func (c UploadClaim) text() []byte {
	sum := sha256.Sum256(c.Body)
	return fmt.Appendf(nil, "floorwatch upload v1\n%s\n%s\n%d\n%d\n%d\n%x\n", c.Method, c.Path, c.Offset, c.At, len(c.Body), sum)
}

// Sign returns the signature in hex.
func (c UploadClaim) Sign(key ed25519.PrivateKey) string {
	return hex.EncodeToString(ed25519.Sign(key, c.text()))
}

// Fresh refuses a request that was signed too long ago or in the future.
func (c UploadClaim) Fresh(now Time) error {
	if c.At < 0 || c.At > MaxTime {
		return errors.New("the request says no time of signing")
	}
	if d := now.Sub(c.At).Abs(); d > UploadFresh {
		return fmt.Errorf("the request was signed %v away from the cloud's clock, limit %v", d.Round(time.Second), UploadFresh)
	}
	return nil
}

// Check checks time and signature; now is the receiver's clock.
func (c UploadClaim) Check(signature string, now Time, key ed25519.PublicKey) error {
	if err := c.Fresh(now); err != nil {
		return err
	}
	sig, err := hex.DecodeString(signature)
	if err != nil || len(sig) != ed25519.SignatureSize || len(key) != ed25519.PublicKeySize {
		return errors.New("the request is not signed")
	}
	if !ed25519.Verify(key, c.text(), sig) {
		return errors.New("the signature is not that of the registered box over this request")
	}
	return nil
}

// Receipt is the vault's word that it has a file, checked against its seal and
// durable. The box keeps it and may then free its copy.
type Receipt struct {
	V      int    `json:"v"`
	Store  string `json:"store"`
	Edge   string `json:"edge"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	At     Time   `json:"at"`
}

// MaxReceiptBytes bounds a receipt.
const MaxReceiptBytes = 1 << 10

// ParseReceipt reads a receipt.
func ParseReceipt(b []byte) (Receipt, error) {
	var r Receipt
	if len(b) > MaxReceiptBytes {
		return r, fmt.Errorf("receipt has %d bytes, limit %d", len(b), MaxReceiptBytes)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("parse receipt: %w", err)
	}
	if r.V != Version || !ValidHash(r.SHA256) || !ValidName(r.Store) || !ValidName(r.Edge) || r.Bytes <= 0 {
		return r, fmt.Errorf("receipt %.200q is not one of version %d", b, Version)
	}
	return r, nil
}
