//go:build cgo

package camera_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/camera"
	"floorwatch/edge/footage"
	"floorwatch/edge/relay"
	"floorwatch/edge/track"
	"floorwatch/edge/zone"
	"floorwatch/internal/child"
	"floorwatch/internal/lab/kit"

	"gocv.io/x/gocv"
)

// agree is how far stamp, clip and record may be apart.
const agree = 300 * time.Millisecond

// TestFlash films a light that is on for 2 s of every 5, loses the camera in
// between, and wants the worker's stamp, the recorded clip and the stay that
// comes of it to agree on when the light went on: also in the first segment
// after the reconnect.
func TestFlash(t *testing.T) {
	dir := t.TempDir()
	rel, err := relay.New(relay.Settings{Source: flashFilm(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = rel.Run(ctx) })
	<-rel.Ready()
	rec := &footage.Recorder{
		Dir: dir, Store: "s1", Edge: "box", Camera: "light", Source: rel.URL(), Every: time.Hour, // so that a connection is a segment
		Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Emit: func(floorwatch.Record) error { return nil },
	}
	parts.Go(func() {
		if err := rec.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w := &watcher{t: t, url: rel.URL()}
	parts.Go(func() { w.run(ctx) })

	w.awaitFlashes(2)
	cut := floorwatch.TimeOf(time.Now())
	killPublisher(t)
	w.awaitFlashes(5)
	stop()
	parts.Wait()

	clip, enters := clipOnsets(t, dir, w.began, floorwatch.TimeOf(time.Now())), w.enters()
	t.Logf("light on, by the worker's stamps %v, in the clip %v, by the stays %v; camera lost at %v", w.onsets, clip, enters, cut)
	if len(clip) < 3 || clip[0] > cut || clip[len(clip)-1] < cut {
		t.Fatal("the clip does not show the light before and after the camera was lost")
	}
	for _, at := range clip {
		for what, others := range map[string][]floorwatch.Time{"stamp": w.onsets, "record": enters} {
			if d := nearest(others, at); d > agree {
				t.Errorf("in the clip the light goes on at %v, the nearest %s is %s away, want at most %s", at, what, d, agree)
			}
		}
	}
}

func nearest(of []floorwatch.Time, at floorwatch.Time) time.Duration {
	best := time.Hour
	for _, o := range of {
		best = min(best, o.Sub(at).Abs())
	}
	return best
}

func flashFilm(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "flash.mp4")
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i",
		"color=c=black:s=320x240:r=25,drawbox=c=white:t=fill:enable='between(mod(t,5),2,4)'", "-t", "20",
		"-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-bf", "0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("make film: %v: %s", err, out)
	}
	return path
}

// light is a detector that sees one person when the light is on.
type light struct{}

func (light) Detect(picture gocv.Mat) ([]floorwatch.Person, error) {
	if picture.Mean().Val1 < 128 {
		return nil, nil
	}
	return []floorwatch.Person{{X: 140, Y: 100, W: 40, H: 100, Score: 0.9}}, nil
}
func (light) By() string   { return "light" }
func (light) Close() error { return nil }

// watcher runs the worker as the agent does, again after each loss.
type watcher struct {
	t      *testing.T
	url    string
	began  floorwatch.Time
	mu     sync.Mutex
	on     bool
	onsets []floorwatch.Time
	lines  []floorwatch.Frame
}

func (w *watcher) run(ctx context.Context) {
	source, err := camera.ParseSource(w.url)
	if err != nil {
		w.t.Error(err)
		return
	}
	w.began = floorwatch.TimeOf(time.Now())
	for ctx.Err() == nil {
		err := camera.Settings{
			Source: source, Detector: light{}, Tracker: track.New(track.Options{}), Emit: w.line, Stall: 2 * time.Second,
		}.Run(ctx)
		if err != nil && !errors.Is(err, camera.ErrStalled) {
			select { // the camera is away
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (w *watcher) line(f floorwatch.Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.lines); n > 0 && f.T <= w.lines[n-1].T {
		f.T = w.lines[n-1].T + 1 // as the agent does with the events of two workers
	}
	w.lines = append(w.lines, f)
	if f.Event == "" {
		if now := len(f.People) > 0; now != w.on {
			if w.on = now; now {
				w.onsets = append(w.onsets, f.T)
			}
		}
	}
	return nil
}

// awaitFlashes returns when the light has gone on and off n times.
func (w *watcher) awaitFlashes(n int) {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; <-time.After(20 * time.Millisecond) {
		w.mu.Lock()
		seen, on := len(w.onsets), w.on
		w.mu.Unlock()
		if seen >= n && !on {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("saw the light %d times within a minute, want %d", seen, n)
		}
	}
}

// enters returns when the stays that the lines give began.
func (w *watcher) enters() []floorwatch.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	engine, err := zone.New("light", floorwatch.Scene{Zones: []floorwatch.Zone{{
		Name: "all", Role: floorwatch.RoleArea, MinStay: floorwatch.DefaultMinStay, MergeGap: floorwatch.DefaultMergeGap,
		Polygon: []floorwatch.Point{{}, {X: 320}, {X: 320, Y: 240}, {Y: 240}},
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	var enters []floorwatch.Time
	for _, f := range w.lines {
		recs, err := engine.Feed(f)
		if err != nil {
			w.t.Errorf("feed: %v", err)
		}
		for _, r := range recs {
			if s, ok := r.(*floorwatch.Stay); ok {
				enters = append(enters, s.Enter)
			}
		}
	}
	return enters
}

// killPublisher makes the camera vanish: its publisher is killed and started
// again by the relay.
func killPublisher(t *testing.T) {
	t.Helper()
	alive, err := child.Alive()
	if err != nil {
		t.Fatal(err)
	}
	for pid, line := range alive {
		if strings.Contains(line, "-stream_loop") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no publisher among %v", alive)
}

var ptsTime = regexp.MustCompile(`pts_time:\s*([0-9.]+)`)

// clipOnsets decodes the footage of a span and returns when, by the clip, the
// light went on.
func clipOnsets(t *testing.T, dir string, from, to floorwatch.Time) []floorwatch.Time {
	t.Helper()
	clip, err := (&footage.Library{Dir: dir}).Clip(t.Context(), "light", from, to)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "clip.mp4")
	if err := os.WriteFile(path, clip.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(kit.Tool(t, "ffmpeg"), "-nostdin", "-i", path, "-fps_mode", "passthrough", "-vf", "scale=1:1,format=gray,showinfo", "-f", "rawvideo", "-")
	var log bytes.Buffer
	cmd.Stderr = &log
	gray, err := cmd.Output()
	if err != nil {
		t.Fatalf("decode clip: %v: %s", err, log.String())
	}
	stamps := ptsTime.FindAllStringSubmatch(log.String(), -1)
	if len(stamps) != len(gray) {
		t.Fatalf("%d frames and %d stamps", len(gray), len(stamps))
	}
	var onsets []floorwatch.Time
	before := 0.0
	for i := range gray {
		at, err := strconv.ParseFloat(stamps[i][1], 64)
		if err != nil {
			t.Fatal(err)
		}
		// After a gap the light may have been on for long.
		if i > 0 && gray[i] > 128 && gray[i-1] < 128 && at-before < 0.2 {
			onsets = append(onsets, clip.Start.Add(time.Duration(at*float64(time.Second))))
		}
		before = at
	}
	return onsets
}
