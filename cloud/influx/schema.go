package influx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

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

// field is one field of a point; value is a string, bool, int64 or float64.
type field struct {
	key   string
	value any
}

// row is what a record becomes: its header, its point's time and its fields.
type row struct {
	h      floorwatch.Header
	at     floorwatch.Time
	exact  bool // the time carries no sequence number
	fields []field
}

// line returns p in line protocol, time in nanoseconds; an error for a record
// that no point can hold.
func line(p Point) (string, error) {
	r, err := encode(p.Record)
	if err != nil {
		return "", err
	}
	for _, name := range []string{p.Store, p.Edge, r.h.Camera, r.h.Zone} {
		if name != "" && !floorwatch.ValidName(name) {
			return "", fmt.Errorf("encode %s record: tag %.50q: a name is %s", r.h.Kind, name, floorwatch.NameRule)
		}
	}
	if p.Seq > math.MaxInt64 {
		return "", fmt.Errorf("encode %s record: sequence number %d is too large", r.h.Kind, p.Seq)
	}
	// 2^63 ns end in the year 2262; the root package refuses stamps after 2200.
	ns := int64(r.at) * 1e6
	if !r.exact {
		ns += int64(p.Seq % 1e6)
	}
	var b bytes.Buffer
	b.WriteString(r.h.Kind)
	for _, t := range [...][2]string{{"camera", r.h.Camera}, {"edge", p.Edge}, {"store", p.Store}, {"zone", r.h.Zone}} {
		if t[1] != "" {
			b.WriteString("," + t[0] + "=" + t[1])
		}
	}
	fields := append(r.fields,
		field{"log", p.Log}, field{"seq", int64(p.Seq)}, field{"id", r.h.ID},
		field{"at", int64(r.h.At)}, field{"rev", r.h.Rev}, field{"by", r.h.By})
	sep := byte(' ')
	for _, f := range fields {
		if f.value == "" {
			continue // an absent text reads back as ""
		}
		b.WriteByte(sep)
		sep = ','
		if err := appendField(&b, f); err != nil {
			return "", fmt.Errorf("encode %s record: %w", r.h.Kind, err)
		}
	}
	b.WriteByte(' ')
	b.Write(strconv.AppendInt(b.AvailableBuffer(), ns, 10))
	return b.String(), nil
}

// maxText is the longest text that InfluxDB takes in a field, less some room.
const maxText = 60 << 10

func appendField(b *bytes.Buffer, f field) error {
	b.WriteString(f.key)
	b.WriteByte('=')
	switch v := f.value.(type) {
	case string:
		if len(v) > maxText {
			return fmt.Errorf("field %s has %d bytes, limit %d", f.key, len(v), maxText)
		}
		b.WriteByte('"')
		b.WriteString(textEscaper.Replace(v))
		b.WriteByte('"')
	case bool:
		b.Write(strconv.AppendBool(b.AvailableBuffer(), v))
	case int64:
		b.Write(strconv.AppendInt(b.AvailableBuffer(), v, 10))
		b.WriteByte('i')
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("field %s is not a finite number", f.key)
		}
		b.Write(strconv.AppendFloat(b.AvailableBuffer(), v, 'g', -1, 64))
	default:
		return fmt.Errorf("field %s has type %T", f.key, v)
	}
	return nil
}

// textEscaper escapes a text in line protocol. A line break inside the quotes
// stands for itself; the client library's own encoder would change it.
var textEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// encode turns a record into its row.
func encode(rec any) (row, error) {
	switch r := rec.(type) {
	case *floorwatch.Stay:
		return encodeStay(r)
	case *floorwatch.Wait:
		return encodeWait(r)
	case *floorwatch.Interval:
		return encodeInterval(r), nil
	case *floorwatch.Gap:
		return encodeGap(r)
	case *floorwatch.Count:
		return row{h: r.Header, at: r.End, fields: []field{
			{"line", r.Line}, {"start", int64(r.Start)}, {"end", int64(r.End)}, {"in", r.In}, {"out", r.Out},
		}}, nil
	case *floorwatch.Alert:
		return row{h: r.Header, at: r.At, fields: []field{
			{"level", r.Level}, {"since", int64(r.Since)}, {"value", r.Value}, {"limit", r.Limit},
		}}, nil
	case *floorwatch.Health:
		return encodeHealth(r)
	}
	return row{}, fmt.Errorf("encode record: a %T is no point", rec)
}

