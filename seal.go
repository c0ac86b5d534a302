package floorwatch

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Kinds of seal. All three stand in one chain per camera, so that footage on
// disk, footage deleted by retention and gaps account for all of its time.
const (
	SealSegment = "segment" // a closed file of footage
	SealGap     = "gap"     // a span without footage, with its cause
	SealDeleted = "deleted" // files that retention removed; their seals stay
)

// Limits of a seal. The largest one still fits into a segment record.
const (
	MaxSealBytes     = 192 << 10
	MaxSealFragments = 1500 // the init segment included
	MaxSealGone      = 1000
	MaxSealCause     = 200
)

// Seal is what a box swears about a span of one camera's time. Its form on disk
// and on the wire is the byte string of docs/seal.md, never JSON. Hashes are
// SHA-256 as 64 lower-case hex digits.
type Seal struct {
	Kind   string
	Store  string
	Edge   string
	Camera string
	Chain  string // 16 hex digits, drawn when the chain began
	Seq    uint64 // from 1, one more than the seal before it
	Prev   string // SHA-256 of the seal before it, "" for none
	Lost   bool   // first of a chain that replaces a lost one: Prev is the last seal that the cloud acknowledged
	At     Time   // when it was sealed
	Start  Time   // capture time of the span [Start, End)
	End    Time
	Synced bool   // the clock was synchronised over the whole span
	Boot   string // 32 hex digits, the boot of the machine that stamped it
	// Milliseconds since that boot at Start and End; both 0 where the span was
	// not watched by one boot.
	MonoStart, MonoEnd int64

	Cause string // of a gap or a deletion

	// Of a segment.
	File      string // name beside the seal
	Partial   bool   // salvaged: the recorder did not close the file itself
	Codec     string // RFC 6381
	Length    int64  // bytes
	SHA256    string // of the whole file
	Fragments []Fragment

	Gone []string // of a deletion: SHA-256 of the seals whose files were removed

	Key ed25519.PublicKey
}

// Fragment is a run of bytes of a file: the init segment first, then each
// fragment of media with its place in the file's time, in milliseconds.
type Fragment struct {
	Length   int64
	Offset   int64 // from the seal's Start
	Duration int64 // 0 for the init segment alone
	SHA256   string
}

// Errors of ParseSeal, for errors.Is.
var (
	ErrSealForm      = errors.New("not a canonical seal")
	ErrSealSignature = errors.New("signature of the seal is wrong")
)

const sealHead = "floorwatch seal v1"

var (
	hexRE   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	bootRE  = regexp.MustCompile(`^[0-9a-f]{32}$`)
	fileRE  = regexp.MustCompile(`^[a-z0-9_-]{1,60}\.mp4$`)
	codecRE = regexp.MustCompile(`^[A-Za-z0-9.]{1,40}$`)
	causeRE = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
)

// SealHash names a seal: the SHA-256 of all its bytes, signature included.
func SealHash(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// SignSeal returns the bytes of s, signed with key; s.Key is set from key. It
// refuses a seal that ParseSeal would refuse.
func SignSeal(s Seal, key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("sign seal: private key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	s.Key = key.Public().(ed25519.PublicKey)
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("sign seal: %w", err)
	}
	body := s.encode()
	raw := append(body, "sig "+hex.EncodeToString(ed25519.Sign(key, body))+"\n"...)
	if len(raw) > MaxSealBytes {
		return nil, fmt.Errorf("sign seal: %d bytes, limit %d", len(raw), MaxSealBytes)
	}
	return raw, nil
}

// ParseSeal reads a seal, refuses every form but the canonical one
// (ErrSealForm) and checks the signature against the key that the seal names
// (ErrSealSignature). Whether that key is to be trusted is the caller's matter.
func ParseSeal(raw []byte) (Seal, error) {
	if len(raw) > MaxSealBytes {
		return Seal{}, fmt.Errorf("%w: %d bytes, limit %d", ErrSealForm, len(raw), MaxSealBytes)
	}
	r := sealReader{rest: string(raw), line: 1}
	s := r.seal()
	body := raw[:len(raw)-len(r.rest)]
	sig := r.bytes("sig", ed25519.SignatureSize)
	if r.err == nil && r.rest != "" {
		r.fail("%d bytes after the signature", len(r.rest))
	}
	if r.err != nil {
		return Seal{}, r.err
	}
	if err := s.check(); err != nil {
		return Seal{}, fmt.Errorf("%w: %w", ErrSealForm, err)
	}
	// Whatever the reader let pass that the writer would not write ends here.
	if want := s.encode(); !bytes.Equal(want, body) || hex.EncodeToString(sig) != string(raw[len(raw)-1-2*len(sig):len(raw)-1]) {
		return Seal{}, fmt.Errorf("%w: line %d is not written as the format says", ErrSealForm, differs(want, raw))
	}
	if !ed25519.Verify(s.Key, body, sig) {
		return Seal{}, fmt.Errorf("%w: it was changed, or not made with the key that it names", ErrSealSignature)
	}
	return s, nil
}

// differs returns the number of the first line in which a and b differ.
func differs(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return bytes.Count(b[:n], []byte("\n")) + 1
}

// encode returns the signed part.
func (s Seal) encode() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(sealHead)
	line("kind %s\nstore %s\nedge %s\ncamera %s", s.Kind, s.Store, s.Edge, s.Camera)
	line("chain %s\nseq %d\nprev %s", s.Chain, s.Seq, s.prev())
	line("at %d\nspan %d %d", s.At, s.Start, s.End)
	line("clock %s", choose(s.Synced, "synced", "unsynced"))
	line("boot %s\nmono %d %d", s.Boot, s.MonoStart, s.MonoEnd)
	switch s.Kind {
	case SealSegment:
		line("file %s\npartial %s\ncodec %s", s.File, choose(s.Partial, "yes", "no"), s.Codec)
		line("length %d\nsha256 %s\nfragments %d", s.Length, s.SHA256, len(s.Fragments))
		for _, f := range s.Fragments {
			line("fragment %d %d %d %s", f.Length, f.Offset, f.Duration, f.SHA256)
		}
	case SealGap:
		line("cause %s", s.Cause)
	case SealDeleted:
		line("cause %s\ngone %d", s.Cause, len(s.Gone))
		for _, h := range s.Gone {
			line("seal %s", h)
		}
	}
	line("key %s", hex.EncodeToString(s.Key))
	return b.Bytes()
}

