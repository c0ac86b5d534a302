//go:build cgo

package camera

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"

	"gocv.io/x/gocv"
)

// film makes a video with ffmpeg: size, frames per second, seconds.
func film(t *testing.T, size, fps, seconds string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "film.avi")
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi",
		"-i", "testsrc=size="+size+":rate="+fps+":duration="+seconds, "-c:v", "mjpeg", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return path
}

// mean reports one box per frame whose score is the mean brightness of the
// picture's left half, 0 to 1: what a detector really got to see.
type mean struct{}

func (mean) By() string   { return "mean" }
func (mean) Close() error { return nil }

func (mean) Detect(p gocv.Mat) ([]floorwatch.Person, error) {
	left := p.Region(image.Rect(0, 0, p.Cols()/2, p.Rows()))
	defer func() { _ = left.Close() }()
	m := left.Mean()
	return []floorwatch.Person{{X: 1, Y: 1, W: 10, H: 20, Score: (m.Val1 + m.Val2 + m.Val3) / 3 / 255}}, nil
}

// plain gives every box the id 1.
type plain struct{}

func (plain) Update(_ floorwatch.Time, dets []floorwatch.Person) []floorwatch.Person {
	for i := range dets {
		dets[i].ID = 1
	}
	return dets
}

// lines runs s to its end and returns what it emitted. Every line is checked
// as the agent will read it.
func lines(t *testing.T, s Settings, name string) ([]floorwatch.Frame, error) {
	t.Helper()
	var err error
	if s.Source, err = ParseSource(name); err != nil {
		t.Fatal(err)
	}
	if s.Detector == nil {
		s.Detector = mean{}
	}
	if s.Tracker == nil {
		s.Tracker = plain{}
	}
	s.Stuck = func(err error) { t.Errorf("stuck: %v", err) }
	var got []floorwatch.Frame
	last := floorwatch.Time(-1)
	s.Emit = func(f floorwatch.Frame) error {
		b, err := json.Marshal(f)
		if err != nil {
			return err
		}
		back, err := floorwatch.ParseFrame(b)
		if err != nil {
			t.Errorf("line %s: %v", b, err)
		}
		if back.T <= last {
			t.Errorf("line %s: stamp is not after %d", b, last)
		}
		last = back.T
		got = append(got, back)
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = s.Run(ctx)
	return got, err
}

func split(all []floorwatch.Frame) (frames, events []floorwatch.Frame) {
	for _, f := range all {
		if f.Event == "" {
			frames = append(frames, f)
		} else {
			events = append(events, f)
		}
	}
	return frames, events
}

func TestFileIsReadFrameByFrame(t *testing.T) {
	start := time.Date(2025, 11, 21, 20, 0, 0, 0, time.UTC)
	all, err := lines(t, Settings{Start: start}, film(t, "320x240", "10", "2"))
	if err != nil {
		t.Fatal(err)
	}
	frames, events := split(all)
	if len(frames) != 20 || len(events) != 2 {
		t.Fatalf("%d frames and %d events, want 20 and 2", len(frames), len(events))
	}
	for i, f := range frames {
		if want := floorwatch.TimeOf(start) + floorwatch.Time(100*i); f.T != want || f.N != int64(i+1) || f.W != 320 || f.H != 240 {
			t.Errorf("frame %d: %+v, want t %d", i, f, want)
		}
	}
	if o := events[0]; o.Event != floorwatch.EventOpen || o.By != "mean" || o.W != 320 {
		t.Errorf("first event: %+v", o)
	}
	if c := events[1]; c.Event != floorwatch.EventClosed || c.Cause != "end of the file" || c.T != floorwatch.TimeOf(start)+2000 {
		t.Errorf("last event: %+v", c)
	}
}

func TestMaxFPS(t *testing.T) {
	all, err := lines(t, Settings{MaxFPS: 5}, film(t, "320x240", "10", "2"))
	if frames, _ := split(all); err != nil || len(frames) != 10 {
		t.Errorf("%d frames, error %v; want 10 of 20", len(frames), err)
	}
}

func TestRealPacePlaysInRealTime(t *testing.T) {
	began := time.Now()
	all, err := lines(t, Settings{Pace: PaceReal}, film(t, "320x240", "10", "1"))
	if frames, _ := split(all); err != nil || len(frames) < 8 || time.Since(began) < 900*time.Millisecond {
		t.Errorf("%d frames in %s, error %v", len(frames), time.Since(began), err)
	}
}

// TestMask looks with the eyes of the detector and at the still: a masked half
// is black to both.
func TestMask(t *testing.T) {
	still := filepath.Join(t.TempDir(), "still.jpg")
	left := Mask{image.Pt(0, 0), image.Pt(160, 0), image.Pt(160, 239), image.Pt(0, 239)}
	again := Mask{image.Pt(10, 10), image.Pt(90, 10), image.Pt(90, 90), image.Pt(10, 90)} // inside the other
	name := film(t, "320x240", "5", "1")
	bare, err := lines(t, Settings{}, name)
	if err != nil || bare[1].People[0].Score < 0.1 {
		t.Fatalf("without a mask: %+v, %v", bare, err)
	}
	all, err := lines(t, Settings{Masks: []Mask{left, again}, Still: still}, name)
	if err != nil {
		t.Fatal(err)
	}
	frames, _ := split(all)
	for _, f := range frames {
		if f.People[0].Score != 0 {
			t.Errorf("frame %d: the detector saw through the mask, brightness %v", f.N, f.People[0].Score)
		}
	}
	picture := gocv.IMRead(still, gocv.IMReadColor)
	defer func() { _ = picture.Close() }()
	if picture.Empty() {
		t.Fatal("no still")
	}
	for _, p := range []image.Point{{X: 5, Y: 5}, {X: 50, Y: 50}, {X: 150, Y: 230}} {
		if v := picture.GetVecbAt(p.Y, p.X); int(v[0])+int(v[1])+int(v[2]) > 30 {
			t.Errorf("still at %v: %v, want black", p, v)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(still), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left beside the still: %v, %v", left, err)
	}
}

func TestBadSources(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.mp4")
	if err := os.WriteFile(text, []byte("this is no video"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := gone.Addr().String()
	_ = gone.Close()
	for name, c := range map[string]struct{ source, want string }{
		"missing":     {filepath.Join(dir, "none.mp4"), "no such file"},
		"folder":      {dir, "not a plain file"},
		"no video":    {text, "not a video that FFmpeg can read"},
		"closed port": {"rtsp://" + closed + "/s", "connection refused; check the address"},
		"device":      {"63", "check that the camera is plugged in"},
		"tiny":        {film(t, "16x16", "5", "1"), "pictures of 16 x 16"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := lines(t, Settings{}, c.source)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if len(all) != 1 || all[0].Event != floorwatch.EventClosed || all[0].Cause != err.Error() {
				t.Errorf("lines %+v, want one closed event with the cause", all)
			}
		})
	}
}

func TestSilentListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
		}
	})
	began := time.Now()
	_, err = lines(t, Settings{}, "rtsp://user:secret@"+l.Addr().String()+"/live?password=hidden")
	_ = l.Close()
	conns.Wait()
	if err == nil || !strings.Contains(err.Error(), "does not answer RTSP") || time.Since(began) > 7*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "user") {
		t.Errorf("credentials in %v", err)
	}
}

