package queue_test

import (
	"testing"
	"time"
)

// TestCrossings: durations without identity survive a broken track and somebody
// who is lost for good, and the quality says what was lost.
func TestCrossings(t *testing.T) {
	s := bank()
	iv := newIntervals(t, s, time.Minute)
	feed(t, iv, dark(s, 0, 1),
		at(s, "line", 1, 5, 35),                                            // 30 s
		lost(at(s, "line", 2, 10, 20)), appeared(at(s, "line", 3, 25, 45)), // one person, 35 s
		lost(at(s, "line", 4, 15, 30)), // never found
		at(s, "line", 5, 30, 55),       // 25 s
	)
	got := of("line", iv.Advance(sec(200)))[0]
	if c := got.Crossings; c.N != 3 || c.Sum != 90 || c.Min != 25 || c.Max != 35 {
		t.Errorf("crossings %+v", c)
	}
	// 4 arrived and 3 departed, 1 appeared and 2 lost, of 10 passings; the means, 100/5 and 90/3, are less
	// apart than chance makes of stays from 10 to 35 s.
	if got.Stays.N != 5 || got.Quality < 0.6 || got.Quality > 0.7 {
		t.Errorf("stays %+v, quality %v", got.Stays, got.Quality)
	}
}
