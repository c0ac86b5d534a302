package doctor

import (
	"strings"
	"testing"

	"floorwatch/internal/finding"

	"floorwatch"
)

func TestZonesAgainstThePicture(t *testing.T) {
	t.Parallel()
	zone := func(x, y float64) []floorwatch.Zone {
		return []floorwatch.Zone{{Name: "queue", Polygon: []floorwatch.Point{{X: 0, Y: 0}, {X: x, Y: 0}, {X: x, Y: y}}}}
	}
	for name, c := range map[string]struct {
		drawn         floorwatch.Size
		zones         []floorwatch.Zone
		result, found string
	}{
		"inside":              {floorwatch.Size{Width: 640, Height: 480}, zone(640, 480), finding.OK, "1 zone(s)"},
		"of the same shape":   {floorwatch.Size{Width: 1280, Height: 960}, zone(1280, 960), finding.OK, "1 zone(s)"},
		"of another shape":    {floorwatch.Size{Width: 1280, Height: 720}, zone(640, 480), finding.Warn, "another shape"},
		"beyond":              {floorwatch.Size{}, zone(800, 480), finding.Warn, "zone queue reaches beyond"},
		"a little beyond":     {floorwatch.Size{}, zone(650, 480), finding.OK, "1 zone(s)"},
		"a camera of no zone": {floorwatch.Size{}, nil, finding.OK, "0 zone(s)"},
	} {
		got := fits(Camera{Scene: floorwatch.Scene{Picture: c.drawn, Zones: c.zones}}, floorwatch.Size{Width: 640, Height: 480})
		if len(got) != 1 || got[0].Result != c.result || !strings.Contains(got[0].Found, c.found) {
			t.Errorf("%s: %+v, want %s %s", name, got, c.result, c.found)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	const source = "rtsp://admin:s%20cret@camera/1"
	for _, text := range []string{
		"open " + source + ": refused", "user admin:s%20cret", "password s cret", "password s+cret",
	} {
		if got := hideSecrets(text, source); strings.Contains(got, "cret") || !strings.Contains(got, strings.Fields(text)[0]) {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := hideSecrets("two\n lines", "0"); got != "two lines" {
		t.Errorf("%q", got)
	}
}