func TestTruncatedFileEnds(t *testing.T) {
	name := film(t, "320x240", "10", "4")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := lines(t, Settings{}, name)
	if frames, _ := split(all); err != nil || len(frames) < 10 || len(frames) > 30 {
		t.Errorf("%d frames, error %v; want about half of 40", len(frames), err)
	}
}

func TestBrokenEmitEndsTheRun(t *testing.T) {
	source, err := ParseSource(film(t, "320x240", "10", "2"))
	if err != nil {
		t.Fatal(err)
	}
	broken, n := errors.New("pipe is gone"), 0
	s := Settings{Source: source, Detector: mean{}, Tracker: plain{}, Emit: func(floorwatch.Frame) error {
		if n++; n == 3 {
			return broken
		}
		return nil
	}}
	if err := s.Run(t.Context()); !errors.Is(err, broken) || n != 3 {
		t.Errorf("error %v after %d lines", err, n)
	}
}

func TestParseSource(t *testing.T) {
	for in, want := range map[string]string{
		"film.mp4":                             "film.mp4",
		"0":                                    "device 0",
		"rtsp://u:p@cam/live":                  "rtsp://cam/live",
		"rtsp://cam:8554/live?user=a&pwd=b":    "rtsp://cam:8554/live?…",
		"rtsp://admin:p%40ss@10.0.0.1/Streams": "rtsp://10.0.0.1/Streams",
	} {
		if s, err := ParseSource(in); err != nil || s.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, s, err, want)
		}
	}
	for _, in := range []string{"", "ftp://u:secret@host/f", "rtsp://u:se#cret@host/f", "rtsp://u:secret%zz@host/f", "u:secret@rtsp://x", "file:///etc/passwd"} {
		if _, err := ParseSource(in); err == nil || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: error %v; want one without the password", in, err)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("rtsp://u:SECRET@host/path")
	f.Add("://")
	f.Fuzz(func(t *testing.T, s string) {
		if src, err := ParseSource(s); err == nil && src.String() == "" {
			t.Errorf("%q has no name", s)
		}
	})
}

