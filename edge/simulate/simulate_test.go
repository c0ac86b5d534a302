package simulate

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

func load(t testing.TB, name string) *Hall {
	t.Helper()
	h, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// whole plays a hall to its end.
func whole(t testing.TB, name string, opts Options) (*Play, []floorwatch.Frame) {
	t.Helper()
	p := New(load(t, name), opts)
	var frames []floorwatch.Frame
	for f, ok := p.Next(); ok; f, ok = p.Next() {
		frames = append(frames, f)
	}
	return p, frames
}

// TestLines checks that every built-in hall prints lines that a camera line's
// reader accepts, at every level of noise.
func TestLines(t *testing.T) {
	for _, name := range Names() {
		for _, level := range []string{"clean", "realistic", "harsh"} {
			t.Run(name+"/"+level, func(t *testing.T) {
				t.Parallel()
				noise, err := Level(level)
				if err != nil {
					t.Fatal(err)
				}
				noise.Drop, noise.Jump = 0.05, -20
				_, frames := whole(t, name, Options{Seed: 7, Noise: noise, FPS: 2, Length: 3 * time.Minute})
				checkLines(t, frames)
			})
		}
	}
}

func checkLines(t *testing.T, frames []floorwatch.Frame) {
	t.Helper()
	if frames[0].Event != floorwatch.EventOpen || frames[len(frames)-1].Event != floorwatch.EventClosed {
		t.Fatalf("first line %+v, last %+v", frames[0], frames[len(frames)-1])
	}
	people := 0
	for i, f := range frames {
		if i > 0 && f.T <= frames[i-1].T {
			t.Fatalf("line %d: stamp %d after %d", i, f.T, frames[i-1].T)
		}
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := floorwatch.ParseFrame(b); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		ids := map[int64]bool{}
		for _, p := range f.People {
			if ids[p.ID] {
				t.Fatalf("line %d: id %d twice", i, p.ID)
			}
			ids[p.ID] = true
			if p.X < 0 || p.Y < 0 || p.X+p.W > float64(frames[0].W)+0.1 || p.Y+p.H > float64(frames[0].H)+0.1 {
				t.Fatalf("line %d: box %+v reaches out of the picture", i, p)
			}
		}
		people += len(f.People)
	}
	if people == 0 {
		t.Error("nobody was seen")
	}
}

// TestSeed holds plays to be the same for a seed, and the truth to depend on
// neither noise nor frame rate.
func TestSeed(t *testing.T) {
	noise, err := Level("harsh")
	if err != nil {
		t.Fatal(err)
	}
	text := func(opts Options) (lines, truth string) {
		p, frames := whole(t, "two-queues", opts)
		b, err := json.Marshal(frames)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := WriteTruth(&out, p.Truth()); err != nil {
			t.Fatal(err)
		}
		return string(b), out.String()
	}
	lines, truth := text(Options{Seed: 3, Noise: noise, FPS: 5, Length: 5 * time.Minute})
	again, truthAgain := text(Options{Seed: 3, Noise: noise, FPS: 5, Length: 5 * time.Minute})
	if lines != again || truth != truthAgain {
		t.Error("the same seed gave another play")
	}
	other, truthOther := text(Options{Seed: 3, FPS: 12.5, Length: 5 * time.Minute})
	if lines == other || truth != truthOther {
		t.Error("noise and frame rate changed the truth, or did not change the lines")
	}
	if _, third := text(Options{Seed: 4, FPS: 5, Length: 5 * time.Minute}); third == truth {
		t.Error("another seed gave the same play")
	}
}

// TestConservation holds halls to lose nobody: who came was served, gave up or
// is there.
func TestConservation(t *testing.T) {
	for _, name := range Names() {
		p := New(load(t, name), Options{Seed: 5, FPS: 0.5, Length: 40 * time.Minute})
		for _, ok := p.Next(); ok; _, ok = p.Next() {
			if c := p.world.tally; p.k%10 == 0 && c.Arrived != c.Served+c.Abandoned+c.Inside {
				t.Fatalf("%s: %+v", name, c)
			}
		}
		c := p.Truth().Tally
		if c.Arrived < 3 || c.Arrived != c.Served+c.Abandoned+c.Inside {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestLittle checks Little's law on the truth: the mean number in the queue zone,
// counted frame by frame from the true boxes, is the rate of stays times their
// mean length. It holds to the resolution of the frames.
func TestLittle(t *testing.T) {
	for _, name := range []string{"three-counters", "crowded", "impatient"} {
		p := New(load(t, name), Options{Seed: 11, FPS: 5, Length: 20 * time.Minute})
		var zone []floorwatch.Point
		for _, z := range p.Scene().Zones {
			if z.Role == floorwatch.RoleQueue {
				zone = z.Polygon
			}
		}
		inside, frames := 0, 0
		for f, ok := p.Next(); ok; f, ok = p.Next() {
			if f.Event != "" {
				continue
			}
			frames++
			for _, b := range p.Boxes() {
				if contains(zone, floorwatch.Point{X: b.X + b.W/2, Y: b.Y + b.H}) {
					inside++
				}
			}
		}
		var sum float64
		end := DefaultStart.Add(p.opts.Length)
		for _, s := range p.Truth().Stays {
			if s.Zone == "queue" {
				exit := end
				if s.Exit != nil {
					exit = *s.Exit
				}
				sum += exit.Sub(s.Enter).Seconds()
			}
		}
		length, rate := float64(inside)/float64(frames), sum/p.opts.Length.Seconds()
		if math.Abs(length-rate) > 0.01*length {
			t.Errorf("%s: %.3f people in the queue, rate times stay is %.3f", name, length, rate)
		}
	}
}

// TestOrder holds a single line to first come, first served.
func TestOrder(t *testing.T) {
	for _, name := range []string{"single", "three-counters", "crowded"} {
		p, _ := whole(t, name, Options{Seed: 2, FPS: 1})
		waits := p.Truth().Waits
		waits = slices.DeleteFunc(waits, func(w floorwatch.Wait) bool { return w.Outcome != floorwatch.OutcomeServed || w.Direct })
		late := 0
		var last floorwatch.Time
		for _, w := range waits { // by Enter
			// Counters differ in their distance: the way there may turn two around.
			if w.End.Add(6*time.Second) < last {
				late++
			}
			last = max(last, *w.End)
		}
		if late > 0 || len(waits) < 10 {
			t.Errorf("%s: %d of %d were overtaken", name, late, len(waits))
		}
	}
}

// TestSpreads checks mean and standard deviation of the distributions.
func TestSpreads(t *testing.T) {
	r := stream(1, 9)
	for _, s := range []Spread{
		{lognormal, 100 * time.Second, 60 * time.Second},
		{gamma, 100 * time.Second, 50 * time.Second},
		{gamma, 100 * time.Second, 150 * time.Second},
		{exponential, 100 * time.Second, 100 * time.Second},
		{fixed, 100 * time.Second, 0},
	} {
		const n = 200_000
		var sum, squares float64
		for range n {
			v := s.sample(r)
			sum, squares = sum+v, squares+v*v
		}
		mean := sum / n
		sd := math.Sqrt(max(0, squares/n-mean*mean))
		if math.Abs(mean-100) > 1.5 || math.Abs(sd-s.SD.Seconds()) > 0.03*s.SD.Seconds()+0.01 {
			t.Errorf("%+v: mean %.1f, sd %.1f", s, mean, sd)
		}
	}
}

// TestArrivals checks the rate of the Poisson process under a profile: the mean
// count, and its variance, which is the mean too.
func TestArrivals(t *testing.T) {
	a := Arrivals{PerHour: 120, Profile: []Phase{{0, 0.5}, {20 * time.Minute, 2}}}
	const want = 120.0/3*0.5*1 + 120.0*2/3*2
	const n = 100
	var sum, squares float64
	for seed := range uint64(n) {
		c, got := newClock(a, stream(seed, 2)), 0
		for s := range 36000 {
			got += len(c.arrivals(float64(s+1)*step, step))
		}
		sum, squares = sum+float64(got), squares+float64(got*got)
	}
	mean := sum / n
	variance := squares/n - mean*mean
	if math.Abs(mean-want) > 3*math.Sqrt(want/n) || variance < 0.6*want || variance > 1.5*want {
		t.Errorf("mean %.1f, variance %.1f, want %.1f both", mean, variance, want)
	}
}

// TestNoise checks that the levels do what they say.
func TestNoise(t *testing.T) {
	count := func(n Noise, ids IDs) (seen, whole, names int) {
		p := New(load(t, "three-counters"), Options{Seed: 1, FPS: 2, Noise: n, IDs: ids, Length: 30 * time.Minute})
		known := map[int64]bool{}
		for f, ok := p.Next(); ok; f, ok = p.Next() {
			seen += len(f.People)
			if f.Event == "" {
				whole += len(p.Boxes())
			}
			for _, q := range f.People {
				known[q.ID] = true
			}
		}
		return seen, whole, len(known)
	}
	seen, boxes, ids := count(Noise{}, "")
	if seen < boxes*9/10 {
		t.Errorf("clean: %d of %d true boxes were seen", seen, boxes)
	}
	missed, _, _ := count(Noise{Miss: 0.3}, "")
	if share := 1 - float64(missed)/float64(seen); math.Abs(share-0.3) > 0.01 {
		t.Errorf("miss 0.3: %.3f were missed", share)
	}
	if _, _, none := count(Noise{}, IDsNone); none != 1 {
		t.Errorf("ids none: %d ids", none)
	}
	_, _, broken := count(Noise{Miss: 0.3, Memory: 1, Occlude: 20}, IDsBroken)
	if broken < 2*ids {
		t.Errorf("broken: %d ids of %d people", broken, ids)
	}
}

// TestHidden checks what a pillar and a person in front hide.
func TestHidden(t *testing.T) {
	h := blank()
	h.Camera = Camera{At: Spot{0, 0}, Height: 3, Tilt: 20, FOV: 80}
	h.Blocks = []Block{{From: Spot{-1, 4}, To: Spot{1, 4.5}, Height: 10}, {From: Spot{3, 4}, To: Spot{5, 4.2}, Height: 1}}
	v := h.view()
	if got := v.hides(point{0, 6}, 1.7, 0.5); got != wholeBody {
		t.Errorf("behind a pillar: %032b", got)
	}
	if got := v.hides(point{0, 3}, 1.7, 0.5); got != 0 {
		t.Errorf("in front of a pillar: %032b", got)
	}
	// Over a desk of 1 m at 0.7 of the way, from 3 m: all below 3 - 2/0.7 is hidden.
	at := point{5.7, 6}
	rows := math.Round((3 - 2*6/4.2) / 1.7 * bodyRows)
	mask := v.hides(at, 1.7, 0.2)
	for r := range bodyRows {
		if hidden := mask>>(r*bodyCols)&1 == 1; hidden != (r >= bodyRows-int(rows)) {
			t.Errorf("row %d behind a desk hidden: %v, %.0f rows should be", r, hidden, rows)
		}
	}
	back, _ := v.box(point{-4, 8}, 1.7, 0.5)
	front := back
	front.Y += back.H / 2
	if mask := front.covers(&back); mask>>(bodyCols*bodyRows/2) == 0 || mask<<(bodyCols*bodyRows/2) != 0 {
		t.Errorf("half behind a person: %032b", mask)
	}
}

// TestProjection checks the pinhole on its axis and the ground point of a box.
func TestProjection(t *testing.T) {
	h := blank()
	h.Camera = Camera{At: Spot{1, 2}, Height: 3, Turn: 30, Tilt: 30, FOV: 90}
	v := h.view()
	ahead := 3 / math.Tan(math.Pi/6)
	axis := point{1 + ahead*math.Sin(math.Pi/6), 2 + ahead*math.Cos(math.Pi/6)}
	if g := v.ground(axis); math.Abs(g.X-640) > 1e-6 || math.Abs(g.Y-360) > 1e-6 {
		t.Errorf("the axis meets the floor at %v of the picture", g)
	}
	at := point{2, 7}
	b, ok := v.box(at, 1.7, 0.5)
	g := v.ground(at)
	if !ok || math.Abs(b.X+b.W/2-g.X) > 1e-9 || math.Abs(b.Y+b.H-g.Y) > 1e-9 {
		t.Errorf("box %+v stands at %v", b, g)
	}
}

func TestHallFiles(t *testing.T) {
	if n := len(Names()); n < 10 {
		t.Errorf("%d built-in halls", n)
	}
	for _, name := range Names() {
		h := load(t, name)
		if h.Label.ZH == "" || h.Label.EN == "" || h.Name != name {
			t.Errorf("%s: label %+v", name, h.Label)
		}
		if !floorwatch.ValidName(name) {
			t.Errorf("%s is not a name", name)
		}
	}
	if _, err := Load("nowhere"); err == nil || !strings.Contains(err.Error(), "three-counters") {
		t.Errorf("error %v does not name the halls", err)
	}
	path := filepath.Join(t.TempDir(), "my-hall.yaml")
	b, err := builtin.ReadFile("halls/single.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := Load(path); err != nil || h.Name != "my-hall" {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestHallMistakes(t *testing.T) {
	const good = "label: {en: a}\ndoors: [[-7, 4]]\ncustomers: {per_hour: 25}\nqueues:\n- name: queue\n  zone: [[-5, 6], [1, 7], [1, 9], [-5, 8]]\n  path: [[0.5, 8], [-5, 7]]\ncounters:\n- {name: counter, zone: [[-1, 9.7], [1, 9.7], [1, 10.8]], at: [0, 10]}\n"
	if _, err := Parse("h", []byte(good)); err != nil {
		t.Fatalf("the good hall: %v", err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"per_hour: 25", "per_hor: 25", "h:3: customers.per_hor: is not a key here; did you mean per_hour?"},
		{"per_hour: 25", "per_hour: -1", `h:3: customers.per_hour: "-1": want a number from 0 to 5000`},
		{"per_hour: 25", "per_hour: 25, profile: [{from: 5m, factor: 1}, {from: 1m, factor: 2}]", "want the times of a profile to grow"},
		{"[[-7, 4]]", "[[-7]]", "h:2: doors[0]: [-7]: want [x, y] in metres, each at most 200"},
		{"[[-7, 4]]", "[]", "h:2: doors: []: want at least one [x, y] where people come in"},
		{"[-5, 7]]\nc", "[0.5, 8]]\nc", "h:7: queues[0].path[1]: [0.5, 8]: is the same point as the one before it"},
		{"[[-1, 9.7], [1, 9.7], [1, 10.8]]", "[[-1, -9], [1, -9], [1, -8]]", "counters[0].zone: [[-1, -9], [1, -9], [1, -8]]: the camera does not see it"},
		{"name: counter,", "name: queue,", "is already the name of queues[0]"},
		{"at: [0, 10]", "at: [0, 10], serves: [line]", "want the name of a queue of this hall"},
		{"at: [0, 10]", "at: [0, 10], open: [{from: 5m, to: 1m}]", "want from before to"},
		{"at: [0, 10]", "at: [0, 10], service: {kind: normal, mean: 1m}", "want lognormal, exponential, gamma or fixed"},
		{"label: {en: a}", "picture: {width: 9, height: 720}", "picture.width: \"9\": want a number from 64 to 4096"},
		{"label: {en: a}", "camera: {tilt: 100}", "camera.tilt: \"100\": want a number from 0 to 90"},
		{"[[-5, 6], [1, 7], [1, 9], [-5, 8]]", "[[-5, 6], [1, 9], [1, 7], [-5, 8]]", "its edges cross each other"},
	} {
		_, err := Parse("h", []byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.new, err, c.want)
		}
	}
}

// FuzzParse plays a minute of whatever file is accepted.
func FuzzParse(f *testing.F) {
	for _, name := range Names() {
		b, err := builtin.ReadFile("halls/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse("fuzz", b)
		if err != nil {
			return
		}
		p := New(h, Options{Seed: 1, FPS: 2, Length: time.Minute, Noise: Noise{Miss: 0.3, Swap: 0.5, False: 0.5, Occlude: 5, Memory: 1}})
		for f, ok := p.Next(); ok; f, ok = p.Next() {
			if len(f.People) > floorwatch.MaxPeople {
				t.Fatalf("%d people", len(f.People))
			}
		}
		p.Truth()
	})
}

// BenchmarkHour plays an hour at 5 frames a second, an hour being one operation.
func BenchmarkHour(b *testing.B) {
	noise, err := Level("harsh")
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"single", "three-counters", "crowded"} {
		h := load(b, name)
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				p := New(h, Options{Seed: uint64(i), FPS: 5, Noise: noise, Length: time.Hour})
				for _, ok := p.Next(); ok; _, ok = p.Next() {
				}
				p.Truth()
			}
			b.ReportMetric(3600*float64(b.N)/b.Elapsed().Seconds(), "x-real-time")
		})
	}
}

