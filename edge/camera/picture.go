//go:build cgo

package camera

import (
	"image"
	"slices"
	"time"

	"gocv.io/x/gocv"

	"floorwatch"
)

// How a picture is looked at: a grid of its pixels, grey, once a second.
const (
	lookEvery = time.Second
	gridW     = 160
	gridH     = 90
	// A picture is blank when nearly all of it is dark, or of one brightness: a
	// covered lens lets some light through. What stays is the camera's clock.
	darkBelow  = 28
	evenWithin = 10
	blankShare = 0.97
	blankAfter = 10 * time.Second
	// It is frozen when it is the same for so long, bit by bit but for what an
	// encoder changes when it encodes one picture twice. Sensors are never so
	// quiet, and encoders send a scene without motion anew each second or two.
	// A frozen picture that the camera encodes at a changing quality goes
	// unnoticed: it looks just like a quiet scene.
	sameWithin  = 2
	sameShare   = 0.999
	frozenAfter = 20 * time.Second
)

// sight judges whether the pictures can show anything at all. It does not know
// what is in them.
type sight struct {
	next   floorwatch.Time
	ref    []byte          // the picture when it last changed
	since  floorwatch.Time // of ref
	blank  floorwatch.Time // since when the picture is blank, 0: it is not
	state  string
	small  gocv.Mat
	grey   gocv.Mat
	opened bool
}

// close frees the matrices.
func (s *sight) close() {
	if s.opened {
		_, _ = s.small.Close(), s.grey.Close()
	}
}

// look returns what is wrong with the picture of time t, "" for nothing:
// floorwatch.PictureBlank or PictureFrozen. Most calls return what the last look
// found.
func (s *sight) look(t floorwatch.Time, picture gocv.Mat) string {
	if t < s.next {
		return s.state
	}
	if !s.opened {
		s.small, s.grey, s.opened = gocv.NewMat(), gocv.NewMat(), true
	}
	s.next = t.Add(lookEvery)
	gocv.Resize(picture, &s.small, image.Pt(gridW, gridH), 0, 0, gocv.InterpolationNearestNeighbor)
	gocv.CvtColor(s.small, &s.grey, gocv.ColorBGRToGray)
	s.state = s.judge(t, s.grey.ToBytes())
	return s.state
}

// judge takes one grid of grey values in.
func (s *sight) judge(t floorwatch.Time, grid []byte) string {
	if !same(s.ref, grid) {
		s.ref, s.since = grid, t
	}
	switch {
	case !blank(grid):
		s.blank = 0
	case s.blank == 0:
		s.blank = t
	}
	switch {
	case s.blank > 0 && t.Sub(s.blank) >= blankAfter:
		return floorwatch.PictureBlank
	case t.Sub(s.since) >= frozenAfter:
		return floorwatch.PictureFrozen
	}
	return ""
}

// same tells whether nearly all values are nearly equal.
func same(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	n := 0
	for i := range a {
		if max(a[i], b[i])-min(a[i], b[i]) <= sameWithin {
			n++
		}
	}
	return float64(n) >= sameShare*float64(len(b))
}

// blank tells whether nearly all values are dark, or near the middle one.
func blank(grid []byte) bool {
	sorted := slices.Clone(grid)
	slices.Sort(sorted)
	middle := int(sorted[len(sorted)/2])
	dark, even := 0, 0
	for _, v := range grid {
		if v < darkBelow {
			dark++
		}
		if d := int(v) - middle; -evenWithin <= d && d <= evenWithin {
			even++
		}
	}
	return float64(max(dark, even)) >= blankShare*float64(len(grid))
}
