package config

import (
	"fmt"
	"math"
	"slices"
	"time"

	"floorwatch"
)

// zoneFile is a file with one camera's zones and lines, as the -zones flag of
// `floorwatch stays` and `floorwatch intervals` takes it.
type zoneFile struct{ SceneKeys }

func (f *zoneFile) Check(r *Report) { f.CheckScene(r, "", map[string]string{}) }

// SceneKeys are the keys of a floorwatch.Scene: in a zones file, and in each
// camera of an edge box's configuration.
type SceneKeys struct {
	Zones   []zoneKeys        `yaml:"zones"`
	Lines   []floorwatch.Line `yaml:"lines"`
	Picture floorwatch.Size   `yaml:"picture"`
}

type zoneKeys struct{ floorwatch.Zone }

// SetDefaults implements Defaulter.
func (z *zoneKeys) SetDefaults() {
	z.Zone = floorwatch.NewZone("", floorwatch.RoleArea)
}

// Scene returns the scene that the keys describe.
func (k SceneKeys) Scene() floorwatch.Scene {
	s := floorwatch.Scene{Lines: k.Lines, Picture: k.Picture}
	for _, z := range k.Zones {
		s.Zones = append(s.Zones, z.Zone)
	}
	return s
}

// KeysOf returns the keys of a scene that no file names.
func KeysOf(s floorwatch.Scene) SceneKeys {
	k := SceneKeys{Lines: s.Lines, Picture: s.Picture}
	for _, z := range s.Zones {
		k.AddZone(z)
	}
	return k
}

// AddZone adds a zone that no file names.
func (k *SceneKeys) AddZone(z floorwatch.Zone) { k.Zones = append(k.Zones, zoneKeys{z}) }

// LoadScene reads a zones file.
func LoadScene(path string) (floorwatch.Scene, error) {
	var f zoneFile
	if err := Load(path, &f); err != nil {
		return floorwatch.Scene{}, err
	}
	return f.Scene(), nil
}

// CheckScene reports what cannot be in a scene whose keys stand under key.
// taken maps names that are used already to the key that uses them; topics and
// tags have one zone of a name per box, so callers share it between cameras.
func (k SceneKeys) CheckScene(r *Report, key string, taken map[string]string) {
	at := func(format string, args ...any) string { return join(key, fmt.Sprintf(format, args...)) }
	if p := k.Picture; p.Width < 0 || p.Height < 0 || (p.Width == 0) != (p.Height == 0) {
		r.Problem(at("picture"), "want width and height above 0, in pixels")
	}
	for i, z := range k.Zones {
		sub := at("zones[%d]", i)
		CheckName(r, join(sub, "name"), z.Name, taken)
		k.checkPolygon(r, join(sub, "polygon"), z.Polygon)
		CheckDuration(r, join(sub, "min_stay"), z.MinStay, 0, time.Hour)
		CheckDuration(r, join(sub, "merge_gap"), z.MergeGap, 0, 10*time.Minute)
		CheckDuration(r, join(sub, "bridge"), z.Bridge, 0, 10*time.Minute)
		CheckDuration(r, join(sub, "reach"), z.Reach, 0, time.Hour)
		k.checkRole(r, sub, z)
	}
	for i, l := range k.Lines {
		sub := at("lines[%d]", i)
		CheckName(r, join(sub, "name"), l.Name, taken)
		if l.Role != "" && l.Role != floorwatch.RoleDoor {
			r.Problem(join(sub, "role"), "want door, or no role")
		}
		if l.From == l.To {
			r.Problem(sub, "from and to are the same point; a line needs two")
		}
		k.checkInside(r, join(sub, "from"), l.From)
		k.checkInside(r, join(sub, "to"), l.To)
	}
}

func (k SceneKeys) checkRole(r *Report, key string, z zoneKeys) {
	if !slices.Contains(floorwatch.ZoneRoles, z.Role) {
		r.Problem(join(key, "role"), "want one of %v", floorwatch.ZoneRoles)
	}
	if len(z.Serves) > 0 && z.Role != floorwatch.RoleService {
		r.Problem(join(key, "serves"), "only a zone with role: service serves queues")
	}
	for i, name := range z.Serves {
		if !k.hasQueue(name) {
			r.Problem(fmt.Sprintf("%s[%d]", join(key, "serves"), i), "want the name of a zone of this camera with role: queue")
		}
	}
}

func (k SceneKeys) hasQueue(name string) bool {
	for _, z := range k.Zones {
		if z.Name == name && z.Role == floorwatch.RoleQueue {
			return true
		}
	}
	return false
}

func (k SceneKeys) checkPolygon(r *Report, key string, p []floorwatch.Point) {
	if len(p) < 3 || len(p) > 100 {
		r.Problem(key, "want 3 to 100 points [x, y], has %d", len(p))
		return
	}
	for i, q := range p {
		k.checkInside(r, fmt.Sprintf("%s[%d]", key, i), q)
	}
	switch {
	case floorwatch.SelfCrossing(p):
		r.Problem(key, "its edges cross each other; list the corners in order around the zone")
	case floorwatch.PolygonArea(p) < 1:
		r.Problem(key, "encloses no area; its points lie on one line")
	}
}

func (k SceneKeys) checkInside(r *Report, key string, p floorwatch.Point) {
	w, h := float64(k.Picture.Width), float64(k.Picture.Height)
	if w <= 0 || h <= 0 {
		w, h = math.MaxInt16, math.MaxInt16
	}
	if !(p.X >= 0 && p.X <= w && p.Y >= 0 && p.Y <= h) { // written so that NaN fails
		r.Problem(key, "lies outside the picture of %.0f x %.0f pixels", w, h)
	}
}

// CheckName reports a name that is not valid or already taken.
func CheckName(r *Report, key, name string, taken map[string]string) {
	if !floorwatch.ValidName(name) {
		r.Problem(key, "want a name of %s", floorwatch.NameRule)
		return
	}
	if first, twice := taken[name]; twice {
		r.Problem(key, "is already the name of %s; names are used once", first)
		return
	}
	taken[name] = parentKey(key)
}

// CheckDuration reports a duration outside [low, high].
func CheckDuration(r *Report, key string, d, low, high time.Duration) {
	if d < low || d > high {
		r.Problem(key, "want a duration from %s to %s", low, high)
	}
}
