package health

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
)

func TestMetersCountLinesAndRecords(t *testing.T) {
	m := NewMeters("door", "hall")
	at := floorwatch.Time(1_800_000_000_000)
	for i, f := range []floorwatch.Frame{
		{Event: floorwatch.EventOpen, By: "motion"},
		{N: 1, W: 10, H: 10},
		{N: 2, W: 10, H: 10},
		{Event: floorwatch.EventClosed, Cause: "gone"},
		{Event: floorwatch.EventOpen},
		{Event: floorwatch.EventTick},
		{N: 3, W: 10, H: 10},
	} {
		f.T = at + floorwatch.Time(i)
		m.Camera("door").Line(f)
	}
	end := at.Add(2500_000_000)
	m.Stored([]floorwatch.Record{
		&floorwatch.Gap{Header: floorwatch.Header{Camera: "door"}, Of: floorwatch.OfObservation, From: at, To: &end},
		&floorwatch.Gap{Header: floorwatch.Header{Camera: "door"}, Of: floorwatch.OfFootage, From: at, To: &end},
		&floorwatch.Gap{Header: floorwatch.Header{Camera: "elsewhere"}, Of: floorwatch.OfFootage, From: at, To: &end},
		&floorwatch.Segment{Header: floorwatch.Header{Camera: "door"}, Bytes: 7},
		&floorwatch.Interval{Header: floorwatch.Header{Camera: "hall"}, Coverage: 0.25},
	})
	want := map[string]float64{
		"floorwatch_camera_watching door": 1, "floorwatch_camera_watching hall": 0,
		"floorwatch_camera_frames_total door": 3, "floorwatch_camera_opens_total door": 2, "floorwatch_camera_closes_total door": 1,
		"floorwatch_camera_coverage hall": 0.25, "floorwatch_segments_total door": 1, "floorwatch_segment_bytes_total door": 7,
		"floorwatch_gaps_total door observation": 1, "floorwatch_gap_seconds_total door footage": 2.5, "floorwatch_gaps_total hall footage": 0,
	}
	got := map[string]float64{}
	names := map[string]bool{}
	for _, f := range Metrics(m.Figures()) {
		if f.Help == "" || names[f.Name] {
			t.Errorf("%s has no help, or comes twice", f.Name)
		}
		names[f.Name] = true
		for _, s := range f.Samples {
			got[strings.Join(append([]string{f.Name}, s.Labels...), " ")] = s.Value
		}
	}
	for key, v := range want {
		if g, ok := got[key]; !ok || g != v {
			t.Errorf("%s is %g (there: %t), want %g", key, g, ok, v)
		}
	}
}

func TestWhatIsWrongIsSaidInWords(t *testing.T) {
	c := NewMeters("door").Camera("door")
	if !c.SetPicture(floorwatch.PictureFrozen) || c.SetPicture(floorwatch.PictureFrozen) {
		t.Error("a picture that freezes is news once")
	}
	c.SetGOP(4*time.Second, 2*time.Second)
	h := c.Record(5)
	if len(h.Notes) != 2 || !strings.Contains(h.Notes[0], "restart the camera") || !strings.Contains(h.Notes[1], "takes up to 5 s of footage: set the camera's I-frame interval to 2 s at most") {
		t.Errorf("notes %q", h.Notes)
	}
	if h.Figures["picture_frozen"] != 1 || h.Figures["picture_blank"] != 0 || h.Figures["gop_s"] != 4 || h.ID != "health-5" || h.Camera != "door" {
		t.Errorf("%+v", h)
	}
	c.SetPicture("")
	c.SetGOP(0, 2*time.Second)
	if h := c.Record(6); len(h.Notes) != 0 {
		t.Errorf("notes %q of a camera that is well", h.Notes)
	}
}

// TestEachCameraSendsItsFigures as the table of all figures has them.
func TestEachCameraSendsItsFigures(t *testing.T) {
	h := NewMeters("door").Camera("door").Record(5)
	for _, f := range floorwatch.Figures {
		if _, ok := h.Figure(f.Name); ok != f.Camera {
			t.Errorf("%s is in a camera's record: %t", f.Name, ok)
		}
		delete(h.Figures, string(f.Name))
	}
	if len(h.Figures) > 0 {
		t.Errorf("not in floorwatch.Figures: %v", h.Figures)
	}
}

func TestReportComesOnceAMinute(t *testing.T) {
	dir := t.TempDir()
	for name, bytes := range map[string]int{"a/1.mp4": 10, "b/c/2.mp4": 5, "a/1.seal": 100} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var recs []floorwatch.Record
		r := &Report{
			Data: dir, Footage: dir, Meters: NewMeters("door"), Clock: clock.New(nil), Notes: []string{"a note"},
			Other: func() []Figure { return []Figure{{Name: floorwatch.FigureCrashes, Value: 3}} },
			Store: func(more ...floorwatch.Record) error {
				mu.Lock()
				defer mu.Unlock()
				recs = append(recs, more...)
				return nil
			},
		}
		go func() { _ = r.Run(t.Context()) }()
		stored := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return len(recs)
		}
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{9 * time.Second, 0}, {2 * time.Second, 2}, {58 * time.Second, 2}, {2 * time.Second, 4}} {
			time.Sleep(step.wait)
			if n := stored(); n != step.want {
				t.Errorf("%d records, want %d", n, step.want)
			}
		}
		box := recs[0].(*floorwatch.Health)
		if box.Camera != "" || box.Figures["crashes"] != 3 || box.Figures["footage_bytes"] != 15 || box.Figures["cameras"] != 1 || !slices.Equal(box.Notes, r.Notes) {
			t.Errorf("the box says %+v", box)
		}
		if box.Figures["disk_free_bytes"] <= 0 || box.Figures["disk_bytes"] < box.Figures["disk_free_bytes"] {
			t.Errorf("disk: %g free of %g", box.Figures["disk_free_bytes"], box.Figures["disk_bytes"])
		}
		if recs[1].Head().Camera != "door" {
			t.Errorf("the second record is of %q", recs[1].Head().Camera)
		}
	})
	if free, size := diskSpace(filepath.Join(dir, "absent")); free != 0 || size != 0 {
		t.Errorf("a disk that is not there: %g free of %g", free, size)
	}
}
