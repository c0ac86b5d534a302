package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/cloud/fleet"
)

// Bounds of one answer of /api/boxes.
const (
	defaultBoxes = 100
	maxBoxes     = 1000
	maxOffset    = 1_000_000
	maxSearch    = 100 // bytes
)

// boxes answers /api/boxes: some of the boxes, those in trouble first unless
// another order is asked for, and how many there are of each sort.
func (s *server) boxes(w http.ResponseWriter, r *http.Request) error {
	q, err := boxesQuestion(r.URL.Query())
	if err != nil {
		return err
	}
	answer, err := s.Fleet.Select(q)
	if err != nil {
		return err
	}
	return writeJSON(w, struct {
		fleet.Selection
		T floorwatch.Time `json:"t"`
	}{answer, floorwatch.TimeOf(s.Now())})
}

func boxesQuestion(v url.Values) (q fleet.Question, err error) {
	for _, p := range []struct {
		name string
		to   *string
		want []string
	}{{"state", &q.State, fleet.States()}, {"trouble", &q.Trouble, fleet.Troubles()}, {"sort", &q.Sort, fleet.Sorts()}} {
		if *p.to, err = choiceParam(v, p.name, p.want); err != nil {
			return q, err
		}
	}
	if q.Scope, err = nameParam(v, "scope"); err != nil {
		return q, err
	}
	if q.Text, err = param(v, "q"); err != nil {
		return q, err
	}
	if len(q.Text) > maxSearch {
		return q, bad("search for at most 100 bytes", "parameter q is too long")
	}
	if q.Offset, err = intParam(v, "offset", 0, 0, maxOffset); err != nil {
		return q, err
	}
	q.Limit, err = intParam(v, "limit", defaultBoxes, 1, maxBoxes)
	return q, err
}

// choiceParam returns a parameter that is one of a few words.
func choiceParam(v url.Values, name string, want []string) (string, error) {
	s, err := param(v, name)
	if err != nil || s == "" || slices.Contains(want, s) {
		return s, err
	}
	return "", bad("use one of "+strings.Join(want, ", "), "parameter %s is unknown", name)
}
