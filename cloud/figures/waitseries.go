package figures

import (
	"cmp"
	"context"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/waits"
)

// WaitSeries is what the charts of waits draw: the finished cohort, bucket by
// bucket, per queue zone. A figure that is not known is null, never 0.
type WaitSeries struct {
	site.Source
	From           floorwatch.Time `json:"from"`
	To             floorwatch.Time `json:"to"`
	StepS          float64         `json:"step_s"`
	Cohort         string          `json:"cohort"`
	QuantileMethod string          `json:"quantile_method"`
	TargetS        *float64        `json:"target_s"` // as of waits.Finished
	Judged         Judged          `json:"judged"`
	MinQuality     float64         `json:"min_quality"` // as in Series
	Zones          []QueueSeries   `json:"zones"`
}

// QueueSeries holds one queue zone's buckets, as ZoneSeries does.
type QueueSeries struct {
	Camera    string            `json:"camera"`
	Zone      string            `json:"zone"`
	Rev       string            `json:"rev"`
	Redrawn   *floorwatch.Time  `json:"redrawn"`
	T         []floorwatch.Time `json:"t"`
	Pending   []bool            `json:"pending"`
	Coverage  []*float64        `json:"coverage"`
	N         []*float64        `json:"n"`                 // waits behind mean and p90
	Mean      []*float64        `json:"mean_wait_s"`       // s, direct included
	MeanQueue []*float64        `json:"mean_wait_queue_s"` // s, without direct
	P90       []*float64        `json:"p90_wait_s"`        // s
	Realised  []*float64        `json:"realised_mean_s"`   // s, and its 95 % interval: see waits.Mean
	Low       []*float64        `json:"realised_low_s"`
	High      []*float64        `json:"realised_high_s"`
	Over      []*float64        `json:"over_target_share"`
	Served    []*float64        `json:"served"`
	Abandoned []*float64        `json:"abandoned"`
	Left      []*float64        `json:"left"`
	Unknown   []*float64        `json:"unknown"`
	Direct    []*float64        `json:"direct"` // of served
	Queue     []*float64        `json:"queue"`  // people in the queue zone, averaged over observed time
	Little    []*float64        `json:"little_wait_s"`
	Departed  []*float64        `json:"departed"`
	Disagree  []*float64        `json:"disagreement"` // of Little with MeanQueue
	Crossing  []*float64        `json:"crossing_wait_s"`
	Apart     []*float64        `json:"crossing_disagreement"` // of Crossing with MeanQueue
	Quality   []*float64        `json:"quality"`               // as in ZoneSeries
	LeftOut   []*float64        `json:"left_out"`
}

// waitStep is the shortest bucket that we choose ourselves: below it Little's law
// says nothing, and a mean is that of one or two people.
const waitStep = waits.LittleMinS * time.Second

// WaitSeries answers what charts of waits draw. A step of 0 is ours to choose.
func (f *Figures) WaitSeries(ctx context.Context, q influx.Query, step time.Duration, whatIf *int64, least float64) (WaitSeries, error) {
	q, err := f.ask(q)
	if err == nil {
		err = checkStep(step, q)
	}
	if err != nil {
		return WaitSeries{}, err
	}
	width := step
	if step == 0 {
		width = max(waitStep, fitStep(q.To.Sub(q.From), 0, 0))
	}
	q.From = q.From.Floor(width)
	var known []queueData
	var every time.Duration
	zones := f.queues(q)
	for _, zone := range zones {
		d, err := f.readQueue(ctx, q, zone, q.From, q.To, least)
		if err != nil {
			return WaitSeries{}, err
		}
		known, every = append(known, d), max(every, longest(slices.Concat(d.ivs, d.low)))
	}
	if final := fitStep(q.To.Sub(q.From), width, every); final != width {
		// A whole bucket before from was not read: start at the next border.
		width, q.From = final, (q.From - 1).Floor(final).Add(final)
	}
	out := WaitSeries{
		Source: site.Source{Store: q.Store, Edge: q.Edge, Camera: q.Camera}, From: q.From, To: q.To, StepS: width.Seconds(),
		Cohort: waits.CohortFinished, QuantileMethod: waits.QuantileMethod, MinQuality: least, Zones: []QueueSeries{},
	}
	w := waits.Window{From: q.From, To: q.To}
	targets := f.targets(&out.Judged, q.Store, w, whatIf)
	out.TargetS = targets.Of(w)
	for i, zone := range zones {
		out.Zones = append(out.Zones, known[i].series(zone, q, width, f.now(), targets))
	}
	return out, nil
}

