package edge

import (
	"bytes"
	"crypto/ed25519"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch"
)

func askFor(t *testing.T, r *run, c floorwatch.Command) floorwatch.Reply {
	t.Helper()
	c.V, c.ID, c.Expires = floorwatch.Version, floorwatch.NewCommandID(), floorwatch.TimeOf(time.Now().Add(time.Minute))
	if c.Camera == "" {
		c.Camera = "door"
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return r.command(t.Context(), c)
}

// noise is a JPEG that hardly becomes smaller.
func noise(t *testing.T, width, height int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.SetRGBA(x, y, color.RGBA{uint8(rand.Uint32()), uint8(rand.Uint32()), uint8(rand.Uint32()), 255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 85}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t *testing.T, r *run, b []byte, at time.Time) {
	t.Helper()
	path := StillFile(r.cfg.Data, "door")
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err == nil {
		err = os.Chtimes(path, at, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestStillIsSentOnDemand: signed, with its time, once; smaller where it must be;
// and with a reason where there is none.
func TestStillIsSentOnDemand(t *testing.T) {
	r, _ := newRun(t, nil)
	still := func(c floorwatch.Command) floorwatch.Reply { c.Do = floorwatch.DoStill; return askFor(t, r, c) }
	if got := still(floorwatch.Command{}); got.State != floorwatch.ReplyFailed || !strings.Contains(got.Reason, "no picture") || got.Data != nil {
		t.Errorf("without a picture: %+v", got)
	}
	if got := still(floorwatch.Command{Camera: "roof"}); got.State != floorwatch.ReplyRefused || !strings.Contains(got.Reason, "no camera roof") {
		t.Errorf("of a camera that is not there: %+v", got)
	}
	taken := time.Now().Add(-time.Second).Truncate(time.Millisecond)
	small := noise(t, 64, 48)
	put(t, r, small, taken)
	got := still(floorwatch.Command{})
	if got.State != floorwatch.ReplyDone || got.At != floorwatch.TimeOf(taken) || !bytes.Equal(got.Data, small) || got.Reason != "" {
		t.Fatalf("%s %s at %s, %d bytes", got.State, got.Reason, got.At, len(got.Data))
	}
	if err := got.CheckSignature("s1", "box", r.key.Public().(ed25519.PublicKey)); err != nil {
		t.Error(err)
	}
	if again := still(floorwatch.Command{From: got.At}); again.State != floorwatch.ReplyDone || again.At != got.At || again.Data != nil {
		t.Errorf("the cloud has it already: %+v", again)
	}

	put(t, r, noise(t, 1280, 720), taken.Add(-time.Hour))
	got = still(floorwatch.Command{})
	cfg, err := jpeg.DecodeConfig(bytes.NewReader(got.Data))
	if err != nil || cfg.Width != 1280 || cfg.Height != 720 || len(got.Data) > floorwatch.MaxReplyData || !strings.Contains(got.Reason, "since then") {
		t.Errorf("%s %q: %d x %d in %d bytes: %v", got.State, got.Reason, cfg.Width, cfg.Height, len(got.Data), err)
	}
	put(t, r, noise(t, 2560, 1440), taken)
	if got = still(floorwatch.Command{}); got.State != floorwatch.ReplyFailed || !strings.Contains(got.Reason, "2560 x 1440 is too large") || got.Data != nil {
		t.Errorf("noise of 4 Mpx: %s %q, %d bytes", got.State, got.Reason, len(got.Data))
	}
	put(t, r, bytes.Repeat([]byte("x"), floorwatch.MaxReplyData+1), taken)
	if got = still(floorwatch.Command{}); got.State != floorwatch.ReplyFailed {
		t.Errorf("no JPEG: %s %q", got.State, got.Reason)
	}
}

func TestLinesAreSentOnDemand(t *testing.T) {
	r, _ := newRun(t, nil)
	for i := range 100 {
		f := floorwatch.Frame{T: floorwatch.Time(1_763_755_200_000 + 100*i), W: 640, H: 480, People: []floorwatch.Person{{ID: 7, X: float64(i), Y: 1, W: 9, H: 20, Score: 1}}}
		if err := r.trail.Append("door", f); err != nil {
			t.Fatal(err)
		}
	}
	got := askFor(t, r, floorwatch.Command{Do: floorwatch.DoLines, From: 1_763_755_202_000, To: 1_763_755_203_000})
	lines, err := floorwatch.UnpackFrames(got.Data)
	if err != nil || got.State != floorwatch.ReplyDone || len(lines) != 10 || lines[0].People[0].X != 20 {
		t.Errorf("%s %q: %d lines: %v", got.State, got.Reason, len(lines), err)
	}
	if err := got.CheckSignature("s1", "box", r.key.Public().(ed25519.PublicKey)); err != nil {
		t.Error(err)
	}
	got = askFor(t, r, floorwatch.Command{Do: floorwatch.DoLines, From: 1, To: 1000})
	if lines, err := floorwatch.UnpackFrames(got.Data); err != nil || got.State != floorwatch.ReplyDone || len(lines) != 0 {
		t.Errorf("of a time without any: %+v %v", got, err)
	}
	if got = askFor(t, r, floorwatch.Command{Do: floorwatch.DoSend, From: 1, To: 1000}); got.State != floorwatch.ReplyDone {
		t.Errorf("the uploader's commands: %+v", got)
	}
}
