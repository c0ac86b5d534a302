package simulate

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/config"
)

//go:embed halls/*.yaml
var builtin embed.FS

// Hall is a scene to play: what a hall file holds. Points are in metres of floor,
// x to the right and y away from where a camera at [0, 0] without turn looks from.
type Hall struct {
	Name    string           `yaml:"-"`
	Label   floorwatch.Label `yaml:"label"`   // what it shows, in one line
	Length  time.Duration    `yaml:"length"`  // of a play, unless its options say otherwise
	Camera  Camera           `yaml:"camera"`  // where it is seen from
	Picture floorwatch.Size  `yaml:"picture"` // pixels
	Reach   time.Duration    `yaml:"reach"`   // of its queue zones
	Doors   []Spot           `yaml:"doors"`   // where people come in and leave

	Customers Arrivals  `yaml:"customers"`
	Service   Spread    `yaml:"service"`  // at every counter without its own
	Patience  Spread    `yaml:"patience"` // time in the queue after which people give up; mean 0: never
	Queues    []Queue   `yaml:"queues"`
	Counters  []Counter `yaml:"counters"`
	Jockey    int       `yaml:"jockey"` // people change to a line that is this much shorter; 0: never

	Browsers Browsers `yaml:"browsers"`
	Staff    []Staff  `yaml:"staff"`
	Areas    []Area   `yaml:"areas"`
	Blocks   []Block  `yaml:"blocks"`
}

// Spot is [x, y] in metres of floor.
type Spot []float64

func (s Spot) point() point { return point{s[0], s[1]} }

// Camera is a pinhole camera without distortion.
type Camera struct {
	At     Spot    `yaml:"at"`     // the floor below it
	Height float64 `yaml:"height"` // metres
	Turn   float64 `yaml:"turn"`   // degrees to the right of the y axis
	Tilt   float64 `yaml:"tilt"`   // degrees down from the horizon
	FOV    float64 `yaml:"fov"`    // horizontal angle of view, degrees
}

// Arrivals is a Poisson process: PerHour times the factor of the latest Phase,
// plus bursts. Each arrival is one person, or with the share a group.
type Arrivals struct {
	PerHour float64 `yaml:"per_hour"`
	Profile []Phase `yaml:"profile"`
	Bursts  Bursts  `yaml:"bursts"`
	Groups  Groups  `yaml:"groups"`
}

// Phase multiplies a rate from a time of the play on.
type Phase struct {
	From   time.Duration `yaml:"from"`
	Factor float64       `yaml:"factor"`
}

// Bursts are coach loads: on average one each Every (exponential), of People who
// come evenly within Over. Every 0: none.
type Bursts struct {
	Every  time.Duration `yaml:"every"`
	People int           `yaml:"people"`
	Over   time.Duration `yaml:"over"`
}

// Groups: an arrival is with probability Share a group of 2 to Size, evenly.
type Groups struct {
	Share float64 `yaml:"share"`
	Size  int     `yaml:"size"`
}

// Spread is a distribution of durations.
type Spread struct {
	Kind string        `yaml:"kind"` // lognormal | exponential | gamma | fixed
	Mean time.Duration `yaml:"mean"`
	SD   time.Duration `yaml:"sd"` // of lognormal and gamma
}

// Queue is a line of people along Path, which runs from the head to the tail and
// goes on in the direction of its last piece.
type Queue struct {
	Name    string           `yaml:"name"`
	Label   floorwatch.Label `yaml:"label"`
	Zone    []Spot           `yaml:"zone"`
	Path    []Spot           `yaml:"path"`
	Spacing float64          `yaml:"spacing"` // metres from one to the next
	In      []Spot           `yaml:"in"`      // way points from the door to the tail
	Out     []Spot           `yaml:"out"`     // way points of those who give up
}

// Counter serves one person after the other.
type Counter struct {
	Name    string           `yaml:"name"`
	Label   floorwatch.Label `yaml:"label"`
	Zone    []Spot           `yaml:"zone"`
	At      Spot             `yaml:"at"`     // where the customer stands
	Serves  []string         `yaml:"serves"` // its queues; none named: all
	Service Spread           `yaml:"service"`
	Open    []Hours          `yaml:"open"`   // none: always
	In      []Spot           `yaml:"in"`     // way points of those who need not queue
	Out     []Spot           `yaml:"out"`    // way points of those who were served
	Hidden  bool             `yaml:"hidden"` // out of view: it has no zone
}

