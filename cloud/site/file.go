package site

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"floorwatch"
	"floorwatch/internal/config"
)

// MaxFile is the largest file of sites that is read, in bytes: 100,000 halls.
const MaxFile = 64 << 20

// file is a file of sites as it is written, in either form. A table is brought
// into it, so that one check serves both.
type file struct {
	Nodes []nodeEntry `yaml:"nodes"`
	Halls []hallEntry `yaml:"halls"`
}

type nodeEntry struct {
	entry
	Level string `yaml:"level"`
}

type hallEntry struct {
	entry
	Boxes []boxEntry `yaml:"boxes"`
}

// entry is what nodes and halls have in common: one span beside the id, or several
// in a list.
type entry struct {
	ID    string           `yaml:"id"`
	Label floorwatch.Label `yaml:"label"`
	Lat   *float64         `yaml:"lat"`
	Lon   *float64         `yaml:"lon"`
	spanEntry
	Spans []spanEntry `yaml:"spans"`
}

type spanEntry struct {
	Since      string                 `yaml:"since"`
	Until      string                 `yaml:"until"`
	Parent     string                 `yaml:"parent"`
	TimeZone   string                 `yaml:"time_zone"`
	Opening    []floorwatch.Opening   `yaml:"opening"`
	Exceptions []floorwatch.Exception `yaml:"exceptions"`
}

type boxEntry struct {
	ID    string           `yaml:"id"`
	Label floorwatch.Label `yaml:"label"`
	Key   Key              `yaml:"key"`
	Since string           `yaml:"since"`
	Until string           `yaml:"until"`
}

