package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/edge/queue"
	"floorwatch/edge/trail"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/webtest"
	"floorwatch/internal/program"

	"github.com/chromedp/chromedp"
)

// screen collects what a person would read, for a test that reads along.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// await returns the first submatch of pattern on the screen.
func (s *screen) await(t *testing.T, pattern string, patience time.Duration) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		if m := re.FindStringSubmatch(s.String()); m != nil {
			return m[len(m)-1]
		}
		if text := s.String(); strings.Contains(text, "ended:") {
			t.Fatalf("the product ended:\n%s", text)
		}
		select {
		case <-deadline:
			t.Fatalf("%q did not appear within %s; the screen says:\n%s", pattern, patience, s)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// product is a running `floorwatch run`.
type running struct {
	screen *screen
	url    string
	data   string
	stop   context.CancelFunc
	done   chan error
}

// startRun runs the sample configuration on a data folder of its own.
func startRun(t *testing.T, data string, change ...string) *running {
	t.Helper()
	kit.UseTools(t, "influxd", "ffmpeg", "ffprobe", "chromium", "floorwatch-camera")
	film := kit.Film(t)
	sample, err := os.ReadFile(kit.Repository(t, "deploy/floorwatch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	edits := append([]string{
		"  data: data\n", "  data: " + data + "\n",
		".cache/film.mp4", film,
		"127.0.0.1:8080", "127.0.0.1:0",
		"detector: auto", "detector: motion", // the same with and without a model
		"fps: 10", "fps: 12", // every frame of the film, also when one comes a little early
	}, change...)
	config := filepath.Join(t.TempDir(), "run.yaml")
	if err := os.WriteFile(config, []byte(strings.NewReplacer(edits...).Replace(string(sample))), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{screen: &screen{}, data: data, stop: stop, done: make(chan error, 1)}
	go func() {
		err := run(ctx, []string{"run", "-config", config}, stdio{strings.NewReader(""), r.screen, r.screen})
		_, _ = fmt.Fprintln(r.screen, "ended:", err)
		r.done <- err
	}()
	t.Cleanup(func() { stop() })
	r.url = r.screen.await(t, `Page\s+(http://\S+)`, 60*time.Second)
	return r
}

// end stops the product as Ctrl-C does and checks that it does not hang: on a quiet
// machine it takes a third of a second.
func (r *running) end(t *testing.T) {
	t.Helper()
	began := time.Now()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatalf("stop: %v\n%s", err, r.screen)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func (r *running) get(t *testing.T, path string, into any) {
	t.Helper()
	resp, err := http.Get(r.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v: %.300s", path, resp.Status, err, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("GET %s: %v: %.300s", path, err, b)
	}
}

// TestWholePath drives film -> RTSP -> worker -> stays -> outbox -> MQTT ->
// InfluxDB -> page for one pass of the film, stops, starts again, and then says
// of the records in InfluxDB: they are exactly what the stages alone make of the
// worker's lines, what the page shows, and about one pass over the film as a file.
func TestWholePath(t *testing.T) {
	data := t.TempDir()
	r := startRun(t, data)
	r.screen.await(t, `first figure on the page, ([0-9.]+) s`, 60*time.Second)
	watchPage(t, r)
	awaitFilm(t, r)
	shown := pageStays(t, r)
	r.end(t)
	checkNothingLeft(t)
	lines := trailLines(t, data)
	stages := runStages(t, lines)

	r = startRun(t, data) // what the stop had settled last arrives now
	last := lines[len(lines)-1].T
	stored := awaitStays(t, r, last, len(stages.stays))
	checkSame(t, "stay", stored, stages.stays)
	// What had not settled when it stopped goes on in the second run, and is
	// certain later than at the end of the stages' input.
	settled := last.Add(-queue.Settle(floorwatch.Scene{Zones: []floorwatch.Zone{{MinStay: floorwatch.DefaultMinStay, MergeGap: floorwatch.DefaultMergeGap, Bridge: 5 * time.Second}}})).Floor(every)
	whole := slices.DeleteFunc(stages.intervals, func(v floorwatch.Interval) bool { return v.End > settled })
	checkSame(t, "interval", awaitIntervals(t, r, settled, len(whole)), whole)
	checkShown(t, shown, stored)
	awaitDowntime(t, r, last)
	r.end(t)
	compareWithFile(t, lines, stages.stays)
	verifyFolder(t, data)
}

// filmLength is how long the film plays, filmFrames how many pictures it has.
const (
	filmLength = 79500 * time.Millisecond
	filmFrames = 795.0
)

func trailOf(data string) *trail.Trail {
	return &trail.Trail{Dir: filepath.Join(data, edge.FootageDir)}
}

// trailLines returns what the worker printed, as the agent kept it.
func trailLines(t *testing.T, data string) []floorwatch.Frame {
	t.Helper()
	now := floorwatch.TimeOf(time.Now())
	lines, err := trailOf(data).Lines(t.Context(), "film", now.Add(-time.Hour), now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// awaitFilm returns when the box has seen the film once.
func awaitFilm(t *testing.T, r *running) {
	t.Helper()
	var first floorwatch.Time
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); <-time.After(250 * time.Millisecond) {
		if first == 0 {
			if lines := trailLines(t, r.data); len(lines) > 0 {
				first = lines[0].T
			}
		}
		last, err := trailOf(r.data).Last("film")
		if err == nil && first > 0 && last.Sub(first) >= filmLength {
			return
		}
	}
	t.Fatalf("the film did not play to its end\n%s", r.screen)
}

// watchPage opens the page in a browser, sees figures and stays come in, and
// plays the clip behind one of them.
func watchPage(t *testing.T, r *running) {
	t.Helper()
	ctx := webtest.Browser(t)
	faults := &webtest.Faults{}
	faults.Watch(ctx, strings.TrimPrefix(r.url, "http://"))
	webtest.Run(t, ctx, "open the page", chromedp.Navigate(r.url))
	webtest.Until(t, ctx, `document.querySelector("#conn.ok") !== null`)
	webtest.Until(t, ctx, `[...document.querySelectorAll(".tile[data-zone] b")].some(b => /^[0-9]+$/.test(b.textContent))`)
	webtest.Until(t, ctx, `document.querySelectorAll("#stays li[data-key]").length >= 3`)
	webtest.Run(t, ctx, "play a clip", chromedp.Evaluate(`document.querySelector("#stays li[data-key] .play").click()`, nil))
	webtest.Until(t, ctx, `document.querySelector("#video").currentTime > 1`)
	for _, f := range faults.All() {
		t.Errorf("the page: %s", f)
	}
}

// pageStays returns the stays that the page lists, as zone/id.
func pageStays(t *testing.T, r *running) []string {
	t.Helper()
	ctx := webtest.Browser(t)
	var ids []string
	webtest.Run(t, ctx, "open the page", chromedp.Navigate(r.url))
	webtest.Until(t, ctx, `document.querySelectorAll("#stays li[data-key]").length >= 3`)
	webtest.Run(t, ctx, "read the stays", chromedp.Evaluate(`[...document.querySelectorAll("#stays li[data-key]")].map(li => li.dataset.key)`, &ids))
	return ids
}

func checkShown(t *testing.T, shown []string, stored []floorwatch.Stay) {
	t.Helper()
	known := map[string]bool{}
	for _, s := range stored {
		known[s.Zone+"/"+s.ID] = true
	}
	for _, id := range shown {
		if !known[id] {
			t.Errorf("the page showed stay %s, which is not stored", id)
		}
	}
}

// checkNothingLeft sees that no child of this process is alive.
func checkNothingLeft(t *testing.T) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "args=", "--ppid", strconv.Itoa(os.Getpid())).Output()
	if err != nil {
		t.Fatalf("list children: %v", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if strings.Contains(line, "influxd") || strings.Contains(line, "ffmpeg") || strings.Contains(line, "floorwatch-camera") {
			t.Errorf("left behind: %s", line)
		}
	}
}

// sampleZones repeats the zones of deploy/floorwatch.yaml; records carry their
// hash, so a difference fails every comparison.
const sampleZones = `
picture: {width: 768, height: 576}
zones:
  - {name: crossing, bridge: 5s, polygon: [[300, 205], [560, 205], [560, 330], [300, 330]]}
  - {name: right-road, bridge: 5s, polygon: [[560, 180], [760, 180], [760, 330], [560, 330]]}
`

type stageRecords struct {
	stays     []floorwatch.Stay
	intervals []floorwatch.Interval
}

// runStages feeds lines to the commands that run the stages alone.
func runStages(t *testing.T, lines []floorwatch.Frame) stageRecords {
	t.Helper()
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, f := range lines {
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	zones := filepath.Join(t.TempDir(), "zones.yaml")
	if err := os.WriteFile(zones, []byte(sampleZones), 0o600); err != nil {
		t.Fatal(err)
	}
	stays, err := runCommand(t, run, in.String(), "stays", "-zones", zones, "-camera", "film")
	if err != nil {
		t.Fatal(err)
	}
	intervals, err := runCommand(t, run, stays, "intervals", "-zones", zones, "-every", "10s")
	if err != nil {
		t.Fatal(err)
	}
	return stageRecords{decode[floorwatch.Stay](t, stays, floorwatch.KindStay), decode[floorwatch.Interval](t, intervals, floorwatch.KindInterval)}
}

// decode returns the records of a kind out of JSON lines.
func decode[T any](t *testing.T, lines, kind string) []T {
	t.Helper()
	var out []T
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		var h floorwatch.Header
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if h.Kind != kind {
			continue
		}
		var rec T
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// awaitStays returns the stored stays that ended up to last once there are n.
func awaitStays(t *testing.T, r *running, last floorwatch.Time, n int) []floorwatch.Stay {
	t.Helper()
	var answer struct{ Stays []floorwatch.Stay }
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(250 * time.Millisecond) {
		r.get(t, fmt.Sprintf("/api/stays?store=demo&edge=box&limit=5000&from=%d&to=%d", last.Add(-time.Hour), last+1), &answer)
		if len(answer.Stays) >= n || time.Now().After(deadline) {
			return answer.Stays
		}
	}
}

// every is the interval of deploy/floorwatch.yaml.
const every = 10 * time.Second

// awaitIntervals returns the stored intervals that end up to the given time
// once there are n.
func awaitIntervals(t *testing.T, r *running, to floorwatch.Time, n int) []floorwatch.Interval {
	t.Helper()
	var answer struct{ Intervals []floorwatch.Interval }
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(250 * time.Millisecond) {
		r.get(t, fmt.Sprintf("/api/intervals?store=demo&edge=box&limit=5000&from=%d&to=%d", to.Add(-time.Hour), to), &answer)
		if len(answer.Intervals) >= n || time.Now().After(deadline) {
			return answer.Intervals
		}
	}
}

var clockRE = regexp.MustCompile(`"(boot|mono|unsynced)":[^,}]*,?`)

// checkSame wants exactly the same records, whatever their order; but for the
// clock by which the agent made them, which the stages alone do not have.
func checkSame[T any](t *testing.T, what string, stored, alone []T) {
	t.Helper()
	encode := func(recs []T) []string {
		out := make([]string, len(recs))
		for i, r := range recs {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = clockRE.ReplaceAllString(string(b), "")
		}
		slices.Sort(out)
		return out
	}
	a, b := encode(stored), encode(alone)
	if len(b) == 0 {
		t.Fatalf("the stages alone made no %s", what)
	}
	for _, rec := range a {
		if !slices.Contains(b, rec) {
			t.Errorf("stored, but not made by the stages alone: %s", rec)
		}
	}
	for _, rec := range b {
		if !slices.Contains(a, rec) {
			t.Errorf("made by the stages alone, but not stored: %s", rec)
		}
	}
	t.Logf("%d %s records are the same in InfluxDB and from the stages alone", len(b), what)
}

// awaitDowntime wants the time between the two runs booked as a gap.
func awaitDowntime(t *testing.T, r *running, last floorwatch.Time) {
	t.Helper()
	type span struct {
		Start, End floorwatch.Time
		Cause      string
	}
	var answer struct {
		Gaps []span `json:"observation_gaps"`
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(250 * time.Millisecond) {
		r.get(t, fmt.Sprintf("/api/timeline?store=demo&edge=box&camera=film&from=%d&to=%d", last.Add(-time.Minute), last.Add(time.Minute)), &answer)
		for _, g := range answer.Gaps {
			if g.Cause == "the agent was not running" && g.Start.Sub(last).Abs() < time.Second {
				return
			}
		}
	}
	t.Errorf("the time between the runs is no gap; the timeline says %+v", answer)
}

// compareWithFile runs the worker over the film as a file and wants about the
// same people inside as live, which went on for a length in seconds.
//
// A machine that is too busy to look at every frame sees other people than the
// file has: then the two are told and not judged. That it keeps up is measured,
// not tested.
func compareWithFile(t *testing.T, lines []floorwatch.Frame, live []floorwatch.Stay) {
	t.Helper()
	length := floorwatch.Seconds(lines[len(lines)-1].T.Sub(lines[0].T))
	frames := 0
	for _, f := range lines {
		if f.Event == "" {
			frames++
		}
	}
	judge := t.Errorf
	if share := float64(frames) / (filmFrames * length / filmLength.Seconds()); share < 0.95 {
		judge = func(format string, args ...any) {
			t.Logf("not judged, the worker looked at %.0f %% of the frames: "+format, append([]any{100 * share}, args...)...)
		}
	}
	camera, err := program.Find(program.Camera)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(camera, "-source", kit.Film(t), "-detector", "motion", "-pace", "max", "-start", "2026-01-01T00:00:00Z").Output()
	if err != nil {
		t.Fatalf("run over the file: %v", err)
	}
	file := runStages(t, decode[floorwatch.Frame](t, string(out), "")).stays
	a, b := seenSeconds(live)/length, seenSeconds(file)/floorwatch.Seconds(filmLength)
	t.Logf("live %d stays, %.2f people inside; file %d stays, %.2f people inside", len(live), a, len(file), b)
	if n := float64(len(live)) / float64(len(file)); n < 0.8 || n > 1.25 {
		judge("live counts %d stays, the file %d: too far apart", len(live), len(file))
	}
	if m := a / b; m < 0.9 || m > 1.1 {
		judge("live sees %.2f people inside, the file %.2f: more than 10 %% apart", a, b)
	}
}

// seenSeconds is how long people were seen inside, all together: unlike the mean
// stay it does not hang on where chance broke a track.
func seenSeconds(stays []floorwatch.Stay) float64 {
	var sum float64
	for _, s := range stays {
		sum += s.SeenS
	}
	return sum
}

// verifyFolder runs `floorwatch verify` on the box's footage.
func verifyFolder(t *testing.T, data string) {
	t.Helper()
	out, err := runCommand(t, run, "", "verify", filepath.Join(data, edge.FootageDir))
	if err != nil {
		t.Errorf("the footage is not sound: %v\n%s", err, out)
	}
}