func (s Seal) prev() string {
	switch {
	case s.Prev == "":
		return "none"
	case s.Lost:
		return "lost " + s.Prev
	}
	return s.Prev
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// check refuses a seal that cannot be true.
func (s Seal) check() error {
	switch {
	case s.Kind != SealSegment && s.Kind != SealGap && s.Kind != SealDeleted:
		return fmt.Errorf("kind %.20q is unknown", s.Kind)
	case !ValidName(s.Store) || !ValidName(s.Edge) || !ValidName(s.Camera):
		return fmt.Errorf("store %.50q, edge %.50q, camera %.50q: a name is %s", s.Store, s.Edge, s.Camera, NameRule)
	case !logRE.MatchString(s.Chain):
		return fmt.Errorf("chain %.50q is not 16 hex digits", s.Chain)
	case s.Seq == 0 || s.Seq > 1<<53:
		return fmt.Errorf("seq %d; they count from 1", s.Seq)
	case s.Prev != "" && !hexRE.MatchString(s.Prev), s.Lost && s.Prev == "":
		return fmt.Errorf("prev %.80q is not a SHA-256", s.Prev)
	case s.At < 0 || s.At > MaxTime || s.Start < 0 || s.End > MaxTime || s.Start >= s.End:
		return fmt.Errorf("span %d %d at %d is no span between 1970 and 2200", s.Start, s.End, s.At)
	case !bootRE.MatchString(s.Boot):
		return fmt.Errorf("boot %.50q is not 32 hex digits", s.Boot)
	case s.MonoStart < 0 || s.MonoEnd < s.MonoStart || s.MonoEnd > int64(MaxTime):
		return fmt.Errorf("mono %d %d runs back", s.MonoStart, s.MonoEnd)
	case len(s.Key) != ed25519.PublicKeySize:
		return fmt.Errorf("key has %d bytes, want %d", len(s.Key), ed25519.PublicKeySize)
	case s.Kind == SealSegment:
		return s.checkSegment()
	case len(s.Cause) > MaxSealCause || !causeRE.MatchString(s.Cause):
		return fmt.Errorf("cause is not 1 to %d printable ASCII characters", MaxSealCause)
	case s.Kind == SealDeleted && (len(s.Gone) == 0 || len(s.Gone) > MaxSealGone):
		return fmt.Errorf("a deletion of %d files, limit %d", len(s.Gone), MaxSealGone)
	}
	for _, h := range s.Gone {
		if !hexRE.MatchString(h) {
			return fmt.Errorf("gone %.80q is not a SHA-256", h)
		}
	}
	return nil
}

func (s Seal) checkSegment() error {
	switch {
	case !fileRE.MatchString(s.File):
		return fmt.Errorf("file %.80q is no name of a footage file", s.File)
	case !codecRE.MatchString(s.Codec):
		return fmt.Errorf("codec %.50q is none", s.Codec)
	case !hexRE.MatchString(s.SHA256):
		return fmt.Errorf("sha256 %.80q is not a SHA-256", s.SHA256)
	case len(s.Fragments) < 2 || len(s.Fragments) > MaxSealFragments:
		return fmt.Errorf("%d fragments; at least the init segment and one more, limit %d", len(s.Fragments), MaxSealFragments)
	case s.Fragments[0].Duration != 0:
		return fmt.Errorf("the init segment lasts %d ms", s.Fragments[0].Duration)
	}
	var length, offset int64
	for i, f := range s.Fragments {
		if f.Length <= 0 || f.Length > s.Length-length || f.Offset != offset || f.Duration < 0 ||
			f.Duration > int64(s.End-s.Start) || !hexRE.MatchString(f.SHA256) {
			return fmt.Errorf("fragment %d does not follow the one before it", i)
		}
		length += f.Length
		offset += f.Duration
	}
	if length != s.Length {
		return fmt.Errorf("fragments have %d bytes, the file %d", length, s.Length)
	}
	if offset != int64(s.End-s.Start) {
		return fmt.Errorf("fragments last %d ms, the span %d", offset, s.End-s.Start)
	}
	return nil
}

// sealReader takes a seal apart line by line; after an error it yields zeros.
type sealReader struct {
	rest string
	line int
	err  error
}

func (r *sealReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: line %d: %s", ErrSealForm, r.line, fmt.Sprintf(format, args...))
	}
}

