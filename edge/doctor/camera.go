package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/child"
	"floorwatch/internal/finding"
	"floorwatch/internal/program"
)

// seen is what a camera worker told.
type seen struct {
	first         time.Duration // until the first frame
	frames        int
	length        time.Duration // from the first to the last
	size          floorwatch.Size
	by, cause     string
	blank, frozen bool
}

// lookFor is how long a camera is watched, beside its opening.
const lookFor = 6 * time.Second

// camera opens a camera as the box does and looks at its stream.
func (d *Doctor) camera(ctx context.Context, c Camera) []finding.Finding {
	source, err := c.Address(c.Source)
	if err != nil {
		return []finding.Finding{finding.Bad("write the password into the file that password_file names", "%v", err)}
	}
	s, err := d.watch(ctx, c, source)
	switch {
	case err != nil:
		return []finding.Finding{finding.Bad("install the floorwatch package, which brings the camera worker", "%v", err)}
	case s.frames == 0:
		return []finding.Finding{finding.Bad("check address, cable, user and password with ffprobe -rtsp_transport tcp ADDRESS, and whether the camera allows one more viewer", "no picture: %s", hideSecrets(s.cause, source))}
	}
	rate := 0.0
	if s.length > 0 {
		rate = float64(s.frames-1) / s.length.Seconds()
	}
	out := []finding.Finding{finding.Good("first picture after %.1f s, %d x %d, %.1f analysed a second, seen by %s", s.first.Seconds(), s.size.Width, s.size.Height, rate, s.by)}
	if rate < min(c.FPS, 5)/2 {
		out = append(out, finding.Doubt("a lower resolution of the stream, fewer cameras on this box, or a faster one", "only %.1f pictures a second are analysed, fps is %g", rate, c.FPS))
	}
	if s.blank || s.frozen {
		out = append(out, finding.Doubt("clean the lens, look at the camera", "its picture is black, covered or does not change"))
	}
	out = append(out, fits(c, s.size)...)
	if c.Recorded == "" {
		return out
	}
	recorded, err := c.Address(c.Recorded)
	if err != nil {
		return append(out, finding.Bad("write the password into the file that password_file names", "%v", err))
	}
	return append(out, stream(ctx, recorded)...)
}

// watch runs the camera worker for a while.
func (d *Doctor) watch(ctx context.Context, c Camera, source string) (s seen, err error) {
	path, err := program.Find(program.Camera)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, 25*time.Second)
	defer cancel()
	worker := &child.Process{
		Path: path, Args: []string{"-detector", c.Detector, "-models", d.Models, "-fps", fmt.Sprint(c.FPS), "-pace", "real"},
		Env: []string{"FLOORWATCH_SOURCE=" + source},
	}
	lines, err := worker.StdoutPipe()
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := worker.Start(ctx); err != nil {
		return s, err
	}
	var from, to floorwatch.Time
	scan := bufio.NewScanner(lines)
	scan.Buffer(nil, floorwatch.MaxLine+1)
	for scan.Scan() {
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			continue
		}
		switch f.Event {
		case floorwatch.EventOpen:
			s.by = f.By
		case "":
			if s.frames++; s.frames == 1 {
				s.first, from = time.Since(began), f.T
				time.AfterFunc(lookFor, cancel)
			}
			to = f.T
			s.size = floorwatch.Size{Width: f.W, Height: f.H}
			s.blank, s.frozen = f.Picture == floorwatch.PictureBlank, f.Picture == floorwatch.PictureFrozen
		default:
			s.cause = f.Cause
		}
	}
	cancel() // a line too long ends the reading, not the worker
	_ = worker.Wait()
	s.length = to.Sub(from)
	if s.cause == "" {
		s.cause = worker.Tail()
	}
	return s, nil
}

// fits tests zones and lines against the picture.
func fits(c Camera, size floorwatch.Size) []finding.Finding {
	drawn := c.Scene.Picture
	if drawn.Width == 0 {
		drawn = size
	} else if a, b := drawn.Width*size.Height, drawn.Height*size.Width; abs(a-b)*50 > a {
		return []finding.Finding{finding.Doubt("draw the zones anew on the page's still", "zones were drawn on %d x %d, the picture is %d x %d: another shape", drawn.Width, drawn.Height, size.Width, size.Height)}
	}
	for _, z := range c.Scene.Zones {
		for _, p := range z.Polygon {
			if p.X < -0.05*float64(drawn.Width) || p.Y < -0.05*float64(drawn.Height) || p.X > 1.05*float64(drawn.Width) || p.Y > 1.05*float64(drawn.Height) {
				return []finding.Finding{finding.Doubt("draw it anew on the page's still, and write picture beside it", "zone %s reaches beyond the picture of %d x %d", z.Name, drawn.Width, drawn.Height)}
			}
		}
	}
	return []finding.Finding{finding.Good("%d zone(s) lie in the picture", len(c.Scene.Zones))}
}

func abs(n int) int { return max(n, -n) }

// stream asks ffprobe for codec and key frames of what is recorded.
func stream(ctx context.Context, source string) []finding.Finding {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	probe := &child.Process{Path: "ffprobe", Args: []string{
		"-v", "error", "-rtsp_transport", "tcp", "-select_streams", "v:0", "-read_intervals", "%+8",
		"-show_entries", "stream=codec_name,width,height,avg_frame_rate:packet=pts_time,flags", "-of", "json", source,
	}}
	b, err := probe.Output(ctx)
	var said struct {
		Streams []struct {
			Codec  string `json:"codec_name"`
			Width  int
			Height int
		}
		Packets []struct {
			T     string `json:"pts_time"`
			Flags string
		}
	}
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil || len(said.Streams) == 0 {
		return []finding.Finding{finding.Bad("check main_source", "what is recorded cannot be read: %s", hideSecrets(probe.Tail(), source))}
	}
	st := said.Streams[0]
	var keys []float64
	last := 0.0
	for _, p := range said.Packets {
		t, err := strconv.ParseFloat(p.T, 64)
		if err == nil && strings.HasPrefix(p.Flags, "K") {
			keys = append(keys, t)
		}
		last = max(last, t)
	}
	apart := last // until the next, at least
	if len(keys) > 0 {
		apart = last - keys[len(keys)-1]
	}
	for i := 1; i < len(keys); i++ {
		apart = max(apart, keys[i]-keys[i-1])
	}
	text := fmt.Sprintf("records %s, %d x %d, key frames %.1f s apart", st.Codec, st.Width, st.Height, apart)
	switch {
	case st.Codec != "h264" && st.Codec != "hevc":
		return []finding.Finding{finding.Bad("set the camera to H.264 or H.265", "%s", text)}
	case apart > 2.2:
		return []finding.Finding{finding.Doubt("set the camera's key frame interval (GOP, I-frame) to at most 2 s: a power cut takes that much footage", "%s", text)}
	case st.Codec == "hevc":
		return []finding.Finding{finding.Doubt("set the camera to H.264 if clips are to play in every browser", "%s", text)}
	}
	return []finding.Finding{finding.Good("%s", text)}
}

// hideSecrets takes the credentials of an address out of text.
func hideSecrets(text, source string) string {
	u, err := url.Parse(source)
	if err != nil || u.User == nil {
		return oneLine(text)
	}
	password, _ := u.User.Password()
	text = strings.ReplaceAll(text, source, u.Redacted())
	for _, secret := range []string{u.User.String(), password, url.QueryEscape(password), url.PathEscape(password)} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return oneLine(text)
}

func oneLine(text string) string {
	return fmt.Sprintf("%.300s", strings.Join(strings.Fields(text), " "))
}
