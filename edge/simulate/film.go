package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"

	"floorwatch"
	"floorwatch/internal/child"
)

// Film draws what the hall's camera sees: the floor, blocks and a back wall once,
// and the people of each frame with heads, torsos and legs. It is not safe for
// use by more than one goroutine.
type Film struct {
	view       *view
	w, h       int
	backdrop   []byte    // RGB
	depth      []float32 // metres to what stands in each pixel of the backdrop
	picture    []byte    // RGB
	grain      []int8    // noise of the sensor
	grainStart *rand.Rand
}

// FilmGrain is the standard deviation of the sensor's noise in levels of 0..255.
const FilmGrain = 2.0

// NewFilm prepares the pictures of a play.
func NewFilm(p *Play) *Film {
	size := p.hall.Picture
	f := &Film{
		view: p.view, w: size.Width, h: size.Height, backdrop: make([]byte, 3*size.Width*size.Height),
		depth: make([]float32, size.Width*size.Height), picture: make([]byte, 3*size.Width*size.Height),
		grain: make([]int8, 1<<17), grainStart: stream(p.opts.Seed, 5),
	}
	for i := range f.grain {
		f.grain[i] = int8(math.Round(FilmGrain * f.grainStart.NormFloat64()))
	}
	wall := p.hall.farEnd() + 1.5
	for y := range f.h {
		for x := range f.w {
			c, deep := f.view.trace(float64(x)+0.5, float64(y)+0.5, wall)
			i := y*f.w + x
			f.depth[i] = float32(deep)
			f.backdrop[3*i], f.backdrop[3*i+1], f.backdrop[3*i+2] = c.bytes()
		}
	}
	return f
}

// Draw returns the picture of a frame at t seconds, RGB, valid until the next
// call. Boxes are those of Play.Boxes, nearest first.
func (f *Film) Draw(t float64, boxes []Box) []byte {
	copy(f.picture, f.backdrop)
	for i := range boxes {
		f.shadow(&boxes[i])
	}
	for i := len(boxes) - 1; i >= 0; i-- {
		f.person(t, &boxes[i])
	}
	g := f.grainStart.IntN(len(f.grain))
	for i := range f.picture {
		v := int(f.picture[i]) + int(f.grain[(g+i)&(len(f.grain)-1)])
		f.picture[i] = byte(min(max(v, 0), 255))
	}
	return f.picture
}

// colour is red, green and blue, 0..1.
type colour struct{ r, g, b float64 }

func (c colour) times(k float64) colour { return colour{c.r * k, c.g * k, c.b * k} }

func (c colour) bytes() (r, g, b byte) {
	level := func(v float64) byte { return byte(255 * min(max(v, 0), 1)) }
	return level(c.r), level(c.g), level(c.b)
}

// farEnd returns the greatest y of anything in the hall.
func (h *Hall) farEnd() float64 {
	far := h.Camera.At[1] + 5
	for _, z := range h.floorZones() {
		for _, s := range z.spots {
			far = max(far, s[1])
		}
	}
	for _, b := range h.Blocks {
		far = max(far, b.From[1], b.To[1])
	}
	for _, s := range h.Staff {
		for _, post := range s.Posts {
			far = max(far, post[1])
		}
	}
	return far
}

// trace returns what the ray through a pixel meets and how deep: a block, the
// floor or the back wall.
func (v *view) trace(px, py, wall float64) (colour, float64) {
	right, down := (px-v.cx)/v.focal, (py-v.cy)/v.focal
	ahead, dz := v.cosTilt-down*v.sinTilt, -down*v.cosTilt-v.sinTilt
	dx, dy := right*v.cosTurn+ahead*v.sinTurn, -right*v.sinTurn+ahead*v.cosTurn
	best, shade := math.Inf(1), colour{0.8, 0.82, 0.85}
	if dz < 0 {
		best = -v.height / dz
		shade = tiles(v.at.x+best*dx, v.at.y+best*dy).times(1.05 - 0.02*min(best, 20))
	}
	if s := (wall - v.at.y) / dy; dy > 0 && s < best {
		best = s
		x, z := v.at.x+s*dx, v.height+s*dz
		shade = colour{0.78, 0.77, 0.72}.times(0.85 + 0.04*min(z, 3))
		if z > 1.4 && z < 2.3 && math.Mod(math.Abs(x), 4) < 1.5 { // posters
			shade = colour{0.35, 0.5, 0.62}
		}
	}
	for i, k := range v.blocks {
		if s, side, hit := k.hit(v, dx, dy, dz); hit && s < best {
			wood := []colour{{0.55, 0.42, 0.3}, {0.6, 0.6, 0.6}, {0.45, 0.38, 0.33}}[i%3]
			best, shade = s, wood.times([]float64{0.8, 1, 1.25}[side])
		}
	}
	return shade, best
}

