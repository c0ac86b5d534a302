package score

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// oracle finds the real cases and the independent scorers beside the repository.
func oracle(t *testing.T) (data, tools string) {
	t.Helper()
	return kit.Shared(t, "data"), kit.Shared(t, "tools")
}

// ask runs a scorer and decodes the JSON lines that it prints.
func ask(t *testing.T, args ...string) (lines []map[string]any) {
	t.Helper()
	out, err := exec.Command(kit.Scorers(t), args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	for d := json.NewDecoder(bytes.NewReader(bytes.ReplaceAll(out, []byte("NaN"), []byte("null")))); d.More(); {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		lines = append(lines, line)
	}
	return lines
}

// agree compares figures with what a scorer printed under a name.
func agree(t *testing.T, what string, line map[string]any, figures map[string]float64) {
	t.Helper()
	for name, got := range figures {
		want, ok := line[name].(float64)
		if !ok {
			want = math.NaN()
		}
		if !(math.Abs(got-want) <= 1e-6) && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%s: %s is %v, the scorer has %v", what, name, got, want)
		}
	}
}

func open[T any](t *testing.T, path string, read func(io.Reader) (T, error)) T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	v, err := read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// spoil makes tracks as bad as a tracker's out of the truth: boxes are missed,
// shaken and made up, ids break and swap.
func spoil(truth []Row, seed uint64) []Row {
	rng := rand.New(rand.NewPCG(seed, 1))
	name, next := map[int64]int64{}, int64(1)
	var out []Row
	for _, r := range truth {
		if name[r.ID] == 0 || rng.Float64() < 0.02 {
			name[r.ID] = next
			next++
		}
		if rng.Float64() < 0.15 {
			continue
		}
		shake := func(v, by float64) float64 { return math.Round(100*(v+by*0.15*rng.NormFloat64())) / 100 }
		r.ID = name[r.ID]
		if other := rng.Int64N(next) + 1; rng.Float64() < 0.01 {
			r.ID = other
		}
		r.X, r.Y, r.W, r.H = shake(r.X, r.W), shake(r.Y, r.H), shake(r.W, r.W/2), shake(r.H, r.H/2)
		out = append(out, r)
		if rng.Float64() < 0.05 {
			r.ID, r.X = next+100000+int64(len(out)), r.X+r.W
			out = append(out, r)
		}
	}
	return out
}

func writeMOT(t *testing.T, path string, rows []Row) {
	t.Helper()
	var b strings.Builder
	seen := map[[2]int64]bool{}
	for _, r := range rows {
		if k := [2]int64{int64(r.Frame), r.ID}; !seen[k] { // an id is once in a frame
			seen[k] = true
			fmt.Fprintf(&b, "%d,%d,%.2f,%.2f,%.2f,%.2f,1,-1,-1,-1\n", r.Frame, r.ID, r.X, r.Y, r.W, r.H)
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// detections scores boxes of films without regard to ids.
const detections = `
import json, sys
sys.path.insert(0, sys.argv[1])
from motscore import det_score
from zonelib import read_mot
for pair in sys.argv[4:]:
    gt, det = pair.split(":")
    print(json.dumps(det_score(read_mot(gt), read_mot(det), sys.argv[2] == "17", tuple(map(int, sys.argv[3].split(":"))))))`

// TestFilmsAgainstTheScorer: every film that there is, with spoilt truth as the
// result, the detections that come with it, and the sum of all. Of MOT17 it takes
// the first frames: the scorer needs minutes for all, and agreed on all.
func TestFilmsAgainstTheScorer(t *testing.T) {
	for set, o := range map[string]Options{
		"*15": {First: 1, Last: 1000}, "tud": {First: 1, Last: 1000}, "vtest": {First: 1, Last: 400},
		"mot17-first-half": {MOT17: true, First: 1, Last: 60},
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			compareFilms(t, set, o)
		})
	}
}

func compareFilms(t *testing.T, set string, o Options) {
	data, tools := oracle(t)
	films, err := filepath.Glob(filepath.Join(data, set, "*gt*.txt"))
	if err != nil || len(films) == 0 {
		t.Fatalf("no films with truth in %s: %v", set, err)
	}
	year, frames := "15", fmt.Sprintf("%d:%d", o.First, o.Last)
	args := []string{filepath.Join(tools, "motscore.py"), "--json", "--frames", frames}
	if o.MOT17 {
		args, year = append(args, "--mot17"), "17"
	}
	args = append(args, "--pairs")
	boxArgs := []string{"-c", detections, tools, year, frames}
	var sum Tracking
	var figures, boxFigures []map[string]float64
	for k, film := range films {
		truth, result := open(t, film, ReadMOT), filepath.Join(t.TempDir(), "result.txt")
		writeMOT(t, result, spoil(truth, uint64(k)))
		s := Tracks(truth, open(t, result, ReadMOT), o)
		sum.Add(s)
		figures = append(figures, trackFigures(s))
		args = append(args, "film="+film+":"+result)
		boxes := strings.Replace(film, ".gt.txt", ".det.txt", 1)
		if boxes == film {
			boxes = result
		}
		d := Detections(truth, open(t, boxes, ReadMOT), o)
		boxFigures = append(boxFigures, map[string]float64{"gt": float64(d.Truth), "det": float64(d.Got), "R0.5": d.Recall(), "P0.5": d.Precision()})
		boxArgs = append(boxArgs, film+":"+boxes)
	}
	if len(films) > 1 {
		figures = append(figures, trackFigures(sum))
	}
	for k, line := range ask(t, args...) {
		agree(t, fmt.Sprintf("%s, film %d", set, k), line, figures[k])
	}
	for k, line := range ask(t, boxArgs...) {
		agree(t, fmt.Sprintf("%s, detections of film %d", set, k), line, boxFigures[k])
	}
}

func trackFigures(s Tracking) map[string]float64 {
	return map[string]float64{
		"frames": float64(s.Frames), "gt": float64(s.Truth), "res": float64(s.Got),
		"TP": float64(s.TP), "FP": float64(s.FP), "FN": float64(s.FN), "IDSW": float64(s.IDSW),
		"IDTP": float64(s.IDTP), "IDFP": float64(s.IDFP), "IDFN": float64(s.IDFN),
		"MOTA": s.MOTA(), "IDF1": s.IDF1(), "HOTA": s.HOTA(), "Rcll": s.Recall(), "Prcn": s.Precision(),
	}
}

// street reads vtest's zones.
func street(t *testing.T, path string) (zones []Zone, names []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Zones []Zone }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, z := range file.Zones {
		names = append(names, z.ID)
	}
	return file.Zones, names
}

