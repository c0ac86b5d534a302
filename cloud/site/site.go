// Package site holds what is known of the stores: their boxes with their keys,
// the cameras and zones in them, the hours in which they are open. One Registry
// serves ingest, the figures, the pages and the footage; it is read from a file,
// checked once, and never changed.
package site

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/internal/config"
)

// Registry lists the stores and boxes that there are. Tags of points come from
// here, and from the camera and zone names that a registered box announces, of
// which ingest keeps a bounded number.
type Registry struct {
	Stores []Store `yaml:"stores"`
	Edges  []Edge  `yaml:"edges"`
}

// Store is a shop or hall. TimeZone is an IANA name; "" is UTC. Opening hours are
// of that zone.
type Store struct {
	ID       string           `yaml:"id"`
	Label    floorwatch.Label `yaml:"label"`
	TimeZone string           `yaml:"time_zone"`
	Opening  []Opening        `yaml:"opening"`
}

// SetDefaults implements config.Defaulter.
func (s *Store) SetDefaults() { s.TimeZone = "Asia/Shanghai" }

// Edge is a box in a store. Without Key any well-signed seal of it is taken.
type Edge struct {
	Store   string           `yaml:"store"`
	ID      string           `yaml:"id"`
	Label   floorwatch.Label `yaml:"label"`
	Key     Key              `yaml:"key"`
	Cameras []Camera         `yaml:"cameras"`
}

// Camera is one picture and the zones on it. Notice is a line that the pages show
// above its figures: what to know before reading them.
type Camera struct {
	Name   string           `yaml:"name"`
	Label  floorwatch.Label `yaml:"label"`
	Notice floorwatch.Label `yaml:"notice"`
	config.SceneKeys
	Stream floorwatch.Size `yaml:"-"` // of the stream, when known
}

// Source names a camera, or with fewer names a box, a store or all of them.
type Source struct {
	Store  string `json:"store"`
	Edge   string `json:"edge"`
	Camera string `json:"camera"`
}

// Key is a box's Ed25519 key as `floorwatch-edge key` prints it, in standard
// base64.
type Key string

// KeyOf writes a key down.
func KeyOf(k ed25519.PublicKey) Key { return Key(base64.StdEncoding.EncodeToString(k)) }

// Public reads a key; nil for none.
func (k Key) Public() (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(string(k))
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	if n := len(b); n != 0 && n != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key has %d bytes, want %d as floorwatch-edge key prints", n, ed25519.PublicKeySize)
	}
	return b, nil
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
		if _, err := e.Key.Public(); err != nil {
			faults = append(faults, fmt.Errorf("edge %.50q: %w", e.ID, err))
		}
		edges[at] = true
	}
	return errors.Join(faults...)
}

// Store finds a store.
func (r Registry) Store(id string) (Store, bool) {
	i := slices.IndexFunc(r.Stores, func(s Store) bool { return s.ID == id })
	if i < 0 {
		return Store{}, false
	}
	return r.Stores[i], true
}

// Edge finds a box.
func (r Registry) Edge(store, id string) (Edge, bool) {
	i := slices.IndexFunc(r.Edges, func(e Edge) bool { return e.Store == store && e.ID == id })
	if i < 0 {
		return Edge{}, false
	}
	return r.Edges[i], true
}

// EdgesOf returns the boxes of a store.
func (r Registry) EdgesOf(store string) []Edge {
	return slices.DeleteFunc(slices.Clone(r.Edges), func(e Edge) bool { return e.Store != store })
}

// Key returns the public key of a box, for those who check what it signed.
func (r Registry) Key(store, edge string) (ed25519.PublicKey, bool) {
	e, _ := r.Edge(store, edge)
	key, err := e.Key.Public()
	return key, err == nil && len(key) > 0
}

// NameError says that a name is missing, where there are several to choose from,
// or that nothing has it.
type NameError struct{ What, Name string }

func (e *NameError) Error() string {
	if e.Name == "" {
		return "name the " + e.What + ": there is not just one"
	}
	return "no " + e.What + " " + e.Name + " is configured"
}

// Complete checks a store and a box, and names the only one there is where c
// names none; an error is a *NameError. A camera is left as it is.
func (r Registry) Complete(c Source) (Source, error) {
	var err error
	if c.Store, err = pick(r.Stores, "store", c.Store, func(s Store) string { return s.ID }); err != nil {
		return c, err
	}
	c.Edge, err = pick(r.EdgesOf(c.Store), "edge", c.Edge, func(e Edge) string { return e.ID })
	return c, err
}

// CompleteCamera is Complete for those who need a camera.
func (r Registry) CompleteCamera(c Source) (Source, error) {
	c, err := r.Complete(c)
	if err != nil {
		return c, err
	}
	e, _ := r.Edge(c.Store, c.Edge)
	c.Camera, err = pick(e.Cameras, "camera", c.Camera, func(c Camera) string { return c.Name })
	return c, err
}

func pick[T any](all []T, what, name string, of func(T) string) (string, error) {
	if name == "" && len(all) == 1 {
		return of(all[0]), nil
	}
	if name != "" && slices.ContainsFunc(all, func(x T) bool { return of(x) == name }) {
		return name, nil
	}
	return "", &NameError{what, name}
}

// Zone returns the store's time zone, UTC where it names none that is known.
func (s Store) Zone() *time.Location {
	if zone, err := time.LoadLocation(s.TimeZone); err == nil {
		return zone
	}
	return time.UTC
}

// Midnight is the beginning of the store's day that holds t.
func (s Store) Midnight(t floorwatch.Time) floorwatch.Time {
	y, m, d := t.Time().In(s.Zone()).Date()
	return floorwatch.TimeOf(time.Date(y, m, d, 0, 0, 0, 0, s.Zone()))
}
