package site

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/internal/config"
)

// Topic grows with each change of the org tree, its halls and boxes.
const Topic = "site"

// Load reads the org tree over all time.
func Load(ctx context.Context, db *metadata.DB) (tree Tree, err error) {
	err = db.Read(ctx, func(tx *metadata.Tx) error {
		tree, err = load(ctx, tx)
		return err
	})
	return tree, err
}

func load(ctx context.Context, tx *metadata.Tx) (Tree, error) {
	tree := Tree{}
	err := each(ctx, tx, `SELECT n.id, n.level, n.zh, n.en, n.lat, n.lon, s.since, s.until, s.parent, s.time_zone, s.opening, s.exceptions
		FROM node n JOIN node_span s ON s.node = n.id ORDER BY n.id, s.since`, func(rows *sql.Rows) error {
		var n Node
		var s Span
		var opening, exceptions string
		if err := rows.Scan(&n.ID, &n.Level, &n.Label.ZH, &n.Label.EN, &n.Lat, &n.Lon,
			&s.Since, &s.Until, &s.Parent, &s.TimeZone, &opening, &exceptions); err != nil {
			return err
		}
		s.Opening, s.Exceptions = parseOpening(opening), parseExceptions(exceptions)
		if tree[n.ID] == nil {
			tree[n.ID] = &n
		}
		tree[n.ID].Spans = append(tree[n.ID].Spans, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read sites: %w", err)
	}
	err = each(ctx, tx, `SELECT store, id, since, until, zh, en, public_key FROM box ORDER BY store, id, since`, func(rows *sql.Rows) error {
		var store string
		var b Box
		if err := rows.Scan(&store, &b.ID, &b.Since, &b.Until, &b.Label.ZH, &b.Label.EN, &b.Key); err != nil {
			return err
		}
		if n := tree[store]; n != nil {
			n.Boxes = append(n.Boxes, b)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read boxes: %w", err)
	}
	return tree, nil
}

// each calls do for each row of an answer.
func each(ctx context.Context, tx *metadata.Tx, query string, do func(*sql.Rows) error, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Changes counts what an operation changed.
type Changes struct {
	New, Changed, Same int // of the nodes and halls that it named
	Others             int // that it did not name, and that stay as they are
}

func (c Changes) String() string {
	return fmt.Sprintf("%d new, %d changed, %d as they were; %d others stay as they are", c.New, c.Changed, c.Same, c.Others)
}

// edit changes the tree in one transaction: what do makes of it is kept whole, or
// not at all. Do names the nodes that it is about.
func edit(ctx context.Context, db *metadata.DB, do func(tree Tree) (ids []string, err error)) (c Changes, err error) {
	err = db.Write(ctx, Topic, func(tx *metadata.Tx) error {
		c = Changes{}
		tree, err := load(ctx, tx)
		if err != nil {
			return err
		}
		before := make(Tree, len(tree))
		for id, n := range tree {
			before[id] = n.clone()
		}
		ids, err := do(tree)
		if err != nil {
			return err
		}
		put, err := newWriter(ctx, tx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			old, n := before[id], tree[id]
			switch {
			case old == nil:
				c.New++
			case !old.equal(n):
				c.Changed++
			default:
				c.Same++
				continue
			}
			if err := put.node(ctx, n, old != nil); err != nil {
				return fmt.Errorf("write site %s: %w", id, err)
			}
		}
		c.Others = len(tree) - len(ids)
		if c.New+c.Changed > 0 {
			tx.Changed()
		}
		return nil
	})
	return c, err
}

// writer writes nodes with statements that are made once.
type writer struct{ upsert, clearSpans, clearBoxes, span, box *sql.Stmt }

func newWriter(ctx context.Context, tx *metadata.Tx) (w writer, err error) {
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&w.upsert, `INSERT INTO node (id, level, zh, en, lat, lon) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET
			level = excluded.level, zh = excluded.zh, en = excluded.en, lat = excluded.lat, lon = excluded.lon`},
		{&w.clearSpans, `DELETE FROM node_span WHERE node = $1`},
		{&w.clearBoxes, `DELETE FROM box WHERE store = $1`},
		{&w.span, `INSERT INTO node_span (node, since, until, parent, time_zone, opening, exceptions) VALUES ($1, $2, $3, $4, $5, $6, $7)`},
		{&w.box, `INSERT INTO box (store, id, since, until, zh, en, public_key) VALUES ($1, $2, $3, $4, $5, $6, $7)`},
	} {
		if *s.to, err = tx.PrepareContext(ctx, s.text); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w writer) node(ctx context.Context, n *Node, old bool) error {
	if _, err := w.upsert.ExecContext(ctx, n.ID, n.Level, n.Label.ZH, n.Label.EN, n.Lat, n.Lon); err != nil {
		return err
	}
	if old {
		for _, s := range []*sql.Stmt{w.clearSpans, w.clearBoxes} {
			if _, err := s.ExecContext(ctx, n.ID); err != nil {
				return err
			}
		}
	}
	for _, s := range n.Spans {
		if _, err := w.span.ExecContext(ctx, n.ID, int64(s.Since), int64(s.Until), s.Parent, s.TimeZone,
			cell(s.Opening), cell(s.Exceptions)); err != nil {
			return err
		}
	}
	for _, b := range n.Boxes {
		if _, err := w.box.ExecContext(ctx, n.ID, b.ID, int64(b.Since), int64(b.Until), b.Label.ZH, b.Label.EN, string(b.Key)); err != nil {
			return err
		}
	}
	return nil
}

// Import merges a file, yaml or csv, into what is there: docs/sites.md says how.
// What the file says without a moment holds from `from` on. The error is a
// *config.Error, with every fault, where the content is at fault.
func Import(ctx context.Context, db *metadata.DB, name, format string, b []byte, from floorwatch.Time) (Changes, error) {
	return edit(ctx, db, func(tree Tree) ([]string, error) {
		return parse(name, b, format, tree, from)
	})
}

// Export writes all that is there as a file.
func Export(ctx context.Context, db *metadata.DB, w io.Writer, format string) error {
	tree, err := Load(ctx, db)
	if err != nil {
		return err
	}
	return tree.Export(w, format)
}

// Add adds a node or a hall with its first span, or boxes to a hall that is there.
func Add(ctx context.Context, db *metadata.DB, n Node) (Changes, error) {
	return edit(ctx, db, func(tree Tree) ([]string, error) {
		old := tree[n.ID]
		switch {
		case old == nil:
			added := n.clone()
			if len(added.Spans) == 0 {
				added.Spans = []Span{{}}
			}
			tree[n.ID] = added
		case len(n.Boxes) == 0:
			return nil, fmt.Errorf("add %s: it is there already; site move gives it another parent, site import changes it", n.ID)
		case !old.Hall():
			return nil, fmt.Errorf("add a box to %s: it is no hall", n.ID)
		case n.Level != "" || n.Label != (floorwatch.Label{}) || slices.ContainsFunc(n.Spans, func(s Span) bool { return !s.same(Span{}) }):
			return nil, fmt.Errorf("add a box to %s: the hall is there already, so nothing else can be said of it here; site import changes it", n.ID)
		default:
			old.Boxes = append(old.Boxes, n.Boxes...)
			slices.SortStableFunc(old.Boxes, func(a, b Box) int { return strings.Compare(a.ID, b.ID) })
		}
		return []string{n.ID}, faults(tree, "add "+n.ID, n.ID)
	})
}

// Move puts a node or a hall below another parent from a moment on; before, it
// was where it was.
func Move(ctx context.Context, db *metadata.DB, id, parent string, from floorwatch.Time) (Changes, error) {
	return edit(ctx, db, func(tree Tree) ([]string, error) {
		n, s, err := openAt(tree, id, from)
		if err != nil {
			return nil, fmt.Errorf("move %s: %w", id, err)
		}
		if s.Parent == parent {
			return []string{id}, nil
		}
		moved := *s
		moved.Since, moved.Parent = from, parent
		if s.Since == from {
			s.Parent = parent
		} else {
			s.Until = from
			n.Spans = slices.Insert(n.Spans, slices.IndexFunc(n.Spans, func(x Span) bool { return x.Since == s.Since })+1, moved)
		}
		return []string{id}, faults(tree, "move "+id, id)
	})
}

// Close ends a node or a hall, with its boxes, at a moment. Its past stays.
func Close(ctx context.Context, db *metadata.DB, id string, from floorwatch.Time) (Changes, error) {
	return edit(ctx, db, func(tree Tree) ([]string, error) {
		n, s, err := openAt(tree, id, from)
		if err != nil {
			return nil, fmt.Errorf("close %s: %w", id, err)
		}
		if s.Since == from {
			return nil, fmt.Errorf("close %s: it begins at that very moment", id)
		}
		s.Until = from
		n.Spans = slices.DeleteFunc(n.Spans, func(s Span) bool { return s.Since >= from })
		n.Boxes = slices.DeleteFunc(n.Boxes, func(b Box) bool { return b.Since >= from })
		for i := range n.Boxes {
			if b := &n.Boxes[i]; b.Until == 0 || b.Until > from {
				b.Until = from
			}
		}
		below := []string{id}
		for _, other := range tree.ids() {
			if slices.ContainsFunc(tree[other].Spans, func(s Span) bool { return s.Parent == id }) {
				below = append(below, other)
			}
		}
		return []string{id}, faults(tree, "close "+id, below...)
	})
}

// Moment reads a moment as files have it: a date is the midnight in which it begins
// in the node's own zone.
func (t Tree) Moment(id, text string) (floorwatch.Time, error) {
	zone := location("")
	if n := t[id]; n != nil {
		zone = t.zone(n.Spans[len(n.Spans)-1])
	}
	at, err := parseMoment(text, zone)
	if err != nil {
		return 0, fmt.Errorf("read %.40q: want a date 2026-03-01, which begins at the hall's midnight, or a moment 2026-03-01T08:00:00+08:00", text)
	}
	return at, nil
}

// openAt finds a node and its span at a moment.
func openAt(tree Tree, id string, t floorwatch.Time) (*Node, *Span, error) {
	n := tree[id]
	if n == nil {
		return nil, nil, errors.New("there is no such node or hall; site list names them")
	}
	s := n.at(t)
	if s == nil {
		return nil, nil, fmt.Errorf("it is not there at %s; site export shows its spans", t)
	}
	return n, s, nil
}

// faultList reports to a command line: nodes by id, without lines.
type faultList struct{ faults []error }

func (f *faultList) Problem(key, want string, args ...any) {
	f.faults = append(f.faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(want, args...)))
}

func faults(tree Tree, did string, ids ...string) error {
	var list faultList
	checking{tree: tree, reporter: &list}.all(ids)
	if len(list.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%s: nothing was changed\n%w", did, errors.Join(list.faults...))
}

// Faults returns the number of faults that an import told of; 0: it failed otherwise.
func Faults(err error) int {
	var e *config.Error
	if errors.As(err, &e) {
		return len(e.Problems)
	}
	return 0
}
