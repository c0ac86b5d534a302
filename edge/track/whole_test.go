package track

import (
	"math"
	"testing"

	"floorwatch"
)

// upright is a person whose feet are on row y of a camera that shows people
// 50 + 0.25*y pixels tall, that is 100 on row 200 and 170 on row 480.
func upright(x, y float64) floorwatch.Person {
	h := 50 + 0.25*y
	return floorwatch.Person{X: x - 0.2*h, Y: y - h, W: 0.4 * h, H: h, Score: 0.9}
}

// school is a tracker of pictures of 640 x 480 that has seen people walk down
// and across for 20 s, and the time.
func school() (*Tracker, floorwatch.Time) {
	k, ms := New(Options{}), floorwatch.Time(0)
	k.Picture(640, 480)
	for i := range 200 {
		s := float64(i)
		k.Update(ms, []floorwatch.Person{upright(60+s/2, 150+1.5*s), upright(500-s, 440-s/2), upright(100+2*s, 300)})
		ms += 100
	}
	for range 100 { // they leave and are forgotten
		k.Update(ms, nil)
		ms += 100
	}
	return k, ms
}

// TestHeadEntersFirst walks up into the picture from below: the ground point is
// where the feet are, outside, long before they are seen.
func TestHeadEntersFirst(t *testing.T) {
	k, ms := school()
	seen := 0
	for y := 600.0; y > 440; y -= 6 {
		whole := upright(300, y)
		box := whole
		box.H = min(box.H, 480-box.Y)
		if box.H < 20 {
			continue
		}
		for _, p := range k.Update(ms, []floorwatch.Person{box}) {
			seen++
			if off := p.Ground().Y - y; math.Abs(off) > 12 {
				t.Errorf("feet on row %.0f, %.0f pixels of the person in the picture: ground point %.0f pixels off", y, box.H, off)
			}
		}
		ms += 100
	}
	if seen < 15 {
		t.Errorf("returned in %d frames", seen)
	}
}

// TestHalfCoveredPersonStandsBehind covers the legs of somebody who walks
// behind a person that stands nearer: the ground point walks straight on.
func TestHalfCoveredPersonStandsBehind(t *testing.T) {
	k, ms := school()
	near := upright(320, 280)
	seen, covered := 0, 0
	for x := 200.0; x < 440; x += 6 {
		far := upright(x, 220)
		if math.Abs(x-320) < 25 {
			far.H = near.Y + 20 - far.Y
			covered++
		}
		for _, p := range k.Update(ms, []floorwatch.Person{near, far}) {
			if g := p.Ground(); math.Abs(g.X-x) < 15 && g.Y < 260 {
				seen++
				if math.Abs(g.Y-220) > 6 {
					t.Errorf("at %.0f: ground point on row %.0f, want 220", x, g.Y)
				}
			}
		}
		ms += 100
	}
	if seen < 36 || covered < 8 {
		t.Errorf("followed in %d of 40 frames, %d of them covered", seen, covered)
	}
}

// TestGroupInOneBoxIsStillThePerson gives two people, of whom one stands behind
// the other, a single tall box for a second: the nearer keeps id and feet.
func TestGroupInOneBoxIsStillThePerson(t *testing.T) {
	k, near, far := New(Options{}), upright(300, 260), upright(308, 200)
	group := far
	group.H = near.Y + near.H - far.Y
	for i := range 40 {
		dets := []floorwatch.Person{near, far}
		if i >= 15 && i < 25 {
			dets = []floorwatch.Person{group}
		}
		got := k.Update(floorwatch.Time(i*100), dets)
		for _, p := range got {
			if p.ID > 2 || p.ID == 1 && math.Abs(p.Ground().Y-260) > 8 {
				t.Errorf("frame %d: %+v", i, p)
			}
		}
		if len(got) < len(dets) {
			t.Errorf("frame %d: %d people", i, len(got))
		}
	}
}

// TestWhoStoodStillIsWaitedFor hides one who stood and one who walked for 7 s.
func TestWhoStoodStillIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		speed float64 // pixels per second
		want  int64
	}{{"stood", 0, 1}, {"walked", 60, 2}} {
		k, last := New(Options{}), int64(0)
		for ms := 0; ms < 12000; ms += 100 {
			var dets []floorwatch.Person
			if ms < 3000 || ms >= 10000 {
				dets = append(dets, walker(c.speed*min(3, float64(ms)/1000)))
			}
			for _, p := range k.Update(floorwatch.Time(ms), dets) {
				last = p.ID
			}
		}
		if last != c.want {
			t.Errorf("who %s is person %d after 7 s out of sight, want %d", c.name, last, c.want)
		}
	}
}

// TestStatureNeedsALine believes no line of heights where there is none.
func TestStatureNeedsALine(t *testing.T) {
	var s stature
	if _, ok := s.below(100); ok {
		t.Error("nothing learnt, and yet a height")
	}
	for i := range 200 {
		s.learn(float64(100+i%7*40), float64(60+i%5*60))
	}
	if h, ok := s.expect(200); ok {
		t.Errorf("heights of 60 to 300 on every row gave %.0f", h)
	}
	var level stature
	for range 50 {
		level.learn(300, 120) // all on one row
	}
	if h, ok := level.expect(340); !ok || math.Abs(h-120) > 12 {
		t.Errorf("near the only row learnt: %.0f, %v, want 120", h, ok)
	}
}
