package floorwatch

import (
	"testing"
	"time"
)

func TestRevTellsGeometryFromSpelling(t *testing.T) {
	scene := func(change func(*Scene)) string {
		s := Scene{Zones: []Zone{{Name: "a", Polygon: []Point{{0, 0}, {9, 0}, {9, 9}}, MinStay: DefaultMinStay}}}
		change(&s)
		return s.Rev()
	}
	same := scene(func(*Scene) {})
	for name, change := range map[string]func(*Scene){
		"label":       func(s *Scene) { s.Zones[0].Label.EN = "A" },
		"duty":        func(s *Scene) { s.Zones[0].Duty.EN, s.Zones[0].Responsible.EN = "greets", "Lobby manager" },
		"empty lists": func(s *Scene) { s.Zones[0].Serves, s.Lines = []string{}, []Line{} },
	} {
		if scene(change) != same {
			t.Errorf("%s makes another rev", name)
		}
	}
	for name, change := range map[string]func(*Scene){
		"point":   func(s *Scene) { s.Zones[0].Polygon[1].X = 8 },
		"minimum": func(s *Scene) { s.Zones[0].MinStay++ },
		"role":    func(s *Scene) { s.Zones[0].Role = RoleQueue },
		"picture": func(s *Scene) { s.Picture.Width = 100 },
		"line":    func(s *Scene) { s.Lines = []Line{{Name: "door"}} },
		"door":    func(s *Scene) { s.Lines = []Line{{Name: "door", Role: RoleDoor}} },
	} {
		if scene(change) == same {
			t.Errorf("another %s has the same rev", name)
		}
	}
}

// TestRevIsThatOfOlderPrograms: stores have years of records under it.
func TestRevIsThatOfOlderPrograms(t *testing.T) {
	queue, till := NewZone("queue", RoleQueue, Point{1, 2}, Point{3, 4}, Point{5, 1}), NewZone("till", RoleService, Point{1, 2}, Point{3, 4}, Point{5, 1.5})
	queue.Label = Label{ZH: "排", EN: "Q"}
	till.Serves, till.Reach = []string{"queue"}, 3*time.Second
	s := Scene{Zones: []Zone{queue, till}, Lines: []Line{{Name: "door", From: Point{1, 2}, To: Point{3, 4}}}, Picture: Size{768, 576}}
	if got := s.Rev(); got != "84c8d60481a5" {
		t.Errorf("rev %s", got)
	}
	if got := TellScene("hall", s).Scene().Rev(); got != s.Rev() {
		t.Errorf("a scene has rev %s, and %s after it was told", s.Rev(), got)
	}
}

func TestSelfCrossing(t *testing.T) {
	for name, c := range map[string]struct {
		p    []Point
		want bool
	}{
		"square":   {[]Point{{0, 0}, {1, 0}, {1, 1}, {0, 1}}, false},
		"bow tie":  {[]Point{{0, 0}, {1, 1}, {1, 0}, {0, 1}}, true},
		"concave":  {[]Point{{0, 0}, {4, 0}, {4, 4}, {2, 1}, {0, 4}}, false},
		"triangle": {[]Point{{0, 0}, {4, 0}, {4, 4}}, false},
	} {
		if SelfCrossing(c.p) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}