func FuzzParseMask(f *testing.F) {
	f.Add("0,0 10,0 10,10")
	f.Add("1,2,3 4,5 -6,7")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMask(s); err == nil && (len(m) < 3 || len(m) > maxCorners) {
			t.Errorf("%q: %v", s, m)
		}
	})
}

func TestClockNeverRunsBack(t *testing.T) {
	base := time.Now()
	c := newClock(func() time.Time { return base })
	if got, want := c.at(base.Add(time.Second)), floorwatch.TimeOf(base.Add(time.Second)); got != want {
		t.Errorf("a second later: %d, want %d", got, want)
	}
	stepped := base.Round(0).Add(time.Hour) // the wall clock was set, no monotonic reading
	if got := c.at(stepped); got != floorwatch.TimeOf(stepped) {
		t.Errorf("after a step forwards: %d, want %d", got, floorwatch.TimeOf(stepped))
	}
}

func TestWatchdogReportsWhatDoesNotReturn(t *testing.T) {
	reported := make(chan error, 1)
	d := newWatchdog(func(err error) { reported <- err })
	defer d.stop()
	d.begin("quick", time.Hour)
	d.end("quick")
	d.begin("read", time.Millisecond)
	if err := <-reported; !strings.HasPrefix(err.Error(), "read does not return") {
		t.Error(err)
	}
}

func TestWideBlobIsSeveralPeople(t *testing.T) {
	blobs := []image.Rectangle{image.Rect(0, 0, 20, 40), image.Rect(100, 0, 132, 40), image.Rect(0, 100, 3, 103)}
	got := people(ofPersonSize(blobs, 400), 0.5)
	if len(got) != 3 || got[1].W != got[2].W || got[2].X != 232 {
		t.Errorf("%+v, want one person, then two side by side", got)
	}
}

func TestJoinParts(t *testing.T) {
	head, legs, other := image.Rect(10, 0, 20, 10), image.Rect(8, 13, 22, 40), image.Rect(60, 0, 70, 40)
	got := joinParts([]image.Rectangle{head, other, legs}, 5)
	if len(got) != 2 || got[0] != head.Union(legs) || got[1] != other {
		t.Errorf("%v", got)
	}
}

// walk draws a tall box that moves over a plain picture.
func walk(x int) gocv.Mat {
	m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), 240, 320, gocv.MatTypeCV8UC3)
	gocv.Rectangle(&m, image.Rect(x, 80, x+24, 150), color.RGBA{R: 220, G: 30, B: 200}, -1)
	return m
}

func TestMotionSeesWhatMoves(t *testing.T) {
	d := NewMotion(10)
	defer func() { _ = d.Close() }()
	for i := range 40 {
		p := walk(8*i - 100) // the first frames show an empty room
		got, err := d.Detect(p)
		_ = p.Close()
		if err != nil {
			t.Fatal(err)
		}
		if want := float64(8*i - 100); i > 15 && i < 38 && (len(got) != 1 || got[0].X < want-6 || got[0].X > want+6) {
			t.Errorf("frame %d: %+v, want one box at %v", i, got, want)
		}
	}
}
