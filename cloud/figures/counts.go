package figures

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
)

// CountSeries is what the page shows of entries and exits: one set of columns
// per line or counter, and one per figure of how many are inside. A figure that
// is not known is null, never 0. Today is the store's own day.
type CountSeries struct {
	site.Source
	From      floorwatch.Time `json:"from"`
	To        floorwatch.Time `json:"to"`
	StepS     float64         `json:"step_s"`
	TodayFrom floorwatch.Time `json:"today_from"`
	Lines     []LineSeries    `json:"lines"`
	Inside    []InsideSeries  `json:"inside"`
}

// LineSeries holds one line's buckets, as ZoneSeries does. What a counter told
// late of a span longer than a bucket stands in the bucket in which it ends.
type LineSeries struct {
	Camera   string            `json:"camera"` // "": a counter of another maker
	Line     string            `json:"line"`
	Rev      string            `json:"rev"`
	Redrawn  *floorwatch.Time  `json:"redrawn"`
	By       string            `json:"by"`
	T        []floorwatch.Time `json:"t"`
	Pending  []bool            `json:"pending"`
	Coverage []*float64        `json:"coverage"`
	In       []*float64        `json:"in"`  // people
	Out      []*float64        `json:"out"` // people
	Today    Passed            `json:"today"`
}

// Passed is who passed since TodayFrom, as far as it has settled.
type Passed struct {
	In       int64    `json:"in"`
	Out      int64    `json:"out"`
	Coverage *float64 `json:"coverage"` // null: nothing was heard of today
}

// InsideSeries is how many were inside at the end of each bucket, as one counter
// tells it or as entries minus exits give it.
type InsideSeries struct {
	Name     string            `json:"name"`
	By       string            `json:"by"`
	T        []floorwatch.Time `json:"t"`
	Pending  []bool            `json:"pending"`
	Coverage []*float64        `json:"coverage"`
	People   []*float64        `json:"people"`
	Latest   *Inside           `json:"latest"` // of the last day
	Drift    *Drift            `json:"drift"`  // of the last day
}

// Inside is how many were inside at T.
type Inside struct {
	T        floorwatch.Time `json:"t"`
	People   int64           `json:"people"`
	Coverage float64         `json:"coverage"`
	WidthS   float64         `json:"width_s"` // of the bucket that ended at T
}

// Drift is what was left over when the figure was set to 0 at night, by T.
type Drift struct {
	T      floorwatch.Time `json:"t"`
	People int64           `json:"people"`
}

const (
	countChunk  = 24 * time.Hour // read at once, because a source answers in bounds
	countMargin = 4 * time.Minute
)

// Counts answers who came and went. A step of 0 is ours to choose.
func (f *Figures) Counts(ctx context.Context, q influx.Query, wish time.Duration) (CountSeries, error) {
	q, err := f.ask(q)
	if err == nil {
		err = checkStep(wish, q)
	}
	if err != nil {
		return CountSeries{}, err
	}
	now := f.now()
	step := fitStep(q.To.Sub(q.From), wish, 0)
	q.From = q.From.Floor(step)
	recs, err := f.allCounts(ctx, q)
	if err != nil {
		return CountSeries{}, err
	}
	if final := fitStep(q.To.Sub(q.From), step, countWidth(recs)); final != step {
		step, q.From = final, (q.From - 1).Floor(final).Add(final)
	}
	store, _ := f.sites(q.To).Store(q.Store)
	midnight := store.Midnight(now)
	day := q
	day.From, day.To = min(midnight, now.Add(-countChunk)), now
	latest, err := f.allCounts(ctx, day)
	if err != nil {
		return CountSeries{}, err
	}
	out := CountSeries{
		Source: site.Source{Store: q.Store, Edge: q.Edge, Camera: q.Camera}, From: q.From, To: q.To, StepS: step.Seconds(), TodayFrom: midnight,
		Lines: []LineSeries{}, Inside: []InsideSeries{},
	}
	g := grid{q.From, q.To, now, step}
	for _, key := range f.countLines(q, recs, latest) {
		mine := func(c floorwatch.Count) bool { return c.Line == key.zone && c.Camera == key.camera }
		span, today := keep(recs, mine), keep(latest, mine)
		if slices.ContainsFunc(append(slices.Clone(span), today...), func(c floorwatch.Count) bool { return c.Occupancy != nil }) {
			out.Inside = append(out.Inside, g.inside(key.zone, span, today))
			continue
		}
		out.Lines = append(out.Lines, g.line(key, span, today, midnight))
	}
	return out, nil
}