// Hours is a span of the play.
type Hours struct {
	From time.Duration `yaml:"from"`
	To   time.Duration `yaml:"to"`
}

// Browsers come by Way, wander Stops times to a random place in Zone, standing
// there for Stop, and leave by Way.
type Browsers struct {
	Arrivals
	Zone  []Spot `yaml:"zone"`
	Way   []Spot `yaml:"way"`
	Stops int    `yaml:"stops"`
	Stop  Spread `yaml:"stop"`
}

// Staff is one person who is there all day and stands at Posts in turn.
type Staff struct {
	Posts []Spot `yaml:"posts"`
	Stop  Spread `yaml:"stop"` // at each post
}

// Area is a zone beside those of queues and counters.
type Area struct {
	Name  string           `yaml:"name"`
	Label floorwatch.Label `yaml:"label"`
	Role  floorwatch.Role  `yaml:"role"` // area | staff
	Zone  []Spot           `yaml:"zone"`
}

// Block is a cuboid that hides what is behind it: a pillar, a desk, a shelf.
type Block struct {
	From   Spot    `yaml:"from"`
	To     Spot    `yaml:"to"`
	Height float64 `yaml:"height"`
}

// SetDefaults implements config.Defaulter.
func (q *Queue) SetDefaults() { q.Spacing = 0.8 }

// SetDefaults implements config.Defaulter.
func (s *Staff) SetDefaults() {
	s.Stop = Spread{Kind: lognormal, Mean: 40 * time.Second, SD: 30 * time.Second}
}

// SetDefaults implements config.Defaulter.
func (a *Area) SetDefaults() { a.Role = floorwatch.RoleArea }

// Kinds of distribution.
const (
	lognormal   = "lognormal"
	exponential = "exponential"
	gamma       = "gamma"
	fixed       = "fixed"
)

// Load returns a built-in hall by its name, or reads the hall file at that path.
// A path has a slash or ends in .yaml or .yml.
func Load(name string) (*Hall, error) {
	if !strings.ContainsAny(name, "/\\") && path.Ext(name) == "" {
		b, err := builtin.ReadFile("halls/" + name + ".yaml")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no built-in hall is named %.50q; there are %s, or name a .yaml file", name, strings.Join(Names(), ", "))
		}
		if err != nil {
			return nil, fmt.Errorf("read hall: %w", err)
		}
		return Parse(name, b)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read hall: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := blank()
	h.Name = strings.TrimSuffix(path.Base(name), path.Ext(name))
	if err := config.Load(name, h); err != nil {
		return nil, err
	}
	return h, nil
}

// Parse reads a hall file's bytes; name is used in messages and as its name.
func Parse(name string, b []byte) (*Hall, error) {
	h := blank()
	h.Name = name
	if err := config.Parse(name, b, h); err != nil {
		return nil, err
	}
	return h, nil
}

// Names returns the built-in halls in alphabetical order.
func Names() []string {
	entries, err := builtin.ReadDir("halls")
	if err != nil { // the folder is compiled in
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".yaml")
	}
	return names
}

// blank is a hall with nothing but defaults.
func blank() *Hall {
	return &Hall{
		Length: time.Hour, Reach: floorwatch.DefaultReach,
		Picture:  floorwatch.Size{Width: 1280, Height: 720},
		Camera:   Camera{At: Spot{0, 0}, Height: 3, Tilt: 25, FOV: 75},
		Service:  Spread{Kind: lognormal, Mean: time.Minute, SD: 40 * time.Second},
		Patience: Spread{Kind: lognormal},
		Browsers: Browsers{Stops: 3, Stop: Spread{Kind: lognormal, Mean: 30 * time.Second, SD: 30 * time.Second}},
	}
}

// Bounds of a hall: what is beyond is a mistake, or would fill the memory.
const (
	maxLength  = 48 * time.Hour
	maxPerHour = 5000
	maxItems   = 200
	maxMetres  = 200
	minMetres  = 1e-3
)

