package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
	"floorwatch/edge/zone"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/program"
)

const bankZones = `
zones:
  - {name: line,   role: queue,   polygon: [[0, 0], [100, 0], [100, 200], [0, 200]]}
  - {name: till-1, role: service, polygon: [[110, 0], [200, 0], [200, 100], [110, 100]], serves: [line]}
  - {name: till-2, role: service, polygon: [[110, 100], [200, 100], [200, 200], [110, 200]]}
  - {name: hall,   role: area,    polygon: [[0, 0], [200, 0], [200, 200], [0, 200]], min_stay: 2s, merge_gap: 3s}
`

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// stand is a person with the ground point at (x, y), 50 pixels tall.
func stand(id int64, x, y float64) floorwatch.Person {
	return floorwatch.Person{ID: id, X: x - 10, Y: y - 50, W: 20, H: 50, Score: 0.9}
}

func encode(t *testing.T, lines []floorwatch.Frame) string {
	t.Helper()
	var b strings.Builder
	for _, f := range lines {
		j, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(j)
		b.WriteByte('\n')
	}
	return b.String()
}

func runCommand(t *testing.T, run func(context.Context, []string, stdio) error, in string, args ...string) (string, error) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := run(t.Context(), args, stdio{strings.NewReader(in), &out, &errOut})
	return out.String(), err
}

