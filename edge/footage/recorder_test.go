package footage_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/lab/kit"
)

func TestRecorderAccountsForAllTimeOverARestart(t *testing.T) {
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	var got records
	stop := startRecorder(t, dir, url, got.emit)
	waitFor(t, "two closed files", func() bool { return len(got.segments()) >= 2 })
	stop()
	stop = startRecorder(t, dir, url, got.emit)
	n := len(got.segments())
	waitFor(t, "another closed file", func() bool { return len(got.segments()) > n })
	stop()

	var last floorwatch.Time
	var prev string
	for i, rec := range readSeals(t, dir) {
		if i > 0 && (rec.seal.Prev != prev || rec.seal.Start.Sub(last).Abs() > 500*time.Millisecond) {
			t.Errorf("seal %d: %s..%s does not follow %s", rec.seal.Seq, rec.seal.Start, rec.seal.End, last)
		}
		t.Logf("%d %-8s %s +%v %s", rec.seal.Seq, rec.seal.Kind, rec.seal.Start, rec.seal.End.Sub(rec.seal.Start), rec.seal.Cause)
		last, prev = rec.seal.End, rec.hash
		if rec.seal.Kind != floorwatch.SealSegment {
			continue
		}
		data, err := os.ReadFile(filepath.Join(filepath.Dir(rec.path), rec.seal.File))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != rec.seal.SHA256 {
			t.Errorf("%s is not what its seal says", rec.seal.File)
		}
		if rec.seal.Partial {
			t.Errorf("%s was closed and is marked partial", rec.seal.File)
		}
		if !strings.HasPrefix(rec.seal.Codec, "avc1.") {
			t.Errorf("codec %q", rec.seal.Codec)
		}
		playable(t, filepath.Join(filepath.Dir(rec.path), rec.seal.File), rec.seal.End.Sub(rec.seal.Start))
	}
	if len(got.gaps()) == 0 {
		t.Error("the time between the two runs is in no gap record")
	}
}

// playable has ffmpeg decode the whole file without a word and checks its length.
func playable(t *testing.T, path string, want time.Duration) {
	t.Helper()
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-i", path, "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("decode %s: %v: %s", filepath.Base(path), err, out)
	}
	out, err = exec.Command(kit.Tool(t, "ffprobe"), "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("probe %s: %v: %s", path, err, out)
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(out)) + "s")
	if err != nil || (d-want).Abs() > 250*time.Millisecond {
		t.Errorf("%s lasts %v, want %v", filepath.Base(path), d, want)
	}
}

type sealOnDisk struct {
	path, hash string
	seal       floorwatch.Seal
}

func readSeals(t *testing.T, dir string) (out []sealOnDisk) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "door", "*", "*.seal"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no seals", err)
	}
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		s, err := floorwatch.ParseSeal(raw)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		out = append(out, sealOnDisk{p, floorwatch.SealHash(raw), s})
	}
	return out
}

func TestClipJoinsFilesWithoutTouchingTheMedia(t *testing.T) {
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	var got records
	startRecorder(t, dir, url, got.emit)
	waitFor(t, "three closed files", func() bool { return len(got.segments()) >= 3 })
	segs := got.segments()
	lib := &footage.Library{Dir: dir}
	var clip fmp4.Clip
	to := floorwatch.TimeOf(time.Now()).Add(time.Hour / 60)
	waitFor(t, "part of the open file", func() bool {
		var err error
		clip, err = lib.Clip(t.Context(), "door", segs[0].Start, to)
		if err != nil {
			t.Fatal(err)
		}
		return clip.End > segs[2].End.Add(time.Second)
	})
	path := filepath.Join(t.TempDir(), "clip.mp4")
	if err := os.WriteFile(path, clip.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	playable(t, path, clip.End.Sub(clip.Start))
	if clip.Start != segs[0].Start {
		t.Errorf("clip starts %s, the first file %s", clip.Start, segs[0].Start)
	}
	for _, s := range readSeals(t, dir)[:1] {
		want := packets(t, filepath.Join(filepath.Dir(s.path), s.seal.File))
		have := packets(t, path)
		if len(have) < len(want) || strings.Join(have[:len(want)], " ") != strings.Join(want, " ") {
			t.Error("the clip's media differs from the file's")
		}
	}
}

// packets returns the hash of each picture's bytes.
func packets(t *testing.T, path string) []string {
	t.Helper()
	out, err := exec.Command(kit.Tool(t, "ffprobe"), "-v", "error", "-show_packets", "-show_data_hash", "sha256",
		"-show_entries", "packet=data_hash", "-of", "csv=p=0", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
