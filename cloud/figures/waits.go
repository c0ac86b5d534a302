package figures

import (
	"context"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/waits"
)

// queueZone is a queue zone and the service zones that serve it.
type queueZone struct {
	zoneKey
	counters []string
}

// queues lists the configured queue zones that q asks for.
func (f *Figures) queues(q influx.Query) (out []queueZone) {
	for _, c := range f.cameras(q) {
		for _, z := range c.Scene.Zones {
			if z.Role != floorwatch.RoleQueue || q.Camera != "" && q.Camera != c.Name || q.Zone != "" && q.Zone != z.Name {
				continue
			}
			zone := queueZone{zoneKey: zoneKey{c.Name, z.Name}}
			for _, x := range c.Scene.Zones {
				if x.Role == floorwatch.RoleService && (len(x.Serves) == 0 || slices.Contains(x.Serves, z.Name)) {
					zone.counters = append(zone.counters, x.Name)
				}
			}
			out = append(out, zone)
		}
	}
	return out
}

// queue is queues for a question about one.
func (f *Figures) queue(q influx.Query) (queueZone, error) {
	all := f.queues(q)
	switch {
	case len(all) == 1:
		return all[0], nil
	case len(all) > 1:
		return queueZone{}, bad("name one of the queue zones in /api/sites", "parameter zone is missing")
	}
	return queueZone{}, &Error{"no such queue zone is configured", "see /api/sites: waits come from zones of role queue", ErrUnknown}
}

// WaitSummary is the figures of one queue zone in a window. Only records of the
// newest Rev count; Redrawn says since when the zone is this one.
type WaitSummary struct {
	site.Source
	Zone    string           `json:"zone"`
	Rev     string           `json:"rev"`
	Redrawn *floorwatch.Time `json:"redrawn"`
	Cohort  string           `json:"cohort"`
	Judged  Judged           `json:"judged"`
	waits.Window
	// SettledTo is up to when the figures are known; Coverage is the observed share
	// of the window up to there. Without coverage there are no figures.
	SettledTo floorwatch.Time `json:"settled_to"`
	Coverage  float64         `json:"coverage"`
	ObservedS float64         `json:"observed_s"`
	// Quality is that of the window's intervals; those below MinQuality, and the
	// waits that ended in them, are LeftOut of all figures.
	Quality    *float64 `json:"quality"`
	MinQuality float64  `json:"min_quality"`
	LeftOut    LeftOut  `json:"left_out"`
	// Realised is the mean of all people of the cohort, as well as it can be known.
	Realised *waits.Mean     `json:"realised,omitempty"`
	Finished *waits.Finished `json:"finished,omitempty"`
	Began    *waits.Began    `json:"began,omitempty"`
	Running  *waits.Running  `json:"running,omitempty"` // at the window's end, or at SettledTo
	// Little is over the whole intervals in the window, LittleWindow.
	Little       *waits.Little  `json:"little,omitempty"`
	LittleWindow *waits.Window  `json:"little_window,omitempty"`
	Service      *waits.Service `json:"service,omitempty"` // nil: no counter in view
}

// How far around a window records are read: somebody who waits at its end may
// have joined this long before it, and ends their wait within waitAhead.
const (
	waitBehind = 4 * time.Hour
	waitAhead  = 24 * time.Hour
	waitMargin = 10 * time.Minute // for somebody who was lost before a window and found in it
)

// queueData is what is known of a queue zone, of its newest rev.
type queueData struct {
	ivs     []floorwatch.Interval
	low     []floorwatch.Interval // below the quality that was asked for
	recs    []floorwatch.Wait
	lowRecs []floorwatch.Wait // that ended in none of ivs, where a quality was asked for
	open    []floorwatch.Time // when they joined who still wait
	rev     string
	redrawn *floorwatch.Time
	asOf    floorwatch.Time // end of the newest interval
}

