//go:build cgo

package camera

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

// relay is an RTSP server to which ffmpeg publishes and from which a worker
// reads. Frozen, it stays connected and forwards nothing, like a camera that
// hangs.
type relay struct {
	server *gortsplib.Server
	mu     sync.Mutex
	stream *gortsplib.ServerStream
	ready  chan struct{}
	frozen bool
}

func (r *relay) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stream = &gortsplib.ServerStream{Server: r.server, Desc: ctx.Description}
	return &base.Response{StatusCode: base.StatusOK}, r.stream.Initialize()
}

func (r *relay) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &base.Response{StatusCode: base.StatusOK}, r.stream, nil
}

func (r *relay) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return &base.Response{StatusCode: base.StatusOK}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, r.stream, nil
}

func (r *relay) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (r *relay) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	ctx.Session.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.frozen {
			_ = r.stream.WritePacketRTP(m, p)
		}
	})
	close(r.ready)
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (r *relay) freeze() { r.mu.Lock(); r.frozen = true; r.mu.Unlock() }

// camera starts the server with ffmpeg as its camera, 10 pictures a second.
func startCamera(t *testing.T) (*relay, string) {
	t.Helper()
	r := &relay{ready: make(chan struct{})}
	var address string
	for port := 18554; ; port += 2 { // the server reports no port that the system picked
		r.server = &gortsplib.Server{Handler: r, RTSPAddress: "127.0.0.1:" + strconv.Itoa(port)}
		err := r.server.Start()
		if err == nil {
			address = r.server.RTSPAddress
			break
		}
		if port > 18700 {
			t.Fatal(err)
		}
	}
	t.Cleanup(r.server.Close)
	url := "rtsp://" + address + "/cam"
	push := exec.CommandContext(t.Context(), kit.Tool(t, "ffmpeg"), "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "10", "-bf", "0",
		"-f", "rtsp", "-rtsp_transport", "tcp", url)
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = push.Process.Kill(); _ = push.Wait() })
	select {
	case <-r.ready:
	case <-time.After(20 * time.Second):
		t.Fatal("ffmpeg publishes nothing")
	}
	return r, url
}

// TestRTSPAndStall reads a live camera until it hangs: frames in real time,
// then a stall within the limit, then closed, and an error.
func TestRTSPAndStall(t *testing.T) {
	r, url := startCamera(t)
	source, err := ParseSource(url)
	if err != nil {
		t.Fatal(err)
	}
	var frames, events []floorwatch.Frame
	var frozen time.Time
	s := Settings{Source: source, Detector: mean{}, Tracker: plain{}, Stall: 2 * time.Second}
	s.Stuck = func(err error) { t.Errorf("stuck: %v", err) }
	s.Emit = func(f floorwatch.Frame) error {
		if f.Event != "" {
			if f.Event == floorwatch.EventStall {
				if d := time.Since(frozen); d < time.Second || d > 6*time.Second {
					t.Errorf("stall told %s after the camera hung", d)
				}
			}
			events = append(events, f)
			return nil
		}
		if lag := time.Since(f.T.Time()); lag < 0 || lag > time.Second {
			t.Errorf("frame %d is stamped %s ago", f.N, lag)
		}
		if frames = append(frames, f); len(frames) == 30 {
			frozen = time.Now()
			r.freeze()
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Run(ctx); !errors.Is(err, ErrStalled) {
		t.Errorf("error %v, want ErrStalled", err)
	}
	if len(frames) < 30 || len(events) != 3 || events[0].Event != floorwatch.EventOpen ||
		events[1].Event != floorwatch.EventStall || events[2].Event != floorwatch.EventClosed ||
		!strings.Contains(events[2].Cause, "no frame") {
		t.Fatalf("%d frames, events %+v", len(frames), events)
	}
	for i := 1; i < len(frames); i++ {
		if d := frames[i].T.Sub(frames[i-1].T); d < 50*time.Millisecond {
			t.Errorf("frames %d and %d are %s apart", i, i+1, d)
		}
	}
}

func TestRTSPEndsWithItsContext(t *testing.T) {
	_, url := startCamera(t)
	source, err := ParseSource(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last floorwatch.Frame
	s := Settings{Source: source, Detector: mean{}, Tracker: plain{}, Emit: func(f floorwatch.Frame) error {
		if last = f; f.N == 5 {
			cancel()
		}
		return nil
	}}
	if err := s.Run(ctx); err != nil || last.Event != floorwatch.EventClosed || last.Cause != "stopped" {
		t.Errorf("error %v, last line %+v", err, last)
	}
}
