package api

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"floorwatch/cloud/figures"

	"floorwatch"
)

// doorBase is a border of every bucket, twenty minutes before now, in Shanghai's
// afternoon.
const doorBase floorwatch.Time = 1763708400000

func doorHandler(m figures.Reader) http.Handler {
	return New(Settings{
		Sites:   shop("Asia/Shanghai", camera("cam", floorwatch.Scene{Lines: []floorwatch.Line{{Name: "door"}}})),
		Figures: m, Now: func() time.Time { return doorBase.Add(20 * time.Minute).Time() },
	})
}

// passing is a count of minutes [from, to) after doorBase.
func passing(camera, line, rev string, from, to float64, in, out int64, coverage float64) floorwatch.Count {
	at := func(m float64) floorwatch.Time { return doorBase + floorwatch.Time(m*60000) }
	return floorwatch.Count{
		Header: floorwatch.Header{Kind: floorwatch.KindCount, Camera: camera, Rev: rev, By: "b", ID: fmt.Sprintf("%s-%d-%d", line, at(from), at(to)-at(from))},
		Line:   line, Start: at(from), End: at(to), In: in, Out: out, Coverage: coverage,
	}
}

func level(name string, from float64, people int64, drift *int64) floorwatch.Count {
	c := passing("", name, "", from, from+1, 0, 0, 1)
	c.Occupancy, c.Drift = new(people), drift
	return c
}

func doorDay() *memory {
	late := passing("", "gate", "", 2, 4.5, 7, 0, 1)
	late.ID += "-late-1"
	m := &memory{counts: []floorwatch.Count{
		passing("cam", "door", "old", -3, -2, 100, 100, 1),
		passing("cam", "door", "r", -1, 0, 9, 9, 1), // ends at the border: before it
		passing("cam", "door", "r", 0, 1, 3, 1, 1),
		passing("cam", "door", "r", 1, 2, 0, 0, 1),
		passing("cam", "door", "r", 2, 3, 0, 0, 0),
		passing("cam", "door", "r", 3, 4, 5, 4, 0.5),
		passing("", "gate", "", 0, 1, 1, 1, 1),
		late,
		level("store", 0, 4, nil), level("store", 1, 0, new(int64(4))), level("store", 2, 6, nil),
		passing("cam", "door", "r", -1000, -999, 50, 50, 1), // yesterday
	}}
	m.counts = append(m.counts, m.counts[2]) // written twice
	return m
}

func TestCounts(t *testing.T) {
	got := decode[figures.CountSeries](t, get(t, doorHandler(doorDay()), fmt.Sprintf("/api/counts?from=%d&to=%d&step=60", doorBase, doorBase+600000)))
	if len(got.Lines) != 2 || len(got.Inside) != 1 || got.StepS != 60 || got.TodayFrom.Time().Hour() != 16 {
		t.Fatalf("%+v", got)
	}
	show := func(v []*float64) string {
		s := make([]string, len(v))
		for i, x := range v {
			if s[i] = "-"; x != nil {
				s[i] = number(*x)
			}
		}
		return strings.Join(s, " ")
	}
	door, gate := got.Lines[0], got.Lines[1]
	for what, pair := range map[string][2]string{
		"door in":       {show(door.In), "3 0 - 5 - - - - - -"},
		"door out":      {show(door.Out), "1 0 - 4 - - - - - -"},
		"door coverage": {show(door.Coverage), "1 1 0 0.5 0 0 0 0 0 0"},
		"gate in":       {show(gate.In), "1 - 0 0 7 - - - - -"},
		"gate coverage": {show(gate.Coverage), "1 0 1 1 0.5 0 0 0 0 0"},
		"inside":        {show(got.Inside[0].People), "4 0 6 - - - - - - -"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if gate.Line != "gate" || gate.Today.In != 8 {
		t.Errorf("gate %+v", gate)
	}
	if d := got.Lines[0].Today; d.In != 17 || d.Out != 14 || *d.Coverage <= 0 || *d.Coverage > 0.1 {
		t.Errorf("today %+v", d)
	}
	if s := got.Inside[0]; s.Latest == nil || s.Latest.People != 6 || s.Drift == nil || s.Drift.People != 4 {
		t.Errorf("inside %+v", s)
	}
}

func TestCountsOfALongSpanAreReadInPieces(t *testing.T) {
	m := doorDay()
	got := decode[figures.CountSeries](t, get(t, doorHandler(m), fmt.Sprintf("/api/counts?from=%d&to=%d", doorBase-7*86400000, doorBase+600000)))
	var in float64
	for _, n := range got.Lines[0].In {
		if n != nil {
			in += *n
		}
	}
	if m.asked > 24*time.Hour || in != 50 || got.Lines[0].Redrawn == nil { // the bucket of today is not settled
		t.Errorf("asked for %s at once; %v in all, redrawn %v", m.asked, in, got.Lines[0].Redrawn)
	}
}

func TestCountsCSVAndErrors(t *testing.T) {
	w := get(t, doorHandler(doorDay()), fmt.Sprintf("/api/counts?from=%d&to=%d&step=60&format=csv", doorBase, doorBase+240000))
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) < 9 || len(rows[0]) != 12 {
		t.Fatalf("%v %v", err, rows)
	}
	if got := strings.Join(rows[1], ","); got != "s1,box,cam,door,r,b,2025-11-21T07:00:00.000Z,2025-11-21T07:01:00.000Z,1,3,1," {
		t.Error(got)
	}
	if got := strings.Join(rows[3][8:], ","); got != "0,,," {
		t.Errorf("what was not watched: %s", got)
	}
	for path, want := range map[string]int{"?step=7": 400, "?store=other": 404, "?from=5&to=4": 400, "?format=xml": 400, "": 200} {
		if w := get(t, doorHandler(doorDay()), "/api/counts"+path); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if c := decode[figures.CountSeries](t, get(t, doorHandler(&memory{}), "/api/counts")); len(c.Lines) != 1 || c.Lines[0].Today.Coverage != nil {
		t.Errorf("without counts: %+v", c)
	}
}
