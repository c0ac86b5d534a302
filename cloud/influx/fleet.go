package influx

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/cloud/site"
)

// Sent is a record and the box that sent it.
type Sent[T any] struct {
	Store, Edge string
	Record      T
}

// Observed is what a camera observed of an interval: the most that one of its
// zones says, as they all see the same pictures.
type Observed struct {
	site.Source
	Start, End floorwatch.Time
	ObservedS  float64
}

// maxGaps is how many gaps of one box GapsOfAll reads, the newest.
const maxGaps = 10_000

// LastHealth returns the newest health record in [from, to) of each of the boxes,
// and of each of their cameras: its time, its notes and the figures that are named.
// Without boxes: of all. A record with none of them, as of a probe, is not looked at.
func (c *Client) LastHealth(ctx context.Context, boxes []site.Source, figures []floorwatch.Figure, from, to floorwatch.Time) (out []Sent[floorwatch.Health], err error) {
	var named, columns []string
	for _, b := range boxes {
		if !floorwatch.ValidName(b.Store) || !floorwatch.ValidName(b.Edge) {
			return nil, fmt.Errorf("query health of all: box %.50q of store %.50q: a name is %s", b.Edge, b.Store, floorwatch.NameRule)
		}
		named = append(named, fmt.Sprintf(`("store" = '%s' AND "edge" = '%s')`, b.Store, b.Edge))
	}
	where := Query{From: from, To: to}.within()
	if len(named) > 0 {
		where += " AND (" + strings.Join(named, " OR ") + ")"
	}
	for _, f := range figures {
		columns = append(columns, quoteName(figure+string(f)))
	}
	err = c.each(ctx, floorwatch.KindHealth, fmt.Sprintf(`SELECT %s, "notes" FROM %%s WHERE %s GROUP BY "store", "edge", "camera" ORDER BY time DESC LIMIT 1`,
		strings.Join(columns, ", "), where), func(at site.Source, cur *cursor) {
		h := health.read(cur, floorwatch.KindHealth)
		h.Camera, h.At = at.Camera, floorwatch.Time(cur.int("time")/1e6)
		out = append(out, Sent[floorwatch.Health]{at.Store, at.Edge, h})
	})
	return out, err
}

// Heard is when a box last said something that is stored.
type Heard struct {
	Store, Edge string
	At          floorwatch.Time
}

// Heard returns of each box the time of its newest record in [from, to), of any
// kind that becomes points; boxes stand there more than once.
func (c *Client) Heard(ctx context.Context, from, to floorwatch.Time) (out []Heard, err error) {
	for _, kind := range slices.Sorted(maps.Keys(tables)) {
		err := c.each(ctx, kind, fmt.Sprintf(`SELECT last("seq") FROM %%s WHERE %s GROUP BY "store", "edge"`, Query{From: from, To: to}.within()), func(at site.Source, cur *cursor) {
			out = append(out, Heard{at.Store, at.Edge, floorwatch.Time(cur.int("time") / 1e6)})
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GapsOfAll returns of each box the gaps that ended in [from, to), without their
// cameras.
func (c *Client) GapsOfAll(ctx context.Context, from, to floorwatch.Time) (out []Sent[floorwatch.Gap], err error) {
	err = c.each(ctx, floorwatch.KindGap, fmt.Sprintf(`SELECT "of", "from", "to" FROM %%s WHERE %s GROUP BY "store", "edge" ORDER BY time DESC LIMIT %d`,
		Query{From: from, To: to}.within(), maxGaps), func(at site.Source, cur *cursor) {
		out = append(out, Sent[floorwatch.Gap]{at.Store, at.Edge, gaps.read(cur, floorwatch.KindGap)})
	})
	return out, err
}

// Observed returns what all cameras observed of the intervals that start in
// [from, to).
func (c *Client) Observed(ctx context.Context, from, to floorwatch.Time) (out []Observed, err error) {
	// Intervals start on whole seconds, so a second holds those of one camera's zones.
	err = c.each(ctx, floorwatch.KindInterval, fmt.Sprintf(`SELECT max("observed_s") AS "observed_s", max("end") AS "end" FROM %%s WHERE %s GROUP BY time(1s), "store", "edge", "camera" fill(none)`,
		Query{From: from, To: to}.within()), func(at site.Source, cur *cursor) {
		out = append(out, Observed{at, floorwatch.Time(cur.int("time") / 1e6), cur.time("end"), cur.float("observed_s")})
	})
	return out, err
}

// each runs a statement, in which %s stands for the measurement, and hands out
// its rows with the box, and the camera where it groups by it.
func (c *Client) each(ctx context.Context, kind, statement string, row func(site.Source, *cursor)) error {
	at, client, err := c.connect()
	if err != nil {
		return err
	}
	db, rp := c.names()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	from := quoteName(db) + "." + quoteName(rp) + "." + quoteName(kind)
	tables, err := influxQL(ctx, client, at, db, strings.Replace(statement, "%s", from, 1))
	if err != nil {
		return fmt.Errorf("query %s records of all boxes: %w", kind, err)
	}
	for _, t := range tables {
		cur := newCursor(t.Columns)
		for _, v := range t.Values {
			cur.row = v
			row(site.Source{Store: t.Tags["store"], Edge: t.Tags["edge"], Camera: t.Tags["camera"]}, cur)
		}
		if cur.err != nil {
			return fmt.Errorf("query %s records of all boxes: %w", kind, cur.err)
		}
	}
	return nil
}
