package figures

import (
	"context"
	"errors"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/waits"
)

// records is a Reader in memory.
type records struct {
	stays     []floorwatch.Stay
	waits     []floorwatch.Wait
	intervals []floorwatch.Interval
	counts    []floorwatch.Count
}

func pick[T any, P interface {
	*T
	floorwatch.Record
}](all []T, q influx.Query, at func(P) floorwatch.Time) (out []T, err error) {
	for _, x := range all {
		h := P(&x).Head()
		if t := at(&x); t >= q.From && t < q.To && (q.Zone == "" || q.Zone == h.Zone) && (q.Camera == "" || q.Camera == h.Camera) {
			out = append(out, x)
		}
	}
	return out[max(0, len(out)-q.Limit):], nil
}

func (r *records) Stays(_ context.Context, q influx.Query) ([]floorwatch.Stay, error) {
	return pick(r.stays, q, func(x *floorwatch.Stay) floorwatch.Time { return End(x) })
}

func (r *records) Waits(_ context.Context, q influx.Query) ([]floorwatch.Wait, error) {
	return pick(r.waits, q, func(x *floorwatch.Wait) floorwatch.Time { return End(x) })
}

func (r *records) Intervals(_ context.Context, q influx.Query) ([]floorwatch.Interval, error) {
	return pick(r.intervals, q, func(x *floorwatch.Interval) floorwatch.Time { return x.Start })
}

func (r *records) Counts(_ context.Context, q influx.Query) ([]floorwatch.Count, error) {
	return pick(r.counts, q, func(x *floorwatch.Count) floorwatch.Time { return x.End })
}

func (r *records) Gaps(context.Context, influx.Query) ([]floorwatch.Gap, error) { return nil, nil }

const noon floorwatch.Time = 1_750_032_000_000 // a whole hour

// hall is an hour of one queue with one counter and one door: every minute one
// person joins, waits 30 s and is served for 20.
func hall() *Figures {
	r := &records{}
	head := func(kind, zone, id string) floorwatch.Header {
		return floorwatch.Header{Kind: kind, Camera: "cam", Zone: zone, ID: id, Rev: "r"}
	}
	for i := range 60 {
		at := noon.Add(time.Duration(i) * time.Minute)
		served, left := at+30_000, at+50_000
		id := at.String()
		r.waits = append(r.waits, floorwatch.Wait{Header: head(floorwatch.KindWait, "line", id), Enter: at, End: &served, Outcome: floorwatch.OutcomeServed, EnterSeen: true})
		r.stays = append(r.stays, floorwatch.Stay{Header: head(floorwatch.KindStay, "till", id), Enter: served, Exit: &left, EnterSeen: true, ExitSeen: true})
		r.counts = append(r.counts, floorwatch.Count{Header: head(floorwatch.KindCount, "", id), Line: "door", Start: at, End: at.Add(time.Minute), In: 1, Coverage: 1})
		for zone, person := range map[string]float64{"line": 30, "till": 20} {
			r.intervals = append(r.intervals, floorwatch.Interval{
				Header: head(floorwatch.KindInterval, zone, ""), Start: at, End: at.Add(time.Minute), Coverage: 1, ObservedS: 60, PersonS: person,
				Arrived: 1, Departed: 1, Quality: 1,
			})
		}
	}
	scene := floorwatch.Scene{
		Zones: []floorwatch.Zone{{Name: "line", Role: floorwatch.RoleQueue}, {Name: "till", Role: floorwatch.RoleService}},
		Lines: []floorwatch.Line{{Name: "door"}},
	}
	return &Figures{
		Sites: site.Of(site.Registry{
			Stores: []site.Store{{ID: "s1", TimeZone: "Asia/Shanghai"}},
			Edges:  []site.Edge{{Store: "s1", ID: "box", Cameras: []site.Camera{{Name: "cam", Scene: scene}}}},
		}),
		Reader: r, Now: func() time.Time { return noon.Add(2 * time.Hour).Time() },
	}
}

