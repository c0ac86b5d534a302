package figures

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
)

// P90Method names how the 90th percentile is taken: the smallest stay such that
// at least 90 % of the bucket's stays are not longer (nearest rank). It is
// always a stay that really happened.
const P90Method = "nearest-rank"

// Series is what charts draw: one set of columns per zone, in clock-aligned
// buckets of StepS seconds. A figure that is not known is null, never 0.
type Series struct {
	site.Source
	From      floorwatch.Time `json:"from"`
	To        floorwatch.Time `json:"to"`
	StepS     float64         `json:"step_s"`
	P90Method string          `json:"p90_method"`
	// MinQuality is what was asked for: worse intervals, and the stays that ended
	// in them, are in no figure but LeftOut and Quality.
	MinQuality float64      `json:"min_quality"`
	Zones      []ZoneSeries `json:"zones"`
}

// ZoneSeries holds a zone's buckets; index i of each column is the bucket that
// starts at T[i]. Only records of the newest Rev count: a redrawn zone is
// another zone, and Redrawn says since when it is this one. Pending buckets are
// not settled yet and carry no figure.
type ZoneSeries struct {
	Camera    string            `json:"camera"`
	Zone      string            `json:"zone"`
	Rev       string            `json:"rev"`
	Redrawn   *floorwatch.Time  `json:"redrawn"`
	P90Since  *floorwatch.Time  `json:"p90_since"` // older p90 left out: too many stays to read
	T         []floorwatch.Time `json:"t"`
	Pending   []bool            `json:"pending"`
	Coverage  []*float64        `json:"coverage"`    // share of the bucket that was observed; null: pending, or before Redrawn
	Occupancy []*float64        `json:"occupancy"`   // people, averaged over observed time
	Arrivals  []*float64        `json:"arrivals"`    // people: border seen crossed + appeared
	Stays     []*float64        `json:"stays"`       // stays that ended
	Mean      []*float64        `json:"mean_stay_s"` // s, of those
	P90       []*float64        `json:"p90_stay_s"`  // s, of those
	Quality   []*float64        `json:"quality"`     // of what was observed, left out or not, 0..1
	LeftOut   []*float64        `json:"left_out"`    // share of the bucket observed but below MinQuality
}

var steps = []time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
	15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// buckets is how many a chart shows at most when the step is ours to choose.
const (
	buckets    = 60
	maxBuckets = 5000
)

// checkStep refuses a step that charts do not have; 0 leaves it to us.
func checkStep(step time.Duration, q influx.Query) error {
	if step == 0 {
		return nil
	}
	if !slices.Contains(steps, step) {
		return bad("use 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600 or 86400", "parameter step is not one of the steps")
	}
	if q.To.Sub(q.From) > maxBuckets*step {
		return bad("use a longer step or a shorter time range", "that gives more than %d buckets", maxBuckets)
	}
	return nil
}

// Series answers what charts of zones draw. A step of 0 is ours to choose.
func (f *Figures) Series(ctx context.Context, q influx.Query, step time.Duration, least float64) (Series, error) {
	q, err := f.ask(q)
	if err == nil {
		err = checkStep(step, q)
	}
	if err != nil {
		return Series{}, err
	}
	first := fitStep(q.To.Sub(q.From), step, 0)
	q.From = q.From.Floor(first)
	q.Limit = maxInterval
	ivs, err := f.allIntervals(ctx, q)
	if err != nil {
		return Series{}, err
	}
	if final := fitStep(q.To.Sub(q.From), first, longest(ivs)); final != first {
		// A whole bucket before from was not read: start at the next border.
		first, q.From = final, (q.From - 1).Floor(final).Add(final)
	}
	out := Series{
		Source: site.Source{Store: q.Store, Edge: q.Edge, Camera: q.Camera}, From: q.From, To: q.To,
		StepS: first.Seconds(), P90Method: P90Method, MinQuality: least, Zones: []ZoneSeries{},
	}
	for _, key := range f.seriesZones(q, ivs) {
		zq := q
		zq.Camera, zq.Zone, zq.Limit = key.camera, key.zone, MaxRecords
		stays, err := f.Reader.Stays(ctx, zq)
		if err != nil {
			return Series{}, err
		}
		out.Zones = append(out.Zones, bucket(key, q.From, q.To, f.now(), first, ivs, stays, least))
	}
	return out, nil
}