// Check implements config.Checker.
func (h *Hall) Check(r *config.Report) {
	c := checker{r, new(int)}
	config.CheckDuration(r, "length", h.Length, time.Second, maxLength)
	config.CheckDuration(r, "reach", h.Reach, 0, time.Hour)
	c.within("picture.width", float64(h.Picture.Width), 64, 4096)
	c.within("picture.height", float64(h.Picture.Height), 64, 4096)
	c.spot("camera.at", h.Camera.At)
	c.within("camera.height", h.Camera.Height, 0.5, 50)
	c.within("camera.turn", h.Camera.Turn, -180, 180)
	c.within("camera.tilt", h.Camera.Tilt, 0, 90)
	c.within("camera.fov", h.Camera.FOV, 10, 150)
	c.spots("doors", h.Doors, 0)
	if len(h.Doors) == 0 && h.Customers.PerHour+h.Browsers.PerHour > 0 {
		r.Problem("doors", "want at least one [x, y] where people come in")
	}
	c.arrivals("customers", h.Customers)
	c.spread("service", h.Service, false)
	c.spread("patience", h.Patience, true)
	c.within("jockey", float64(h.Jockey), 0, 100)
	c.lines(h)
	c.others(h)
	if *c.bad == 0 { // only sound points can be projected
		c.zones(h)
	}
}

// checker reports under keys of a hall file and counts what it reports.
type checker struct {
	*config.Report
	bad *int
}

// Problem shadows the report's own to count.
func (c checker) Problem(key, want string, args ...any) {
	*c.bad++
	c.Report.Problem(key, want, args...)
}

func (c checker) within(key string, v, low, high float64) {
	if !(v >= low && v <= high) { // written so that NaN fails
		c.Problem(key, "want a number from %g to %g", low, high)
	}
}

func (c checker) spot(key string, s Spot) {
	if len(s) != 2 || !(math.Abs(s[0]) <= maxMetres && math.Abs(s[1]) <= maxMetres) {
		c.Problem(key, "want [x, y] in metres, each at most %d", maxMetres)
	}
}

// spots checks a list of at least low spots.
func (c checker) spots(key string, list []Spot, low int) {
	if len(list) < low || len(list) > maxItems {
		c.Problem(key, "want %d to %d points [x, y], has %d", low, maxItems, len(list))
	}
	for i, s := range list {
		c.spot(fmt.Sprintf("%s[%d]", key, i), s)
	}
}

func (c checker) arrivals(key string, a Arrivals) {
	c.within(key+".per_hour", a.PerHour, 0, maxPerHour)
	last := time.Duration(-1)
	for i, l := range a.Profile {
		sub := fmt.Sprintf("%s.profile[%d]", key, i)
		c.within(sub+".factor", l.Factor, 0, 100)
		if l.From <= last {
			c.Problem(sub+".from", "want the times of a profile to grow")
		}
		last = l.From
	}
	if a.Bursts.Every != 0 {
		config.CheckDuration(c.Report, key+".bursts.every", a.Bursts.Every, time.Second, maxLength)
		config.CheckDuration(c.Report, key+".bursts.over", a.Bursts.Over, 0, time.Hour)
		c.within(key+".bursts.people", float64(a.Bursts.People), 1, maxItems)
	}
	c.within(key+".groups.share", a.Groups.Share, 0, 1)
	if a.Groups.Share > 0 {
		c.within(key+".groups.size", float64(a.Groups.Size), 2, 10)
	}
}

func (c checker) spread(key string, s Spread, none bool) {
	if none && s.Mean == 0 {
		return
	}
	config.CheckDuration(c.Report, key+".mean", s.Mean, time.Second, 24*time.Hour)
	switch s.Kind {
	case exponential, fixed:
	case lognormal, gamma:
		config.CheckDuration(c.Report, key+".sd", s.SD, time.Millisecond, 24*time.Hour)
	default:
		c.Problem(key+".kind", "want lognormal, exponential, gamma or fixed")
	}
}

