package influx

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"floorwatch"
)

// column is a field of a measurement and its place in the record: written and
// read by the same line, so that neither can forget what the other knows.
type column[T any] struct {
	name string
	put  func(w *lineWriter, name string, r *T)
	get  func(c *cursor, name string, r *T)
}

// schema is a kind's columns, in the order in which they are written.
type schema[T any, P interface {
	*T
	floorwatch.Record
}] []column[T]

// table is a schema of any kind.
type table interface {
	write(w *lineWriter, rec floorwatch.Record)
}

// tables holds the kinds that become points; the others are in the vault's index.
var tables = map[string]table{
	floorwatch.KindStay: stays, floorwatch.KindWait: waits, floorwatch.KindInterval: intervals, floorwatch.KindCount: counts,
	floorwatch.KindGap: gaps, floorwatch.KindAlert: alerts, floorwatch.KindHealth: health,
}

// Holds tells whether records of this kind become points.
func Holds(rec floorwatch.Record) bool { return tables[rec.Head().Kind] != nil }

func (s schema[T, P]) write(w *lineWriter, rec floorwatch.Record) {
	r, ok := rec.(P)
	if !ok {
		w.fail("its kind is %s, and it is a %T", rec.Head().Kind, rec)
		return
	}
	for _, c := range s {
		c.put(w, c.name, r)
	}
}

// read returns the record of the cursor's row.
func (s schema[T, P]) read(c *cursor, kind string) T {
	r := new(T)
	*P(r).Head() = c.header(kind)
	for _, col := range s {
		if col.get != nil {
			col.get(c, col.name, r)
		}
	}
	return *r
}

var stays = schema[floorwatch.Stay, *floorwatch.Stay]{
	whole("enter", func(r *floorwatch.Stay) *floorwatch.Time { return &r.Enter }),
	optional("exit", func(r *floorwatch.Stay) **floorwatch.Time { return &r.Exit }),
	length[floorwatch.Stay]("stay_s"),
	flag("enter_seen", func(r *floorwatch.Stay) *bool { return &r.EnterSeen }),
	flag("exit_seen", func(r *floorwatch.Stay) *bool { return &r.ExitSeen }),
	decimal("seen_s", func(r *floorwatch.Stay) *float64 { return &r.SeenS }),
	decimal("merged_s", func(r *floorwatch.Stay) *float64 { return &r.MergedS }),
	decimal("bridged_s", func(r *floorwatch.Stay) *float64 { return &r.BridgedS }),
	whole("bridges", func(r *floorwatch.Stay) *int { return &r.Bridges }),
	decimal("error_s", func(r *floorwatch.Stay) *float64 { return &r.ErrorS }),
	text("source", func(r *floorwatch.Stay) *string { return &r.Source }),
	text("stage", func(r *floorwatch.Stay) *string { return &r.Stage }),
	text("business", func(r *floorwatch.Stay) *string { return &r.Business }),
	{"tracks", func(w *lineWriter, name string, r *floorwatch.Stay) { w.ids(name, r.Tracks) }, func(c *cursor, name string, r *floorwatch.Stay) {
		if err := json.Unmarshal([]byte(c.text(name)), &r.Tracks); err != nil {
			c.fail(name, c.text(name))
		}
	}},
}

var waits = schema[floorwatch.Wait, *floorwatch.Wait]{
	whole("enter", func(r *floorwatch.Wait) *floorwatch.Time { return &r.Enter }),
	optional("end", func(r *floorwatch.Wait) **floorwatch.Time { return &r.End }),
	length[floorwatch.Wait]("wait_s"),
	text("outcome", func(r *floorwatch.Wait) *string { return &r.Outcome }),
	text("service_zone", func(r *floorwatch.Wait) *string { return &r.ServiceZone }),
	flag("enter_seen", func(r *floorwatch.Wait) *bool { return &r.EnterSeen }),
	flag("direct", func(r *floorwatch.Wait) *bool { return &r.Direct }),
	decimal("bridged_s", func(r *floorwatch.Wait) *float64 { return &r.BridgedS }),
	whole("bridges", func(r *floorwatch.Wait) *int { return &r.Bridges }),
	decimal("error_s", func(r *floorwatch.Wait) *float64 { return &r.ErrorS }),
	text("source", func(r *floorwatch.Wait) *string { return &r.Source }),
	text("stage", func(r *floorwatch.Wait) *string { return &r.Stage }),
	text("business", func(r *floorwatch.Wait) *string { return &r.Business }),
}

