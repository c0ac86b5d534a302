package ingest

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"floorwatch"
)

// Registry lists the stores and boxes that may send, as the cloud's
// configuration has them. Tags of points come from here, and from the camera
// and zone names that a registered box announces, of which DB keeps a bounded
// number.
type Registry struct {
	Stores []Store
	Edges  []Edge
}

// Store is a shop or hall. TimeZone is an IANA name; "" is UTC.
type Store struct {
	ID       string
	Label    floorwatch.Label
	TimeZone string
}

// Edge is a box in a store. Without Key any well-signed seal of it is taken.
type Edge struct {
	Store, ID string
	Key       ed25519.PublicKey
}

// Validate returns every fault of the registry at once.
func (r Registry) Validate() error {
	var faults []error
	stores := map[string]bool{}
	for _, s := range r.Stores {
		if !floorwatch.ValidName(s.ID) || stores[s.ID] {
			faults = append(faults, fmt.Errorf("store %.50q: an id stands once and is %s", s.ID, floorwatch.NameRule))
		}
		stores[s.ID] = true
	}
	edges := map[[2]string]bool{}
	for _, e := range r.Edges {
		at := [2]string{e.Store, e.ID}
		if !floorwatch.ValidName(e.ID) || edges[at] {
			faults = append(faults, fmt.Errorf("edge %.50q: an id stands once in its store and is %s", e.ID, floorwatch.NameRule))
		}
		if !stores[e.Store] {
			faults = append(faults, fmt.Errorf("edge %.50q: its store %.50q is not listed", e.ID, e.Store))
		}
		if n := len(e.Key); n != 0 && n != ed25519.PublicKeySize {
			faults = append(faults, fmt.Errorf("edge %.50q: its key has %d bytes, want %d as floorwatch-edge key prints", e.ID, n, ed25519.PublicKeySize))
		}
		edges[at] = true
	}
	return errors.Join(faults...)
}

// edge finds a registered box.
func (r Registry) edge(store, id string) (Edge, bool) {
	for _, e := range r.Edges {
		if e.Store == store && e.ID == id {
			return e, true
		}
	}
	return Edge{}, false
}