// allIntervals reads the intervals of q, zone by zone where they are too many for
// one answer.
func (f *Figures) allIntervals(ctx context.Context, q influx.Query) ([]floorwatch.Interval, error) {
	ivs, err := f.Reader.Intervals(ctx, q)
	if err != nil || len(ivs) < q.Limit {
		return ivs, err
	}
	zones := f.seriesZones(q, nil)
	if q.Zone != "" || len(zones) < 2 {
		return nil, tooMuch("the span holds too many intervals")
	}
	ivs = nil
	for _, z := range zones {
		zq := q
		zq.Camera, zq.Zone = z.camera, z.zone
		more, err := f.allIntervals(ctx, zq)
		if err != nil {
			return nil, err
		}
		ivs = append(ivs, more...)
	}
	return ivs, nil
}

// fitStep returns the shortest step of the list that is not below least, holds a
// whole number of intervals and gives at most `buckets` buckets (least, when
// given, is the caller's wish and may give more).
func fitStep(span, least, interval time.Duration) time.Duration {
	for _, d := range steps {
		if d < least || (least == 0 && span > buckets*d) || (interval > 0 && d%interval != 0) {
			continue
		}
		return d
	}
	return steps[len(steps)-1]
}

func longest(ivs []floorwatch.Interval) (d time.Duration) {
	for _, x := range ivs {
		d = max(d, x.End.Sub(x.Start))
	}
	return d
}

type zoneKey struct{ camera, zone string }

// cameras lists those of the box that q asks about.
func (f *Figures) cameras(q influx.Query) []site.Camera {
	return f.sites(q.To).Cameras(q.Store, q.Edge)
}

