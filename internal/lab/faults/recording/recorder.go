package recording

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
)

const (
	recStore, recEdge, recCamera = "shop", "box", "door"
	// recSegment is short, so that many cuts fall on the change of files.
	recSegment = 3 * time.Second
)

// recKey is the box's key.
func recKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("the fault bench's own box, a key"))
}

func newRecorder(dir, source string) *footage.Recorder {
	return &footage.Recorder{
		Dir: dir, Store: recStore, Edge: recEdge, Camera: recCamera, Source: source, Every: recSegment, Key: recKey(),
		Emit: func(floorwatch.Record) error { return nil },
	}
}

// record is a recorder that is killed: role record DIR SOURCE EVERY.
func record(args []string) (err error) {
	r := newRecorder(args[0], args[1])
	if r.Every, err = time.ParseDuration(args[2]); err != nil {
		return err
	}
	return r.Run(context.Background())
}

// salvage is the product's own next start: a recorder that finds what the last
// one left, and ends before it records anything.
func salvage(ctx context.Context, dir string) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	return newRecorder(dir, "rtsp://127.0.0.1:9/none").Run(ended)
}

// kept is one sealed file.
type kept struct {
	floorwatch.Seal
	raw  string // the seal's bytes
	path string
}

// footageOf reads the seals of the camera below dir, in order.
func footageOf(dir string) (all []kept, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.seal"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := floorwatch.ParseSeal(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, kept{s, string(raw), filepath.Join(filepath.Dir(path), s.File)})
	}
	slices.SortFunc(all, func(a, b kept) int {
		if c := strings.Compare(a.Camera, b.Camera); c != 0 {
			return c
		}
		return int(a.Seq) - int(b.Seq)
	})
	return all, nil
}

// plays decodes a file from end to end and says why it does not play as long as
// its seal says.
func plays(ctx context.Context, k kept) error {
	out, err := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-threads", "1", "-i", k.path, "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err = exec.CommandContext(ctx, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", k.path).Output()
	if err != nil {
		return err
	}
	var seconds float64
	if _, err := fmt.Sscan(string(out), &seconds); err != nil {
		return err
	}
	if want := k.End.Sub(k.Start).Seconds(); seconds < want-0.3 || seconds > want+0.3 {
		return fmt.Errorf("plays %.1f s of %.1f s", seconds, want)
	}
	return nil
}
