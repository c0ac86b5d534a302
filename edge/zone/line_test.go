package zone_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/edge/zone"
)

// door runs from (100,100) to (200,100): below it on the picture is its right,
// and the band around it is 2.4 pixels wide for a person 80 pixels tall.
func door() floorwatch.Scene {
	return floorwatch.Scene{Lines: []floorwatch.Line{{Name: "door", From: floorwatch.Point{X: 100, Y: 100}, To: floorwatch.Point{X: 200, Y: 100}}}}
}

// path walks one track through points, 100 ms each; a NaN is a frame without it.
func path(id int64, xy ...float64) []floorwatch.Frame {
	var out []floorwatch.Frame
	for i := 0; i < len(xy); i += 2 {
		f := frame(floorwatch.Time(1000 + 50*i))
		if !math.IsNaN(xy[i]) {
			f.People = append(f.People, person(id, xy[i], xy[i+1]))
		}
		out = append(out, f)
	}
	return out
}

// crossed prints crossings as "door+" inwards and "door-" outwards.
func crossed(recs []floorwatch.Record) string {
	var b strings.Builder
	for _, r := range recs {
		if c, ok := r.(*floorwatch.Crossing); ok {
			fmt.Fprintf(&b, "%s%s ", c.Line, map[bool]string{true: "+", false: "-"}[c.In])
		}
	}
	return strings.TrimSpace(b.String())
}

func TestCrossings(t *testing.T) {
	none := math.NaN()
	lost := func(frames int) (xy []float64) {
		for range 2 * frames {
			xy = append(xy, none)
		}
		return xy
	}
	join := func(parts ...[]float64) (xy []float64) {
		for _, p := range parts {
			xy = append(xy, p...)
		}
		return xy
	}
	for name, tc := range map[string]struct {
		xy   []float64
		want string
	}{
		"in":                        {[]float64{150, 80, 150, 95, 150, 105, 150, 120}, "door+"},
		"out":                       {[]float64{150, 120, 150, 95, 150, 80}, "door-"},
		"in one leap":               {[]float64{150, 20, 150, 300}, "door+"},
		"in and out again":          {[]float64{150, 80, 150, 120, 150, 80}, "door+ door-"},
		"sways on the line":         {[]float64{150, 80, 150, 99, 150, 101, 150, 99, 150, 101, 150, 98, 150, 101, 150, 99, 150, 80}, ""},
		"sways and goes in":         {[]float64{150, 80, 150, 99, 150, 101, 150, 99, 150, 101, 150, 130}, "door+"},
		"stops on the line":         {[]float64{150, 80, 150, 101, 150, 101, 150, 101}, ""},
		"turns round on the line":   {[]float64{150, 80, 150, 101, 152, 101, 150, 80}, ""},
		"runs along the line":       {[]float64{80, 99, 120, 99, 140, 101, 160, 99, 190, 101, 195, 99, 230, 99}, ""},
		"passes the end":            {[]float64{99, 80, 99, 120}, ""},
		"passes the other end":      {[]float64{201, 80, 201, 120}, ""},
		"round the end":             {[]float64{150, 80, 150, 120, 250, 120, 250, 80, 150, 80}, "door+"},
		"in at from":                {[]float64{100, 80, 100, 120}, "door+"},
		"out at from":               {[]float64{100, 120, 100, 80}, "door-"},
		"in at to":                  {[]float64{200, 80, 200, 120}, ""},
		"out at to":                 {[]float64{200, 120, 200, 80}, ""},
		"steps onto from":           {[]float64{100, 80, 100, 100, 100, 120}, "door+"},
		"steps onto the line":       {[]float64{150, 80, 150, 100, 150, 120}, "door+"},
		"steps onto it and back":    {[]float64{150, 80, 150, 100, 150, 80}, ""},
		"appears on the far side":   {[]float64{150, 101, 150, 120}, ""},
		"appears on the near side":  {[]float64{150, 99, 150, 120}, "door+"},
		"out of sight for a second": {join([]float64{150, 80}, lost(10), []float64{150, 120}), "door+"},
		"out of sight for long":     {join([]float64{150, 80}, lost(40), []float64{150, 120}), ""},
	} {
		if got := crossed(run(t, door(), path(1, tc.xy...))); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestBrokenTrackCountsOnce: a track that breaks on its way through the door and
// goes on under another number is one person, wherever it breaks.
func TestBrokenTrackCountsOnce(t *testing.T) {
	var ys []float64
	for y := 80.0; y <= 120; y += 2.5 {
		ys = append(ys, y)
	}
	for cut := range ys {
		var lines []floorwatch.Frame
		for i, y := range ys {
			id := int64(1)
			if i >= cut {
				id = 2
			}
			lines = append(lines, frame(floorwatch.Time(1000+100*i), person(id, 150, y)))
		}
		if got := crossed(run(t, door(), lines)); len(strings.Fields(got)) > 1 || strings.Contains(got, "-") {
			t.Errorf("broken after %v: %q", ys[:cut], got)
		}
	}
}

// TestLinesThatMeet: a way through the point where two lines meet crosses one of
// them, in both directions.
func TestLinesThatMeet(t *testing.T) {
	s := door()
	s.Lines = append(s.Lines, floorwatch.Line{Name: "next", From: floorwatch.Point{X: 200, Y: 100}, To: floorwatch.Point{X: 300, Y: 80}})
	for _, xy := range [][]float64{{200, 60, 200, 140}, {180, 60, 220, 140}, {220, 60, 180, 140}} {
		in := crossed(run(t, s, path(1, xy...)))
		out := crossed(run(t, s, path(1, xy[2], xy[3], xy[0], xy[1])))
		if len(strings.Fields(in)) != 1 || out != strings.Replace(in, "+", "-", 1) {
			t.Errorf("way %v: %q there and %q back", xy, in, out)
		}
	}
}

// TestWhoIsWithinCameInThrough: round a closed ring of lines, for any walk, those
// who came in less those who went out are those who are within.
func TestWhoIsWithinCameInThrough(t *testing.T) {
	ring := []floorwatch.Point{{X: 100, Y: 100}, {X: 100, Y: 200}, {X: 210, Y: 230}, {X: 200, Y: 100}} // its inside lies to the right
	var s floorwatch.Scene
	for i, p := range ring {
		s.Lines = append(s.Lines, floorwatch.Line{Name: fmt.Sprint("side", i), From: ring[(i+1)%len(ring)], To: p})
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 9))
		x, y := 20.0, 20.0
		var xy []float64
		for range 400 {
			x, y = max(0, min(300, x+60*rng.Float64()-30)), max(0, min(300, y+60*rng.Float64()-30))
			xy = append(xy, math.Round(x/10)*10, math.Round(y/10)*10) // often on a line or a corner
		}
		xy = append(xy, 150, 150) // well within
		got := crossed(run(t, s, path(1, xy...)))
		if n := strings.Count(got, "+") - strings.Count(got, "-"); n != 1 {
			t.Fatalf("seed %d: %d came in for good: %s", seed, n, got)
		}
	}
}

