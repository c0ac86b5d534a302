package zone_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/zone"
)

// square is a zone from (100,100) to (200,200).
func square(name string, minStay, mergeGap time.Duration) floorwatch.Zone {
	return floorwatch.Zone{
		Name: name, Role: floorwatch.RoleArea, MinStay: minStay, MergeGap: mergeGap,
		Polygon: []floorwatch.Point{{X: 100, Y: 100}, {X: 200, Y: 100}, {X: 200, Y: 200}, {X: 100, Y: 200}},
	}
}

func scene(zones ...floorwatch.Zone) floorwatch.Scene { return floorwatch.Scene{Zones: zones} }

// person stands with the ground point at (x, y), 80 pixels tall: the band around
// a border is 2.4 pixels wide.
func person(id int64, x, y float64) floorwatch.Person {
	return floorwatch.Person{ID: id, X: x - 15, Y: y - 80, W: 30, H: 80, Score: 1}
}

func frame(t floorwatch.Time, people ...floorwatch.Person) floorwatch.Frame {
	return floorwatch.Frame{T: t, People: append([]floorwatch.Person{}, people...)}
}

func event(t floorwatch.Time, name string) floorwatch.Frame {
	return floorwatch.Frame{T: t, Event: name}
}

// run feeds lines and returns what came out, the end of the input included.
func run(t *testing.T, s floorwatch.Scene, lines []floorwatch.Frame) []floorwatch.Record {
	t.Helper()
	e, err := zone.New("cam", s)
	if err != nil {
		t.Fatal(err)
	}
	var out []floorwatch.Record
	for _, f := range lines {
		recs, err := e.Feed(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, recs...)
	}
	return append(out, e.Close()...)
}

// told prints final stays as "enter-exit" with < and > where a border was seen
// crossed, and those that run at the end as "enter-".
func told(recs []floorwatch.Record) string {
	var out []string
	final := map[string]bool{}
	for _, r := range slices.Backward(recs) {
		s, ok := r.(*floorwatch.Stay)
		if !ok || final[s.ID] {
			continue
		}
		final[s.ID] = true
		text := fmt.Sprintf("%d-", s.Enter)
		if s.EnterSeen {
			text = ">" + text
		}
		if s.Exit != nil {
			text += fmt.Sprint(int64(*s.Exit))
		}
		if s.ExitSeen {
			text += ">"
		}
		if s.MergedS > 0 {
			text += fmt.Sprintf("(%g merged)", s.MergedS)
		}
		out = append(out, text)
	}
	slices.Reverse(out)
	return strings.Join(out, " ")
}

// walk makes one line per step of 100 ms from t=1000 on: the x of track 1, nan
// letters for a frame without the person.
const away = -1.0

func walk(xs ...float64) []floorwatch.Frame {
	var lines []floorwatch.Frame
	for i, x := range xs {
		f := frame(floorwatch.Time(1000 + 100*i))
		if x != away {
			f.People = append(f.People, person(1, x, 150))
		}
		lines = append(lines, f)
	}
	return lines
}

func times(n int, xs ...float64) []float64 {
	var out []float64
	for range n {
		out = append(out, xs...)
	}
	return out
}

