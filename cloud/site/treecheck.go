package site

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"floorwatch"
)

// reporter hears of faults, each with the key that it stands at: a file's report.
type reporter interface {
	Problem(key, want string, args ...any)
}

// checking checks a tree. Of a node that was read from a file, where has the key
// there; of another its id is told.
type checking struct {
	tree  Tree
	where map[string]*place
	reporter
}

func (c checking) at(id string) string {
	if w, ok := c.where[id]; ok {
		return w.key
	}
	return id
}

func (c checking) atSpan(n *Node, i int) string {
	w, ok := c.where[n.ID]
	switch {
	case !ok || w.list && i < w.kept:
		return c.at(n.ID)
	case w.list:
		return indexed(w.key+".spans", i-w.kept)
	}
	return w.key
}

func (c checking) atBox(n *Node, i int) string {
	later := 0 // of the same id; those that were there before the file's stand first
	for _, b := range n.Boxes[i+1:] {
		if b.ID == n.Boxes[i].ID {
			later++
		}
	}
	if w, ok := c.where[n.ID]; ok {
		if keys := w.boxes[n.Boxes[i].ID]; later < len(keys) {
			return keys[len(keys)-1-later]
		}
	}
	return c.at(n.ID) + ".boxes"
}

// all reports every fault of the nodes.
func (c checking) all(ids []string) {
	keys := map[Key][]holder{}
	for _, id := range c.tree.ids() {
		for i, b := range c.tree[id].Boxes {
			if b.Key != "" {
				keys[b.Key] = append(keys[b.Key], holder{id, i})
			}
		}
	}
	for _, id := range ids {
		n := c.tree[id]
		c.node(n)
		for i := range n.Spans {
			c.span(n, i)
		}
		c.boxes(n, keys)
	}
}

func (c checking) node(n *Node) {
	key := c.at(n.ID)
	if !floorwatch.ValidName(n.ID) {
		c.Problem(key+".id", "want a name of %s", floorwatch.NameRule)
	}
	if !shortText(n.Level) {
		c.Problem(key+".level", "want a word of up to 40 characters, such as province")
	}
	for _, text := range []string{n.Label.ZH, n.Label.EN} {
		if !shortText(text) {
			c.Problem(key+".label", "want up to 40 characters on one line")
		}
	}
	if (n.Lat == nil) != (n.Lon == nil) {
		c.Problem(key+".lat", "lat and lon belong together")
	} else if n.Lat != nil && !(*n.Lat >= -90 && *n.Lat <= 90 && *n.Lon >= -180 && *n.Lon <= 180) {
		c.Problem(key+".lat", "want degrees: lat from -90 to 90, lon from -180 to 180")
	}
	c.cycle(n)
}

func shortText(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= 40 && !strings.ContainsFunc(s, unicode.IsControl)
}

func (c checking) span(n *Node, i int) {
	s, key := n.Spans[i], c.atSpan(n, i)
	if s.Until != 0 && s.Until <= s.Since {
		c.Problem(key+".until", "want a moment after since, %s", s.Since)
	}
	if i > 0 {
		if before := n.Spans[i-1]; before.Until == 0 || before.Until > s.Since {
			c.Problem(key+".since", "the span overlaps the one before: a node is below one parent at a time; give it since and until")
		}
	}
	c.parent(n, s, key+".parent")
	if s.TimeZone != "" {
		if _, err := time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "Local" {
			c.Problem(key+".time_zone", "want an IANA time zone such as Asia/Shanghai or Europe/Berlin")
		}
	}
	for i, o := range s.Opening {
		at := indexed(key+".opening", i)
		if !o.ValidDays() {
			c.Problem(at+".days", "want days of mon, tue, wed, thu, fri, sat, sun: a span mon-fri or a list sat,sun")
		}
		if !o.ValidHours() {
			c.Problem(at, "want from before to, both like \"09:00\"; over midnight takes two entries")
		}
	}
	for i, e := range s.Exceptions {
		at := indexed(key+".exceptions", i)
		if !e.ValidDates() {
			c.Problem(at+".dates", "want a day 2026-10-01 or days 2026-10-01..2026-10-07")
		}
		if !e.ValidHours() {
			c.Problem(at, "want from before to, both like \"09:00\", or neither: closed")
		}
	}
}

// parent checks that a node's parent is there as long as the node is below it.
func (c checking) parent(n *Node, s Span, key string) {
	if s.Parent == "" {
		return
	}
	p := c.tree[s.Parent]
	switch {
	case p == nil:
		c.Problem(key, "want the id of a node; there is none %.50q", s.Parent)
	case p.Hall():
		c.Problem(key, "want the id of a node; %.50q is a hall", s.Parent)
	case p != n && !covers(p.Spans, s.Since, s.Until):
		c.Problem(key, "%.50q is not there all that time; close or move what is below it first", s.Parent)
	}
}

// covers tells whether spans hold from since to until without a break.
func covers(spans []Span, since, until floorwatch.Time) bool {
	for _, s := range spans {
		if holds(s.Since, s.Until, since) {
			if s.Until == 0 || until != 0 && until <= s.Until {
				return true
			}
			since = s.Until
		}
	}
	return false
}

// cycle reports a node that is below itself. A circle closes when the last of its
// spans begins, so it is enough to walk up from there.
func (c checking) cycle(n *Node) {
	if n.Hall() {
		return
	}
	for i, s := range n.Spans {
		seen := map[string]bool{n.ID: true}
		for id := s.Parent; id != ""; {
			if id == n.ID {
				c.Problem(c.atSpan(n, i)+".parent", "the node would be below itself")
				break
			}
			if seen[id] {
				break // a circle that others report
			}
			seen[id] = true
			above := c.tree[id]
			if above == nil || above.at(s.Since) == nil {
				break
			}
			if len(seen) == maxDepth {
				c.Problem(c.atSpan(n, i)+".parent", "the tree has more than %d levels here", maxDepth)
				break
			}
			id = above.at(s.Since).Parent
		}
	}
}

// holder is who has a key: a hall's box, by its index.
type holder struct {
	hall string
	i    int
}

func (c checking) boxes(n *Node, keys map[Key][]holder) {
	for i, b := range n.Boxes {
		key := c.atBox(n, i)
		if !floorwatch.ValidName(b.ID) {
			c.Problem(key+".id", "want a name of %s", floorwatch.NameRule)
		}
		if b.Until != 0 && b.Until <= b.Since {
			c.Problem(key+".until", "want a moment after since, %s", b.Since)
		}
		if i > 0 {
			if before := n.Boxes[i-1]; before.ID == b.ID && (before.Until == 0 || before.Until > b.Since) {
				c.Problem(key+".id", "two boxes of this hall have one name at the same time; rename one, or give them since and until")
			}
		}
		if !shortText(b.Label.ZH) || !shortText(b.Label.EN) {
			c.Problem(key+".label", "want up to 40 characters on one line")
		}
		if want := b.Key.check(); want != "" {
			c.Problem(key+".key", "%s", want)
			continue
		}
		other := slices.IndexFunc(keys[b.Key], func(h holder) bool {
			o := c.tree[h.hall].Boxes[h.i]
			return (h.hall != n.ID || h.i != i) && (o.Until == 0 || b.Since < o.Until) && (b.Until == 0 || o.Since < b.Until)
		})
		if other >= 0 {
			h := keys[b.Key][other]
			c.Problem(key+".key", "is also the key of box %s in %s; a key is of one box", c.tree[h.hall].Boxes[h.i].ID, h.hall)
		}
	}
}
