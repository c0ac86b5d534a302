package influx

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"floorwatch"
)

// Point is one record and where it comes from. Record is a pointer to a root
// type (*floorwatch.Stay and so on). It is an alias of an unnamed type so that
// ingest, which may not import this package, names the very same type.
type Point = struct {
	Store, Edge string
	Log         string // the outbox, 16 hex digits
	Seq         uint64 // the record's number in Log, below 2^63
	Record      any
}

// lineWriter writes one point in line protocol: the measurement, the tags in
// order of their names, the fields, the time in nanoseconds. It appends to one
// buffer and makes nothing else, as it runs once for every record of every box.
type lineWriter struct {
	b   []byte
	any bool // a field is written
	err error
}

// appendLine appends p in line protocol, without a line break, to b. After an
// error, for a record that no point can hold, what it returns is b as it was.
func appendLine(b []byte, p Point) ([]byte, error) {
	h := headerOf(p.Record)
	if h == nil {
		return b, fmt.Errorf("encode record: a %T is no point", p.Record)
	}
	for _, name := range [...]string{p.Store, p.Edge, h.Camera, h.Zone} {
		if name != "" && !floorwatch.ValidName(name) {
			return b, fmt.Errorf("encode %s record: tag %.50q: a name is %s", h.Kind, name, floorwatch.NameRule)
		}
	}
	if p.Seq > math.MaxInt64 {
		return b, fmt.Errorf("encode %s record: sequence number %d is too large", h.Kind, p.Seq)
	}
	w := lineWriter{b: append(b, h.Kind...)}
	w.tag(",camera=", h.Camera)
	w.tag(",edge=", p.Edge)
	w.tag(",store=", p.Store)
	w.tag(",zone=", h.Zone)
	at, exact := w.record(p.Record)
	w.text("log", p.Log)
	w.int("seq", int64(p.Seq))
	w.text("id", h.ID)
	w.time("at", h.At)
	w.text("rev", h.Rev)
	w.text("by", h.By)
	w.clock(h.Clock)
	if w.err != nil {
		return b, fmt.Errorf("encode %s record: %w", h.Kind, w.err)
	}
	// 2^63 ns end in the year 2262; the root package refuses stamps after 2200.
	ns := int64(at) * 1e6
	if !exact {
		ns += int64(p.Seq % 1e6)
	}
	return strconv.AppendInt(append(w.b, ' '), ns, 10), nil
}

// headerOf returns the header of a record that becomes a point, nil for others.
func headerOf(rec any) *floorwatch.Header {
	switch r := rec.(type) {
	case *floorwatch.Stay:
		return &r.Header
	case *floorwatch.Wait:
		return &r.Header
	case *floorwatch.Interval:
		return &r.Header
	case *floorwatch.Gap:
		return &r.Header
	case *floorwatch.Count:
		return &r.Header
	case *floorwatch.Alert:
		return &r.Header
	case *floorwatch.Health:
		return &r.Header
	}
	return nil
}

// maxText is the longest text that InfluxDB takes in a field, less some room.
const maxText = 60 << 10

func (w *lineWriter) tag(name, value string) {
	if value != "" {
		w.b = append(append(w.b, name...), value...)
	}
}

func (w *lineWriter) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *lineWriter) key(name string) {
	sep := byte(',')
	if !w.any {
		sep, w.any = ' ', true
	}
	w.b = append(append(append(w.b, sep), name...), '=')
}

// text writes nothing for "": an absent text reads back as "". A line break
// inside the quotes stands for itself; the client library's own encoder would
// change it.
func (w *lineWriter) text(name, v string) {
	if v == "" {
		return
	}
	if len(v) > maxText {
		w.fail("field %s has %d bytes, limit %d", name, len(v), maxText)
		return
	}
	w.key(name)
	w.b = append(w.b, '"')
	for i := range len(v) {
		if c := v[i]; c == '\\' || c == '"' {
			w.b = append(w.b, '\\')
		}
		w.b = append(w.b, v[i])
	}
	w.b = append(w.b, '"')
}

func (w *lineWriter) int(name string, v int64) {
	w.key(name)
	w.b = append(strconv.AppendInt(w.b, v, 10), 'i')
}

func (w *lineWriter) time(name string, v floorwatch.Time) { w.int(name, int64(v)) }

func (w *lineWriter) bool(name string, v bool) {
	w.key(name)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *lineWriter) float(name string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.fail("field %s is not a finite number", name)
		return
	}
	w.key(name)
	w.b = strconv.AppendFloat(w.b, v, 'g', -1, 64)
}

// clock writes nothing for what a record does not say.
func (w *lineWriter) clock(c floorwatch.Clock) {
	w.text("boot", c.Boot)
	if c.Mono != 0 {
		w.int("mono", c.Mono)
	}
	if c.Unsynced {
		w.bool("unsynced", true)
	}
}

// record writes a record's own fields and returns the time of its point; exact
// when the time carries no sequence number.
func (w *lineWriter) record(rec any) (at floorwatch.Time, exact bool) {
	switch r := rec.(type) {
	case *floorwatch.Stay:
		return w.stay(r), false
	case *floorwatch.Wait:
		return w.wait(r), false
	case *floorwatch.Interval:
		w.interval(r)
		return r.Start, true
	case *floorwatch.Gap:
		return w.gap(r), false
	case *floorwatch.Count:
		w.count(r)
		return r.End, false
	case *floorwatch.Alert:
		w.text("level", r.Level)
		w.time("since", r.Since)
		w.float("value", r.Value)
		w.float("limit", r.Limit)
		return r.At, false
	case *floorwatch.Health:
		w.health(r)
		return r.At, false
	}
	return 0, false
}

