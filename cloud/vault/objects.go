package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"floorwatch"
	"floorwatch/internal/durable"
	"floorwatch/internal/layout"
)

// Objects keeps footage, or camera lines, by the SHA-256 of its bytes, in
// lower-case hex. All methods are safe for concurrent use, by several processes too.
type Objects interface {
	// Keep reads size bytes from r and returns nil once they are durable under
	// hash. The same twice is success. ErrCorrupt says that the bytes are others;
	// nothing was kept then, nor after any other error.
	Keep(ctx context.Context, hash string, size int64, r io.Reader) error
	// Open returns the bytes; fs.ErrNotExist where there are none.
	Open(ctx context.Context, hash string) (io.ReadCloser, error)
	// Remove deletes them; none is success.
	Remove(ctx context.Context, hash string) error
}

// ErrCorrupt says that bytes are not those of their hash.
var ErrCorrupt = errors.New("the bytes are not those of their hash")

// Folder keeps objects in files below one folder.
type Folder struct {
	root *os.Root
	path func(hash string) string
}

// OpenFolder opens the footage below dir, objects/ab/abcd….mp4, which is made where
// absent.
func OpenFolder(dir string) (*Folder, error) { return openFolder(dir, layout.ObjectPath) }

// OpenLines opens the camera lines below the same dir, lines/ab/abcd….jsonl.gz.
func OpenLines(dir string) (*Folder, error) { return openFolder(dir, layout.LinesPath) }

func openFolder(dir string, path func(hash string) string) (*Folder, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	return &Folder{root, path}, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Keep implements Objects: temporary file beside the target, check, fsync,
// rename, fsync of the folder. A crash may leave the temporary file.
func (f *Folder) Keep(ctx context.Context, hash string, size int64, r io.Reader) (err error) {
	if !floorwatch.ValidHash(hash) {
		return fmt.Errorf("keep object %.80q: not a SHA-256", hash)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep object %s: %w", hash, err)
		}
	}()
	dir := path.Dir(f.path(hash))
	if err := f.mkdir(dir); err != nil {
		return err
	}
	temp := path.Join(dir, "."+rand.Text()+".tmp")
	if err := f.write(ctx, temp, hash, size, r); err != nil {
		_ = f.root.Remove(temp)
		return err
	}
	if err := f.root.Rename(temp, f.path(hash)); err != nil {
		_ = f.root.Remove(temp)
		return err
	}
	return f.sync(dir)
}

func (f *Folder) mkdir(dir string) error {
	if _, err := f.root.Stat(dir); err == nil {
		return nil
	}
	if err := f.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(f.sync(path.Dir(dir)), f.sync("."))
}

func (f *Folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *Folder) write(ctx context.Context, name, hash string, size int64, r io.Reader) error {
	w, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, size+1))
	if err != nil {
		return err
	}
	if n != size || hex.EncodeToString(sum.Sum(nil)) != hash {
		return ErrCorrupt
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(w.Sync(), w.Close())
}

// Open implements Objects.
func (f *Folder) Open(_ context.Context, hash string) (io.ReadCloser, error) {
	if !floorwatch.ValidHash(hash) {
		return nil, fmt.Errorf("open object %.80q: not a SHA-256", hash)
	}
	r, err := f.root.Open(f.path(hash))
	if err != nil {
		return nil, fmt.Errorf("open object: %w", err)
	}
	return r, nil
}

// Remove implements Objects.
func (f *Folder) Remove(_ context.Context, hash string) error {
	if !floorwatch.ValidHash(hash) {
		return fmt.Errorf("remove object %.80q: not a SHA-256", hash)
	}
	name := f.path(hash)
	err := f.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove object: %w", err)
	}
	return f.sync(path.Dir(name))
}