// text returns what follows "name " on the next line.
func (r *sealReader) text(name string) string {
	if r.err != nil {
		return ""
	}
	line, rest, ok := strings.Cut(r.rest, "\n")
	value, named := strings.CutPrefix(line, name+" ")
	if !ok || !named {
		r.fail("want %q and a newline", name+" …")
		return ""
	}
	r.rest = rest
	r.line++
	return value
}

// numbers returns the n decimal numbers of a line and what follows them.
func (r *sealReader) numbers(name string, n int) ([4]int64, string) {
	var out [4]int64
	value := r.text(name)
	for i := range n {
		word, rest, _ := strings.Cut(value, " ")
		v, err := strconv.ParseInt(word, 10, 64)
		if r.err == nil && err != nil {
			r.fail("%s is not a number", name)
		}
		out[i], value = v, rest
	}
	return out, value
}

func (r *sealReader) number(name string) int64 {
	n, _ := r.numbers(name, 1)
	return n[0]
}

// either reads a line that holds one of two words.
func (r *sealReader) either(name, yes string) bool { return r.text(name) == yes }

func (r *sealReader) bytes(name string, n int) []byte {
	b, err := hex.DecodeString(r.text(name))
	if r.err == nil && (err != nil || len(b) != n) {
		r.fail("%s is not %d bytes in hex", name, n)
	}
	return b
}

// count reads the number of lines that follow.
func (r *sealReader) count(name string, limit int64) int64 {
	n := r.number(name)
	if n < 0 || n > limit {
		r.fail("%s %d, limit %d", name, n, limit)
		return 0
	}
	return n
}

func (r *sealReader) seal() Seal {
	var s Seal
	if head, rest, ok := strings.Cut(r.rest, "\n"); !ok || head != sealHead {
		r.fail("want %q", sealHead)
	} else {
		r.rest, r.line = rest, 2
	}
	s.Kind, s.Store, s.Edge, s.Camera = r.text("kind"), r.text("store"), r.text("edge"), r.text("camera")
	s.Chain, s.Seq = r.text("chain"), uint64(r.number("seq"))
	if s.Prev, s.Lost = strings.CutPrefix(r.text("prev"), "lost "); s.Prev == "none" && !s.Lost {
		s.Prev = ""
	}
	s.At = Time(r.number("at"))
	span, _ := r.numbers("span", 2)
	s.Start, s.End = Time(span[0]), Time(span[1])
	s.Synced, s.Boot = r.either("clock", "synced"), r.text("boot")
	mono, _ := r.numbers("mono", 2)
	s.MonoStart, s.MonoEnd = mono[0], mono[1]
	switch s.Kind {
	case SealSegment:
		r.segment(&s)
	case SealGap:
		s.Cause = r.text("cause")
	case SealDeleted:
		s.Cause = r.text("cause")
		for range r.count("gone", MaxSealGone) {
			s.Gone = append(s.Gone, r.text("seal"))
		}
	}
	s.Key = r.bytes("key", ed25519.PublicKeySize)
	return s
}

func (r *sealReader) segment(s *Seal) {
	s.File, s.Partial, s.Codec = r.text("file"), r.either("partial", "yes"), r.text("codec")
	s.Length, s.SHA256 = r.number("length"), r.text("sha256")
	for range r.count("fragments", MaxSealFragments) {
		n, hash := r.numbers("fragment", 3)
		s.Fragments = append(s.Fragments, Fragment{Length: n[0], Offset: n[1], Duration: n[2], SHA256: hash})
	}
}
