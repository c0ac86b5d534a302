package floorwatch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Role says what people do in a zone.
type Role string

// The roles of zones. Only queue and service zones give waits; the others give
// stays and occupancy, as an area does.
const (
	RoleArea        Role = "area"
	RoleQueue       Role = "queue"
	RoleService     Role = "service"
	RoleRest        Role = "rest"         // where people sit who hold a ticket
	RoleGreet       Role = "greet"        // where they are met, asked and sent on
	RolePrepare     Role = "prepare"      // where papers are made ready before the counter
	RoleSelfService Role = "self-service" // at machines
	RoleStaff       Role = "staff"        // behind the counter
)

// ZoneRoles are all of them.
var ZoneRoles = []Role{RoleArea, RoleQueue, RoleService, RoleRest, RoleGreet, RolePrepare, RoleSelfService, RoleStaff}

// RoleDoor is the role of a line over which people enter and leave the store;
// other lines have none.
const RoleDoor Role = "door"

// Defaults of a zone's parameters.
const (
	DefaultMinStay  = time.Second
	DefaultMergeGap = time.Second
	DefaultBridge   = time.Minute
	DefaultReach    = 10 * time.Second
)

// Label is a name for people, in both languages of the product.
type Label struct {
	ZH string `json:"zh,omitempty" yaml:"zh"`
	EN string `json:"en,omitempty" yaml:"en"`
}

// Size is a picture's width and height in pixels.
type Size struct {
	Width  int `json:"width" yaml:"width"`
	Height int `json:"height" yaml:"height"`
}

// Zone is a polygon on one camera's picture and how stays in it are told.
type Zone struct {
	Name     string        `json:"name"`
	Label    Label         `json:"label"`
	Role     Role          `json:"role"`
	Polygon  []Point       `json:"polygon"`
	MinStay  time.Duration `json:"min_stay"`  // shorter is not a stay
	MergeGap time.Duration `json:"merge_gap"` // a break up to this joins two
	Bridge   time.Duration `json:"bridge"`    // who is lost inside is looked for so long
	Reach    time.Duration `json:"reach"`     // from the queue to the counter
	Serves   []string      `json:"serves"`    // of a service zone: its queues
	// Responsible is the role of whoever looks after the zone, and Duty what they do
	// there. Neither shapes a figure.
	Responsible Label `json:"responsible,omitzero"`
	Duty        Label `json:"duty,omitzero"`
}

// NewZone returns a zone with the defaults of all that is not given: the ones that
// a configuration gets that says nothing of it.
func NewZone(name string, role Role, polygon ...Point) Zone {
	return Zone{
		Name: name, Role: role, Polygon: polygon,
		MinStay: DefaultMinStay, MergeGap: DefaultMergeGap, Bridge: DefaultBridge, Reach: DefaultReach,
	}
}

// Line is a directed line; a crossing from its left to its right counts in.
type Line struct {
	Name  string `json:"name"`
	Label Label  `json:"label,omitzero"`
	Role  Role   `json:"role,omitempty"` // door, or none
	From  Point  `json:"from"`
	To    Point  `json:"to"`
	// As of a zone.
	Responsible Label `json:"responsible,omitzero"`
	Duty        Label `json:"duty,omitzero"`
}

// Scene is what an edge box's configuration says of one camera's picture.
// Polygons are in pixels of Picture; without Picture, of the stream.
type Scene struct {
	Zones   []Zone `json:"zones"`
	Lines   []Line `json:"lines"`
	Picture Size   `json:"picture"`
}

// Settle is the time after which an interval can no longer change: the longest
// in which a zone may still join a break, find somebody who was lost, find a stay too short or wait for a
// counter to be reached, plus one second in which a frame counts as observed.
func (s Scene) Settle() time.Duration {
	var longest time.Duration
	for _, z := range s.Zones {
		d := z.MinStay + max(z.MergeGap, z.Bridge)
		if z.Role == RoleQueue {
			d += z.Reach
		}
		longest = max(longest, d)
	}
	return longest + MaxFrameGap
}

// Rev is the hash of everything that shapes the scene's figures, 12 hex digits.
// Records carry it so that a redrawn zone never mixes with the old one.
func (s Scene) Rev() string {
	s.Zones = append([]Zone{}, s.Zones...)
	s.Lines = append([]Line{}, s.Lines...)
	for i := range s.Zones {
		z := &s.Zones[i]
		z.Label, z.Responsible, z.Duty = Label{}, Label{}, Label{} // a new label is not a new geometry
		s.Zones[i].Serves = append([]string{}, s.Zones[i].Serves...)
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		l.Label, l.Responsible, l.Duty = Label{}, Label{}, Label{}
	}
	b, err := json.Marshal(s)
	if err != nil { // only a NaN in a polygon; Validate refuses those
		panic(fmt.Sprintf("scene cannot be hashed: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// MaxFrameGap is the longest distance of two frames between which the source
// counts as observed.
const MaxFrameGap = time.Second

// NameRule says in words what ValidName accepts.
const NameRule = "1 to 40 of a-z, 0-9, _ and -"

// ValidName tells whether s may name a store, an edge, a camera or a zone; such
// names become topic levels, tags and folders.
func ValidName(s string) bool {
	for i := range len(s) { // a pattern would cost ingest a third of its time
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 40
}

// PolygonArea returns the area of a polygon in square pixels (shoelace formula).
func PolygonArea(p []Point) float64 {
	var sum float64
	for i, a := range p {
		b := p[(i+1)%len(p)]
		sum += a.X*b.Y - b.X*a.Y
	}
	return math.Abs(sum) / 2
}

// SelfCrossing tells whether two edges of the polygon cross, so that it has no
// clear inside.
func SelfCrossing(p []Point) bool {
	n := len(p)
	for i := range n {
		for j := i + 2; j < n; j++ {
			if i == 0 && j == n-1 {
				continue
			}
			if SegmentsCross(p[i], p[(i+1)%n], p[j], p[(j+1)%n]) {
				return true
			}
		}
	}
	return false
}

// SegmentsCross tells whether the open segments a-b and c-d cross.
func SegmentsCross(a, b, c, d Point) bool {
	side := func(p, q, r Point) float64 { return (q.X-p.X)*(r.Y-p.Y) - (q.Y-p.Y)*(r.X-p.X) }
	return side(a, b, c)*side(a, b, d) < 0 && side(c, d, a)*side(c, d, b) < 0
}
