//go:build cgo

package camera

import (
	"math"
	"path/filepath"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"

	"gocv.io/x/gocv"
)

// firstFrame is the first picture of a video.
func firstFrame(t *testing.T, name string) gocv.Mat {
	t.Helper()
	source, err := ParseSource(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := open(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	picture := gocv.NewMat()
	if !c.read(&picture) {
		t.Fatal("no picture")
	}
	return picture
}

// known are three people of the film's first frame, as its makers marked them.
var known = []floorwatch.Person{
	{X: 499, Y: 158, W: 31.03, H: 75.17}, {X: 258, Y: 219, W: 32.913, H: 88.702}, {X: 633, Y: 242, W: 42.338, H: 81.074},
}

// finds counts the known people that a detector saw.
func finds(t *testing.T, d Detector, picture gocv.Mat) (n int) {
	t.Helper()
	got, err := d.Detect(picture)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range known {
		for _, p := range got {
			if p.Score > 0.3 && overlap(k, p) > 0.5 {
				n++
				break
			}
		}
	}
	return n
}

func TestNanoDetSeesPeople(t *testing.T) {
	picture := firstFrame(t, kit.Shared(t, "data/vtest/vtest.avi"))
	defer func() { _ = picture.Close() }()
	d, err := NewNanoDet(kit.Shared(t, "models/object_detection_nanodet_2022nov.onnx"), "nanodet")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if n := finds(t, d, picture); n != len(known) {
		t.Errorf("%d of %d people", n, len(known))
	}
	tall := gocv.NewMatWithSize(900, 60, gocv.MatTypeCV8UC3) // letterboxed at the sides
	defer func() { _ = tall.Close() }()
	if _, err := d.Detect(tall); err != nil {
		t.Errorf("a tall picture: %v", err)
	}
}

func TestHOGSeesPeople(t *testing.T) {
	picture := firstFrame(t, kit.Shared(t, "data/vtest/vtest.avi"))
	defer func() { _ = picture.Close() }()
	d, err := NewHOG()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if n := finds(t, d, picture); n < 2 {
		t.Errorf("%d of %d people", n, len(known))
	}
}

func TestNanoDetRefusesWhatIsNoModel(t *testing.T) {
	if _, err := NewNanoDet(filepath.Join(t.TempDir(), "none.onnx"), "x"); err == nil {
		t.Error("a missing model was loaded")
	}
}

// TestDecode places one person by hand: the cell at column 10, row 5 of stride
// 8, every side two strides away, in a picture twice the net's size.
func TestDecode(t *testing.T) {
	const grid = netSide / 8
	scores, boxes := make([]float32, grid*grid*netClasses), make([]float32, grid*grid*4*netBins)
	cell := 5*grid + 10
	scores[cell*netClasses] = 0.75
	scores[(cell+1)*netClasses+1] = 0.9 // a bicycle
	for side := range 4 {
		boxes[(cell*4+side)*netBins+2] = 50
	}
	got := decode(scores, boxes, 8, letterbox{scale: 0.5, width: 832, height: 832})
	want := floorwatch.Person{X: 2 * (83.5 - 16), Y: 2 * (43.5 - 16), W: 64, H: 64, Score: 0.75}
	if len(got) != 1 || math.Abs(got[0].X-want.X) > 1e-6 || math.Abs(got[0].Y-want.Y) > 1e-6 || math.Abs(got[0].W-want.W) > 1e-6 || got[0].Score != want.Score {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSuppress(t *testing.T) {
	got := suppress([]floorwatch.Person{{W: 10, H: 10, Score: 0.5}, {X: 1, W: 10, H: 10, Score: 0.9}, {X: 50, W: 10, H: 10, Score: 0.2}}, 0.6)
	if len(got) != 2 || got[0].Score != 0.9 || got[1].X != 50 {
		t.Errorf("%+v", got)
	}
}
