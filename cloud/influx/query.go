package influx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"floorwatch"
)

// MaxRows bounds the answer to one query.
const MaxRows = 100_000

// ErrTooMany says that a query without a limit has more than MaxRows rows: ask
// for a shorter window.
var ErrTooMany = errors.New("more than 100000 rows; ask for a shorter window")

// Query selects records. Store and Edge are required; Camera and Zone may be
// empty for all. From and To bound the record's own time, half-open: a stay's
// exit, a wait's end, an interval's start; a gap is taken when it overlaps.
// Limit > 0 keeps the newest Limit rows; 0 wants all, and fails with ErrTooMany
// rather than answer with a part.
type Query struct {
	Store, Edge  string
	Camera, Zone string
	Rev          string // of the zone's geometry; "": any
	From, To     floorwatch.Time
	Limit        int
}

// Stays returns the stays that ended in [From, To), oldest first.
func (c *Client) Stays(ctx context.Context, q Query) ([]floorwatch.Stay, error) {
	return selectRows(ctx, c, q, floorwatch.KindStay, q.within(), stays.read)
}

// Waits returns the waits that ended in [From, To), oldest first.
func (c *Client) Waits(ctx context.Context, q Query) ([]floorwatch.Wait, error) {
	return selectRows(ctx, c, q, floorwatch.KindWait, q.within(), waits.read)
}

// Intervals returns the intervals that start in [From, To), oldest first.
func (c *Client) Intervals(ctx context.Context, q Query) ([]floorwatch.Interval, error) {
	return selectRows(ctx, c, q, floorwatch.KindInterval, q.within(), intervals.read)
}

// Gaps returns the gaps of all kinds that overlap [From, To), in order of their
// ends.
func (c *Client) Gaps(ctx context.Context, q Query) ([]floorwatch.Gap, error) {
	overlap := fmt.Sprintf(`time >= %d AND "from" < %d`, int64(q.From)*1e6, int64(q.To))
	return selectRows(ctx, c, q, floorwatch.KindGap, overlap, gaps.read)
}

// Counts returns what crossed lines in the counts that ended in [From, To),
// oldest first. Zone is not looked at.
func (c *Client) Counts(ctx context.Context, q Query) ([]floorwatch.Count, error) {
	q.Zone = ""
	return selectRows(ctx, c, q, floorwatch.KindCount, q.within(), counts.read)
}

func (q Query) within() string {
	return fmt.Sprintf(`time >= %d AND time < %d`, int64(q.From)*1e6, int64(q.To)*1e6)
}

// where checks the names and returns the conditions on tags.
func (q Query) where() (string, error) {
	if q.Store == "" || q.Edge == "" {
		return "", errors.New("store and edge must be named")
	}
	var b strings.Builder
	for _, t := range [...][2]string{{"store", q.Store}, {"edge", q.Edge}, {"camera", q.Camera}, {"zone", q.Zone}} {
		if t[1] == "" {
			continue
		}
		if !floorwatch.ValidName(t[1]) {
			return "", fmt.Errorf("%s %.50q: a name is %s", t[0], t[1], floorwatch.NameRule)
		}
		fmt.Fprintf(&b, ` AND "%s" = '%s'`, t[0], t[1]) // a valid name needs no escape
	}
	if q.Rev != "" {
		if strings.ContainsAny(q.Rev, "'\\\n") {
			return "", fmt.Errorf("rev %.50q is none", q.Rev)
		}
		fmt.Fprintf(&b, ` AND "rev" = '%s'`, q.Rev)
	}
	if q.From < 0 || q.To < q.From || q.To > maxQueryTime {
		return "", fmt.Errorf("window from %d to %d is no span of Unix milliseconds", q.From, q.To)
	}
	return b.String(), nil
}

// maxQueryTime keeps a stamp in nanoseconds below 2^63.
const maxQueryTime floorwatch.Time = 9_000_000_000_000

// selectRows runs one SELECT over the columns that decode asks for and returns
// its rows by time.
func selectRows[T any](ctx context.Context, c *Client, q Query, kind, span string, decode func(*cursor, string) T) ([]T, error) {
	tags, err := q.where()
	if err != nil {
		return nil, fmt.Errorf("query %s records: %w", kind, err)
	}
	at, client, err := c.connect()
	if err != nil {
		return nil, err
	}
	limit := MaxRows + 1
	if q.Limit > 0 {
		limit = min(q.Limit, MaxRows)
	}
	db, rp := c.names()
	// The newest first, so that a limit keeps them; turned round below.
	statement := fmt.Sprintf(`SELECT * FROM %s.%s.%s WHERE %s%s ORDER BY time DESC LIMIT %d`,
		quoteName(db), quoteName(rp), quoteName(kind), span, tags, limit)
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tables, err := influxQL(ctx, client, at, db, statement)
	if err != nil {
		return nil, fmt.Errorf("query %s records: %w", kind, err)
	}
	var out []T
	for _, t := range tables {
		cur := newCursor(t.Columns)
		for _, v := range t.Values {
			cur.row = v
			out = append(out, decode(cur, kind))
		}
		if cur.err != nil {
			return nil, fmt.Errorf("query %s records: %w", kind, cur.err)
		}
	}
	if q.Limit == 0 && len(out) > MaxRows {
		return nil, fmt.Errorf("query %s records: %w", kind, ErrTooMany)
	}
	slices.Reverse(out)
	return out, nil
}

// quoteName quotes an identifier of InfluxQL.
func quoteName(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// cursor reads one row by column name. A column that is absent or null reads as
// the zero value; the first value of a wrong type is kept as err.
type cursor struct {
	column map[string]int
	row    []any
	err    error
}

func newCursor(columns []string) *cursor {
	c := &cursor{column: make(map[string]int, len(columns))}
	for i, name := range columns {
		c.column[name] = i
	}
	return c
}

func (c *cursor) value(name string) any {
	if i, ok := c.column[name]; ok && i < len(c.row) {
		return c.row[i]
	}
	return nil
}

func (c *cursor) fail(name string, v any) {
	if c.err == nil {
		c.err = fmt.Errorf("column %s holds %.50q (%T), which floorwatch never wrote", name, fmt.Sprint(v), v)
	}
}

func (c *cursor) text(name string) string {
	v := c.value(name)
	s, ok := v.(string)
	if !ok && v != nil {
		c.fail(name, v)
	}
	return s
}

func (c *cursor) flag(name string) bool {
	v := c.value(name)
	b, ok := v.(bool)
	if !ok && v != nil {
		c.fail(name, v)
	}
	return b
}

func (c *cursor) int(name string) int64 {
	v := c.value(name)
	if v == nil {
		return 0
	}
	n, _ := v.(json.Number)
	i, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil {
		c.fail(name, v)
	}
	return i
}

func (c *cursor) float(name string) float64 {
	v := c.value(name)
	if v == nil {
		return 0
	}
	n, _ := v.(json.Number)
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		c.fail(name, v)
	}
	return f
}

func (c *cursor) time(name string) floorwatch.Time { return floorwatch.Time(c.int(name)) }

func (c *cursor) header(kind string) floorwatch.Header {
	return floorwatch.Header{
		Kind: kind, Camera: c.text("camera"), Zone: c.text("zone"), ID: c.text("id"),
		At: c.time("at"), Rev: c.text("rev"), By: c.text("by"),
		Clock: floorwatch.Clock{Boot: c.text("boot"), Mono: c.int("mono"), Unsynced: c.flag("unsynced")},
	}
}
