package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"floorwatch"
	"floorwatch/internal/layout"
)

// Index is what a vault knows of its footage. It may grow while it is read: each
// method sees at least what was stored before its call.
type Index interface {
	// EachSeal calls do for every seal of every box, verbatim, camera by camera in
	// the order of the chain, until do returns an error.
	EachSeal(ctx context.Context, do func(seal string) error) error
	// EachObject calls do for everything that the vault has or had, in the same way.
	EachObject(ctx context.Context, do func(Object) error) error
	// SealOf returns the seal of a box's footage by the hash of its bytes.
	SealOf(ctx context.Context, store, edge, hash string) (floorwatch.Seal, error)
}

// Object says what the index knows of the bytes of a segment.
type Object struct {
	SHA256   string
	Received floorwatch.Time // 0: never
	Here     bool            // the bytes must be there
}

// vaultChecker checks a vault: the seals of all boxes from its index, and each
// object that the index says is there.
type vaultChecker struct {
	checker
	index  Index
	stored map[string]Object
	seen   map[string]bool // objects that a seal names
}

// Vault checks the folder of a vault against its index, also while it is at work.
func (v Verifier) Vault(ctx context.Context, dir string, index Index) (Report, error) {
	out, err := v.vault(ctx, dir, index)
	if err == nil && !out.Sound { // a vault at work may have changed meanwhile
		out, err = v.vault(ctx, dir, index)
	}
	return out, err
}

func (v Verifier) vault(ctx context.Context, dir string, index Index) (out Report, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return out, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = root.Close() }()
	files, temps, err := listObjects(ctx, root) // before the index: what comes between is in it
	if err != nil {
		return out, fmt.Errorf("verify %s: %w", dir, err)
	}
	c := vaultChecker{index: index, stored: map[string]Object{}, seen: map[string]bool{}}
	f := found{root: root, files: files}
	err = index.EachObject(ctx, func(s Object) error { c.stored[s.SHA256] = s; return nil })
	if err == nil { // after the objects: a seal is there before its footage
		err = c.readSeals(ctx, &f)
	}
	if err != nil {
		return out, fmt.Errorf("verify %s: %w", dir, err)
	}
	c.checker = newChecker(v, f)
	if temps > 0 {
		c.note("%d unfinished file(s) of an upload or a crash; they prove nothing and may go when the cloud is stopped", temps)
	}
	return c.run(ctx)
}

// listObjects returns the files below objects, by path, and counts those that
// were never finished.
func listObjects(ctx context.Context, root *os.Root) (files map[string]bool, temps int, err error) {
	files = map[string]bool{}
	err = fs.WalkDir(root.FS(), layout.ObjectsDir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == layout.ObjectsDir:
			return nil
		case err != nil || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case d.IsDir():
		case strings.HasSuffix(name, ".tmp"):
			temps++
		default:
			files[name] = true
		}
		return nil
	})
	return files, temps, err
}

func (c *vaultChecker) readSeals(ctx context.Context, f *found) error {
	return c.index.EachSeal(ctx, func(raw string) error {
		s, err := floorwatch.ParseSeal([]byte(raw))
		if err != nil {
			f.faults = append(f.faults, Fault{Path: layout.VaultIndex, What: fmt.Sprintf("a seal in the index: %v", err)})
			return nil
		}
		if len(f.seals) == maxSeals {
			return fmt.Errorf("more than %d seals", maxSeals)
		}
		s.Fragments = nil
		at := fmt.Sprintf("%s: %s/%s/%s seal %d", layout.VaultIndex, s.Store, s.Edge, s.Camera, s.Seq)
		f.seals = append(f.seals, sealed{s, at, floorwatch.SealHash([]byte(raw))})
		return nil
	})
}

func (c *vaultChecker) run(ctx context.Context) (Report, error) {
	c.keys()
	for _, chain := range byCamera(c.seals) {
		if err := c.camera(ctx, chain); err != nil {
			return c.out, err
		}
	}
	for name := range c.files {
		if hash := strings.TrimSuffix(path.Base(name), ".mp4"); !c.seen[hash] || name != objectPath(hash) {
			c.fault(Fault{Path: name, What: "no seal in the index names this file"})
		}
	}
	for hash, s := range c.stored {
		if s.Here && !c.seen[hash] {
			c.fault(Fault{Path: objectPath(hash), What: "the index has it and no seal names it"})
		}
	}
	return c.report(), nil
}

func objectPath(hash string) string {
	if !floorwatch.ValidHash(hash) {
		return ""
	}
	return layout.ObjectPath(hash)
}

// camera checks one chain and what of its footage is here.
func (c *vaultChecker) camera(ctx context.Context, seals []sealed) error {
	before := len(c.out.Faults)
	last := seals[len(seals)-1]
	v := Camera{Store: last.Store, Edge: last.Edge, Camera: last.Camera, LastSeal: last.hash, From: last.Start}
	c.chain(seals)
	c.time(seals, &v)
	gone := c.gone(seals)
	never, neverS := 0, 0.0
	for _, s := range seals {
		length := s.End.Sub(s.Start).Seconds()
		v.From, v.To = min(v.From, s.Start), max(v.To, s.End)
		if s.Kind == floorwatch.SealGap {
			v.GapS += length
		}
		if s.Kind != floorwatch.SealSegment {
			continue
		}
		v.Segments++
		c.seen[s.SHA256] = true
		switch o := c.stored[s.SHA256]; {
		case o.Here:
			v.StoredS += length
			if err := c.object(ctx, s); err != nil {
				return err
			}
		case o.Received > 0 || gone[s.hash]:
			v.DeletedS += length
		default:
			never, neverS = never+1, neverS+length
		}
	}
	if never > 0 {
		c.note("%s/%s/%s: %d piece(s), %.1f s, never came into the vault; if the box still has them, they are checked there", v.Store, v.Edge, v.Camera, never, neverS)
	}
	v.Faults = len(c.out.Faults) - before
	c.out.Cameras = append(c.out.Cameras, v)
	return nil
}

// object checks the bytes of one file, fragment by fragment where they differ.
func (c *vaultChecker) object(ctx context.Context, s sealed) error {
	name := objectPath(s.SHA256)
	f, err := c.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		c.fault(Fault{Camera: s.Camera, Path: name, What: "the vault gave a receipt for this file, and it is missing", From: s.Start, To: s.End})
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := ctx.Err(); err != nil || hex.EncodeToString(sum.Sum(nil)) == s.SHA256 {
		return err
	}
	full, err := c.index.SealOf(ctx, s.Store, s.Edge, s.SHA256)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	faults, _, err := compare(ctx, f, full)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for _, x := range faults {
		x.Camera, x.Path = s.Camera, name
		c.fault(x)
	}
	return nil
}
