package api

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/waits"
)

// series answers /api/series. step (seconds) is optional.
func (s *server) series(w http.ResponseWriter, r *http.Request) error {
	a, err := s.asked(r.URL.Query())
	if err != nil {
		return err
	}
	out, err := s.figures.Series(r.Context(), a.q, a.step, a.least)
	if err != nil {
		return err
	}
	if a.csv {
		return writeSeries(w, a.q, out)
	}
	return writeJSON(w, out)
}

// waitSeries answers /api/waits/series.
func (s *server) waitSeries(w http.ResponseWriter, r *http.Request) error {
	a, err := s.asked(r.URL.Query())
	if err != nil {
		return err
	}
	out, err := s.figures.WaitSeries(r.Context(), a.q, a.step, a.whatIf, a.least)
	if err != nil {
		return err
	}
	if a.csv {
		return writeWaitSeries(w, a.q, out)
	}
	return writeJSON(w, out)
}

// waitSummary answers /api/waits/summary.
func (s *server) waitSummary(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	a, err := s.asked(v)
	if err != nil {
		return err
	}
	cohort, err := param(v, "cohort")
	if err != nil {
		return err
	}
	out, err := s.figures.Summary(r.Context(), a.q, cmp.Or(cohort, waits.CohortFinished), a.whatIf, a.least)
	if err != nil {
		return err
	}
	return writeJSON(w, out)
}

// counts answers /api/counts.
func (s *server) counts(w http.ResponseWriter, r *http.Request) error {
	a, err := s.asked(r.URL.Query())
	if err != nil {
		return err
	}
	out, err := s.figures.Counts(r.Context(), a.q, a.step)
	if err != nil {
		return err
	}
	if a.csv {
		return writeCounts(w, a.q, out)
	}
	return writeJSON(w, out)
}

// compare answers /api/compare. The other side has the same parameters with b_
// before them; those that are not given are as on the first side.
func (s *server) compare(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	a, err := s.asked(v)
	if err != nil {
		return err
	}
	b, err := s.query(otherSide(v), 0, figures.MaxRecords)
	if err != nil {
		return err
	}
	out, err := s.figures.Compare(r.Context(), a.q, b, a.least)
	if err != nil {
		return err
	}
	return writeJSON(w, out)
}

// otherSide returns the parameters of the second side.
func otherSide(v url.Values) url.Values {
	b := maps.Clone(v)
	for name, values := range v {
		if plain, ok := strings.CutPrefix(name, "b_"); ok {
			b[plain] = values
		}
	}
	return b
}

// question is what the endpoints of figures have in common.
type question struct {
	q      influx.Query
	csv    bool
	step   time.Duration // 0: not given
	whatIf *int64        // s, to try in place of the standard; nil: not given
	least  float64       // quality
}

func (s *server) asked(v url.Values) (a question, err error) {
	if a.csv, err = wantCSV(v); err != nil {
		return a, err
	}
	if a.q, err = s.query(v, 0, figures.MaxRecords); err != nil {
		return a, err
	}
	step, err := intParam(v, "step", 0, 10, 86400)
	if err != nil {
		return a, err
	}
	whatIf, err := intParam(v, "target", -1, 0, 86400)
	if err != nil {
		return a, err
	}
	if whatIf >= 0 {
		a.whatIf = new(int64(whatIf))
	}
	a.step = time.Duration(step) * time.Second
	a.least, err = minQuality(v)
	return a, err
}

func writeSeries(w http.ResponseWriter, q influx.Query, out figures.Series) error {
	type zone = figures.ZoneSeries
	head := func(z *zone) seriesHead { return seriesHead{z.Camera, z.Zone, z.Rev, z.T, z.Pending} }
	return seriesTable(w, "series", q, out.StepS, out.Zones, head, []column[bucketOf[zone]]{
		figureColumn("coverage_share", func(z *zone) []*float64 { return z.Coverage }),
		figureColumn("occupancy_mean_people", func(z *zone) []*float64 { return z.Occupancy }),
		figureColumn("arrivals_people", func(z *zone) []*float64 { return z.Arrivals }),
		figureColumn("stays_ended", func(z *zone) []*float64 { return z.Stays }),
		figureColumn("stay_mean_s", func(z *zone) []*float64 { return z.Mean }),
		figureColumn("stay_p90_s_nearest_rank", func(z *zone) []*float64 { return z.P90 }),
		figureColumn("quality_share", func(z *zone) []*float64 { return z.Quality }),
		figureColumn("left_out_share", func(z *zone) []*float64 { return z.LeftOut }),
	})
}

