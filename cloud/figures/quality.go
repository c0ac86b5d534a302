package figures

import (
	"cmp"
	"context"
	"slices"

	"floorwatch/cloud/influx"

	"floorwatch"
)

// LeftOut is what min_quality kept out of an answer. A record goes with the
// interval in which it ended; where that interval is not known, because it has
// not settled or comes from a box that knows no quality, it is left out too.
type LeftOut struct {
	Records   int     `json:"records"`
	ObservedS float64 `json:"observed_s"` // of intervals
}

// trust tells which moments of which zones were measured well enough.
type trust struct {
	least float64
	zones map[zoneKey][]floorwatch.Interval // by start
}

func newTrust(least float64, ivs []floorwatch.Interval) trust {
	t := trust{least, map[zoneKey][]floorwatch.Interval{}}
	for _, x := range ivs {
		k := zoneKey{x.Camera, x.Zone}
		t.zones[k] = append(t.zones[k], x)
	}
	for _, all := range t.zones {
		slices.SortFunc(all, func(a, b floorwatch.Interval) int { return cmp.Compare(a.Start, b.Start) })
	}
	return t
}

// holds tells whether the interval of a zone that holds the moment is good enough.
func (t trust) holds(h floorwatch.Header, at floorwatch.Time) bool {
	if t.least <= 0 {
		return true
	}
	all := t.zones[zoneKey{h.Camera, h.Zone}]
	i, found := slices.BinarySearchFunc(all, at, func(x floorwatch.Interval, at floorwatch.Time) int { return cmp.Compare(x.Start, at) })
	if !found {
		i--
	}
	return i >= 0 && at < all[i].End && all[i].Quality >= t.least
}

// intervalReach is how far before a span intervals are read that may reach into it.
const intervalReach = 3600_000

// trusted reads the intervals by which records of q are told apart.
func (f *Figures) trusted(ctx context.Context, q influx.Query, least float64) (trust, error) {
	if least <= 0 {
		return trust{}, nil
	}
	q.From, q.Limit = max(0, q.From-intervalReach), maxInterval
	ivs, err := f.allIntervals(ctx, q)
	return newTrust(least, ivs), err
}

// meanQuality is the quality of intervals, each by its observed time; nil where
// nothing was observed.
func meanQuality(ivs []floorwatch.Interval) *float64 {
	var observed, quality float64
	for _, x := range ivs {
		observed += x.ObservedS
		quality += x.ObservedS * x.Quality
	}
	if observed <= 0 {
		return nil
	}
	return round(quality / observed)
}
