package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"

	"floorwatch"
)

// listing is an endpoint that lists records of one kind.
type listing[T any] struct {
	name    string // in JSON, and of the file
	few     int    // how many JSON lists when the caller names no limit
	read    func(ctx context.Context, q Query) ([]T, error)
	header  func(x T) floorwatch.Header
	at      func(x T) floorwatch.Time // the time by which they are listed
	oldest  bool                      // first; otherwise the newest
	view    func(x T) any             // what JSON shows
	columns func(q Query) []column[T]
}

// list answers the newest records of the span.
func list[T any](s *server, w http.ResponseWriter, r *http.Request, l listing[T]) error {
	v := r.URL.Query()
	csv, err := wantCSV(v)
	if err != nil {
		return err
	}
	q, err := s.query(v, map[bool]int{false: l.few, true: MaxStays}[csv], MaxStays)
	if err != nil {
		return err
	}
	least, err := minQuality(v)
	if err != nil {
		return err
	}
	all, left, err := l.trusted(r.Context(), s, q, least)
	if err != nil {
		return err
	}
	all, cut := newest(all, q.Limit, l.at)
	if l.oldest {
		slices.Reverse(all)
	}
	if csv {
		w.Header().Set("Floorwatch-Left-Out", strconv.Itoa(left.Records))
		return writeTable(w, csvName(l.name, q), l.columns(q), all)
	}
	views := make([]any, 0, len(all))
	for _, x := range all {
		views = append(views, l.view(x))
	}
	return writeJSON(w, map[string]any{
		"from": q.From, "to": q.To, "limit_reached": cut, "min_quality": least, "left_out": left, l.name: views,
	})
}

// trusted reads the records of q and leaves out those below the quality.
func (l listing[T]) trusted(ctx context.Context, s *server, q Query, least float64) (all []T, left LeftOut, err error) {
	known, err := s.trusted(ctx, q, least)
	if err != nil {
		return nil, left, err
	}
	if least > 0 {
		q.Limit = MaxStays // the newest that are good enough may be old
	}
	if all, err = l.read(ctx, q); err != nil {
		return nil, left, err
	}
	n := len(all)
	all = slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !known.holds(l.header(x), l.at(x)) })
	left.Records = n - len(all)
	return all, left, nil
}

// newest sorts by time, newest first, and keeps limit of them.
func newest[T any](all []T, limit int, at func(T) floorwatch.Time) ([]T, bool) {
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(at(b), at(a)) })
	return all[:min(len(all), limit)], len(all) >= limit
}

// stayView is a stay with its length.
type stayView struct {
	floorwatch.Stay
	DurationS float64 `json:"duration_s"` // to now's knowledge: 0 while it runs
}

// stays answers the stays that ended in the span, newest first.
func (s *server) stays(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Stay]{
		name: "stays", few: 200, read: s.Figures.Stays, header: stayHeader, at: exit,
		view:    func(x floorwatch.Stay) any { return stayView{x, stayS(x)} },
		columns: stayColumns,
	})
}

func stayHeader(x floorwatch.Stay) floorwatch.Header { return x.Header }

func stayS(x floorwatch.Stay) float64 { return floorwatch.Seconds(exit(x).Sub(x.Enter)) }

func exit(x floorwatch.Stay) floorwatch.Time {
	if x.Exit == nil {
		return x.Enter
	}
	return *x.Exit
}

func stayColumns(q Query) []column[floorwatch.Stay] {
	type stay = floorwatch.Stay
	return slices.Concat(edgeColumns(q, stayHeader), []column[stay]{
		textColumn("id", func(x stay) string { return x.ID }),
		timeColumn("enter_utc", func(x stay) floorwatch.Time { return x.Enter }),
		{"exit_utc", func(x stay) string { return stamp(x.Exit) }},
		numberColumn("duration_s", stayS),
		numberColumn("seen_s", func(x stay) float64 { return x.SeenS }),
		numberColumn("merged_s", func(x stay) float64 { return x.MergedS }),
		numberColumn("bridged_s", func(x stay) float64 { return x.BridgedS }),
		countColumn("bridges", func(x stay) int64 { return int64(x.Bridges) }),
		numberColumn("standard_error_s", func(x stay) float64 { return x.ErrorS }),
		flagColumn("enter_border_seen", func(x stay) bool { return x.EnterSeen }),
		flagColumn("exit_border_seen", func(x stay) bool { return x.ExitSeen }),
	}, madeColumns(stayHeader))
}

// intervals answers the intervals that start in the span, oldest first.
func (s *server) intervals(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Interval]{
		name: "intervals", few: 1000, read: s.Figures.Intervals, oldest: true, header: intervalHeader,
		at:      func(x floorwatch.Interval) floorwatch.Time { return x.Start },
		view:    func(x floorwatch.Interval) any { return x },
		columns: intervalColumns,
	})
}

func intervalHeader(x floorwatch.Interval) floorwatch.Header { return x.Header }

func intervalColumns(q Query) []column[floorwatch.Interval] {
	type interval = floorwatch.Interval
	occupancy := func(x interval) string {
		if x.ObservedS == 0 {
			return ""
		}
		return number(x.Occupancy)
	}
	return slices.Concat(edgeColumns(q, intervalHeader), []column[interval]{
		timeColumn("start_utc", func(x interval) floorwatch.Time { return x.Start }),
		timeColumn("end_utc", func(x interval) floorwatch.Time { return x.End }),
		numberColumn("coverage_share", func(x interval) float64 { return x.Coverage }),
		numberColumn("observed_s", func(x interval) float64 { return x.ObservedS }),
		numberColumn("person_s", func(x interval) float64 { return x.PersonS }),
		{"occupancy_mean_people", occupancy},
		countColumn("occupancy_min_people", func(x interval) int64 { return x.Min }),
		countColumn("occupancy_max_people", func(x interval) int64 { return x.Max }),
		countColumn("inside_at_end_people", func(x interval) int64 { return x.Inside }),
		countColumn("arrived_border_seen_people", func(x interval) int64 { return x.Arrived }),
		countColumn("appeared_people", func(x interval) int64 { return x.Appeared }),
		countColumn("departed_border_seen_people", func(x interval) int64 { return x.Departed }),
		countColumn("lost_people", func(x interval) int64 { return x.Lost }),
		countColumn("stays_ended", func(x interval) int64 { return x.Stays.N }),
		numberColumn("stay_sum_s", func(x interval) float64 { return x.Stays.Sum }),
		numberColumn("stay_min_s", func(x interval) float64 { return x.Stays.Min }),
		numberColumn("stay_max_s", func(x interval) float64 { return x.Stays.Max }),
		countColumn("crossings_ended", func(x interval) int64 { return x.Crossings.N }),
		numberColumn("crossing_sum_s", func(x interval) float64 { return x.Crossings.Sum }),
		numberColumn("quality_share", func(x interval) float64 { return x.Quality }),
	}, madeColumns(intervalHeader))
}