// allCounts reads the counts of [From, To), each once, by their end.
func (f *Figures) allCounts(ctx context.Context, q influx.Query) ([]floorwatch.Count, error) {
	var all []floorwatch.Count
	seen := map[string]bool{}
	// A count that ends at From is of the time before, one that ends at To within.
	for from, end := q.From+1, q.To+1; from < end; from = from.Add(countChunk) {
		part := q
		part.From, part.To, part.Limit = from, min(end, from.Add(countChunk)), maxInterval
		recs, err := f.Reader.Counts(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, c := range recs {
			id := c.Camera + "/" + c.ID
			if c.ID == "" || !seen[id] {
				seen[id] = true
				all = append(all, c)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b floorwatch.Count) int { return cmp.Compare(a.End, b.End) })
	return all, nil
}

// countWidth is the longest regular bucket; what came late has a span of its own.
func countWidth(recs []floorwatch.Count) (d time.Duration) {
	for _, c := range recs {
		if !strings.Contains(c.ID, "-late-") {
			d = max(d, c.End.Sub(c.Start))
		}
	}
	return d
}

// countLines lists the configured lines, then those that only the data knows.
func (f *Figures) countLines(q influx.Query, all ...[]floorwatch.Count) (keys []zoneKey) {
	for _, c := range f.cameras(q) {
		for _, l := range c.Scene.Lines {
			if q.Camera == "" || q.Camera == c.Name {
				keys = append(keys, zoneKey{c.Name, l.Name})
			}
		}
	}
	var others []zoneKey
	for _, recs := range all {
		for _, c := range recs {
			if k := (zoneKey{c.Camera, c.Line}); !slices.Contains(keys, k) && !slices.Contains(others, k) {
				others = append(others, k)
			}
		}
	}
	slices.SortFunc(others, func(a, b zoneKey) int {
		return cmp.Or(cmp.Compare(a.camera, b.camera), cmp.Compare(a.zone, b.zone))
	})
	return append(keys, others...)
}

func keep(recs []floorwatch.Count, want func(floorwatch.Count) bool) (out []floorwatch.Count) {
	for _, c := range recs {
		if want(c) {
			out = append(out, c)
		}
	}
	return out
}

// grid is the buckets of an answer.
type grid struct {
	from, to, now floorwatch.Time
	step          time.Duration
}

func (g grid) n() int {
	ms := floorwatch.Time(g.step.Milliseconds())
	return int((g.to - g.from + ms - 1) / ms)
}

func (g grid) at(i int) floorwatch.Time { return g.from.Add(time.Duration(i) * g.step) }

// index returns the bucket of the moment just before t.
func (g grid) index(t floorwatch.Time) int {
	return int((t - 1 - g.from) / floorwatch.Time(g.step.Milliseconds()))
}

// pending tells whether the bucket may still get counts: it ends after the last
// one and is younger than a box needs to settle and send one.
func (g grid) pending(i int, recs []floorwatch.Count) bool {
	end, width := g.at(i+1), countWidth(recs)
	last := floorwatch.Time(0)
	if n := len(recs); n > 0 {
		last = recs[n-1].End
	}
	return end > last && g.now.Sub(end) < 2*width+countMargin
}

// coverage spreads what the counts speak of over the buckets, as shares.
func (g grid) coverage(recs []floorwatch.Count) []float64 {
	out := make([]float64, g.n())
	for _, c := range recs {
		for i := max(0, g.index(c.Start+1)); i < len(out) && g.at(i) < c.End; i++ {
			over := min(c.End, g.at(i+1)) - max(c.Start, g.at(i))
			out[i] += c.Coverage * float64(over) / float64(g.step.Milliseconds())
		}
	}
	for i := range out {
		out[i] = min(1, out[i])
	}
	return out
}

// line builds the columns of one line.
func (g grid) line(key zoneKey, recs, day []floorwatch.Count, midnight floorwatch.Time) LineSeries {
	l := LineSeries{Camera: key.camera, Line: key.zone}
	for _, c := range append(slices.Clone(recs), day...) {
		l.Rev, l.By = c.Rev, c.By
	}
	for _, c := range recs {
		if c.Rev != l.Rev {
			l.Redrawn = new(c.End)
		}
	}
	same := func(c floorwatch.Count) bool { return c.Rev == l.Rev }
	recs, day = keep(recs, same), keep(day, func(c floorwatch.Count) bool { return same(c) && c.End > midnight })
	in, out := make([]int64, g.n()), make([]int64, g.n())
	for _, c := range recs {
		if i := g.index(c.End); i >= 0 && i < len(in) {
			in[i], out[i] = in[i]+c.In, out[i]+c.Out
		}
	}
	for i, share := range g.coverage(recs) {
		var coverage, entered, left *float64
		pending := g.pending(i, recs)
		if !pending && (l.Redrawn == nil || g.at(i) >= *l.Redrawn) {
			coverage = round(share)
		}
		if !pending && (share > 0 || in[i] > 0 || out[i] > 0) {
			entered, left = new(float64(in[i])), new(float64(out[i]))
		}
		l.T, l.Pending, l.Coverage = append(l.T, g.at(i)), append(l.Pending, pending), append(l.Coverage, coverage)
		l.In, l.Out = append(l.In, entered), append(l.Out, left)
	}
	l.Today = passedSince(midnight, day)
	return l
}

// passedSince adds a day up; its coverage is that of the time until the last
// count of it.
func passedSince(from floorwatch.Time, day []floorwatch.Count) (p Passed) {
	var spoken float64
	for _, c := range day {
		p.In, p.Out = p.In+c.In, p.Out+c.Out
		spoken += c.Coverage * float64(c.End-max(c.Start, from))
	}
	if n := len(day); n > 0 {
		p.Coverage = round(min(1, spoken/float64(day[n-1].End-from)))
	}
	return p
}

// inside builds the columns of how many are inside.
func (g grid) inside(name string, recs, day []floorwatch.Count) InsideSeries {
	s := InsideSeries{Name: name}
	people := make([]*float64, g.n())
	for _, c := range recs {
		if i := g.index(c.End); c.Occupancy != nil && i >= 0 && i < len(people) {
			people[i] = new(float64(*c.Occupancy))
		}
	}
	for i, share := range g.coverage(recs) {
		var coverage *float64
		pending := g.pending(i, recs)
		if !pending {
			coverage = round(share)
		}
		s.T, s.Pending, s.Coverage = append(s.T, g.at(i)), append(s.Pending, pending), append(s.Coverage, coverage)
	}
	s.People = people
	for _, c := range day {
		s.By = c.By
		if c.Occupancy != nil {
			s.Latest = &Inside{c.End, *c.Occupancy, c.Coverage, c.End.Sub(c.Start).Seconds()}
		}
		if c.Drift != nil {
			s.Drift = &Drift{c.End, *c.Drift}
		}
	}
	return s
}