var intervals = schema[floorwatch.Interval, *floorwatch.Interval]{
	whole("start", func(r *floorwatch.Interval) *floorwatch.Time { return &r.Start }),
	whole("end", func(r *floorwatch.Interval) *floorwatch.Time { return &r.End }),
	decimal("coverage", func(r *floorwatch.Interval) *float64 { return &r.Coverage }),
	decimal("observed_s", func(r *floorwatch.Interval) *float64 { return &r.ObservedS }),
	decimal("person_s", func(r *floorwatch.Interval) *float64 { return &r.PersonS }),
	decimal("occupancy", func(r *floorwatch.Interval) *float64 { return &r.Occupancy }),
	whole("occupancy_min", func(r *floorwatch.Interval) *int64 { return &r.Min }),
	whole("occupancy_max", func(r *floorwatch.Interval) *int64 { return &r.Max }),
	whole("inside", func(r *floorwatch.Interval) *int64 { return &r.Inside }),
	whole("arrived", func(r *floorwatch.Interval) *int64 { return &r.Arrived }),
	whole("appeared", func(r *floorwatch.Interval) *int64 { return &r.Appeared }),
	whole("departed", func(r *floorwatch.Interval) *int64 { return &r.Departed }),
	whole("lost", func(r *floorwatch.Interval) *int64 { return &r.Lost }),
	sum("stays", func(r *floorwatch.Interval) *floorwatch.Sum { return &r.Stays }),
	sum("crossings", func(r *floorwatch.Interval) *floorwatch.Sum { return &r.Crossings }),
	decimal("quality", func(r *floorwatch.Interval) *float64 { return &r.Quality }),
	optionalSum("waits", func(r *floorwatch.Interval) **floorwatch.Sum { return &r.Waits }),
	inQueues(whole("served", func(r *floorwatch.Interval) *int64 { return &r.Served })),
	inQueues(whole("abandoned", func(r *floorwatch.Interval) *int64 { return &r.Abandoned })),
	inQueues(whole("unknown", func(r *floorwatch.Interval) *int64 { return &r.Unknown })),
	inQueues(whole("direct", func(r *floorwatch.Interval) *int64 { return &r.Direct })),
}

// inQueues writes a column of queue zones only.
func inQueues(c column[floorwatch.Interval]) column[floorwatch.Interval] {
	return when(func(r *floorwatch.Interval) bool { return r.Waits != nil }, c)
}

var counts = schema[floorwatch.Count, *floorwatch.Count]{
	text("line", func(r *floorwatch.Count) *string { return &r.Line }),
	whole("start", func(r *floorwatch.Count) *floorwatch.Time { return &r.Start }),
	whole("end", func(r *floorwatch.Count) *floorwatch.Time { return &r.End }),
	whole("in", func(r *floorwatch.Count) *int64 { return &r.In }),
	whole("out", func(r *floorwatch.Count) *int64 { return &r.Out }),
	decimal("coverage", func(r *floorwatch.Count) *float64 { return &r.Coverage }),
	optional("occupancy", func(r *floorwatch.Count) **int64 { return &r.Occupancy }),
	optional("drift", func(r *floorwatch.Count) **int64 { return &r.Drift }),
}