func indexed(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// place is where a node stands in a file.
type place struct {
	key  string
	list bool // its spans stand in a list
	kept int  // so many spans were there before the file's
	// boxes are the keys of its boxes, by id, in the file's order.
	boxes map[string][]string
}

func (e entry) empty() bool {
	s := e.spanEntry
	return s.Since == "" && s.Until == "" && s.Parent == "" && s.TimeZone == "" && s.Opening == nil && s.Exceptions == nil
}

// spans returns the entry's spans with their keys.
func (e entry) spans(key string) ([]spanEntry, func(i int) string) {
	if len(e.Spans) == 0 {
		return []spanEntry{e.spanEntry}, func(int) string { return key }
	}
	return e.Spans, func(i int) string { return indexed(key+".spans", i) }
}

// reading puts a file into a tree.
type reading struct {
	file  *file
	tree  Tree // what is there
	now   floorwatch.Time
	named map[string]*entry // of the file
	where map[string]*place
	ids   []string
	source
}

// source is a file that was read: it hears of faults, and knows what stands in it.
type source interface {
	reporter
	Has(key string) bool
}

// merge changes the tree into what the file asks for, and reports every fault.
func (r *reading) merge() {
	r.named, r.where = map[string]*entry{}, map[string]*place{}
	seen := func(e *entry, key string) bool {
		if first, twice := r.where[e.ID]; twice {
			r.Problem(key+".id", "is the id of %s already; what changes with time stands in its spans", first.key)
			return false
		}
		if e.ID == "" {
			r.Problem(key+".id", "want a name of %s", floorwatch.NameRule)
			return false
		}
		r.named[e.ID], r.where[e.ID] = e, &place{key: key, list: len(e.Spans) > 0, boxes: map[string][]string{}}
		r.ids = append(r.ids, e.ID)
		return true
	}
	nodes, halls := make([]bool, len(r.file.Nodes)), make([]bool, len(r.file.Halls))
	for i := range r.file.Nodes {
		nodes[i] = seen(&r.file.Nodes[i].entry, indexed("nodes", i))
	}
	for i := range r.file.Halls {
		halls[i] = seen(&r.file.Halls[i].entry, indexed("halls", i))
	}
	for i, e := range r.file.Nodes {
		if !nodes[i] {
			continue
		}
		if e.Level == "" {
			r.Problem(indexed("nodes", i)+".level", "want a word of up to 40 characters, such as province")
			e.Level = "?"
		}
		r.put(e.entry, e.Level, nil)
	}
	for i, e := range r.file.Halls {
		if halls[i] {
			r.put(e.entry, "", e.Boxes)
		}
	}
	checking{r.tree, r.where, r.source}.all(r.tree.ids()) // also who is below what has changed
}

func (r *reading) put(e entry, level string, boxes []boxEntry) {
	where := r.where[e.ID]
	key := where.key
	if len(e.Spans) > 0 && !e.empty() {
		r.Problem(key+".spans", "has spans and also a span of its own beside them; write one or the other")
		e.spanEntry = spanEntry{}
	}
	old := r.tree[e.ID]
	if old != nil && old.Hall() != (level == "") {
		r.Problem(key+".id", "is there already, as a hall or as a node; a node has a level, a hall has none")
		return
	}
	if old != nil {
		r.unsaid(&e, old)
	}
	n := &Node{ID: e.ID, Level: level, Label: e.Label, Lat: e.Lat, Lon: e.Lon}
	entries, at := e.spans(key)
	for i, s := range entries {
		zone := r.zone(s)
		n.Spans = append(n.Spans, Span{
			r.moment(at(i)+".since", s.Since, zone), r.moment(at(i)+".until", s.Until, zone), s.Parent, s.TimeZone, s.Opening, s.Exceptions,
		})
	}
	for i, b := range boxes {
		zone, key := r.zone(entries[len(entries)-1]), indexed(key+".boxes", i)
		where.boxes[b.ID] = append(where.boxes[b.ID], key)
		if old != nil && !slices.ContainsFunc(boxes, func(o boxEntry) bool { return o.ID == b.ID && o != b }) {
			r.unsaidBox(key, &b, old)
		}
		n.Boxes = append(n.Boxes, Box{b.ID, r.moment(key+".since", b.Since, zone), r.moment(key+".until", b.Until, zone), b.Label, b.Key})
	}
	slices.SortStableFunc(n.Spans, func(a, b Span) int { return cmp.Compare(a.Since, b.Since) })
	fill(n.Spans, spanBounds)
	if old != nil {
		in := len(n.Spans)
		n.Spans = overlay(old.Spans, n.Spans, spanBounds, Span.same, r.now)
		where.kept = len(n.Spans) - in
		n.Boxes = overlayBoxes(old.Boxes, n.Boxes, r.now)
	} else {
		n.Boxes = overlayBoxes(nil, n.Boxes, r.now)
	}
	r.tree[e.ID] = n
}

// unsaid fills in what the file does not speak of at all, neither with a value nor
// empty, by what is there. A list of spans says everything.
func (r *reading) unsaid(e *entry, old *Node) {
	key := r.where[e.ID].key
	keep := func(name string, set func()) {
		if !r.Has(key + "." + name) {
			set()
		}
	}
	keep("label", func() { e.Label = old.Label })
	keep("lat", func() { e.Lat = old.Lat })
	keep("lon", func() { e.Lon = old.Lon })
	if len(e.Spans) > 0 {
		return
	}
	t := r.now
	if at, err := parseMoment(e.Since, r.zone(e.spanEntry)); err == nil {
		t = at
	}
	was := old.at(t)
	if was == nil {
		was = &old.Spans[len(old.Spans)-1]
	}
	keep("parent", func() { e.Parent = was.Parent })
	keep("time_zone", func() { e.TimeZone = was.TimeZone })
	keep("opening", func() { e.Opening = was.Opening })
	keep("exceptions", func() { e.Exceptions = was.Exceptions })
}

// unsaidBox does the same for a box; one without a key keeps the one that it has.
func (r *reading) unsaidBox(key string, b *boxEntry, old *Node) {
	for _, was := range old.Boxes { // the newest stands last
		if was.ID != b.ID {
			continue
		}
		if !r.Has(key + ".label") {
			b.Label = was.Label
		}
		if !r.Has(key+".key") && b.Since == "" {
			b.Key = was.Key
		}
	}
}

// moment reads a stamp, or a date: the midnight in which it begins in the span's
// own zone.
func (r *reading) moment(key, text string, zone *time.Location) floorwatch.Time {
	if text == "" {
		return 0
	}
	t, err := parseMoment(text, zone)
	if err != nil {
		r.Problem(key, "want a date 2026-03-01, which begins at the hall's midnight, or a moment 2026-03-01T08:00:00+08:00")
	}
	return t
}

func parseMoment(text string, zone *time.Location) (floorwatch.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if m := floorwatch.TimeOf(t); err == nil && (m <= 0 || m > floorwatch.MaxTime) {
		err = fmt.Errorf("%s lies outside 1970 to 2200", text)
	}
	if err != nil {
		return 0, err
	}
	return floorwatch.TimeOf(t), nil
}

// zone finds the time zone of a span: its own, or the nearest above it, of which
// the newest word counts.
func (r *reading) zone(s spanEntry) *time.Location {
	name, parent := s.TimeZone, s.Parent
	for depth := 0; name == "" && parent != "" && depth < 30; depth++ {
		if e, ok := r.named[parent]; ok {
			all, _ := e.spans("")
			name, parent = all[len(all)-1].TimeZone, all[len(all)-1].Parent
			if n := r.tree[e.ID]; n != nil && name == "" && parent == "" {
				name, parent = n.Spans[len(n.Spans)-1].TimeZone, n.Spans[len(n.Spans)-1].Parent
			}
		} else if n, ok := r.tree[parent]; ok {
			last := n.Spans[len(n.Spans)-1]
			name, parent = last.TimeZone, last.Parent
		} else {
			break
		}
	}
	return location(name)
}

// location is a zone by its name, and the default where there is none such.
func location(name string) *time.Location {
	if zone, err := time.LoadLocation(cmp.Or(name, defaultZone)); err == nil {
		return zone
	}
	zone, err := time.LoadLocation(defaultZone)
	if err != nil {
		return time.UTC
	}
	return zone
}

// Bounds of what holds for a while.
func spanBounds(s *Span) (since, until *floorwatch.Time) { return &s.Since, &s.Until }
func boxBounds(b *Box) (since, until *floorwatch.Time)   { return &b.Since, &b.Until }

// fill ends each that says no end where the next begins.
func fill[T any](all []T, bounds func(*T) (since, until *floorwatch.Time)) {
	for i := 1; i < len(all); i++ {
		since, until := bounds(&all[i-1])
		if next, _ := bounds(&all[i]); *until == 0 && *next > *since {
			*until = *next
		}
	}
}

// overlay puts what a file says over what is there, so that a file of today never
// rewrites last year, nor what is planned: one that names no moment is about the
// present, and changes nothing where it says what holds already; one that does
// replaces what is there from its first moment on.
func overlay[T any](old, in []T, bounds func(*T) (since, until *floorwatch.Time), same func(a, b T) bool, now floorwatch.Time) []T {
	if len(old) == 0 || len(in) == 0 {
		return append(old, in...)
	}
	first, _ := bounds(&in[0])
	switch {
	case *first == 0 && len(in) > 1:
		return in
	case *first == 0:
		return present(slices.Clone(old), in[0], bounds, same, now)
	}
	var out []T
	for _, o := range old {
		since, until := bounds(&o)
		if *since >= *first {
			break
		}
		if *until == 0 || *until > *first {
			*until = *first
		}
		out = append(out, o)
	}
	return append(out, in...)
}

// present puts what holds now among what is there.
func present[T any](all []T, x T, bounds func(*T) (since, until *floorwatch.Time), same func(a, b T) bool, now floorwatch.Time) []T {
	_, end := bounds(&x)
	i := len(all) - 1 // what holds now, else what comes next, else what was last
	for j := range all {
		if _, until := bounds(&all[j]); *until == 0 || *until > now {
			i = j
			break
		}
	}
	since, until := bounds(&all[i])
	ended := *until != 0 && *until <= now
	switch {
	case same(all[i], x) && (*end == *until || *end == 0 && !ended):
		all[i] = withBounds(x, bounds, *since, *until)
		return all
	case ended:
		return append(all, withBounds(x, bounds, now, *end))
	case *end == 0:
		*end = *until
	default:
		all = all[:i+1] // what was planned for later is not to be
	}
	if same(all[i], x) || *since >= now {
		all[i] = withBounds(x, bounds, *since, *end)
		return all
	}
	*until = now
	return slices.Insert(all, i+1, withBounds(x, bounds, now, *end))
}

func withBounds[T any](x T, bounds func(*T) (since, until *floorwatch.Time), since, until floorwatch.Time) T {
	s, u := bounds(&x)
	*s, *u = since, until
	return x
}

// overlayBoxes is overlay for each box; those that the file does not name stay.
func overlayBoxes(old, in []Box, now floorwatch.Time) []Box {
	byID := func(all []Box) map[string][]Box {
		m := map[string][]Box{}
		for _, b := range all {
			m[b.ID] = append(m[b.ID], b)
		}
		return m
	}
	was, will := byID(old), byID(in)
	var out []Box
	for id, boxes := range will {
		slices.SortStableFunc(boxes, func(a, b Box) int { return cmp.Compare(a.Since, b.Since) })
		fill(boxes, boxBounds)
		known := was[id]
		if n := len(known); n > 0 && known[n-1].Key == "" && len(boxes) == 1 {
			known = slices.Clone(known)
			known[n-1].Key = boxes[0].Key // it becomes known, and is no other box
		}
		out = append(out, overlay(known, boxes, boxBounds, func(a, b Box) bool { return a.Key == b.Key }, now)...)
	}
	for id, boxes := range was {
		if _, named := will[id]; !named {
			out = append(out, boxes...)
		}
	}
	slices.SortFunc(out, func(a, b Box) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Since, b.Since)) })
	return out
}

