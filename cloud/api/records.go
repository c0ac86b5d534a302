package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"floorwatch"
)

// stayView is a stay with its length.
type stayView struct {
	floorwatch.Stay
	DurationS float64 `json:"duration_s"` // to now's knowledge: 0 while it runs
}

// stays answers the stays that ended in the span, newest first.
func (s *server) stays(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	csv, err := wantCSV(v)
	if err != nil {
		return err
	}
	q, err := s.query(v, map[bool]int{false: 200, true: MaxStays}[csv], MaxStays)
	if err != nil {
		return err
	}
	all, err := s.Figures.Stays(r.Context(), q)
	if err != nil {
		return err
	}
	all, cut := newest(all, q.Limit, func(x floorwatch.Stay) floorwatch.Time { return exit(x) })
	if csv {
		return writeStays(w, q, all)
	}
	views := make([]stayView, 0, len(all))
	for _, x := range all {
		views = append(views, stayView{x, floorwatch.Seconds(exit(x).Sub(x.Enter))})
	}
	return writeJSON(w, map[string]any{"from": q.From, "to": q.To, "limit_reached": cut, "stays": views})
}

func exit(x floorwatch.Stay) floorwatch.Time {
	if x.Exit == nil {
		return x.Enter
	}
	return *x.Exit
}

// newest sorts by time, newest first, and keeps limit of them.
func newest[T any](all []T, limit int, at func(T) floorwatch.Time) ([]T, bool) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(at(b), at(a)) })
	return all[:min(len(all), limit)], len(all) >= limit
}

func writeStays(w http.ResponseWriter, q Query, all []floorwatch.Stay) error {
	header := []string{
		"store", "edge", "camera", "zone", "id", "enter_utc", "exit_utc", "duration_s", "seen_s", "merged_s",
		"enter_border_seen", "exit_border_seen", "zone_rev", "detector",
	}
	rows := make([][]string, 0, len(all))
	for _, x := range all {
		rows = append(rows, []string{
			q.Store, q.Edge, cell(x.Camera), cell(x.Zone), cell(x.ID), x.Enter.String(), stamp(x.Exit),
			number(floorwatch.Seconds(exit(x).Sub(x.Enter))), number(x.SeenS), number(x.MergedS),
			strconv.FormatBool(x.EnterSeen), strconv.FormatBool(x.ExitSeen), cell(x.Rev), cell(x.By),
		})
	}
	return writeCSV(w, csvName("stays", q), header, rows)
}

// intervals answers the intervals that start in the span, oldest first.
func (s *server) intervals(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	csv, err := wantCSV(v)
	if err != nil {
		return err
	}
	q, err := s.query(v, map[bool]int{false: 1000, true: MaxStays}[csv], MaxStays)
	if err != nil {
		return err
	}
	all, err := s.Figures.Intervals(r.Context(), q)
	if err != nil {
		return err
	}
	all, cut := newest(all, q.Limit, func(x floorwatch.Interval) floorwatch.Time { return x.Start })
	slices.Reverse(all)
	if csv {
		return writeIntervals(w, q, all)
	}
	return writeJSON(w, map[string]any{"from": q.From, "to": q.To, "limit_reached": cut, "intervals": all})
}

func writeIntervals(w http.ResponseWriter, q Query, all []floorwatch.Interval) error {
	header := []string{
		"store", "edge", "camera", "zone", "start_utc", "end_utc", "coverage_share", "observed_s", "person_s",
		"occupancy_mean_people", "occupancy_min_people", "occupancy_max_people", "inside_at_end_people",
		"arrived_border_seen_people", "appeared_people", "departed_border_seen_people", "lost_people",
		"stays_ended", "stay_sum_s", "stay_min_s", "stay_max_s", "zone_rev", "detector",
	}
	rows := make([][]string, 0, len(all))
	for _, x := range all {
		occupancy := number(x.Occupancy)
		if x.ObservedS == 0 {
			occupancy = ""
		}
		n := func(v int64) string { return strconv.FormatInt(v, 10) }
		rows = append(rows, []string{
			q.Store, q.Edge, cell(x.Camera), cell(x.Zone), x.Start.String(), x.End.String(), number(x.Coverage),
			number(x.ObservedS), number(x.PersonS), occupancy, n(x.Min), n(x.Max), n(x.Inside),
			n(x.Arrived), n(x.Appeared), n(x.Departed), n(x.Lost), n(x.Stays.N), number(x.Stays.Sum),
			number(x.Stays.Min), number(x.Stays.Max), cell(x.Rev), cell(x.By),
		})
	}
	return writeCSV(w, csvName("intervals", q), header, rows)
}
