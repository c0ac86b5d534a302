package simulate

import (
	"math"

	"floorwatch"
)

// point is a place on the floor in metres.
type point struct{ x, y float64 }

func dist(a, b point) float64 { return math.Hypot(b.x-a.x, b.y-a.y) }

// towards returns a moved by step metres in the direction of b.
func towards(a, b point, step float64) point {
	d := dist(a, b)
	if d <= step || d == 0 {
		return b
	}
	return point{a.x + (b.x-a.x)*step/d, a.y + (b.y-a.y)*step/d}
}

func lerp(a, b point, u float64) point {
	return point{a.x + (b.x-a.x)*u, a.y + (b.y-a.y)*u}
}

// nearest is the least depth in metres at which something is seen.
const nearest = 0.3

// view is a hall's camera, ready to project.
type view struct {
	at               point
	height           float64
	sinTurn, cosTurn float64
	sinTilt, cosTilt float64
	focal            float64 // pixels
	cx, cy           float64 // centre of the picture
	w, h             float64
	blocks           []block
}

// block is a cuboid on the floor.
type block struct {
	left, right, near, far float64
	height                 float64
}

func (h *Hall) view() *view {
	c := h.Camera
	turn, tilt := c.Turn*math.Pi/180, c.Tilt*math.Pi/180
	v := &view{
		at: c.At.point(), height: c.Height,
		sinTurn: math.Sin(turn), cosTurn: math.Cos(turn), sinTilt: math.Sin(tilt), cosTilt: math.Cos(tilt),
		w: float64(h.Picture.Width), h: float64(h.Picture.Height),
	}
	v.cx, v.cy = v.w/2, v.h/2
	v.focal = v.cx / math.Tan(c.FOV*math.Pi/360)
	for _, b := range h.Blocks {
		v.blocks = append(v.blocks, block{
			min(b.From[0], b.To[0]), max(b.From[0], b.To[0]), min(b.From[1], b.To[1]), max(b.From[1], b.To[1]), b.Height,
		})
	}
	return v
}

// camera returns p at height z in the camera's axes: metres right, down, deep.
func (v *view) camera(p point, z float64) (right, down, deep float64) {
	dx, dy, dz := p.x-v.at.x, p.y-v.at.y, z-v.height
	right = dx*v.cosTurn - dy*v.sinTurn
	ahead := dx*v.sinTurn + dy*v.cosTurn
	return right, -dz*v.cosTilt - ahead*v.sinTilt, ahead*v.cosTilt - dz*v.sinTilt
}

// project returns the pixel of p at height z and its depth in metres.
func (v *view) project(p point, z float64) (x, y, deep float64) {
	right, down, deep := v.camera(p, z)
	return v.cx + v.focal*right/deep, v.cy + v.focal*down/deep, deep
}

// ground returns the pixel of p on the floor; outside every polygon where the
// camera cannot see it.
func (v *view) ground(p point) floorwatch.Point {
	x, y, deep := v.project(p, 0)
	if deep < nearest {
		return floorwatch.Point{X: -1e6, Y: -1e6}
	}
	return floorwatch.Point{X: x, Y: y}
}

// polygon projects a zone of the floor and clips it to the picture, corners
// rounded to a tenth of a pixel.
func (v *view) polygon(spots []Spot) []floorwatch.Point {
	type corner struct{ right, down, deep float64 }
	var seen []corner
	for i, s := range spots {
		var a, b corner
		a.right, a.down, a.deep = v.camera(s.point(), 0)
		next := spots[(i+1)%len(spots)]
		b.right, b.down, b.deep = v.camera(next.point(), 0)
		if a.deep >= nearest {
			seen = append(seen, a)
		}
		if (a.deep >= nearest) != (b.deep >= nearest) {
			u := (nearest - a.deep) / (b.deep - a.deep)
			seen = append(seen, corner{a.right + u*(b.right-a.right), a.down + u*(b.down-a.down), nearest})
		}
	}
	var p []floorwatch.Point
	for _, c := range seen {
		p = append(p, floorwatch.Point{X: v.cx + v.focal*c.right/c.deep, Y: v.cy + v.focal*c.down/c.deep})
	}
	p = clip(p, func(q floorwatch.Point) float64 { return q.X })
	p = clip(p, func(q floorwatch.Point) float64 { return v.w - q.X })
	p = clip(p, func(q floorwatch.Point) float64 { return q.Y })
	p = clip(p, func(q floorwatch.Point) float64 { return v.h - q.Y })
	return tidy(p)
}

// clip keeps the part of p where inside is not negative (Sutherland and
// Hodgman); inside is linear.
func clip(p []floorwatch.Point, inside func(floorwatch.Point) float64) []floorwatch.Point {
	var out []floorwatch.Point
	for i, a := range p {
		b := p[(i+1)%len(p)]
		da, db := inside(a), inside(b)
		if da >= 0 {
			out = append(out, a)
		}
		if (da >= 0) != (db >= 0) {
			u := da / (da - db)
			out = append(out, floorwatch.Point{X: a.X + u*(b.X-a.X), Y: a.Y + u*(b.Y-a.Y)})
		}
	}
	return out
}

// tidy rounds corners and leaves out those that fall together.
func tidy(p []floorwatch.Point) []floorwatch.Point {
	var out []floorwatch.Point
	for _, q := range p {
		q = floorwatch.Point{X: math.Round(q.X*10) / 10, Y: math.Round(q.Y*10) / 10}
		if len(out) == 0 || out[len(out)-1] != q && out[0] != q {
			out = append(out, q)
		}
	}
	return out
}

