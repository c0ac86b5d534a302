//go:build cgo

package camera

import (
	"image"
	"math"

	"gocv.io/x/gocv"

	"floorwatch"
)

// How the motion detector looks. Lengths are shares of the picture's height.
const (
	motionSide    = 384   // longer side of the reduced picture, pixels
	motionSeconds = 120.0 // of memory of the background model
	motionVar     = 20    // squared distance, in variances, from which a pixel is foreground
	motionShadow  = 127   // value of shadow pixels in the mask; people are 255
	minTall       = 0.05  // smallest height of a person
	minWide       = 0.015 // and width
	maxTall       = 0.9
	joinGap       = 0.02 // vertical gap between head and legs that is closed
	aspect        = 0.38 // width of one person per height; a blob twice as wide is two side by side
	motionScore   = 0.9  // a blob is there or not
)

// motion finds what moves: background subtraction (MOG2) at reduced size. It
// needs no model and little time, and it knows nothing of people: a group is
// one box, and a trolley that is pushed is a person. Who stands still is kept out
// of the background for as long as they sway.
type motion struct {
	scene            *background
	small, mask      gocv.Mat
	opening, closing gocv.Mat
}

// NewMotion makes the detector that needs no model. It is what "auto" falls back
// to: measured, one core analyses some 110 pictures of 768 x 576 a
// second with it and 1.6 with HOG, which at live pace would see three pictures a
// second and leave nothing to the recorder. fps is the rate of frames
// it will be given; the memory of its background is counted in frames.
func NewMotion(fps float64) Detector {
	if fps <= 0 {
		fps = 10
	}
	d := &motion{
		small: gocv.NewMat(), mask: gocv.NewMat(),
		opening: gocv.GetStructuringElement(gocv.MorphEllipse, image.Pt(3, 3)),
		closing: gocv.GetStructuringElement(gocv.MorphEllipse, image.Pt(3, 9)),
	}
	d.scene = newBackground(fps)
	return d
}

// By names the detector.
func (d *motion) By() string { return "motion" }

// Detect returns the boxes of what moved, all with the same score.
func (d *motion) Detect(picture gocv.Mat) ([]floorwatch.Person, error) {
	scale := min(1, motionSide/float64(max(picture.Cols(), picture.Rows())))
	gocv.Resize(picture, &d.small, image.Point{}, scale, scale, gocv.InterpolationArea)
	if err := d.scene.subtract(d.small, &d.mask); err != nil {
		return nil, err
	}
	gocv.Threshold(d.mask, &d.mask, motionShadow+1, 255, gocv.ThresholdBinary)
	gocv.MorphologyEx(d.mask, &d.mask, gocv.MorphOpen, d.opening)
	gocv.MorphologyEx(d.mask, &d.mask, gocv.MorphClose, d.closing)
	contours := gocv.FindContours(d.mask, gocv.RetrievalExternal, gocv.ChainApproxSimple)
	defer contours.Close()
	blobs := make([]image.Rectangle, 0, contours.Size())
	for i := range contours.Size() {
		blobs = append(blobs, gocv.BoundingRect(contours.At(i)))
	}
	blobs = joinParts(blobs, int(joinGap*float64(d.small.Rows())))
	if err := d.scene.learn(d.small, blobs); err != nil { // the visible part of a person too
		return nil, err
	}
	return people(ofPersonSize(blobs, d.small.Rows()), scale), nil
}

// ofPersonSize keeps the blobs that may be people.
func ofPersonSize(blobs []image.Rectangle, rows int) []image.Rectangle {
	kept, h := blobs[:0], float64(rows)
	for _, b := range blobs {
		tall, wide := float64(b.Dy()), float64(b.Dx())
		if tall < minTall*h || wide < minWide*h || tall > maxTall*h || wide > 2*tall || tall > 6*wide {
			continue
		}
		kept = append(kept, b)
	}
	return kept
}

// people turns blobs of person size into boxes of the full picture.
func people(blobs []image.Rectangle, scale float64) []floorwatch.Person {
	var out []floorwatch.Person
	for _, b := range blobs {
		tall, wide := float64(b.Dy()), float64(b.Dx())
		heads := max(1, math.Round(wide/(aspect*tall)))
		for i := range int(heads) {
			out = append(out, floorwatch.Person{
				X: (float64(b.Min.X) + float64(i)*wide/heads) / scale, Y: float64(b.Min.Y) / scale,
				W: wide / heads / scale, H: tall / scale, Score: motionScore,
			})
		}
	}
	return out
}

// joinParts joins blobs that stand above each other with a gap of up to gap
// pixels and overlap by half of the narrower one's width: head, coat and legs
// of one person.
func joinParts(blobs []image.Rectangle, gap int) []image.Rectangle {
	for again := true; again; {
		again = false
		for i := 0; i < len(blobs); i++ {
			for j := i + 1; j < len(blobs); j++ {
				if !sameBody(blobs[i], blobs[j], gap) {
					continue
				}
				blobs[i] = blobs[i].Union(blobs[j])
				blobs = append(blobs[:j], blobs[j+1:]...)
				again = true
				j--
			}
		}
	}
	return blobs
}

func sameBody(a, b image.Rectangle, gap int) bool {
	wide := min(a.Max.X, b.Max.X) - max(a.Min.X, b.Min.X)
	apart := max(a.Min.Y, b.Min.Y) - min(a.Max.Y, b.Max.Y)
	return wide*2 >= min(a.Dx(), b.Dx()) && apart <= gap
}

// Close frees OpenCV's memory.
func (d *motion) Close() error {
	for _, m := range []*gocv.Mat{&d.small, &d.mask, &d.opening, &d.closing} {
		_ = m.Close()
	}
	d.scene.close()
	return nil
}
