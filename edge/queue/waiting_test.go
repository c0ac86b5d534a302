package queue_test

import (
	"testing"

	"floorwatch"
	"floorwatch/edge/queue"
)

// source hands records to a stage, one list for each line.
type source struct {
	lists [][]floorwatch.Record
	now   floorwatch.Time
}

func (s *source) Feed(f floorwatch.Frame) ([]floorwatch.Record, error) {
	out := s.lists[0]
	s.lists, s.now = s.lists[1:], f.T
	return out, nil
}
func (s *source) Close() []floorwatch.Record { return nil }
func (s *source) Now() floorwatch.Time       { return s.now }

func TestWaitingNow(t *testing.T) {
	s := bank()
	lists := [][]floorwatch.Record{
		{appeared(at(s, "line", 1, 5, 0)), at(s, "line", 2, 10, 0), at(s, "line", 3, 12, 0)},
		{at(s, "till-1", 2, 30, 0)}, // served, the counter lies inside the queue zone
		{at(s, "line", 3, 12, 40)},
	}
	stage, err := queue.NewStage(&source{lists: lists}, s, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []queue.Waiting{{3, sec(10)}, {2, sec(12)}, {1, 0}} {
		if _, err := stage.Feed(floorwatch.Frame{T: sec(20 + 12*float64(i))}); err != nil {
			t.Fatal(err)
		}
		got := stage.Waiting()
		if len(got) != 1 || got["line"] != want {
			t.Errorf("after line %d: %+v, want %+v", i, got, want)
		}
	}
}
