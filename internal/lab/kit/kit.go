// Package kit is the one box of tools behind every test and bench that works
// with the real thing: it finds the programs that the set-up brings, starts them
// so that none outlives the test, waits, and reads what they say of themselves.
//
// A test asks for what it needs with Tool, Program, Film, Superuser or Shared.
// What is missing skips the test with the reason and the command that brings it,
// so that go test ./... passes on a bare clone; with FLOORWATCH_TEST_ALL=1, as
// make test sets it, it fails the test, for a check that is skipped in silence
// is a defect. In -short, the fast tier, nothing real is started.
//
// The kit imports next to nothing of the product, so that every package's tests
// may use it. What needs the database's own package lies in kit/influxdb, what
// needs the configuration's in kit/sample.
package kit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Root returns the folder of the repository, found from the working folder.
var Root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("find the repository: no go.mod here or above; run it inside the repository")
})

// Find returns the path of a program that deploy/setup.sh brings: what it built
// into the repository's .tools, then what is on PATH, then where Debian keeps
// servers, off a user's PATH.
func Find(name string) (string, error) {
	if root, err := Root(); err == nil {
		if path, err := exec.LookPath(filepath.Join(root, ".tools/bin", name)); err == nil {
			return path, nil
		}
	}
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%s is not installed; run: deploy/setup.sh test", name)
}

// shared returns the path of something in the folder `shared` beside the
// repository, which has the real cases with their truth and their scorers.
func shared(path string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	at := filepath.Join(filepath.Dir(root), "shared", path)
	_, err = os.Stat(at)
	return at, err
}

// FreeAddress returns a loopback address on which nobody listens right now.
func FreeAddress() (string, error) { return FreeAddressAt("127.0.0.1") }

// FreeAddressAt is FreeAddress for another address of this machine. The port is
// none of those that the kernel gives away (ip_local_port_range begins at 32768),
// so that no connection takes it before the one who asked does.
func FreeAddressAt(ip string) (string, error) {
	var err error
	for range 100 {
		address := net.JoinHostPort(ip, strconv.Itoa(20_000+rand.IntN(12_000)))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// Answers tells whether somebody listens on a TCP address.
func Answers(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// Pause waits for d or the end of ctx.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Patience is how long to wait for what must come. Nothing is judged by it: it
// only ends what would wait for ever, on a machine that others keep busy.
const Patience = 3 * time.Minute

// Until asks done every few milliseconds until it says true; an error after
// patience, which names what was waited for.
func Until(ctx context.Context, what string, patience time.Duration, done func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s in vain for %s", patience, what)
		}
		if err := Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
