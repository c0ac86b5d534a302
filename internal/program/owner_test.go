package program

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHome(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if got, err := Home("data"); err != nil || got != filepath.Join(dir, "data") {
		t.Errorf("%s, %v", got, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("left out: only root can work in another's folder")
	}
	theirs := filepath.Join(dir, "theirs")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(theirs, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"theirs", "theirs/data/deeper"} {
		_, err := Home(data)
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), filepath.Join(dir, data)+" belongs to nobody") || !strings.Contains(err.Error(), "runuser -u nobody -- "+os.Args[0]) {
			t.Errorf("%s: %v", data, err)
		}
	}
}
