package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/figures"
)

// TestUnknownParametersAreRefused: an answer to a question that was not asked is
// wrong, whatever the endpoint.
func TestUnknownParametersAreRefused(t *testing.T) {
	h, _, _ := handler(&memory{})
	for target, want := range map[string]string{
		"/api/waits/summary?zone=queue-1&weekday=mon&hours=09:00-12:00": `parameter \"hours\" is not known`,
		"/api/waits/series?quantile=95":                                 `parameter \"quantile\" is not known`,
		"/api/stays?form=2026-01-01T00:00:00Z":                          "did you mean from?",
		"/api/stays?min-quality=0.5":                                    "did you mean min_quality?",
		"/api/sites?store=s1&store=s1":                                  "parameter store is given 2 times",
		"/api/live?camera=cam":                                          "it takes: store",
		"/api/counts?target=300":                                        `parameter \"target\" is not known`,
		"/api/boxes?sort=name&page=2":                                   `parameter \"page\" is not known`,
		"/api/still.jpg?at=5":                                           `parameter \"at\" is not known`,
		"/healthz?x=1":                                                  "it takes no parameters",
		"/api/stays?from=1;to=2":                                        "the parameters cannot be read",
		"/api/stays?%zz=1":                                              "the parameters cannot be read",
	} {
		w := get(t, h, target)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", target, w.Code, w.Body, want)
		}
	}
}

// TestACutTableIsRefused: a spreadsheet shows no header that says so.
func TestACutTableIsRefused(t *testing.T) {
	end := t0 + 1000
	m := &memory{stays: make([]floorwatch.Stay, figures.MaxRecords)}
	for i := range m.stays {
		m.stays[i] = floorwatch.Stay{Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "cam", Zone: "z"}, Enter: t0, Exit: &end}
	}
	h, _, _ := handler(m)
	if w := get(t, h, "/api/stays?format=csv"); w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), "give limit") {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
	w := get(t, h, "/api/stays?format=csv&limit=10")
	if w.Code != http.StatusOK || w.Header().Get("Floorwatch-Limit-Reached") != "true" || strings.Count(w.Body.String(), "\n") != 11 {
		t.Errorf("%d %v %d lines", w.Code, w.Header(), strings.Count(w.Body.String(), "\n"))
	}
}

// TestWhatIsStillRecordedIsNotDenied: a stay that has just ended has its clip in a
// minute, once the piece is closed.
func TestWhatIsStillRecordedIsNotDenied(t *testing.T) {
	h, _, _ := handler(&memory{}) // its clock is ten minutes after t0
	now := t0.Add(10 * time.Minute)
	for ago, soon := range map[time.Duration]bool{5 * time.Second: true, 5 * time.Minute: false} {
		to := now.Add(-ago)
		w := get(t, h, "/api/clip?camera=cam&from="+ms(to.Add(-10*time.Second))+"&to="+ms(to))
		if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), `"soon":true`) != soon || strings.Contains(w.Body.String(), "still being recorded") != soon {
			t.Errorf("%s ago: %d %s", ago, w.Code, w.Body)
		}
	}
}
