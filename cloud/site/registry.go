package site

import (
	"cmp"
	"context"
	"slices"

	"floorwatch"
	"floorwatch/cloud/metadata"
)

// tree returns the halls and boxes of the list as a tree, there from ever.
func (r Registry) tree() Tree {
	tree := Tree{}
	for _, s := range r.Stores {
		n := &Node{ID: s.ID, Label: s.Label, Spans: []Span{{TimeZone: cmp.Or(s.TimeZone, "UTC"), Opening: s.Opening}}}
		for _, e := range r.Edges {
			if e.Store == s.ID {
				n.Boxes = append(n.Boxes, Box{ID: e.ID, Label: e.Label, Key: e.Key})
			}
		}
		tree[s.ID] = n
	}
	return tree
}

// snapshot holds the list, and the scenes of its cameras as if their boxes had
// told them.
func (r Registry) snapshot() *Snapshot {
	s := newSnapshot(1, r.tree())
	s.scenes = map[Source][]SceneVersion{}
	put := func(at Source, told *floorwatch.CameraScene) {
		v := SceneVersion{Source: at, Rev: told.Rev, read: &readScene{CameraScene: *told}}
		v.read.once.Do(func() {})
		s.scenes[at] = []SceneVersion{v}
	}
	for _, e := range r.Edges {
		var names []string
		for _, c := range e.Cameras {
			names = append(names, c.Name)
			told := floorwatch.TellScene(c.Name, c.Scene)
			told.Label, told.Notice, told.Stream, told.Masks = c.Label, c.Notice, c.Stream, c.Masks
			put(Source{e.Store, e.ID, c.Name}, told)
		}
		put(Source{Store: e.Store, Edge: e.ID}, floorwatch.TellBox(names, nil))
	}
	return s
}

// Set makes the list what there is from now on: for a program that has all of its
// sites on its own machine. Others that were there are closed; their past stays.
func Set(ctx context.Context, db *metadata.DB, r Registry, now floorwatch.Time) error {
	_, err := edit(ctx, db, func(tree Tree) ([]string, error) {
		var ids []string
		want, first := r.tree(), len(tree) == 0 // the first are there from ever
		for id, n := range want {
			ids = append(ids, id)
			switch old := tree[id]; {
			case old != nil:
				n.Spans = follow(old.Spans, n.Spans[0], now)
				n.Boxes = followBoxes(old.Boxes, n.Boxes, now)
			case !first:
				n.Spans[0].Since = now
				n.Boxes = followBoxes(nil, n.Boxes, now)
			}
			tree[id] = n
		}
		for id, n := range tree {
			if want[id] == nil && n.at(now) != nil {
				n.Spans[len(n.Spans)-1].Until = now
				n.Boxes = followBoxes(n.Boxes, nil, now)
				ids = append(ids, id)
			}
		}
		return ids, faults(tree, "set sites", ids...)
	})
	return err
}

// follow puts a span behind those that are there, from now on, unless it is what
// holds.
func follow(old []Span, s Span, now floorwatch.Time) []Span {
	last := &old[len(old)-1]
	switch {
	case holds(last.Since, last.Until, now) && last.same(s):
		return old
	case last.Since >= now:
		old = old[:len(old)-1]
	case last.Until == 0 || last.Until > now:
		last.Until = now
	}
	s.Since = now
	return append(old, s)
}

// followBoxes ends the boxes that are not wanted and adds those that are new.
func followBoxes(old, want []Box, now floorwatch.Time) []Box {
	all := slices.Clone(old)
	for i := range all {
		b := &all[i]
		j := slices.IndexFunc(want, func(w Box) bool { return w.ID == b.ID && w.Key == b.Key })
		if !holds(b.Since, b.Until, now) {
			continue
		}
		if j < 0 {
			b.Until = now
			continue
		}
		b.Label = want[j].Label
		want = slices.Delete(slices.Clone(want), j, j+1)
	}
	for _, w := range want {
		w.Since = now
		all = append(all, w)
	}
	all = slices.DeleteFunc(all, func(b Box) bool { return b.Until != 0 && b.Until <= b.Since })
	slices.SortStableFunc(all, func(a, b Box) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Since, b.Since)) })
	return all
}
