package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is a file system in an image file, mounted by a loop device, so that its
// power can be cut and its space run out.
type disk struct {
	image string
	at    string // where it is mounted
	opts  string // of mount
	loop  string // the device
}

// scratch makes a folder in memory where there is some, so that a power cut
// costs no real disk's time; what a loop device was told to keep is kept in
// either.
func (b *bench) scratch() (dir string, end func(), err error) {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = b.dir
	}
	dir, err = os.MkdirTemp(base, "floorwatch-faults-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// newDisk makes an image with an empty ext4 and does not mount it. extra are
// arguments of mkfs.
func newDisk(ctx context.Context, image string, bytes int64, extra ...string) (*disk, error) {
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
	d := &disk{image: image, at: image + ".mnt"}
	return d, os.MkdirAll(d.at, 0o700)
}

func (d *disk) mount(ctx context.Context) error {
	opts := "loop"
	if d.opts != "" {
		opts += "," + d.opts
	}
	if out, err := exec.CommandContext(ctx, "mount", "-t", "ext4", "-o", opts, d.image, d.at).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s (the bench needs loop devices): %w: %s", d.image, err, out)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("find the loop device: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == d.at {
			d.loop = filepath.Base(f[0])
		}
	}
	return nil
}

func (d *disk) unmount() { _ = unix.Unmount(d.at, unix.MNT_DETACH) }

// cut cuts the power: what the device holds at this moment is all that is left.
// The processes that write must have been killed. The disk is mounted again.
func (d *disk) cut(ctx context.Context) error {
	after := d.image + ".after"
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", d.image, after).CombinedOutput(); err != nil {
		return fmt.Errorf("copy an image: %w: %s", err, out)
	}
	// Not lazily: the device must have let go of the image before it is replaced.
	if err := unix.Unmount(d.at, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.at, err)
	}
	if err := os.Rename(after, d.image); err != nil {
		return fmt.Errorf("replace an image: %w", err)
	}
	return d.mount(ctx)
}
