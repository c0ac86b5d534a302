package verify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/layout"
)

// sealed is a seal of the folder; its fragments are read again when its file is
// checked, so that a month of footage needs little memory.
type sealed struct {
	floorwatch.Seal
	path, hash string
}

// found is what lies in a folder.
type found struct {
	root   *os.Root
	seals  []sealed
	files  map[string]bool // .mp4
	faults []Fault         // seals that are none
}

const maxSeals = 2_000_000 // of one folder

// collect reads the seals below root; only names the one file that is asked for.
func collect(ctx context.Context, root *os.Root, only string) (found, error) {
	f := found{root: root, files: map[string]bool{}}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return err
		case only != "" && d.IsDir() && name != ".":
			return fs.SkipDir
		case only != "" && strings.TrimSuffix(name, path.Ext(name)) != strings.TrimSuffix(only, ".mp4"):
			return nil
		case path.Ext(name) == ".mp4":
			f.files[name] = true
		case path.Ext(name) == ".seal":
			return f.add(name)
		}
		return nil
	})
	return f, err
}

// add reads one seal.
func (f *found) add(name string) error {
	s, raw, err := readSealFile(f.root, name)
	if errors.Is(err, floorwatch.ErrSealForm) || errors.Is(err, floorwatch.ErrSealSignature) {
		f.faults = append(f.faults, Fault{Path: name, What: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	if len(f.seals) == maxSeals {
		return fmt.Errorf("more than %d seals; check one camera at a time", maxSeals)
	}
	s.Fragments = nil
	f.seals = append(f.seals, sealed{s, name, floorwatch.SealHash(raw)})
	return nil
}

func readSealFile(root *os.Root, name string) (floorwatch.Seal, []byte, error) {
	r, err := root.Open(name)
	if err != nil {
		return floorwatch.Seal{}, nil, err
	}
	defer func() { _ = r.Close() }()
	return layout.ReadSeal(r)
}

func (f found) same(g found) bool {
	return len(f.faults) == len(g.faults) && slices.EqualFunc(f.seals, g.seals, func(a, b sealed) bool { return a.hash == b.hash })
}

func newChecker(v Verifier, f found) checker {
	c := checker{
		want: v, found: f,
		content: map[string]string{}, hashes: map[string]bool{}, claimed: map[string]bool{},
	}
	c.out = Report{Pinned: v.Key != nil, Keys: []string{}, Cameras: []Camera{}, Faults: append([]Fault{}, f.faults...), Notes: []string{}}
	for _, s := range f.seals {
		c.hashes[s.hash] = true
		if s.Kind == floorwatch.SealSegment {
			c.content[s.SHA256] = path.Join(path.Dir(s.path), s.File)
		}
	}
	return c
}

// run checks a box's folder.
func (c *checker) run(ctx context.Context) (Report, error) {
	c.keys()
	for _, chain := range byCamera(c.seals) {
		if err := c.camera(ctx, chain); err != nil {
			return c.out, err
		}
	}
	c.strangers()
	return c.report(), nil
}

// report sums up.
func (c *checker) report() Report {
	if len(c.seals) == 0 {
		c.fault(Fault{What: "no seal that can be read: nothing here is proven"})
	}
	if c.want.Head != "" && !c.hashes[c.want.Head] {
		c.fault(Fault{What: "the seal given with -head is not here: the newest footage was removed, or it is another camera's"})
	}
	slices.SortFunc(c.out.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Camera, b.Camera), cmp.Compare(a.From, b.From), cmp.Compare(a.Path, b.Path))
	})
	slices.Sort(c.out.Notes)
	c.out.Sound = len(c.out.Faults) == 0
	return c.out
}

func (c *checker) fault(f Fault) { c.out.Faults = append(c.out.Faults, f) }

