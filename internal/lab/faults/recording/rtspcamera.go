package recording

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
)

// What a camera of the bench can be told to do.
const (
	camPlay    = "play"    // be a camera
	camMute    = "mute"    // keep the session and send nothing
	camGarbage = "garbage" // send noise in place of pictures
	camFlip    = "flip"    // change a byte in most of the pictures
	camOther   = "other"   // send pictures of another size, in the same session
)

// rtspCamera is an H.264 camera that plays films in a loop; role camera FPS FILM
// [OTHER]. It says its address and then does what it reads.
type rtspCamera struct {
	server *gortsplib.Server
	stream *gortsplib.ServerStream
	media  *description.Media
	mode   atomic.Value
	films  [2][][][]byte // access units of NAL units
}

func playCamera(args []string) error {
	var every time.Duration
	if fps, err := time.ParseDuration(args[0]); err != nil {
		return err
	} else {
		every = fps
	}
	c := &rtspCamera{}
	c.mode.Store(camPlay)
	for i, path := range args[1:] {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.films[i] = accessUnits(raw)
	}
	url, err := c.listen()
	if err != nil {
		return err
	}
	defer c.server.Close()
	go c.play(every)
	if err := json.NewEncoder(os.Stdout).Encode(url); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		c.mode.Store(in.Text())
	}
	return nil
}

// accessUnits takes an Annex B stream with access unit delimiters apart.
func accessUnits(raw []byte) (out [][][]byte) {
	raw = bytes.ReplaceAll(raw, []byte{0, 0, 0, 1}, []byte{0, 0, 1})
	for nal := range bytes.SplitSeq(raw, []byte{0, 0, 1}) {
		switch {
		case len(nal) == 0:
		case nal[0]&31 == 9:
			out = append(out, nil)
		case len(out) > 0:
			out[len(out)-1] = append(out[len(out)-1], nal)
		}
	}
	return out
}

func (c *rtspCamera) listen() (string, error) {
	f := &format.H264{PayloadTyp: 96, PacketizationMode: 1, SPS: c.films[0][0][0], PPS: c.films[0][0][1]}
	c.media = &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{f}}
	var addr string
	c.server = &gortsplib.Server{Handler: c, RTSPAddress: "127.0.0.1:0", Listen: func(network, address string) (net.Listener, error) {
		ln, err := net.Listen(network, address)
		if err == nil {
			addr = ln.Addr().String()
		}
		return ln, err
	}}
	if err := c.server.Start(); err != nil {
		return "", err
	}
	c.stream = &gortsplib.ServerStream{Server: c.server, Desc: &description.Session{Medias: []*description.Media{c.media}}}
	if err := c.stream.Initialize(); err != nil {
		return "", err
	}
	return addr, nil
}

// play sends a picture every so often until the process ends.
func (c *rtspCamera) play(every time.Duration) {
	enc, err := c.media.Formats[0].(*format.H264).CreateEncoder()
	if err != nil {
		panic(err)
	}
	start := time.Now()
	for n := 0; ; n++ {
		<-time.After(time.Until(start.Add(time.Duration(n) * every)))
		mode := c.mode.Load().(string)
		if mode == camMute {
			continue
		}
		film := c.films[0]
		if mode == camOther {
			film = c.films[1]
		}
		packets, err := enc.Encode(spoilPicture(mode, film[n%len(film)]))
		if err != nil {
			continue
		}
		for _, p := range packets {
			p.Timestamp = uint32(time.Duration(n) * every * 90 / time.Millisecond)
			_ = c.stream.WritePacketRTP(c.media, p) // fails only for a reader that is leaving
		}
	}
}

// spoilPicture returns a picture as the camera sends it in a mode.
func spoilPicture(mode string, au [][]byte) [][]byte {
	if mode != camGarbage && mode != camFlip {
		return au
	}
	out := make([][]byte, len(au))
	for i, nal := range au {
		nal = bytes.Clone(nal)
		switch kind := nal[0] & 31; {
		case mode == camGarbage:
			for j := range nal {
				nal[j] = byte(rand.Uint32())
			}
		case kind != 7 && kind != 8 && len(nal) > 20 && rand.N(3) > 0:
			nal[2+rand.N(len(nal)-2)] ^= byte(1 + rand.N(255))
		}
		out[i] = nal
	}
	return out
}

func (c *rtspCamera) answer() (*base.Response, *gortsplib.ServerStream, error) {
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (c *rtspCamera) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return c.answer()
}

// OnSetup implements gortsplib.ServerHandlerOnSetup.
func (c *rtspCamera) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return c.answer()
}

// OnPlay implements gortsplib.ServerHandlerOnPlay.
func (c *rtspCamera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// annexB makes a film as an encoder in a camera would: size, pictures a second,
// and seconds between key frames; extra are more arguments of the encoder.
func annexB(ctx context.Context, path, size string, fps, gop int, extra ...string) error {
	args := []string{
		"-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=%d", size, fps), "-t", fmt.Sprint(6 * gop),
		"-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", fmt.Sprint(fps * gop), "-keyint_min", fmt.Sprint(fps * gop),
		"-sc_threshold", "0", "-bf", "0", "-pix_fmt", "yuv420p",
	}
	args = append(append(args, extra...), "-bsf:v", "h264_metadata=aud=insert", path)
	if out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("make a film: %w: %s", err, out)
	}
	return nil
}

// camera is a running role camera.
type camera struct {
	*kit.Process
	addr string // host:port
}

func startCamera(ctx context.Context, fps int, films ...string) (*camera, error) {
	every := time.Second / time.Duration(fps)
	p, err := kit.Self(ctx, append([]string{"role", "camera", every.String()}, films...)...)
	if err != nil {
		return nil, err
	}
	c := &camera{Process: p}
	if err := p.Next(&c.addr); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *camera) url() string { return "rtsp://" + c.addr + "/stream" }

// tell changes what the camera does.
func (c *camera) tell(mode string) error {
	_, err := fmt.Fprintln(c.In, mode)
	return err
}

// filmOf makes a film for cameras of the row, 320x240 at 10 pictures a second.
func filmOf(ctx context.Context, b *bench.Bench, gop int) (string, error) {
	path := filepath.Join(b.Dir, strings.ReplaceAll(fmt.Sprintf("gop-%d.h264", gop), " ", ""))
	return path, annexB(ctx, path, "320x240", 10, gop)
}
