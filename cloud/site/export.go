package site

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"floorwatch"

	"go.yaml.in/yaml/v3"
)

// Export writes a tree as a file that Import reads back to the same tree; format
// is yaml or csv.
func (t Tree) Export(w io.Writer, format string) error {
	switch format {
	case "yaml":
		return t.yaml(w)
	case "csv":
		return t.table(w)
	}
	return fmt.Errorf("write sites: %q is no form of them; want yaml or csv", format)
}

// stamp writes a moment in a span's own zone.
func stamp(t floorwatch.Time, zone *time.Location) string {
	if t == 0 {
		return ""
	}
	return t.Time().In(zone).Format(time.RFC3339Nano)
}

// zone is the zone of a span as reading finds it.
func (t Tree) zone(s Span) *time.Location {
	r := reading{tree: t}
	return r.zone(spanEntry{TimeZone: s.TimeZone, Parent: s.Parent})
}

func (t Tree) spans(n *Node) (out []spanEntry) {
	for i, s := range n.Spans {
		zone, until := t.zone(s), s.Until
		if i+1 < len(n.Spans) && until == n.Spans[i+1].Since {
			until = 0 // the next one says it
		}
		out = append(out, spanEntry{stamp(s.Since, zone), stamp(until, zone), s.Parent, s.TimeZone, s.Opening, s.Exceptions})
	}
	return out
}

func (t Tree) boxes(n *Node) (out []boxEntry) {
	zone := t.zone(n.Spans[len(n.Spans)-1])
	for _, b := range n.Boxes {
		out = append(out, boxEntry{b.ID, b.Label, b.Key, stamp(b.Since, zone), stamp(b.Until, zone)})
	}
	return out
}

// table writes a row a node, nodes first, and more where there are more spans or boxes.
func (t Tree) table(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(columns); err != nil {
		return err
	}
	for _, halls := range []bool{false, true} {
		for _, id := range t.ids() {
			n := t[id]
			if n.Hall() != halls {
				continue
			}
			spans, boxes := t.spans(n), t.boxes(n)
			for i := range max(len(spans), len(boxes)) {
				row := []string{id, n.Level, "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", ""}
				if i == 0 {
					row[2], row[3], row[10], row[11] = n.Label.ZH, n.Label.EN, degrees(n.Lat), degrees(n.Lon)
				}
				if i < len(spans) {
					s := spans[i]
					copy(row[4:10], []string{s.Parent, s.Since, s.Until, s.TimeZone, cell(s.Opening), cell(s.Exceptions)})
				}
				if i < len(boxes) {
					b := boxes[i]
					copy(row[12:18], []string{b.ID, b.Label.ZH, b.Label.EN, string(b.Key), b.Since, b.Until})
				}
				if err := out.Write(row); err != nil {
					return err
				}
			}
		}
	}
	out.Flush()
	return out.Error()
}

func degrees(x *float64) string {
	if x == nil {
		return ""
	}
	return strconv.FormatFloat(*x, 'f', -1, 64)
}

// yaml writes nodes and halls, without the keys that say nothing.
func (t Tree) yaml(w io.Writer) error {
	var nodes, halls []*yaml.Node
	for _, id := range t.ids() {
		n := t[id]
		var m mapping
		m.text("id", id)
		m.text("level", n.Level)
		m.label(n.Label)
		m.text("lat", degrees(n.Lat))
		m.text("lon", degrees(n.Lon))
		spans := t.spans(n)
		if len(spans) == 1 {
			m.span(spans[0])
		} else {
			var list []*yaml.Node
			for _, s := range spans {
				var one mapping
				one.span(s)
				list = append(list, one.node())
			}
			m.list("spans", list)
		}
		var boxes []*yaml.Node
		for _, b := range t.boxes(n) {
			var one mapping
			one.text("id", b.ID)
			one.label(b.Label)
			one.text("key", string(b.Key))
			one.text("since", b.Since)
			one.text("until", b.Until)
			boxes = append(boxes, one.node())
		}
		m.list("boxes", boxes)
		if n.Hall() {
			halls = append(halls, m.node())
		} else {
			nodes = append(nodes, m.node())
		}
	}
	var all mapping
	all.list("nodes", nodes)
	all.list("halls", halls)
	out := yaml.NewEncoder(w)
	out.SetIndent(2)
	if err := out.Encode(all.node()); err != nil {
		return err
	}
	return out.Close()
}

// mapping is a YAML mapping that leaves out what is empty.
type mapping struct{ content []*yaml.Node }

func (m *mapping) node() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Content: m.content} }

func (m *mapping) add(key string, value *yaml.Node) {
	m.content = append(m.content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}

func (m *mapping) text(key, value string) {
	if value != "" {
		n := &yaml.Node{}
		n.SetString(value)
		if key == "lat" || key == "lon" {
			n.Tag = "!!float"
		}
		m.add(key, n)
	}
}

func (m *mapping) list(key string, all []*yaml.Node) {
	if len(all) > 0 {
		m.add(key, &yaml.Node{Kind: yaml.SequenceNode, Content: all})
	}
}

func (m *mapping) label(l floorwatch.Label) {
	var one mapping
	one.text("zh", l.ZH)
	one.text("en", l.EN)
	if one.content != nil {
		n := one.node()
		n.Style = yaml.FlowStyle
		m.add("label", n)
	}
}

func (m *mapping) span(s spanEntry) {
	m.text("since", s.Since)
	m.text("until", s.Until)
	m.text("parent", s.Parent)
	m.text("time_zone", s.TimeZone)
	var opening, exceptions []*yaml.Node
	for _, o := range s.Opening {
		opening = append(opening, flow("days", o.Days, "from", o.From, "to", o.To))
	}
	for _, e := range s.Exceptions {
		exceptions = append(exceptions, flow("dates", e.Dates, "from", e.From, "to", e.To))
	}
	m.list("opening", opening)
	m.list("exceptions", exceptions)
}

func flow(pairs ...string) *yaml.Node {
	var m mapping
	for i := 0; i < len(pairs); i += 2 {
		m.text(pairs[i], pairs[i+1])
	}
	n := m.node()
	n.Style = yaml.FlowStyle
	return n
}
