package track

import "math"

// stature learns how tall people look by the row on which they stand: on one
// floor, seen by one camera, the height of a box is linear in the row of its
// foot (the ground plane's homography, to first order). It is a least-squares
// line with slow forgetting, fed by people who walk, and knows its own spread.
type stature struct {
	n, y, h, yy, yh, hh float64 // weighted sums over lessons
}

const (
	lessons    = 20.0  // from which the line is believed
	forget     = 0.998 // of the past, per lesson
	outlier    = 0.35  // log ratio of heights from which a box teaches nothing
	spread     = 0.25  // share of the mean height; more, and the picture follows no line
	slopePrior = 400.0 // pixels² of rows: holds the slope near 0 until rows differ
)

// learn takes in one person of height h whose feet are on row y.
func (s *stature) learn(y, h float64) {
	if want, ok := s.expect(y); ok && math.Abs(math.Log(h/want)) > outlier {
		return
	}
	for _, v := range [...]*float64{&s.n, &s.y, &s.h, &s.yy, &s.yh, &s.hh} {
		*v *= forget
	}
	s.n++
	s.y += y
	s.h += h
	s.yy += y * y
	s.yh += y * h
	s.hh += h * h
}

// line returns height = at0 + slope*row and the variance about it, pixels².
func (s *stature) line() (at0, slope, variance float64) {
	my, mh := s.y/s.n, s.h/s.n
	vy, vh, c := s.yy/s.n-my*my, s.hh/s.n-mh*mh, s.yh/s.n-my*mh
	slope = c / (vy + slopePrior/s.n)
	return mh - slope*my, slope, max(0, vh-slope*c)
}

// expect returns the height of a person whose feet are on row y; false while
// too little was learnt or where the picture follows no line.
func (s *stature) expect(y float64) (h float64, ok bool) {
	if s.n < lessons {
		return 0, false
	}
	at0, slope, variance := s.line()
	mean := s.h / s.n
	h = at0 + slope*y
	return h, h > mean/5 && math.Sqrt(variance) < spread*mean
}

// below returns the height of a person whose head is on row top.
func (s *stature) below(top float64) (h float64, ok bool) {
	if s.n < lessons {
		return 0, false
	}
	at0, slope, _ := s.line()
	if slope > 0.9 { // the camera looks along the floor: the feet could be anywhere
		return 0, false
	}
	return s.expect(top + (at0+slope*top)/(1-slope))
}