// series builds one zone's columns.
func (d *queueData) series(zone queueZone, q influx.Query, step time.Duration, now floorwatch.Time, targets waits.Targets) QueueSeries {
	z := QueueSeries{Camera: zone.camera, Zone: zone.zone, Rev: d.rev, Redrawn: d.redrawn}
	slices.SortFunc(d.recs, func(a, b floorwatch.Wait) int { return cmp.Compare(End(&a), End(&b)) })
	slices.SortFunc(d.ivs, func(a, b floorwatch.Interval) int { return cmp.Compare(a.Start, b.Start) })
	slices.SortFunc(d.low, func(a, b floorwatch.Interval) int { return cmp.Compare(a.Start, b.Start) })
	width := longest(slices.Concat(d.ivs, d.low))
	people := d.people()
	start := func(x floorwatch.Interval) floorwatch.Time { return x.Start }
	for from := q.From; from < q.To; from = from.Add(step) {
		w := waits.Window{From: from, To: from.Add(step)}
		recs := within(d.recs, w, func(x floorwatch.Wait) floorwatch.Time { return End(&x) })
		ivs, low := within(d.ivs, w, start), within(d.low, w, start)
		f := waits.Finish(recs, w, targets)
		pending := w.To > d.asOf && now.Sub(w.To) < 2*width+90*time.Second
		known := !pending && (d.redrawn == nil || from >= *d.redrawn)
		z.push(w, pending, known, f, waits.LittlesLaw(ivs, w, f.WithoutDirect.MeanS))
		z.pushTrust(known, people.FinishedIn(w), ivs, low, step.Seconds())
	}
	return z
}

// within returns the part of records sorted by at that lies in w.
func within[T any](all []T, w waits.Window, at func(T) floorwatch.Time) []T {
	search := func(t floorwatch.Time) int {
		i, _ := slices.BinarySearchFunc(all, t, func(x T, t floorwatch.Time) int { return cmp.Compare(at(x), t) })
		return i
	}
	return all[search(w.From):search(w.To)]
}

// appendIf appends a figure to a column, null where it is not known.
func appendIf(column *[]*float64, ok bool, v *float64) {
	if !ok || v == nil {
		*column = append(*column, nil)
		return
	}
	*column = append(*column, round(*v))
}

// pushTrust appends how far a bucket's figures are to be trusted.
func (z *QueueSeries) pushTrust(known bool, m waits.Mean, ivs, low []floorwatch.Interval, stepS float64) {
	seen := known && observedS(ivs) > 0
	appendIf(&z.Realised, seen, m.MeanS)
	appendIf(&z.Low, seen, m.LowS)
	appendIf(&z.High, seen, m.HighS)
	appendIf(&z.Quality, known, meanQuality(slices.Concat(ivs, low)))
	appendIf(&z.LeftOut, known, new(min(1, observedS(low)/stepS)))
}

// push appends a bucket to the columns.
func (z *QueueSeries) push(w waits.Window, pending, known bool, f waits.Finished, l waits.Little) {
	z.T, z.Pending = append(z.T, w.From), append(z.Pending, pending)
	add := appendIf
	count := func(n int) *float64 { return new(float64(n)) }
	add(&z.Coverage, known, &l.Coverage)
	known = known && l.ObservedS > 0
	add(&z.N, known, count(f.Waits.N))
	add(&z.Mean, known, f.Waits.MeanS)
	add(&z.MeanQueue, known, f.WithoutDirect.MeanS)
	add(&z.P90, known, f.Waits.P90S)
	add(&z.Over, known, f.Waits.OverShare)
	add(&z.Served, known, count(f.Served))
	add(&z.Abandoned, known, count(f.Abandoned))
	add(&z.Left, known, count(f.Left))
	add(&z.Unknown, known, count(f.Unknown))
	add(&z.Direct, known, count(f.Direct))
	queue := 0.0
	if l.ObservedS > 0 {
		queue = l.PersonS / l.ObservedS
	}
	add(&z.Queue, known, &queue)
	add(&z.Little, known, l.WaitS)
	add(&z.Departed, known, new(float64(l.Departed)))
	add(&z.Disagree, known, l.Disagreement)
	add(&z.Crossing, known, l.CrossingS)
	add(&z.Apart, known, l.CrossingDisagreement)
}
