package kit

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Folder makes a temporary folder that the caller removes. It bears our number,
// so that the next one who makes a folder removes those of processes that were
// killed.
func Folder(name string) (string, error) { return FolderIn(os.TempDir(), name) }

// FolderIn is Folder below base.
func FolderIn(base, name string) (string, error) {
	sweep(base)
	dir, err := os.MkdirTemp(base, fmt.Sprintf("floorwatch-%s-%d-", name, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return dir, nil
}

// sweep removes the folders of processes that are gone, with what they mounted.
func sweep(base string) {
	old, _ := filepath.Glob(filepath.Join(base, "floorwatch-*-[0-9]*-[0-9]*"))
	for _, dir := range old {
		parts := strings.Split(filepath.Base(dir), "-")
		pid, err := strconv.Atoi(parts[len(parts)-2])
		if err != nil || exists(fmt.Sprintf("/proc/%d", pid)) {
			continue
		}
		unmount(dir)
		_ = os.RemoveAll(dir)
	}
}

// unmount lets go of everything that is mounted below a folder.
func unmount(dir string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}
