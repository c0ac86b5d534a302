package api

import (
	"net/http"
	"testing"
	"time"

	"floorwatch/cloud/site"
)

func TestStandardOfAHall(t *testing.T) {
	set := Settings{Sites: site.Of(site.Registry{Stores: []site.Store{{ID: "s1", TimeZone: "Europe/Berlin"}}}), Now: func() time.Time { return t0.Time() }}
	got := decode[standardView](t, get(t, New(set), "/api/standard"))
	if got.Store != "s1" || got.At != t0 || !got.Open || len(got.Spans) != 1 || got.Spans[0].Wait != nil || got.Spans[0].TimeZone != "Europe/Berlin" || len(got.Nodes) != 0 {
		t.Errorf("%+v", got)
	}
	set.Sites = site.Of(site.Registry{Stores: []site.Store{{ID: "s1"}, {ID: "s2"}}})
	for address, want := range map[string]int{
		"/api/standard": http.StatusBadRequest, "/api/standard?store=s3": http.StatusNotFound, "/api/standard?store=../x": http.StatusBadRequest,
		"/api/standard?store=s2&at=soon": http.StatusBadRequest, "/api/standard?store=s2&at=2025-01-01T00:00:00Z": http.StatusOK,
	} {
		if w := get(t, New(set), address); w.Code != want {
			t.Errorf("%s: %d, want %d: %s", address, w.Code, want, w.Body)
		}
	}
}
