package footage

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// DefaultMinFree is the share of the disk that footage leaves alone.
const DefaultMinFree = 0.05

// diskFree returns the free share of the disk that holds dir, as an ordinary
// process sees it.
func diskFree(dir string) (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask disk of %s: %w", dir, err)
	}
	if st.Blocks == 0 {
		return 1, nil
	}
	return float64(st.Bavail) / float64(st.Blocks), nil
}

func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// diskSize returns the bytes of the disk that holds dir.
func diskSize(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask disk of %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, nil
}
