package site

import (
	"fmt"
	"strings"

	"floorwatch"
)

// ACL returns Mosquitto's access list for the listener of the boxes: each box,
// signed in as STORE/EDGE, on its own topics only. It names every box, because
// Mosquitto denies its pattern %u to user names that hold a slash.
func (a At) ACL() string {
	var boxes []Source
	for _, e := range a.Registry().Edges {
		boxes = append(boxes, Source{Store: e.Store, Edge: e.ID})
	}
	return ACL(boxes)
}

// ACL is that of the boxes named.
func ACL(boxes []Source) string {
	var b strings.Builder
	b.WriteString("# Written by floorwatch-cloud acl; make it anew when a box is added or leaves.\n" +
		"# What is not named here is denied.\n")
	for _, e := range boxes {
		fmt.Fprintf(&b, "\nuser %s/%s\n", e.Store, e.Edge)
		for _, leaf := range []string{floorwatch.LeafUp, floorwatch.LeafState, floorwatch.LeafReply, floorwatch.LeafLive + "/+"} {
			fmt.Fprintf(&b, "topic write %s\n", floorwatch.Topic(e.Store, e.Edge, leaf))
		}
		for _, leaf := range []string{floorwatch.LeafAck, floorwatch.LeafCmd} {
			fmt.Fprintf(&b, "topic read %s\n", floorwatch.Topic(e.Store, e.Edge, leaf))
		}
	}
	return b.String()
}

// ParseBox reads a box's name as a broker has it, STORE/EDGE.
func ParseBox(text string) (Source, error) {
	store, edge, _ := strings.Cut(text, "/")
	if !floorwatch.ValidName(store) || !floorwatch.ValidName(edge) {
		return Source{}, fmt.Errorf("%.90q is no box: want STORE/EDGE, such as shop-1/box-1; each name is %s", text, floorwatch.NameRule)
	}
	return Source{Store: store, Edge: edge}, nil
}
