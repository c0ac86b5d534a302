package camera

import (
	"fmt"
	"image"

	"gocv.io/x/gocv"

	"floorwatch"
)

// How the HOG detector looks (Dalal and Triggs, CVPR 2005; OpenCV's default
// people detector). Its window of 64 x 128 pixels shows a person with a margin;
// the box of the person is the part that is left when the margin is taken off.
const (
	hogRows   = 864   // height of the picture it works on: the smallest person is 1/9 of it
	hogWidth  = 0.525 // share of the window's width that is person
	hogHeight = 0.74  // and of its height
	hogScale  = 1.05  // between two sizes of the pyramid
	hogGroup  = 2     // windows that must agree
	hogScore  = 0.9   // OpenCV's grouping gives no score that gocv hands on
)

// hog finds upright people without a model file.
type hog struct {
	descriptor gocv.HOGDescriptor
	grey, work gocv.Mat
}

// NewHOG makes the detector that needs no model file and much time.
func NewHOG() (Detector, error) {
	d := &hog{descriptor: gocv.NewHOGDescriptor(), grey: gocv.NewMat(), work: gocv.NewMat()}
	weights := gocv.HOGDefaultPeopleDetector()
	defer func() { _ = weights.Close() }()
	if err := d.descriptor.SetSVMDetector(weights); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("load HOG people detector: %w", err)
	}
	return d, nil
}

// By names the detector.
func (d *hog) By() string { return "hog" }

// Detect returns upright people, all with the same score.
func (d *hog) Detect(picture gocv.Mat) ([]floorwatch.Person, error) {
	scale := float64(hogRows) / float64(picture.Rows())
	gocv.CvtColor(picture, &d.grey, gocv.ColorBGRToGray)
	gocv.Resize(d.grey, &d.work, image.Point{}, scale, scale, gocv.InterpolationLinear)
	if d.work.Cols() < 64 {
		return nil, nil // narrower than one window
	}
	found := d.descriptor.DetectMultiScaleWithParams(d.work, 0, image.Pt(8, 8), image.Pt(8, 8), hogScale, hogGroup, false)
	out := make([]floorwatch.Person, 0, len(found))
	for _, r := range found {
		out = append(out, withoutMargin(r, scale))
	}
	return out, nil
}

// withoutMargin is the person inside a window, in pixels of the full picture.
func withoutMargin(r image.Rectangle, scale float64) floorwatch.Person {
	w, h := hogWidth*float64(r.Dx()), hogHeight*float64(r.Dy())
	return floorwatch.Person{
		X: (float64(r.Min.X) + (float64(r.Dx())-w)/2) / scale,
		Y: (float64(r.Min.Y) + (float64(r.Dy())-h)/2) / scale,
		W: w / scale, H: h / scale, Score: hogScore,
	}
}

// Close frees OpenCV's memory.
func (d *hog) Close() error {
	_ = d.grey.Close()
	_ = d.work.Close()
	return d.descriptor.Close()
}