// readQueue reads the waits that ended in [from, to) and the intervals that start
// in it, and puts aside what is below the quality.
func (f *Figures) readQueue(ctx context.Context, q influx.Query, zone queueZone, from, to floorwatch.Time, least float64) (d queueData, err error) {
	q.Camera, q.Zone, q.From, q.To, q.Limit = zone.camera, zone.zone, from, to, maxInterval
	if d.ivs, err = f.zoneIntervals(ctx, q); err != nil {
		return d, err
	}
	q.Limit = MaxRecords
	if d.recs, err = f.Reader.Waits(ctx, q); err != nil {
		return d, err
	}
	if len(d.ivs) >= maxInterval || len(d.recs) >= MaxRecords {
		return d, tooMuch("the span holds too many records")
	}
	for _, x := range d.ivs {
		if x.End > d.asOf {
			d.rev, d.asOf = x.Rev, x.End
		}
	}
	for _, x := range d.ivs {
		if x.Rev != d.rev && (d.redrawn == nil || x.End > *d.redrawn) {
			d.redrawn = new(x.End)
		}
	}
	d.ivs = slices.DeleteFunc(d.ivs, func(x floorwatch.Interval) bool { return x.Rev != d.rev })
	d.recs = slices.DeleteFunc(slices.Clone(d.recs), func(x floorwatch.Wait) bool { return x.Rev != d.rev || x.Zone != zone.zone })
	if d.asOf >= f.now().Add(-waitAhead) { // what is open in old records was lost, not waited
		d.open = waits.Open(d.ivs, d.recs)
	}
	d.putAside(least)
	return d, nil
}

// putAside takes what is below the quality out of ivs and recs.
func (d *queueData) putAside(least float64) {
	if least <= 0 {
		return
	}
	known := newTrust(least, d.ivs)
	d.ivs, d.low = split(d.ivs, func(x floorwatch.Interval) bool { return x.Quality >= least })
	d.recs, d.lowRecs = split(d.recs, func(x floorwatch.Wait) bool { return known.holds(x.Header, End(&x)) })
}

func split[T any](all []T, good func(T) bool) (yes, no []T) {
	for _, x := range all {
		if good(x) {
			yes = append(yes, x)
		} else {
			no = append(no, x)
		}
	}
	return yes, no
}

// people are those behind the records.
func (d *queueData) people() *waits.People { return waits.NewPeople(d.recs, d.open, d.asOf) }

// leftOut counts what was put aside of w.
func (d *queueData) leftOut(w waits.Window) (out LeftOut) {
	for _, x := range d.lowRecs {
		if at := End(&x); at >= w.From && at < w.To {
			out.Records++
		}
	}
	out.ObservedS = observed(d.low, w.From, w.To)
	return out
}

// zoneIntervals reads the intervals of exactly one zone.
func (f *Figures) zoneIntervals(ctx context.Context, q influx.Query) ([]floorwatch.Interval, error) {
	ivs, err := f.Reader.Intervals(ctx, q)
	return slices.DeleteFunc(slices.Clone(ivs), func(x floorwatch.Interval) bool {
		return x.Zone != q.Zone || x.Camera != q.Camera
	}), err
}

// observed returns the observed seconds of [from, to), taken in proportion from
// intervals that reach over its ends.
func observed(ivs []floorwatch.Interval, from, to floorwatch.Time) (s float64) {
	for _, x := range ivs {
		if inside := min(x.End, to) - max(x.Start, from); inside > 0 {
			s += x.ObservedS * float64(inside) / float64(x.End-x.Start)
		}
	}
	return s
}

func observedS(ivs []floorwatch.Interval) (s float64) {
	for _, x := range ivs {
		s += x.ObservedS
	}
	return s
}

// whole returns the part of the window that holds whole intervals only.
func (d *queueData) whole(w waits.Window) (out waits.Window) {
	for _, x := range d.ivs {
		if x.Start < w.From || x.End > w.To {
			continue
		}
		if out.To == 0 || x.Start < out.From {
			out.From = x.Start
		}
		out.To = max(out.To, x.End)
	}
	return out
}

