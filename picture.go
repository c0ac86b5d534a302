package floorwatch

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// MaxReplyData bounds what a reply carries, so that in base64 and with the rest it
// stays within MaxReplyBytes.
const MaxReplyData = 190_000

// NewCommandID names a command or a hold.
func NewCommandID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// signed is what a box signs of a reply that carries data. The command's id is
// drawn for one question, so the signature is good for no other.
func (r Reply) signed(store, edge string) []byte {
	return fmt.Appendf(nil, "floorwatch reply v1\n%s\n%s\n%s\n%d\n%d\n%x\n", store, edge, r.ID, r.At, len(r.Data), sha256.Sum256(r.Data))
}

// Sign signs the data of a reply for its box.
func (r *Reply) Sign(store, edge string, key ed25519.PrivateKey) {
	r.Signature = hex.EncodeToString(ed25519.Sign(key, r.signed(store, edge)))
}

// CheckSignature refuses data that the box with this key did not sign in answer
// to this very command.
func (r Reply) CheckSignature(store, edge string, key ed25519.PublicKey) error {
	sig, err := hex.DecodeString(r.Signature)
	if err != nil || len(sig) != ed25519.SignatureSize || len(key) != ed25519.PublicKeySize {
		return errors.New("the reply is not signed")
	}
	if !ed25519.Verify(key, r.signed(store, edge), sig) {
		return errors.New("the signature is not that of the registered box over this reply")
	}
	return nil
}

// Bounds of packed lines.
const (
	maxPackedLines = 200_000
	maxUnpacked    = 16 << 20 // bytes
)

// PackFrames writes camera lines as gzip of JSON lines, in at most limit bytes.
// Where all do not fit, every second frame is left out, again and again; events
// stay, as they say where track ids start anew.
func PackFrames(all []Frame, limit int) ([]byte, error) {
	for {
		b, size, err := packAll(all)
		if err != nil || len(b) <= limit && size < maxUnpacked && len(all) <= maxPackedLines {
			return b, err
		}
		n, keep := 0, make([]Frame, 0, len(all))
		for _, f := range all {
			if f.Event == "" {
				if n++; n%2 == 0 {
					continue
				}
			}
			keep = append(keep, f)
		}
		if len(keep) == len(all) {
			return nil, fmt.Errorf("pack camera lines: %d lines do not fit into %d bytes; ask for a shorter span", len(all), limit)
		}
		all = keep
	}
}

// packAll returns also how many bytes it packed.
func packAll(all []Frame) (packed []byte, size int, err error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	for _, f := range all {
		line, err := f.MarshalJSON()
		if err != nil {
			return nil, 0, fmt.Errorf("pack camera lines: %w", err)
		}
		size += len(line) + 1
		_, _ = z.Write(append(line, '\n')) // into memory
	}
	if err := z.Close(); err != nil {
		return nil, 0, fmt.Errorf("pack camera lines: %w", err)
	}
	return out.Bytes(), size, nil
}

// UnpackFrames reads what PackFrames wrote, in order of time. Whatever else it is
// given ends in an error, after a bounded amount of work.
func UnpackFrames(b []byte) ([]Frame, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("unpack camera lines: %w", err)
	}
	in := &io.LimitedReader{R: z, N: maxUnpacked}
	sc := bufio.NewScanner(in)
	sc.Buffer(make([]byte, 64<<10), MaxLine+1)
	var out []Frame
	for sc.Scan() {
		f, err := ParseFrame(sc.Bytes())
		if err != nil {
			return nil, fmt.Errorf("unpack camera lines: %w", err)
		}
		if out = append(out, f); len(out) > maxPackedLines {
			return nil, fmt.Errorf("unpack camera lines: more than %d", maxPackedLines)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("unpack camera lines: %w", err)
	}
	if in.N == 0 {
		return nil, fmt.Errorf("unpack camera lines: more than %d MiB", maxUnpacked>>20)
	}
	slices.SortStableFunc(out, func(a, b Frame) int { return cmp.Compare(a.T, b.T) })
	return out, nil
}