var gaps = schema[floorwatch.Gap, *floorwatch.Gap]{
	text("of", func(r *floorwatch.Gap) *string { return &r.Of }),
	whole("from", func(r *floorwatch.Gap) *floorwatch.Time { return &r.From }),
	text("cause", func(r *floorwatch.Gap) *string { return &r.Cause }),
	optional("to", func(r *floorwatch.Gap) **floorwatch.Time { return &r.To }),
	length[floorwatch.Gap]("gap_s"),
	ofRecords(text("lost_log", func(r *floorwatch.Gap) *string { return &r.Log })),
	ofRecords(whole("lost_first", func(r *floorwatch.Gap) *uint64 { return &r.First })),
	ofRecords(whole("lost_n", func(r *floorwatch.Gap) *uint64 { return &r.N })),
}

// ofRecords writes a column of gaps in the numbers of an outbox only.
func ofRecords(c column[floorwatch.Gap]) column[floorwatch.Gap] {
	return when(func(r *floorwatch.Gap) bool { return r.Of == floorwatch.OfRecords }, c)
}

var alerts = schema[floorwatch.Alert, *floorwatch.Alert]{
	text("level", func(r *floorwatch.Alert) *string { return &r.Level }),
	whole("since", func(r *floorwatch.Alert) *floorwatch.Time { return &r.Since }),
	decimal("value", func(r *floorwatch.Alert) *float64 { return &r.Value }),
	decimal("limit", func(r *floorwatch.Alert) *float64 { return &r.Limit }),
}

// figure begins the name of each field that holds a figure of health.
const figure = "f_"

var health = schema[floorwatch.Health, *floorwatch.Health]{
	{figure, func(w *lineWriter, _ string, r *floorwatch.Health) {
		for _, name := range slices.Sorted(maps.Keys(r.Figures)) { // equal records give equal bytes
			if !floorwatch.ValidName(name) {
				w.fail("figure %.50q: a name is %s", name, floorwatch.NameRule)
				return
			}
			w.float(figure+name, r.Figures[name])
		}
	}, func(c *cursor, _ string, r *floorwatch.Health) {
		r.Figures = map[string]float64{}
		for name := range c.column {
			if rest, ok := strings.CutPrefix(name, figure); ok && c.value(name) != nil {
				r.Figures[rest] = c.float(name)
			}
		}
	}},
	{"notes", func(w *lineWriter, name string, r *floorwatch.Health) {
		if len(r.Notes) == 0 {
			return
		}
		notes, err := json.Marshal(r.Notes)
		if err != nil {
			w.fail("%w", err)
			return
		}
		w.text(name, string(notes))
	}, func(c *cursor, name string, r *floorwatch.Health) {
		if s := c.text(name); s != "" && json.Unmarshal([]byte(s), &r.Notes) != nil {
			c.fail(name, s)
		}
	}},
	text("key", func(r *floorwatch.Health) *string { return &r.Key }),
}

func text[T any](name string, at func(*T) *string) column[T] {
	return column[T]{
		name,
		func(w *lineWriter, name string, r *T) { w.text(name, *at(r)) },
		func(c *cursor, name string, r *T) { *at(r) = c.text(name) },
	}
}

func flag[T any](name string, at func(*T) *bool) column[T] {
	return column[T]{
		name,
		func(w *lineWriter, name string, r *T) { w.bool(name, *at(r)) },
		func(c *cursor, name string, r *T) { *at(r) = c.flag(name) },
	}
}

func decimal[T any](name string, at func(*T) *float64) column[T] {
	return column[T]{
		name,
		func(w *lineWriter, name string, r *T) { w.float(name, *at(r)) },
		func(c *cursor, name string, r *T) { *at(r) = c.float(name) },
	}
}

// integer is what a field of whole numbers holds.
type integer interface{ ~int | ~int64 | ~uint64 }

func whole[T any, N integer](name string, at func(*T) *N) column[T] {
	return column[T]{
		name,
		func(w *lineWriter, name string, r *T) {
			v := *at(r)
			if v > 0 && uint64(v) > math.MaxInt64 {
				w.fail("%s %d is too large", name, v)
				return
			}
			w.int(name, int64(v))
		},
		func(c *cursor, name string, r *T) { *at(r) = N(c.int(name)) },
	}
}

