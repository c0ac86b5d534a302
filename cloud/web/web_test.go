package web_test

import (
	"encoding/json"
	"io/fs"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"floorwatch/cloud/web"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(web.Static(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tables reads both languages' texts out of the module; each is plain JSON.
func tables(t *testing.T) (zh, en map[string]string) {
	t.Helper()
	parts := regexp.MustCompile(`(?s)export const (zh|en) = (\{.*?\n\});`).FindAllStringSubmatch(read(t, "js/texts.js"), -1)
	if len(parts) != 2 {
		t.Fatalf("texts.js holds %d tables, want zh and en", len(parts))
	}
	for i, to := range []*map[string]string{&zh, &en} {
		if err := json.Unmarshal([]byte(parts[i][2]), to); err != nil {
			t.Fatalf("table %s: %v", parts[i][1], err)
		}
	}
	return zh, en
}

func TestLanguagesAreComplete(t *testing.T) {
	zh, en := tables(t)
	vars := regexp.MustCompile(`\{\w+\}`)
	han := regexp.MustCompile(`\p{Han}`)
	for k, text := range en {
		a, b := vars.FindAllString(text, -1), vars.FindAllString(zh[k], -1)
		slices.Sort(a)
		slices.Sort(b)
		if zh[k] == "" || text == "" || !slices.Equal(a, b) {
			t.Errorf("%s: %q and %q do not fit", k, text, zh[k])
		}
		if han.MatchString(text) && k != "lang.other" {
			t.Errorf("%s: Chinese in the English table: %q", k, text)
		}
	}
	for k := range zh {
		if en[k] == "" {
			t.Errorf("%s is missing in English", k)
		}
	}
}

// TestTextsAreUsed looks for keys that the page uses and no table has, for keys
// that nothing uses, and for text outside the tables.
func TestTextsAreUsed(t *testing.T) {
	_, en := tables(t)
	used := map[string]bool{}
	literal := regexp.MustCompile(`"([a-z0-9]+(?:\.[a-z0-9]+)+|title|skip|close|csv|tz|trouble|ago|person)"|data-i18n(?:-label)?="([^"]+)"`)
	files, err := fs.Glob(web.Static(), "js/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, pages...) {
		if name == "js/texts.js" {
			continue
		}
		text := read(t, name)
		for _, m := range literal.FindAllStringSubmatch(text, -1) {
			used[m[1]+m[2]] = true
		}
		for _, m := range regexp.MustCompile(`\bt\("([^"]+)"[,)]`).FindAllStringSubmatch(text, -1) {
			if en[m[1]] == "" {
				t.Errorf("%s uses %q, which no table has", name, m[1])
			}
		}
		if regexp.MustCompile(`\p{Han}`).MatchString(text) && name != "js/format.js" { // units of time
			t.Errorf("%s holds Chinese text outside the tables", name)
		}
	}
	built := []string{
		"def.", "cause.", "range.", "chart.", "fetch.", "wrong.", "error.", "compare.", "role.", "scene.empty.", "why.", "clip.missing.",
		"state.", "fault.", "sort.", "day.",
	} // keys that are put together
	for k := range en {
		if !used[k] && !slices.ContainsFunc(built, func(p string) bool { return strings.HasPrefix(k, p) }) {
			t.Errorf("nothing uses %q", k)
		}
	}
	for _, name := range pages {
		checkPage(t, name, en)
	}
}

var pages = []string{"index.html", "boxes.html"}

func checkPage(t *testing.T, name string, en map[string]string) {
	t.Helper()
	page := regexp.MustCompile(`(?s)<body>.*</body>`).FindString(read(t, name))
	for _, m := range regexp.MustCompile(`>([^<>]*\p{L}{2,}[^<>]*)<`).FindAllStringSubmatch(page, -1) {
		if m[1] != "floorwatch" {
			t.Errorf("%s holds text outside the tables: %q", name, m[1])
		}
	}
	for _, m := range regexp.MustCompile(`data-i18n(?:-label)?="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if en[m[1]] == "" {
			t.Errorf("%s uses %q, which no table has", name, m[1])
		}
	}
	if m := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script(?:[^>]*)>[^<]`).FindString(read(t, name)); m != "" {
		t.Errorf("%s holds inline code: %s", name, m)
	}
}

func TestHandlerServesOnlyThePage(t *testing.T) {
	for path, want := range map[string]int{
		"/": 200, "/index.html": 200, "/boxes": 200, "/boxes.html": 200, "/js/main.js": 200, "/app.css": 200, "/icon.svg": 200,
		"/js/": 404, "/none": 404, "/../web.go": 404, "/js/../../web.go": 404, "/vendor/none.js": 404, "/js": 404,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		web.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
}

func TestPagesNeedNoOutsideAddress(t *testing.T) {
	outside := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]`)
	err := fs.WalkDir(web.Static(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, "vendor/") {
			return err
		}
		text := strings.ReplaceAll(read(t, name), "http://www.w3.org/2000/svg", "")
		if m := outside.FindString(text); m != "" {
			t.Errorf("%s names an outside address: %s", name, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
