package backup

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"golang.org/x/sys/unix"
)

// copySQLite writes a copy of a SQLite file, as of one moment, while others go on
// with it. The target must not be there yet.
func copySQLite(ctx context.Context, from, to string) error {
	at := url.URL{Scheme: "file", Opaque: url.PathEscape(from), RawQuery: "mode=rw&_pragma=busy_timeout(30000)"}
	db, err := sql.Open("sqlite", at.String())
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, to)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return os.Chmod(to, 0o600)
}

// isSQLite tells a database by how it begins.
func isSQLite(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	const magic = "SQLite format 3\x00"
	b := make([]byte, len(magic))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == magic
}

// syncAll makes everything durable that was written into the file system of dir.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// copyFile copies a file, for the owner alone, and returns the SHA-256 of what it
// wrote, in hex. The target must not be there yet.
func copyFile(from, to string, told io.Writer) (hash string, err error) {
	r, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", err
	}
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum, told), r); err != nil {
		return "", errors.Join(fmt.Errorf("copy %s to %s: %w", from, to, err), w.Close())
	}
	return hex.EncodeToString(sum.Sum(nil)), w.Close()
}

// hashFile returns the SHA-256 of a file, in hex, and its length.
func hashFile(path string, told io.Writer) (hash string, bytes int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	bytes, err = io.Copy(io.MultiWriter(sum, told), f)
	return hex.EncodeToString(sum.Sum(nil)), bytes, err
}

// filesBelow returns all files below dir by their path in it, in order; no dir
// has none.
func filesBelow(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		paths = append(paths, rel)
		return err
	})
	return paths, err
}

// bytesBelow adds up all files below dir.
func bytesBelow(dir string) (sum int64) {
	paths, _ := filesBelow(dir)
	for _, p := range paths {
		if info, err := os.Stat(filepath.Join(dir, p)); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// roomFor refuses when less than bytes, and some air, is free in dir's file system.
func roomFor(dir string, bytes int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	need, free := bytes+bytes/10+16<<20, int64(fs.Bavail)*fs.Bsize
	if need > free {
		return fmt.Errorf("the disk of %s is too small: %d MB may be needed, %d MB are free; name a folder on another disk", dir, need>>20, free>>20)
	}
	return nil
}

// empty tells whether a folder is not there, or has nothing in it.
func empty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && len(entries) == 0, err
}
