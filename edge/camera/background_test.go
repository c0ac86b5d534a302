//go:build cgo

package camera

import (
	"image"
	"image/color"
	"testing"

	"gocv.io/x/gocv"
)

// TestWhoStandsDoesNotMelt shows the motion detector somebody who comes, stands
// for a minute and sways by two pixels, and a box that is put down and does not:
// the person is seen to the end, the box becomes background.
func TestWhoStandsDoesNotMelt(t *testing.T) {
	d := NewMotion(5)
	defer func() { _ = d.Close() }()
	sees := func(at int) (person, box bool) {
		picture := gocv.NewMatWithSize(288, 384, gocv.MatTypeCV8UC3)
		defer func() { _ = picture.Close() }()
		picture.SetTo(gocv.NewScalar(120, 130, 140, 0))
		if at >= 10 {
			x := max(200, 20*(20-at)+200) + 2*(at/7%2)
			gocv.Rectangle(&picture, image.Rect(x, 100, x+24, 170), color.RGBA{R: 40, G: 30, B: 90}, -1)
		}
		if at >= 20 {
			gocv.Rectangle(&picture, image.Rect(60, 180, 84, 250), color.RGBA{R: 200, G: 30, B: 30}, -1)
		}
		got, err := d.Detect(picture)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got {
			person = person || p.X > 150
			box = box || p.X < 150
		}
		return person, box
	}
	for at := range 300 {
		person, box := sees(at)
		if at > 22 && !person {
			t.Fatalf("%.0f s: the person is not seen any more", float64(at)/5)
		}
		if at == 25 && !box {
			t.Error("the box is not seen when it is put down")
		}
		if at == 299 && box {
			t.Error("the box is still seen after a minute")
		}
	}
}
