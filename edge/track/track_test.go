package track

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"floorwatch"
)

// walker is a person of 40 x 100 pixels at x, moving along y = 200.
func walker(x float64) floorwatch.Person {
	return floorwatch.Person{X: x, Y: 200, W: 40, H: 100, Score: 0.9}
}

func ids(people []floorwatch.Person) []int64 {
	out := []int64{}
	for _, p := range people {
		out = append(out, p.ID)
	}
	return out
}

func TestOneWalkerKeepsOneIDAtAnyFrameRate(t *testing.T) {
	for _, fps := range []float64{5, 7.5, 10, 25, 30} {
		k := New(Options{})
		for i := range int(10 * fps) {
			sec := float64(i) / fps
			got := k.Update(floorwatch.Time(sec*1000), []floorwatch.Person{walker(80 * sec)})
			if !reflect.DeepEqual(ids(got), []int64{1}) {
				t.Fatalf("%v fps, frame %d: ids %v, want [1]", fps, i, ids(got))
			}
		}
	}
}

func TestIrregularFrames(t *testing.T) {
	k, r, ms := New(Options{}), rand.New(rand.NewPCG(1, 2)), 0.0
	for i := range 200 {
		got := k.Update(floorwatch.Time(ms), []floorwatch.Person{walker(60 * ms / 1000)})
		if !reflect.DeepEqual(ids(got), []int64{1}) {
			t.Fatalf("frame %d at %v ms: ids %v, want [1]", i, ms, ids(got))
		}
		ms += 30 + 270*r.Float64()
	}
}

func TestHiddenPersonIsFoundAgain(t *testing.T) {
	k := New(Options{})
	for ms := 0; ms < 5000; ms += 100 {
		var dets []floorwatch.Person
		if ms < 2000 || ms >= 3000 {
			dets = append(dets, walker(60*float64(ms)/1000))
		}
		got := ids(k.Update(floorwatch.Time(ms), dets))
		if len(dets) == 0 && len(got) != 0 {
			t.Fatalf("%d ms: a person nobody sees is returned: %v", ms, got)
		}
		if len(dets) == 1 && !reflect.DeepEqual(got, []int64{1}) {
			t.Fatalf("%d ms: ids %v, want [1]", ms, got)
		}
	}
}

func TestLostForTooLongIsSomeoneElse(t *testing.T) {
	k := New(Options{})
	k.Update(0, []floorwatch.Person{walker(0)})
	k.Update(2500, nil)
	k.Update(2600, []floorwatch.Person{walker(0)})
	if got := ids(k.Update(2700, []floorwatch.Person{walker(0)})); !reflect.DeepEqual(got, []int64{2}) {
		t.Fatalf("ids %v, want [2]", got)
	}
}

func TestLowScoreContinuesButNeverBegins(t *testing.T) {
	k, dim := New(Options{}), walker(0)
	dim.Score = 0.2
	for ms := range 5 {
		if got := k.Update(floorwatch.Time(ms*100), []floorwatch.Person{dim}); len(got) != 0 {
			t.Fatalf("a box of score 0.2 began a track: %v", got)
		}
	}
	k.Update(500, []floorwatch.Person{walker(0)})
	k.Update(600, []floorwatch.Person{walker(0)})
	if got := ids(k.Update(700, []floorwatch.Person{dim})); !reflect.DeepEqual(got, []int64{1}) {
		t.Fatalf("ids %v, want [1]: a dim box continues a track", got)
	}
}

func TestFlashOfOneFrameIsNobody(t *testing.T) {
	k := New(Options{})
	k.Update(0, nil)
	if got := k.Update(100, []floorwatch.Person{walker(0)}); len(got) != 0 {
		t.Fatalf("unconfirmed track returned: %v", got)
	}
	k.Update(200, nil)
	if got := k.Update(300, []floorwatch.Person{walker(0)}); len(got) != 0 {
		t.Fatalf("a flash confirmed a later one: %v", got)
	}
}

func TestTwoWhoCrossKeepTheirIDs(t *testing.T) {
	k := New(Options{})
	for i := range 60 {
		sec := float64(i) / 10
		a, b := walker(60*sec), walker(400-70*sec)
		b.Y, b.H = 190, 130 // stands nearer
		got := k.Update(floorwatch.Time(i*100), []floorwatch.Person{a, b})
		if len(got) != 2 || math.Abs(got[0].X-a.X) > 15 || math.Abs(got[1].X-b.X) > 15 {
			t.Fatalf("frame %d: %+v, want 1 near %v and 2 near %v", i, got, a.X, b.X)
		}
	}
}

func TestBadBoxesAndStampsDoNoHarm(t *testing.T) {
	k, nan := New(Options{}), math.NaN()
	bad := []floorwatch.Person{
		{X: nan, W: 1, H: 1, Score: 1},
		{W: 0, H: 5, Score: 1},
		{W: 5, H: -5, Score: 1},
		{X: math.Inf(1), W: 5, H: 5, Score: 1},
		{W: 5, H: 5, Score: nan},
		{W: 1e300, H: 1e300, Score: 1},
	}
	for _, at := range []floorwatch.Time{1000, 1000, 500, 1100} {
		got := k.Update(at, append(bad, walker(10)))
		if !reflect.DeepEqual(ids(got), []int64{1}) || math.IsNaN(got[0].X) {
			t.Fatalf("at %d: %+v, want person 1", at, got)
		}
	}
}

func TestSameInputSameOutput(t *testing.T) {
	run := func() (all [][]floorwatch.Person) {
		k, r := New(Options{}), rand.New(rand.NewPCG(7, 7))
		for i := range 100 {
			var dets []floorwatch.Person
			for range 30 {
				d := walker(r.Float64() * 600)
				d.Y, d.Score = r.Float64()*400, r.Float64()
				dets = append(dets, d)
			}
			all = append(all, k.Update(floorwatch.Time(i*40), dets))
		}
		return all
	}
	if !reflect.DeepEqual(run(), run()) {
		t.Fatal("two runs over the same boxes differ")
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add([]byte{10, 10, 20, 40, 200, 100, 12, 10, 20, 40, 200, 100})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, at := New(Options{}), floorwatch.Time(0)
		for ; len(b) >= 6; b = b[6:] {
			at += floorwatch.Time(b[5])
			d := floorwatch.Person{X: float64(b[0]), Y: float64(b[1]), W: float64(b[2]), H: float64(b[3]), Score: float64(b[4]) / 255}
			seen := map[int64]bool{}
			for _, p := range k.Update(at, []floorwatch.Person{d, {X: d.Y, Y: d.X, W: d.H, H: d.W, Score: d.Score}}) {
				if p.ID < 1 || seen[p.ID] || !(p.W > 0) || !(p.H > 0) || math.IsNaN(p.X+p.Y) {
					t.Fatalf("at %d: %+v", at, p)
				}
				seen[p.ID] = true
			}
		}
	})
}

func benchmark(b *testing.B, people int) {
	r := rand.New(rand.NewPCG(5, 6))
	frames := make([][]floorwatch.Person, 300)
	for i := range frames {
		for p := range people {
			d := walker(float64(p%20)*45 + float64(i) + r.Float64()*4)
			d.Y = float64(p/20) * 60
			frames[i] = append(frames[i], d)
		}
	}
	b.ResetTimer()
	k, n := New(Options{}), 0
	for b.Loop() {
		k.Update(floorwatch.Time(n*100), frames[n%len(frames)])
		n++
	}
}

func BenchmarkUpdate10People(b *testing.B)  { benchmark(b, 10) }
func BenchmarkUpdate100People(b *testing.B) { benchmark(b, 100) }
