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

// Target is how long people may wait: at least Share of all waits are to last no
// longer than WithinS.
type Target struct {
	WithinS int64   `json:"within_s"`
	Share   float64 `json:"share"` // above 0, up to 1
}

// Check refuses a target that nobody can mean.
func (t Target) Check() error {
	switch {
	case t.WithinS < 1 || t.WithinS > int64(MaxTarget/time.Second):
		return fmt.Errorf("a wait of %d s is no target; want 1 s to %v", t.WithinS, MaxTarget)
	case !(t.Share > 0 && t.Share <= 1):
		return fmt.Errorf("a share of %v is none; want more than 0, up to 1", t.Share)
	}
	return nil
}

// Standard is a version of what a node of the org tree asks of all halls below it.
// What it leaves out it does not set. The highest node above a hall that sets
// something wins; a version is never changed, the next one of the node follows it.
type Standard struct {
	V         int     `json:"v"`
	Node      string  `json:"node"` // the one that issues it
	Serial    int64   `json:"serial"`
	ValidFrom Time    `json:"valid_from"`
	Wait      *Target `json:"wait_target,omitempty"`
}

// Check refuses a standard that cannot be meant.
func (s Standard) Check() error {
	switch {
	case s.V != Version:
		return fmt.Errorf("standard of version %d, want %d", s.V, Version)
	case !ValidName(s.Node):
		return fmt.Errorf("standard of node %.50q: a name is %s", s.Node, NameRule)
	case s.Serial < 1 || s.Serial > maxSerial:
		return fmt.Errorf("standard of serial %d; they count from 1", s.Serial)
	case s.ValidFrom <= 0 || s.ValidFrom > MaxTime:
		return fmt.Errorf("standard is valid from %d, which is no time", s.ValidFrom)
	case s.Wait != nil:
		return s.Wait.Check()
	}
	return nil
}

// SetTarget is a target with the version that sets it.
type SetTarget struct {
	Target
	Node      string `json:"node"`
	Serial    int64  `json:"serial"`
	ValidFrom Time   `json:"valid_from"`
	Hash      string `json:"hash"` // of the standard, as Signed.Hash
}

// TargetSpan is a span with one target, which ends where the next begins; Wait is
// nil where none is set.
type TargetSpan struct {
	From Time       `json:"from"`
	Wait *SetTarget `json:"wait_target"`
}

// HallStandard is what a hall's boxes are told: what holds there, and what is
// planned to, so that a box knows tomorrow without an uplink.
type HallStandard struct {
	V      int        `json:"v"`
	Store  string     `json:"store"`
	Serial int64      `json:"serial"` // grows with each that the hall is told
	Spans  []HallSpan `json:"spans"`  // in order of time
}

// HallSpan is what holds in a hall until the next span begins.
type HallSpan struct {
	From Time       `json:"from"`
	Wait *SetTarget `json:"wait_target,omitempty"` // nil: none is set
	Hours
}

