package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/edge/relay"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"
	"floorwatch/internal/lab/kit/influxdb"
)

// workerEnv makes the test binary a camera worker whose clock can be set: it
// names a file with the milliseconds to add, and workerProgram the real one.
const (
	workerEnv     = "HOSTILE_CLOCK"
	workerProgram = "HOSTILE_CAMERA"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(workerEnv); file != "" {
		if err := workWithClock(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// workWithClock runs the real worker and moves the stamps of its lines. A clock
// of the whole machine cannot be moved in a test.
func workWithClock(file string) error {
	cmd := exec.Command(os.Getenv(workerProgram), os.Args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for scan := bufio.NewScanner(out); scan.Scan(); {
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		ms, err := strconv.Atoi(string(b))
		if err != nil {
			return err
		}
		f.T += floorwatch.Time(ms)
		b, err = json.Marshal(f)
		if err != nil {
			return err
		}
		fmt.Println(string(b))
	}
	return cmd.Wait()
}

// program is a running one with its figures.
type program struct {
	*kit.Process
	metrics string // address
}

// figure reads a figure, -1 while there is none.
func (p *program) figure(name string) float64 {
	if p == nil {
		return -1
	}
	all, _ := kit.ReadFigures(context.Background(), nil, p.metrics)
	return all.Get(name)
}

// world is two boxes, a broker, a cloud and a database, and the lines between
// them into which faults are put.
type world struct {
	t        *testing.T // of the whole table: programs outlive the row that starts them
	dir, bin string
	port     int // of the broker
	database influx.Endpoint
	influx   *chaos.Proxy
	cameras  map[string]*chaos.Proxy
	little   string // address of a film in another size
	broker   *kit.Process
	cloud    *program
	sources  *program // box with the cameras that misbehave
	small    *program // box with a small disk, of its own if disk is true
	disk     bool
}

// cameras that come over a line each, from one film.
var streams = []string{"steady", "resizes", "ends", "stalls", "garbage", "clock"}

func newWorld(t *testing.T) *world {
	t.Helper()
	for _, name := range []string{"influxd", "mosquitto", "mosquitto_passwd", "ffmpeg"} {
		kit.Tool(t, name)
	}
	dir, err := kit.Folder("hostile") // something is mounted there
	kit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, bin: kit.Build(t), port: kit.FreePort(t), cameras: map[string]*chaos.Proxy{}}
	w.films(t)
	w.startDatabase(t)
	w.startFilm(t)
	w.mountDisk(t)
	w.configure(t)
	return w
}

// line leads to target and is down.
func (w *world) line(t *testing.T, target string) *chaos.Proxy {
	t.Helper()
	p, err := chaos.New(target)
	kit.Must(t, err)
	w.t.Cleanup(p.Close)
	return p
}

// films makes what the cameras show, in two sizes.
func (w *world) films(t *testing.T) {
	t.Helper()
	film := func(name, size, length string) {
		out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=5:size="+size+":duration="+length,
			"-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-bf", "0", "-pix_fmt", "yuv420p", filepath.Join(w.dir, name)).CombinedOutput()
		if err != nil {
			t.Fatalf("make a film: %v: %s", err, out)
		}
	}
	film("film.mp4", "320x240", "10")
	film("little.mp4", "160x120", "10")
	kit.Write(t, filepath.Join(w.dir, "text.mp4"), strings.Repeat("this is not a video\n", 1000))
}

// startDatabase runs InfluxDB behind a line that is down.
func (w *world) startDatabase(t *testing.T) {
	t.Helper()
	db, err := influxdb.Start(context.Background(), w.dir)
	kit.Must(t, err)
	t.Cleanup(db.End)
	at, err := db.Endpoint()
	kit.Must(t, err)
	w.database = at
	w.influx = w.line(t, strings.TrimPrefix(at.URL, "http://"))
}

// background runs something until the test ends.
func (w *world) background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() { stop(); kit.Must(t, <-done) })
}

// startFilm serves the film as a camera would, behind a line for each camera.
func (w *world) startFilm(t *testing.T) {
	t.Helper()
	serve := func(film string) (address string) {
		r, err := relay.New(relay.Settings{Source: filepath.Join(w.dir, film)})
		kit.Must(t, err)
		w.background(t, r.Run)
		<-r.Ready()
		return strings.TrimSuffix(strings.TrimPrefix(r.URL(), "rtsp://"), "/stream")
	}
	address := serve("film.mp4")
	w.little = serve("little.mp4")
	for _, name := range append([]string{"small"}, streams...) {
		w.cameras[name] = w.line(t, address)
		kit.Must(t, w.cameras[name].Up())
	}
}

