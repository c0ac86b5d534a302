//go:build cgo

package camera

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gocv.io/x/gocv"

	"floorwatch"
)

// Source is where pictures come from. Its String never holds credentials.
type Source struct {
	kind   kind
	text   string // what OpenCV opens
	shown  string // what people may see
	device int
}

type kind int

const (
	kindFile kind = iota
	kindStream
	kindDevice
)

// ParseSource reads a file name, a URL (rtsp, rtsps, http, https) or the number
// of a video device.
func ParseSource(s string) (Source, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n < 64 {
		return Source{kind: kindDevice, device: n, shown: "device " + s}, nil
	}
	scheme, _, isURL := strings.Cut(s, "://")
	switch {
	case s == "":
		return Source{}, errors.New("source is empty; name a file, an rtsp:// URL or the number of a video device")
	case !isURL:
		return parseFile(s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" { // the error would quote the password
		return Source{}, fmt.Errorf("source %s://…: not a valid URL; write special characters of a password as %%40 for @, %%23 for #, %%2F for /", safeScheme(scheme))
	}
	switch u.Scheme {
	case "rtsp", "rtsps", "http", "https":
		return Source{kind: kindStream, text: s, shown: redact(u)}, nil
	}
	return Source{}, fmt.Errorf("source %s: scheme %q is not one of rtsp, rtsps, http, https", redact(u), u.Scheme)
}

// parseFile makes the name absolute, so that nothing in it can be read as one
// of FFmpeg's protocols.
func parseFile(name string) (Source, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return Source{}, fmt.Errorf("source %s: %w", name, err)
	}
	return Source{kind: kindFile, text: path, shown: name}, nil
}

// safeScheme shows a scheme only where it can be nothing else.
func safeScheme(s string) string {
	if len(s) > 6 || strings.ContainsAny(s, ":@/?") {
		return "?"
	}
	return s
}

// redact leaves out user, password, and the values of the query, which is where
// some cameras take their password.
func redact(u *url.URL) string {
	shown := u.Scheme + "://" + u.Host + u.EscapedPath()
	if u.RawQuery != "" {
		shown += "?…"
	}
	return shown
}

// String names the source without credentials.
func (s Source) String() string { return s.shown }

// Live tells whether the source runs by itself: not a file.
func (s Source) Live() bool { return s.kind != kindFile }

// captureOptions reach FFmpeg through OpenCV. Setting them at all removes
// OpenCV's own preference for TCP, so that they always say it. The time limit
// is in microseconds; without it a silent camera holds the call for 30 s. The
// short analysis opens a camera in 0.4 s instead of 3.6 s and without a burst
// of frames. One thread: more decode frame by frame in parallel, and each
// thread holds a frame back.
const captureOptions = "rtsp_transport;tcp|timeout;5000000|analyzeduration;100000|probesize;200000|threads;1"

// capture is an opened source, read from one goroutine.
type capture struct {
	vc    *gocv.VideoCapture
	size  floorwatch.Size
	fps   float64 // as the source says; 0 when it says nothing one can believe
	count int64   // frames read
	first float64 // POS_MSEC of the first frame
	pos   time.Duration
}

// open opens the source, at most DefaultOpenTimeout for each of its steps.
func open(ctx context.Context, s Source) (*capture, error) {
	if err := check(ctx, s); err != nil {
		return nil, err
	}
	if s.kind != kindFile { // a file is better analysed at length
		if err := os.Setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", captureOptions); err != nil {
			return nil, fmt.Errorf("set the options of FFmpeg: %w", err)
		}
	} else if err := os.Setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|protocol_whitelist;file"); err != nil {
		return nil, fmt.Errorf("set the options of FFmpeg: %w", err)
	}
	vc, err := s.capture()
	if err != nil || !vc.IsOpened() { // gocv's error would quote the URL
		if vc != nil {
			_ = vc.Close()
		}
		return nil, fmt.Errorf("open %s: %s", s, s.hint())
	}
	c := &capture{vc: vc, fps: believable(vc.Get(gocv.VideoCaptureFPS))}
	c.size = floorwatch.Size{Width: int(vc.Get(gocv.VideoCaptureFrameWidth)), Height: int(vc.Get(gocv.VideoCaptureFrameHeight))}
	if err := checkSize(s, c.size); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (s Source) capture() (*gocv.VideoCapture, error) {
	if s.kind == kindDevice {
		return gocv.VideoCaptureDeviceWithAPI(s.device, gocv.VideoCaptureV4L2)
	}
	return gocv.VideoCaptureFileWithAPI(s.text, gocv.VideoCaptureFFmpeg)
}

