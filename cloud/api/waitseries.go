package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"floorwatch"
	"floorwatch/cloud/waits"
)

// WaitSeries is what the charts of waits draw: the finished cohort, bucket by
// bucket, per queue zone. A figure that is not known is null, never 0.
type WaitSeries struct {
	Source
	From           floorwatch.Time `json:"from"`
	To             floorwatch.Time `json:"to"`
	StepS          float64         `json:"step_s"`
	Cohort         string          `json:"cohort"`
	QuantileMethod string          `json:"quantile_method"`
	TargetS        float64         `json:"target_s"`
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
}

// waitStep is the shortest bucket that we choose ourselves: below it Little's law
// says nothing, and a mean is that of one or two people.
const waitStep = waits.LittleMinS * time.Second

// waitSeries answers /api/waits/series.
func (s *server) waitSeries(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	csv, err := wantCSV(v)
	if err != nil {
		return err
	}
	q, err := s.query(v, 0, MaxStays)
	if err != nil {
		return err
	}
	step, err := stepParam(v, q)
	if err != nil {
		return err
	}
	target, err := intParam(v, "target", DefaultTarget, 0, 86400)
	if err != nil {
		return err
	}
	out, err := s.readWaitSeries(r, q, step, float64(target))
	if err != nil {
		return err
	}
	if csv {
		return writeWaitSeries(w, q, out)
	}
	return writeJSON(w, out)
}

func (s *server) readWaitSeries(r *http.Request, q Query, step time.Duration, target float64) (WaitSeries, error) {
	least := step
	if step == 0 {
		least = max(waitStep, fitStep(q.To.Sub(q.From), 0, 0))
	}
	q.From = q.From.Floor(least)
	var known []queueData
	var width time.Duration
	zones := s.queues(q)
	for _, zone := range zones {
		d, err := s.readQueue(r.Context(), q, zone, q.From, q.To)
		if err != nil {
			return WaitSeries{}, err
		}
		known, width = append(known, d), max(width, longest(d.ivs))
	}
	if final := fitStep(q.To.Sub(q.From), least, width); final != least {
		// A whole bucket before from was not read: start at the next border.
		least, q.From = final, (q.From - 1).Floor(final).Add(final)
	}
	out := WaitSeries{
		Source: Source{q.Store, q.Edge, q.Camera}, From: q.From, To: q.To, StepS: least.Seconds(),
		Cohort: waits.CohortFinished, QuantileMethod: waits.QuantileMethod, TargetS: target, Zones: []QueueSeries{},
	}
	for i, zone := range zones {
		out.Zones = append(out.Zones, known[i].series(zone, q, least, floorwatch.TimeOf(s.Now()), target))
	}
	return out, nil
}

// series builds one zone's columns.
func (d *queueData) series(zone queueZone, q Query, step time.Duration, now floorwatch.Time, target float64) QueueSeries {
	z := QueueSeries{Camera: zone.camera, Zone: zone.zone, Rev: d.rev, Redrawn: d.redrawn}
	slices.SortFunc(d.recs, func(a, b floorwatch.Wait) int { return cmp.Compare(ended(a), ended(b)) })
	slices.SortFunc(d.ivs, func(a, b floorwatch.Interval) int { return cmp.Compare(a.Start, b.Start) })
	width := longest(d.ivs)
	for start := q.From; start < q.To; start = start.Add(step) {
		w := waits.Window{From: start, To: start.Add(step)}
		recs := within(d.recs, w, ended)
		ivs := within(d.ivs, w, func(x floorwatch.Interval) floorwatch.Time { return x.Start })
		f := waits.Finish(recs, w, target)
		pending := w.To > d.asOf && now.Sub(w.To) < 2*width+90*time.Second
		known := !pending && (d.redrawn == nil || start >= *d.redrawn)
		z.push(w, pending, known, f, waits.LittlesLaw(ivs, w, f.WithoutDirect.MeanS))
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

// push appends a bucket to the columns.
func (z *QueueSeries) push(w waits.Window, pending, known bool, f waits.Finished, l waits.Little) {
	z.T, z.Pending = append(z.T, w.From), append(z.Pending, pending)
	add := func(column *[]*float64, ok bool, v *float64) {
		if !ok || v == nil {
			*column = append(*column, nil)
			return
		}
		*column = append(*column, round(*v))
	}
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
}

func writeWaitSeries(w http.ResponseWriter, q Query, out WaitSeries) error {
	header := []string{
		"store", "edge", "camera", "zone", "zone_rev", "start_utc", "end_utc", "cohort", "coverage_share", "waits_n",
		"wait_mean_s", "wait_mean_without_direct_s", "wait_p90_s_nearest_rank", "target_s", "over_target_share",
		"served_people", "abandoned_people", "left_people", "unknown_people", "direct_people", "queue_mean_people",
		"little_wait_s", "departed_border_seen_people", "little_disagreement_share",
	}
	step := time.Duration(out.StepS * float64(time.Second))
	var rows [][]string
	for _, z := range out.Zones {
		for i, t := range z.T {
			if z.Pending[i] {
				continue
			}
			row := []string{
				out.Store, out.Edge, cell(z.Camera), cell(z.Zone), cell(z.Rev), t.String(), t.Add(step).String(), out.Cohort,
			}
			for _, column := range [][]*float64{z.Coverage, z.N, z.Mean, z.MeanQueue, z.P90} {
				row = append(row, optional(column[i]))
			}
			row = append(row, number(out.TargetS))
			for _, column := range [][]*float64{
				z.Over, z.Served, z.Abandoned, z.Left, z.Unknown, z.Direct, z.Queue, z.Little, z.Departed, z.Disagree,
			} {
				row = append(row, optional(column[i]))
			}
			rows = append(rows, row)
		}
	}
	return writeCSV(w, csvName("waits-"+strconv.Itoa(int(out.StepS))+"s", q), header, rows)
}
