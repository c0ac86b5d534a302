package zone_test

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func vtestScene(t *testing.T, path string) floorwatch.Scene {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Zones []struct {
			ID      string
			Polygon []floorwatch.Point
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var s floorwatch.Scene
	for _, z := range file.Zones {
		s.Zones = append(s.Zones, floorwatch.Zone{Name: z.ID, Polygon: z.Polygon, MinStay: time.Second, MergeGap: time.Second})
	}
	return s
}

// TestVtestTruth feeds the true boxes of the film's first 40 s as perfect tracks
// and expects the true visits.
func TestVtestTruth(t *testing.T) {
	dir := kit.Shared(t, "data/vtest")
	frames := vtestFrames(t)
	recs := run(t, vtestScene(t, filepath.Join(dir, "zones.json")), frames)

	type key struct {
		zone  string
		track int64
		enter int64 // tenths of a second
	}
	got := map[key]float64{} // exit in seconds
	for _, r := range recs {
		if s, ok := r.(*floorwatch.Stay); ok {
			exit := 40.0
			if s.Exit != nil {
				exit = float64(*s.Exit) / 1000
			}
			got[key{s.Zone, s.Tracks[0], int64(s.Enter) / 100}] = exit
		}
	}
	truth := readCSV(t, filepath.Join(dir, "visits-first-40s.csv"))[1:]
	if len(truth) != 31 || len(got) != 31 {
		t.Errorf("%d stays, %d true visits, want 31 of 31", len(got), len(truth))
	}
	var dwell, trueDwell, worst float64
	for _, row := range truth {
		enter, exit := number(t, row[2]), number(t, row[3])
		trueDwell += exit - enter
		k := key{row[0], int64(number(t, row[1])), int64(math.Round(10 * enter))}
		told, ok := got[k]
		if !ok {
			t.Errorf("no stay for the true visit %v", row)
			continue
		}
		dwell += told - enter
		if off := math.Abs(told - exit); off > worst {
			worst = off
			t.Logf("exit %.1f instead of %.1f of %v", told, exit, row)
		}
	}
	if bias := dwell/trueDwell - 1; worst > 0.2001 || math.Abs(bias) > 0.01 {
		t.Errorf("exits off by up to %.2f s, mean dwell by %.2f %%", worst, 100*bias)
	} else {
		t.Logf("31 of 31 visits, exits off by up to %.2f s, mean dwell by %.2f %%", worst, 100*bias)
	}
}

// vtestFrames returns the true boxes of the film's first 40 s.
func vtestFrames(t *testing.T) []floorwatch.Frame {
	t.Helper()
	dir := kit.Shared(t, "data/vtest")
	frames := make([]floorwatch.Frame, 400)
	for i := range frames {
		frames[i] = frame(floorwatch.Time(100 * i))
	}
	for _, row := range readCSV(t, filepath.Join(dir, "gt-frames-1-400.txt")) {
		f := &frames[int(number(t, row[0]))-1]
		f.People = append(f.People, floorwatch.Person{
			ID: int64(number(t, row[1])), X: number(t, row[2]), Y: number(t, row[3]), W: number(t, row[4]), H: number(t, row[5]),
		})
	}
	return frames
}
