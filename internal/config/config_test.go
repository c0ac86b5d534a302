package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch"
)

func TestEveryProblemAtOnce(t *testing.T) {
	const file = `zones:
  - name: Table
    polygon: [[0, 0], [100, 0], [100, 100]]
  - name: queue
    rolle: queue
    polygon: [[0, 0], [100, 100], [100, 0], [0, 100]]
    min_stay: 5
  - name: queue
    role: queues
    polygon: [[0, 0], [900, 0], [100, 100]]
    serves: [nowhere]
  - name: flat
    polygon: [[0, 0], [10, 10]]
    merge_gap: 1h
    label: {zh: 排队区, fr: File}
lines:
  - {name: door, from: [0, 300], to: [0, 300]}
  - {name: door, from: [0], to: [5, 5]}
picture: {width: 768, height: tall}
cameras: []
`
	var f zoneFile
	err := Parse("zones.yaml", []byte(file), &f)
	want := []string{
		`zones.yaml:2: zones[0].name: "Table": want a name of 1 to 40 of a-z, 0-9, _ and -`,
		`zones.yaml:5: zones[1].rolle: is not a key here; did you mean role?`,
		`zones.yaml:6: zones[1].polygon: [[0, 0], [100, 100], [100, 0], [0, 100]]: its edges cross each other; list the corners in order around the zone`,
		`zones.yaml:7: zones[1].min_stay: "5": want a duration with its unit, such as 500ms, 10s, 5m or 24h`,
		`zones.yaml:8: zones[2].name: "queue": is already the name of zones[1]; names are used once`,
		`zones.yaml:9: zones[2].role: "queues": want one of [area queue service rest greet prepare self-service staff]`,
		`zones.yaml:11: zones[2].serves: [nowhere]: only a zone with role: service serves queues`,
		`zones.yaml:11: zones[2].serves[0]: "nowhere": want the name of a zone of this camera with role: queue`,
		`zones.yaml:13: zones[3].polygon: [[0, 0], [10, 10]]: want 3 to 100 points [x, y], has 2`,
		`zones.yaml:14: zones[3].merge_gap: "1h": want a duration from 0s to 10m0s`,
		`zones.yaml:15: zones[3].label.fr: is not a key here; did you mean zh?`,
		`zones.yaml:17: lines[0]: {name: door, from: [0, 300], to: [0, 300]}: from and to are the same point; a line needs two`,
		`zones.yaml:18: lines[1].from: [0]: want [x, y] in pixels`,
		`zones.yaml:18: lines[1].name: "door": is already the name of lines[0]; names are used once`,
		`zones.yaml:19: picture: {width: 768, height: tall}: want width and height above 0, in pixels`,
		`zones.yaml:19: picture.height: "tall": want a whole number`,
		`zones.yaml:20: cameras: is not a key here; known keys: zones, lines, picture`,
	}
	if err == nil {
		t.Fatal("a file full of mistakes was accepted")
	}
	got := map[string]bool{}
	for _, line := range strings.Split(err.Error(), "\n") {
		got[line] = true
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("missing: %s", w)
		}
		delete(got, w)
	}
	for extra := range got {
		t.Errorf("not expected: %s", extra)
	}
}

func TestPointOutsideThePicture(t *testing.T) {
	var f zoneFile
	err := Parse("z", []byte("zones: [{name: a, polygon: [[0, 0], [900, 0], [100, 100]]}]\npicture: {width: 768, height: 576}\n"), &f)
	if want := "z:1: zones[0].polygon[1]: [900, 0]: lies outside the picture of 768 x 576 pixels"; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestSceneDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zones.yaml")
	if err := os.WriteFile(path, []byte("zones:\n- name: a\n  min_stay: 2s\n  polygon: [[1, 2], [3, 4.5], [5, 0]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := LoadScene(path)
	if err != nil {
		t.Fatal(err)
	}
	z := s.Zones[0]
	if z.Role != floorwatch.RoleArea || z.MinStay != 2*time.Second || z.MergeGap != time.Second || z.Reach != 10*time.Second {
		t.Errorf("zone %+v", z)
	}
	if z.Polygon[1] != (floorwatch.Point{X: 3, Y: 4.5}) {
		t.Errorf("polygon %v", z.Polygon)
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[string]int64{"2GB": 2e9, "1.5 MiB": 3 << 19, "10B": 10} {
		if got, ok := parseBytes(in); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"5", "GB", "-1GB", "9e9TB", "5 gb", ""} {
		if got, ok := parseBytes(in); ok {
			t.Errorf("%q accepted as %d", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("zones: [{name: a, polygon: [[0,0],[1,0],[1,1]]}]"))
	f.Add([]byte("zones: &a [*a]"))
	f.Add([]byte("a: [\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var z zoneFile
		_ = Parse("fuzz", b, &z)
	})
}
