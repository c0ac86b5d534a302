package api

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"

	"floorwatch"
)

// column is one column of a table: its name, which says the unit, and how its
// cells are made.
type column[T any] struct {
	name string
	cell func(x T) string
}

func textColumn[T any](name string, f func(x T) string) column[T] {
	return column[T]{name, func(x T) string { return cell(f(x)) }}
}

func timeColumn[T any](name string, f func(x T) floorwatch.Time) column[T] {
	return column[T]{name, func(x T) string { return f(x).String() }}
}

// record is a pointer to one.
type record[T any] interface {
	*T
	floorwatch.Record
}

// recordColumns returns the columns of a kind of record as its fields' csv tags
// say (floorwatch.Record), but those to be skipped.
func recordColumns[T any, P record[T]](q influx.Query, skip ...string) []column[T] {
	columns := []column[T]{
		{"store", func(T) string { return q.Store }},
		{"edge", func(T) string { return q.Edge }},
	}
	first, last := taggedFields(reflect.TypeFor[T](), nil)
	for _, f := range append(first, last...) {
		for part, name := range strings.Fields(f.names) {
			if !slices.Contains(skip, name) {
				columns = append(columns, column[T]{name, func(x T) string { return f.cell(P(&x), reflect.ValueOf(x), part) }})
			}
		}
	}
	return columns
}

// taggedField is a field with its csv tag: the names of its columns, and an option.
type taggedField struct {
	index         []int
	names, option string
}

// taggedFields lists the fields of a record and of what it embeds, those that go
// last apart.
func taggedFields(t reflect.Type, at []int) (first, last []taggedField) {
	var embedded []taggedField
	for i := range t.NumField() {
		f, index := t.Field(i), append(slices.Clone(at), i)
		names, option, _ := strings.Cut(f.Tag.Get("csv"), ",")
		switch {
		case f.Anonymous:
			more, behind := taggedFields(f.Type, index)
			first, embedded = append(first, more...), append(embedded, behind...)
		case names == "":
		case option == "last":
			last = append(last, taggedField{index, names, option})
		default:
			first = append(first, taggedField{index, names, option})
		}
	}
	return first, append(last, embedded...)
}

// cell formats the field of a record, or a part of it.
func (f taggedField) cell(r floorwatch.Record, x reflect.Value, part int) string {
	if f.option == "observed" && x.FieldByName("ObservedS").Float() == 0 {
		return ""
	}
	switch v := x.FieldByIndex(f.index).Interface().(type) {
	case string:
		return cell(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return number(v)
	case floorwatch.Time:
		return v.String()
	case *floorwatch.Time:
		return []string{stamp(v), number(figures.Length(r))}[part]
	case floorwatch.Sum:
		return []string{strconv.FormatInt(v.N, 10), number(v.Sum), number(v.Min), number(v.Max)}[part]
	default:
		return cell(fmt.Sprint(v))
	}
}

// bucketOf is one bucket of a zone's series.
type bucketOf[Z any] struct {
	zone *Z
	i    int
}

// seriesTable sends the buckets of series that are not pending. name tells a
// zone's camera, name and rev; columns its times, what is pending and its figures.
func seriesTable[Z any](w http.ResponseWriter, what string, q influx.Query, stepS float64, zones []Z, head func(z *Z) seriesHead, figures []column[bucketOf[Z]]) error {
	step := time.Duration(stepS * float64(time.Second))
	type row = bucketOf[Z]
	columns := append([]column[row]{
		{"store", func(row) string { return q.Store }},
		{"edge", func(row) string { return q.Edge }},
		textColumn("camera", func(r row) string { return head(r.zone).camera }),
		textColumn("zone", func(r row) string { return head(r.zone).zone }),
		textColumn("zone_rev", func(r row) string { return head(r.zone).rev }),
		timeColumn("start_utc", func(r row) floorwatch.Time { return head(r.zone).t[r.i] }),
		timeColumn("end_utc", func(r row) floorwatch.Time { return head(r.zone).t[r.i].Add(step) }),
	}, figures...)
	var rows []row
	for z := range zones {
		for i, pending := range head(&zones[z]).pending {
			if !pending {
				rows = append(rows, row{&zones[z], i})
			}
		}
	}
	return writeTable(w, csvName(what+"-"+strconv.Itoa(int(stepS))+"s", q), columns, rows)
}

// seriesHead is what the series of all kinds have.
type seriesHead struct {
	camera, zone, rev string
	t                 []floorwatch.Time
	pending           []bool
}

// figureColumn is a column of a series; a figure that is not known is empty.
func figureColumn[Z any](name string, f func(z *Z) []*float64) column[bucketOf[Z]] {
	return column[bucketOf[Z]]{name, func(r bucketOf[Z]) string { return optional(f(r.zone)[r.i]) }}
}

// writeTable sends a table as CSV with a header.
func writeTable[T any](w http.ResponseWriter, name string, columns []column[T], rows []T) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, name))
	w.Header().Set("Cache-Control", "no-store")
	c := csv.NewWriter(w)
	line := make([]string, len(columns))
	for i, col := range columns {
		line[i] = col.name
	}
	if err := c.Write(line); err != nil {
		return gone(err)
	}
	for _, x := range rows {
		for i, col := range columns {
			line[i] = col.cell(x)
		}
		if err := c.Write(line); err != nil {
			return gone(err)
		}
	}
	c.Flush()
	return gone(c.Error())
}

// cell makes text safe for spreadsheets, which run a cell that starts with one
// of these as a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// optional formats a figure that may be missing; missing is empty, never 0.
func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

// csvName builds a file name out of validated names and a span.
func csvName(what string, q influx.Query) string {
	parts := []string{"floorwatch", what, q.Store}
	for _, p := range []string{q.Camera, q.Zone} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	const layout = "20060102T150405Z"
	return strings.Join(append(parts, q.From.Time().Format(layout), q.To.Time().Format(layout)), "_") + ".csv"
}

func stamp(t *floorwatch.Time) string {
	if t == nil {
		return ""
	}
	return t.String()
}
