package zone_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/zone"
	"floorwatch/internal/lab/kit"
)

// film plays people, each a place for each 100 ms from t=1000 on under an id of
// their own; a NaN is a frame without them.
type part struct {
	id   int64
	from int // frames
	xs   []float64
	y    float64
	tall float64 // 80 if 0
}

func film(frames int, parts ...part) []floorwatch.Frame {
	var out []floorwatch.Frame
	for i := range frames {
		f := frame(floorwatch.Time(1000 + 100*i))
		f.W, f.H = 640, 480
		for _, p := range parts {
			if k := i - p.from; k >= 0 && k < len(p.xs) && !math.IsNaN(p.xs[k]) {
				b := person(p.id, p.xs[k], p.y)
				if p.tall > 0 {
					b.Y, b.H = b.Y+b.H-p.tall, p.tall
				}
				f.People = append(f.People, b)
			}
		}
		out = append(out, f)
	}
	return out
}

func walkFrom(x, step float64, n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = x + step*float64(i)
	}
	return xs
}

// bridged is the square with a bridge of 30 s.
func bridged() floorwatch.Scene {
	z := square("a", time.Second, time.Second)
	z.Bridge = 30 * time.Second
	return scene(z)
}

// whole prints final stays as told, and the bridges they rest on.
func whole(recs []floorwatch.Record) string {
	out := told(recs)
	n := 0
	for _, r := range recs {
		if s, ok := r.(*floorwatch.Stay); ok && s.Exit != nil {
			n += s.Bridges
		}
	}
	return fmt.Sprintf("%s %d bridges", out, n)
}

