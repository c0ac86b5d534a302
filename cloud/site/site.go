// Package site holds what is known of the stores: where they are in the org tree,
// their boxes with their keys, the hours in which they are open, and the scenes
// that their boxes have told. All of it lies in the metadata, with its past; Live
// keeps it in memory and new, and serves ingest, the figures, the pages and the
// footage.
package site

import (
	"crypto/ed25519"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/internal/identity"
)

// Registry is a plain list of stores and boxes, at one moment.
type Registry struct {
	Stores []Store
	Edges  []Edge
}

// Store is a shop or hall. TimeZone is an IANA name; "" is UTC. Opening hours are
// of that zone.
type Store struct {
	ID       string
	Label    floorwatch.Label
	TimeZone string
	Opening  []floorwatch.Opening
}

// Edge is a box in a store. Without Key any well-signed seal of it is taken.
type Edge struct {
	Store   string
	ID      string
	Label   floorwatch.Label
	Key     Key
	Cameras []Camera // of a Registry; At.Cameras has them otherwise
}

// Camera is what a box has told of one of its cameras.
type Camera struct {
	Name   string
	Label  floorwatch.Label
	Notice floorwatch.Label // what to know before the figures are read
	Scene  floorwatch.Scene
	Rev    string
	Since  floorwatch.Time // from when on this version holds
	Stream floorwatch.Size // of the pictures; 0 x 0: not known yet
	Masks  [][]floorwatch.Point
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
func KeyOf(k ed25519.PublicKey) Key { return Key(identity.Text(k)) }

// Public reads a key; nil for none.
func (k Key) Public() (ed25519.PublicKey, error) {
	return identity.Parse(string(k))
}

// published are public keys whose private halves stand in papers: of RFC 8032, 7.1,
// which many programs test with, of the seed of zeros; and zeros, which verify what
// nobody signed.
var published = []Key{
	"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
	"/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=", "J4EX/BRMcjQPZ9DyMW6Dhs7/vyskKMnFH+98WX8dQm4=",
	"7Bcrk61eVjv0kyxw4SRQNMNUZ+8u/U1k6/gZaDRn4r8=", "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=",
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}

// check tells what is wanted instead of a key that cannot be registered; "": it can.
func (k Key) check() (want string) {
	if _, err := k.Public(); err != nil {
		return "want the key that floorwatch-edge key prints: 44 characters of base64"
	}
	if slices.Contains(published, k) {
		return "is the key of an example, with which anybody can sign; want the one that floorwatch-edge key prints on the box"
	}
	return ""
}

// NameError says that a name is missing, where there are several to choose from,
// or that nothing has it.
type NameError struct{ What, Name string }

func (e *NameError) Error() string {
	if e.Name == "" {
		return "name the " + e.What + ": there is not just one"
	}
	return "there is no " + e.What + " " + e.Name
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