// TestListsNeverMixRevs: a redrawn zone's records since then, or those of the rev
// that is named, and a word on what is left out.
func TestListsNeverMixRevs(t *testing.T) {
	f := hall()
	q := influx.Query{Store: "s1", Edge: "box", From: noon, To: noon.Add(time.Hour), Limit: 100}
	stay := func(zone, rev string, minute int) floorwatch.Stay {
		end := noon.Add(time.Duration(minute) * time.Minute)
		return floorwatch.Stay{Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "cam", Zone: zone, Rev: rev}, Enter: end - 1000, Exit: &end}
	}
	all := []floorwatch.Stay{stay("line", "old", 1), stay("line", "old", 2), stay("line", "new", 3), stay("till", "old", 2), stay("line", "new", 4)}
	f.Reader = revs{f.Reader, all}
	got, err := f.Stays(t.Context(), q, 0)
	if err != nil || len(got.Records) != 3 || got.Records[0].Rev != "new" || len(got.Breaks) != 1 ||
		got.Breaks[0] != (Break{"cam", "line", "old", noon.Add(2 * time.Minute), 2}) {
		t.Errorf("%+v %v", got, err)
	}
	q.Rev = "old"
	got, err = f.Stays(t.Context(), q, 0)
	if err != nil || len(got.Records) != 3 || got.Records[0].Rev != "old" {
		t.Errorf("%+v %v", got, err)
	}
}

type revs struct {
	Reader
	all []floorwatch.Stay
}

func (r revs) Stays(context.Context, influx.Query) ([]floorwatch.Stay, error) { return r.all, nil }

// TestEveryQuestion asks as a report or a command does: with no server.
func TestEveryQuestion(t *testing.T) {
	f, ctx := hall(), t.Context()
	hour := influx.Query{From: noon, To: noon.Add(time.Hour), Limit: 10} // of the only box there is
	is := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", what, got, err, want)
		}
	}
	stays, err := f.Stays(ctx, hour, 0)
	is("stays", len(stays.Records), 10, err)
	is("the newest stay", *stays.Records[0].Exit, noon.Add(59*time.Minute+50*time.Second), err)
	list, err := f.Waits(ctx, hour, 0.5)
	is("waits", len(list.Records), 10, err)
	ivs, err := f.Intervals(ctx, hour, 0)
	is("intervals", len(ivs.Records), 10, err)
	series, err := f.Series(ctx, hour, time.Hour, 0)
	is("occupancy", *series.Zones[0].Occupancy[0], 0.5, err)
	charts, err := f.WaitSeries(ctx, hour, 0, new(int64(10)), 0)
	is("waits in the first bucket", *charts.Zones[0].N[0], 5.0, err)
	summary, err := f.Summary(ctx, hour, waits.CohortFinished, new(int64(10)), 0)
	is("mean wait", *summary.Finished.Waits.MeanS, 30.0, err)
	is("mean service", *summary.Service.Times.MeanS, 20.0, err)
	counts, err := f.Counts(ctx, hour, time.Hour)
	is("entries", *counts.Lines[0].In[0], 60.0, err)
	half := hour
	half.To = noon.Add(30 * time.Minute)
	rest := hour
	rest.From = half.To
	apart, err := f.Compare(ctx, half, rest, 0)
	is("how far both halves are apart", *apart.Mean.ByS, 0.0, err)
}

// TestQuestionsThatHaveNoAnswer: whoever asks is told what is wrong and what to
// ask instead.
func TestQuestionsThatHaveNoAnswer(t *testing.T) {
	f, ctx := hall(), t.Context()
	good := influx.Query{From: noon, To: noon.Add(time.Hour), Limit: 10}
	with := func(change func(*influx.Query)) influx.Query {
		q := good
		change(&q)
		return q
	}
	ask := func(_ any, err error) error { return err }
	for name, c := range map[string]struct{ got, want error }{
		"unknown box":    {ask(f.Stays(ctx, with(func(q *influx.Query) { q.Edge = "b2" }), 0)), ErrUnknown},
		"unknown queue":  {ask(f.Summary(ctx, with(func(q *influx.Query) { q.Zone = "till" }), waits.CohortBegan, nil, 0)), ErrUnknown},
		"no such cohort": {ask(f.Summary(ctx, good, "all", nil, 0)), ErrQuestion},
		"empty range":    {ask(f.Compare(ctx, good, with(func(q *influx.Query) { q.To = q.From }), 0)), ErrQuestion},
		"odd step":       {ask(f.Series(ctx, good, 7*time.Second, 0)), ErrQuestion},
		"too many steps": {ask(f.Counts(ctx, with(func(q *influx.Query) { q.From = q.To.Add(-40 * 24 * time.Hour) }), 10*time.Second)), ErrQuestion},
	} {
		var e *Error
		if !errors.Is(c.got, c.want) || !errors.As(c.got, &e) || e.Text == "" || e.Hint == "" {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	many := hall()
	r := many.Reader.(*records)
	for range MaxRecords {
		r.waits = append(r.waits, r.waits[0])
	}
	if _, err := many.WaitSeries(ctx, good, 0, nil, 0); !errors.Is(err, ErrTooMuch) {
		t.Errorf("more waits than can be read: %v", err)
	}
}
