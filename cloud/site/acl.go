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
	var b strings.Builder
	b.WriteString("# Written by floorwatch-cloud acl; make it anew when a box is added or leaves.\n" +
		"# What is not named here is denied.\n")
	for _, e := range a.Registry().Edges {
		fmt.Fprintf(&b, "\nuser %s/%s\n", e.Store, e.ID)
		for _, leaf := range []string{floorwatch.LeafUp, floorwatch.LeafState, floorwatch.LeafReply, floorwatch.LeafLive + "/+"} {
			fmt.Fprintf(&b, "topic write %s\n", floorwatch.Topic(e.Store, e.ID, leaf))
		}
		for _, leaf := range []string{floorwatch.LeafAck, floorwatch.LeafCmd} {
			fmt.Fprintf(&b, "topic read %s\n", floorwatch.Topic(e.Store, e.ID, leaf))
		}
	}
	return b.String()
}
