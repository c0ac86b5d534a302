package site

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"floorwatch"
	"floorwatch/internal/config"
)

// columns of the table, one row a hall; where a hall has several spans or boxes,
// more rows with its id. A row with a level is a node above the halls.
var columns = []string{
	"id", "level", "zh", "en", "parent", "since", "until", "time_zone", "opening", "exceptions", "lat", "lon",
	"box", "box_zh", "box_en", "box_key", "box_since", "box_until",
}

// own are the columns that a node has once, and spanned those of a span of it.
var (
	own     = []string{"level", "zh", "en", "lat", "lon"}
	spanned = []string{"parent", "since", "until", "time_zone", "opening", "exceptions"}
	boxed   = []string{"box", "box_zh", "box_en", "box_key", "box_since", "box_until"}
)

// table is a CSV file as it is read.
type table struct {
	name     string
	head     []string
	rows     []row
	at       map[string]int // key of the file that it becomes -> row
	problems []config.Problem
}

type row struct {
	line  int
	cells map[string]string
}

func (r row) has(columns []string) bool {
	return slices.ContainsFunc(columns, func(c string) bool { return r.cells[c] != "" })
}

// parseTable merges a CSV file into a tree.
func parseTable(name string, b []byte, tree Tree, now floorwatch.Time) ([]string, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes, which is all that is read", name, MaxFile)
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%s is not UTF-8; save it as \"CSV UTF-8\", which spreadsheets offer beside CSV", name)
	}
	t := &table{name: name, at: map[string]int{}}
	if err := t.read(b); err != nil {
		return nil, err
	}
	f := t.file()
	r := reading{file: f, tree: tree, now: now, source: t}
	r.merge()
	if len(t.problems) == 0 {
		return r.ids, nil
	}
	slices.SortStableFunc(t.problems, func(a, b config.Problem) int { return cmp.Compare(a.Line, b.Line) })
	return nil, &config.Error{Problems: t.problems}
}

// fault books what is wrong in a row's cell.
func (t *table) fault(r row, column, want string, args ...any) {
	value := ""
	if v := r.cells[column]; v != "" {
		value = strconv.Quote(v)
	}
	t.problems = append(t.problems, config.Problem{File: t.name, Line: r.line, Key: column, Value: value, Want: fmt.Sprintf(want, args...)})
}

// Problem implements reporter: it finds the row and the column of a key.
func (t *table) Problem(key, want string, args ...any) {
	column, inBox := "id", strings.Contains(key, ".boxes")
	for k := key; k != ""; k = k[:max(strings.LastIndexAny(k, ".["), 0)] {
		i, known := t.at[k]
		if !known {
			if _, last, ok := strings.Cut(k[max(strings.LastIndexByte(k, '.'), 0):], "."); ok {
				column, _, _ = strings.Cut(last, "[")
			}
			continue
		}
		switch {
		case inBox && (column == "id" || column == "boxes"):
			column = "box"
		case inBox && column == "label":
			column = "box_zh"
		case inBox:
			column = "box_" + column
		case column == "label":
			column = "zh"
		}
		t.fault(t.rows[i], column, want, args...)
		return
	}
	t.problems = append(t.problems, config.Problem{File: t.name, Line: 1, Key: key, Want: fmt.Sprintf(want, args...)})
}

// Has implements source: what has a column is spoken of.
func (t *table) Has(key string) bool {
	name := key[strings.LastIndexByte(key, '.')+1:]
	switch inBox := strings.Contains(key, ".boxes"); {
	case inBox && name == "label":
		return slices.Contains(t.head, "box_zh") || slices.Contains(t.head, "box_en")
	case inBox:
		return slices.Contains(t.head, "box_"+name)
	case name == "label":
		return slices.Contains(t.head, "zh") || slices.Contains(t.head, "en")
	}
	return slices.Contains(t.head, name)
}

