package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/site"
)

func boxesHandler(t *testing.T) http.Handler {
	t.Helper()
	r := site.Registry{Stores: []site.Store{{ID: "s1"}, {ID: "s2"}}, Edges: []site.Edge{{Store: "s1", ID: "a"}, {Store: "s1", ID: "b"}, {Store: "s2", ID: "c"}}}
	live := fleet.NewLive()
	if err := live.PutState("s1", "b", floorwatch.State{V: 1, State: floorwatch.StateOnline, T: t0}); err != nil {
		t.Fatal(err)
	}
	return New(Settings{Sites: site.Of(r), Hub: NewHub(live), Fleet: &fleet.Fleet{Sites: site.Of(r), Live: live}})
}

func TestBoxesEndpoint(t *testing.T) {
	h := boxesHandler(t)
	for target, want := range map[string]string{
		"/api/boxes":                      "b a c 3",
		"/api/boxes?limit=1&offset=2":     "c 3",
		"/api/boxes?scope=s1&sort=name":   "a b 2",
		"/api/boxes?state=unknown":        "a c 2",
		"/api/boxes?state=online&q=S1":    "b 1",
		"/api/boxes?trouble=any&offset=5": "1",
	} {
		a := decode[struct {
			Boxes []struct{ Edge string }
			Found json.Number
			T     floorwatch.Time
			Scope struct{ Path, Below []any }
		}](t, get(t, h, target))
		var got []string
		for _, b := range a.Boxes {
			got = append(got, b.Edge)
		}
		if s := strings.Join(append(got, a.Found.String()), " "); s != want || a.T == 0 || a.Scope.Path == nil || a.Scope.Below == nil {
			t.Errorf("%s: %s, want %s: %+v", target, s, want, a)
		}
	}
}

func TestBoxesRefusesWhatItDoesNotKnow(t *testing.T) {
	h := boxesHandler(t)
	for target, want := range map[string][3]string{
		"/api/boxes?state=asleep":                  {"400", "parameter state is unknown", "use one of online, offline, stopped, unknown"},
		"/api/boxes?trouble=tired":                 {"400", "parameter trouble is unknown", "use one of any, none, bad, warn, twins, never, offline,"},
		"/api/boxes?sort=colour":                   {"400", "parameter sort is unknown", "use one of trouble, name, seen, backlog, disk"},
		"/api/boxes?scope=elsewhere":               {"404", "there is no scope elsewhere", "see"},
		"/api/boxes?scope=../etc":                  {"400", "parameter scope is not a name", "use "},
		"/api/boxes?limit=0":                       {"400", "parameter limit is out of range", "from 1 to 1000"},
		"/api/boxes?limit=1001":                    {"400", "parameter limit is out of range", "from 1 to 1000"},
		"/api/boxes?offset=-1":                     {"400", "parameter offset is out of range", "from 0"},
		"/api/boxes?q=" + strings.Repeat("a", 101): {"400", "parameter q is too long", "at most 100 bytes"},
		"/api/boxes?state=online&state=offline":    {"400", "parameter state is given 2 times", "once"},
	} {
		w := get(t, h, target)
		var f struct{ Error, Hint string }
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || want[0] != json.Number(strings.Fields(w.Result().Status)[0]).String() || f.Error != want[1] || !strings.Contains(f.Hint, want[2]) {
			t.Errorf("%s: %d %s, want %q", target, w.Code, w.Body, want)
		}
	}
}
