package footage

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"syscall"

	"floorwatch"
	"floorwatch/internal/child"
	"floorwatch/internal/fmp4"
)

// copier is the ffmpeg that copies the stream of source to its stdout, once
// started. probe is how long it may look at the stream before it begins, in
// seconds. Known hole: the address, with its password, can be read in the process
// list of this machine.
func copier(path, source string, probe float64) *child.Process {
	us := fmt.Sprint(int(probe * 1e6))
	args := []string{"-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-fflags", "nobuffer", "-analyzeduration", us, "-probesize", fmt.Sprint(int(probe * 2e6))}
	if strings.HasPrefix(source, "rtsp") {
		args = append(args, "-rtsp_transport", "tcp", "-timeout", "5000000")
	}
	args = append(args, "-i", source, "-map", "0:v:0", "-c", "copy", "-an", "-f", "mp4",
		"-movflags", "frag_keyframe+empty_moov+default_base_moof", "-flush_packets", "1", "pipe:1")
	return &child.Process{
		Path: path, Args: args,
		Stop: syscall.SIGINT, Grace: stopWait, // lets it hand over the unfinished fragment
	}
}

// redact takes an address with its credentials out of text, in the forms in
// which ffmpeg prints them.
func redact(text, source string) string {
	text = strings.ReplaceAll(text, source, "the camera")
	u, err := url.Parse(source)
	if err != nil || u.User == nil {
		return text
	}
	password, _ := u.User.Password()
	for _, secret := range []string{u.User.String(), password, url.QueryEscape(password)} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// cleanCause makes text fit for the cause line of a seal.
func cleanCause(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
	return strings.TrimSpace(text[:min(len(text), floorwatch.MaxSealCause-60)])
}

// arrival is what the pump reads from a child: the init segment or a fragment.
type arrival struct {
	init *fmp4.Init
	frag fmp4.Fragment
}

// pump reads arrivals until the child's output ends and stamps each at once. It
// closes to, after which err is set when the output was no MP4 of ffmpeg's.
type pump struct {
	to  chan arrival
	err error
}

func (p *pump) run(r io.Reader, now func() floorwatch.Stamp, quit <-chan struct{}) {
	defer close(p.to)
	in, err := fmp4.ReadInit(r)
	if err != nil {
		p.err = err
		return
	}
	if !send(p.to, arrival{init: &in}, quit) {
		return
	}
	for {
		f, err := in.NextFragment(r)
		if err != nil {
			p.err = err
			return
		}
		f.Stamp = now()
		if !send(p.to, arrival{frag: f}, quit) {
			return
		}
	}
}

func send(to chan<- arrival, a arrival, quit <-chan struct{}) bool {
	select {
	case to <- a:
		return true
	case <-quit:
		return false
	}
}
