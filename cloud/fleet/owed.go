package fleet

import (
	"context"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
)

// What a box should have delivered is asked of the last hour that can be there:
// an interval and the time in which it settles and travels before now.
const (
	owedFor    = time.Hour
	owedAtMost = 4 * time.Hour // with long intervals
	owedLag    = 5 * time.Minute
	owedLeast  = 10 * time.Minute // of opening hours, else it is not asked
	owedShare  = 0.1              // may be missing
	shortest   = 5 * time.Minute  // a box with shorter intervals is asked as if it had these
)

// Owed is what one camera should have delivered of a span, and what the cloud
// has of it; nil: it is not asked of it.
type Owed struct {
	Expected float64  `json:"expected_s"` // opening hours in the span
	Observed float64  `json:"observed_s"`
	Recorded *float64 `json:"recorded_s"` // nil: it records nothing
}

func (o *Owed) short() bool {
	if o == nil {
		return false
	}
	limit := (1 - owedShare) * o.Expected
	return o.Observed < limit || o.Recorded != nil && *o.Recorded < limit
}

// due is what one box is asked for.
type due struct {
	edge     site.Edge
	from, to floorwatch.Time
	expected time.Duration
	open     func(floorwatch.Time) bool
	records  map[string]bool // by camera: it has sealed footage
	observed []influx.Observed
}

// owed asks the database what all cameras have delivered.
func (f *Fleet) owed(ctx context.Context, all []place, now floorwatch.Time) (map[key]map[string]*Owed, error) {
	observed, err := f.observed(ctx, now)
	if err != nil {
		return nil, err
	}
	sites := f.Sites.Snapshot()
	var asked []due
	for _, p := range all {
		if d, ok := f.dueOf(p.edge, observed[p.key()], func(t floorwatch.Time) bool { return sites.Open(p.store.ID, t) }, now); ok {
			asked = append(asked, d)
		}
	}
	recorded, err := f.recorded(ctx, asked)
	if err != nil {
		return nil, err
	}
	out := make(map[key]map[string]*Owed, len(asked))
	for _, d := range asked {
		of := map[string]*Owed{}
		for _, c := range d.edge.Cameras {
			o := &Owed{Expected: d.expected.Seconds(), Recorded: recorded[site.Source{Store: d.edge.Store, Edge: d.edge.ID, Camera: c.Name}]}
			for _, x := range d.observed {
				if x.Camera == c.Name && x.Start >= d.from && x.End <= d.to && d.open(x.Start) {
					o.Observed += x.ObservedS
				}
			}
			of[c.Name] = o
		}
		out[key{d.edge.Store, d.edge.ID}] = of
	}
	return out, nil
}

// observed reads as much as the longest interval needs: with those of all boxes,
// four hours are four times the work of one.
func (f *Fleet) observed(ctx context.Context, now floorwatch.Time) (map[key][]influx.Observed, error) {
	for {
		f.every = min(max(f.every, shortest), owedAtMost/2)
		parts, err := f.intervals.read(ctx, now.Add(-2*f.every-owedLag-max(owedFor, f.every)), now, f.Records.Observed)
		if err != nil {
			return nil, err
		}
		longest, all := f.every, map[key][]influx.Observed{}
		for _, part := range parts {
			for _, x := range part {
				longest = max(longest, x.End.Sub(x.Start))
				k := key{x.Store, x.Edge}
				all[k] = append(all[k], x)
			}
		}
		if longest <= f.every || f.every == owedAtMost/2 {
			return all, nil
		}
		f.every = longest
	}
}

// dueOf says of which span a box is asked. One that works for less than that is
// not asked, nor one that lags.
func (f *Fleet) dueOf(e site.Edge, observed []influx.Observed, open func(floorwatch.Time) bool, now floorwatch.Time) (d due, ok bool) {
	d = due{edge: e, observed: observed, open: open, records: map[string]bool{}}
	var h floorwatch.Health
	f.Live.of(e.Store, e.ID, func(b *box) {
		h = b.health[""]
		for camera, word := range b.health {
			d.records[camera] = over(value(word, floorwatch.FigureSegments), 0)
		}
	})
	up, lag := value(h, floorwatch.FigureUptime), value(h, floorwatch.FigureBacklog)
	if up == nil || over(lag, lagLimitS) {
		return d, false
	}
	every := shortest
	for _, x := range observed {
		every = max(every, x.End.Sub(x.Start))
	}
	began := h.At.Add(-time.Duration(*up * float64(time.Second)))
	d.to = now.Add(-every - owedLag).Floor(every)
	d.from = max(d.to.Add(-max(owedFor, every)), began).Floor(every).Add(every)
	for t := d.from; t < d.to; t = t.Add(time.Minute) {
		if open(t) {
			d.expected += time.Minute
		}
	}
	return d, d.expected >= owedLeast && every <= owedAtMost/2
}

// recorded adds up what is sealed, of the cameras that record.
func (f *Fleet) recorded(ctx context.Context, asked []due) (map[site.Source]*float64, error) {
	var cameras []site.Source
	spans := map[site.Source]due{}
	from, to := floorwatch.MaxTime, floorwatch.Time(0)
	for _, d := range asked {
		for _, c := range d.edge.Cameras {
			if !d.records[c.Name] {
				continue
			}
			at := site.Source{Store: d.edge.Store, Edge: d.edge.ID, Camera: c.Name}
			cameras, spans[at] = append(cameras, at), d
			from, to = min(from, d.from), max(to, d.to)
		}
	}
	out := map[site.Source]*float64{}
	if f.Footage == nil || len(cameras) == 0 {
		return out, nil
	}
	pieces, err := f.Footage.Pieces(ctx, cameras, from, to)
	if err != nil {
		return nil, err
	}
	for _, c := range cameras {
		d, sum := spans[c], 0.0
		for _, p := range pieces[c] {
			if d.open(p.Start) {
				sum += max(0, floorwatch.Seconds(min(d.to, p.End).Sub(max(d.from, p.Start))))
			}
		}
		out[c] = &sum
	}
	return out, nil
}