func TestBridges(t *testing.T) {
	stand := func(n int) []float64 { return times(n, 150.0) }
	enter, leave := walkFrom(60, 6, 16), walkFrom(150, 6, 20)
	for _, c := range []struct {
		name  string
		parts []part
		want  string
	}{
		{"hidden for 20 s", []part{{1, 0, slices.Concat(enter, stand(50)), 150, 0}, {2, 260, slices.Concat(stand(50), leave), 150, 0}}, ">1700-32900> 1 bridges"},
		{"hidden for longer than the bridge", []part{{1, 0, slices.Concat(enter, stand(50)), 150, 0}, {2, 360, slices.Concat(stand(50), leave), 150, 0}}, ">1700-7500 37000-42900> 0 bridges"},
		{"a child where a man stood", []part{{1, 0, slices.Concat(enter, stand(50)), 150, 0}, {2, 100, slices.Concat(stand(50), leave), 150, 30}}, "11000-16900> >1700-7500 0 bridges"},
		{"two at once", []part{{1, 0, slices.Concat(enter, stand(150)), 150, 0}, {2, 100, stand(66), 152, 0}}, ">1700-17500 11000-17500 0 bridges"},
		{"walks on behind a pillar", []part{{1, 0, walkFrom(60, 4, 20), 150, 0}, {2, 30, walkFrom(180, 4, 30), 150, 0}}, ">2000-4500> 1 bridges"},
		{"a false box near by", []part{{1, 0, slices.Concat(enter, stand(50)), 150, 0}, {2, 80, times(4, 230.0), 150, 0}, {3, 160, slices.Concat(stand(50), leave), 150, 0}}, ">1700-22900> 1 bridges"},
		{"one leaves at the edge, another comes", []part{{1, 0, walkFrom(150, 4, 122), 150, 0}, {2, 200, walkFrom(624, -4, 130), 150, 0}}, "1000-2300> >31700-33900 0 bridges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := whole(run(t, bridged(), append(film(450, c.parts...), event(100_000, floorwatch.EventTick)))); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestBridgedRecord(t *testing.T) {
	recs := run(t, bridged(), film(320, part{1, 0, walkFrom(60, 6, 16), 150, 0}, part{2, 100, slices.Concat(times(50, 150.0), walkFrom(150, 6, 20)), 150, 0}))
	var running, final *floorwatch.Stay
	for _, r := range recs {
		if s, ok := r.(*floorwatch.Stay); ok && s.Exit == nil {
			running = s
		} else if ok {
			final = s
		}
	}
	if running == nil || final == nil || running.ID != final.ID || running.Bridges != 1 {
		t.Fatalf("running %+v final %+v", running, final)
	}
	if fmt.Sprint(final.Tracks) != "[1 2]" || final.BridgedS != 8.5 || final.SeenS+final.BridgedS != 15.2 || final.ErrorS <= 0 || final.ErrorS > 1 {
		t.Errorf("%+v", final)
	}
}

// TestSwapsAreUndone lets somebody walk past one who stands, while the tracker
// gives each the other's id.
func TestSwapsAreUndone(t *testing.T) {
	stand, pass := times(100, 150.0), walkFrom(60, 5, 40)
	swap := 18 // they are at the same place; 5 pixels later it is clear who goes on
	a := part{1, 0, slices.Concat(stand[:30+swap], pass[swap:]), 150, 0}
	b := part{2, 30, slices.Concat(pass[:swap], stand[:60], walkFrom(150, 5, 30)), 152, 0}
	recs := run(t, bridged(), append(film(450, a, b), event(100_000, floorwatch.EventTick)))
	if got, want := whole(recs), ">4800-6800> 1000-12800> 0 bridges"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestSwapOfTwoWhoStand: a tracker gives each of two who stand close the other's
// id; then one leaves.
func TestSwapOfTwoWhoStand(t *testing.T) {
	a := part{1, 0, slices.Concat(times(50, 150.0), times(50, 165.0), walkFrom(165, 6, 20)), 150, 0}
	b := part{2, 0, slices.Concat(times(50, 165.0), times(110, 150.0)), 150, 0}
	recs := run(t, bridged(), append(film(300, a, b), event(100_000, floorwatch.EventTick)))
	for _, r := range recs {
		if s, ok := r.(*floorwatch.Stay); ok && s.Exit != nil && s.ExitSeen && !slices.Equal(s.Tracks, []int64{2, 1}) {
			t.Errorf("who left had the tracks %v, want those of who was 2 first", s.Tracks)
		}
	}
}

// TestLostBeforeACounter: who leaves a queue and vanishes before a counter is told
// as lost; who walks on to the picture's edge, or is found again, is not.
func TestLostBeforeACounter(t *testing.T) {
	line := square("line", time.Second, time.Second)
	line.Role, line.Bridge = floorwatch.RoleQueue, 30*time.Second
	till := floorwatch.Zone{Name: "till", Role: floorwatch.RoleService, Polygon: []floorwatch.Point{{X: 260, Y: 100}, {X: 320, Y: 100}, {X: 320, Y: 200}, {X: 260, Y: 200}}}
	for name, c := range map[string]struct {
		parts []part
		want  int
	}{
		"lost":        {[]part{{1, 0, slices.Concat(times(50, 150.0), walkFrom(150, 4, 20)), 150, 0}}, 1},
		"found again": {[]part{{1, 0, slices.Concat(times(50, 150.0), walkFrom(150, 4, 20)), 150, 0}, {2, 75, walkFrom(246, 4, 110), 150, 0}}, 0},
		"away":        {[]part{{1, 0, slices.Concat(times(50, 150.0), walkFrom(150, -4, 36)), 150, 0}}, 0},
	} {
		n := 0
		for _, r := range run(t, scene(line, till), append(film(400, c.parts...), event(200_000, floorwatch.EventTick))) {
			if l, ok := r.(*zone.Lost); ok {
				n++
				if l.Person != 1 || l.Last != 7900 || l.At <= l.Last {
					t.Errorf("%s: %+v", name, l)
				}
			}
		}
		if n != c.want {
			t.Errorf("%s: told %d times, want %d", name, n, c.want)
		}
	}
}

// TestBrokenTracks cuts the true tracks of the film at random, each several times
// for 0.5 to 20 s, and gives what is left new ids.
func TestBrokenTracks(t *testing.T) {
	frames := vtestFrames(t)
	s := vtestScene(t, kit.Shared(t, "data/vtest/zones.json"))
	for i := range s.Zones {
		s.Zones[i].Bridge = floorwatch.DefaultBridge
	}
	count := func(frames []floorwatch.Frame, s floorwatch.Scene) (n int, dwell float64) {
		for _, r := range run(t, s, frames) {
			if stay, ok := r.(*floorwatch.Stay); ok && stay.Exit != nil {
				n++
				dwell += stay.Exit.Sub(stay.Enter).Seconds()
			}
		}
		return n, dwell / float64(n)
	}
	n, mean := count(frames, s)
	var broken, naive float64
	var got, apart int
	const plays = 20
	for seed := range uint64(plays) {
		cut := cutTracks(frames, rand.New(rand.NewPCG(seed, 1)))
		k, m := count(cut, s)
		got, broken = got+k, broken+m/plays
		plain := floorwatch.Scene{Zones: slices.Clone(s.Zones)}
		for i := range plain.Zones {
			plain.Zones[i].Bridge = 0
		}
		k, m = count(cut, plain)
		apart, naive = apart+k, naive+m/plays
	}
	t.Logf("whole: %d stays of %.2f s; cut: %.1f of %.2f s; cut, without bridges: %.1f of %.2f s",
		n, mean, float64(got)/plays, broken, float64(apart)/plays, naive)
	if off := broken/mean - 1; math.Abs(off) > 0.05 || math.Abs(float64(got)/plays/float64(n)-1) > 0.12 {
		t.Errorf("mean dwell off by %.1f %%", 100*off)
	}
}

// cutTracks cuts gaps of 0.5 to 20 s, exponential with a mean of 3 s, about one
// for each 10 s of a track, and gives the pieces ids of their own.
func cutTracks(frames []floorwatch.Frame, rng *rand.Rand) []floorwatch.Frame {
	type state struct {
		id     int64
		hidden floorwatch.Time // until
	}
	people, last := map[int64]*state{}, int64(1000)
	var out []floorwatch.Frame
	for _, f := range frames {
		g := frame(f.T)
		for _, p := range f.People {
			s := people[p.ID]
			if s == nil {
				last++
				s = &state{id: last}
				people[p.ID] = s
			}
			if f.T >= s.hidden && rng.Float64() < 0.01 {
				last++
				s.id, s.hidden = last, f.T+floorwatch.Time(1000*min(20, max(0.5, 3*rng.ExpFloat64())))
			}
			if f.T >= s.hidden {
				p.ID = s.id
				g.People = append(g.People, p)
			}
		}
		out = append(out, g)
	}
	return out
}
