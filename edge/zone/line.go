package zone

import (
	"fmt"
	"math"

	"floorwatch"
)

// lineMemory is how long, in milliseconds, a track may be out of sight and still
// cross a line: as long as a tracker bridges somebody behind a pillar.
const lineMemory floorwatch.Time = 3000

// line is a line prepared for the engine, in the pixels of the scene.
type line struct {
	name     string
	from, to floorwatch.Point
	bandMax  float64
}

func newLine(l floorwatch.Line) (line, error) {
	if !floorwatch.ValidName(l.Name) {
		return line{}, fmt.Errorf("line %.50q: a name is %s", l.Name, floorwatch.NameRule)
	}
	length := math.Hypot(l.To.X-l.From.X, l.To.Y-l.From.Y)
	if !(length > 0) || math.IsInf(length, 0) { // written so that NaN fails
		return line{}, fmt.Errorf("line %s: from and to must be two different finite points", l.Name)
	}
	return line{name: l.Name, from: l.From, to: l.To, bandMax: bandLimit * length}, nil
}

// right tells whether p lies to the right of the way from a to b, as the picture
// shows it (y grows downwards). Where p lies on it, the answer is that for a p
// that is moved by nearly nothing, `nudge` times to the right on the picture and
// much less downwards: so all lines agree on who stands where.
func right(a, b, p floorwatch.Point, nudge float64) bool {
	dx, dy := b.X-a.X, b.Y-a.Y
	if c := dx*(p.Y-a.Y) - dy*(p.X-a.X); c != 0 {
		return c > 0
	}
	if dy != 0 {
		return dy*nudge < 0
	}
	return dx*nudge > 0
}

// step tells whether the way from a to b crosses the line: +1 to its right, in;
// -1 to its left, out. People are nudged against the line, so the line is nudged
// the other way against people.
func (l *line) step(a, b floorwatch.Point) int {
	wasIn, isIn := right(l.from, l.to, a, 1), right(l.from, l.to, b, 1)
	if wasIn == isIn || right(a, b, l.from, -1) == right(a, b, l.to, -1) {
		return 0
	}
	if isIn {
		return 1
	}
	return -1
}

// clear tells whether p lies outside the band around the line that belongs to a
// box of the given height.
func (l *line) clear(p floorwatch.Point, height float64) bool {
	dx, dy := l.to.X-l.from.X, l.to.Y-l.from.Y
	u := max(0, min(1, ((p.X-l.from.X)*dx+(p.Y-l.from.Y)*dy)/(dx*dx+dy*dy)))
	return math.Hypot(p.X-l.from.X-u*dx, p.Y-l.from.Y-u*dy) >= min(bandShare*height, l.bandMax)
}

// passage is what one track does at one line: the crossings, those out from
// those in, since it was last clear of it.
type passage struct{ net int }

// sight takes the way from a to b in and returns what counts by it: +1 in, -1
// out, 0 nothing.
func (p *passage) sight(l *line, a, b floorwatch.Point, height float64, known bool) int {
	if known {
		p.net += l.step(a, b)
	}
	if p.net == 0 || !l.clear(b, height) {
		return 0
	}
	// Round an end of the line within the band one can pass it twice the same
	// way; that is one person all the same.
	n := max(-1, min(1, p.net))
	p.net = 0
	return n
}