// lines checks queues and counters.
func (c checker) lines(h *Hall) {
	queues := map[string]bool{}
	for i, q := range h.Queues {
		sub := item("queues", i)
		queues[q.Name] = true
		c.spots(sub+".zone", q.Zone, 3)
		c.spots(sub+".path", q.Path, 2)
		c.spots(sub+".in", q.In, 0)
		c.spots(sub+".out", q.Out, 0)
		c.within(sub+".spacing", q.Spacing, 0.3, 5)
		for j := 1; j < len(q.Path) && *c.bad == 0; j++ {
			if dist(q.Path[j-1].point(), q.Path[j].point()) < minMetres {
				c.Problem(fmt.Sprintf("%s.path[%d]", sub, j), "is the same point as the one before it")
			}
		}
	}
	for i, k := range h.Counters {
		sub := item("counters", i)
		if !k.Hidden {
			c.spots(sub+".zone", k.Zone, 3)
		}
		c.spot(sub+".at", k.At)
		c.spots(sub+".in", k.In, 0)
		c.spots(sub+".out", k.Out, 0)
		c.spread(sub+".service", k.Service, true)
		for j, name := range k.Serves {
			if !queues[name] {
				c.Problem(fmt.Sprintf("%s.serves[%d]", sub, j), "want the name of a queue of this hall")
			}
		}
		for j, o := range k.Open {
			if o.To <= o.From {
				c.Problem(fmt.Sprintf("%s.open[%d]", sub, j), "want from before to")
			}
		}
	}
	if h.Customers.PerHour > 0 && (len(h.Queues) == 0 || len(h.Counters) == 0) {
		c.Problem("customers", "want at least one of queues and one of counters for them")
	}
	if len(h.Queues)+len(h.Counters)+len(h.Areas) == 0 {
		c.Problem("", "want at least one of queues, counters or areas")
	}
}

// others checks who and what is there beside the lines.
func (c checker) others(h *Hall) {
	c.arrivals("browsers", h.Browsers.Arrivals)
	if b := h.Browsers; b.PerHour > 0 {
		c.spots("browsers.zone", b.Zone, 3)
		c.spots("browsers.way", b.Way, 0)
		c.within("browsers.stops", float64(b.Stops), 1, 100)
		c.spread("browsers.stop", b.Stop, false)
	}
	for i, s := range h.Staff {
		c.spots(item("staff", i)+".posts", s.Posts, 1)
		c.spread(item("staff", i)+".stop", s.Stop, false)
	}
	for i, a := range h.Areas {
		c.spots(item("areas", i)+".zone", a.Zone, 3)
		if a.Role != floorwatch.RoleArea && a.Role != floorwatch.RoleStaff {
			c.Problem(item("areas", i)+".role", "want area or staff")
		}
	}
	for i, b := range h.Blocks {
		sub := item("blocks", i)
		c.spot(sub+".from", b.From)
		c.spot(sub+".to", b.To)
		c.within(sub+".height", b.Height, 0.01, 50)
	}
	for key, n := range map[string]int{
		"queues": len(h.Queues), "counters": len(h.Counters), "staff": len(h.Staff),
		"areas": len(h.Areas), "blocks": len(h.Blocks), "doors": len(h.Doors),
	} {
		if n > maxItems {
			c.Problem(key, "want at most %d, has %d", maxItems, n)
		}
	}
}

// zones checks what the camera sees of them, by the rules of a zones file.
func (c checker) zones(h *Hall) {
	keys := config.SceneKeys{Picture: h.Picture}
	where := map[string]string{}
	taken := map[string]string{}
	for _, z := range h.floorZones() {
		config.CheckName(c.Report, z.key+".name", z.Name, taken)
		where[z.Name] = z.key
	}
	for _, z := range h.Scene().Zones {
		keys.AddZone(z)
		switch p := z.Polygon; {
		case len(p) < 3 || floorwatch.PolygonArea(p) < 4:
			c.Problem(where[z.Name]+".zone", "the camera does not see it; turn the camera or move the zone")
		case floorwatch.SelfCrossing(p):
			c.Problem(where[z.Name]+".zone", "its edges cross each other; list the corners in order around the zone")
		}
	}
}

// item names an element of a list in messages.
func item(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
