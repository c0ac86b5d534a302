//go:build cgo

package camera

import (
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gocv.io/x/gocv"

	"floorwatch"
)

// Mask is a polygon in pixels of the stream that nothing may look at.
type Mask []image.Point

// maxCorners bounds a mask.
const maxCorners = 200

// ParseMask reads corners "x,y x,y x,y", three at least.
func ParseMask(s string) (Mask, error) {
	fields := strings.Fields(s)
	if len(fields) < 3 || len(fields) > maxCorners {
		return nil, fmt.Errorf("mask %.60q has %d corners, want 3 to %d as \"x,y x,y x,y\"", s, len(fields), maxCorners)
	}
	mask := make(Mask, 0, len(fields))
	for _, field := range fields {
		xs, ys, _ := strings.Cut(field, ",")
		x, errX := strconv.Atoi(xs)
		y, errY := strconv.Atoi(ys)
		if errX != nil || errY != nil || x < 0 || y < 0 || x > maxSide || y > maxSide {
			return nil, fmt.Errorf("mask corner %.30q is not x,y in pixels of 0 to %d", field, maxSide)
		}
		mask = append(mask, image.Pt(x, y))
	}
	return mask, nil
}

// maskSet holds the masks in OpenCV's form.
type maskSet struct{ polygons []gocv.PointsVector }

// newMaskSet keeps each mask apart: filled as one, two that overlap would
// uncover what they share (even-odd rule).
func newMaskSet(masks []Mask) *maskSet {
	m := &maskSet{}
	for _, mask := range masks {
		m.polygons = append(m.polygons, gocv.NewPointsVectorFromPoints([][]image.Point{mask}))
	}
	return m
}

// apply blackens the masks.
func (m *maskSet) apply(picture *gocv.Mat) {
	for _, p := range m.polygons {
		gocv.FillPoly(picture, p, color.RGBA{})
	}
}

func (m *maskSet) close() {
	for _, p := range m.polygons {
		p.Close()
	}
}

// still writes the masked picture when it is time. A still that cannot be
// written is logged; the figures go on without it.
func (w *worker) still(t floorwatch.Time, picture gocv.Mat) {
	if w.Still == "" || t < w.nextStill {
		return
	}
	w.nextStill = t.Add(w.StillEvery)
	if err := writeStill(w.Still, picture); err != nil {
		w.Log.Warn("still not written; check the folder and the disk", "file", w.Still, "error", err)
	}
}

// writeStill replaces the file in one step, so that a reader sees the old or
// the new picture, never half of one. It need not survive a power cut.
func writeStill(path string, picture gocv.Mat) (err error) {
	jpeg, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, picture, []int{gocv.IMWriteJpegQuality, 85})
	if err != nil {
		return fmt.Errorf("encode still: %w", err)
	}
	defer jpeg.Close()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("write still: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(jpeg.GetBytes())
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write still: %w", err)
	}
	return nil
}