// little compares both measurements over the whole intervals in w.
func (d *queueData) little(w waits.Window) (*waits.Little, *waits.Window) {
	whole := d.whole(w)
	if whole.To == 0 {
		return nil, nil
	}
	mean := waits.Finish(d.recs, whole, nil).WithoutDirect.MeanS
	return new(waits.LittlesLaw(d.ivs, whole, mean)), &whole
}

// Summary answers what the waits of one queue zone were, of a cohort: finished or
// began. It may be left out which zone where there is only one.
func (f *Figures) Summary(ctx context.Context, q influx.Query, cohort string, whatIf *int64, least float64) (out WaitSummary, err error) {
	if cohort != waits.CohortFinished && cohort != waits.CohortBegan {
		return out, bad("use finished or began", "parameter cohort is unknown")
	}
	if q, err = f.ask(q); err != nil {
		return out, err
	}
	zone, err := f.queue(q)
	if err != nil {
		return out, err
	}
	w := waits.Window{From: q.From, To: q.To}
	ahead := min(q.To.Add(waitAhead), max(q.To, f.now()))
	d, err := f.readQueue(ctx, q, zone, max(0, min(q.From.Add(-waitMargin), q.To.Add(-waitBehind))), ahead+1, least)
	if err != nil {
		return out, err
	}
	out = WaitSummary{
		Source: site.Source{Store: q.Store, Edge: q.Edge, Camera: zone.camera}, Zone: zone.zone, Rev: d.rev, Redrawn: d.redrawn,
		Cohort: cohort, Window: w, SettledTo: min(q.To, d.asOf), MinQuality: least, LeftOut: d.leftOut(w),
	}
	targets := f.targets(&out.Judged, q.Store, w, whatIf)
	out.Quality = meanQuality(d.in(w))
	out.ObservedS = observed(d.ivs, q.From, out.SettledTo)
	if out.ObservedS <= 0 {
		return out, nil
	}
	out.Coverage = min(1, out.ObservedS/floorwatch.Seconds(out.SettledTo.Sub(q.From)))
	out.Running = new(waits.RunningAt(out.SettledTo, d.recs, d.open))
	finished := waits.Finish(d.recs, w, targets)
	if cohort == waits.CohortFinished {
		out.Finished, out.Realised = &finished, new(d.people().FinishedIn(w))
	} else {
		out.Began, out.Realised = new(waits.Begin(d.recs, d.open, w, d.asOf, targets)), new(d.people().BeganIn(w))
	}
	out.Little, out.LittleWindow = d.little(w)
	stays, ivs, err := f.counters(ctx, q, zone, d.rev)
	if err != nil || len(zone.counters) == 0 {
		return out, err
	}
	out.Service = new(waits.Serve(stays, ivs, w, finished.Served, out.ObservedS))
	return out, nil
}

// in returns the intervals that start in w, those put aside among them.
func (d *queueData) in(w waits.Window) []floorwatch.Interval {
	yes, _ := split(slices.Concat(d.ivs, d.low), func(x floorwatch.Interval) bool { return x.Start >= w.From && x.Start < w.To })
	return yes
}

// counters reads the stays and intervals of a queue's service zones.
func (f *Figures) counters(ctx context.Context, q influx.Query, zone queueZone, rev string) (stays []floorwatch.Stay, ivs []floorwatch.Interval, err error) {
	for _, name := range zone.counters {
		q.Camera, q.Zone, q.Limit = zone.camera, name, MaxRecords
		more, err := f.Reader.Stays(ctx, q)
		if err != nil {
			return nil, nil, err
		}
		if len(more) >= MaxRecords {
			return nil, nil, tooMuch("the span holds too many stays at a counter")
		}
		stays = append(stays, more...)
		q.Limit = maxInterval
		busy, err := f.zoneIntervals(ctx, q)
		if err != nil {
			return nil, nil, err
		}
		ivs = append(ivs, busy...)
	}
	stays = slices.DeleteFunc(stays, func(x floorwatch.Stay) bool { return x.Rev != rev })
	ivs = slices.DeleteFunc(ivs, func(x floorwatch.Interval) bool { return x.Rev != rev })
	return stays, ivs, nil
}
