package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/internal/fmp4"
)

// seen is what a camera saw, and why there is no more of it.
type seen struct {
	*memory
	jpeg []byte
	why  error
}

func (s *seen) Still(context.Context, site.Source) ([]byte, floorwatch.Time, error) {
	return s.jpeg, t0, s.why
}

func (s *seen) Lines(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]floorwatch.Frame, error) {
	return s.lines, s.why
}

// TestPicturesSayWhyTheyAreOld: each reason has its word, with a picture and
// without, and a clip plays all the same.
func TestPicturesSayWhyTheyAreOld(t *testing.T) {
	for word, why := range map[string]error{
		"":         nil,
		"away":     fmt.Errorf("%w: it is offline", picture.ErrAway),
		"outdated": fmt.Errorf("%w: it is version 0.9", picture.ErrOutdated),
		"none":     fmt.Errorf("%w: the lens is covered", picture.ErrNone),
		"broken":   errors.New("/secret/path: the signature is not that of the box"),
	} {
		m := &memory{
			clip:  fmp4.Clip{Start: t0, End: t0 + 1000, Data: []byte("x"), Codec: "avc1.42c01f"},
			lines: []floorwatch.Frame{{T: t0, W: 9, H: 9, People: []floorwatch.Person{{ID: 1, W: 1, H: 1}}}},
		}
		s := &seen{m, []byte("a picture"), why}
		h := New(Settings{Sites: shop("", camera("cam", floorwatch.Scene{})), Figures: m, Footage: m, Pictures: s})
		w := get(t, h, "/api/still.jpg")
		if w.Code != 200 || w.Header().Get("Floorwatch-Why") != word || w.Header().Get("X-Capture-Time") != t0.String() || w.Body.String() != "a picture" {
			t.Errorf("%s: %d %v %s", word, w.Code, w.Header(), w.Body)
		}
		w = get(t, h, fmt.Sprintf("/api/clip?from=%d&to=%d", t0, t0+1000))
		var clip struct {
			Missing string
			Frames  []frameView
		}
		if err := json.Unmarshal(w.Body.Bytes(), &clip); err != nil || w.Code != 200 || clip.Missing != word || len(clip.Frames) != 1 {
			t.Errorf("%s: %d %s", word, w.Code, w.Body)
		}
		if s.jpeg = nil; word == "" {
			continue
		}
		w = get(t, h, "/api/still.jpg")
		if w.Code != 404 || w.Header().Get("Floorwatch-Why") != word || !strings.Contains(w.Body.String(), `"hint"`) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %v %s", word, w.Code, w.Header(), w.Body)
		}
	}
}