// hint says what to do when a source that is there cannot be opened.
func (s Source) hint() string {
	switch s.kind {
	case kindFile:
		return "not a video that FFmpeg can read; check the file with ffprobe"
	case kindDevice:
		return "the device gives no pictures; check with v4l2-ctl --list-devices, and that no other program holds it"
	}
	return "the camera answers but gives no stream; check path, user and password, and that it is H.264 or H.265"
}

// check finds the common faults before OpenCV is called, which can name none.
func check(ctx context.Context, s Source) error {
	switch s.kind {
	case kindFile:
		info, err := os.Stat(s.text)
		if err != nil {
			return fmt.Errorf("open source: %w; check the name", err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("open %s: not a plain file; name a video file", s)
		}
	case kindStream:
		if err := dial(ctx, s); err != nil {
			return fmt.Errorf("open %s: %w", s, err)
		}
	case kindDevice:
		if _, err := os.Stat(fmt.Sprintf("/dev/video%d", s.device)); err != nil {
			return fmt.Errorf("open %s: %w; check that the camera is plugged in", s, err)
		}
	}
	return nil
}

// dial connects to the camera and, for RTSP, asks for its OPTIONS: a host that
// is away, a closed port and a box that accepts and says nothing are told apart
// in seconds.
func dial(ctx context.Context, s Source) error {
	u, err := url.Parse(s.text)
	if err != nil {
		return errors.New("not a valid URL")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"rtsp": "554", "rtsps": "322", "http": "80", "https": "443"}[u.Scheme]
	}
	address := net.JoinHostPort(u.Hostname(), port)
	conn, err := (&net.Dialer{Timeout: DefaultOpenTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w; check the address, and that the camera is on and reachable from here", err)
	}
	defer func() { _ = conn.Close() }()
	if u.Scheme != "rtsp" {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := askOptions(conn, "rtsp://"+address+u.EscapedPath()); err != nil {
		return fmt.Errorf("%s %w; check that this is the camera's RTSP port, or restart the camera", address, err)
	}
	return nil
}

// askOptions sends an RTSP OPTIONS request (RFC 2326, 10.1) without
// credentials. Any RTSP status will do: a camera that wants a password is there.
func askOptions(conn net.Conn, target string) error {
	if err := conn.SetDeadline(time.Now().Add(DefaultOpenTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "OPTIONS %s RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: floorwatch\r\n\r\n", target); err != nil {
		return fmt.Errorf("does not take an RTSP request: %w", err)
	}
	line, err := bufio.NewReaderSize(conn, 512).ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("accepts connections but does not answer RTSP: %w", err)
	}
	if !strings.HasPrefix(string(line), "RTSP/1.") {
		return errors.New("answers, but not RTSP")
	}
	return nil
}

// Bounds of a picture, pixels: below, nobody can be seen; above (8K), one frame
// takes 100 MB.
const (
	minSide  = 32
	maxSide  = 8192
	maxArea  = 7680 * 4320
	maxFPS   = 240
	maxPause = 10 * time.Second
)

// checkSize refuses absurd pictures before they are allocated or analysed.
func checkSize(s Source, z floorwatch.Size) error {
	if z.Width < minSide || z.Height < minSide || z.Width > maxSide || z.Height > maxSide || z.Width*z.Height > maxArea {
		return fmt.Errorf("open %s: pictures of %d x %d; from %d x %d to 7680 x 4320 can be used, set the camera's resolution so", s, z.Width, z.Height, minSide, minSide)
	}
	return nil
}

// believable is a rate that a camera can have, or 0.
func believable(fps float64) float64 {
	if fps >= 0.1 && fps <= maxFPS {
		return fps
	}
	return 0
}

// step is the time between two frames as the source says, 40 ms when it says
// nothing.
func (c *capture) step() time.Duration {
	if c.fps == 0 {
		return 40 * time.Millisecond
	}
	return perSecond(c.fps)
}

// read reads the next picture; false at the end, or when the source failed.
func (c *capture) read(picture *gocv.Mat) bool {
	if !c.vc.Read(picture) || picture.Empty() {
		return false
	}
	c.count++
	return true
}

// position is the time of the latest frame since the first: what the file says
// where that makes sense, and one step after the frame before where not.
func (c *capture) position() time.Duration {
	ms := c.vc.Get(gocv.VideoCapturePosMsec)
	if c.count == 1 {
		c.first, c.pos = ms, 0
		return 0
	}
	at := time.Duration((ms - c.first) * float64(time.Millisecond))
	if at <= c.pos || at > c.pos+maxPause {
		at = c.pos + c.step()
		c.first = ms - float64(at)/float64(time.Millisecond)
	}
	c.pos = at
	return at
}

func (c *capture) close() { _ = c.vc.Close() }