// mountDisk gives the small box a disk of its own, which can be filled.
func (w *world) mountDisk(t *testing.T) {
	t.Helper()
	dir := filepath.Join(w.dir, "small")
	kit.Must(t, os.Mkdir(dir, 0o700))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		if kit.All() {
			t.Fatalf("mount a disk to fill (root and CAP_SYS_ADMIN are needed): %v", err)
		}
		t.Logf("this machine lets us mount no disk (root and CAP_SYS_ADMIN are needed), so no disk is filled: %v", err)
		return
	}
	w.disk = true
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// configure writes what the programs read. The worker of the camera "clock" is
// the test binary.
func (w *world) configure(t *testing.T) {
	t.Helper()
	camera := kit.Built(t, "floorwatch-camera")
	self, err := os.Executable()
	kit.Must(t, err)
	clock := kit.Write(t, filepath.Join(w.dir, "clock"), "0")
	worker := filepath.Join(w.bin, "floorwatch-camera")
	kit.Must(t, os.Remove(worker)) // a link to the real one
	kit.Must(t, os.WriteFile(worker, []byte(fmt.Sprintf(`#!/bin/sh
case "$FLOORWATCH_SOURCE" in
*%s*) %s=%s %s=%s exec %s "$@" ;;
*) exec %s "$@" ;;
esac
`, w.cameras["clock"].Addr, workerEnv, clock, workerProgram, camera, self, camera)), 0o700))

	cameras := ""
	for _, name := range []string{"missing", "text"} {
		cameras += cameraConfig(name, filepath.Join(w.dir, name+".mp4"))
	}
	for _, name := range streams {
		cameras += cameraConfig(name, "rtsp://"+w.cameras[name].Addr+"/stream")
	}
	sources := w.boxConfig(t, "sources", cameras)
	small := w.boxConfig(t, "small", cameraConfig("small", "rtsp://"+w.cameras["small"].Addr+"/stream"))
	w.cloudConfig(t, map[string]site.Key{"sources": sources, "small": small, "evil": ""})
	kit.Write(t, filepath.Join(w.dir, "mosquitto.conf"), fmt.Sprintf(`user root
listener %d 127.0.0.1
allow_anonymous false
password_file %s/passwd
log_dest stdout
log_type notice
max_inflight_messages 1000
max_queued_messages 10000
`, w.port, w.dir))
}

func cameraConfig(name, source string) string {
	return fmt.Sprintf(`
  - name: %s
    source: %s
    detector: motion
    fps: 5
    zones: [{name: %s-left, polygon: [[0, 0], [200, 0], [200, 240], [0, 240]]}]`, name, source, name)
}

// boxConfig writes a box's configuration and returns its key.
func (w *world) boxConfig(t *testing.T, name, cameras string) site.Key {
	t.Helper()
	file := kit.Write(t, filepath.Join(w.dir, name+".yaml"), fmt.Sprintf(`
store: s1
edge: %s
data: %s/%s
interval: 2s
metrics: 127.0.0.1:%d
broker: {url: "tcp://127.0.0.1:%d", password_file: %s}
footage: {segment: 2s, max_bytes: 50MB}
outbox: {max_bytes: 8MB}
cameras:%s
`, name, w.dir, name, kit.FreePort(t), w.port, kit.Write(t, filepath.Join(w.dir, name+".password"), "right"), cameras))
	key, err := exec.Command(filepath.Join(w.bin, "floorwatch-edge"), "key", "-config", file).CombinedOutput()
	if err != nil {
		t.Fatalf("make the key of %s: %v: %s", name, err, key)
	}
	return halls.Key(key)
}

func (w *world) cloudConfig(t *testing.T, keys map[string]site.Key) {
	t.Helper()
	kit.Must(t, halls.Register(t.Context(), filepath.Join(w.dir, "cloud"), halls.One("s1", keys)))
	kit.Write(t, filepath.Join(w.dir, "cloud.yaml"), fmt.Sprintf(`
data: %s/cloud
broker: {url: "tcp://127.0.0.1:%d", password_file: %s}
influx: {url: "http://%s", token_file: %s}
pages: {listen: "127.0.0.1:%d"}
`, w.dir, w.port, kit.Write(t, filepath.Join(w.dir, "cloud.password"), "right"),
		w.influx.Addr, kit.Write(t, filepath.Join(w.dir, "token"), w.database.Token), kit.FreePort(t)))
}

var addressRE = regexp.MustCompile(`(?m)^(?:metrics: |pages: \{listen: ")([0-9.:]+)`)

func (w *world) start(t *testing.T, name, file string, args ...string) *program {
	t.Helper()
	file = filepath.Join(w.dir, file)
	b, err := os.ReadFile(file)
	kit.Must(t, err)
	return &program{
		kit.Run(w.t, kit.Program{Name: filepath.Join(w.bin, name), Args: append([]string{"-config", file}, args...)}),
		addressRE.FindStringSubmatch(string(b))[1],
	}
}

func (w *world) startBox(t *testing.T, name string) *program {
	t.Helper()
	return w.start(t, "floorwatch-edge", name+".yaml", "-ledger", w.ledger(name))
}

func (w *world) ledger(name string) string { return filepath.Join(w.dir, name+".ledger") }

// password sets what the broker wants of a user.
func (w *world) password(t *testing.T, user, password string) {
	t.Helper()
	file := filepath.Join(w.dir, "passwd")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	kit.Must(t, err)
	kit.Must(t, f.Close())
	if out, err := exec.Command(kit.Tool(t, "mosquitto_passwd"), "-b", file, user, password).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
}

func (w *world) startBroker(t *testing.T) {
	t.Helper()
	w.broker = kit.Run(w.t, kit.Program{Name: kit.Tool(t, "mosquitto"), Args: []string{"-c", filepath.Join(w.dir, "mosquitto.conf")}})
}

// write puts a point into the database past the cloud.
func (w *world) write(t *testing.T, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		w.database.URL+"/write?db="+influx.DefaultDatabase+"&rp="+influx.DefaultPolicy, strings.NewReader(text))
	kit.Must(t, err)
	req.Header.Set("Authorization", "Token "+w.database.Token)
	resp, err := http.DefaultClient.Do(req)
	kit.Must(t, err)
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("write to the database: %s: %s", resp.Status, b)
	}
}
