// Package relay turns a source that is not an H.264 camera over RTSP (a file, a
// USB device, the demonstration film) into one: ffmpeg publishes it at real
// pace to an RTSP server on loopback, and the camera worker and the recorder
// both read it from there, as they would read a shop's camera.
package relay

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"floorwatch/internal/child"
	"floorwatch/internal/retry"
)

// Settings of a relay.
type Settings struct {
	Source string // path of a file, or a video device: /dev/videoN or N
	FFmpeg string // program; default ffmpeg, with ffprobe beside it on PATH
	Log    *slog.Logger
}

// Relay serves one source. Files are looped.
type Relay struct {
	set     Settings
	srv     *server
	publish string // path that only our own publisher knows
}

// New binds the server to a free loopback port. The URL answers once Run runs.
func New(set Settings) (*Relay, error) {
	if set.Log == nil {
		set.Log = slog.New(slog.DiscardHandler)
	}
	if set.FFmpeg == "" {
		set.FFmpeg = "ffmpeg"
	}
	r := &Relay{set: set, publish: rand.Text()}
	var err error
	if r.srv, err = newServer(r.publish); err != nil {
		return nil, fmt.Errorf("start relay for %s: %w", set.Source, err)
	}
	return r, nil
}

// URL is where the source can be read.
func (r *Relay) URL() string { return "rtsp://" + r.srv.addr() + "/" + readPath }

// Ready is closed once the source can be read for the first time.
func (r *Relay) Ready() <-chan struct{} { return r.srv.ready }

// Run serves and publishes until ctx ends. A publisher that ends is started
// again after a pause; readers see a camera that was away.
func (r *Relay) Run(ctx context.Context) error {
	defer r.srv.close()
	again := retry.Backoff{Min: time.Second, Max: 10 * time.Second, Steady: time.Minute}
	_ = again.Until(ctx, func() error { return r.publishOnce(ctx) }, func(err error, in time.Duration) {
		r.set.Log.Warn("source cannot be served, trying again; check the camera's source", "source", r.set.Source, "error", err, "in", in.Round(time.Millisecond))
	}) // ctx has ended
	return nil
}

// errSilent is why a publisher is ended that gave nothing for ten seconds, or
// left.
var errSilent = errors.New("ffmpeg gave nothing any more")

func (r *Relay) publishOnce(ctx context.Context) error {
	args, err := r.args(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// One that hangs is no longer heard, and would publish nothing for ever.
	r.srv.onLost(func() { cancel(errSilent) })
	defer r.srv.onLost(nil)
	p := &child.Process{Path: r.set.FFmpeg, Args: args}
	err = p.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	if err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, p.LastLine())
	}
	return fmt.Errorf("ffmpeg exited without an error: %s", p.LastLine())
}

// args builds ffmpeg's command line. What is already H.264 without B-frames is
// copied; the rest is encoded with one key frame a second and no B-frames, so
// that a fragment is a second long and pictures come in the order of capture.
func (r *Relay) args(ctx context.Context) ([]string, error) {
	args := []string{"-nostdin", "-loglevel", "warning"}
	codec := []string{"-c", "copy"}
	if dev, ok := Device(r.set.Source); ok {
		args = append(args, "-f", "v4l2", "-i", dev)
		codec = encode(0)
	} else {
		p, err := probeFile(ctx, r.set.Source)
		if err != nil {
			return nil, err
		}
		if p.Codec != "h264" || p.BFrames != 0 {
			codec = encode(p.fps())
		}
		args = append(args, "-re", "-stream_loop", "-1", "-i", r.set.Source)
	}
	args = append(args, "-map", "0:v:0", "-an")
	args = append(args, codec...)
	return append(args, "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+r.srv.addr()+"/"+r.publish), nil
}

func encode(fps int) []string {
	gop := "25"
	if fps > 0 {
		gop = strconv.Itoa(fps)
	}
	return []string{
		"-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-pix_fmt", "yuv420p",
		"-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-bf", "0",
	}
}

type probe struct {
	Codec   string `json:"codec_name"`
	BFrames int    `json:"has_b_frames"`
	Rate    string `json:"r_frame_rate"`
}

// fps returns the whole frames per second nearest to the stream's rate, 1..60.
func (p probe) fps() int {
	num, den, _ := strings.Cut(p.Rate, "/")
	n, _ := strconv.ParseFloat(num, 64)
	d, _ := strconv.ParseFloat(den, 64)
	if n <= 0 || d <= 0 {
		return 25
	}
	return min(max(int(n/d+0.5), 1), 60)
}

func probeFile(ctx context.Context, path string) (probe, error) {
	if _, err := os.Stat(path); err != nil {
		return probe{}, fmt.Errorf("open source: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	p := &child.Process{Path: "ffprobe", Args: []string{
		"-v", "error", "-select_streams", "v:0",
		"-show_entries", "stream=codec_name,has_b_frames,r_frame_rate", "-of", "json", path,
	}}
	out, err := p.Output(ctx)
	if err != nil {
		return probe{}, fmt.Errorf("%s is not a video that ffprobe can read: %w: %s", path, err, p.LastLine())
	}
	var answer struct{ Streams []probe }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Streams) == 0 {
		return probe{}, fmt.Errorf("%s holds no video stream", path)
	}
	return answer.Streams[0], nil
}

// Device tells whether a source names a video device and returns its path: "0"
// is /dev/video0.
func Device(source string) (string, bool) {
	if n, err := strconv.ParseUint(source, 10, 8); err == nil {
		return fmt.Sprintf("/dev/video%d", n), true
	}
	return source, strings.HasPrefix(source, "/dev/")
}

// Needed tells whether a source must be relayed: all but RTSP addresses.
func Needed(source string) bool {
	return !strings.HasPrefix(source, "rtsp://") && !strings.HasPrefix(source, "rtsps://")
}

func listenLoopback(network, _ string) (net.Listener, error) {
	return net.Listen(network, "127.0.0.1:0")
}