// parse merges a file into a tree and returns whom it names; the error is a
// *config.Error where the content is at fault.
func parse(name string, b []byte, format string, tree Tree, now floorwatch.Time) ([]string, error) {
	switch format {
	case "yaml":
		if old, ok := formerFile(b); ok {
			b = old
		}
		y := &yamlFile{in: reading{tree: tree, now: now}}
		err := config.ParseUpTo(name, b, MaxFile, y)
		return y.in.ids, err
	case "csv":
		return parseTable(name, b, tree, now)
	}
	return nil, fmt.Errorf("read %s: %q is no form of sites; want yaml or csv", name, format)
}

// yamlFile lets config report to a reading.
type yamlFile struct {
	file
	in reading `yaml:"-"`
}

// Check implements config.Checker.
func (y *yamlFile) Check(r *config.Report) {
	y.in.file, y.in.source = &y.file, r
	y.in.merge()
}

// formerFile turns a cloud.yaml of the time when sites stood in it into a file of
// sites: its stores and boxes, all else left out. False: b is no such file.
func formerFile(b []byte) ([]byte, bool) {
	var former struct {
		Stores []struct {
			ID       string               `yaml:"id"`
			Label    floorwatch.Label     `yaml:"label"`
			TimeZone string               `yaml:"time_zone,omitempty"`
			Opening  []floorwatch.Opening `yaml:"opening,omitempty"`
			Boxes    []map[string]any     `yaml:"boxes,omitempty"`
		} `yaml:"stores"`
		Edges []struct {
			Store string           `yaml:"store"`
			ID    string           `yaml:"id"`
			Label floorwatch.Label `yaml:"label"`
			Key   string           `yaml:"key"`
		} `yaml:"edges"`
	}
	if yaml.Unmarshal(b, &former) != nil || former.Stores == nil {
		return nil, false
	}
	for _, e := range former.Edges {
		for i := range former.Stores { // one whose store was not listed was refused then
			if s := &former.Stores[i]; s.ID == e.Store {
				s.Boxes = append(s.Boxes, map[string]any{"id": e.ID, "label": e.Label, "key": e.Key})
			}
		}
	}
	out, err := yaml.Marshal(map[string]any{"halls": former.Stores})
	return out, err == nil
}
