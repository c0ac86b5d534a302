package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/internal/program"
)

// TestSimulatedHall measures clean lines of halls, by the commands that people
// use, and holds the figures to the truth.
func TestSimulatedHall(t *testing.T) {
	for _, hall := range []string{"single", "three-counters", "two-queues", "groups", "open-end"} {
		t.Run(hall, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			zones, truth := filepath.Join(dir, "zones.yaml"), filepath.Join(dir, "truth.jsonl")
			lines, err := runCommand(t, runSimulate, "", "-seed", "4", "-duration", "20m", "-fps", "5", "-zones-out", zones, "-truth", truth, hall)
			if err != nil {
				t.Fatal(err)
			}
			measured, err := runCommand(t, runStays, lines, "-zones", zones)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(truth)
			if err != nil {
				t.Fatal(err)
			}
			served := compareWaits(t, verdicts(t, measured), verdicts(t, string(want)))
			figures, err := runCommand(t, runIntervals, measured, "-zones", zones)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(figures) {
				var iv floorwatch.Interval
				if err := json.Unmarshal([]byte(line), &iv); err != nil {
					t.Fatal(err)
				}
				served -= int(iv.Served)
			}
			if served != 0 {
				t.Errorf("the intervals hold %d served fewer than the truth", served)
			}
		})
	}
}

// verdicts returns the finished waits by zone, person and order.
func verdicts(t *testing.T, records string) map[string][]floorwatch.Wait {
	t.Helper()
	all := map[string][]floorwatch.Wait{}
	for line := range strings.Lines(records) {
		var w floorwatch.Wait
		if err := json.Unmarshal([]byte(line), &w); err != nil {
			t.Fatal(err)
		}
		if w.Kind == floorwatch.KindWait && w.End != nil {
			key := w.Zone + w.ID[strings.LastIndex(w.ID, "-"):]
			all[key] = append(all[key], w)
		}
	}
	return all
}

// compareWaits holds each wait to the true one within two frames, and returns how
// many were truly served.
func compareWaits(t *testing.T, got, want map[string][]floorwatch.Wait) (served int) {
	t.Helper()
	const near = 400 // ms
	for key, waits := range want {
		if len(got[key]) != len(waits) {
			t.Errorf("%s: %d waits, truly %d: %+v", key, len(got[key]), len(waits), waits)
			continue
		}
		for i, w := range waits {
			g := got[key][i]
			if g.Outcome != w.Outcome || g.Direct != w.Direct || g.ServiceZone != w.ServiceZone {
				t.Errorf("%s: %s at %q, truly %s at %q", key, g.Outcome, g.ServiceZone, w.Outcome, w.ServiceZone)
			}
			if d := g.Enter - w.Enter; d < -near || d > near {
				t.Errorf("%s: joined %d ms late", key, d)
			}
			if d := *g.End - *w.End; d < -near || d > near {
				t.Errorf("%s: ended %d ms late", key, d)
			}
			if w.Outcome == floorwatch.OutcomeServed {
				served++
			}
		}
	}
	for key := range got {
		if len(want[key]) == 0 {
			t.Errorf("%s: waits that are not true: %+v", key, got[key])
		}
	}
	if len(want) < 5 {
		t.Errorf("%d people waited", len(want))
	}
	return served
}

func TestSimulateFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "one hall, got 0"},
		{"nowhere", "no built-in hall is named"},
		{"-noise loud single", `noise "loud": want clean, realistic or harsh`},
		{"-miss 2 single", "-miss 2: want a number from 0 to 1"},
		{"-clock-jump -1e9 single", "-clock-jump -1e+09: want a number from -86400 to 86400"},
		{"-ids some single", `-ids "some": want truth, broken or none`},
		{"-pace slow single", `-pace "slow": want max or real`},
		{"-fps 0 single", "-fps 0: want a number from 0.1 to 100"},
		{"-start now single", `-start "now": want a time such as`},
		{"-duration 100h single", "want at most 48h"},
		{"-video a.mp4 -drop 0.1 single", "leave -drop and -clock-jump out"},
	} {
		_, err := runCommand(t, runSimulate, "", strings.Fields(c.args)...)
		if !errors.Is(err, program.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.args, err, c.want)
		}
	}
	out, err := runCommand(t, runSimulate, "", "-halls")
	if err != nil || strings.Count(out, "\n") < 10 {
		t.Errorf("halls %q, %v", out, err)
	}
}
