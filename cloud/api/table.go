package api

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

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

func numberColumn[T any](name string, f func(x T) float64) column[T] {
	return column[T]{name, func(x T) string { return number(f(x)) }}
}

func countColumn[T any](name string, f func(x T) int64) column[T] {
	return column[T]{name, func(x T) string { return strconv.FormatInt(f(x), 10) }}
}

func flagColumn[T any](name string, f func(x T) bool) column[T] {
	return column[T]{name, func(x T) string { return strconv.FormatBool(f(x)) }}
}

// edgeColumns begin every table of records of one edge.
func edgeColumns[T any](q influx.Query, header func(x T) floorwatch.Header) []column[T] {
	return []column[T]{
		{"store", func(T) string { return q.Store }},
		{"edge", func(T) string { return q.Edge }},
		textColumn("camera", func(x T) string { return header(x).Camera }),
		textColumn("zone", func(x T) string { return header(x).Zone }),
	}
}

// madeColumns end every table of records.
func madeColumns[T any](header func(x T) floorwatch.Header) []column[T] {
	return []column[T]{
		textColumn("zone_rev", func(x T) string { return header(x).Rev }),
		textColumn("detector", func(x T) string { return header(x).By }),
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