// Check refuses what cannot be told.
func (h HallStandard) Check() error {
	switch {
	case h.V != Version:
		return fmt.Errorf("standard of version %d, want %d", h.V, Version)
	case !ValidName(h.Store):
		return fmt.Errorf("standard of hall %.50q: a name is %s", h.Store, NameRule)
	case h.Serial < 1 || h.Serial > maxSerial:
		return fmt.Errorf("standard of serial %d; they count from 1", h.Serial)
	case len(h.Spans) == 0:
		return errors.New("standard says nothing")
	}
	for i, s := range h.Spans {
		if s.From < 0 || s.From > MaxTime || i > 0 && s.From <= h.Spans[i-1].From {
			return fmt.Errorf("standard has spans from %d that are not in order", s.From)
		}
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s HallSpan) check() error {
	if _, err := time.LoadLocation(s.TimeZone); err != nil {
		return fmt.Errorf("time zone %.50q of the standard: %w", s.TimeZone, err)
	}
	for _, o := range s.Opening {
		if !o.ValidDays() || !o.ValidHours() {
			return fmt.Errorf("opening hours %.80q of the standard are none", o.String())
		}
	}
	for _, list := range s.Exceptions {
		for _, e := range list {
			if !e.ValidDates() || !e.ValidHours() {
				return fmt.Errorf("days %.80q of the standard are none", e.String())
			}
		}
	}
	if s.Wait != nil {
		return s.Wait.Check()
	}
	return nil
}

// Says tells whether it says anything: a target, or hours.
func (h HallStandard) Says() bool {
	for _, s := range h.Spans {
		if s.Wait != nil || len(s.Opening) > 0 || len(s.Exceptions) > 0 {
			return true
		}
	}
	return false
}

// At returns what holds at a moment; of one before the first span, that one.
func (h HallStandard) At(t Time) HallSpan { return h.Since(t)[0] }

// Since returns what holds at a moment and later.
func (h HallStandard) Since(t Time) []HallSpan {
	i := len(h.Spans) - 1
	for i > 0 && h.Spans[i].From > t {
		i--
	}
	return h.Spans[i:]
}

// Bounds of a standard.
const (
	MaxStandardBytes = 12 << 10 // of a body: some 150 exceptions
	MaxTarget        = 24 * time.Hour
	maxSerial        = 1 << 53
)

// ErrStandardSignature is what an error of ParseStandard and ParseHallStandard is
// where the signature is not that of the key.
var ErrStandardSignature = errors.New("its signature is not that of the cloud's key")

// Signed is a standard with its signature. Body is what was signed: it is kept and
// carried verbatim, never written anew.
type Signed struct {
	Body      string `json:"body"`      // JSON
	Signature string `json:"signature"` // Ed25519, hex
}

// Hash names what was signed: SHA-256 of the body, in hex.
func (s Signed) Hash() string {
	sum := sha256.Sum256([]byte(s.Body))
	return hex.EncodeToString(sum[:])
}

// What stands before a body where it is signed, so that a signature of one thing
// is none of another.
const (
	standardHead     = "floorwatch standard v1\n"
	hallStandardHead = "floorwatch hall standard v1\n"
)

// SignStandard signs a standard, which ParseStandard reads.
func SignStandard(s Standard, key ed25519.PrivateKey) (Signed, error) {
	return signed(standardHead, s, s.Check(), key)
}

// SignHallStandard signs what a hall is told, which ParseHallStandard reads.
func SignHallStandard(h HallStandard, key ed25519.PrivateKey) (Signed, error) {
	return signed(hallStandardHead, h, h.Check(), key)
}

func signed(head string, v any, fault error, key ed25519.PrivateKey) (s Signed, err error) {
	if fault != nil {
		return s, fmt.Errorf("sign: %w", fault)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return s, fmt.Errorf("sign standard: %w", err)
	}
	if len(body) > MaxStandardBytes {
		return s, fmt.Errorf("sign standard: it has %d bytes, limit %d; take exceptions out that are over, or write days that follow each other as one span", len(body), MaxStandardBytes)
	}
	return Signed{string(body), hex.EncodeToString(ed25519.Sign(key, append([]byte(head), body...)))}, nil
}

// ParseStandard checks the signature of a standard and reads it.
func ParseStandard(s Signed, key ed25519.PublicKey) (out Standard, err error) {
	if err := s.open(standardHead, key, &out); err != nil {
		return Standard{}, err
	}
	return out, out.Check()
}

// ParseHallStandard checks the signature of what a hall is told and reads it.
func ParseHallStandard(s Signed, key ed25519.PublicKey) (out HallStandard, err error) {
	if err := s.open(hallStandardHead, key, &out); err != nil {
		return HallStandard{}, err
	}
	return out, out.Check()
}

// check refuses what is no signed standard, whatever its key.
func (s Signed) check() error {
	if len(s.Body) == 0 || len(s.Body) > MaxStandardBytes || len(s.Signature) != 2*ed25519.SignatureSize {
		return fmt.Errorf("standard of %d bytes with a signature of %d digits; want up to %d, and %d",
			len(s.Body), len(s.Signature), MaxStandardBytes, 2*ed25519.SignatureSize)
	}
	return nil
}

func (s Signed) open(head string, key ed25519.PublicKey, into any) error {
	if err := s.check(); err != nil {
		return err
	}
	sig, err := hex.DecodeString(s.Signature)
	if err != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(head), s.Body...), sig) {
		return fmt.Errorf("standard refused: %w", ErrStandardSignature)
	}
	if err := json.Unmarshal([]byte(s.Body), into); err != nil {
		return fmt.Errorf("parse standard: %w", err)
	}
	return nil
}
