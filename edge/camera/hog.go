//go:build cgo

package camera

/*
#cgo pkg-config: opencv4
#cgo CXXFLAGS: --std=c++11
#include "hogshim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"image"
	"unsafe"

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
	hogWindow = 64    // width of the window, pixels
)

// hog finds upright people without a model file.
type hog struct {
	descriptor unsafe.Pointer
	grey, work gocv.Mat
	windows    [floorwatch.MaxPeople]C.fw_window
}

// NewHOG makes the detector that needs no model file and much time.
func NewHOG() (Detector, error) {
	p := C.fw_hog_new()
	if p == nil {
		return nil, errors.New("load HOG people detector: OpenCV refused")
	}
	return &hog{descriptor: p, grey: gocv.NewMat(), work: gocv.NewMat()}, nil
}

// By names the detector.
func (d *hog) By() string { return "hog" }

// Detect returns upright people; the score is the classifier's margin, cut off
// at 1.
func (d *hog) Detect(picture gocv.Mat) ([]floorwatch.Person, error) {
	scale := float64(hogRows) / float64(picture.Rows())
	gocv.CvtColor(picture, &d.grey, gocv.ColorBGRToGray)
	gocv.Resize(d.grey, &d.work, image.Point{}, scale, scale, gocv.InterpolationLinear)
	rows, cols := d.work.Rows(), d.work.Cols()
	if cols < hogWindow {
		return nil, nil // narrower than one window
	}
	pixels, err := d.work.DataPtrUint8()
	if err != nil || len(pixels) != rows*cols {
		return nil, errors.Join(fmt.Errorf("grey picture has %d bytes, want %d x %d", len(pixels), cols, rows), err)
	}
	n := C.fw_hog_detect(d.descriptor, (*C.uchar)(&pixels[0]), C.int(rows), C.int(cols),
		hogScale, hogGroup, &d.windows[0], C.int(len(d.windows)))
	if n < 0 {
		return nil, errors.New("HOG: OpenCV refused the picture")
	}
	out := make([]floorwatch.Person, 0, n)
	for _, w := range d.windows[:n] {
		out = append(out, withoutMargin(float64(w.x), float64(w.y), float64(w.w), float64(w.h), float64(w.weight), scale))
	}
	return out, nil
}

// withoutMargin is the person inside a window, in pixels of the full picture.
func withoutMargin(x, y, w, h, weight, scale float64) floorwatch.Person {
	pw, ph := hogWidth*w, hogHeight*h
	return floorwatch.Person{
		X: (x + (w-pw)/2) / scale, Y: (y + (h-ph)/2) / scale,
		W: pw / scale, H: ph / scale, Score: min(max(weight, 0), 1),
	}
}

// Close frees OpenCV's memory.
func (d *hog) Close() error {
	_ = d.grey.Close()
	_ = d.work.Close()
	C.fw_hog_free(d.descriptor)
	d.descriptor = nil
	return nil
}
