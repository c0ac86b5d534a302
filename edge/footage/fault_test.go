package footage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/internal/child"
	"floorwatch/internal/lab/chaos"
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
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	recorder := &child.Process{Path: self, Env: []string{childEnv + "=" + dir + "|" + url}, Stop: syscall.SIGKILL}
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	if err := recorder.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = recorder.Wait() }()
	began := floorwatch.TimeOf(time.Now())
	lib := &footage.Library{Dir: dir}
	var kept floorwatch.Time // end of the last whole fragment on disk
	waitFor(t, "four seconds in the open file", func() bool {
		s, err := lib.Segments("door", began-60_000, began.Add(time.Hour))
		if err != nil || len(s) == 0 || !s[len(s)-1].Live {
			return false
		}
		open := s[len(s)-1]
		kept = open.End
		return open.End.Sub(open.Start) >= 4*time.Second
	})
	kill()
	_ = recorder.Wait()
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
	waitFor(t, "the salvaged segment", func() bool { return len(got.segments()) > 0 })
	stop()
	seals := readSeals(t, dir)
	first := seals[slices.IndexFunc(seals, func(s sealOnDisk) bool { return s.seal.Partial || s.seal.Seq == seals[len(seals)-1].seal.Seq })]
	if !first.seal.Partial {
		t.Error("the salvaged file is not marked partial")
	}
	if lost := kept.Sub(first.seal.End); lost > time.Second/2 { // half a fragment: each tells the start better
		t.Errorf("%v that were on disk before the kill are lost", lost)
	}
	playable(t, filepath.Join(filepath.Dir(first.path), first.seal.File), first.seal.End.Sub(first.seal.Start))
	if gaps := got.gaps(); len(gaps) == 0 || !strings.Contains(gaps[0].Cause, "power cut or crash") {
		t.Errorf("gaps %+v", gaps)
	}
	waitFor(t, "end of the killed recorder's ffmpeg", func() bool { return processes(url) == "" })
}

// logged is a log that is read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// processes lists ffmpegs that read url.
func processes(url string) string {
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
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "rtsp://"), "/")
	line, err := chaos.Start(host)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	var got records
	var log logged
	runRecorder(t, &footage.Recorder{
		Dir: t.TempDir(), Store: "s1", Edge: "box", Camera: "door", Source: "rtsp://user:s3cret@" + line.Addr + "/" + path,
		Every: 3 * time.Second, Key: testKey(), Emit: got.emit, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	waitFor(t, "a closed file", func() bool { return len(got.segments()) >= 1 })
	ends := func() int { return strings.Count(log.String(), "camera's stream ended") }
	n, gaps := ends(), len(got.gaps())
	line.Down()
	waitFor(t, "word of the lost camera", func() bool { return ends() > n })
	if err := line.Up(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a gap", func() bool { return len(got.gaps()) > gaps })
	if cause := got.gaps()[gaps].Cause; !strings.HasPrefix(cause, "stream ended") && !strings.HasPrefix(cause, "camera ") {
		t.Errorf("the gap's cause is %q", cause)
	}
	b, err := json.Marshal(got.gaps())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b)+log.String(), "s3cret") {
		t.Errorf("the password is in %s or %s", b, log.String())
	}
}

func TestRefusedRecordComesAgain(t *testing.T) {
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	stop := startRecorder(t, dir, url, func(floorwatch.Record) error { return errors.New("outbox is full") })
	waitFor(t, "two seals", func() bool {
		paths, _ := filepath.Glob(filepath.Join(dir, "door", "*", "*.seal"))
		return len(paths) >= 2
	})
	stop()
	var got records
	stop = startRecorder(t, dir, url, got.emit)
	waitFor(t, "the refused records", func() bool { return len(got.segments()) >= 2 })
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

// TestFlashesKeepTheirTime films flashes and looks for them in the clip: capture
// time and the moment at which the live stream shows them agree, also in the
// first file after a connect. A machine that has other things to do shows some of
// them late, so they are watched until two agree.
func TestFlashesKeepTheirTime(t *testing.T) {
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	var got records
	stop := startRecorder(t, dir, url, got.emit)
	seen := make(chan floorwatch.Time, 100)
	waitFor(t, "a file", func() bool { return len(got.segments()) >= 1 })
	go watchFlashes(t.Context(), url, seen) // the camera is up now
	stop()
	startRecorder(t, dir, url, got.emit)
	lib := &footage.Library{Dir: dir}
	deadline := time.After(patience)
	for agreed := 0; agreed < 2; {
		var at floorwatch.Time
		select {
		case at = <-seen:
		case <-deadline:
			t.Fatalf("%d flashes of %v agree, want 2", agreed, patience)
		}
		waitFor(t, "footage after the flash", func() bool {
			s, err := lib.Segments("door", at-2000, at.Add(time.Hour))
			return err == nil && len(s) > 0 && s[len(s)-1].End > at+2000
		})
		clip, err := lib.Clip(t.Context(), "door", at-2000, at+2000)
		if errors.Is(err, footage.ErrNoFootage) || err == nil && (clip.Start > at-500 || clip.End < at+500) {
			continue // in the gap
		}
		if err != nil {
			t.Fatal(err)
		}
		have, ok := flashIn(t, clip.Data)
		if !ok {
			continue
		}
		d := clip.Start + have - at
		t.Logf("clip %+d ms", d)
		if max(d, -d) <= 300 {
			agreed++
		}
	}
}

const flashW, flashH = 16, 12

// watchFlashes decodes the live stream until ctx ends, and sends when white
// begins.
func watchFlashes(ctx context.Context, url string, seen chan<- floorwatch.Time) {
	decoder := &child.Process{Path: "ffmpeg", Stop: syscall.SIGKILL, Args: []string{
		"-v", "quiet", "-fflags", "nobuffer", "-flags", "low_delay", "-rtsp_transport", "tcp",
		"-analyzeduration", "100000", "-probesize", "200000", "-i", url, "-vf", "scale=16:12", "-pix_fmt", "gray", "-f", "rawvideo", "-",
	}}
	out, err := decoder.StdoutPipe()
	if err != nil || decoder.Start(ctx) != nil {
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
	_ = decoder.Wait()
}

// flashIn returns where white begins in a clip of 10 frames a second, in ms.
func flashIn(t *testing.T, clip []byte) (floorwatch.Time, bool) {
	t.Helper()
	cmd := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-i", "pipe:0", "-vf", "fps=100,scale=16:12", "-pix_fmt", "gray", "-f", "rawvideo", "-")
	cmd.Stdin = bytes.NewReader(clip)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; (i+1)*flashW*flashH <= len(out); i++ {
		if mean(out[i*flashW*flashH:(i+1)*flashW*flashH]) > 200 && mean(out[(i-1)*flashW*flashH:i*flashW*flashH]) <= 200 {
			return floorwatch.Time(i * 10), true
		}
	}
	return 0, false
}

func mean(b []byte) (sum int) {
	for _, v := range b {
		sum += int(v)
	}
	return sum / len(b)
}
