package footage_test

import (
	"context"
	"crypto/ed25519"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/edge/relay"
	"floorwatch/internal/lab/kit"
)

// testKey is the same in all tests.
func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("a seed for tests, thirty-two by."))
}

// makeFilm encodes seconds of moving picture with a keyframe each second; every
// flash seconds the first half second is white.
func makeFilm(t *testing.T, seconds, flash string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "film.mp4")
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x240:r=10:d="+seconds,
		"-vf", "drawbox=color=white:t=fill:enable='lt(mod(t,"+flash+"),0.5)'",
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p", path).CombinedOutput()
	if err != nil {
		t.Fatalf("encode film: %v: %s", err, out)
	}
	return path
}

// startCamera serves film as a live camera until stop is called.
func startCamera(t *testing.T, film string) (url string, stop func()) {
	t.Helper()
	r, err := relay.New(relay.Settings{Source: film})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	select {
	case <-r.Ready():
	case <-time.After(patience):
		t.Fatalf("the camera is not ready within %v", patience)
	}
	return r.URL(), stop
}

// records collects what a recorder emits.
type records struct {
	mu   sync.Mutex
	list []floorwatch.Record
}

func (r *records) emit(rec floorwatch.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, rec)
	return nil
}

func (r *records) segments() (out []floorwatch.Segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if s, ok := x.(*floorwatch.Segment); ok {
			out = append(out, *s)
		}
	}
	return out
}

func (r *records) gaps() (out []floorwatch.Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if g, ok := x.(*floorwatch.Gap); ok {
			out = append(out, *g)
		}
	}
	return out
}

// startRecorder runs a recorder of camera "door" until stop is called.
func startRecorder(t *testing.T, dir, url string, emit func(floorwatch.Record) error) (stop func()) {
	t.Helper()
	return runRecorder(t, &footage.Recorder{
		Dir: dir, Store: "s1", Edge: "box", Camera: "door", Source: url, Every: 3 * time.Second,
		Key: testKey(), Emit: emit,
	})
}

func runRecorder(t *testing.T, r *footage.Recorder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// patience is how long something may take on a machine that has other things to
// do, and less than the 10 minutes of go test.
const patience = 3 * time.Minute

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("no %s within %v", what, patience)
		case <-tick.C:
		}
	}
}

// TestFirstPieceIsShort: whoever has just installed a box sees within seconds that
// it records; the pieces after it are as long as ever, and nothing is missing between.
func TestFirstPieceIsShort(t *testing.T) {
	camera, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir, recs := t.TempDir(), &records{}
	stop := runRecorder(t, &footage.Recorder{
		Dir: dir, Store: "s1", Edge: "box", Camera: "door", Source: camera, Every: 6 * time.Second, First: 2 * time.Second,
		Key: testKey(), Emit: recs.emit,
	})
	waitFor(t, "three pieces", func() bool { return len(recs.segments()) >= 3 })
	stop()
	all := recs.segments()
	if d := all[0].End.Sub(all[0].Start); d > 4*time.Second {
		t.Errorf("the first piece has %s", d)
	}
	if d := all[2].End.Sub(all[2].Start); d < 4500*time.Millisecond {
		t.Errorf("a later piece has %s", d)
	}
	if between := all[1].Start.Sub(all[0].End).Abs(); between > 300*time.Millisecond {
		t.Errorf("%s between the first two pieces", between)
	}
}
