package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/score"
)

// walk writes a film of detections with truth, like those of the real sets: two
// people cross the picture in opposite directions and are hidden in the middle of
// it for half a second.
func walk(t *testing.T, data string) {
	t.Helper()
	var truth, dets strings.Builder
	for n := 1; n <= 100; n++ {
		for id, x := range []float64{float64(6 * n), float64(620 - 6*n)} {
			box := fmt.Sprintf("%.1f,%.1f,30,90", x, 100+100*float64(id))
			fmt.Fprintf(&truth, "%d,%d,%s,1,-1,-1,-1\n", n, id+1, box)
			if n < 40 || n > 52 {
				fmt.Fprintf(&dets, "%d,-1,%s,0.9,-1,-1,-1\n", n, box)
			}
		}
	}
	dir := filepath.Join(data, "tud")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"TUD-Campus.gt.txt": truth.String(), "TUD-Campus.det.txt": dets.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// queueLog writes a queue log of 40 people before one counter.
func queueLog(t *testing.T, data string) {
	t.Helper()
	dir := filepath.Join(data, "queues")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("session,id,arrive_s,start_s,end_s,lane,served\n")
	free := 0
	for i := range 40 {
		arrive := 20*i + 7*(i%3)
		start := max(arrive, free)
		free = start + 25
		fmt.Fprintf(&b, "1,%d,%d,%d,%d,1,1\n", i+1, arrive, start, free)
	}
	if err := os.WriteFile(filepath.Join(dir, "wellington.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// measureAll runs the program over a small folder of cases.
func measureAll(t *testing.T, data, only string) (page string, figures report) {
	t.Helper()
	t.Chdir(t.TempDir())
	var progress bytes.Buffer
	if err := run(t.Context(), []string{"-data", data, "-only", only, "-out", "a.md"}, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	text, err := os.ReadFile("a.md")
	if err != nil {
		t.Fatal(err)
	}
	details, err := os.ReadFile("a-details.md")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, details...)
	b, err := os.ReadFile(filepath.Join(".cache", "accuracy", figuresFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &figures); err != nil {
		t.Fatal(err)
	}
	return string(text), figures
}

// TestSmallCase measures a made film from end to end; page and figures agree, and
// a second run gives the same.
func TestSmallCase(t *testing.T) {
	data := t.TempDir()
	walk(t, data)
	page, rep := measureAll(t, data, "TUD")
	ours, naive := rep.find("TUD-Campus", loadAll, "given", productName), rep.find("TUD-Campus", loadAll, "given", naiveName)
	if ours == nil || naive == nil || ours.Visits == nil || ours.Visits.Truth != 4 {
		t.Fatalf("results %+v", rep.Results)
	}
	if ours.Tracks.IDF1 < 0.9 || ours.Visits.Got != 4 || ours.Boxes.Recall != 0.87 {
		t.Errorf("tracks %+v, visits %+v", ours.Tracks, ours.Visits)
	}
	want := fmt.Sprintf("| TUD-Campus | given | all | %s (%s) | %s (%s) |", ours.Boxes.Recall.show(percentOf), naive.Boxes.Recall.show(percentOf),
		ours.Boxes.Precision.show(percentOf), naive.Boxes.Precision.show(percentOf))
	if !strings.Contains(page, want) {
		t.Errorf("the page has no line %q:\n%s", want, page)
	}
	for _, line := range []string{
		"| TUD-Campus | given | all | 4 | 4 (" + fmt.Sprint(naive.Visits.Got) + ") |",
		"- TUD-Stadtmitte (../shared/data/tud/TUD-Stadtmitte.gt.txt)",
		"0 of the 0 goals measured in this run are reached; 28 were not measured in it.",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("the page does not say %q:\n%s", line, page)
		}
	}
	again, _ := measureAll(t, data, "TUD")
	if a, b := figuresOnly(page), figuresOnly(again); a != b {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
}

// figuresOnly leaves out what may differ: the head and the speeds.
func figuresOnly(page string) string {
	var b strings.Builder
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "Measured on") {
			continue
		}
		if cells := strings.Split(line, "|"); len(cells) == 12 { // boxes and tracks: the last is a speed
			line = strings.Join(cells[:10], "|")
		}
		b.WriteString(line)
	}
	return b.String()
}

// TestSmallLog replays a made queue: as stays it is exact, and whole lines are.
func TestSmallLog(t *testing.T) {
	data := t.TempDir()
	queueLog(t, data)
	page, rep := measureAll(t, data, "wellington")
	for _, kind := range []string{replayStays, replayLines} {
		r := rep.find("wellington", loadAll, kind, productName)
		if r == nil || r.Waits.Got != 40 || r.Waits.Net != 0 || r.Waits.Absolute != 0 || r.Windows.Mean != 0 || r.Windows.Windows < 2 {
			t.Errorf("%s: waits %+v, windows %+v", kind, r.Waits, r.Windows)
		}
	}
	naive := rep.find("wellington", loadAll, replayLines, naiveName)
	if naive == nil || naive.Waits.Got != 40 || math.Abs(float64(naive.Waits.Bias)) > 0.02 {
		t.Errorf("naive on whole tracks: %+v", naive)
	}
	if g := rep.Goals[len(rep.Goals)-8]; !g.Reached || g.Want != "exact" || !strings.Contains(page, "| "+g.Case+" | error of the mean with stays | exact | 0.0 % |") {
		t.Errorf("goal %+v", g)
	}
}

// TestHallWithoutNoise: the box measures it nearly as it was.
func TestHallWithoutNoise(t *testing.T) {
	t.Parallel()
	p, err := playHall("three-counters", "clean", 3, 20*time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.pipelines()
	if err != nil {
		t.Fatal(err)
	}
	r := p.results(all)[0]
	w := r.Waits
	if r.Pipeline != productName || w.Truth < 5 || w.Got < w.Truth-2 || float64(w.Absolute) > 0.05*float64(w.Truth)*float64(w.MeanTruth) || r.Tracks.IDF1 < 0.99 {
		t.Errorf("waits %+v, tracks %+v", r.Waits, r.Tracks)
	}
}

// TestSeeds: the count of intervals is of all plays.
func TestSeeds(t *testing.T) {
	t.Parallel()
	r := &bench{out: &bytes.Buffer{}}
	c, err := r.runSeeds(t.Context(), []string{"demo"}, 2, 2*time.Minute)
	if err != nil || c.Plays != 2 || c.Held < 0 || c.Held > 2 {
		t.Errorf("%+v %v", c, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.runSeeds(ctx, []string{"demo"}, 2, 2*time.Minute); err == nil {
		t.Error("a stopped run ended well")
	}
}

func TestNaiveTracker(t *testing.T) {
	var lines []floorwatch.Frame
	for n := range 40 {
		f := floorwatch.Frame{T: floorwatch.Time(100 * n), N: int64(n + 1)}
		if n < 10 || n > 15 && n < 20 || n > 35 { // gaps of 0.6 s and 1.6 s
			f.People = []floorwatch.Person{{X: float64(n), Y: 5, W: 50, H: 90, Score: 0.5}, {X: 200, W: 9, H: 9, Score: 0.4}}
		}
		lines = append(lines, f)
	}
	rows := naiveTracks(lines)
	if len(rows) != 18 || rows[0].ID != 1 || rows[13].ID != 1 || rows[14].ID != 2 {
		t.Errorf("%+v", rows)
	}
}

func TestNaiveWaits(t *testing.T) {
	got := naiveWaits([]score.Visit{
		{Zone: "line", ID: "1", Enter: 0, Exit: 50},
		{Zone: "till", ID: "1", Enter: 55, Exit: 90},
		{Zone: "line", ID: "2", Enter: 10, Exit: 30},
		{Zone: "till", ID: "3", Enter: 40, Exit: 60},
	}, logScene())
	want := []score.Wait{
		{Enter: 0, End: 55, Outcome: floorwatch.OutcomeServed},
		{Enter: 10, End: 30, Outcome: floorwatch.OutcomeAbandoned},
		{Enter: 40, End: 40, Outcome: floorwatch.OutcomeServed},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v", got)
	}
}

func TestReadLog(t *testing.T) {
	const head = "session,id,arrive_s,start_s,end_s,lane,served\n"
	got, err := readLog(strings.NewReader(head + "a,1,0,5,9,1,1\na,2,3,3,3,,0\n"))
	if err != nil || len(got["a"]) != 1 || got["a"][0] != (customer{1, 1, logStart, logStart + 5, logStart + 9, true}) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"a,1,x,5,9,1,1", "a,1,6,5,9,1,1", "a,1,-1,5,9,1,1", "a,1,0,5,900000,1,1"} {
		if _, err := readLog(strings.NewReader(head + bad + "\n")); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"-out", "a.txt"}, {"vtest"}, {"-nonsense"}, {"-h"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
