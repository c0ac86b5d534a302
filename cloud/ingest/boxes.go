package ingest

import (
	"fmt"

	"floorwatch"
	"floorwatch/cloud/site"
)

// boxes knows who is behind a topic.
type boxes struct {
	now     *site.Snapshot
	byTopic map[string]*origin
}

// maxTopics bounds the topics that are remembered; without a broker's access list
// anybody can make them up.
const maxTopics = 50_000

// origin is the box behind a topic, over all time; without boxes nobody is
// registered there.
type origin struct {
	store, edge string
	boxes       []site.Box // in order of time
}

// of returns the box that a topic belongs to.
func (b *boxes) of(now *site.Snapshot, topic string) (*origin, error) {
	if b.now != now || len(b.byTopic) > maxTopics {
		b.now, b.byTopic = now, map[string]*origin{}
	}
	if o := b.byTopic[topic]; o != nil {
		return o, nil
	}
	store, edge, leaf, err := floorwatch.ParseTopic(topic)
	if err == nil && (len(leaf) != 1 || leaf[0] != floorwatch.LeafUp) {
		err = fmt.Errorf("topic %.200q does not belong to a box", topic)
	}
	if err != nil {
		return nil, err
	}
	o := &origin{store: store, edge: edge}
	for _, box := range now.Boxes(store) {
		if box.ID == edge {
			o.boxes = append(o.boxes, box)
		}
	}
	b.byTopic[topic] = o
	return o, nil
}

// at returns the box as it was registered when a record was made. What is older
// than its registration is of the first: it kept its records until it was known.
// Late records of a box that is closed by now are still taken, newer ones are not.
func (o *origin) at(t floorwatch.Time) (site.Edge, error) {
	box := o.boxes[0]
	for _, b := range o.boxes {
		if b.Since <= t {
			box = b
		}
	}
	if box.Until != 0 && box.Until <= t {
		return site.Edge{}, fmt.Errorf("box %s of store %s was closed at %s, and the record was made after that; where that is wrong, floorwatch-cloud site import with an until, or none, of its own, then dead-letters retry", o.edge, o.store, box.Until)
	}
	return site.Edge{Store: o.store, ID: o.edge, Label: box.Label, Key: box.Key}, nil
}