func dwellFigures(d Dwell) map[string]float64 {
	return map[string]float64{
		"n_true": float64(d.Truth), "n_out": float64(d.Got), "matched": float64(d.Matched),
		"recall": d.Recall, "precision": d.Precision, "occ_mae": d.OccupancyMAE, "occ_bias": d.OccupancyBias,
		"dwell_mae": d.MAE, "mean_true": d.MeanTruth, "mean_out": d.MeanGot, "bias_pct": 100 * d.Bias,
		"med_true": d.MedianTruth, "med_out": d.MedianGot, "p90_true": d.P90Truth, "p90_out": d.P90Got,
	}
}

// TestVisitsAgainstTheScorer: tracks of a street by the naive rule, and its true
// visits spoilt.
func TestVisitsAgainstTheScorer(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	data, tools := oracle(t)
	dir := t.TempDir()
	zoneFile, truthFile := filepath.Join(data, "vtest", "zones.json"), filepath.Join(data, "vtest", "visits-first-40s.csv")
	zones, names := street(t, zoneFile)
	truth := open(t, truthFile, ReadVisits)
	score := []string{filepath.Join(tools, "zonescore.py"), "--json", "--truth", truthFile, "--zones", zoneFile}

	result := filepath.Join(dir, "tracks.txt")
	writeMOT(t, result, spoil(open(t, filepath.Join(data, "vtest", "gt-frames-1-400.txt"), ReadMOT), 3))
	got := Naive{FPS: 10, Bridge: 1, Min: 1}.Visits(open(t, result, ReadMOT), zones)
	compare := func(how string, lines []map[string]any) {
		t.Helper()
		for k, z := range [][]string{names[:1], names[1:], names} {
			agree(t, how+" "+strings.Join(z, "+"), lines[k], dwellFigures(Visits(truth, got, z, 40)))
		}
	}
	compare("tracks", ask(t, append(score, "--tracks", result)...))

	rng := rand.New(rand.NewPCG(4, 4))
	got = nil
	var b strings.Builder
	b.WriteString("zone,id,enter_s,exit_s\n")
	for _, v := range truth {
		for range 1 + rng.IntN(2) {
			v.Enter = math.Round(1000*(v.Enter+rng.NormFloat64())) / 1000
			v.Exit = math.Round(1000*max(v.Enter+0.5, v.Exit+2*rng.NormFloat64())) / 1000
			fmt.Fprintf(&b, "%s,%s,%v,%v\n", v.Zone, v.ID, v.Enter, v.Exit)
			got = append(got, v)
		}
	}
	fmt.Fprintf(&b, "crossing,x,35.5,\n")
	got = append(got, Visit{"crossing", "x", 35.5, math.Inf(1)})
	result = filepath.Join(dir, "visits.csv")
	if err := os.WriteFile(result, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	compare("visits", ask(t, append(score, "--visits", result)...))
}

// readQueue reads a queue log's sessions.
func readQueue(r io.Reader) (map[string][]Wait, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	out := map[string][]Wait{}
	for _, row := range rows[1:] {
		from, err := strconv.ParseFloat(row[2], 64)
		if err != nil {
			return nil, err
		}
		to, err := strconv.ParseFloat(row[3], 64)
		if err != nil {
			return nil, err
		}
		outcome := floorwatch.OutcomeAbandoned
		if row[6] == "1" {
			outcome = floorwatch.OutcomeServed
		}
		out[row[0]] = append(out[row[0]], Wait{from, to, outcome, false})
	}
	return out, nil
}

// TestWindowsAgainstTheScorer: the truth of windows of 5 minutes.
func TestWindowsAgainstTheScorer(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	data, tools := oracle(t)
	tool := filepath.Join(tools, "queuetool.py")
	for log, only := range map[string]string{"wellington.csv": "", "bank-feb-1999.csv": "990201"} {
		path := filepath.Join(data, "queues", log)
		for session, waits := range open(t, path, readQueue) {
			if only != "" && session != only {
				continue // fourteen alike
			}
			lines := ask(t, tool, "truth", path, "--window", "300", "--session", session)
			windows := Windows(waits, 300)
			if len(lines) != len(windows) {
				t.Fatalf("%s %s: %d windows, want %d", log, session, len(windows), len(lines))
			}
			for k, w := range windows {
				agree(t, log, lines[k], map[string]float64{
					"start_s": w.Start, "arrivals": float64(w.Arrivals), "ends": float64(w.Ends), "mean_wait": w.Mean, "mean_queue": w.Queue,
				})
			}
		}
	}
}
