package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"floorwatch/internal/lab/kit"

	"golang.org/x/sys/unix"
)

// Disk is a file system in an image file, mounted by a loop device, so that its
// power can be cut and its space run out.
type Disk struct {
	image string
	At    string // where it is mounted
	Opts  string // of mount
	Loop  string // the device
}

// Scratch makes a folder in memory where there is some, so that a power cut
// costs no real disk's time; what a loop device was told to keep is kept in
// either.
func (b *Bench) Scratch() (dir string, end func(), err error) {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = b.Dir
	}
	if dir, err = kit.FolderIn(base, "faults"); err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// NewDisk makes an image with an empty ext4 and does not mount it. extra are
// arguments of mkfs.
func NewDisk(ctx context.Context, image string, bytes int64, extra ...string) (*Disk, error) {
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(bytes)
		_ = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("make an image: %w", err)
	}
	args := append([]string{"-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"}, extra...)
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", append(args, image)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a file system: %w: %s", err, out)
	}
	d := &Disk{image: image, At: image + ".mnt"}
	return d, os.MkdirAll(d.At, 0o700)
}

// Mount mounts it at At.
func (d *Disk) Mount(ctx context.Context) error {
	opts := "loop"
	if d.Opts != "" {
		opts += "," + d.Opts
	}
	if out, err := exec.CommandContext(ctx, "mount", "-t", "ext4", "-o", opts, d.image, d.At).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s (the bench needs loop devices): %w: %s", d.image, err, out)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("find the loop device: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == d.At {
			d.Loop = filepath.Base(f[0])
		}
	}
	return nil
}

// Unmount lets go of it, even where somebody still writes.
func (d *Disk) Unmount() { _ = unix.Unmount(d.At, unix.MNT_DETACH) }

// Cut cuts the power: what the device holds at this moment is all that is left.
// The processes that write must have been killed. The disk is mounted again.
func (d *Disk) Cut(ctx context.Context) error {
	after := d.image + ".after"
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", d.image, after).CombinedOutput(); err != nil {
		return fmt.Errorf("copy an image: %w: %s", err, out)
	}
	// Not lazily: the device must have let go of the image before it is replaced.
	if err := unix.Unmount(d.At, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.At, err)
	}
	if err := os.Rename(after, d.image); err != nil {
		return fmt.Errorf("replace an image: %w", err)
	}
	return d.Mount(ctx)
}

// Ballast takes everything that a disk has left: its bytes, or its inodes.
func Ballast(dir string, inodes bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	for i, size := 0, int64(1<<20); ; i++ {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err == nil && !inodes {
			err = syscall.Fallocate(int(f.Fd()), 0, 0, size)
			_ = f.Close()
		} else if err == nil {
			err = f.Close()
		}
		switch {
		case err == nil:
		case !errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("fill the disk: %w", err)
		case inodes || size <= 1024:
			return nil
		default:
			_ = os.Remove(filepath.Join(dir, strconv.Itoa(i)))
			size /= 4
		}
	}
}