func TestStays(t *testing.T) {
	in, out := 150.0, 50.0
	for _, c := range []struct {
		name string
		xs   [][]float64
		want string
	}{
		{"crosses", [][]float64{times(5, out), times(20, in), times(15, out)}, ">1500-3500>"},
		{"too short", [][]float64{times(5, out), times(9, in), times(15, out)}, ""},
		{"just long enough", [][]float64{times(5, out), times(10, in), times(15, out)}, ">1500-2500>"},
		{"appears and is lost", [][]float64{times(20, in), times(15, away)}, "1000-2900"},
		{"runs on", [][]float64{times(20, in)}, "1000-"},
		{"has just left at the end", [][]float64{times(20, in), {out, out}}, "1000-3000>"},
		{"break of merge_gap", [][]float64{{out}, times(20, in), times(10, out), times(10, in), times(15, out)}, ">1100-5100>(1 merged)"},
		{"longer break", [][]float64{{out}, times(20, in), times(11, out), times(10, in), times(15, out)}, ">1100-3100> >4200-5200>"},
		{"out of sight for merge_gap", [][]float64{{out}, times(20, in), times(9, away), times(10, in), times(15, out)}, ">1100-5000>(1 merged)"},
		{"out of sight for longer", [][]float64{{out}, times(20, in), times(10, away), times(10, in), times(15, out)}, ">1100-3000 4100-5100>"},
		{"lost outside is left", [][]float64{{out}, times(20, in), {out, out}, times(15, away)}, ">1100-3100>"},
		{"sways inside the band", [][]float64{{out}, times(20, in), times(8, 99, 99, 99, 101, 101, 99, 99, 101), times(15, out)}, ">1100-9500>"},
		{"slow sway over the border is one stay", [][]float64{{out}, times(20, in), times(18, 98), times(10, in), times(15, out)}, ">1100-5900>"},
		{"stands beyond the border", [][]float64{{out}, times(20, in), times(30, 98)}, ">1100-3100>"},
		{"peeks in", [][]float64{times(5, out), times(15, 102), times(15, out)}, ""},
		{"stands on the inner border", [][]float64{times(5, out), times(30, 102), times(15, out)}, ">1500-4500>"},
		{"walks in slowly", [][]float64{{90, 95, 98, 101, 102, 103, 106}, times(20, in), {103, 101, 99, 97, 90}, times(15, out)}, ">1300-3900>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			recs := run(t, scene(square("a", time.Second, time.Second)), walk(slices.Concat(c.xs...)...))
			if got := told(recs); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNoiseAtTheBorderDoesNotFlap(t *testing.T) {
	// Somebody stands on the border for ten minutes; the detector trembles by
	// up to 3 % of the person's height.
	rng := rand.New(rand.NewPCG(1, 2))
	lines := walk(times(20, 150.0)...)
	for i := range 6000 {
		x := max(97.7, min(102.3, 100+rng.NormFloat64()*2))
		lines = append(lines, frame(floorwatch.Time(3000+100*i), person(1, x, 150)))
	}
	lines = append(lines, frame(603100, person(1, 50, 150)), frame(604200, person(1, 50, 150)))
	if got := told(run(t, scene(square("a", time.Second, time.Second)), lines)); strings.Contains(got, " ") || !strings.HasPrefix(got, "1000-") {
		t.Errorf("stays %q, want one", got)
	}
}

func TestMeanDwellHasNoBias(t *testing.T) {
	// 1000 people cross the zone at several speeds, seen at 10 Hz with noise.
	rng := rand.New(rand.NewPCG(3, 4))
	var lines []floorwatch.Frame
	var truth, told float64
	at := 0.0
	for id := range 1000 {
		speed := 10 + 60*rng.Float64() // pixels per second
		truth += 100 / speed
		for x := 40 + rng.Float64(); x < 260; x += speed / 10 {
			at += 100
			lines = append(lines, frame(floorwatch.Time(at), person(int64(id+1), x+rng.NormFloat64(), 150)))
		}
	}
	n := 0
	for _, r := range run(t, scene(square("a", time.Second, time.Second)), lines) {
		if s, ok := r.(*floorwatch.Stay); ok && s.Exit != nil {
			n++
			told += s.Exit.Sub(s.Enter).Seconds()
		}
	}
	if bias := told/truth - 1; n != 1000 || bias < -0.01 || bias > 0.01 {
		t.Errorf("%d stays of 1000, mean dwell off by %.2f %%", n, 100*bias)
	}
}

// gaps prints observation gaps as "from-to cause", those that last as "from-".
func gaps(recs []floorwatch.Record) string {
	var out []string
	for _, r := range recs {
		if g, ok := r.(*floorwatch.Gap); ok {
			to := ""
			if g.To != nil {
				to = fmt.Sprint(int64(*g.To))
			}
			out = append(out, fmt.Sprintf("%d-%s %s at %d", g.From, to, g.Cause, g.At))
		}
	}
	return strings.Join(out, ", ")
}

func TestGaps(t *testing.T) {
	closed := event(2500, floorwatch.EventClosed)
	closed.Cause = "end of file"
	for _, c := range []struct {
		name  string
		lines []floorwatch.Frame
		want  string
	}{
		{"nothing", nil, ""},
		{"one frame", []floorwatch.Frame{frame(1000)}, "0-1000 start of input at 1000, 1000- end of input at 1000"},
		{"a second apart is watched", []floorwatch.Frame{frame(1000), frame(2000)}, "0-1000 start of input at 1000, 2000- end of input at 2000"},
		{"frames missing", []floorwatch.Frame{frame(1000), frame(2001)}, "0-1000 start of input at 1000, 1000- no frames at 2001, 1000-2001 no frames at 2001, 2001- end of input at 2001"},
		{
			"stall",
			[]floorwatch.Frame{frame(1000), event(5000, floorwatch.EventStall), frame(9000)},
			"0-1000 start of input at 1000, 1000- no frames at 2001, 1000-9000 stall at 9000, 9000- end of input at 9000",
		},
		{
			"restart",
			[]floorwatch.Frame{event(900, floorwatch.EventOpen), frame(1000), event(1200, floorwatch.EventOpen), frame(1300)},
			"0-1000 start of input at 1000, 1000- reopened at 1200, 1000-1300 reopened at 1300, 1300- end of input at 1300",
		},
		{
			"closed",
			[]floorwatch.Frame{frame(1000), frame(2000), closed},
			"0-1000 start of input at 1000, 2000- end of file at 2500, 2000-2500 end of file at 2500, 2500- end of input at 2500",
		},
		{"no frame at all", []floorwatch.Frame{event(900, floorwatch.EventOpen)}, "0- start of input at 900"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := gaps(run(t, scene(square("a", 0, 0)), c.lines)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDeadCameraEndsStays(t *testing.T) {
	lines := append(walk(times(20, 150.0)...), event(2900+9000, floorwatch.EventTick))
	e, err := zone.New("cam", scene(square("a", time.Second, time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	var recs []floorwatch.Record
	for _, f := range lines {
		r, err := e.Feed(f)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r...)
	}
	if got := told(recs); got != "1000-2900" {
		t.Errorf("stays %q, want the one lost at its last sighting", got)
	}
	if live := e.Live(11900)[0]; live.People != 0 || live.LongestS != 0 || live.Coverage > 0.04 {
		t.Errorf("live %+v of a camera that has been dead for nine seconds", live)
	}
}

func TestNewSessionEndsStays(t *testing.T) {
	lines := walk(times(20, 150.0)...)
	lines = append(lines, event(2950, floorwatch.EventOpen))
	for i := range 20 {
		lines = append(lines, frame(floorwatch.Time(3000+100*i), person(1, 150, 150)))
	}
	if got := told(run(t, scene(square("a", time.Second, time.Second)), lines)); got != "1000-2900 3000-" {
		t.Errorf("stays %q", got)
	}
}

func TestPictureSize(t *testing.T) {
	s := scene(square("a", 0, 0))
	s.Picture = floorwatch.Size{Width: 768, Height: 576}
	f := frame(1000, person(1, 75, 75)) // (150, 150) of the picture
	f.W, f.H = 384, 288
	if got := told(run(t, s, []floorwatch.Frame{f})); got != "1000-" {
		t.Errorf("stays %q", got)
	}
}

func TestRecordSaysWhereItIsFrom(t *testing.T) {
	open := event(900, floorwatch.EventOpen)
	open.By = "motion"
	recs := run(t, scene(square("a", time.Second, time.Second)), append([]floorwatch.Frame{open}, walk(append(times(20, 150.0), times(12, 50.0)...)...)...))
	var got string
	for _, r := range recs {
		if s, ok := r.(*floorwatch.Stay); ok && s.Exit != nil {
			b, err := floorwatch.MarshalRecord(s)
			if err != nil {
				t.Fatal(err)
			}
			got = string(b.JSON)
		}
	}
	rev := scene(square("a", time.Second, time.Second)).Rev()
	want := `{"kind":"stay","camera":"cam","zone":"a","id":"a-1000-1","at":4001,"rev":"` + rev + `","by":"motion","enter":1000,"exit":3000,"enter_seen":false,"exit_seen":true,"seen_s":2,"merged_s":0,"bridged_s":0,"bridges":0,"error_s":1,"tracks":[1],"source":"camera"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLive(t *testing.T) {
	e, err := zone.New("cam", scene(square("a", time.Second, time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 11 {
		if _, err := e.Feed(frame(floorwatch.Time(1000+100*i), person(1, 150, 150), person(2, 50, 150))); err != nil {
			t.Fatal(err)
		}
	}
	want := zone.ZoneState{Zone: "a", People: 1, LongestS: 1, Coverage: 1.0 / 60}
	got := e.Live(2000)[0]
	if d := got.Coverage - want.Coverage; d > 1e-9 || d < -1e-9 {
		t.Errorf("coverage %v, want %v", got.Coverage, want.Coverage)
	}
	got.Coverage = want.Coverage
	if got != want {
		t.Errorf("live %+v, want %+v", got, want)
	}
}

func TestStampsMustGrow(t *testing.T) {
	e, err := zone.New("cam", scene(square("a", 0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	feed := func(f floorwatch.Frame) error { _, err := e.Feed(f); return err }
	if err := feed(frame(1000)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []floorwatch.Frame{frame(1000), frame(999), event(999, floorwatch.EventOpen)} {
		if feed(f) == nil {
			t.Errorf("a line at %d after one at 1000 was taken", f.T)
		}
	}
	if err := feed(event(3000, floorwatch.EventTick)); err != nil {
		t.Errorf("tick: %v", err)
	}
	if err := feed(frame(1100)); err != nil {
		t.Errorf("a frame that is younger than the tick by less than TickLag: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	bad := square("a", 0, 0)
	bad.Polygon = bad.Polygon[:2]
	negative := square("a", -1, 0)
	for _, c := range []struct {
		scene floorwatch.Scene
		want  string
	}{
		{scene(bad), "zone a: polygon needs at least three finite points that span an area"},
		{scene(square("A b", 0, 0)), `zone "A b": a name is 1 to 40 of a-z, 0-9, _ and -`},
		{scene(square("a", 0, 0), square("a", 0, 0)), "zone a: the name is used twice"},
		{scene(negative), "zone a: min_stay, merge_gap and bridge must not be negative"},
	} {
		if _, err := zone.New("cam", c.scene); err == nil || err.Error() != c.want {
			t.Errorf("got error %v, want %s", err, c.want)
		}
	}
}

// lines reads fuzz bytes as camera lines: bounded, but otherwise anything.
func lines(data []byte) []floorwatch.Frame {
	var out []floorwatch.Frame
	at := floorwatch.Time(1000)
	for len(data) >= 4 {
		op, dt, id, x := data[0], data[1], data[2], data[3]
		data = data[4:]
		switch op % 16 {
		case 0:
			at += floorwatch.Time(dt) * 50
			out = append(out, event(at, floorwatch.EventOpen))
		case 1:
			at += floorwatch.Time(dt) * 50
			out = append(out, event(at, floorwatch.EventStall))
		case 2:
			at += floorwatch.Time(dt) * 50
			out = append(out, event(at, floorwatch.EventClosed))
		case 3:
			out = append(out, event(at+floorwatch.Time(dt)*200, floorwatch.EventTick))
		default:
			at += floorwatch.Time(dt%128) * 10
			f := frame(at)
			for k := range int64(op / 64) {
				f.People = append(f.People, person(int64(id%4)+k, float64(x)+20*float64(k), 100+float64(id)))
			}
			out = append(out, f)
		}
	}
	return out
}

func FuzzLines(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	wide := square("wide", 2*time.Second, 3*time.Second)
	wide.Bridge = 5 * time.Second
	raw := square("raw", 0, 0)
	for i := range wide.Polygon {
		wide.Polygon[i].X += 50
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scene(square("a", time.Second, time.Second), wide, raw)
		s.Lines = door().Lines
		e, err := zone.New("cam", s)
		if err != nil {
			t.Fatal(err)
		}
		var recs []floorwatch.Record
		for _, l := range lines(data) {
			if r, err := e.Feed(l); err == nil {
				recs = append(recs, r...)
			}
			for _, s := range e.Live(e.Now()) {
				if s.Coverage < 0 || s.Coverage > 1 || s.People < 0 || s.LongestS < 0 {
					t.Fatalf("live %+v", s)
				}
			}
		}
		check(t, append(recs, e.Close()...))
	})
}

// check holds records against what no input may bring about.
func check(t *testing.T, recs []floorwatch.Record) {
	last, until := map[string]floorwatch.Time{}, floorwatch.Time(0)
	var at floorwatch.Time
	over := map[string]bool{}
	for _, r := range recs {
		switch r := r.(type) {
		case *floorwatch.Stay:
			if r.At < at {
				t.Fatalf("stay %s settled at %d after a record at %d", r.ID, r.At, at)
			}
			at = r.At
			if over[r.ID] {
				t.Fatalf("stay %s is told after it is over", r.ID)
			}
			if over[r.ID] = r.Exit != nil; r.Exit == nil {
				continue
			}
			span := r.Exit.Sub(r.Enter).Seconds()
			sum := r.SeenS + r.MergedS + r.BridgedS
			if span < 0 || r.SeenS < 0 || r.MergedS < 0 || r.BridgedS < 0 || math.Abs(span-sum) > 1e-6 || *r.Exit > r.At {
				b, _ := json.Marshal(r)
				t.Fatalf("impossible stay %s", b)
			}
			if late := r.At.Sub(*r.Exit); late > 7*time.Second+floorwatch.MaxFrameGap+time.Millisecond {
				t.Fatalf("stay %s that ended at %d settled %v later", r.ID, *r.Exit, late)
			}
			key := fmt.Sprint(r.Zone, r.Tracks)
			if r.Enter < last[key] {
				t.Fatalf("stay %s begins before the one before it of the same track ended", r.ID)
			}
			last[key] = *r.Exit
		case *floorwatch.Gap:
			if r.At < at {
				t.Fatalf("gap %s settled at %d after a record at %d", r.ID, r.At, at)
			}
			at = r.At
			if r.To != nil && (*r.To < r.From || r.From < until) {
				t.Fatalf("gap %d-%d after one that ended at %d", r.From, *r.To, until)
			}
			if r.To != nil {
				until = *r.To
			}
		}
	}
}

func BenchmarkFeed(b *testing.B) {
	zones := make([]floorwatch.Zone, 5)
	for i := range zones {
		zones[i] = square("z"+fmt.Sprint(i), time.Second, time.Second)
		for k := range zones[i].Polygon {
			zones[i].Polygon[k].X += 80 * float64(i)
		}
	}
	e, err := zone.New("cam", scene(zones...))
	if err != nil {
		b.Fatal(err)
	}
	f := frame(0)
	for i := range 20 {
		f.People = append(f.People, person(int64(i+1), 60+25*float64(i), 150))
	}
	b.ReportAllocs()
	for b.Loop() {
		f.T += 100
		for i := range f.People {
			f.People[i].X++
			if f.People[i].X > 600 {
				f.People[i].X = 0
			}
		}
		if _, err := e.Feed(f); err != nil {
			b.Fatal(err)
		}
	}
}
