package score

import (
	"math"
	"slices"
	"strings"
	"testing"

	"floorwatch"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-9) && !(math.IsNaN(got) && math.IsNaN(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// box is a box of 10 x 10 pixels.
func box(frame int, id int64, x float64) Row {
	return Row{Frame: frame, ID: id, X: x, W: 10, H: 10, Conf: 1, Class: 1}
}

// TestTracksByHand: one person in four frames; the result finds the first three,
// changes its id after the second, and sees something else in the fourth.
func TestTracksByHand(t *testing.T) {
	truth := []Row{box(1, 7, 0), box(2, 7, 0), box(3, 7, 0), box(4, 7, 0)}
	got := []Row{box(1, 1, 0), box(2, 1, 0), box(3, 2, 0), box(4, 2, 50)}
	s := Tracks(truth, got, Options{})
	if s.TP != 3 || s.FP != 1 || s.FN != 1 || s.IDSW != 1 || s.IDTP != 2 || s.IDFP != 2 || s.IDFN != 2 {
		t.Errorf("%+v", s)
	}
	near(t, "MOTA", s.MOTA(), 1-3.0/4)
	near(t, "IDF1", s.IDF1(), 0.5)
	near(t, "recall", s.Recall(), 0.75)
	near(t, "precision", s.Precision(), 0.75)
	// Detection 3/(3+1+1); association of id 1: 2/4 for two boxes, of id 2: 1/5 for one.
	near(t, "HOTA", s.HOTA(), math.Sqrt(0.6*(2*0.5+0.2)/3))
	var twice Tracking
	twice.Add(s)
	twice.Add(s)
	near(t, "MOTA of two", twice.MOTA(), s.MOTA())
	near(t, "HOTA of two", twice.HOTA(), s.HOTA())
	if d := Detections(truth, got, Options{}); d != (Boxes{Truth: 4, Got: 4, Found: 3}) {
		t.Errorf("%+v", d)
	}
	if nothing := Tracks(nil, nil, Options{}); nothing.HOTA() != 0 || nothing.IDF1() != 0 || nothing.MOTA() != 1 {
		t.Errorf("%+v", nothing)
	}
}

// TestStaysTogether: a pair of the frame before is kept though another overlaps
// more, so that no switch is counted.
func TestStaysTogether(t *testing.T) {
	truth := []Row{box(1, 1, 0), box(2, 1, 0)}
	got := []Row{box(1, 5, 0), box(2, 5, 2), box(2, 6, 0)}
	if s := Tracks(truth, got, Options{}); s.IDSW != 0 || s.TP != 2 || s.FP != 1 {
		t.Errorf("%+v", s)
	}
}

func TestMOT17LeavesDistractorsOut(t *testing.T) {
	walker, seated, ignored := box(1, 1, 0), box(1, 2, 100), box(1, 3, 200)
	seated.Class, ignored.Conf = 7, 0
	truth := []Row{walker, seated, ignored}
	got := []Row{box(1, 1, 0), box(1, 2, 101), box(1, 3, 200)}
	if s := Tracks(truth, got, Options{MOT17: true}); s.Truth != 1 || s.TP != 1 || s.FP != 1 {
		t.Errorf("%+v", s)
	}
	if s := Tracks(truth, got, Options{First: 2}); s.Frames != 0 {
		t.Errorf("frames outside: %+v", s)
	}
}

func TestReadMOT(t *testing.T) {
	rows, err := ReadMOT(strings.NewReader("# head\n1,2,3,4,5,6\n\n2 -1 3 4 5 6 0.5\n3;1;1;2;3;4;0;7;0.2\n4,1,1,2,3,4,1,-4.1,-7.3,0\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{
		{1, 2, 3, 4, 5, 6, 1, 1},
		{2, -1, 3, 4, 5, 6, 0.5, 1},
		{3, 1, 1, 2, 3, 4, 0, 7},
		{4, 1, 1, 2, 3, 4, 1, 1},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("%+v", rows)
	}
	for _, bad := range []string{"1,2,3", "1,2,3,x,5,6", "1,2,3,NaN,5,6", "1,2,3,4,5,1e300", "1,2,,4,5,6"} {
		if _, err := ReadMOT(strings.NewReader("\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzReadMOT(f *testing.F) {
	f.Add("1,2,3,4,5,6,0.9,-1,-1,-1\n")
	f.Add("1 2 3 4 5 6\n# x\n3;1;1;2;3;4;0;7;0.2")
	f.Add("1,1,,,,,,,")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := ReadMOT(strings.NewReader(text))
		if err != nil || len(rows) > 50 {
			return
		}
		s := Tracks(rows, rows, Options{})
		if v := s.HOTA(); !(v >= 0 && v <= 1+1e-9) {
			t.Errorf("HOTA %v of %q", v, text)
		}
	})
}

func TestReadVisits(t *testing.T) {
	v, err := ReadVisits(strings.NewReader("# made\nzone,id,enter_s,exit_s\na,1,0.5,2\nb,2,3,\n"))
	if err != nil || len(v) != 2 || v[0] != (Visit{"a", "1", 0.5, 2}) || !math.IsInf(v[1].Exit, 1) {
		t.Errorf("%+v %v", v, err)
	}
	for _, bad := range []string{"", "zone,id\n", "zone,id,enter_s,exit_s\na,1,x,2\n", "zone,id,enter_s,exit_s\na,1,3,2\n", "zone,id,enter_s,exit_s\na,1,NaN,2\n"} {
		if _, err := ReadVisits(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzReadVisits(f *testing.F) {
	f.Add("zone,id,enter_s,exit_s\na,1,0.5,2\n")
	f.Add("zone,id,enter_s,exit_s\na,1,0.5,\n\"b\",2,-1,1e300\n")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ReadVisits(strings.NewReader(text))
		if err == nil {
			Visits(v, v, Zones(v), 60)
		}
	})
}

// TestVisitsByHand: of two visits one is broken in two and one is missed; one is
// made up.
func TestVisitsByHand(t *testing.T) {
	truth := []Visit{{"a", "", 0, 10}, {"a", "", 20, 24}}
	got := []Visit{{"a", "", 0, 6}, {"a", "", 7, 10}, {"a", "", 30, math.Inf(1)}, {"b", "", 0, 9}}
	d := Visits(truth, got, []string{"a"}, 40)
	if d.Truth != 2 || d.Got != 3 || d.Matched != 1 {
		t.Errorf("%+v", d)
	}
	near(t, "recall", d.Recall, 0.5)
	near(t, "precision", d.Precision, 1.0/3)
	near(t, "MAE", d.MAE, 4)
	near(t, "means", d.MeanTruth/d.MeanGot, 7/(19.0/3))
	near(t, "bias", d.Bias, 19.0/3/7-1)
	near(t, "net", d.Net, 19-14)
	near(t, "absolute", d.Absolute, 4+4+3+10)
	near(t, "occupancy MAE", d.OccupancyMAE, (1+4+10)/40.0)
	near(t, "occupancy bias", d.OccupancyBias, (-1-4+10)/40.0)
	near(t, "heads", d.OccupancyTruth, 14.0/40)
	near(t, "p90", d.P90Truth, 4+0.9*6)
	if none := Visits(nil, nil, nil, 0); !math.IsNaN(none.Bias) || none.Recall != 0 {
		t.Errorf("%+v", none)
	}
}

func TestNaiveVisits(t *testing.T) {
	zone := Zone{"a", []floorwatch.Point{{X: 0, Y: 0}, {X: 100, Y: 0}, {X: 100, Y: 100}, {X: 0, Y: 100}}}
	var rows []Row
	for _, f := range []int{1, 2, 3, 12, 13, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40} {
		rows = append(rows, Row{Frame: f, ID: 4, X: 10, Y: 10, W: 10, H: 20})
	}
	got := Naive{FPS: 10, Bridge: 1, Min: 1}.Visits(rows, []Zone{zone})
	want := []Visit{{"a", "4", 0, 1.3}, {"a", "4", 2.9, 4}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestWaitsByHand(t *testing.T) {
	const served, abandoned, unknown = floorwatch.OutcomeServed, floorwatch.OutcomeAbandoned, floorwatch.OutcomeUnknown
	truth := []Wait{{0, 100, served, false}, {10, 60, abandoned, false}, {70, 70, served, false}, {100, 130, served, false}}
	got := []Wait{{0, 90, served, false}, {12, 60, abandoned, false}, {70, 70, served, false}, {101, 110, unknown, false}, {200, 240, served, true}}
	w := Waits(truth, got)
	if w.Truth != 4 || w.Got != 3 || w.Matched != 2 {
		t.Errorf("%+v", w)
	}
	near(t, "mean", w.MeanTruth, 45)
	near(t, "mean told", w.MeanGot, 46)
	near(t, "abandoned", w.AbandonedTruth, 0.25)
	near(t, "abandoned told", w.AbandonedGot, 1.0/4)
	near(t, "unknown", w.UnknownGot, 0.2)
	near(t, "MAE", w.MAE, 6)
	near(t, "net", w.Net, -42)
	near(t, "absolute", w.Absolute, 10+2+30)
	near(t, "p90", w.P90Truth, 50+0.7*50)
}

func TestWindowsByHand(t *testing.T) {
	waits := []Wait{{5, 15, "", false}, {8, 12, "", false}, {25, 31, "", false}}
	got := Windows(waits, 10)
	if len(got) != 4 || got[0].Arrivals != 2 || got[0].Ends != 0 || !math.IsNaN(got[0].Mean) || got[1].Ends != 2 {
		t.Fatalf("%+v", got)
	}
	near(t, "mean", got[1].Mean, 7)
	near(t, "queue", got[1].Queue, 0.7)
	if Windows(nil, 10) != nil {
		t.Error("windows of nothing")
	}
}

func TestPercentile(t *testing.T) {
	v := []float64{4, 1, 3, 2}
	near(t, "p0", Percentile(v, 0), 1)
	near(t, "p50", Percentile(v, 50), 2.5)
	near(t, "p90", Percentile(v, 90), 3.7)
	near(t, "p100", Percentile(v, 100), 4)
	near(t, "nothing", Percentile(nil, 50), math.NaN())
}
