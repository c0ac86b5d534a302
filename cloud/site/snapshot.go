package site

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
)

// Snapshot is all that is known of the sites at one moment of the store, over all
// time. It is never changed.
type Snapshot struct {
	Version, SceneVersion, StandardsVersion int64 // of the store's topics

	nodes  Tree
	below  map[string][]string // by parent, whenever it was one
	zones  map[string]*time.Location
	scenes map[Source][]SceneVersion // in order of time; without Camera: of the box
	told   map[[2]string][]string    // by store and box: cameras whose scenes are known
	issued map[string][]Issued       // by node, in order of serial
}

func newSnapshot(version int64, tree Tree) *Snapshot {
	s := &Snapshot{Version: version, nodes: tree, below: map[string][]string{}, zones: map[string]*time.Location{}}
	for id, n := range tree {
		for i := range n.Spans {
			span := &n.Spans[i]
			if all := s.below[span.Parent]; len(all) == 0 || all[len(all)-1] != id {
				s.below[span.Parent] = append(all, id)
			}
			if s.zones[span.TimeZone] == nil {
				s.zones[span.TimeZone] = location(span.TimeZone)
			}
		}
	}
	for parent, all := range s.below {
		slices.Sort(all)
		s.below[parent] = slices.Compact(all)
	}
	return s
}

// At is the sites as they were at a moment.
func (s *Snapshot) At(t floorwatch.Time) At { return At{s, t} }

// At answers for one moment. The zero value is not for use.
type At struct {
	s *Snapshot
	t floorwatch.Time
}

// maxDepth bounds the way up, whatever is in the store.
const maxDepth = 30

// up calls do with the node and those above it until it returns false.
func (a At) up(id string, do func(n *Node, s *Span) bool) {
	for range maxDepth {
		n := a.s.nodes[id]
		if n == nil {
			return
		}
		span := n.at(a.t)
		if span == nil || !do(n, span) || span.Parent == "" {
			return
		}
		id = span.Parent
	}
}

// Node returns a node or a hall; false where there was none.
func (a At) Node(id string) (*Node, bool) {
	n := a.s.nodes[id]
	return n, n != nil && n.at(a.t) != nil
}

// Path returns the ids from the top of the tree down to a node or hall.
func (a At) Path(id string) (path []string) {
	a.up(id, func(n *Node, _ *Span) bool {
		path = append(path, n.ID)
		return true
	})
	slices.Reverse(path)
	return path
}

// Children returns the ids directly below a node; of "" those at the top.
func (a At) Children(id string) (all []string) {
	for _, child := range a.s.below[id] {
		if s := a.s.nodes[child].at(a.t); s != nil && s.Parent == id {
			all = append(all, child)
		}
	}
	return all
}

// Halls returns the halls of a scope: those below a node, at any depth; of "" all,
// of a hall itself.
func (a At) Halls(scope string) (halls []string) {
	if n, ok := a.Node(scope); ok && n.Hall() {
		return []string{scope}
	}
	a.halls(scope, 0, &halls)
	slices.Sort(halls)
	return halls
}

func (a At) halls(id string, depth int, into *[]string) {
	if depth > maxDepth {
		return
	}
	for _, child := range a.Children(id) {
		if a.s.nodes[child].Hall() {
			*into = append(*into, child)
		} else {
			a.halls(child, depth+1, into)
		}
	}
}

// zone returns a node's time zone and its name.
func (a At) zone(id string) (string, *time.Location) {
	name := ""
	a.up(id, func(_ *Node, s *Span) bool {
		name = s.TimeZone
		return name == ""
	})
	name = cmp.Or(name, defaultZone)
	if zone := a.s.zones[name]; zone != nil {
		return name, zone
	}
	return name, location(name)
}

// Store returns a hall with what it has from the nodes above it; false where there
// was none.
func (a At) Store(id string) (Store, bool) {
	n, ok := a.Node(id)
	if !ok || !n.Hall() {
		return Store{}, false
	}
	name, _ := a.zone(id)
	return Store{ID: id, Label: n.Label, TimeZone: name, Opening: a.opening(id)}, true
}

func (a At) opening(id string) (hours []floorwatch.Opening) {
	a.up(id, func(_ *Node, s *Span) bool {
		hours = s.Opening
		return len(hours) == 0
	})
	return hours
}

// Hours returns when a hall is open: by the nearest opening hours of the week, and
// the exceptions of it and of all above it.
func (a At) Hours(id string) (h floorwatch.Hours) {
	h.TimeZone, _ = a.zone(id)
	h.Opening = a.opening(id)
	a.up(id, func(_ *Node, s *Span) bool {
		if len(s.Exceptions) > 0 {
			h.Exceptions = append(h.Exceptions, s.Exceptions)
		}
		return true
	})
	return h
}

// Open tells whether a hall was open: by its own exceptions of that day, else by
// those of the nearest node above, else by the hours of the week. Whose hours are
// not known counts as open.
func (a At) Open(id string) bool {
	if _, ok := a.Node(id); !ok {
		return false
	}
	_, zone := a.zone(id)
	return a.Hours(id).Open(a.t.Time().In(zone))
}

// Open tells whether a hall was open at a moment, by what held then.
func (s *Snapshot) Open(store string, t floorwatch.Time) bool { return s.At(t).Open(store) }

// Boxes returns the boxes of a hall over all time, in order of id and span.
func (s *Snapshot) Boxes(store string) []Box {
	if n := s.nodes[store]; n != nil {
		return n.Boxes
	}
	return nil
}

