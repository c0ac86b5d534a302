// Package programtest runs the built programs and the real servers for tests
// that look at them from outside: their output, their figures, and what their
// ledgers and the database hold in the end.
package programtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/internal/child"
)

// Repository is the path of the project's root from a package three levels down.
const Repository = "../../.."

// Build compiles the agent and the aggregator without cgo into a folder of the
// test, and returns it. The camera worker comes from bin/.
func Build(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := os.Stat(filepath.Join(Repository, "bin/floorwatch-camera")); err != nil {
		t.Fatal("bin/floorwatch-camera is not there; run make test, which makes it")
	}
	build := exec.Command("go", "build", "-o", dir+"/", "./cmd/floorwatch-edge", "./cmd/floorwatch-cloud")
	build.Dir, build.Env = Repository, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	return dir
}

// Until polls what for at most patience.
func Until(t *testing.T, what string, patience time.Duration, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// Must fails the test at once for an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Write writes a file for the owner alone and returns its path.
func Write(t *testing.T, path, text string) string {
	t.Helper()
	Must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Process is a program that runs, in a network namespace if that is not "".
type Process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error
}

// output keeps what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start runs a program until the test ends, and shows its output if it fails.
func Start(t *testing.T, namespace, name string, args ...string) *Process {
	t.Helper()
	if namespace != "" { // nsenter replaces itself by the program
		name, args = "nsenter", append([]string{"--net=/run/netns/" + namespace, name}, args...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{cmd: child.Command(ctx, name, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	bin, err := filepath.Abs(filepath.Join(Repository, "bin"))
	Must(t, err)
	p.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the program dies with its thread, so that one stays
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	Must(t, <-started)
	t.Cleanup(func() {
		cancel()
		<-p.done
		if t.Failed() {
			t.Logf("%s %q:\n%s", name, args, tail(p.out.String()))
		}
	})
	return p
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is all that it has written so far.
func (p *Process) Output() string { return p.out.String() }

func tail(s string) string { return s[max(0, len(s)-6000):] }

// Kill ends the process, and nothing but it, as kill -9 does.
func (p *Process) Kill(t *testing.T) {
	t.Helper()
	Must(t, p.cmd.Process.Kill())
	<-p.done
}

// End asks the process to end, and wants it to do so in order.
func (p *Process) End(t *testing.T, within time.Duration) {
	t.Helper()
	Must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("it did not end within %s", within)
	}
	if p.err != nil {
		t.Fatalf("it ended with %v", p.err)
	}
}

// Find finds a program that make test installs.
func Find(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not there; run make test, which installs it", name)
	return ""
}

// FreePort returns a port of loopback that nobody uses now.
func FreePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}

// Figures reads /metrics; nil while it does not answer.
func Figures(c *http.Client, address string) map[string]float64 {
	resp, err := c.Get("http://" + address + "/metrics")
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	all := map[string]float64{}
	scan := bufio.NewScanner(resp.Body)
	for scan.Scan() {
		if name, value, ok := strings.Cut(scan.Text(), " "); ok && !strings.HasPrefix(name, "#") {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				all[name] = v
			}
		}
	}
	return all
}

// recordKey names a record by what it says of itself.
func recordKey(kind, camera, zone, id string, at int64) string {
	return fmt.Sprintf("%s %s/%s %s %d", kind, camera, zone, id, at)
}

// ReadLedger returns how often each record stands in it, and the hashes of the
// segments, which are kept elsewhere.
func ReadLedger(t *testing.T, path string) (records map[string]int, segments []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	Must(t, err)
	records = map[string]int{}
	for line := range strings.Lines(string(b)) {
		var h struct {
			floorwatch.Header
			SHA256 string `json:"sha256"`
		}
		Must(t, json.Unmarshal([]byte(line), &h))
		if h.Kind == floorwatch.KindSegment {
			segments = append(segments, h.SHA256)
			continue
		}
		records[recordKey(h.Kind, h.Camera, h.Zone, h.ID, int64(h.At))]++
	}
	return records, segments
}

// StoredBelow opens the database that a cloud left in dir and returns how often
// each record is there.
func StoredBelow(t *testing.T, dir string) map[string]int {
	t.Helper()
	db := &influx.Server{Dir: dir}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- db.Run(ctx) }()
	defer func() { stop(); Must(t, <-done) }()
	at, err := db.WaitReady(ctx)
	Must(t, err)
	return Stored(t, at)
}

// Stored returns how often each record is in a running database, by the keys of
// ReadLedger.
func Stored(t *testing.T, at influx.Endpoint) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, kind := range []string{
		floorwatch.KindInterval, floorwatch.KindStay, floorwatch.KindWait, floorwatch.KindGap,
		floorwatch.KindCount, floorwatch.KindAlert, floorwatch.KindHealth,
	} {
		for _, row := range rows(t, at, kind) {
			found[recordKey(kind, row["camera"], row["zone"], row["id"], parse(t, row["at"]))]++
		}
	}
	return found
}

func parse(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	Must(t, err)
	return n
}

// rows reads a whole measurement, past our own client and its limits.
func rows(t *testing.T, at influx.Endpoint, measurement string) []map[string]string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.URL+"/query?"+url.Values{
		"db": {influx.DefaultDatabase}, "q": {`SELECT "id","at","camera","zone" FROM ` + influx.DefaultPolicy + "." + measurement},
	}.Encode(), nil)
	Must(t, err)
	req.Header.Set("Authorization", "Token "+at.Token)
	resp, err := http.DefaultClient.Do(req)
	Must(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	Must(t, err)
	var answer struct {
		Results []struct {
			Series []struct {
				Columns []string
				Values  [][]any
			}
			Error string
		}
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil || len(answer.Results) != 1 || answer.Results[0].Error != "" {
		t.Fatalf("read %s: %v %s", measurement, err, b)
	}
	var all []map[string]string
	for _, s := range answer.Results[0].Series {
		for _, v := range s.Values {
			row := map[string]string{}
			for i, c := range s.Columns {
				row[c] = fmt.Sprint(v[i])
			}
			maps.DeleteFunc(row, func(_, v string) bool { return v == "<nil>" })
			all = append(all, row)
		}
	}
	return all
}
