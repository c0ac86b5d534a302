package footage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/internal/lab/kit"
)

const childEnv = "FLOORWATCH_TEST_RECORD"

// TestMain lets the test binary be a recorder that can be killed.
func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		dir, url, _ := strings.Cut(arg, "|")
		r := &footage.Recorder{
			Dir: dir, Store: "s1", Edge: "box", Camera: "door", Source: url, Every: time.Minute,
			Key: testKey(), Emit: func(floorwatch.Record) error { return nil },
		}
		if err := r.Run(context.Background()); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestKilledRecorderLosesOnlyItsUnfinishedFragment(t *testing.T) {
	t.Parallel()
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir+"|"+url)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lib := &footage.Library{Dir: dir}
	now := func() floorwatch.Time { return floorwatch.TimeOf(time.Now()) }
	waitFor(t, "four seconds in the open file", 30*time.Second, func() bool {
		s, err := lib.Segments("door", now()-60_000, now()+60_000)
		return err == nil && len(s) == 1 && s[0].End.Sub(s[0].Start) >= 4*time.Second
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := now()
	_ = cmd.Wait()
	// What a power cut may leave behind the last whole fragment.
	f, err := os.OpenFile(filepath.Join(dir, "door", "open.mp4"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	var got records
	stop := startRecorder(t, dir, url, got.emit)
	waitFor(t, "the salvaged segment", 10*time.Second, func() bool { return len(got.segments()) > 0 })
	stop()
	first := readSeals(t, dir)[0]
	if !first.seal.Partial {
		t.Error("the salvaged file is not marked partial")
	}
	if lost := killed.Sub(first.seal.End); lost > 2*time.Second {
		t.Errorf("%v were lost before the kill, with a GOP of 1 s", lost)
	}
	playable(t, filepath.Join(filepath.Dir(first.path), first.seal.File), first.seal.End.Sub(first.seal.Start))
	if gaps := got.gaps(); len(gaps) == 0 || !strings.Contains(gaps[0].Cause, "power cut or crash") {
		t.Errorf("gaps %+v", gaps)
	}
	if left := processes(t, url); left != "" {
		t.Errorf("ffmpeg outlived its recorder: %s", left)
	}
}

// processes lists ffmpegs that read url.
func processes(t *testing.T, url string) string {
	t.Helper()
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []string
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte("-flush_packets")) && bytes.Contains(b, []byte(url)) {
			out = append(out, path)
		}
	}
	return strings.Join(out, " ")
}

func TestLostCameraBecomesAGapWithItsCause(t *testing.T) {
	t.Parallel()
	film := makeFilm(t, "30", "5")
	url, stopCamera := startCamera(t, film)
	dir := t.TempDir()
	var got records
	stop := startRecorder(t, dir, strings.Replace(url, "rtsp://", "rtsp://user:s3cret@", 1), got.emit)
	waitFor(t, "a closed file", 30*time.Second, func() bool { return len(got.segments()) >= 1 })
	stopCamera()
	away := time.Now()
	n := len(got.segments())
	waitFor(t, "the file to be closed", 12*time.Second, func() bool { return len(got.segments()) > n })
	if d := time.Since(away); d > 10*time.Second {
		t.Errorf("a lost camera was noticed after %v", d)
	}
	stop()
	startRecorder(t, dir, url, got.emit)
	waitFor(t, "a gap", 10*time.Second, func() bool { return len(got.gaps()) > 0 })
	b, err := json.Marshal(got.gaps())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "s3cret") {
		t.Errorf("the password is in %s", b)
	}
}

