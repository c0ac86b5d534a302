package site

import (
	"errors"
	"testing"
	"time"

	"floorwatch"
)

func TestNamesAreCompleted(t *testing.T) {
	one := Registry{Stores: []Store{{ID: "s1"}}, Edges: []Edge{{Store: "s1", ID: "box", Cameras: []Camera{{Name: "hall"}}}}}
	two := Registry{Stores: []Store{{ID: "s1"}, {ID: "s2"}}, Edges: append(one.Edges, Edge{Store: "s2", ID: "box"}, Edge{Store: "s2", ID: "b2"})}
	for _, c := range []struct {
		in         Registry
		from, want Source
		fault      NameError
	}{
		{in: one, want: Source{"s1", "box", "hall"}},
		{in: one, from: Source{Camera: "door"}, fault: NameError{"camera", "door"}},
		{in: one, from: Source{Store: "s2"}, fault: NameError{"store", "s2"}},
		{in: two, fault: NameError{"store", ""}},
		{in: two, from: Source{Store: "s1"}, want: Source{"s1", "box", "hall"}},
		{in: two, from: Source{Store: "s2"}, fault: NameError{"edge", ""}},
		{in: two, from: Source{Store: "s1", Edge: "b2"}, fault: NameError{"edge", "b2"}},
	} {
		got, err := Of(c.in).Now().CompleteCamera(c.from)
		var fault *NameError
		if errors.As(err, &fault) != (c.fault.What != "") || fault != nil && *fault != c.fault || err == nil && got != c.want {
			t.Errorf("%+v: %+v %v", c.from, got, err)
		}
	}
}

func TestHoursAreOfTheStore(t *testing.T) {
	sites := Of(Registry{Stores: []Store{{ID: "s2"}, {ID: "s1", TimeZone: "Asia/Shanghai", Opening: []floorwatch.Opening{{Days: "mon-fri", From: "09:00", To: "17:30"}, {Days: "sat, sun", From: "10:00", To: "24:00"}}}}})
	for at, want := range map[string]bool{
		"2025-11-21T00:59:59Z": false, "2025-11-21T01:00:00Z": true, "2025-11-21T09:29:59Z": true, "2025-11-21T09:30:00Z": false,
		"2025-11-22T15:59:59Z": true, "2025-11-22T16:00:00Z": false, "2025-11-23T02:00:00Z": true,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := sites.Snapshot().Open("s1", floorwatch.TimeOf(when)); got != want {
			t.Errorf("%s: open %v, want %v", at, got, want)
		}
	}
	if !sites.Snapshot().Open("s2", 1) {
		t.Error("a store whose hours are not known is closed")
	}
}