// floorZone is a zone with its polygon still on the floor, and its key in the file.
type floorZone struct {
	floorwatch.Zone
	key   string
	spots []Spot
}

// floorZones returns the hall's zones: queues, counters, areas.
func (h *Hall) floorZones() []floorZone {
	var zones []floorZone
	add := func(key, name string, label floorwatch.Label, role floorwatch.Role, spots []Spot, serves []string) {
		z := floorwatch.NewZone(name, role)
		z.Label, z.Serves, z.Reach = label, serves, h.Reach
		zones = append(zones, floorZone{key: key, spots: spots, Zone: z})
	}
	for i, q := range h.Queues {
		add(item("queues", i), q.Name, q.Label, floorwatch.RoleQueue, q.Zone, nil)
	}
	for i, c := range h.Counters {
		if c.Hidden {
			continue
		}
		add(item("counters", i), c.Name, c.Label, floorwatch.RoleService, c.Zone, c.Serves)
	}
	for i, a := range h.Areas {
		add(item("areas", i), a.Name, a.Label, a.Role, a.Zone, nil)
	}
	return zones
}

// Scene returns the hall's zones as its camera sees them, in pixels.
func (h *Hall) Scene() floorwatch.Scene {
	s := floorwatch.Scene{Picture: h.Picture}
	v := h.view()
	for _, z := range h.floorZones() {
		z.Polygon = v.polygon(z.spots)
		s.Zones = append(s.Zones, z.Zone)
	}
	return s
}

// contains counts the edges that a ray from p to the right crosses; edges are
// half-open in Y, as the zone engine takes them.
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

// Box is where one person truly is in the picture: the whole body, beyond the
// picture's edge too. Visible is the share of it that is in the picture and not
// hidden by somebody nearer or by a block, 0..1.
type Box struct {
	Person     int
	X, Y, W, H float64
	Visible    float64
	deep       float64 // of the feet, metres
	lean       float64 // the head is nearer by this, metres
	mask       uint32  // cells that are not visible
	who        *person
}

// A body is told in columns and rows, one bit each.
const (
	bodyCols  = 4
	bodyRows  = 8
	wholeBody = 1<<(bodyCols*bodyRows) - 1
	// solid is the share of a box's width that a body fills.
	solid = 0.8
)

// box returns the box of somebody who stands at p.
func (v *view) box(p point, height, width float64) (b Box, ok bool) {
	x, foot, deep := v.project(p, 0)
	_, head, headDeep := v.project(p, height)
	if min(deep, headDeep) < nearest || foot <= head {
		return b, false
	}
	b.W = width * v.focal * 2 / (deep + headDeep)
	b.X, b.Y, b.H, b.deep, b.lean = x-b.W/2, head, foot-head, deep, deep-headDeep
	return b, b.X < v.w && b.X+b.W > 0 && b.Y < v.h && b.Y+b.H > 0
}

// hides returns the cells of b, a body that stands at p and is height tall, that
// blocks hide: a line of sight from the camera to a body at height z passes a
// share u of the way at v.height + (z - v.height) u, and is lowest over a block
// where it leaves it.
func (v *view) hides(p point, height, width float64) uint32 {
	var mask uint32
	d := dist(v.at, p)
	if d == 0 {
		return 0
	}
	across := point{(p.y - v.at.y) / d * width, -(p.x - v.at.x) / d * width}
	for _, k := range v.blocks {
		for c := range bodyCols {
			s := (float64(c)+0.5)/bodyCols - 0.5
			_, u, hit := k.cross(v.at, point{p.x + across.x*s, p.y + across.y*s})
			if !hit {
				continue
			}
			upTo := height
			if k.height < v.height {
				upTo = v.height - (v.height-k.height)/u
			}
			rows := int(math.Round(upTo / height * bodyRows))
			for r := bodyRows - 1; r >= max(0, bodyRows-rows); r-- {
				mask |= 1 << (r*bodyCols + c)
			}
		}
	}
	return mask
}

// cross returns between which shares of the way from a to b the block is above
// or below it.
func (k block) cross(a, b point) (from, to float64, hit bool) {
	from, to = 0, 1
	for _, s := range [2][4]float64{{a.x, b.x, k.left, k.right}, {a.y, b.y, k.near, k.far}} {
		d := s[1] - s[0]
		if d == 0 {
			if s[0] < s[2] || s[0] > s[3] {
				return 0, 0, false
			}
			continue
		}
		u, w := (s[2]-s[0])/d, (s[3]-s[0])/d
		from, to = max(from, min(u, w)), min(to, max(u, w))
	}
	return from, to, to > from && to > 0
}

// covers returns the cells of b that o, nearer to the camera, covers.
func (o *Box) covers(b *Box) uint32 {
	left, right := o.X+o.W*(1-solid)/2, o.X+o.W*(1+solid)/2
	var mask uint32
	for r := range bodyRows {
		if y := b.Y + (float64(r)+0.5)*b.H/bodyRows; y < o.Y || y > o.Y+o.H {
			continue
		}
		for c := range bodyCols {
			if x := b.X + (float64(c)+0.5)*b.W/bodyCols; x >= left && x <= right {
				mask |= 1 << (r*bodyCols + c)
			}
		}
	}
	return mask
}

// cut returns the cells of b that lie beyond the picture's edge.
func (v *view) cut(b *Box) uint32 {
	if b.X >= 0 && b.X+b.W <= v.w && b.Y >= 0 && b.Y+b.H <= v.h {
		return 0
	}
	picture := Box{X: -v.w * (1/solid - 1) / 2, W: v.w / solid, H: v.h}
	return wholeBody &^ picture.covers(b)
}
