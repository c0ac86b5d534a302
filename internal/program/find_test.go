package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	const name = "floorwatch-of-a-test"
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := Find(name); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("%v", err)
	}
	put := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	onPath := filepath.Join(dir, name)
	put(onPath)
	if got, err := Find(name); err != nil || got != onPath {
		t.Errorf("%s, %v; want %s", got, err, onPath)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(self), name)
	put(beside)
	t.Cleanup(func() { _ = os.Remove(beside) })
	if got, err := Find(name); err != nil || got != beside {
		t.Errorf("%s, %v; want %s", got, err, beside)
	}
}
