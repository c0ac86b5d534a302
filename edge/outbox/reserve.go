package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"floorwatch/internal/durable"
)

// reserve is disk space held back in files of one segment each, so that a full
// disk (or one without inodes) can be met by giving some of it up.
type reserve struct {
	dir   string
	files int   // wanted
	bytes int64 // of each
}

func (r reserve) path(i int) string { return filepath.Join(r.dir, fmt.Sprintf("reserve-%d", i)) }

// fill creates the files that are missing. It stays away while the disk has
// less than twice the whole reserve to spare.
func (r reserve) fill() error {
	for i := range r.files {
		if _, err := os.Lstat(r.path(i)); err == nil {
			continue
		}
		var fs syscall.Statfs_t
		if err := syscall.Statfs(r.dir, &fs); err != nil {
			return fmt.Errorf("read free space of %s: %w", r.dir, err)
		}
		if int64(fs.Bavail)*fs.Bsize < 2*int64(r.files)*r.bytes {
			return nil
		}
		if err := r.create(i); err != nil {
			return err
		}
	}
	return nil
}

func (r reserve) create(i int) error {
	f, err := os.OpenFile(r.path(i), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create reserve: %w", err)
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, r.bytes)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(r.path(i))
		return fmt.Errorf("reserve %d bytes in %s: %w", r.bytes, r.dir, err)
	}
	return nil
}

// release gives one file up; false when there is none left. The sync is what
// makes a journalling file system hand the blocks out again.
func (r reserve) release() bool {
	for i := r.files - 1; i >= 0; i-- {
		if os.Remove(r.path(i)) == nil {
			_ = durable.SyncDir(r.dir)
			return true
		}
	}
	return false
}

// left counts the files that are there.
func (r reserve) left() int {
	n := 0
	for i := range r.files {
		if _, err := os.Lstat(r.path(i)); err == nil {
			n++
		}
	}
	return n
}
