package api

import (
	"context"
	"log/slog"
	"time"

	"floorwatch"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
)

// fleetEvery is the time between two looks of WatchBoxes.
const fleetEvery = 5 * time.Second

// BoxTroubles is what is wrong with a box, worst first; Bad tells whether the
// worst cannot wait.
type BoxTroubles struct {
	Store, Edge string
	What        []string
	Bad         bool
}

// WatchBoxes calls look with all boxes every few seconds until ctx ends: what
// the page of boxes shows, for those who do not look at it.
func WatchBoxes(ctx context.Context, set Settings, look func([]BoxTroubles)) error {
	if set.Log == nil {
		set.Log = slog.New(slog.DiscardHandler)
	}
	if set.Now == nil {
		set.Now = time.Now
	}
	s := &server{Settings: set}
	tick := time.NewTicker(fleetEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		views := s.boxViews(ctx)
		all := make([]BoxTroubles, 0, len(views))
		for _, v := range views {
			t := BoxTroubles{Store: v.Store, Edge: v.Edge}
			for _, w := range v.Troubles {
				t.What, t.Bad = append(t.What, w.What), t.Bad || w.Level == "bad"
			}
			all = append(all, t)
		}
		look(all)
	}
}

// What a box should have delivered is asked of the last hour that can be there:
// an interval and the time in which it settles and travels before now.
const (
	owedFor    = time.Hour
	owedAtMost = 4 * time.Hour // with long intervals
	owedLag    = 5 * time.Minute
	owedLeast  = 10 * time.Minute // of opening hours, else it is not asked
	owedShare  = 0.1              // may be missing
)

// owed is what one camera should have delivered of a span, and what the cloud
// has of it; nil: it is not asked of it.
type owed struct {
	Expected float64  `json:"expected_s"` // opening hours in the span
	Observed float64  `json:"observed_s"`
	Recorded *float64 `json:"recorded_s"` // nil: it records nothing
}

func (o *owed) short() bool {
	if o == nil {
		return false
	}
	limit := (1 - owedShare) * o.Expected
	return o.Observed < limit || o.Recorded != nil && *o.Recorded < limit
}

// owedBy asks the database what the cameras of a box have delivered. A box that
// works for less than the span is not asked about, nor one that lags.
func (s *server) owedBy(ctx context.Context, store site.Store, e site.Edge) (map[string]*owed, error) {
	h, ok := s.Hub.healthOf(store.ID, e.ID, "")
	up, lag := value(h, "uptime_s"), value(h, "backlog_s")
	if !ok || up == nil || over(lag, lagLimitS) {
		return nil, nil
	}
	now := floorwatch.TimeOf(s.Now())
	all, err := s.Figures.Intervals(ctx, influx.Query{Store: store.ID, Edge: e.ID, From: now.Add(-owedAtMost), To: now, Limit: figures.MaxRecords})
	if err != nil {
		return nil, err
	}
	every := 5 * time.Minute
	for _, iv := range all {
		every = max(every, iv.End.Sub(iv.Start))
	}
	to := now.Add(-every - owedLag).Floor(every)
	from := max(to.Add(-max(owedFor, every)), h.At.Add(-time.Duration(*up*float64(time.Second)))).Floor(every).Add(every)
	open := store.Hours()
	expected := openTime(open, from, to)
	if expected < owedLeast || every > owedAtMost/2 {
		return nil, nil
	}
	out := map[string]*owed{}
	for _, c := range e.Cameras {
		o := &owed{Expected: expected.Seconds()}
		best := map[floorwatch.Time]float64{} // zones of a camera see the same
		for _, iv := range all {
			if iv.Camera == c.Name && iv.Start >= from && iv.End <= to && open(iv.Start) {
				best[iv.Start] = max(best[iv.Start], iv.ObservedS)
			}
		}
		for _, seen := range best {
			o.Observed += seen
		}
		if err := s.recordedBy(ctx, site.Source{Store: store.ID, Edge: e.ID, Camera: c.Name}, open, from, to, o); err != nil {
			return nil, err
		}
		out[c.Name] = o
	}
	return out, nil
}

// recordedBy adds what is sealed, of a camera that records.
func (s *server) recordedBy(ctx context.Context, c site.Source, open func(floorwatch.Time) bool, from, to floorwatch.Time, o *owed) error {
	h, ok := s.Hub.healthOf(c.Store, c.Edge, c.Camera)
	if n := value(h, "segments"); !ok || n == nil || *n == 0 || s.Footage == nil {
		return nil
	}
	all, err := s.Footage.Segments(ctx, c, from, to)
	if err != nil {
		return err
	}
	sum := 0.0
	for _, seg := range all {
		if open(seg.Start) {
			sum += max(0, floorwatch.Seconds(min(to, seg.End).Sub(max(from, seg.Start))))
		}
	}
	o.Recorded = &sum
	return nil
}

// openTime returns how much of [from, to) lies in opening hours, to the minute.
func openTime(open func(floorwatch.Time) bool, from, to floorwatch.Time) time.Duration {
	n := 0
	for t := from; t < to; t = t.Add(time.Minute) {
		if open(t) {
			n++
		}
	}
	return time.Duration(n) * time.Minute
}