func TestRefusedRecordComesAgain(t *testing.T) {
	t.Parallel()
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	stop := startRecorder(t, dir, url, func(floorwatch.Record) error { return errors.New("outbox is full") })
	waitFor(t, "two seals", 30*time.Second, func() bool {
		paths, _ := filepath.Glob(filepath.Join(dir, "door", "*", "*.seal"))
		return len(paths) >= 2
	})
	stop()
	var got records
	stop = startRecorder(t, dir, url, got.emit)
	waitFor(t, "the refused records", 5*time.Second, func() bool { return len(got.segments()) >= 2 })
	stop()
	seen := map[uint64]bool{}
	for _, s := range got.segments() {
		seen[s.Seq] = true
		if hash := floorwatch.SealHash([]byte(s.Seal)); hash == "" || s.At == 0 || s.ID == "" {
			t.Errorf("segment %+v", s)
		}
	}
	if !seen[1] || !seen[2] {
		t.Errorf("emitted %v", seen)
	}
}

// TestFlashesKeepTheirTime films flashes and looks for them in the clip: capture time and
// the moment at which the live stream shows them agree.
func TestFlashesKeepTheirTime(t *testing.T) {
	t.Parallel()
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	var got records
	stop := startRecorder(t, dir, url, got.emit)
	seen := make(chan floorwatch.Time, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waitFor(t, "a file", 30*time.Second, func() bool { return len(got.segments()) >= 1 })
	go watchFlashes(ctx, url, seen) // the camera is up now
	waitFor(t, "a flash", 20*time.Second, func() bool { return len(seen) >= 1 })
	stop() // and once more, so that a first segment after a connect is in it
	start := startRecorder(t, dir, url, got.emit)
	n := len(got.segments())
	waitFor(t, "two flashes", 30*time.Second, func() bool { return len(seen) >= 3 && len(got.segments()) > n+1 })
	start()
	cancel()
	lib := &footage.Library{Dir: dir}
	checked := 0
	for len(seen) > 0 {
		at := <-seen
		clip, err := lib.Clip(t.Context(), "door", at-2000, at+2000)
		if errors.Is(err, footage.ErrNoFootage) || err == nil && (clip.Start > at-500 || clip.End < at+500) {
			continue // in the gap
		}
		if err != nil {
			t.Fatal(err)
		}
		have := clip.Start + flashIn(t, clip.Data)
		if d := have.Sub(at).Abs(); d > 300*time.Millisecond {
			t.Errorf("flash seen at %s lies in the clip at %s", at, have)
		} else {
			t.Logf("clip %+d ms", have-at)
		}
		checked++
	}
	if checked < 2 {
		t.Errorf("only %d flashes could be compared", checked)
	}
}

const flashW, flashH = 16, 12

// watchFlashes decodes the live stream and sends when white begins.
func watchFlashes(ctx context.Context, url string, seen chan<- floorwatch.Time) {
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "quiet", "-fflags", "nobuffer", "-flags", "low_delay", "-rtsp_transport", "tcp",
		"-analyzeduration", "100000", "-probesize", "200000", "-i", url, "-vf", "scale=16:12", "-pix_fmt", "gray", "-f", "rawvideo", "-")
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	white := true
	for buf := make([]byte, flashW*flashH); ; {
		if _, err := io.ReadFull(out, buf); err != nil {
			break
		}
		now := mean(buf) > 200
		if now && !white {
			seen <- floorwatch.TimeOf(time.Now())
		}
		white = now
	}
	_ = cmd.Wait()
}

// flashIn returns where white begins in a clip of 10 frames a second, in ms.
func flashIn(t *testing.T, clip []byte) floorwatch.Time {
	t.Helper()
	cmd := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-i", "pipe:0", "-vf", "fps=100,scale=16:12", "-pix_fmt", "gray", "-f", "rawvideo", "-")
	cmd.Stdin = bytes.NewReader(clip)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; (i+1)*flashW*flashH <= len(out); i++ {
		if mean(out[i*flashW*flashH:(i+1)*flashW*flashH]) > 200 && mean(out[(i-1)*flashW*flashH:i*flashW*flashH]) <= 200 {
			return floorwatch.Time(i * 10)
		}
	}
	t.Error("no flash in the clip")
	return 0
}

func mean(b []byte) (sum int) {
	for _, v := range b {
		sum += int(v)
	}
	return sum / len(b)
}
