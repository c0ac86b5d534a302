package fleet

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/cloud/site"
)

// StateUnknown selects boxes that have not said whether they are online.
const StateUnknown = "unknown"

// What Select may be asked for beside the name of a trouble.
const (
	TroubleAny  = "any"
	TroubleNone = "none"
)

// Question selects boxes. The zero value of a field does not restrict.
type Question struct {
	Scope   string // a node of the org tree, or a hall
	Text    string // whose words all stand in names or labels, in any language
	State   string // one of States
	Trouble string // one of Troubles
	Sort    string // one of Sorts; by trouble
	Offset  int
	Limit   int
}

// States, Troubles and Sorts are what a Question may say.
func States() []string {
	return []string{floorwatch.StateOnline, floorwatch.StateOffline, floorwatch.StateStopped, StateUnknown}
}

func Troubles() []string {
	return append([]string{TroubleAny, TroubleNone, levelBad, levelWarn}, troubles...)
}

func Sorts() []string { return []string{"trouble", "name", "seen", "backlog", "disk"} }

// Selection answers a Question.
type Selection struct {
	Boxes  []Box  `json:"boxes"` // those of Offset and Limit
	Found  int    `json:"found"` // in all
	Counts Counts `json:"counts"`
	Scope  Scope  `json:"scope"`
	Known  bool   `json:"known"` // what was stored before the cloud started has been read
}

// Counts are of all boxes of the scope with the text, in whatever state.
type Counts struct {
	All      int            `json:"all"`
	Healthy  int            `json:"healthy"`
	States   map[string]int `json:"states"`
	Troubles map[string]int `json:"troubles"` // a box counts for each of its own; any, bad and warn once
}

// Scope is where we are in the org tree.
type Scope struct {
	Path  []Name `json:"path"`  // from the top down to the scope
	Below []Node `json:"below"` // the nodes directly below it in which there are boxes, without halls
}

// Node is a node of the org tree with the boxes below it.
type Node struct {
	Name
	Boxes    int `json:"boxes"`
	Troubled int `json:"troubled"`
}

// Select answers a question. An unknown scope is a *site.NameError.
func (f *Fleet) Select(q Question) (Selection, error) {
	at := f.Sites.At(floorwatch.TimeOf(f.now()))
	scope, known := at.Node(q.Scope)
	if q.Scope != "" && !known {
		return Selection{}, &site.NameError{What: "scope", Name: q.Scope}
	}
	words := strings.Fields(strings.ToLower(q.Text))
	var named []place
	for _, p := range f.places() {
		if (q.Scope == "" || p.below(scope)) && p.says(words) {
			named = append(named, p)
		}
	}
	boxes := f.view(named)
	s := Selection{Counts: count(boxes), Scope: scopeOf(at, q.Scope, boxes)}
	f.mu.Lock()
	s.Known = f.known
	f.mu.Unlock()
	boxes = slices.DeleteFunc(boxes, func(b Box) bool { return !b.is(q.State) || !b.has(q.Trouble) })
	if by := orders[q.Sort]; by != nil {
		slices.SortStableFunc(boxes, by) // those in trouble first among equals
	}
	s.Found = len(boxes)
	from := min(q.Offset, len(boxes))
	s.Boxes = boxes[from:min(from+q.Limit, len(boxes))]
	return s, nil
}

// below tells whether a box stands below a node, or in a hall.
func (p place) below(n *site.Node) bool {
	return p.store.ID == n.ID || slices.ContainsFunc(p.path, func(above Name) bool { return above.ID == n.ID })
}

// says tells whether all words stand in the names and labels of a box and of what
// it is below.
func (p place) says(words []string) bool {
	if len(words) == 0 {
		return true
	}
	all := []string{p.store.ID, p.store.Label.ZH, p.store.Label.EN, p.edge.ID, p.edge.Label.ZH, p.edge.Label.EN}
	for _, above := range p.path {
		all = append(all, above.ID, above.Label.ZH, above.Label.EN)
	}
	text := strings.ToLower(strings.Join(all, "\n"))
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// scopeOf says where a scope is, and counts boxes by what is directly below it.
func scopeOf(at site.At, id string, boxes []Box) Scope {
	s := Scope{Path: []Name{}, Below: []Node{}}
	for _, above := range at.Path(id) {
		n, _ := at.Node(above)
		s.Path = append(s.Path, Name{n.ID, n.Label})
	}
	index := map[string]int{} // in Below
	for i := range boxes {
		b := &boxes[i]
		if len(b.Path) <= len(s.Path) {
			continue // directly in a hall of the scope
		}
		child := b.Path[len(s.Path)]
		k, known := index[child.ID]
		if !known {
			k = len(s.Below)
			index[child.ID] = k
			s.Below = append(s.Below, Node{Name: child})
		}
		s.Below[k].Boxes++
		if len(b.Troubles) > 0 {
			s.Below[k].Troubled++
		}
	}
	slices.SortFunc(s.Below, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (v *Box) state() string { return cmp.Or(v.State, StateUnknown) }

func (v *Box) is(state string) bool { return state == "" || v.state() == state }

func (v *Box) has(trouble string) bool {
	switch trouble {
	case "":
		return true
	case TroubleAny:
		return len(v.Troubles) > 0
	case TroubleNone:
		return len(v.Troubles) == 0
	case levelBad, levelWarn:
		return len(v.Troubles) > 0 && v.Troubles[0].Level == trouble
	}
	return slices.ContainsFunc(v.Troubles, func(t Trouble) bool { return t.What == trouble })
}

func count(boxes []Box) Counts {
	c := Counts{All: len(boxes), States: map[string]int{}, Troubles: map[string]int{}}
	for _, s := range States() {
		c.States[s] = 0
	}
	for i := range boxes {
		b := &boxes[i]
		c.States[b.state()]++
		if len(b.Troubles) == 0 {
			c.Healthy++
			continue
		}
		c.Troubles[TroubleAny]++
		c.Troubles[b.Troubles[0].Level]++
		for _, t := range b.Troubles {
			c.Troubles[t.What]++
		}
	}
	return c
}

// orders are those of Sorts but the first, which view gives.
var orders = map[string]func(a, b Box) int{
	"name":    byName,
	"seen":    func(a, b Box) int { return cmp.Compare(a.Seen, b.Seen) }, // the longest unheard first
	"backlog": func(a, b Box) int { return cmp.Compare(known(b.BacklogS, 0), known(a.BacklogS, 0)) },
	"disk":    func(a, b Box) int { return cmp.Compare(a.free(), b.free()) }, // the fullest first
}

func known(f *float64, none float64) float64 {
	if f == nil {
		return none
	}
	return *f
}

// free is the share of the disk that is free; who did not report it comes last.
func (v *Box) free() float64 {
	if v.Disk == nil || v.DiskFree == nil || *v.Disk <= 0 {
		return math.Inf(1)
	}
	return *v.DiskFree / *v.Disk
}