// hit returns where a ray from the camera enters the block, and through which
// kind of side: 0 left or right, 1 near or far, 2 top.
func (k block) hit(v *view, dx, dy, dz float64) (s float64, side int, hit bool) {
	from, to := 0.0, math.Inf(1)
	for i, a := range [3][4]float64{{v.at.x, dx, k.left, k.right}, {v.at.y, dy, k.near, k.far}, {v.height, dz, 0, k.height}} {
		if a[1] == 0 {
			if a[0] < a[2] || a[0] > a[3] {
				return 0, 0, false
			}
			continue
		}
		u, w := (a[2]-a[0])/a[1], (a[3]-a[0])/a[1]
		if in := min(u, w); in > from {
			from, side = in, i
		}
		to = min(to, max(u, w))
	}
	return from, side, to > from && from > 0
}

// tiles is the floor: tiles of 60 cm, each a little different, with joints.
func tiles(x, y float64) colour {
	const size, joint = 0.6, 0.015
	i, j := math.Floor(x/size), math.Floor(y/size)
	u, w := x-i*size, y-j*size
	k := 0.62 + 0.05*speckle(i, j)
	if u < joint || w < joint {
		k -= 0.12
	}
	k += 0.03 * speckle(math.Floor(x*40), math.Floor(y*40))
	return colour{k, k * 0.97, k * 0.92}
}

// speckle is a fixed random number, 0..1, for a pair of whole numbers.
func speckle(i, j float64) float64 {
	n := uint64(int64(i))*0x9E3779B97F4A7C15 + uint64(int64(j))*0xC2B2AE3D27D4EB4F
	n ^= n >> 29
	n *= 0xBF58476D1CE4E5B9
	return float64(n>>40) / (1 << 24)
}

// shadow darkens the floor around somebody's feet.
func (f *Film) shadow(b *Box) {
	cx, cy, rx, ry := b.X+b.W/2, b.Y+b.H, 0.7*b.W, 0.22*b.W
	for y := max(0, int(cy-ry)); y < min(f.h, int(cy+ry)+1); y++ {
		for x := max(0, int(cx-rx)); x < min(f.w, int(cx+rx)+1); x++ {
			u, w := (float64(x)+0.5-cx)/rx, (float64(y)+0.5-cy)/ry
			i := y*f.w + x
			if d := u*u + w*w; d < 1 && f.depth[i] > float32(b.deep)-0.5 {
				for c := range 3 {
					f.picture[3*i+c] = byte(float64(f.picture[3*i+c]) * (0.6 + 0.4*d))
				}
			}
		}
	}
}

// looks is what somebody wears, by their number.
type looks struct{ top, legs, hair, skin colour }

func looksOf(n int) looks {
	pick := func(k float64) float64 { return speckle(float64(n), k) }
	skin := 0.55 + 0.35*pick(1)
	hair := 0.08 + 0.25*pick(2)
	return looks{
		top:  colour{0.15 + 0.75*pick(3), 0.15 + 0.7*pick(4), 0.15 + 0.75*pick(5)},
		legs: colour{0.1 + 0.3*pick(6), 0.1 + 0.3*pick(6), 0.15 + 0.4*pick(7)},
		hair: colour{hair, hair * 0.8, hair * 0.6}, skin: colour{skin, skin * 0.78, skin * 0.65},
	}
}

// person draws one body, row by row, in front of what is farther away.
func (f *Film) person(t float64, b *Box) {
	l := looksOf(b.Person)
	stride, sway := 0.0, 0.0
	phase := t*b.who.pace + float64(b.Person)
	if b.who.standing() {
		sway = 0.05 * (math.Sin(0.9*phase) + math.Sin(2.3*phase)) / 2
	} else {
		stride = 0.16 * math.Sin(5.2*phase)
	}
	for y := max(0, int(b.Y)); y < min(f.h, int(b.Y+b.H)+1); y++ {
		v := (float64(y) + 0.5 - b.Y) / b.H
		deep := float32(b.deep - b.lean*(1-v))
		for x := max(0, int(b.X)); x < min(f.w, int(b.X+b.W)+1); x++ {
			i := y*f.w + x
			if f.depth[i] < deep {
				continue
			}
			u := (float64(x)+0.5-b.X)/b.W*2 - 1 - sway*(1-v)*2
			if c, ok := l.at(u, v, stride, b.H/b.W); ok {
				f.picture[3*i], f.picture[3*i+1], f.picture[3*i+2] = c.bytes()
			}
		}
	}
}