func TestStaysCommand(t *testing.T) {
	zones := writeFile(t, "zones.yaml", bankZones)
	var lines []floorwatch.Frame
	for i := range 100 {
		f := floorwatch.Frame{T: floorwatch.Time(1000 + 100*i), N: int64(i + 1), People: []floorwatch.Person{}}
		switch {
		case i < 5:
			f.People = append(f.People, stand(7, -20, 50))
		case i < 40:
			f.People = append(f.People, stand(7, 50, 50))
		default:
			f.People = append(f.People, stand(7, 150, 50))
		}
		lines = append(lines, f)
	}
	out, err := runCommand(t, runStays, encode(t, lines), "-zones", zones, "-camera", "door")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out) {
		rec, err := floorwatch.ParseRecord([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		switch r := rec.(type) {
		case *floorwatch.Stay:
			got = append(got, fmt.Sprintf("stay %s %s open=%v", r.Zone, r.Camera, r.Exit == nil))
		case *floorwatch.Wait:
			got = append(got, fmt.Sprintf("wait %s %gs %s %s", r.Zone, r.End.Sub(r.Enter).Seconds(), r.Outcome, r.ServiceZone))
		case *floorwatch.Gap:
			got = append(got, "gap "+r.Cause)
		}
	}
	want := []string{
		"gap start of input", "wait line 3.5s served till-1", "stay line door open=false",
		"gap end of input", "stay till-1 door open=true", "stay hall door open=true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestStaysCommandNamesTheBadLine(t *testing.T) {
	zones := writeFile(t, "zones.yaml", bankZones)
	good := encode(t, []floorwatch.Frame{{T: 1000}, {T: 1100}})
	for _, c := range []struct{ bad, want string }{
		{"{", "line 3: parse camera line"},
		{`{"t":1100,"people":[]}`, "line 3: camera line at 1100 comes after one"},
		{`{"t":1200,"people":[{"id":1,"x":1,"y":1,"w":0,"h":5}]}`, "line 3: camera line at 1200: box of person 1 has no size"},
		{strings.Repeat(" ", floorwatch.MaxLine+1), "line 3: longer than the limit of 262144 bytes"},
	} {
		out, err := runCommand(t, runStays, good+c.bad+"\n", "-zones", zones)
		if err == nil || errors.Is(err, program.ErrUsage) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.40q: got error %v, want %s", c.bad, err, c.want)
		}
		if !strings.Contains(out, "start of input") {
			t.Errorf("%.40q: what was good before it is not there: %q", c.bad, out)
		}
	}
}

func TestStageCommandsRefuseBadFlags(t *testing.T) {
	zones := writeFile(t, "zones.yaml", bankZones)
	twice := writeFile(t, "twice.yaml", "zones: [{name: a, polygon: [[0, 0], [1, 1]]}]\n")
	for _, c := range []struct {
		run  func(context.Context, []string, stdio) error
		args []string
	}{
		{runStays, nil},
		{runStays, []string{"-zones", twice}},
		{runStays, []string{"-zones", zones + "x"}},
		{runStays, []string{"-zones", zones, "-camera", "no such name"}},
		{runStays, []string{"-zones", zones, "extra"}},
		{runIntervals, nil},
		{runIntervals, []string{"-zones", zones, "-every", "1ms"}},
	} {
		if _, err := runCommand(t, c.run, "", c.args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%v: got %v, want a usage error", c.args, err)
		}
	}
}

// randomZones are bankZones with other times.
func randomZones(rng *rand.Rand) string {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	var b strings.Builder
	for line := range strings.Lines(strings.Replace(bankZones, ", min_stay: 2s, merge_gap: 3s", "", 1)) {
		if head, ok := strings.CutSuffix(line, "}\n"); ok {
			line = fmt.Sprintf("%s, min_stay: %s, merge_gap: %s, reach: %s}\n", head,
				pick("0s", "1s", "2500ms", "6s"), pick("0s", "300ms", "1s", "4s"), pick("0s", "2s", "10s"))
		}
		b.WriteString(line)
	}
	return b.String()
}

// randomLines is a worker's life: people who walk about, frames that are missing,
// stalls, restarts.
func randomLines(rng *rand.Rand, n int) []floorwatch.Frame {
	type walker struct{ x, y, dx, dy float64 }
	walkers := make([]walker, 6)
	for i := range walkers {
		walkers[i] = walker{x: 200 * rng.Float64(), y: 200 * rng.Float64()}
	}
	var lines []floorwatch.Frame
	at, session := floorwatch.Time(1763755200123), int64(0)
	for range n {
		at += floorwatch.Time(80 + rng.IntN(60))
		switch rng.IntN(400) {
		case 0:
			session += int64(rng.IntN(2)) * 3
			lines = append(lines, floorwatch.Frame{T: at, Event: floorwatch.EventOpen, By: fmt.Sprint("motion-", session)})
			continue
		case 1:
			at += floorwatch.Time(rng.IntN(20000))
			lines = append(lines, floorwatch.Frame{T: at, Event: floorwatch.EventStall})
			continue
		case 2:
			at += floorwatch.Time(rng.IntN(3000))
		case 3:
			lines = append(lines, floorwatch.Frame{T: at, Event: floorwatch.EventClosed, Cause: "end of stream"})
			at += floorwatch.Time(rng.IntN(40000))
			continue
		}
		f := floorwatch.Frame{T: at, People: []floorwatch.Person{}}
		for i := range walkers {
			w := &walkers[i]
			if rng.IntN(20) == 0 {
				w.dx, w.dy = 40*rng.Float64()-20, 40*rng.Float64()-20
				if rng.IntN(3) == 0 {
					w.dx, w.dy = 0, 0
				}
			}
			w.x, w.y = max(-30, min(230, w.x+w.dx/4)), max(-30, min(230, w.y+w.dy/4))
			if rng.IntN(30) != 0 { // not detected
				f.People = append(f.People, stand(session+int64(i)+1, w.x+rng.NormFloat64(), w.y+rng.NormFloat64()))
			}
		}
		lines = append(lines, f)
	}
	return lines
}

// withTicks puts ticks between lines, as the agent does when no line has come
// for a while; TickLag keeps them from overtaking lines on their way.
func withTicks(rng *rand.Rand, lines []floorwatch.Frame) []floorwatch.Frame {
	var out []floorwatch.Frame
	for i, f := range lines {
		out = append(out, f)
		for i+1 < len(lines) && rng.IntN(4) == 0 {
			room := int(lines[i+1].T - f.T)
			out = append(out, floorwatch.Frame{T: f.T.Add(zone.TickLag) + floorwatch.Time(rng.IntN(room+1)), Event: floorwatch.EventTick})
		}
	}
	return out
}

func newStage(t *testing.T, scene floorwatch.Scene, every time.Duration) *queue.Stage {
	t.Helper()
	engine, err := zone.New("camera", scene)
	if err != nil {
		t.Fatal(err)
	}
	stage, err := queue.NewStage(engine, scene, every)
	if err != nil {
		t.Fatal(err)
	}
	return stage
}

// live feeds lines one by one, as the agent does, and returns the JSON lines of
// what was published: intervals, and everything else.
func live(t *testing.T, scene floorwatch.Scene, lines []floorwatch.Frame) (intervals, rest []string) {
	t.Helper()
	stage := newStage(t, scene, 10*time.Second)
	for _, f := range lines {
		recs, err := stage.Feed(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			b, err := floorwatch.MarshalRecord(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := r.(*floorwatch.Interval); ok {
				intervals = append(intervals, string(b.JSON))
			} else {
				rest = append(rest, string(b.JSON))
			}
		}
	}
	return intervals, rest
}

// TestLiveEqualsOffline: what the agent publishes while it happens is, byte for
// byte, what the commands print from the same lines afterwards, and ticks change
// nothing of it.
func TestLiveEqualsOffline(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		zones := writeFile(t, "zones.yaml", randomZones(rng))
		scene, err := loadZones(zones)
		if err != nil {
			t.Fatal(err)
		}
		lines := randomLines(rng, 2000)
		figures, records := live(t, scene, withTicks(rng, lines))
		staysOut, err := runCommand(t, runStays, encode(t, lines), "-zones", zones)
		if err != nil {
			t.Fatal(err)
		}
		intervalsOut, err := runCommand(t, runIntervals, staysOut, "-zones", zones, "-every", "10s")
		if err != nil {
			t.Fatal(err)
		}
		if len(figures) < 20 {
			t.Fatalf("seed %d: only %d intervals", seed, len(figures))
		}
		expectPrefix(t, seed, "record", records, staysOut)
		expectPrefix(t, seed, "interval", figures, intervalsOut)
		conserve(t, seed, staysOut, intervalsOut)
	}
}

// expectPrefix expects want to be the beginning of the lines in got.
func expectPrefix(t *testing.T, seed uint64, what string, want []string, got string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(got), "\n")
	for i, w := range want {
		if i >= len(lines) || lines[i] != w {
			t.Fatalf("seed %d: %s %d differs\nlive    %s\noffline %s", seed, what, i, w, lines[min(i, len(lines)-1)])
		}
	}
	if extra := len(lines) - len(want); extra > 100 {
		t.Fatalf("seed %d: offline has %d more of %s", seed, extra, what)
	}
}

