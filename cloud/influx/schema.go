package influx

import (
	"fmt"
	"math"
	"strconv"

	"floorwatch"
)

// Point is one record and where it comes from.
type Point struct {
	Store, Edge string
	Log         string // the outbox, 16 hex digits
	Seq         uint64 // the record's number in Log, below 2^63
	Record      floorwatch.Record
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
	h := p.Record.Head()
	kind := tables[h.Kind]
	if kind == nil {
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
	at, exact, err := pointTime(p.Record)
	if err != nil {
		return b, fmt.Errorf("encode %s record: %w", h.Kind, err)
	}
	kind.write(&w, p.Record)
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
