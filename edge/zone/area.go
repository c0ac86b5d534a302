package zone

import (
	"fmt"
	"math"
	"time"

	"floorwatch"
)

// The band around a border in which a person counts as being where they were:
// bandShare of the height of their box, which is about five centimetres of floor
// and the scale on which people sway and detectors make the ground point tremble,
// and never more than bandLimit of the zone's own half-width, so that a narrow
// zone can still be entered. (At 0.05 true visits of vtest.avi grow together.)
const (
	bandShare = 0.03
	bandLimit = 0.25
)

// area is a zone prepared for the engine: durations in milliseconds, lengths in
// the pixels of its polygon.
type area struct {
	name          string
	role          floorwatch.Role
	polygon       []floorwatch.Point
	left, top     float64 // bounding box, widened by bandMax
	right, bottom float64
	bandMax       float64
	minStay       floorwatch.Time
	mergeGap      floorwatch.Time
	linger        floorwatch.Time // longest time in the band before a change of side counts
	patience      floorwatch.Time // longest time without any frame in which a visit goes on
	bridge        floorwatch.Time // longest time in which somebody lost is looked for
	find          floorwatch.Time // longest time after which they are found under another number
	hold          floorwatch.Time // the longer of patience and bridge
	unseen        floorwatch.Time // standard error of a beginning or end that nobody saw
}

func newArea(z floorwatch.Zone) (area, error) {
	a := area{name: z.Name, role: z.Role, polygon: z.Polygon, minStay: ms(z.MinStay), mergeGap: ms(z.MergeGap), bridge: ms(z.Bridge)}
	if !floorwatch.ValidName(z.Name) {
		return a, fmt.Errorf("zone %.50q: a name is %s", z.Name, floorwatch.NameRule)
	}
	if z.MinStay < 0 || z.MergeGap < 0 || z.Bridge < 0 {
		return a, fmt.Errorf("zone %s: min_stay, merge_gap and bridge must not be negative", z.Name)
	}
	size := floorwatch.PolygonArea(z.Polygon)
	if len(z.Polygon) < 3 || !(size > 0) || math.IsInf(size, 0) {
		return a, fmt.Errorf("zone %s: polygon needs at least three finite points that span an area", z.Name)
	}
	a.bandMax = bandLimit * 2 * size / perimeter(z.Polygon)
	a.bounds()
	a.linger = a.minStay + a.mergeGap
	a.patience = max(a.mergeGap, ms(floorwatch.MaxFrameGap))
	a.find = a.bridge - proof
	a.hold = max(a.patience, a.bridge)
	a.unseen = a.hold
	return a, nil
}

func ms(d time.Duration) floorwatch.Time { return floorwatch.Time(d.Milliseconds()) }

func perimeter(p []floorwatch.Point) float64 {
	var sum float64
	for i, a := range p {
		b := p[(i+1)%len(p)]
		sum += math.Hypot(b.X-a.X, b.Y-a.Y)
	}
	return sum
}

func (a *area) bounds() {
	a.left, a.top = math.Inf(1), math.Inf(1)
	a.right, a.bottom = math.Inf(-1), math.Inf(-1)
	for _, p := range a.polygon {
		a.left, a.right = min(a.left, p.X-a.bandMax), max(a.right, p.X+a.bandMax)
		a.top, a.bottom = min(a.top, p.Y-a.bandMax), max(a.bottom, p.Y+a.bandMax)
	}
}

// locate tells whether p lies in the zone, and whether it does so (or does not)
// clearly: outside the band around the border that belongs to a box of the
// given height.
func (a *area) locate(p floorwatch.Point, height float64) (in, clear bool) {
	if p.X < a.left || p.X > a.right || p.Y < a.top || p.Y > a.bottom {
		return false, true
	}
	band := min(bandShare*height, a.bandMax)
	return contains(a.polygon, p), borderDistance(a.polygon, p) >= band
}

// contains counts the edges that a ray from p to the right crosses. Edges are
// half-open in Y, so that a point on the border of two zones that share an edge
// is in exactly one.
func contains(polygon []floorwatch.Point, p floorwatch.Point) bool {
	in := false
	for i, a := range polygon {
		b := polygon[(i+1)%len(polygon)]
		if (a.Y > p.Y) != (b.Y > p.Y) && p.X < a.X+(p.Y-a.Y)*(b.X-a.X)/(b.Y-a.Y) {
			in = !in
		}
	}
	return in
}

// borderDistance returns the distance in pixels from p to the nearest edge.
func borderDistance(polygon []floorwatch.Point, p floorwatch.Point) float64 {
	best := math.Inf(1)
	for i, a := range polygon {
		b := polygon[(i+1)%len(polygon)]
		dx, dy := b.X-a.X, b.Y-a.Y
		u := 0.0
		if length2 := dx*dx + dy*dy; length2 > 0 {
			u = max(0, min(1, ((p.X-a.X)*dx+(p.Y-a.Y)*dy)/length2))
		}
		x, y := p.X-a.X-u*dx, p.Y-a.Y-u*dy
		best = min(best, x*x+y*y)
	}
	return math.Sqrt(best)
}