// conserve checks that intervals neither lose nor invent: people who came and
// went balance, sums agree with the records, coverage with the gaps.
func conserve(t *testing.T, seed uint64, staysOut, intervalsOut string) {
	t.Helper()
	stays := map[string]int64{}
	var seconds, told float64
	var gaps []floorwatch.Gap
	var open []*floorwatch.Stay
	for line := range strings.Lines(staysOut) {
		rec, err := floorwatch.ParseRecord([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		switch r := rec.(type) {
		case *floorwatch.Stay:
			if r.Exit != nil {
				stays[r.Zone]++
			}
			open = append(open, r)
		case *floorwatch.Gap:
			if r.To != nil || r.Cause == zone.CauseEnd {
				gaps = append(gaps, *r)
			}
		}
	}
	for _, s := range open {
		seconds += observedSeconds(s, gaps)
	}
	inside := map[string]int64{}
	for line := range strings.Lines(intervalsOut) {
		var r floorwatch.Interval
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		balance := inside[r.Zone] + r.Arrived + r.Appeared - r.Departed - r.Lost
		if balance != r.Inside || r.Coverage < 0 || r.Coverage > 1 || r.Min > r.Max || r.PersonS < 0 ||
			r.Occupancy < float64(r.Min)-1e-9 || r.Occupancy > float64(r.Max)+1e-9 || r.Departed+r.Lost != r.Stays.N {
			t.Fatalf("seed %d: %d inside before, impossible interval %s", seed, inside[r.Zone], line)
		}
		inside[r.Zone] = r.Inside
		stays[r.Zone] -= r.Stays.N
		told += r.PersonS
	}
	for z, n := range stays {
		if n != 0 {
			t.Fatalf("seed %d: %d stays of %s are in no interval", seed, n, z)
		}
	}
	if d := seconds - told; d > 1e-6 || d < -1e-6 {
		t.Fatalf("seed %d: %.3f person-seconds in stays, %.3f in intervals", seed, seconds, told)
	}
}

// observedSeconds returns the length of a stay without gaps, in seconds.
func observedSeconds(s *floorwatch.Stay, gaps []floorwatch.Gap) float64 {
	exit := floorwatch.Time(1) << 60
	if s.Exit != nil {
		exit = *s.Exit
	}
	for _, g := range gaps {
		if g.To == nil {
			exit = min(exit, g.From)
		}
	}
	total := exit - s.Enter
	for _, g := range gaps {
		if g.To != nil {
			total -= max(0, min(exit, *g.To)-max(s.Enter, g.From))
		}
	}
	return float64(total) / 1000
}

// TestWellingtonWaits replays people whose waits were logged by hand at ticket
// booths: everybody's wait must come out as it was.
func TestWellingtonWaits(t *testing.T) {
	file, err := os.Open(kit.Shared(t, "data/queues/wellington.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	sessions := map[string][][]float64{}
	for _, row := range rows[1:] {
		var v []float64
		for _, text := range row[1:6] {
			x, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			v = append(v, x)
		}
		sessions[row[0]] = append(sessions[row[0]], v)
	}
	people := 0
	for name, rows := range sessions {
		people += len(rows)
		replayWaits(t, name, rows)
	}
	t.Logf("%d people, every wait as logged", people)
}

// replayWaits makes frames, two a second, of people who stand in the queue from
// arrival to start and at their booth from start to end.
func replayWaits(t *testing.T, session string, rows [][]float64) {
	t.Helper()
	box := func(name string, role floorwatch.Role, x float64) floorwatch.Zone {
		return floorwatch.Zone{
			Name: name, Role: role, MinStay: 500 * time.Millisecond, MergeGap: 500 * time.Millisecond, Reach: 2 * time.Second,
			Polygon: []floorwatch.Point{{X: x, Y: 0}, {X: x + 90, Y: 0}, {X: x + 90, Y: 90}, {X: x, Y: 90}},
		}
	}
	scene := floorwatch.Scene{Zones: []floorwatch.Zone{box("line", floorwatch.RoleQueue, 0)}}
	var last float64
	for _, r := range rows {
		last = max(last, r[3])
		booth := fmt.Sprint("booth-", r[4])
		if !slices.ContainsFunc(scene.Zones, func(z floorwatch.Zone) bool { return z.Name == booth }) {
			scene.Zones = append(scene.Zones, box(booth, floorwatch.RoleService, 100*r[4]))
		}
	}
	stage := newStage(t, scene, 0)
	waits := map[int64]*floorwatch.Wait{}
	take := func(recs []floorwatch.Record) {
		for _, r := range recs {
			if w, ok := r.(*floorwatch.Wait); ok {
				id, err := strconv.ParseInt(w.ID[strings.LastIndexByte(w.ID, '-')+1:], 10, 64)
				if err != nil || waits[id] != nil {
					t.Errorf("session %s: wait %s: second of its person, or %v", session, w.ID, err)
				}
				waits[id] = w
			}
		}
	}
	for now := -1.0; now <= last+20; now += 0.5 {
		f := floorwatch.Frame{T: floorwatch.Time(60000 + now*1000)}
		for _, r := range rows {
			switch {
			case now < r[1]-0.5 || now >= r[3]+0.5:
			case now < r[1] || now >= r[3]:
				f.People = append(f.People, stand(int64(r[0]), 45, 150)) // comes or goes
			case now < r[2]:
				f.People = append(f.People, stand(int64(r[0]), 45, 45))
			default:
				f.People = append(f.People, stand(int64(r[0]), 100*r[4]+45, 45))
			}
		}
		recs, err := stage.Feed(f)
		if err != nil {
			t.Fatal(err)
		}
		take(recs)
	}
	for _, r := range rows {
		w := waits[int64(r[0])]
		if w == nil || w.End == nil || w.Outcome != floorwatch.OutcomeServed || w.End.Sub(w.Enter).Seconds() != r[2]-r[1] || w.Direct != (r[2] == r[1]) {
			t.Errorf("session %s: person %v waited %v s, got %+v", session, r[0], r[2]-r[1], w)
		}
	}
}

// TestRestartPublishesTheSame: an agent that stops with an open event and starts
// again on what it had published gives the intervals of one that never stopped.
func TestRestartPublishesTheSame(t *testing.T) {
	scene, err := loadZones(writeFile(t, "zones.yaml", bankZones))
	if err != nil {
		t.Fatal(err)
	}
	lines := randomLines(rand.New(rand.NewPCG(7, 7)), 2000)
	half := len(lines) / 2
	stop := floorwatch.Frame{T: lines[half-1].T, Event: floorwatch.EventOpen, By: "motion"}
	lines = slices.Insert(lines, half, stop)
	want, _ := live(t, scene, lines)

	var got []string
	var kept []floorwatch.Record
	var published floorwatch.Time
	take := func(stage *queue.Stage, lines []floorwatch.Frame) {
		for _, f := range lines {
			recs, err := stage.Feed(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recs {
				if iv, ok := r.(*floorwatch.Interval); ok {
					b, err := floorwatch.MarshalRecord(iv)
					if err != nil {
						t.Fatal(err)
					}
					got, published = append(got, string(b.JSON)), iv.End
				}
			}
			kept = append(kept, recs...)
		}
	}
	take(newStage(t, scene, 10*time.Second), lines[:half+1])
	again := newStage(t, scene, 10*time.Second)
	if err := again.Replay(kept, published); err != nil {
		t.Fatal(err)
	}
	take(again, append([]floorwatch.Frame{stop}, lines[half+1:]...))
	if len(want) < 20 || !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("interval %d\ngot  %s\nwant %s", i, got[i], want[i])
			}
		}
		t.Fatalf("%d intervals, want %d", len(got), len(want))
	}
}
