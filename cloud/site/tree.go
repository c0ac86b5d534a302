package site

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"floorwatch"
)

// Zone of those who name none, and whose nodes above name none.
const defaultZone = "Asia/Shanghai"

// Tree is the org tree with its halls, by id, over all time.
type Tree map[string]*Node

// Node is a place in the org tree. Without Level it is a hall, which is a store to
// everybody else; only a hall has boxes.
type Node struct {
	ID       string
	Level    string // the chain's own word: chain, province, 市
	Label    floorwatch.Label
	Lat, Lon *float64 // degrees, WGS 84
	Spans    []Span   // in order; there may be a break
	Boxes    []Box    // in order of id and span
}

// Hall tells whether the node is a hall.
func (n *Node) Hall() bool { return n.Level == "" }

// Span is what held of a node for a while. What is empty is as with its parent.
type Span struct {
	Since, Until floorwatch.Time // half-open; 0: from ever, without end
	Parent       string          // "": the top
	TimeZone     string
	Opening      []floorwatch.Opening
	Exceptions   []floorwatch.Exception
}

// Box is a box with one key, for a while.
type Box struct {
	ID           string
	Since, Until floorwatch.Time
	Label        floorwatch.Label
	Key          Key // "": not known yet
}

// holds tells whether t lies in a span.
func holds(since, until, t floorwatch.Time) bool { return since <= t && (until == 0 || t < until) }

// at returns what held of the node at a moment; nil: it was not there.
func (n *Node) at(t floorwatch.Time) *Span {
	for i := len(n.Spans) - 1; i >= 0; i-- { // mostly the newest is asked for
		if s := &n.Spans[i]; holds(s.Since, s.Until, t) {
			return s
		}
	}
	return nil
}

func (n *Node) clone() *Node {
	c := *n
	c.Spans, c.Boxes = slices.Clone(n.Spans), slices.Clone(n.Boxes)
	return &c
}

func sameNumber(a, b *float64) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

func (n *Node) equal(m *Node) bool {
	return n.ID == m.ID && n.Level == m.Level && n.Label == m.Label && sameNumber(n.Lat, m.Lat) && sameNumber(n.Lon, m.Lon) &&
		slices.EqualFunc(n.Spans, m.Spans, Span.equal) && slices.Equal(n.Boxes, m.Boxes)
}

func (s Span) equal(o Span) bool { return s.Since == o.Since && s.Until == o.Until && s.same(o) }

// same tells whether two spans say the same, whenever they hold.
func (s Span) same(o Span) bool {
	return s.Parent == o.Parent && s.TimeZone == o.TimeZone && slices.Equal(s.Opening, o.Opening) && slices.Equal(s.Exceptions, o.Exceptions)
}

// ids returns all ids in order.
func (t Tree) ids() []string { return slices.Sorted(maps.Keys(t)) }

// The texts of opening hours and exceptions in a table's cell:
//
//	mon-fri 09:00-17:30; sat,sun 10:00-16:00
//	2026-10-01..2026-10-07 closed; 2026-10-10 09:00-17:00

func cell[T fmt.Stringer](all []T) string {
	var parts []string
	for _, x := range all {
		parts = append(parts, x.String())
	}
	return strings.Join(parts, "; ")
}

// cells splits a cell's text into its parts and each into days and hours; what
// cannot be split is a part whose check fails.
func cells(text string) (parts [][3]string) {
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		var days, hours string
		if i := strings.LastIndexByte(part, ' '); i > 0 {
			days, hours = strings.TrimSpace(part[:i]), part[i+1:]
		} else {
			days, hours = part, "?"
		}
		from, to, _ := strings.Cut(hours, "-")
		parts = append(parts, [3]string{days, from, to})
	}
	return parts
}

func parseOpening(text string) (all []floorwatch.Opening) {
	for _, p := range cells(text) {
		all = append(all, floorwatch.Opening{Days: strings.ReplaceAll(p[0], " ", ""), From: p[1], To: p[2]})
	}
	return all
}

func parseExceptions(text string) (all []floorwatch.Exception) {
	for _, p := range cells(text) {
		if p[1] == "closed" {
			p[1] = ""
		}
		all = append(all, floorwatch.Exception{Dates: p[0], From: p[1], To: p[2]})
	}
	return all
}
