//go:build cgo

package camera

/*
#cgo pkg-config: opencv4
#cgo CXXFLAGS: --std=c++11
#include "backshim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"image"
	"unsafe"

	"gocv.io/x/gocv"
)

// How the background is learnt.
const (
	backWarm   = 1.0  // seconds in which everything is taken for background
	backEvery  = 0.8  // seconds between lessons
	swayStep   = 18   // grey levels by which a pixel must change from lesson to lesson
	swayMemory = 12.0 // seconds for which a change is remembered
	swayFade   = 17   // of 255 per lesson, which makes swayMemory
	swayShare  = 0.03 // of a box must have changed, or it is a thing and melts
	keepAround = 0.15 // margin of a kept box, share of its height
)

// background is a model of the empty scene (MOG2, Zivkovic, ICPR 2004) that does
// not learn people: where one was seen, it is taught the picture from before
// they came. What does not even sway for swayMemory is no person but a thing
// that was put down, or the hole where one was taken away, and is learnt. The first second is all taken
// for background.
type background struct {
	model   unsafe.Pointer
	fps     float64
	history float64 // frames that the model remembers
	n       int     // frames seen

	clean, last gocv.Mat // newest picture without people; picture of the last lesson
	diff, moved gocv.Mat
	scratch     gocv.Mat
	sway        gocv.Mat // how lately each pixel changed: 255 just now, 0 not within swayMemory
}

func newBackground(fps float64) *background {
	b := &background{fps: fps, history: motionSeconds * fps}
	for _, m := range b.mats() {
		*m = gocv.NewMat()
	}
	b.model = C.fw_back_new(C.int(b.history), motionVar)
	return b
}

func (b *background) mats() []*gocv.Mat {
	return []*gocv.Mat{&b.clean, &b.last, &b.diff, &b.moved, &b.scratch, &b.sway}
}

// subtract writes to mask what of the picture is not background.
func (b *background) subtract(picture gocv.Mat, mask *gocv.Mat) error {
	rate := 0.0
	if float64(b.n) < backWarm*b.fps {
		rate = b.rate(1)
	}
	b.n++
	return b.apply(picture, mask, rate)
}

// rate is the learning rate of a lesson after so many frames: at first all count
// alike, later the model remembers motionSeconds.
func (b *background) rate(frames float64) float64 {
	return min(0.5, frames/min(2*float64(b.n+1), b.history))
}

func (b *background) apply(picture gocv.Mat, mask *gocv.Mat, rate float64) error {
	rows, cols := picture.Rows(), picture.Cols()
	if mask.Rows() != rows || mask.Cols() != cols {
		_ = mask.Close()
		*mask = gocv.NewMatWithSize(rows, cols, gocv.MatTypeCV8UC1)
	}
	in, err := picture.DataPtrUint8()
	out, err2 := mask.DataPtrUint8()
	if err != nil || err2 != nil || len(in) != 3*rows*cols || len(out) != rows*cols || b.model == nil {
		return errors.Join(fmt.Errorf("background: picture of %d bytes, want %d x %d x 3", len(in), cols, rows), err, err2)
	}
	if C.fw_back_apply(b.model, (*C.uchar)(&in[0]), C.int(rows), C.int(cols), (*C.uchar)(&out[0]), C.double(rate)) != 0 {
		return errors.New("background: OpenCV refused the picture")
	}
	return nil
}

// learn takes the picture in, except where the people stand, in its pixels.
func (b *background) learn(picture gocv.Mat, people []image.Rectangle) error {
	every := max(1, int(backEvery*b.fps))
	if b.n%every != 0 {
		return nil
	}
	b.watchSway(picture)
	if b.clean.Empty() || b.clean.Rows() != picture.Rows() || b.clean.Cols() != picture.Cols() {
		picture.CopyTo(&b.clean)
	}
	keep := b.keep(people, picture)
	defer func() { _ = keep.Close() }()
	picture.CopyToWithMask(&b.clean, keep)
	if float64(b.n) < backWarm*b.fps {
		return nil // was taught by subtract
	}
	return b.apply(b.clean, &b.scratch, b.rate(float64(every)))
}

// watchSway notes which pixels changed since the last lesson.
func (b *background) watchSway(picture gocv.Mat) {
	if b.last.Rows() != picture.Rows() || b.last.Cols() != picture.Cols() {
		picture.CopyTo(&b.last)
		_ = b.sway.Close()
		b.sway = gocv.NewMatWithSize(picture.Rows(), picture.Cols(), gocv.MatTypeCV8UC1)
		b.sway.SetTo(gocv.NewScalar(0, 0, 0, 0))
	}
	gocv.AbsDiff(picture, b.last, &b.diff)
	gocv.CvtColor(b.diff, &b.moved, gocv.ColorBGRToGray)
	gocv.Threshold(b.moved, &b.moved, swayStep, 255, gocv.ThresholdBinary)
	b.sway.SubtractUChar(swayFade)
	gocv.Max(b.sway, b.moved, &b.sway)
	picture.CopyTo(&b.last)
}

// keep is a mask of what may be learnt: everything but living people.
func (b *background) keep(people []image.Rectangle, picture gocv.Mat) gocv.Mat {
	mask := gocv.NewMatWithSize(picture.Rows(), picture.Cols(), gocv.MatTypeCV8UC1)
	mask.SetTo(gocv.NewScalar(255, 0, 0, 0))
	whole := image.Rect(0, 0, picture.Cols(), picture.Rows())
	for _, p := range people {
		if p = p.Intersect(whole); p.Empty() || !b.alive(p) {
			continue
		}
		around := p.Inset(-int(keepAround * float64(p.Dy()))).Intersect(whole)
		area := mask.Region(around)
		area.SetTo(gocv.NewScalar(0, 0, 0, 0))
		_ = area.Close()
	}
	return mask
}

// alive tells whether enough of a box changed lately.
func (b *background) alive(p image.Rectangle) bool {
	area := b.sway.Region(p)
	defer func() { _ = area.Close() }()
	return float64(gocv.CountNonZero(area)) >= swayShare*float64(p.Dx()*p.Dy())
}

func (b *background) close() {
	for _, m := range b.mats() {
		_ = m.Close()
	}
	if b.model != nil {
		C.fw_back_free(b.model)
		b.model = nil
	}
}
