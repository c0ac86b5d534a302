package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
)

// TestHallScene walks people through the example of a queue and two counters:
// one is served, one gives up, one goes to the counter directly.
func TestHallScene(t *testing.T) {
	type step struct{ id, from, to, x, y int }
	steps := []step{
		{1, 0, 20, 40, 400},
		{1, 20, 300, 200, 400},
		{1, 300, 320, 200, 285},
		{1, 320, 500, 200, 200},
		{2, 30, 50, 600, 400},
		{2, 50, 150, 500, 400},
		{2, 150, 170, 600, 400},
		{3, 60, 80, 700, 200},
		{3, 80, 400, 500, 200},
	}
	var lines []floorwatch.Frame
	for i := range 1300 { // a minute longer than anybody is there, so that all is certain
		f := floorwatch.Frame{T: floorwatch.Time(1000 + 100*i), N: int64(i + 1), People: []floorwatch.Person{}}
		for _, s := range steps {
			if i >= s.from && i < s.to {
				f.People = append(f.People, stand(int64(s.id), float64(s.x), float64(s.y)))
			}
		}
		lines = append(lines, f)
	}
	out, err := runCommand(t, runStays, encode(t, lines), "-zones", filepath.Join("testdata", "hall.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for line := range strings.Lines(out) {
		var w floorwatch.Wait
		if err := json.Unmarshal([]byte(line), &w); err != nil {
			t.Fatal(err)
		}
		if w.Kind != floorwatch.KindWait {
			continue
		}
		if w.End == nil {
			t.Fatalf("%s still waits", w.ID)
		}
		what := strings.TrimSpace(w.Outcome + " " + w.ServiceZone)
		if w.Direct {
			what += " direct"
		}
		got[what] = int(*w.End-w.Enter) / 1000
	}
	want := map[string]int{"served counter-1": 30, "abandoned": 10, "served counter-2 direct": 0}
	for what, s := range want {
		if have, ok := got[what]; !ok || have != s || len(got) != len(want) {
			t.Errorf("waits %v s, want %v", got, want)
			break
		}
	}
}