// at returns the colour of a body at u, -1 the left and 1 the right edge of its
// box, and v, 0 the top and 1 the feet. tall is the box's height by its width.
func (l looks) at(u, v, stride, tall float64) (colour, bool) {
	const headTop, headEnd, hip = 0.0, 0.15, 0.53
	light := func(u, half float64) float64 { return 1.1 - 0.45*(u/half)*(u/half) - 0.12*u }
	switch {
	case v < headTop || v > 1:
	case v < headEnd:
		ry := (headEnd - headTop) / 2
		rx := min(0.5, ry*tall*2*0.85)
		du, dv := u/rx, (v-headTop-ry)/ry
		if du*du+dv*dv > 1 {
			return colour{}, false
		}
		if v < 0.055 || math.Abs(du) > 0.82 {
			return l.hair.times(light(u, rx)), true
		}
		return l.skin.times(light(u, rx)), true
	case v < hip:
		half := 0.72 + 0.2*min(1, (v-headEnd)/0.05)
		if v > 0.4 {
			half -= 0.9 * (v - 0.4)
		}
		if v < headEnd+0.015 {
			half = 0.28
		}
		if math.Abs(u) > half {
			return colour{}, false
		}
		c := l.top.times(light(u, half))
		if math.Abs(u) > half-0.2 && v > 0.2 { // arms
			c = c.times(0.8)
		}
		return c, true
	default:
		down := (v - hip) / (1 - hip)
		for side := -1.0; side <= 1; side += 2 {
			centre := side * (0.3 + stride*down*1.6)
			half := 0.3 - 0.08*down
			if math.Abs(u-centre) > half {
				continue
			}
			if v > 0.96 {
				return colour{0.12, 0.1, 0.1}, true
			}
			return l.legs.times(light(u-centre, half)), true
		}
	}
	return colour{}, false
}

// Record plays p to its end into an H.264 film: one key frame a second and no
// B-frames, so that it can be served as it is. line is given every line of the
// play. The file is overwritten, and whole only if Record returns nil.
func (p *Play) Record(ctx context.Context, path string, line func(floorwatch.Frame) error) error {
	size := p.hall.Picture
	if size.Width%2 != 0 || size.Height%2 != 0 {
		return fmt.Errorf("film of %d x %d pixels: H.264 needs even numbers; change the hall's picture", size.Width, size.Height)
	}
	ffmpeg := &child.Process{Path: "ffmpeg", Args: p.encode(path)}
	stdin, err := ffmpeg.StdinPipe()
	if err != nil {
		return err
	}
	if err := ffmpeg.Start(ctx); err != nil {
		return fmt.Errorf("%w; install it: apt-get install ffmpeg", err)
	}
	err = errors.Join(p.shoot(ctx, stdin, line), stdin.Close())
	if ended := ffmpeg.Wait(); ended != nil {
		return fmt.Errorf("encode film %s: %w: %s", path, ended, ffmpeg.Tail())
	}
	return err
}

func (p *Play) encode(path string) []string {
	rate := strconv.FormatFloat(p.opts.FPS, 'f', -1, 64)
	gop := strconv.Itoa(max(1, int(math.Round(p.opts.FPS))))
	return []string{
		"-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
		"-s", fmt.Sprintf("%dx%d", p.hall.Picture.Width, p.hall.Picture.Height), "-r", rate, "-i", "pipe:0",
		"-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p",
		"-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-bf", "0", "-movflags", "+faststart", "-f", "mp4", path,
	}
}

// shoot plays p to its end and writes its pictures.
func (p *Play) shoot(ctx context.Context, to io.Writer, line func(floorwatch.Frame) error) error {
	film := NewFilm(p)
	for f, ok := p.Next(); ok; f, ok = p.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := line(f); err != nil {
			return err
		}
		if f.Event != "" {
			continue
		}
		if _, err := to.Write(film.Draw(p.world.now, p.Boxes())); err != nil {
			return fmt.Errorf("encode film: %w", err)
		}
	}
	return nil
}