// optional is absent where the record does not say it.
func optional[T any, N integer](name string, at func(*T) **N) column[T] {
	return column[T]{
		name,
		func(w *lineWriter, name string, r *T) {
			if v := *at(r); v != nil {
				w.int(name, int64(*v))
			}
		},
		func(c *cursor, name string, r *T) {
			if c.value(name) != nil {
				*at(r) = new(N(c.int(name)))
			}
		},
	}
}

// when writes a column only where it means something; absent it reads as zero.
func when[T any](means func(*T) bool, c column[T]) column[T] {
	put := c.put
	c.put = func(w *lineWriter, name string, r *T) {
		if means(r) {
			put(w, name, r)
		}
	}
	return c
}

// length is derived: the seconds of the record's span, for those who ask the
// database themselves.
func length[T any, P interface {
	*T
	floorwatch.Record
}](name string) column[T] {
	return column[T]{name: name, put: func(w *lineWriter, name string, r *T) {
		if from, to := P(r).Span(); to != nil {
			w.float(name, floorwatch.Seconds(to.Sub(from)))
		}
	}}
}

func sum[T any](name string, at func(*T) *floorwatch.Sum) column[T] {
	names := [4]string{name + "_n", name + "_sum", name + "_min", name + "_max"}
	return column[T]{
		name,
		func(w *lineWriter, _ string, r *T) { w.sum(names, at(r)) },
		func(c *cursor, _ string, r *T) { *at(r) = c.sum(names) },
	}
}

func optionalSum[T any](name string, at func(*T) **floorwatch.Sum) column[T] {
	names := [4]string{name + "_n", name + "_sum", name + "_min", name + "_max"}
	return column[T]{
		name,
		func(w *lineWriter, _ string, r *T) {
			if s := *at(r); s != nil {
				w.sum(names, s)
			}
		},
		func(c *cursor, _ string, r *T) {
			if c.value(names[0]) != nil {
				*at(r) = new(c.sum(names))
			}
		},
	}
}

func (w *lineWriter) sum(names [4]string, s *floorwatch.Sum) {
	w.int(names[0], s.N)
	w.float(names[1], s.Sum)
	w.float(names[2], s.Min)
	w.float(names[3], s.Max)
}

func (c *cursor) sum(names [4]string) floorwatch.Sum {
	return floorwatch.Sum{N: c.int(names[0]), Sum: c.float(names[1]), Min: c.float(names[2]), Max: c.float(names[3])}
}

// ids writes numbers as the text of a JSON array; null for none at all.
func (w *lineWriter) ids(name string, ids []int64) {
	w.key(name)
	if ids == nil {
		w.b = append(w.b, `"null"`...)
		return
	}
	start := len(w.b)
	w.b = append(w.b, '"', '[')
	for i, id := range ids {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = strconv.AppendInt(w.b, id, 10)
	}
	w.b = append(w.b, ']', '"')
	if n := len(w.b) - start - 2; n > maxText {
		w.fail("field %s has %d bytes, limit %d", name, n, maxText)
	}
}

// open tells whether a record still runs; a gap of records may name only its
// numbers.
func open(rec floorwatch.Record) bool {
	_, to := rec.Span()
	gap, ok := rec.(*floorwatch.Gap)
	return to == nil && !(ok && gap.Of == floorwatch.OfRecords)
}

// pointTime returns the time of a record's point; exact when it carries no
// sequence number, as an interval is written again at the very same place.
func pointTime(rec floorwatch.Record) (at floorwatch.Time, exact bool, err error) {
	from, to := rec.Span()
	_, interval := rec.(*floorwatch.Interval)
	switch {
	case interval:
		return from, true, nil
	case to != nil:
		return *to, false, nil
	case open(rec):
		return 0, false, errors.New("it is still open")
	}
	return rec.Head().At, false, nil
}
