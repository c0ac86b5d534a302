package footage

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/internal/durable"
	"floorwatch/internal/layout"
)

// chain appends seals to one camera's chain. Recorder and Retention each hold
// one: the head is read from disk under a lock for every append, so that the
// disk is the only state.
type chain struct {
	dir                 string // of the camera
	store, edge, camera string
	key                 ed25519.PrivateKey
}

// head is what the disk says of a camera's newest seal.
type head struct {
	seal  floorwatch.Seal
	hash  string
	whole bool            // there is a seal, and the newest one can be read
	used  uint64          // highest sequence number in use, by whatever file
	until floorwatch.Time // end of the newest segment or gap; 0 for none
}

// lock takes the camera's lock for the caller until unlock is called.
func (c chain) lock() (unlock func(), err error) {
	if err := durable.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock footage of %s: %w", c.camera, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock footage of %s: %w", c.camera, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// append signs s as the next seal and makes it durable. The file of a segment,
// from, gets its final name first: a crash in between leaves a file without a
// seal, which salvage finds.
func (c chain) append(s floorwatch.Seal, from string) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	h, err := findHead(c.dir)
	if err != nil {
		return err
	}
	c.follow(&s, h)
	return c.write(s, from)
}

// follow gives s its place behind h. A head that cannot be read, or that was
// signed with another key, is lost: s begins a new chain.
func (c chain) follow(s *floorwatch.Seal, h head) {
	s.Store, s.Edge, s.Camera = c.store, c.edge, c.camera
	s.Seq, s.Chain, s.Prev = h.used+1, h.seal.Chain, h.hash
	s.At = max(s.At, h.seal.At)
	if own := c.key.Public().(ed25519.PublicKey); !h.whole || !own.Equal(h.seal.Key) {
		acked := lastConfirmed(c.dir)
		s.Chain, s.Prev, s.Lost = newChain(), acked, acked != ""
	}
}

// lastConfirmed returns the hash of the newest seal whose footage the vault has
// given a receipt for: the cloud had that seal before. "" where there is none.
func lastConfirmed(dir string) string {
	days, _ := layout.Days(dir) // what cannot be read confirms nothing
	for _, name := range slices.Backward(days) {
		d, _ := listDay(filepath.Join(dir, name))
		for _, seq := range slices.Backward(d.seals) {
			if !d.sent[seq] {
				continue
			}
			if _, raw, err := readSeal(filepath.Join(dir, name, sealName(seq))); err == nil {
				return floorwatch.SealHash(raw)
			}
		}
	}
	return ""
}

func newChain() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// write signs s and puts it on disk.
func (c chain) write(s floorwatch.Seal, from string) error {
	day := filepath.Join(c.dir, layout.Day(s.At))
	if err := durable.MkdirAll(day, 0o700); err != nil {
		return err
	}
	if s.Kind == floorwatch.SealSegment {
		s.File = fileName(s.Seq)
	}
	raw, err := floorwatch.SignSeal(s, c.key)
	if err != nil {
		return err
	}
	if s.Kind == floorwatch.SealSegment {
		// A link, unlike a rename, never replaces what is there.
		if err := os.Link(from, filepath.Join(day, s.File)); err != nil {
			return fmt.Errorf("name footage: %w", err)
		}
		if err := os.Remove(from); err != nil {
			return fmt.Errorf("name footage: %w", err)
		}
	}
	return durable.WriteFile(filepath.Join(day, sealName(s.Seq)), raw, 0o600)
}

// findHead reads the newest seal of the camera folder dir.
func findHead(dir string) (head, error) {
	var h head
	days, err := layout.Days(dir)
	if err != nil {
		return h, err
	}
	for _, day := range slices.Backward(days) {
		names, err := listDay(filepath.Join(dir, day))
		if err != nil {
			return h, err
		}
		h.used = max(h.used, names.used)
		for _, seq := range slices.Backward(names.seals) {
			s, raw, err := readSeal(filepath.Join(dir, day, sealName(seq)))
			if h.hash == "" {
				h.seal, h.whole = s, err == nil
				h.hash = floorwatch.SealHash(raw)
			}
			if err == nil && s.Kind != floorwatch.SealDeleted {
				h.until = s.End
				return h, nil
			}
		}
	}
	return h, nil
}

// readSeal reads and checks one seal file; err wraps floorwatch.ErrSealForm or
// ErrSealSignature when it is damaged.
func readSeal(path string) (floorwatch.Seal, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return floorwatch.Seal{}, nil, fmt.Errorf("read seal: %w", err)
	}
	defer func() { _ = f.Close() }()
	s, raw, err := layout.ReadSeal(f)
	if err != nil {
		return s, raw, fmt.Errorf("read seal %s: %w", path, err)
	}
	return s, raw, nil
}

// day is what stands in a day folder: sequence numbers in rising order.
type day struct {
	seals, files []uint64
	sent         map[uint64]bool // the vault has confirmed it
	used         uint64
}

func listDay(dir string) (day, error) {
	var d day
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, fmt.Errorf("list footage: %w", err)
	}
	for _, e := range entries {
		base, ext, _ := strings.Cut(e.Name(), ".")
		seq, err := strconv.ParseUint(base, 10, 52)
		if err != nil || len(base) < 8 {
			continue
		}
		switch ext {
		case "seal":
			d.seals = append(d.seals, seq)
		case "mp4":
			d.files = append(d.files, seq)
		case "receipt":
			if d.sent == nil {
				d.sent = map[uint64]bool{}
			}
			d.sent[seq] = true
			continue
		default:
			continue
		}
		d.used = max(d.used, seq)
	}
	slices.Sort(d.seals) // by number: names grow past eight digits
	slices.Sort(d.files)
	return d, nil
}

// LastStamp returns the latest time that the footage of a camera below dir
// speaks of, 0 without any: no clock after it may read less.
func LastStamp(dir, camera string) (floorwatch.Time, error) {
	h, err := findHead(filepath.Join(dir, camera))
	return max(h.until, h.seal.At), err
}

func fileName(seq uint64) string { return fmt.Sprintf("%08d.mp4", seq) }
func sealName(seq uint64) string { return fmt.Sprintf("%08d.seal", seq) }