func TestCrossingSaysWhereItIsFrom(t *testing.T) {
	s := door()
	s.Picture = floorwatch.Size{Width: 400, Height: 400}
	lines := []floorwatch.Frame{{T: 500, Event: floorwatch.EventOpen, By: "motion"}}
	for i, f := range path(7, 300, 160, 300, 240) { // the stream is twice as large
		f.W, f.H = 800, 800
		f.T += floorwatch.Time(i)
		lines = append(lines, f)
	}
	for _, r := range run(t, s, lines) {
		if c, ok := r.(*floorwatch.Crossing); ok {
			want := floorwatch.Crossing{
				Header: floorwatch.Header{Kind: "crossing", Camera: "cam", ID: "door-1101-7", At: 1101, Rev: s.Rev(), By: "motion"},
				Line:   "door", T: 1101, In: true, Track: 7,
			}
			if *c != want {
				t.Errorf("%+v\nwant %+v", *c, want)
			}
			return
		}
	}
	t.Error("no crossing")
}

func TestNewSessionForgetsTheWay(t *testing.T) {
	lines := path(1, 150, 80, 150, 99)
	lines = append(lines, event(1150, floorwatch.EventOpen), frame(1200, person(1, 150, 120)))
	if got := crossed(run(t, door(), lines)); got != "" {
		t.Errorf("%q: two people who bear the same number in two sessions are one", got)
	}
}

func TestNewRefusesLines(t *testing.T) {
	p, q := floorwatch.Point{X: 1}, floorwatch.Point{X: 2}
	for want, lines := range map[string][]floorwatch.Line{
		"name":         {{Name: "No Name", From: p, To: q}},
		"used twice":   {{Name: "a", From: p, To: q}, {Name: "a", From: p, To: q}},
		"different":    {{Name: "a", From: p, To: p}},
		"finite point": {{Name: "a", From: p, To: floorwatch.Point{X: math.Inf(1)}}},
		"two":          {{Name: "a", From: p, To: floorwatch.Point{X: math.NaN()}}},
	} {
		if _, err := zone.New("cam", floorwatch.Scene{Lines: lines}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