func (c *checker) note(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

// keys checks who signed: the pinned key, or at least one key for each box.
func (c *checker) keys() {
	first := map[string]ed25519.PublicKey{}
	for _, s := range c.seals {
		if k := hex.EncodeToString(s.Key); !slices.Contains(c.out.Keys, k) && len(c.out.Keys) < 100 {
			c.out.Keys = append(c.out.Keys, k)
		}
		box := s.Store + "/" + s.Edge
		if first[box] == nil {
			first[box] = s.Key
		}
		if want := c.want.Key; want != nil && !want.Equal(s.Key) {
			c.fault(Fault{Camera: s.Camera, Path: s.path, What: "signed with another key than the one given with -key", From: s.Start, To: s.End})
		} else if want == nil && !first[box].Equal(s.Key) {
			c.fault(Fault{Camera: s.Camera, Path: s.path, What: "signed with another key than the seals before it", From: s.Start, To: s.End})
		}
	}
	if c.want.Key == nil {
		c.note("the key is NOT PINNED: that these seals are the box's own is not checked; give its public key with -key (here: %s)", strings.Join(c.out.Keys, ", "))
	}
}

// byCamera splits seals into cameras, each in order of sequence.
func byCamera(seals []sealed) [][]sealed {
	name := func(s sealed) string { return s.Store + "/" + s.Edge + "/" + s.Camera }
	seals = slices.Clone(seals)
	slices.SortFunc(seals, func(a, b sealed) int {
		return cmp.Or(cmp.Compare(name(a), name(b)), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.path, b.path))
	})
	var out [][]sealed
	for len(seals) > 0 {
		n := 1
		for n < len(seals) && name(seals[n]) == name(seals[0]) {
			n++
		}
		out, seals = append(out, seals[:n]), seals[n:]
	}
	return out
}

// camera checks one chain, its files and its time.
func (c *checker) camera(ctx context.Context, seals []sealed) error {
	before := len(c.out.Faults)
	last := seals[len(seals)-1]
	v := Camera{Store: last.Store, Edge: last.Edge, Camera: last.Camera, LastSeal: last.hash}
	if !c.single {
		c.chain(seals)
		c.time(seals, &v)
	}
	gone := c.gone(seals)
	for _, s := range seals {
		switch s.Kind {
		case floorwatch.SealGap:
			v.GapS += s.End.Sub(s.Start).Seconds()
		case floorwatch.SealSegment:
			v.Segments++
			name := path.Join(path.Dir(s.path), s.File)
			c.claimed[name] = true
			if !c.files[name] && gone[s.hash] {
				v.DeletedS += s.End.Sub(s.Start).Seconds()
				continue
			}
			v.StoredS += s.End.Sub(s.Start).Seconds()
			if err := c.file(ctx, s, name); err != nil {
				return err
			}
		}
		if v.From == 0 || s.Start < v.From {
			v.From = s.Start
		}
		v.To = max(v.To, s.End)
	}
	v.Faults = len(c.out.Faults) - before
	c.out.Cameras = append(c.out.Cameras, v)
	return nil
}

// chain checks that each seal follows the one before it.
func (c *checker) chain(seals []sealed) {
	for i, s := range seals {
		begins := s.Prev == "" || s.Lost
		at := Fault{Camera: s.Camera, Path: s.path, From: s.Start, To: s.End}
		if i == 0 {
			if at.What = "earlier seals are missing: the chain begins before this one"; !begins {
				c.fault(at)
			}
			continue
		}
		p := seals[i-1]
		switch {
		case s.Seq == p.Seq:
			at.What = fmt.Sprintf("seal %d comes twice; the other is %s", s.Seq, p.path)
		case s.Seq != p.Seq+1:
			at.What = fmt.Sprintf("seals %d to %d are missing before this one", p.Seq+1, s.Seq-1)
			at.From, at.To = p.End, max(p.End, s.Start)
		case begins && s.Chain != p.Chain:
			c.note("%s: a new chain begins at %s: the head of the last one was lost on the box (disk damage, a new key, a new disk)", s.Camera, s.path)
			continue
		case s.Chain != p.Chain || s.Prev != p.hash:
			at.What = fmt.Sprintf("does not follow %s: a seal was taken out, put in or exchanged", p.path)
		default:
			continue
		}
		c.fault(at)
	}
}

// What the recorder's account may be off by.
const (
	maxHole    = time.Second
	maxOverlap = 500 * time.Millisecond
	perSegment = 500 * time.Millisecond // holes and overlaps, over all segments
)

// time checks that segments and gaps follow each other.
func (c *checker) time(seals []sealed, v *Camera) {
	var p *sealed
	for i, s := range seals {
		if s.Kind == floorwatch.SealDeleted {
			continue
		}
		if p != nil {
			d := s.Start.Sub(p.End)
			if d > 0 {
				v.UnexplainedS += d.Seconds()
			}
			if d > maxHole {
				c.fault(Fault{Camera: s.Camera, What: fmt.Sprintf("%.1f s are neither footage nor gap", d.Seconds()), From: p.End, To: s.Start})
			}
			if d < -maxOverlap {
				c.fault(Fault{Camera: s.Camera, Path: s.path, What: fmt.Sprintf("begins %.1f s before the end of %s", -d.Seconds(), p.path), From: s.Start, To: p.End})
			}
		}
		p = &seals[i]
	}
	n := 0
	for _, s := range seals {
		if s.Kind == floorwatch.SealSegment {
			n++
		}
	}
	if limit := time.Duration(n+1) * perSegment; v.UnexplainedS > limit.Seconds() {
		c.fault(Fault{Camera: v.Camera, What: fmt.Sprintf("holes between files add up to %.1f s, more than %.1f", v.UnexplainedS, limit.Seconds())})
	}
}