func (w *lineWriter) stay(r *floorwatch.Stay) floorwatch.Time {
	if r.Exit == nil {
		w.fail("it is still open")
		return 0
	}
	w.time("enter", r.Enter)
	w.time("exit", *r.Exit)
	w.float("stay_s", floorwatch.Seconds(r.Exit.Sub(r.Enter)))
	w.bool("enter_seen", r.EnterSeen)
	w.bool("exit_seen", r.ExitSeen)
	w.float("seen_s", r.SeenS)
	w.float("merged_s", r.MergedS)
	w.measured(r.BridgedS, r.Bridges, r.ErrorS)
	w.tracks(r.Tracks)
	return *r.Exit
}

// measured writes how a stay or a wait was measured.
func (w *lineWriter) measured(bridged float64, bridges int, standard float64) {
	w.float("bridged_s", bridged)
	w.int("bridges", int64(bridges))
	w.float("error_s", standard)
}

// tracks writes the ids as the text of a JSON array; null for none at all.
func (w *lineWriter) tracks(ids []int64) {
	w.key("tracks")
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
		w.fail("field tracks has %d bytes, limit %d", n, maxText)
	}
}

func (w *lineWriter) wait(r *floorwatch.Wait) floorwatch.Time {
	if r.End == nil {
		w.fail("it is still open")
		return 0
	}
	w.time("enter", r.Enter)
	w.time("end", *r.End)
	w.float("wait_s", floorwatch.Seconds(r.End.Sub(r.Enter)))
	w.text("outcome", r.Outcome)
	w.text("service_zone", r.ServiceZone)
	w.bool("enter_seen", r.EnterSeen)
	w.bool("direct", r.Direct)
	w.measured(r.BridgedS, r.Bridges, r.ErrorS)
	return *r.End
}

func (w *lineWriter) interval(r *floorwatch.Interval) {
	w.time("start", r.Start)
	w.time("end", r.End)
	w.float("coverage", r.Coverage)
	w.float("observed_s", r.ObservedS)
	w.float("person_s", r.PersonS)
	w.float("occupancy", r.Occupancy)
	w.int("occupancy_min", r.Min)
	w.int("occupancy_max", r.Max)
	w.int("inside", r.Inside)
	w.int("arrived", r.Arrived)
	w.int("appeared", r.Appeared)
	w.int("departed", r.Departed)
	w.int("lost", r.Lost)
	w.sum([4]string{"stays_n", "stays_sum", "stays_min", "stays_max"}, &r.Stays)
	w.sum([4]string{"crossings_n", "crossings_sum", "crossings_min", "crossings_max"}, &r.Crossings)
	w.float("quality", r.Quality)
	if r.Waits == nil {
		return
	}
	w.sum([4]string{"waits_n", "waits_sum", "waits_min", "waits_max"}, r.Waits)
	w.int("served", r.Served)
	w.int("abandoned", r.Abandoned)
	w.int("unknown", r.Unknown)
	w.int("direct", r.Direct)
}

func (w *lineWriter) sum(names [4]string, s *floorwatch.Sum) {
	w.int(names[0], s.N)
	w.float(names[1], s.Sum)
	w.float(names[2], s.Min)
	w.float(names[3], s.Max)
}

func (w *lineWriter) count(r *floorwatch.Count) {
	w.text("line", r.Line)
	w.time("start", r.Start)
	w.time("end", r.End)
	w.int("in", r.In)
	w.int("out", r.Out)
	w.float("coverage", r.Coverage)
	if r.Occupancy != nil {
		w.int("occupancy", *r.Occupancy)
	}
	if r.Drift != nil {
		w.int("drift", *r.Drift)
	}
}

// gap: a gap of records may name only its numbers, and then stands where it was
// booked; every other gap needs an end.
func (w *lineWriter) gap(r *floorwatch.Gap) floorwatch.Time {
	at := r.At
	w.text("of", r.Of)
	w.time("from", r.From)
	w.text("cause", r.Cause)
	switch {
	case r.To != nil:
		at = *r.To
		w.time("to", *r.To)
		w.float("gap_s", floorwatch.Seconds(r.To.Sub(r.From)))
	case r.Of != floorwatch.OfRecords:
		w.fail("it is still open")
	}
	if r.Of == floorwatch.OfRecords {
		if r.First > math.MaxInt64 || r.N > math.MaxInt64 {
			w.fail("range %d+%d is too large", r.First, r.N)
			return at
		}
		w.text("lost_log", r.Log)
		w.int("lost_first", int64(r.First))
		w.int("lost_n", int64(r.N))
	}
	return at
}

// health gives each figure a field of its own, f_NAME.
func (w *lineWriter) health(r *floorwatch.Health) {
	for _, name := range slices.Sorted(maps.Keys(r.Figures)) { // equal records give equal bytes
		if !floorwatch.ValidName(name) {
			w.fail("figure %.50q: a name is %s", name, floorwatch.NameRule)
			return
		}
		w.float("f_"+name, r.Figures[name])
	}
	if len(r.Notes) > 0 {
		notes, err := json.Marshal(r.Notes)
		if err != nil {
			w.fail("%w", err)
			return
		}
		w.text("notes", string(notes))
	}
}