func (t *table) read(b []byte) error {
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff")))) // Excel writes a mark
	in.FieldsPerRecord = -1
	head, err := in.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	for i, c := range head {
		head[i] = strings.ToLower(strings.TrimSpace(c))
		r := row{line: 1}
		switch {
		case !slices.Contains(columns, head[i]):
			t.fault(r, fmt.Sprintf("%.40q", c), "is not a column here; known columns: %s", strings.Join(columns, ", "))
		case slices.Contains(head[:i], head[i]):
			t.fault(r, head[i], "is a column twice")
		}
	}
	t.head = head
	if !slices.Contains(head, "id") {
		t.fault(row{line: 1}, "id", "want a first line that names the columns, id among them, in UTF-8 and with commas")
	}
	if len(t.problems) > 0 {
		return &config.Error{Problems: t.problems}
	}
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		line, _ := in.FieldPos(0)
		r := row{line, map[string]string{}}
		for i, c := range record {
			if c = strings.TrimSpace(c); i < len(head) {
				r.cells[head[i]] = c
			} else if c != "" {
				t.fault(r, "id", "the row has %d cells, the first line %d", len(record), len(head))
				break
			}
		}
		if r.has(columns) {
			t.rows = append(t.rows, r)
		}
	}
}

// file brings the rows into the other form.
func (t *table) file() *file {
	f := &file{}
	index := map[string]int{} // of an id's first row, in rows
	var order []string
	rows := map[string][]int{}
	for i, r := range t.rows {
		id := r.cells["id"]
		if id == "" {
			t.fault(r, "id", "want a name of %s", floorwatch.NameRule)
			continue
		}
		if first, again := index[id]; again {
			t.again(t.rows[first], r)
		} else {
			index[id] = i
			order = append(order, id)
		}
		rows[id] = append(rows[id], i)
	}
	for _, id := range order {
		first := t.rows[index[id]]
		if level := first.cells["level"]; level != "" {
			key := indexed("nodes", len(f.Nodes))
			e, boxes := t.entry(key, rows[id])
			if len(boxes) > 0 {
				t.fault(first, "box", "only a hall has boxes; a hall has no level")
			}
			f.Nodes = append(f.Nodes, nodeEntry{e, level})
		} else {
			key := indexed("halls", len(f.Halls))
			e, boxes := t.entry(key, rows[id])
			f.Halls = append(f.Halls, hallEntry{e, boxes})
		}
	}
	return f
}

// again checks a further row of a node: it adds a span or a box, and says of the
// node what the first row did, or nothing.
func (t *table) again(first, r row) {
	for _, c := range own {
		if r.cells[c] != "" && r.cells[c] != first.cells[c] {
			t.fault(r, c, "line %d says another of this id; what changes with time is a span, with since", first.line)
		}
	}
	if !r.has(spanned) && !r.has(boxed) {
		t.fault(r, "id", "is on line %d already, and this line adds no span and no box", first.line)
	}
}

// entry makes an entry of a node's rows.
func (t *table) entry(key string, rows []int) (e entry, boxes []boxEntry) {
	first := t.rows[rows[0]]
	t.at[key] = rows[0]
	e = entry{ID: first.cells["id"], Label: floorwatch.Label{ZH: first.cells["zh"], EN: first.cells["en"]}}
	e.Lat, e.Lon = t.number(first, "lat"), t.number(first, "lon")
	var spans []spanEntry
	for n, i := range rows {
		r := t.rows[i].cells
		if n == 0 || t.rows[i].has(spanned) {
			t.at[indexed(key+".spans", len(spans))] = i
			spans = append(spans, spanEntry{r["since"], r["until"], r["parent"], r["time_zone"], parseOpening(r["opening"]), parseExceptions(r["exceptions"])})
		}
		if t.rows[i].has(boxed) {
			t.at[indexed(key+".boxes", len(boxes))] = i
			boxes = append(boxes, boxEntry{r["box"], floorwatch.Label{ZH: r["box_zh"], EN: r["box_en"]}, Key(r["box_key"]), r["box_since"], r["box_until"]})
		}
	}
	if len(spans) == 1 {
		e.spanEntry = spans[0]
	} else {
		e.Spans = spans
	}
	return e, boxes
}

func (t *table) number(r row, column string) *float64 {
	text := r.cells[column]
	if text == "" {
		return nil
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || x != x {
		t.fault(r, column, "want degrees as a number, such as 23.1291")
		return nil
	}
	return &x
}
