package track

import (
	"math"

	"floorwatch"
)

// How people move and how detectors err, in heights of the box, so that near
// and far people are alike. The values are those that BYTE and SORT use per
// frame at 30 frames a second, turned into rates per second.
const (
	measured  = 0.05 // standard deviation of a box's centre and size
	wander    = 0.27 // of the position after one second, beside the velocity
	push      = 1.0  // of the velocity after one second, heights/s
	speed     = 1.9  // of the velocity of a new track, heights/s
	birthPlay = 0.1  // of the position of a new track
	reshape   = 0.27 // of width and height after one second
)

// axis is a Kalman filter of one coordinate with its velocity: white noise on
// the acceleration and on the position, both in continuous time.
type axis struct {
	x, v          float64
	pxx, pxv, pvv float64
}

// predict moves the filter by dt seconds; qx and qv are variances per second.
func (a *axis) predict(dt, qx, qv float64) {
	a.x += a.v * dt
	a.pxx += dt*(2*a.pxv+dt*a.pvv) + qx*dt + qv*dt*dt*dt/3
	a.pxv += dt*a.pvv + qv*dt*dt/2
	a.pvv += qv * dt
}

// update takes a measurement z of variance r in.
func (a *axis) update(z, r float64) {
	s := a.pxx + r
	kx, kv := a.pxx/s, a.pxv/s
	e := z - a.x
	a.x += kx * e
	a.v += kv * e
	a.pvv -= kv * a.pxv
	a.pxv -= kx * a.pxv
	a.pxx -= kx * a.pxx
}

// motion predicts a box: its centre moves, its size drifts without a trend
// (a trend of the size runs away while a person is hidden).
type motion struct{ cx, cy, w, h axis }

func newMotion(d floorwatch.Person) motion {
	p, v := sq(birthPlay*d.H), sq(speed*d.H)
	return motion{
		cx: axis{x: d.X + d.W/2, pxx: p, pvv: v},
		cy: axis{x: d.Y + d.H/2, pxx: p, pvv: v},
		w:  axis{x: d.W, pxx: p},
		h:  axis{x: d.H, pxx: p},
	}
}

func (m *motion) predict(dt float64) {
	h := m.height()
	qx, qv, qs := sq(wander*h), sq(push*h), sq(reshape*h)
	m.cx.predict(dt, qx, qv)
	m.cy.predict(dt, qx, qv)
	m.w.predict(dt, qs, 0)
	m.h.predict(dt, qs, 0)
}

func (m *motion) update(d floorwatch.Person) {
	r := sq(measured * m.height())
	m.cx.update(d.X+d.W/2, r)
	m.cy.update(d.Y+d.H/2, r)
	m.w.update(d.W, r)
	m.h.update(d.H, r)
}

// height is the filtered height in pixels, at least 1.
func (m *motion) height() float64 { return max(m.h.x, 1) }

// box returns the filtered box, at least 1 pixel wide and high.
func (m *motion) box() floorwatch.Person {
	w, h := max(m.w.x, 1), m.height()
	return floorwatch.Person{X: m.cx.x - w/2, Y: m.cy.x - h/2, W: w, H: h}
}

// iou is the overlap of two boxes: the intersection's share of the union.
func iou(a, b floorwatch.Person) float64 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}

// How far boxes are widened, in standard deviations of the predicted place,
// before they are compared: what stands beside the prediction may still be the
// person when the prediction is vague, as at few frames a second. A track with
// one box has no velocity yet, so its prediction errs by a whole step.
const (
	widenKnown     = 0.2
	widenTentative = 1.0
)

// likeness says from 0 to 1 how well a box continues a track: the overlap of
// the widened boxes times the squared ratio of their heights. Heights change
// slowly and tell a near person from a far one where boxes overlap (the idea of
// Hybrid-SORT's height-modulated overlap, Yang et al., AAAI 2024).
func likeness(p *person, d floorwatch.Person) float64 {
	widen := widenKnown
	if p.id == 0 {
		widen = widenTentative
	}
	by := widen * math.Sqrt(p.body.cx.pxx)
	ratio := min(p.box.H, d.H) / max(p.box.H, d.H)
	return sq(ratio) * iou(grow(p.box, by), grow(d, by))
}

// grow widens a box by a margin in pixels on every side.
func grow(b floorwatch.Person, by float64) floorwatch.Person {
	return floorwatch.Person{X: b.X - by, Y: b.Y - by, W: b.W + 2*by, H: b.H + 2*by}
}

// fused is the likeness weighted by the detector's own certainty, so that of
// two boxes on one person the surer one is taken.
func fused(p *person, d floorwatch.Person) float64 { return likeness(p, d) * min(d.Score, 1) }

// usable tells whether a box has a size and a place.
func usable(d floorwatch.Person) bool {
	const far = 1 << 20 // pixels; keeps products finite
	for _, v := range [...]float64{d.X, d.Y, d.W, d.H} {
		if math.IsNaN(v) || math.Abs(v) > far {
			return false
		}
	}
	return d.W > 0 && d.H > 0 && !math.IsNaN(d.Score)
}

func sq(v float64) float64 { return v * v }
