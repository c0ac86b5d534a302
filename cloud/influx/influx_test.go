package influx

import (
	"context"
	"errors"
	goflag "flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch/cloud/site"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// shared is the one real influxd that all tests of the package write to, each
// into a store of its own name.
var shared *Server

func TestMain(m *testing.M) {
	code := func() int {
		goflag.Parse()
		bin, err := kit.Find("influxd")
		if err != nil || testing.Short() {
			return m.Run() // client says what is missing
		}
		dir, err := kit.Folder("influx")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		shared = &Server{Bin: bin, Dir: filepath.Join(dir, "influx")}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- shared.Run(ctx) }()
		ready, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		if _, err := shared.WaitReady(ready); err != nil {
			cancel()
			fmt.Fprintln(os.Stderr, err, <-done)
			return 1
		}
		code := m.Run()
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}()
	os.Exit(code)
}

const testLog = "00112233aabbccdd"

// t0 is recent: what is older than the retention is refused.
var t0 = floorwatch.TimeOf(time.Now()).Floor(24*time.Hour) - 30*86_400_000

func client(t *testing.T) *Client {
	t.Helper()
	kit.Tool(t, "influxd")
	c := &Client{Endpoint: shared.Endpoint}
	t.Cleanup(c.Close)
	return c
}

func stay(zone string, enter, exit floorwatch.Time, id string) *floorwatch.Stay {
	return &floorwatch.Stay{
		Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "hall", Zone: zone, ID: id, At: exit + 2000, Rev: "aabbccddeeff", By: "motion"},
		Enter:  enter, Exit: &exit, EnterSeen: true, ExitSeen: true,
		SeenS: floorwatch.Seconds(exit.Sub(enter)), Tracks: []int64{1, 2},
	}
}

func points(store string, recs ...floorwatch.Record) []Point {
	out := make([]Point, len(recs))
	for i, r := range recs {
		out[i] = Point{Store: store, Edge: "box", Log: testLog, Seq: uint64(i + 1), Record: r}
	}
	return out
}