// seriesZones lists the configured zones, then those that only the data knows.
func (f *Figures) seriesZones(q influx.Query, ivs []floorwatch.Interval) (keys []zoneKey) {
	for _, c := range f.cameras(q) {
		for _, z := range c.Scene.Zones {
			if (q.Camera == "" || q.Camera == c.Name) && (q.Zone == "" || q.Zone == z.Name) {
				keys = append(keys, zoneKey{c.Name, z.Name})
			}
		}
	}
	for _, x := range ivs {
		if k := (zoneKey{x.Camera, x.Zone}); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// sum is what a bucket adds up.
type sum struct {
	observed, person, arrivals, stayS float64
	quality, left                     float64 // quality times observed seconds; seconds left out
	n                                 int64
	other                             bool // holds intervals of an older rev
	stays                             []float64
}

// bucket builds one zone's columns out of the intervals and stays of [from, to).
func bucket(key zoneKey, from, to, now floorwatch.Time, step time.Duration, ivs []floorwatch.Interval, stays []floorwatch.Stay, least float64) ZoneSeries {
	z := ZoneSeries{Camera: key.camera, Zone: key.zone}
	mine := slices.Clone(ivs)
	mine = slices.DeleteFunc(mine, func(x floorwatch.Interval) bool { return x.Camera != key.camera || x.Zone != key.zone })
	slices.SortFunc(mine, func(a, b floorwatch.Interval) int { return cmp.Compare(a.Start, b.Start) })
	var lastEnd floorwatch.Time
	var width time.Duration
	if n := len(mine); n > 0 {
		z.Rev, lastEnd, width = mine[n-1].Rev, mine[n-1].End, mine[n-1].End.Sub(mine[n-1].Start)
	}
	n := int((to - from + floorwatch.Time(step.Milliseconds()) - 1) / floorwatch.Time(step.Milliseconds()))
	sums := make([]sum, n)
	at := func(t floorwatch.Time) int { return int((t - from) / floorwatch.Time(step.Milliseconds())) }
	for _, x := range mine {
		if i := at(x.Start); x.Start >= from && i < n {
			sums[i].add(x, z.Rev, &z, least)
		}
	}
	known := newTrust(least, mine)
	z.P90Since = addStays(sums, stays, z.Rev, from, at, known)
	for i, b := range sums {
		start := from.Add(time.Duration(i) * step)
		end := start.Add(step)
		// Later than the last interval and younger than a box needs to settle and
		// send one: not known yet, which is not the same as not watched.
		pending := end > lastEnd && now.Sub(end) < 2*width+90*time.Second
		z.push(start, pending, b, step.Seconds(), z.P90Since != nil && start < *z.P90Since)
	}
	return z
}

func (b *sum) add(x floorwatch.Interval, rev string, z *ZoneSeries, least float64) {
	if x.Rev != rev {
		b.other = true
		z.Redrawn = new(x.End)
		return
	}
	b.quality += x.ObservedS * x.Quality
	if x.Quality < least {
		b.left += x.ObservedS
		return
	}
	b.observed += x.ObservedS
	b.person += x.PersonS
	b.arrivals += float64(x.Arrived + x.Appeared)
	b.stayS += x.Stays.Sum
	b.n += x.Stays.N
}

// addStays puts each stay's length into its bucket, by its exit, and returns the
// time before which stays are missing because the limit cut them off.
func addStays(sums []sum, stays []floorwatch.Stay, rev string, from floorwatch.Time, at func(floorwatch.Time) int, known trust) (since *floorwatch.Time) {
	oldest := floorwatch.MaxTime
	for _, x := range stays {
		oldest = min(oldest, End(&x))
		if i := at(End(&x)); x.Exit != nil && *x.Exit >= from && i < len(sums) && x.Rev == rev && known.holds(x.Header, *x.Exit) {
			sums[i].stays = append(sums[i].stays, floorwatch.Seconds(x.Exit.Sub(x.Enter)))
		}
	}
	if len(stays) >= MaxRecords {
		return &oldest
	}
	return nil
}

// push appends bucket b to the columns.
func (z *ZoneSeries) push(start floorwatch.Time, pending bool, b sum, stepS float64, noP90 bool) {
	var coverage, occupancy, arrivals, ended, mean, p90, quality, left *float64
	known := !pending && (b.observed+b.left > 0 || !b.other)
	if known {
		coverage, left = round(min(1, b.observed/stepS)), round(min(1, b.left/stepS))
	}
	if known && b.observed+b.left > 0 {
		quality = round(b.quality / (b.observed + b.left))
	}
	if known && b.observed > 0 {
		occupancy, arrivals, ended = round(b.person/b.observed), new(b.arrivals), new(float64(b.n))
		if b.n > 0 {
			mean = round(b.stayS / float64(b.n))
		}
		if !noP90 {
			p90 = Quantile(b.stays, 0.9)
		}
	}
	z.T, z.Pending = append(z.T, start), append(z.Pending, pending)
	z.Coverage, z.Occupancy, z.Arrivals = append(z.Coverage, coverage), append(z.Occupancy, occupancy), append(z.Arrivals, arrivals)
	z.Stays, z.Mean, z.P90 = append(z.Stays, ended), append(z.Mean, mean), append(z.P90, p90)
	z.Quality, z.LeftOut = append(z.Quality, quality), append(z.LeftOut, left)
}

func round(v float64) *float64 { return new(math.Round(v*1000) / 1000) }

// Quantile returns the nearest-rank quantile p of v, nil when v is empty: the
// ceil(p*n)-th smallest (Hyndman and Fan 1996, definition 1).
func Quantile(v []float64, p float64) *float64 {
	if len(v) == 0 {
		return nil
	}
	v = slices.Sorted(slices.Values(v))
	// The epsilon keeps 0.9*10 at 9 where the product rounds up.
	rank := int(math.Ceil(p*float64(len(v)) - 1e-9))
	return new(v[max(rank, 1)-1])
}
