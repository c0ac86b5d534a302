package relay

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"floorwatch/internal/child"
	"floorwatch/internal/lab/kit"
)

// film makes a short H.264 or MPEG-4 file with the given options.
func film(t *testing.T, codec ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "film.mp4")
	args := append([]string{"-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-t", "1"}, codec...)
	if out, err := exec.Command(kit.Tool(t, "ffmpeg"), append(args, path)...).CombinedOutput(); err != nil {
		t.Fatalf("make film: %v: %s", err, out)
	}
	return path
}

func TestFileBecomesALiveCamera(t *testing.T) {
	for name, codec := range map[string][]string{
		"copied":  {"-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-bf", "0"},
		"encoded": {"-c:v", "mpeg4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := New(Settings{Source: film(t, codec...)})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			frames := readFrames(t, r.URL(), 15) // longer than the film: it loops
			if frames.Codec != "h264" || frames.BFrames != 0 {
				t.Errorf("served as %+v, want h264 without B-frames", frames)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
}

// TestAPublisherThatHangs is ended by the relay and followed by another.
func TestAPublisherThatHangs(t *testing.T) {
	t.Parallel()
	r, err := New(Settings{Source: film(t, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-bf", "0")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	readFrames(t, r.URL(), 5)
	publisher := func() int {
		alive, err := child.Alive()
		if err != nil {
			t.Fatal(err)
		}
		for pid, line := range alive {
			if strings.Contains(line, r.publish) {
				return pid
			}
		}
		return 0
	}
	hung := publisher()
	if err := syscall.Kill(hung, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); publisher() == hung || publisher() == 0; <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the publisher that hangs is still there")
		}
	}
	readFrames(t, r.URL(), 5)
}

// readFrames reads n frames from url within 20 s and returns what the stream is.
func readFrames(t *testing.T, url string, n int) probe {
	t.Helper()
	var last []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url,
			"-frames:v", strconv.Itoa(n), "-c", "copy", "-f", "null", "-").CombinedOutput()
		last = out
		if err == nil {
			break
		}
	}
	out, err := exec.Command(kit.Tool(t, "ffprobe"), "-v", "error", "-rtsp_transport", "tcp", "-analyzeduration", "200000", "-show_entries",
		"stream=codec_name,has_b_frames,r_frame_rate", "-of", "json", url).Output()
	if err != nil {
		t.Fatalf("%d frames of %s could not be read: %v: %s", n, url, err, last)
	}
	var answer struct{ Streams []probe }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Streams) != 1 {
		t.Fatalf("probe answered %s (%v)", out, err)
	}
	return answer.Streams[0]
}

func TestStrangersCannotPublish(t *testing.T) {
	r, err := New(Settings{Source: film(t, "-c:v", "libx264", "-bf", "0")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.srv.close()
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-nostdin", "-loglevel", "error", "-re", "-i", r.set.Source, "-c", "copy",
		"-f", "rtsp", "-rtsp_transport", "tcp", r.URL()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "404") {
		t.Errorf("publishing to the reading path: %v: %s", err, out)
	}
}

func TestSourcesThatAreNone(t *testing.T) {
	missing := &Relay{set: Settings{Source: filepath.Join(t.TempDir(), "none.mp4")}}
	if _, err := missing.args(t.Context()); err == nil || !strings.Contains(err.Error(), "none.mp4") {
		t.Errorf("missing file: %v", err)
	}
	text := &Relay{set: Settings{Source: "relay.go"}}
	if _, err := text.args(t.Context()); err == nil || !strings.Contains(err.Error(), "relay.go is not a video") {
		t.Errorf("not a video: %v", err)
	}
}

func TestWhatIsRelayed(t *testing.T) {
	for source, want := range map[string]bool{"0": true, "/dev/video2": true, "film.mp4": true, "rtsp://camera/1": false, "rtsps://camera/1": false} {
		if got := Needed(source); got != want {
			t.Errorf("Needed(%q) = %v", source, got)
		}
	}
	if dev, ok := Device("2"); !ok || dev != "/dev/video2" {
		t.Errorf("device 2 is %q %v", dev, ok)
	}
}
