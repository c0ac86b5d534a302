package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Camera is the program that reads one camera, which agents start.
const Camera = "floorwatch-camera"

// Find returns the path of another of our programs: the one that lies beside
// this one, which is of the same version, before one on PATH.
func Find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s beside this program and on PATH: %w; make build compiles it, the floorwatch package installs it", name, err)
	}
	return path, nil
}