func writeWaitSeries(w http.ResponseWriter, q influx.Query, out figures.WaitSeries) error {
	type zone = figures.QueueSeries
	type row = bucketOf[zone]
	head := func(z *zone) seriesHead { return seriesHead{z.Camera, z.Zone, z.Rev, z.T, z.Pending} }
	return seriesTable(w, "waits", q, out.StepS, out.Zones, head, []column[row]{
		textColumn("cohort", func(row) string { return out.Cohort }),
		figureColumn("coverage_share", func(z *zone) []*float64 { return z.Coverage }),
		figureColumn("waits_n", func(z *zone) []*float64 { return z.N }),
		figureColumn("wait_mean_s", func(z *zone) []*float64 { return z.Mean }),
		figureColumn("wait_mean_without_direct_s", func(z *zone) []*float64 { return z.MeanQueue }),
		figureColumn("wait_p90_s_nearest_rank", func(z *zone) []*float64 { return z.P90 }),
		{"target_s", func(row) string { return optional(out.TargetS) }},
		textColumn("judged_by", func(row) string { return out.Judged.By() }),
		figureColumn("over_target_share", func(z *zone) []*float64 { return z.Over }),
		figureColumn("served_people", func(z *zone) []*float64 { return z.Served }),
		figureColumn("abandoned_people", func(z *zone) []*float64 { return z.Abandoned }),
		figureColumn("left_people", func(z *zone) []*float64 { return z.Left }),
		figureColumn("unknown_people", func(z *zone) []*float64 { return z.Unknown }),
		figureColumn("direct_people", func(z *zone) []*float64 { return z.Direct }),
		figureColumn("queue_mean_people", func(z *zone) []*float64 { return z.Queue }),
		figureColumn("little_wait_s", func(z *zone) []*float64 { return z.Little }),
		figureColumn("departed_border_seen_people", func(z *zone) []*float64 { return z.Departed }),
		figureColumn("little_disagreement_share", func(z *zone) []*float64 { return z.Disagree }),
		figureColumn("crossing_wait_s", func(z *zone) []*float64 { return z.Crossing }),
		figureColumn("crossing_disagreement_share", func(z *zone) []*float64 { return z.Apart }),
		figureColumn("realised_mean_s", func(z *zone) []*float64 { return z.Realised }),
		figureColumn("realised_low_s", func(z *zone) []*float64 { return z.Low }),
		figureColumn("realised_high_s", func(z *zone) []*float64 { return z.High }),
		figureColumn("quality_share", func(z *zone) []*float64 { return z.Quality }),
		figureColumn("left_out_share", func(z *zone) []*float64 { return z.LeftOut }),
	})
}

// countRow is one line of the table of counts.
type countRow struct {
	camera, line, rev, by     string
	t                         floorwatch.Time
	coverage, in, out, people *float64
}

func writeCounts(w http.ResponseWriter, q influx.Query, out figures.CountSeries) error {
	var rows []countRow
	for _, l := range out.Lines {
		for i, t := range l.T {
			if !l.Pending[i] {
				rows = append(rows, countRow{l.Camera, l.Line, l.Rev, l.By, t, l.Coverage[i], l.In[i], l.Out[i], nil})
			}
		}
	}
	for _, s := range out.Inside {
		for i, t := range s.T {
			if !s.Pending[i] {
				rows = append(rows, countRow{"", s.Name, "", s.By, t, s.Coverage[i], nil, nil, s.People[i]})
			}
		}
	}
	step := time.Duration(out.StepS * float64(time.Second))
	return writeTable(w, csvName("counts-"+strconv.Itoa(int(out.StepS))+"s", q), []column[countRow]{
		{"store", func(countRow) string { return out.Store }},
		{"edge", func(countRow) string { return out.Edge }},
		textColumn("camera", func(r countRow) string { return r.camera }),
		textColumn("line", func(r countRow) string { return r.line }),
		textColumn("line_rev", func(r countRow) string { return r.rev }),
		textColumn("source", func(r countRow) string { return r.by }),
		timeColumn("start_utc", func(r countRow) floorwatch.Time { return r.t }),
		timeColumn("end_utc", func(r countRow) floorwatch.Time { return r.t.Add(step) }),
		{"coverage_share", func(r countRow) string { return optional(r.coverage) }},
		{"entries_people", func(r countRow) string { return optional(r.in) }},
		{"exits_people", func(r countRow) string { return optional(r.out) }},
		{"inside_at_end_people", func(r countRow) string { return optional(r.people) }},
	}, rows)
}
