package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"

	"floorwatch"
)

// listing is an endpoint that lists records of one kind.
type listing[T any] struct {
	name    string // in JSON, and of the file
	few     int    // how many JSON lists when the caller names no limit
	read    func(ctx context.Context, q influx.Query, least float64) (figures.Listed[T], error)
	view    func(x T) any // what JSON shows
	columns func(q influx.Query) []column[T]
}

// list answers the newest records of the span.
func list[T any](s *server, w http.ResponseWriter, r *http.Request, l listing[T]) error {
	v := r.URL.Query()
	csv, err := wantCSV(v)
	if err != nil {
		return err
	}
	q, err := s.query(v, map[bool]int{false: l.few, true: figures.MaxRecords}[csv], figures.MaxRecords)
	if err != nil {
		return err
	}
	least, err := minQuality(v)
	if err != nil {
		return err
	}
	all, err := l.read(r.Context(), q, least)
	if err != nil {
		return err
	}
	if csv {
		w.Header().Set("Floorwatch-Left-Out", strconv.Itoa(all.LeftOut.Records))
		return writeTable(w, csvName(l.name, q), l.columns(q), all.Records)
	}
	views := make([]any, 0, len(all.Records))
	for _, x := range all.Records {
		views = append(views, l.view(x))
	}
	return writeJSON(w, map[string]any{
		"from": q.From, "to": q.To, "limit_reached": all.Cut, "min_quality": least, "left_out": all.LeftOut, l.name: views,
	})
}

// stayView is a stay with its length.
type stayView struct {
	floorwatch.Stay
	DurationS float64 `json:"duration_s"` // 0 while it lasts
}

// waitView is a wait with its length.
type waitView struct {
	floorwatch.Wait
	WaitS float64 `json:"wait_s"`
}

// stays answers the stays that ended in the span, newest first.
func (s *server) stays(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Stay]{
		name: "stays", few: 200, read: s.figures.Stays, columns: stayColumns,
		view: func(x floorwatch.Stay) any { return stayView{x, figures.Length(&x)} },
	})
}

// waits answers the waits that ended in the span, newest first.
func (s *server) waits(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Wait]{
		name: "waits", few: 200, read: s.figures.Waits, columns: waitColumns,
		view: func(x floorwatch.Wait) any { return waitView{x, figures.Length(&x)} },
	})
}

// intervals answers the intervals that start in the span, oldest first.
func (s *server) intervals(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Interval]{
		name: "intervals", few: 1000, read: s.figures.Intervals, columns: intervalColumns,
		view: func(x floorwatch.Interval) any { return x },
	})
}

func stayHeader(x floorwatch.Stay) floorwatch.Header { return x.Header }

func waitHeader(x floorwatch.Wait) floorwatch.Header { return x.Header }

func stayColumns(q influx.Query) []column[floorwatch.Stay] {
	type stay = floorwatch.Stay
	return slices.Concat(edgeColumns(q, stayHeader), []column[stay]{
		textColumn("id", func(x stay) string { return x.ID }),
		timeColumn("enter_utc", func(x stay) floorwatch.Time { return x.Enter }),
		{"exit_utc", func(x stay) string { return stamp(x.Exit) }},
		numberColumn("duration_s", func(x stay) float64 { return figures.Length(&x) }),
		numberColumn("seen_s", func(x stay) float64 { return x.SeenS }),
		numberColumn("merged_s", func(x stay) float64 { return x.MergedS }),
		numberColumn("bridged_s", func(x stay) float64 { return x.BridgedS }),
		countColumn("bridges", func(x stay) int64 { return int64(x.Bridges) }),
		numberColumn("standard_error_s", func(x stay) float64 { return x.ErrorS }),
		flagColumn("enter_border_seen", func(x stay) bool { return x.EnterSeen }),
		flagColumn("exit_border_seen", func(x stay) bool { return x.ExitSeen }),
	}, madeColumns(stayHeader))
}

func waitColumns(q influx.Query) []column[floorwatch.Wait] {
	type wait = floorwatch.Wait
	return slices.Concat(edgeColumns(q, waitHeader), []column[wait]{
		textColumn("id", func(x wait) string { return x.ID }),
		timeColumn("enter_utc", func(x wait) floorwatch.Time { return x.Enter }),
		{"end_utc", func(x wait) string { return stamp(x.End) }},
		numberColumn("wait_s", func(x wait) float64 { return figures.Length(&x) }),
		textColumn("outcome", func(x wait) string { return x.Outcome }),
		textColumn("service_zone", func(x wait) string { return x.ServiceZone }),
		flagColumn("enter_border_seen", func(x wait) bool { return x.EnterSeen }),
		flagColumn("direct", func(x wait) bool { return x.Direct }),
		numberColumn("bridged_s", func(x wait) float64 { return x.BridgedS }),
		countColumn("bridges", func(x wait) int64 { return int64(x.Bridges) }),
		numberColumn("standard_error_s", func(x wait) float64 { return x.ErrorS }),
	}, madeColumns(waitHeader))
}

func intervalHeader(x floorwatch.Interval) floorwatch.Header { return x.Header }

func intervalColumns(q influx.Query) []column[floorwatch.Interval] {
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
