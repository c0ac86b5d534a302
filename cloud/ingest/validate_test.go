package ingest

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"floorwatch"
)

const t0 = floorwatch.Time(1763755200000)

var testWindow = window{t0 - 1000*3600*24*400, t0 + floorwatch.Time(maxAhead/time.Millisecond)}

func good(kind string) map[string]any {
	h := map[string]any{"kind": kind, "camera": "hall", "zone": "table", "id": "x1", "at": t0, "rev": "aabbccddeeff", "by": "motion"}
	more := map[string]map[string]any{
		"stay":     {"enter": t0 - 9000, "exit": t0, "enter_seen": true, "exit_seen": true, "seen_s": 8, "merged_s": 1, "tracks": []int{1}},
		"wait":     {"enter": t0 - 9000, "end": t0, "outcome": "served", "service_zone": "counter-1"},
		"interval": {"start": t0 - 300_000, "end": t0, "coverage": 1, "observed_s": 300, "person_s": 12, "occupancy": 0.04, "occupancy_max": 2, "stays": map[string]any{"n": 1, "sum": 9, "min": 9, "max": 9}},
		"count":    {"line": "door", "start": t0 - 60_000, "end": t0, "in": 3, "out": 4},
		"gap":      {"of": "observation", "from": t0 - 5000, "to": t0, "cause": "stall"},
		"segment":  {"file": "1.mp4", "chain": "00112233aabbccdd", "seq": 1, "start": t0 - 60_000, "end": t0, "bytes": 1},
		"alert":    {"level": "warning", "since": t0 - 1000, "value": 9, "limit": 8},
		"health":   {"figures": map[string]any{"disk_free": 0.5}, "notes": []string{"gop of camera hall is 4 s"}},
	}[kind]
	for k, v := range more {
		h[k] = v
	}
	return h
}

