package edge

import (
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/edge/outbox"
)

// TestDoctorOfABox fills in the tests of a box from its configuration, and sees
// the box run by the lock of its outbox.
func TestDoctorOfABox(t *testing.T) {
	t.Parallel()
	c := DefaultBoxConfig()
	c.Store, c.Edge, c.Data = "shop", "box", t.TempDir()
	c.Cameras = []Camera{
		{Name: "film", Source: "film.mp4", Record: true},
		{Name: "door", Source: "rtsp://camera/sub", Main: "rtsp://camera/main", Record: true},
		{Name: "hall", Source: "rtsp://camera/hall", Record: true},
		{Name: "eyes", Source: "rtsp://camera/eyes"},
	}
	d := c.Doctor()
	for i, want := range []string{"", "rtsp://camera/main", "rtsp://camera/hall", ""} {
		if got := d.Cameras[i].Recorded; got != want {
			t.Errorf("%s: %q is recorded, want %q", d.Cameras[i].Name, got, want)
		}
	}
	if d.Login == nil || d.Metrics == "" || c.Config.Doctor().Login != nil {
		t.Errorf("%+v", d)
	}
	state := func() string { return d.Parts()[0].Test(t.Context())[0].Found }
	if got := state(); got != "shop/box, 4 camera(s); the box is not running" {
		t.Error(got)
	}
	o, err := outbox.Open(outbox.Settings{Dir: filepath.Join(c.Data, outboxDir)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	if got := state(); !strings.HasSuffix(got, "the box is running") {
		t.Error(got)
	}
}
