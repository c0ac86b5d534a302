package main

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
)

const doorLines = `lines:
  - {name: door, from: [0, 100], to: [200, 100]}
  - {name: gate, from: [100, 0], to: [100, 200]}
`

// countsOf keeps the count records of what a stage gave.
func countsOf(t *testing.T, recs []floorwatch.Record) (out []string, last floorwatch.Time) {
	t.Helper()
	for _, r := range recs {
		if _, ok := r.(*floorwatch.Crossing); ok {
			t.Fatal("a crossing would be published beside its count")
		}
		c, ok := r.(*floorwatch.Count)
		if !ok {
			continue
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		out, last = append(out, string(b)), c.End
	}
	return out, last
}

func feedAll(t *testing.T, stage *queue.Stage, lines []floorwatch.Frame) (recs []floorwatch.Record) {
	t.Helper()
	for _, f := range lines {
		r, err := stage.Feed(f)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r...)
	}
	return recs
}

// TestCountsLiveEqualOffline: the counts that the agent publishes are, byte for
// byte, those that the commands print, they hold every crossing once, and a
// restart in the middle changes none.
func TestCountsLiveEqualOffline(t *testing.T) {
	zones := writeFile(t, "zones.yaml", bankZones+doorLines)
	scene, err := loadZones(zones)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 3))
		lines := randomLines(rng, 2000)
		stop := floorwatch.Frame{T: lines[999].T, Event: floorwatch.EventOpen, By: "motion"}
		lines = slices.Insert(lines, 1000, stop)
		want, _ := countsOf(t, feedAll(t, newStage(t, scene, 10*time.Second), withTicks(rng, lines)))

		stays, err := runCommand(t, runStays, encode(t, lines), "-zones", zones)
		if err != nil {
			t.Fatal(err)
		}
		out, err := runCommand(t, runIntervals, stays, "-zones", zones, "-every", "10s")
		if err != nil {
			t.Fatal(err)
		}
		offline := slices.DeleteFunc(strings.Split(strings.TrimSpace(out), "\n"), func(l string) bool { return !strings.Contains(l, `"kind":"count"`) })
		expectPrefix(t, seed, "count", want, strings.Join(offline, "\n"))
		conserveCrossings(t, seed, stays, offline)

		before := newStage(t, scene, 10*time.Second)
		got, published := countsOf(t, feedAll(t, before, lines[:1001]))
		again := newStage(t, scene, 10*time.Second)
		kept := feedAll(t, newStage(t, scene, 0), lines[:1001])
		if err := again.Replay(kept, published); err != nil {
			t.Fatal(err)
		}
		more, _ := countsOf(t, feedAll(t, again, lines[1000:]))
		if got = append(got, more...); len(want) < 20 || !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d counts with a restart, %d without", seed, len(got), len(want))
		}
	}
}

// conserveCrossings expects every crossing in one count, and in no other.
func conserveCrossings(t *testing.T, seed uint64, stays string, counts []string) {
	t.Helper()
	balance := map[string]int64{}
	for line := range strings.Lines(stays) {
		rec, err := floorwatch.ParseRecord([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := rec.(*floorwatch.Crossing); ok {
			balance[c.Line+map[bool]string{true: "+", false: "-"}[c.In]]++
		}
	}
	if len(balance) < 4 {
		t.Fatalf("seed %d: too few crossings to tell: %v", seed, balance)
	}
	for _, line := range counts {
		var c floorwatch.Count
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if c.Coverage < 0 || c.Coverage > 1 {
			t.Fatalf("seed %d: impossible count %s", seed, line)
		}
		balance[c.Line+"+"] -= c.In
		balance[c.Line+"-"] -= c.Out
	}
	for what, n := range balance {
		if n != 0 {
			t.Fatalf("seed %d: %d crossings %s are in no count", seed, n, what)
		}
	}
}
