package footage

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch/edge/clock"

	"floorwatch"
)

const hourMS = 3600_000

func insideKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
}

// shelve seals n files of a minute and 100 bytes each, from start on.
func shelve(t *testing.T, dir string, start floorwatch.Time, n int) {
	t.Helper()
	c := chain{dir: filepath.Join(dir, "door"), store: "s1", edge: "box", camera: "door", key: insideKey()}
	hash := floorwatch.SealHash(nil)
	for i := range n {
		from := start + floorwatch.Time(i)*60_000
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		err := c.append(floorwatch.Seal{
			Kind: floorwatch.SealSegment, At: from + 60_000, Start: from, End: from + 60_000,
			Boot: "00000000000000000000000000000000", Codec: "unknown", Length: 100, SHA256: hash,
			Fragments: []floorwatch.Fragment{{Length: 40, SHA256: hash}, {Length: 60, Duration: 60_000, SHA256: hash}},
		}, path)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func films(t *testing.T, dir string) (n int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "door", "*", "*.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	return len(paths)
}

type holds func(from, to floorwatch.Time) bool

func (h holds) Held(_ string, from, to floorwatch.Time) bool { return h(from, to) }

func fixedClock(wall floorwatch.Time) *clock.Clock {
	return clock.New(func() floorwatch.Stamp {
		return floorwatch.Stamp{Wall: wall, Mono: time.Hour, Boot: "00000000000000000000000000000000", Synced: true}
	})
}

func TestRetentionDeletesOldestFirstAndBooksIt(t *testing.T) {
	const start = 1763755200000
	room := func(string) (float64, error) { return 0.5, nil }
	for name, c := range map[string]struct {
		set  func(*Retention)
		left int
	}{
		"room":   {func(*Retention) {}, 10},
		"budget": {func(r *Retention) { r.MaxBytes = 450 }, 4},
		"age":    {func(r *Retention) { r.MaxAge = time.Hour - 210*time.Second }, 7},
		"held": {func(r *Retention) {
			r.MaxBytes = 450
			r.Holds = holds(func(from, _ floorwatch.Time) bool { return from < start+5*60_000 })
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			shelve(t, dir, start, 10)
			r := &Retention{Dir: dir, Store: "s1", Edge: "box", Key: insideKey(), Clock: fixedClock(start + hourMS), free: room}
			c.set(r)
			if err := r.sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := films(t, dir); n != c.left {
				t.Errorf("%d files are left, want %d", n, c.left)
			}
			gone := 0
			err := eachSealAfter(filepath.Join(dir, "door"), 0, func(s floorwatch.Seal, _ []byte) error {
				gone += len(s.Gone)
				return nil
			})
			if err != nil || gone != 10-c.left {
				t.Errorf("%d deletions are booked, want %d: %v", gone, 10-c.left, err)
			}
			lib := &Library{Dir: dir}
			if got, err := lib.Segments("door", start, start+hourMS); err != nil || len(got) != c.left {
				t.Errorf("the library lists %d: %v", len(got), err)
			}
		})
	}
}

func TestRetentionFinishesWhatACrashLeft(t *testing.T) {
	const start = 1763755200000
	dir := t.TempDir()
	shelve(t, dir, start, 4)
	r := &Retention{Dir: dir, Store: "s1", Edge: "box", Key: insideKey(), MaxBytes: 200, Clock: fixedClock(start + hourMS), free: func(string) (float64, error) { return 1, nil }}
	copied := map[string][]byte{}
	paths, _ := filepath.Glob(filepath.Join(dir, "door", "*", "*.mp4"))
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		copied[p] = b
	}
	if err := r.sweep(t.Context()); err != nil || films(t, dir) != 2 {
		t.Fatal(err, films(t, dir))
	}
	for p, b := range copied { // as if the deletion had been booked and not done
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := &Retention{Dir: dir, Store: "s1", Edge: "box", Key: insideKey(), Clock: r.Clock, free: r.free}
	if err := again.sweep(t.Context()); err != nil || films(t, dir) != 2 {
		t.Errorf("%v, %d files", err, films(t, dir))
	}
}

func TestFullDiskStopsRecordingWithItsCause(t *testing.T) {
	dir := t.TempDir()
	full := true
	r := &Recorder{
		Dir: dir, Store: "s1", Edge: "box", Camera: "door", Source: "rtsp://127.0.0.1:1/", Key: insideKey(),
		Emit: func(floorwatch.Record) error { return nil }, free: func(string) (float64, error) {
			if full {
				return 0.049, nil
			}
			return 0.06, nil
		},
	}
	shelve(t, dir, floorwatch.TimeOf(time.Now())-600_000, 1)
	p, err := r.prepare()
	if err != nil {
		t.Fatal(err)
	}
	if p.ready() || p.cause != "disk full" {
		t.Errorf("recording goes on into the reserve, cause %q", p.cause)
	}
	p.bookGap(p.clock.Now().Wall + 1000)
	h, err := findHead(p.dir)
	if err != nil || h.seal.Kind != floorwatch.SealGap || h.seal.Cause != "disk full" {
		t.Errorf("%v %+v", err, h.seal)
	}
	if full = false; !p.ready() {
		t.Error("recording does not go on when there is room")
	}
}

func TestLostHeadBeginsANewChain(t *testing.T) {
	const start = 1763755200000
	dir := t.TempDir()
	shelve(t, dir, start, 2)
	paths, _ := filepath.Glob(filepath.Join(dir, "door", "*", "*.seal"))
	if err := os.WriteFile(paths[len(paths)-1], nil, 0o600); err != nil { // as ext4 may leave it
		t.Fatal(err)
	}
	c := chain{dir: filepath.Join(dir, "door"), store: "s1", edge: "box", camera: "door", key: insideKey()}
	gap := floorwatch.Seal{Kind: floorwatch.SealGap, At: start + hourMS, Start: start, End: start + 1, Boot: "00000000000000000000000000000000", Cause: "test"}
	if err := c.append(gap, ""); err != nil {
		t.Fatal(err)
	}
	h, err := findHead(c.dir)
	if err != nil || h.seal.Seq != 3 || h.seal.Lost || h.seal.Prev != "" {
		t.Errorf("%v %+v", err, h.seal)
	}
}

func TestFootageIsReadableByItsOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	shelve(t, dir, 1763755200000, 1)
	err := filepath.WalkDir(filepath.Join(dir, "door"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunRefusesSettingsThatCannotWork(t *testing.T) {
	good := Recorder{Dir: t.TempDir(), Store: "s1", Edge: "box", Camera: "door", Source: "rtsp://x", Key: insideKey(), Emit: func(floorwatch.Record) error { return nil }}
	for _, spoil := range []func(*Recorder){
		func(r *Recorder) { r.Camera = "../x" },
		func(r *Recorder) { r.Source = "-f" },
		func(r *Recorder) { r.Key = nil },
		func(r *Recorder) { r.Emit = nil },
	} {
		r := good
		spoil(&r)
		if err := r.Run(t.Context()); err == nil {
			t.Errorf("runs with %+v", r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := good.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestSecretsStayOut(t *testing.T) {
	const source = "rtsp://user:p%40ss@cam/1"
	for _, said := range []string{source + ": 401", "user:p%40ss", "p@ss"} {
		if got := redact(said, source); bytes.Contains([]byte(got), []byte("ss")) {
			t.Errorf("%q became %q", said, got)
		}
	}
	if got := cleanCause("  Zeit\x01 für \n"); got != "Zeit? f?r" {
		t.Errorf("%q", got)
	}
}

// wantsAll has everything uploaded sometime.
type wantsAll struct{}

func (wantsAll) Wanted(string, floorwatch.Time, floorwatch.Time) bool { return true }

func TestRetentionFreesWhatIsConfirmedFirst(t *testing.T) {
	const start = 1763755200000
	dir := t.TempDir()
	shelve(t, dir, start, 6)
	for _, seq := range []int{3, 4} {
		days, _ := filepath.Glob(filepath.Join(dir, "door", "2*"))
		if err := os.WriteFile(filepath.Join(days[0], fmt.Sprintf("%08d.receipt", seq)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &Retention{
		Dir: dir, Store: "s1", Edge: "box", Key: insideKey(), MaxBytes: 350, Wanted: wantsAll{}, Clock: fixedClock(start + hourMS),
		free: func(string) (float64, error) { return 1, nil },
	}
	if err := r.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "door", "*", "*.mp4"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if got := strings.Join(left, " "); got != "00000002.mp4 00000005.mp4 00000006.mp4" {
		t.Errorf("left: %s; the confirmed and then the oldest should go", got)
	}
}

func TestLostHeadNamesTheLastReceipt(t *testing.T) {
	const start = 1763755200000
	dir := t.TempDir()
	shelve(t, dir, start, 3)
	seals, _ := filepath.Glob(filepath.Join(dir, "door", "*", "*.seal"))
	if err := os.WriteFile(strings.Replace(seals[1], ".seal", ".receipt", 1), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(seals[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seals[2], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shelve(t, dir, start+180_000, 1)
	h, err := findHead(filepath.Join(dir, "door"))
	if err != nil || !h.seal.Lost || h.seal.Prev != floorwatch.SealHash(raw) {
		t.Errorf("%v %+v", err, h.seal)
	}
}