func raw(t testing.TB, m map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoodRecordsPass(t *testing.T) {
	for _, kind := range []string{"stay", "wait", "interval", "count", "gap", "segment", "alert", "health"} {
		m := good(kind)
		m["a field of later versions"] = []any{1, "x"}
		rec, err := floorwatch.ParseRecord(raw(t, m))
		if err == nil {
			err = check(rec, testWindow)
		}
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	lost := good("gap")
	lost["of"], lost["log"], lost["first"], lost["n"], lost["from"], lost["to"] = "records", "00112233aabbccdd", 5, 2, 0, nil
	delete(lost, "camera")
	delete(lost, "zone")
	rec, err := floorwatch.ParseRecord(raw(t, lost))
	if err == nil {
		err = check(rec, testWindow)
	}
	if err != nil {
		t.Errorf("gap of records: %v", err)
	}
}

// badRecords change one thing of a good record each.
var badRecords = []struct {
	kind, field string
	value       any
	want        string // in the reason
}{
	{"stay", "zone", "", "zone is missing"},
	{"stay", "camera", "", "camera is missing"},
	{"stay", "id", "", "id is missing"},
	{"stay", "id", strings.Repeat("x", 201), "limit 200"},
	{"stay", "rev", strings.Repeat("x", 201), "limit 200"},
	{"stay", "zone", "table,host=evil 1", "a name is"},
	{"stay", "zone", "Tisch\n", "a name is"},
	{"stay", "camera", "../etc", "a name is"},
	{"stay", "exit", nil, "still open"},
	{"stay", "exit", t0 - 10_000, "runs backwards"},
	{"stay", "enter", 0, "runs backwards or starts before 1970"},
	{"stay", "enter", -5, "runs backwards or starts before 1970"},
	{"stay", "exit", t0 + 601_000, "ahead of the clock"},
	{"stay", "exit", int64(math.MaxInt64), "ahead of the clock"},
	{"stay", "at", t0 + 601_000, "ahead of the clock"},
	{"stay", "at", 1, "older than the retention"},
	{"stay", "at", int64(math.MinInt64), "older than the retention"},
	{"stay", "seen_s", -0.1, "seen_s is -0.1"},
	{"stay", "seen_s", 9.5, "want 0 to"},
	{"stay", "merged_s", 2.5, "seen_s + merged_s"},
	{"stay", "bridged_s", 2.5, "merged_s + bridged_s"},
	{"stay", "bridges", -1, "a count is -1"},
	{"wait", "error_s", -0.5, "error_s"},
	{"interval", "quality", 2.5, "quality"},
	{"interval", "crossings", map[string]any{"n": -1}, "crossings"},
	{"stay", "seen_s", 1e300, "want 0 to"},
	{"stay", "seen_s", "many", "parse stay record"},
	{"stay", "enter", 1.5, "parse stay record"},
	{"stay", "enter", "9223372036854775808", "parse stay record"},
	{"stay", "tracks", make([]int, 1001), "limit 1000"},
	{"stay", "kind", "visit", "unknown kind"},
	{"stay", "kind", 7, "parse record"},
	{"wait", "end", nil, "still open"},
	{"wait", "end", t0 - 10_000, "runs backwards"},
	{"wait", "outcome", "bored", "outcome"},
	{"wait", "service_zone", "a b", "a name is"},
	{"interval", "start", t0, "more than 0"},
	{"interval", "start", t0 - 25*3_600_000, "at most"},
	{"interval", "start", -t0, "an interval of"},
	{"interval", "coverage", 1.2, "coverage"},
	{"interval", "coverage", -0.2, "coverage"},
	{"interval", "observed_s", 301, "observed_s"},
	{"interval", "person_s", -1, "person_s"},
	{"interval", "occupancy_min", 3, "above occupancy_max"},
	{"interval", "arrived", -1, "a count is -1"},
	{"interval", "lost", 1 << 41, "a count is"},
	{"interval", "stays", map[string]any{"n": -1}, "a count is -1"},
	{"interval", "stays", map[string]any{"n": 1, "sum": 3, "min": 3, "max": 2}, "above max"},
	{"interval", "waits", map[string]any{"n": 1, "sum": -3}, "waits sum"},
	{"gap", "of", "patience", "want footage, observation or records"},
	{"gap", "of", "records", "count from 1"},
	{"gap", "cause", "", "cause has 0 bytes"},
	{"gap", "cause", strings.Repeat("x", 2049), "cause has 2049 bytes"},
	{"gap", "from", 0, "starts before 1970"},
	{"gap", "to", nil, "still open"},
	{"gap", "to", t0 - 6000, "runs backwards"},
	{"count", "line", "", "line"},
	{"count", "in", -1, "a count is -1"},
	{"count", "end", t0 - 61_000, "runs backwards"},
	{"segment", "seq", 0, "count from 1"},
	{"segment", "bytes", -1, "count from 1"},
	{"segment", "end", t0 - 61_000, "runs backwards"},
	{"alert", "level", "", "level"},
	{"alert", "since", t0 + 1, "runs backwards"},
	{"health", "figures", map[string]any{"a b": 1}, "a name is"},
	{"health", "notes", make([]string, 21), "limits"},
	{"health", "notes", []string{strings.Repeat("x", 2049)}, "limit 2048"},
}

func TestBadRecordsAreRefused(t *testing.T) {
	for _, c := range badRecords {
		m := good(c.kind)
		m[c.field] = c.value
		rec, err := floorwatch.ParseRecord(raw(t, m))
		if err == nil {
			err = check(rec, testWindow)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s = %.40v: %v, want a reason with %q", c.kind, c.field, c.value, err, c.want)
		}
	}
	many := map[string]float64{}
	for i := range 65 {
		many[fmt.Sprint("f", i)] = 1
	}
	inf := floorwatch.Header{Kind: "alert", At: t0}
	for _, rec := range []floorwatch.Record{
		&floorwatch.Stay{},
		&floorwatch.Crossing{},
		&floorwatch.Health{Figures: many},
		&floorwatch.Alert{Header: inf, Level: "w", Since: 1, Value: math.NaN()},
		&floorwatch.Alert{Header: inf, Level: "w", Since: 1, Limit: math.Inf(1)},
	} {
		if check(rec, testWindow) == nil {
			t.Errorf("%+v passed", rec)
		}
	}
}

// FuzzRecord: whatever comes, the checks end, and what they let through holds
// what the schema needs.
func FuzzRecord(f *testing.F) {
	for _, kind := range []string{"stay", "wait", "interval", "count", "gap", "segment", "alert", "health"} {
		f.Add(raw(f, good(kind)))
	}
	for _, c := range badRecords {
		m := good(c.kind)
		m[c.field] = c.value
		f.Add(raw(f, m))
	}
	for _, s := range []string{"", "null", "[]", "{}", `{"kind":"stay"}`, `{"kind":"stay","seen_s":1e999}`, "{\"kind\":\"gap\xff\"}", strings.Repeat("[", 20000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := floorwatch.ParseRecord(b)
		if err != nil || check(rec, testWindow) != nil {
			return
		}
		h := rec.Head()
		if h.At < testWindow.oldest || h.At > testWindow.newest {
			t.Errorf("at %d passed", h.At)
		}
		for _, n := range []string{h.Camera, h.Zone} {
			if n != "" && !floorwatch.ValidName(n) {
				t.Errorf("name %q passed", n)
			}
		}
		if s, ok := rec.(*floorwatch.Stay); ok && (s.Exit == nil || *s.Exit < s.Enter || s.SeenS < 0) {
			t.Errorf("stay %+v passed", s)
		}
	})
}

func TestHistogramQuantiles(t *testing.T) {
	var h histogram
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	h.add(-time.Second) // a box whose clock runs ahead
	d := h.delay()
	for _, c := range []struct{ got, want time.Duration }{{d.Median, 500 * time.Millisecond}, {d.P95, 950 * time.Millisecond}} {
		if ratio := float64(c.got) / float64(c.want); ratio < 0.94 || ratio > 1.06 {
			t.Errorf("quantile %s, want %s within 6 %%", c.got, c.want)
		}
	}
	if d.Max != time.Second || d.N != 1001 {
		t.Errorf("max %s of %d, want 1s of 1001", d.Max, d.N)
	}
	if (&histogram{}).delay() != (Delay{}) {
		t.Error("an empty histogram has figures")
	}
}