// Edges returns the boxes of a hall.
func (a At) Edges(store string) (edges []Edge) {
	n, ok := a.Node(store)
	if !ok {
		return nil
	}
	for _, b := range n.Boxes {
		if holds(b.Since, b.Until, a.t) {
			edges = append(edges, Edge{Store: store, ID: b.ID, Label: b.Label, Key: b.Key})
		}
	}
	return edges
}

// Edge returns a box.
func (a At) Edge(store, id string) (Edge, bool) {
	edges := a.Edges(store)
	i := slices.IndexFunc(edges, func(e Edge) bool { return e.ID == id })
	if i < 0 {
		return Edge{}, false
	}
	return edges[i], true
}

// Registry returns the halls and boxes, with their cameras, for those who want
// them all.
func (a At) Registry() (r Registry) {
	for _, id := range a.Halls("") {
		store, _ := a.Store(id)
		r.Stores = append(r.Stores, store)
		for _, e := range a.Edges(id) {
			e.Cameras = a.Cameras(id, e.ID)
			r.Edges = append(r.Edges, e)
		}
	}
	return r
}

// Key returns the public key of a box, for those who check what it signs now.
func (a At) Key(store, edge string) (ed25519.PublicKey, bool) {
	e, _ := a.Edge(store, edge)
	key, err := e.Key.Public()
	return key, err == nil && len(key) > 0
}

// Scene returns what a camera's scene was: the newest version that was told by
// then, or the first where it was told later.
func (a At) Scene(camera Source) (SceneVersion, bool) {
	all := a.s.scenes[camera]
	if len(all) == 0 {
		return SceneVersion{}, false
	}
	i, _ := slices.BinarySearchFunc(all, a.t, func(v SceneVersion, t floorwatch.Time) int {
		if v.First <= t {
			return -1
		}
		return 1
	})
	return all[max(i-1, 0)], true
}

// Cameras returns the cameras of a box, in the order in which it names them; those
// of which it has told nothing yet have a name alone.
func (a At) Cameras(store, edge string) (all []Camera) {
	names := a.s.told[[2]string{store, edge}]
	if v, ok := a.Scene(Source{Store: store, Edge: edge}); ok {
		names = v.told().Cameras
	}
	for _, name := range names {
		c, _ := a.Camera(Source{store, edge, name})
		all = append(all, c)
	}
	return all
}

// Counters returns the lines and areas of a box's people counters.
func (a At) Counters(store, edge string) []floorwatch.SceneCounter {
	v, _ := a.Scene(Source{Store: store, Edge: edge})
	return v.told().Counters
}

// Camera returns what is known of a camera; false where its box has not told it.
func (a At) Camera(c Source) (Camera, bool) {
	v, ok := a.Scene(c)
	if !ok {
		return Camera{Name: c.Camera}, false
	}
	return v.camera(), true
}

// Complete checks a store and a box, and names the only one there is where c names
// none; an error is a *NameError. Whoever is named may be closed since: its past
// stays. A camera is left as it is.
func (a At) Complete(c Source) (Source, error) {
	n := a.s.nodes[c.Store]
	if c.Store == "" {
		halls := a.Halls("")
		if len(halls) != 1 {
			return c, &NameError{"store", ""}
		}
		c.Store, n = halls[0], a.s.nodes[halls[0]]
	}
	if n == nil || !n.Hall() {
		return c, &NameError{"store", c.Store}
	}
	switch edges := a.Edges(c.Store); {
	case c.Edge == "" && len(edges) == 1:
		c.Edge = edges[0].ID
	case c.Edge == "" || !slices.ContainsFunc(n.Boxes, func(b Box) bool { return b.ID == c.Edge }):
		return c, &NameError{"edge", c.Edge}
	}
	return c, nil
}

// CompleteCamera is Complete for those who need a camera.
func (a At) CompleteCamera(c Source) (Source, error) {
	c, err := a.Complete(c)
	if err != nil {
		return c, err
	}
	cameras := a.Cameras(c.Store, c.Edge)
	switch known := len(a.s.scenes[c]) > 0 || slices.ContainsFunc(cameras, func(x Camera) bool { return x.Name == c.Camera }); {
	case c.Camera == "" && len(cameras) == 1:
		c.Camera = cameras[0].Name
	case c.Camera == "" || !known:
		return c, &NameError{"camera", c.Camera}
	}
	return c, nil
}

// Scenes returns every version of a camera's scene, in order of time.
func (s *Snapshot) Scenes(camera Source) []SceneVersion { return s.scenes[camera] }

// Read reads a snapshot. Live keeps one.
func Read(ctx context.Context, db *metadata.DB) (*Snapshot, error) { return read(ctx, db, nil) }

// read reads a snapshot, of which what did not change is taken from an older one.
func read(ctx context.Context, db *metadata.DB, old *Snapshot) (s *Snapshot, err error) {
	err = db.Read(ctx, func(tx *metadata.Tx) error {
		version, err := tx.Version(ctx, Topic)
		if err != nil {
			return err
		}
		if old != nil && old.Version == version {
			same := *old
			s = &same
		} else {
			tree, err := load(ctx, tx)
			if err != nil {
				return err
			}
			s = newSnapshot(version, tree)
		}
		if err := s.readStandards(ctx, tx, old); err != nil {
			return err
		}
		return s.readScenes(ctx, tx, old)
	})
	return s, err
}
