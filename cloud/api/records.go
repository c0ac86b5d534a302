package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"

	"floorwatch"
)

// listing is an endpoint that lists records of one kind.
type listing[T any] struct {
	name string // in JSON, and of the file
	few  int    // how many JSON lists when the caller names no limit
	read func(ctx context.Context, q influx.Query, least float64) (figures.Listed[T], error)
	view func(x T) any // what JSON shows
	skip []string      // columns that these records have no use for
}

// list answers the newest records of the span.
func list[T any, P record[T]](s *server, w http.ResponseWriter, r *http.Request, l listing[T]) error {
	v := r.URL.Query()
	csv, err := wantCSV(v)
	if err != nil {
		return err
	}
	q, err := s.query(v, map[bool]int{false: l.few, true: figures.MaxRecords}[csv], figures.MaxRecords)
	if err != nil {
		return err
	}
	if q.Rev, err = revParam(v); err != nil {
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
	if csv && all.Cut && !v.Has("limit") { // nobody sees in a table that it was cut
		return &fault{
			http.StatusRequestEntityTooLarge, fmt.Sprintf("the time range holds more than %d records, which is all that a table takes", figures.MaxRecords),
			"ask for a shorter time range, or give limit for the newest",
		}
	}
	breaks := append([]figures.Break{}, all.Breaks...)
	if csv {
		w.Header().Set("Floorwatch-Limit-Reached", strconv.FormatBool(all.Cut))
		if len(breaks) > 0 {
			w.Header().Set("Floorwatch-Redrawn", breaks[0].T.String())
		}
		w.Header().Set("Floorwatch-Left-Out", strconv.Itoa(all.LeftOut.Records))
		return writeTable(w, csvName(l.name, q), recordColumns[T, P](q, l.skip...), all.Records)
	}
	views := make([]any, 0, len(all.Records))
	for _, x := range all.Records {
		views = append(views, l.view(x))
	}
	return writeJSON(w, map[string]any{
		"from": q.From, "to": q.To, "limit_reached": all.Cut, "min_quality": least, "left_out": all.LeftOut, "breaks": breaks, l.name: views,
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
		name: "stays", few: 200, read: s.figures.Stays,
		view: func(x floorwatch.Stay) any { return stayView{x, figures.Length(&x)} },
	})
}

// waits answers the waits that ended in the span, newest first.
func (s *server) waits(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Wait]{
		name: "waits", few: 200, read: s.figures.Waits,
		view: func(x floorwatch.Wait) any { return waitView{x, figures.Length(&x)} },
	})
}

// intervals answers the intervals that start in the span, oldest first.
func (s *server) intervals(w http.ResponseWriter, r *http.Request) error {
	return list(s, w, r, listing[floorwatch.Interval]{
		name: "intervals", few: 1000, read: s.figures.Intervals, skip: []string{"id"},
		view: func(x floorwatch.Interval) any { return x },
	})
}
