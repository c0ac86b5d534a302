package house

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"floorwatch/internal/lab/kit"
)

const (
	module = "floorwatch"
	lab    = module + "/internal/lab"
)

// room is a line of deploy/rooms.txt.
type room struct {
	at      int // from 1
	planned bool
}

func readRooms(t *testing.T) map[string]room {
	t.Helper()
	f, err := os.Open(kit.Repository(t, "deploy/rooms.txt"))
	kit.Must(t, err)
	defer func() { _ = f.Close() }()
	rooms := map[string]room{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		path, why, _ := strings.Cut(line, " ")
		why = strings.TrimSpace(why)
		name := filepath.ToSlash(filepath.Join(module, path))
		if _, twice := rooms[name]; twice || why == "" {
			t.Errorf("deploy/rooms.txt: %s stands twice, or without its reason", path)
		}
		rooms[name] = room{len(rooms) + 1, strings.HasPrefix(why, "planned")}
	}
	return rooms
}

// goList prints a template for packages, tests left out.
func goList(t *testing.T, template string, more ...string) [][]string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-f", template}, more...)...)
	cmd.Dir = kit.Repository(t, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // with the camera's packages
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, said.Bytes())
	}
	var lines [][]string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// TestRooms: each package imports only those that stand above it.
func TestRooms(t *testing.T) {
	rooms := readRooms(t)
	seen := map[string]bool{}
	for _, p := range goList(t, `{{.ImportPath}} {{range .Imports}} {{.}}{{end}}`, "./...") {
		name, imports := p[0], p[1:]
		seen[name] = true
		if name == lab || strings.HasPrefix(name, lab+"/") {
			continue
		}
		own, ok := rooms[name]
		if !ok {
			t.Errorf("%s has no line in deploy/rooms.txt; give it one, with its reason", name)
			continue
		}
		for _, i := range imports {
			if fault := forbidden(rooms, name, own, i); fault != "" {
				t.Errorf("%s imports %s: %s", name, i, fault)
			}
		}
	}
	for name, r := range rooms {
		if r.planned == seen[name] {
			t.Errorf("deploy/rooms.txt: %s: planned is %v, and there is code: %v", name, r.planned, seen[name])
		}
	}
}

// forbidden says why a room may not import a package; "" when it may.
func forbidden(rooms map[string]room, name string, own room, imported string) string {
	side := func(p string) string {
		for _, s := range []string{"edge", "cloud"} {
			if root := module + "/" + s; p == root || strings.HasPrefix(p, root+"/") {
				return s
			}
		}
		return ""
	}
	ours := imported == module || strings.HasPrefix(imported, module+"/")
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case name == module && (ours || strings.Contains(first, ".")):
		return "the root package uses the standard library only"
	case first == "gocv.io" && name != module+"/edge/camera":
		return "OpenCV lives in edge/camera alone"
	case !ours:
		return ""
	case strings.HasPrefix(imported, lab):
		return "only tests import the laboratory"
	case rooms[imported].at > own.at:
		return "it stands below in deploy/rooms.txt"
	case side(name) != "" && side(imported) != "" && side(name) != side(imported):
		return "box and cloud share the root package and internal/ alone"
	}
	return ""
}

// TestProductWithoutLaboratory: what the programs link, however far down.
func TestProductWithoutLaboratory(t *testing.T) {
	for _, p := range goList(t, `{{.ImportPath}} {{range .Deps}} {{.}}{{end}}`, "./cmd/...") {
		for _, d := range p[1:] {
			if strings.HasPrefix(d, lab) {
				t.Errorf("%s links %s", p[0], d)
			}
			if strings.HasPrefix(d, "gocv.io") && p[0] != module+"/cmd/floorwatch-camera" {
				t.Errorf("%s links OpenCV (%s); a crash of it would take the program along", p[0], d)
			}
		}
	}
}

// TestRoomsAreDescribed holds the table of rooms in ARCHITECTURE.md against the
// list: the same rooms in the same order.
func TestRoomsAreDescribed(t *testing.T) {
	page, err := os.ReadFile(kit.Repository(t, "ARCHITECTURE.md"))
	kit.Must(t, err)
	rooms := readRooms(t)
	var want []string
	for name := range rooms {
		if !strings.HasPrefix(name, module+"/cmd/") {
			want = append(want, name)
		}
	}
	slices.SortFunc(want, func(a, b string) int { return rooms[a].at - rooms[b].at })
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([\\w./]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		name := filepath.ToSlash(filepath.Join(module, m[1]))
		if _, ok := rooms[name]; ok && !strings.HasPrefix(m[1], "cmd/") {
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("ARCHITECTURE.md describes %v, deploy/rooms.txt has %v", got, want)
	}
}
