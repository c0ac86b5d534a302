package track

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// follow tracks a file of detections and writes the tracks beside out.
func follow(t *testing.T, dets, out string, fps float64) {
	t.Helper()
	f, err := os.Open(dets)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	frames, last := map[int][]floorwatch.Person{}, 0
	for s := bufio.NewScanner(f); s.Scan(); {
		var n int
		var id float64
		var p floorwatch.Person
		line := strings.ReplaceAll(s.Text(), ",", " ")
		if _, err := fmt.Sscan(line, &n, &id, &p.X, &p.Y, &p.W, &p.H, &p.Score); err != nil {
			t.Fatalf("%s: %q: %v", dets, line, err)
		}
		frames[n] = append(frames[n], p)
		last = max(last, n)
	}
	var b strings.Builder
	k := New(Options{})
	for n := 1; n <= last; n++ {
		for _, p := range k.Update(floorwatch.Time(float64(n-1)*1000/fps), frames[n]) {
			fmt.Fprintf(&b, "%d,%d,%.2f,%.2f,%.2f,%.2f,%.3f,-1,-1,-1\n", n, p.ID, p.X, p.Y, p.W, p.H, p.Score)
		}
	}
	if err := os.WriteFile(out, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAccuracyMOT17 holds the tracker to what it reached on real crowds.
func TestAccuracyMOT17(t *testing.T) {
	kit.Long(t)
	data, scorer := kit.Shared(t, "data/mot17-first-half"), kit.Shared(t, "tools/motscore.py")
	python := kit.Scorers(t)
	args, dir := []string{scorer, "--mot17", "--json", "--pairs"}, t.TempDir()
	for name, fps := range map[string]float64{"02": 30, "04": 30, "05": 14, "09": 30, "10": 30, "11": 30, "13": 25} {
		base := filepath.Join(data, "MOT17-"+name)
		out := filepath.Join(dir, name)
		follow(t, base+".det.txt", out, fps)
		args = append(args, fmt.Sprintf("%s=%s.gt.txt:%s", name, base, out))
	}
	report, err := exec.Command(python, args...).Output()
	if err != nil {
		t.Fatalf("score: %v", err)
	}
	var got struct{ IDF1, HOTA float64 } // the last line is of all sequences together
	for d := json.NewDecoder(bytes.NewReader(report)); d.More(); {
		if err := d.Decode(&got); err != nil {
			t.Fatalf("read the scorer's answer: %v\n%s", err, report)
		}
	}
	t.Logf("MOT17 first halves: IDF1 %.1f, HOTA %.1f", 100*got.IDF1, 100*got.HOTA)
	if got.IDF1 < 0.85 || got.HOTA < 0.76 {
		t.Errorf("IDF1 %.1f, HOTA %.1f; the rule as published has 84.2, 75.3", 100*got.IDF1, 100*got.HOTA)
	}
}