// TestRecord films two seconds and asks ffprobe what came out.
func TestRecord(t *testing.T) {
	kit.UseTools(t, "ffmpeg", "ffprobe")
	h := load(t, "demo")
	h.Picture = floorwatch.Size{Width: 320, Height: 180}
	path := filepath.Join(t.TempDir(), "hall.mp4")
	lines := 0
	p := New(h, Options{Seed: 1, FPS: 10, From: 30 * time.Second, Length: 32 * time.Second})
	if err := p.Record(t.Context(), path, func(floorwatch.Frame) error { lines++; return nil }); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(kit.Tool(t, "ffprobe"), "-v", "error", "-count_frames", "-show_entries", "stream=codec_name,width,height,has_b_frames,nb_read_frames", "-of", "csv=p=0", path).Output()
	if err != nil {
		t.Fatalf("ffprobe: %v; run make test, which installs it", err)
	}
	if got, want := strings.TrimSpace(string(out)), "h264,320,180,0,20"; got != want || lines != 22 {
		t.Errorf("film %s and %d lines, want %s and 22", got, lines, want)
	}
	h.Picture.Width = 321
	if err := New(h, Options{}).Record(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "even numbers") {
		t.Errorf("an odd picture: %v", err)
	}
}

// TestDraw looks at single pixels: a person in front of a block hides it, one
// behind it is hidden by it.
func TestDraw(t *testing.T) {
	h := load(t, "single")
	p := New(h, Options{Seed: 1})
	film := NewFilm(p)
	red := func(at point, x, y int) bool {
		who := &person{id: 9, height: 1.7, width: 0.5, pos: at, was: at}
		b, ok := p.view.box(at, who.height, who.width)
		if !ok {
			t.Fatal("out of the picture")
		}
		b.Person, b.who = who.id, who
		empty := slices.Clone(film.Draw(0, nil))
		with := film.Draw(0, []Box{b})
		i := 3 * (y*film.w + x)
		return max(with[i], empty[i])-min(with[i], empty[i]) > 25 || max(with[i+2], empty[i+2])-min(with[i+2], empty[i+2]) > 25
	}
	deskX, deskY, _ := p.view.project(point{0, 10.8}, 0.7) // on the front of the desk
	if !red(point{0, 10.4}, int(deskX), int(deskY)) {
		t.Error("a person in front of the desk is not seen")
	}
	if red(point{0, 12}, int(deskX), int(deskY)) {
		t.Error("a person behind the desk is seen through it")
	}
}

// TestDocumentedHall plays the hall that the document shows.
func TestDocumentedHall(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulate.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the document shows no hall")
	}
	h, err := Parse("docs", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := New(h, Options{Seed: 1, FPS: 1})
	for _, ok := p.Next(); ok; _, ok = p.Next() {
	}
	if c := p.Truth().Tally; c.Served < 10 {
		t.Errorf("%+v", c)
	}
}

// BenchmarkDraw draws frames of a crowded hall.
func BenchmarkDraw(b *testing.B) {
	p := New(load(b, "crowded"), Options{Seed: 1, FPS: 1, From: 20 * time.Minute})
	film := NewFilm(p)
	p.Next()
	p.Next()
	for b.Loop() {
		film.Draw(p.world.now, p.Boxes())
	}
}
