//go:build cgo

package camera

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// encoded makes a film of 40 s as a camera would send it.
func encoded(t *testing.T, source, filter string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "film.mp4")
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", source, "-t", "40", "-vf", filter,
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return path
}

func TestPictureThatShowsNothingIsTold(t *testing.T) {
	const still = "loop=loop=-1:size=1"
	for _, c := range []struct{ name, source, filter, want string }{
		{"black", "color=black:s=320x240:r=5", "noise=alls=6:allf=t", floorwatch.PictureBlank},
		{"covered", "color=0x604030:s=320x240:r=5", "noise=alls=6:allf=t", floorwatch.PictureBlank},
		{"black but for the camera's clock", "color=black:s=320x240:r=5", "drawbox=x=4:y=4:w=60:h=12:color=white:t=fill:enable='lt(mod(t,2),1)'", floorwatch.PictureBlank},
		{"frozen", "testsrc=s=320x240:r=5", still, floorwatch.PictureFrozen},
		{"quiet scene", "testsrc=s=320x240:r=5", still + ",noise=alls=4:allf=t", ""},
		{"moving", "testsrc=s=320x240:r=5", "null", ""},
		{"dark shop", "testsrc=s=320x240:r=5", "eq=brightness=-0.5", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all, err := lines(t, Settings{Start: time.Unix(1e9, 0)}, encoded(t, c.source, c.filter))
			if err != nil {
				t.Fatal(err)
			}
			frames, _ := split(all)
			told := -1 * time.Second
			for _, f := range frames {
				if f.Picture != "" && f.Picture != c.want {
					t.Fatalf("%s after %s", f.Picture, f.T.Sub(frames[0].T))
				}
				if f.Picture != "" && told < 0 {
					told = f.T.Sub(frames[0].T)
				}
			}
			if c.want != "" && (told < 0 || told > 25*time.Second) {
				t.Errorf("told after %s, limit 25 s", told)
			}
		})
	}
}

func TestRealFootageIsNeitherBlankNorFrozen(t *testing.T) {
	all, err := lines(t, Settings{Start: time.Unix(1e9, 0)}, kit.Shared(t, "data/vtest/vtest.avi"))
	if err != nil {
		t.Fatal(err)
	}
	frames, _ := split(all)
	for _, f := range frames {
		if f.Picture != "" {
			t.Fatalf("%s at %s", f.Picture, f.T.Sub(frames[0].T))
		}
	}
}