// gone returns the seals whose files retention removed.
func (c *checker) gone(seals []sealed) map[string]bool {
	out := map[string]bool{}
	for _, s := range seals {
		for _, h := range s.Gone {
			out[h] = true
			if !c.hashes[h] {
				c.fault(Fault{Camera: s.Camera, Path: s.path, What: "names a deleted file whose seal is not here; seals are never deleted", From: s.Start, To: s.End})
			}
		}
	}
	return out
}

// file checks the bytes of one file against its seal.
func (c *checker) file(ctx context.Context, s sealed, name string) error {
	at := Fault{Camera: s.Camera, Path: name, From: s.Start, To: s.End}
	f, err := c.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		at.What = "the file is missing and no deletion names it"
		c.fault(at)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	full, _, err := readSealFile(c.root, s.path)
	if err != nil {
		return err
	}
	faults, sum, err := compare(ctx, f, full)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if len(faults) == 0 {
		return nil
	}
	if other := c.content[sum]; other != "" && other != name {
		at.What = "holds the footage that belongs in " + other
		c.fault(at)
		return nil
	}
	for _, x := range faults {
		x.Camera, x.Path = s.Camera, name
		c.fault(x)
	}
	return nil
}

// compare reads r fragment by fragment and returns what differs from the seal,
// adjoining fragments as one fault, and the hash of all of r.
func compare(ctx context.Context, r io.Reader, s floorwatch.Seal) (faults []Fault, sum string, err error) {
	whole := sha256.New()
	r = io.TeeReader(r, whole)
	for i, p := range s.Fragments {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		part := sha256.New()
		n, err := io.Copy(part, io.LimitReader(r, p.Length))
		if err != nil {
			return nil, "", err
		}
		from := s.Start + floorwatch.Time(p.Offset)
		if n < p.Length {
			faults = append(faults, Fault{What: fmt.Sprintf("the file is cut off in fragment %d, it has %d of %d bytes of it", i, n, p.Length), From: from, To: s.End})
			break
		}
		if want, _ := hex.DecodeString(p.SHA256); bytes.Equal(part.Sum(nil), want) {
			continue
		}
		f := Fault{What: fmt.Sprintf("fragment %d was altered", i), From: from, To: from + floorwatch.Time(p.Duration)}
		if i == 0 {
			f = Fault{What: "the init segment was altered, the whole file may look different", From: s.Start, To: s.End}
		}
		if k := len(faults) - 1; k >= 0 && i > 1 && faults[k].To == f.From {
			faults[k].To, faults[k].What = f.To, fmt.Sprintf("fragments up to %d were altered", i)
			continue
		}
		faults = append(faults, f)
	}
	more, err := io.Copy(io.Discard, r)
	if err != nil {
		return nil, "", err
	}
	if more > 0 {
		faults = append(faults, Fault{What: fmt.Sprintf("%d bytes were added at the end", more), From: s.Start, To: s.End})
	}
	sum = hex.EncodeToString(whole.Sum(nil))
	if len(faults) == 0 && sum != s.SHA256 {
		faults = append(faults, Fault{What: "the seal contradicts itself: its fragments fit, its whole does not", From: s.Start, To: s.End})
	}
	return faults, sum, nil
}

// strangers names footage that has no seal.
func (c *checker) strangers() {
	for name := range c.files {
		switch {
		case c.claimed[name]:
		case path.Base(name) == layout.OpenFile:
			c.note("%s is still being written and has no seal yet: it proves nothing", name)
		default:
			f := Fault{Path: name, What: "has no seal"}
			if other := c.repeated(name); other != "" {
				f.What = "has no seal and repeats " + other
			}
			c.fault(f)
		}
	}
}

// repeated returns the file whose content name holds too, "" for none.
func (c *checker) repeated(name string) string {
	f, err := c.root.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return ""
	}
	return c.content[hex.EncodeToString(sum.Sum(nil))]
}