func encodeStay(r *floorwatch.Stay) (row, error) {
	if r.Exit == nil {
		return row{}, fmt.Errorf("encode stay record: it is still open")
	}
	tracks, err := json.Marshal(r.Tracks)
	if err != nil {
		return row{}, fmt.Errorf("encode stay record: %w", err)
	}
	return row{h: r.Header, at: *r.Exit, fields: []field{
		{"enter", int64(r.Enter)},
		{"exit", int64(*r.Exit)},
		{"stay_s", floorwatch.Seconds(r.Exit.Sub(r.Enter))},
		{"enter_seen", r.EnterSeen},
		{"exit_seen", r.ExitSeen},
		{"seen_s", r.SeenS},
		{"merged_s", r.MergedS},
		{"tracks", string(tracks)},
	}}, nil
}

func encodeWait(r *floorwatch.Wait) (row, error) {
	if r.End == nil {
		return row{}, fmt.Errorf("encode wait record: it is still open")
	}
	return row{h: r.Header, at: *r.End, fields: []field{
		{"enter", int64(r.Enter)},
		{"end", int64(*r.End)},
		{"wait_s", floorwatch.Seconds(r.End.Sub(r.Enter))},
		{"outcome", r.Outcome},
		{"service_zone", r.ServiceZone},
		{"enter_seen", r.EnterSeen},
		{"direct", r.Direct},
	}}, nil
}

func encodeInterval(r *floorwatch.Interval) row {
	fields := []field{
		{"start", int64(r.Start)},
		{"end", int64(r.End)},
		{"coverage", r.Coverage},
		{"observed_s", r.ObservedS},
		{"person_s", r.PersonS},
		{"occupancy", r.Occupancy},
		{"occupancy_min", r.Min},
		{"occupancy_max", r.Max},
		{"inside", r.Inside},
		{"arrived", r.Arrived},
		{"appeared", r.Appeared},
		{"departed", r.Departed},
		{"lost", r.Lost},
	}
	fields = append(fields, sumFields("stays", r.Stays)...)
	if r.Waits != nil {
		fields = append(fields, sumFields("waits", *r.Waits)...)
		fields = append(fields, field{"served", r.Served}, field{"abandoned", r.Abandoned}, field{"unknown", r.Unknown})
	}
	return row{h: r.Header, at: r.Start, exact: true, fields: fields}
}

func sumFields(name string, s floorwatch.Sum) []field {
	return []field{{name + "_n", s.N}, {name + "_sum", s.Sum}, {name + "_min", s.Min}, {name + "_max", s.Max}}
}

// encodeGap: a gap of records may name only its numbers, and then stands where
// it was booked; every other gap needs an end.
func encodeGap(r *floorwatch.Gap) (row, error) {
	out := row{h: r.Header, at: r.At, fields: []field{
		{"of", r.Of}, {"from", int64(r.From)}, {"cause", r.Cause},
	}}
	switch {
	case r.To != nil:
		out.at = *r.To
		out.fields = append(out.fields, field{"to", int64(*r.To)}, field{"gap_s", floorwatch.Seconds(r.To.Sub(r.From))})
	case r.Of != floorwatch.OfRecords:
		return row{}, fmt.Errorf("encode gap record: it is still open")
	}
	if r.Of == floorwatch.OfRecords {
		if r.First > math.MaxInt64 || r.N > math.MaxInt64 {
			return row{}, fmt.Errorf("encode gap record: range %d+%d is too large", r.First, r.N)
		}
		out.fields = append(out.fields, field{"lost_log", r.Log}, field{"lost_first", int64(r.First)}, field{"lost_n", int64(r.N)})
	}
	return out, nil
}

// encodeHealth gives each figure a field of its own, f_NAME.
func encodeHealth(r *floorwatch.Health) (row, error) {
	out := row{h: r.Header, at: r.At}
	names := make([]string, 0, len(r.Figures))
	for name := range r.Figures {
		if !floorwatch.ValidName(name) {
			return row{}, fmt.Errorf("encode health record: figure %.50q: a name is %s", name, floorwatch.NameRule)
		}
		names = append(names, name)
	}
	slices.Sort(names) // equal records give equal bytes
	for _, name := range names {
		out.fields = append(out.fields, field{"f_" + name, r.Figures[name]})
	}
	if len(r.Notes) > 0 {
		notes, err := json.Marshal(r.Notes)
		if err != nil {
			return row{}, fmt.Errorf("encode health record: %w", err)
		}
		out.fields = append(out.fields, field{"notes", string(notes)})
	}
	return out, nil
}