func TestRecordsComeBackWhole(t *testing.T) {
	c, ctx := client(t), t.Context()
	end, to := t0+60_000, t0+5000
	h := func(kind string) floorwatch.Header {
		return floorwatch.Header{Kind: kind, Camera: "hall", Zone: "table", ID: `odd "id" \ =, ` + "\n排队区", At: t0 + 61_000, Rev: "aabbccddeeff", By: `m,o d=el"\`}
	}
	s := stay("table", t0, end, "s1")
	s.ExitSeen, s.MergedS = false, 1.25
	s.BridgedS, s.Bridges, s.ErrorS = 7.5, 2, 0.125
	wait := &floorwatch.Wait{Header: h(floorwatch.KindWait), Enter: t0, End: &end, Outcome: floorwatch.OutcomeServed, ServiceZone: "counter-1", EnterSeen: true, Direct: true, BridgedS: 0.25, Bridges: 1, ErrorS: 1e-3}
	interval := &floorwatch.Interval{
		Header: h(floorwatch.KindInterval), Start: t0, End: t0 + 300_000, Coverage: 1, ObservedS: 300, PersonS: 1e-7, Occupancy: 0.1 + 0.2,
		Min: 1, Max: 7, Inside: 2, Arrived: 3, Appeared: 4, Departed: 5, Lost: 6, Stays: floorwatch.Sum{N: 2, Sum: 3, Min: 1, Max: 2},
		Crossings: floorwatch.Sum{N: 3, Sum: 6, Min: 1, Max: 3}, Quality: 0.75,
		Waits: &floorwatch.Sum{N: 1, Sum: 9, Min: 9, Max: 9}, Served: 1, Abandoned: 2, Unknown: 3, Direct: 1,
	}
	plain := &floorwatch.Interval{Header: h(floorwatch.KindInterval), Start: t0 + 300_000, End: t0 + 600_000}
	gap := &floorwatch.Gap{Header: h(floorwatch.KindGap), Of: floorwatch.OfObservation, From: t0, To: &to, Cause: "stall: \"no frame\"\nfor 3 s"}
	lost := &floorwatch.Gap{Header: h(floorwatch.KindGap), Of: floorwatch.OfRecords, Cause: "damage", Log: testLog, First: 17, N: 4}
	count := &floorwatch.Count{Header: h(floorwatch.KindCount), Line: "door", Start: t0, End: end, In: 3, Out: 4}
	inside := &floorwatch.Count{Header: h(floorwatch.KindCount), Line: "store", Start: t0, End: end + 1, Coverage: 0.5, Occupancy: new(int64(7)), Drift: new(int64(-2))}
	alert := &floorwatch.Alert{Header: h(floorwatch.KindAlert), Level: "warning", Since: t0, Value: 3, Limit: 2.5}
	word := &floorwatch.Health{Header: h(floorwatch.KindHealth), Figures: map[string]float64{"cpu": 1, "disk_free": 2.5}, Notes: []string{`"x"`}}
	if err := c.Write(ctx, points("whole", s, wait, interval, plain, gap, lost, count, inside, alert, word)); err != nil {
		t.Fatal(err)
	}
	q := Query{Store: "whole", Edge: "box", From: t0, To: t0 + 3_600_000}
	checkRows(t, q, c.Stays, *s)
	checkRows(t, q, c.Waits, *wait)
	checkRows(t, q, c.Intervals, *interval, *plain)
	checkRows(t, q, c.Gaps, *gap, *lost)
	checkRows(t, q, c.Counts, *count, *inside)
	checkRows(t, q, func(ctx context.Context, q Query) ([]floorwatch.Health, error) { // nobody asks for all of it
		return selectRows(ctx, c, q, floorwatch.KindHealth, q.within(), health.read)
	}, *word)
	q.Zone = "elsewhere"
	checkRows(t, q, c.Stays)
}

func TestHealthIsTheNewestOfEachCamera(t *testing.T) {
	c := client(t)
	health := func(camera string, at floorwatch.Time, figure string) *floorwatch.Health {
		return &floorwatch.Health{
			Header:  floorwatch.Header{Kind: floorwatch.KindHealth, Camera: camera, ID: "health", At: at},
			Figures: map[string]float64{figure: float64(at - t0)},
		}
	}
	box, door := health("", t0+60_000, "uptime_s"), health("door", t0+60_001, "frames")
	probe := health("", t0+60_002, floorwatch.FigureProbe)
	if err := c.Write(t.Context(), points("newest", health("", t0, "uptime_s"), health("door", t0+1, "frames"), box, door, probe)); err != nil {
		t.Fatal(err)
	}
	figures := []floorwatch.Figure{floorwatch.FigureUptime, floorwatch.FigureFrames, "never-written"}
	for _, boxes := range [][]site.Source{{{Store: "newest", Edge: "box"}}, nil} {
		got, err := c.LastHealth(t.Context(), boxes, figures, t0+50_000, t0+3_600_000)
		if err != nil {
			t.Fatal(err)
		}
		got = slices.DeleteFunc(got, func(s Sent[floorwatch.Health]) bool { return s.Store != "newest" })
		slices.SortFunc(got, func(a, b Sent[floorwatch.Health]) int { return strings.Compare(a.Record.Camera, b.Record.Camera) })
		if len(got) != 2 || got[0].Edge != "box" {
			t.Fatalf("%+v", got)
		}
		for i, want := range []*floorwatch.Health{box, door} {
			if h := got[i].Record; h.At != want.At || h.Camera != want.Camera || !reflect.DeepEqual(h.Figures, want.Figures) {
				t.Errorf("got  %+v\nwant %+v", h, *want)
			}
		}
	}
}

// TestAllBoxesAreAskedAtOnce reads what two boxes left in one question each.
func TestAllBoxesAreAskedAtOnce(t *testing.T) {
	c := client(t)
	at := t0.Add(400 * 24 * time.Hour) // no other test's records
	to := at.Add(time.Minute)
	gap := &floorwatch.Gap{Header: floorwatch.Header{Kind: floorwatch.KindGap, Camera: "door", ID: "g", At: to}, Of: floorwatch.OfFootage, From: at, To: &to, Cause: "stall"}
	interval := func(zone string, observed float64) *floorwatch.Interval {
		return &floorwatch.Interval{Header: floorwatch.Header{Kind: floorwatch.KindInterval, Camera: "door", Zone: zone, ID: zone, At: to}, Start: at, End: to, ObservedS: observed}
	}
	for _, store := range []string{"all-1", "all-2"} {
		if err := c.Write(t.Context(), points(store, gap, interval("a", 58), interval("b", 59.5))); err != nil {
			t.Fatal(err)
		}
	}
	gaps, err := c.GapsOfAll(t.Context(), at, to.Add(time.Minute))
	slices.SortFunc(gaps, func(a, b Sent[floorwatch.Gap]) int { return strings.Compare(a.Store, b.Store) })
	if err != nil || len(gaps) != 2 || gaps[0].Store != "all-1" || gaps[1].Store != "all-2" || gaps[1].Edge != "box" {
		t.Fatalf("%+v %v", gaps, err)
	}
	if g := gaps[0].Record; g.Of != gap.Of || g.From != at || *g.To != to {
		t.Errorf("%+v", g)
	}
	heard, err := c.Heard(t.Context(), at, to.Add(time.Minute))
	newest := map[string]floorwatch.Time{}
	for _, h := range heard {
		newest[h.Store+"/"+h.Edge] = max(newest[h.Store+"/"+h.Edge], h.At)
	}
	if want := map[string]floorwatch.Time{"all-1/box": to, "all-2/box": to}; err != nil || !reflect.DeepEqual(newest, want) {
		t.Errorf("heard %v %v, want %v", newest, err, want)
	}
	if gaps, err := c.GapsOfAll(t.Context(), to.Add(time.Second), to.Add(time.Minute)); err != nil || len(gaps) != 0 {
		t.Errorf("gaps of before: %+v %v", gaps, err)
	}
	got, err := c.Observed(t.Context(), at, to)
	want := []Observed{
		{site.Source{Store: "all-1", Edge: "box", Camera: "door"}, at, to, 59.5},
		{site.Source{Store: "all-2", Edge: "box", Camera: "door"}, at, to, 59.5},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v %v\nwant %+v", got, err, want)
	}
}

func checkRows[T any](t *testing.T, q Query, get func(context.Context, Query) ([]T, error), want ...T) {
	t.Helper()
	got, err := get(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == len(want) && len(got) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Ends on one frame, replays and order must not matter.
func TestReplaysInAnyOrderGiveTheSamePoints(t *testing.T) {
	c := client(t)
	var recs []floorwatch.Record
	for i := range 40 {
		recs = append(recs, stay([]string{"a", "b"}[i%2], t0, t0+60_000, fmt.Sprint("s", i))) // all end on one frame
	}
	ps := points("replay", recs...)
	q := Query{Store: "replay", Edge: "box", From: t0, To: t0 + 3_600_000}
	var first []floorwatch.Stay
	for round := range 20 {
		rand.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
		if err := c.Write(t.Context(), ps); err != nil {
			t.Fatal(err)
		}
		got, err := c.Stays(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			first = got
		}
		if len(got) != len(recs) || !reflect.DeepEqual(got, first) {
			t.Fatalf("round %d: %d stays, want %d, unchanged", round, len(got), len(recs))
		}
	}
}

func TestQueryWindowLimitAndNames(t *testing.T) {
	c, ctx := client(t), t.Context()
	var recs []floorwatch.Record
	for i := range 10 {
		exit := t0 + floorwatch.Time(i+1)*1000
		recs = append(recs, stay("table", t0, exit, fmt.Sprint(i)))
	}
	if err := c.Write(ctx, points("window", recs...)); err != nil {
		t.Fatal(err)
	}
	q := Query{Store: "window", Edge: "box", From: t0 + 2000, To: t0 + 5000}
	got, err := c.Stays(ctx, q)
	if err != nil || len(got) != 3 || got[0].ID != "1" || got[2].ID != "3" {
		t.Errorf("exits in [2 s, 5 s): %v %v, want stays 1, 2, 3", got, err)
	}
	q.Limit = 2
	got, err = c.Stays(ctx, q)
	if err != nil || len(got) != 2 || got[0].ID != "2" || got[1].ID != "3" {
		t.Errorf("newest two: %v %v, want stays 2, 3", got, err)
	}
	for _, bad := range []Query{
		{Store: "window"},
		{Store: "window", Edge: "box' OR '1'='1"},
		{Store: "window", Edge: "box", Zone: `x"`},
		{Store: "window", Edge: "box", From: 5, To: 4},
		{Store: "window", Edge: "box", From: -1},
		{Store: "window", Edge: "box", To: 1 << 62},
	} {
		if _, err := c.Stays(ctx, bad); err == nil {
			t.Errorf("query %+v was answered, want an error", bad)
		}
	}
}

func TestOneBadPointInFiveThousand(t *testing.T) {
	c := client(t)
	var recs []floorwatch.Record
	for i := range 5000 {
		recs = append(recs, stay("table", t0, t0+floorwatch.Time(i+1), fmt.Sprint("s", i)))
	}
	old := floorwatch.Time(1) // beyond the retention policy: the server drops it
	recs[1234] = stay("table", 0, old, "old")
	open := stay("table", t0, t0, "open") // refused before it is sent
	open.Exit = nil
	recs[4321] = open
	err := c.Write(t.Context(), points("bisect", recs...))
	var bad *WriteError
	if !errors.As(err, &bad) || len(bad.Bad()) != 2 || bad.Bad()[1234] == nil || bad.Bad()[4321] == nil {
		t.Fatalf("write: %v, want exactly points 1234 and 4321 refused", err)
	}
	if text := bad.Bad()[1234].Error(); !strings.Contains(text, "beyond retention policy") {
		t.Errorf("reason %q, want the server's own", text)
	}
	got, err := c.Stays(t.Context(), Query{Store: "bisect", Edge: "box", From: t0, To: t0 + 3_600_000})
	if err != nil || len(got) != 4998 {
		t.Errorf("%d stays stored (%v), want 4998", len(got), err)
	}
}

func TestLineRefusals(t *testing.T) {
	s := stay("table", t0, t0+1000, "x")
	for name, p := range map[string]Point{
		"open gap":      {Store: "s", Edge: "e", Record: &floorwatch.Gap{Header: floorwatch.Header{Kind: floorwatch.KindGap}, Of: floorwatch.OfFootage}},
		"open wait":     {Store: "s", Edge: "e", Record: &floorwatch.Wait{Header: floorwatch.Header{Kind: floorwatch.KindWait}}},
		"segment":       {Store: "s", Edge: "e", Record: &floorwatch.Segment{Header: floorwatch.Header{Kind: floorwatch.KindSegment}}},
		"another kind":  {Store: "s", Edge: "e", Record: &floorwatch.Stay{Header: floorwatch.Header{Kind: floorwatch.KindHealth}}},
		"store name":    {Store: "s,x=1 ", Edge: "e", Record: s},
		"zone name":     {Store: "s", Edge: "e", Record: stay("a b", t0, t0+1, "x")},
		"large number":  {Store: "s", Edge: "e", Seq: 1 << 63, Record: s},
		"long text":     {Store: "s", Edge: "e", Record: stay("table", t0, t0+1, strings.Repeat("x", maxText+1))},
		"figure's name": {Store: "s", Edge: "e", Record: &floorwatch.Health{Header: floorwatch.Header{Kind: floorwatch.KindHealth}, Figures: map[string]float64{"a b": 1}}},
	} {
		if text, err := appendLine(nil, p); err == nil {
			t.Errorf("%s: encoded as %q, want an error", name, text)
		}
	}
}

// A server that dies says so, and after a restart the same client goes on.
func TestServerDiesAndComesBack(t *testing.T) {
	srv := &Server{Bin: kit.Tool(t, "influxd"), Dir: filepath.Join(t.TempDir(), "db"), Log: slog.New(slog.DiscardHandler)}
	c := &Client{Endpoint: srv.Endpoint}
	t.Cleanup(c.Close)
	ps := points("again", stay("table", t0, t0+1000, "x"))
	if err := c.Write(t.Context(), ps); err == nil {
		t.Fatal("write before the server is up succeeded")
	}
	for round := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- srv.Run(ctx) }()
		if _, err := srv.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if err := c.Write(t.Context(), ps); err != nil {
				t.Fatal(err)
			}
			killChild(t, srv.Dir)
			if err := <-done; err == nil || !strings.Contains(err.Error(), "run influxd") {
				t.Errorf("Run after a kill: %v, want an error that says it", err)
			}
			if _, err := srv.Endpoint(); err == nil {
				t.Error("a dead server still has an endpoint")
			}
			cancel()
			continue
		}
		got, err := c.Stays(t.Context(), Query{Store: "again", Edge: "box", From: t0, To: t0 + 10_000})
		if err != nil || len(got) != 1 {
			t.Errorf("after the restart %d stays (%v), want the one that was confirmed", len(got), err)
		}
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("stopping took %s", took)
		}
	}
}

// killChild sends SIGKILL to the one influxd whose configuration lies in dir.
func killChild(t *testing.T, dir string) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		b, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(b), filepath.Join(dir, configFile)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d/cmdline", &pid); err != nil {
			t.Fatal(err)
		}
		proc, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := proc.Kill(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the child was not found")
}

func TestServerWithoutInfluxd(t *testing.T) {
	if _, err := os.Stat(Packaged); err == nil {
		t.Skip("left out: the package floorwatch-cloud is installed here")
	}
	t.Setenv("PATH", t.TempDir())
	err := (&Server{Dir: t.TempDir()}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "which the package floorwatch-cloud brings") {
		t.Errorf("Run without influxd: %v, want a word on what to do", err)
	}
}

func BenchmarkAppendLine(b *testing.B) {
	p := points("s1", stay("table", t0, t0+5000, "x"))[0]
	var buf []byte
	b.ReportAllocs()
	for range b.N {
		var err error
		if buf, err = appendLine(buf[:0], p); err != nil {
			b.Fatal(err)
		}
	}
}
