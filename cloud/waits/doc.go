// Package waits turns wait records into figures: the plain figures of the waits
// that ended in a window (Finish), the survival figures of those who joined in
// it (Begin), the mean that those people really had (People), service at the
// counters (Serve), a second measurement of the wait (LittlesLaw), and how far two
// windows are apart (Compare). It is pure: records in, figures out.
//
// A wait is an end minus a beginning that was seen. Somebody whose beginning was
// not seen counts in occupancy and among the outcomes, but never in a duration.
// Times are integer milliseconds inside, so that a sum does not depend on its
// order; figures are in seconds, and nil where there is nothing to tell.
package waits

import (
	"math"
	"slices"

	"floorwatch"
)

// Cohorts: which waits a figure is about. A figure never comes without the name
// of its cohort.
const (
	CohortFinished = "finished" // those that ended in the window
	CohortBegan    = "began"    // those that began in the window
)

// QuantileMethod names how quantiles are taken: the smallest value such that at
// least the share p of all are not longer (Hyndman and Fan 1996, definition 1).
// It is always a wait that really happened.
const QuantileMethod = "nearest-rank"

// Window is [From, To).
type Window struct {
	From floorwatch.Time `json:"from"`
	To   floorwatch.Time `json:"to"`
}

func (w Window) holds(t floorwatch.Time) bool { return t >= w.From && t < w.To }

// Interval is a 95 % interval.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Dist describes durations, in seconds; the figures are nil when N is 0.
type Dist struct {
	N       int      `json:"n"`
	MeanS   *float64 `json:"mean_s"`
	MedianS *float64 `json:"median_s"`
	P90S    *float64 `json:"p90_s"`
	MaxS    *float64 `json:"max_s"`
	// Over is how many were longer than the target that was in force when they ended,
	// and which share of those for which there was one; nil where there was none.
	Over      *int     `json:"over_target"`
	OverShare *float64 `json:"over_target_share"`
}

// dist describes durations in milliseconds; it sorts them.
func dist(ms []floorwatch.Time) Dist {
	d := Dist{N: len(ms)}
	if d.N == 0 {
		return d
	}
	slices.Sort(ms)
	var sum floorwatch.Time
	for _, v := range ms {
		sum += v
	}
	d.MeanS = new(float64(sum) / 1000 / float64(d.N))
	d.MedianS, d.P90S, d.MaxS = rank(ms, 0.5), rank(ms, 0.9), seconds(ms[d.N-1])
	return d
}

// rank returns the nearest-rank quantile p of sorted durations.
func rank(ms []floorwatch.Time, p float64) *float64 {
	return seconds(ms[nearestRank(len(ms), p)-1])
}

// nearestRank counts from 1.
func nearestRank(n int, p float64) int {
	// The epsilon keeps 0.9*10 at 9 where the product rounds up.
	return max(1, int(math.Ceil(p*float64(n)-1e-9)))
}

func seconds(t floorwatch.Time) *float64 { return new(float64(t) / 1000) }
