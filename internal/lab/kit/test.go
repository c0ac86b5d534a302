package kit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// All tells that nothing may be left out for want of a tool.
func All() bool { return os.Getenv("FLOORWATCH_TEST_ALL") == "1" }

// Missing skips a test that cannot run here, or fails it where all must run. why
// ends with the command that mends it.
func Missing(t testing.TB, why string) {
	t.Helper()
	if All() {
		t.Fatal(why)
	}
	t.Skip(why)
}

// quick skips in -short what works with the real thing.
func quick(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in -short: it works with " + what)
	}
}

// Long leaves a test that takes seconds to make test.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
}

// Tool returns the path of a program that deploy/setup.sh brings. In -short the
// test is skipped.
func Tool(t testing.TB, name string) string {
	t.Helper()
	quick(t, name)
	path, err := Find(name)
	if err != nil {
		Missing(t, err.Error())
	}
	return path
}

// Repository returns the path of a file of the repository.
func Repository(t testing.TB, path string) string {
	t.Helper()
	root, err := Root()
	Must(t, err)
	return filepath.Join(root, path)
}

// Built returns the path of one of the programs in bin/. In -short the test is
// skipped.
func Built(t testing.TB, name string) string {
	t.Helper()
	quick(t, name)
	path := Repository(t, "bin/"+name)
	if !exists(path) {
		Missing(t, "bin/"+name+" is not there; run: make build")
	}
	return path
}

// Film returns the path of the demonstration film. In -short the test is skipped.
func Film(t testing.TB) string {
	t.Helper()
	quick(t, "the demonstration film")
	path := Repository(t, ".cache/film.mp4")
	if !exists(path) {
		Missing(t, "the demonstration film .cache/film.mp4 is not there; run: deploy/setup.sh test")
	}
	return path
}

// Charts wants the chart library of the pages to be there.
func Charts(t testing.TB) {
	t.Helper()
	quick(t, "a browser")
	if !exists(Repository(t, "cloud/web/static/vendor/.version")) {
		Missing(t, "the chart library of the pages is not there; run: deploy/setup.sh run")
	}
}

// Superuser wants the test to be run by root, for what it mounts or cuts. In
// -short it is skipped.
func Superuser(t testing.TB, what string) {
	t.Helper()
	quick(t, what)
	if os.Geteuid() != 0 {
		Missing(t, what+" needs root; run as root: make test")
	}
}

// TryShared is Shared for a test that can do without; "" and false where it must.
func TryShared(path string) (string, bool) {
	at, err := shared(path)
	if err != nil {
		return "", false
	}
	return at, true
}

// Shared returns the path of a real case with its truth, or of a scorer, in the
// folder `shared` beside the repository. A clone has none: the test is left out,
// also where all must run, and the line says so to whoever counts.
func Shared(t testing.TB, path string) string {
	t.Helper()
	at, err := shared(path)
	if err != nil {
		t.Skipf("left out: ../shared/%s is not beside the repository", path)
	}
	return at
}

// Scorers returns the Python that runs the independent scorers of ../shared.
func Scorers(t testing.TB) string {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's, which sees Debian's numpy
	if exec.Command(python, "-c", "import numpy, scipy").Run() != nil {
		Missing(t, "the scorers need python3-numpy and python3-scipy; run: deploy/setup.sh test")
	}
	return python
}

// UseTools puts the folders of what the set-up built in front of this process's
// PATH, for code that looks there by itself, and wants these programs of bin/ and
// of the set-up.
func UseTools(t testing.TB, programs ...string) {
	t.Helper()
	useTools()
	for _, name := range programs {
		if strings.HasPrefix(name, "floorwatch-") {
			Built(t, name)
		} else {
			Tool(t, name)
		}
	}
}

var useTools = sync.OnceFunc(func() { _ = os.Setenv("PATH", SearchPath()) })

// Must fails the test at once for an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Write writes a file for the owner alone and returns its path.
func Write(t testing.TB, path, text string) string {
	t.Helper()
	Must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Wait is Until for tests.
func Wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	Must(t, Until(context.Background(), what, Patience, func() (bool, error) { return done(), nil }))
}

// FreePort returns a port of loopback that nobody uses now.
func FreePort(t testing.TB) int {
	t.Helper()
	address, err := FreeAddress()
	Must(t, err)
	port, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	Must(t, err)
	return port
}

// Run starts a program until the test ends, and shows its output if it fails.
func Run(t testing.TB, c Program) *Process {
	t.Helper()
	p, err := c.Start(context.Background())
	Must(t, err)
	t.Cleanup(func() {
		p.End()
		if t.Failed() {
			t.Logf("%s %q:\n%s", c.Name, c.Args, p.Tail())
		}
	})
	return p
}

// Mosquitto starts a broker until the test ends; more are lines of its
// configuration.
func Mosquitto(t testing.TB, more string) *Broker {
	t.Helper()
	Tool(t, "mosquitto")
	b, err := StartBroker(context.Background(), t.TempDir(), more)
	Must(t, err)
	t.Cleanup(func() { b.End() }) // whichever runs then
	return b
}

// Build compiles the agent and the aggregator without cgo into a folder of the
// test, puts the camera worker of bin/ beside them, and returns it.
func Build(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	Must(t, os.Symlink(Built(t, "floorwatch-camera"), filepath.Join(dir, "floorwatch-camera")))
	build := exec.Command("go", "build", "-o", dir+"/", "./cmd/floorwatch-edge", "./cmd/floorwatch-cloud")
	build.Dir, build.Env = Repository(t, "."), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	return dir
}
