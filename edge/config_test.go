package edge

import (
	"strings"
	"testing"

	"floorwatch/internal/config"
)

type file struct{ Config }

func (f *file) Check(r *config.Report) { f.Config.Check(r, "") }

const plain = `store: s1
edge: box
cameras:
  - name: lobby
    source: rtsp://camera/sub
`

func TestConfigRefusals(t *testing.T) {
	if err := config.Parse("edge.yaml", []byte(plain), &file{DefaultConfig()}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ add, want string }{
		"password in the source":      {"  - {name: b, source: \"rtsp://me:secret@camera/1\"}", "cameras[1].source: holds a password"},
		"password in the main stream": {"    main_source: rtsp://me:secret@camera/1", "cameras[0].main_source: holds a password"},
		"main stream of a file":       {"  - {name: b, source: film.mp4, main_source: \"rtsp://camera/1\"}", "main and sub stream are of one RTSP camera"},
		"no source":                   {"  - {name: b}", "cameras[1].source"},
		"two of a name":               {"  - {name: lobby, source: x.mp4}", "is already the name of"},
		"masks that footage shows":    {"    masks: {polygons: [[[0, 0], [9, 0], [9, 9]]]}", "footage would show what the masks hide"},
		"detector":                    {"    detector: magic", "want auto, motion, hog or nanodet"},
		"frames a second":             {"    fps: 0", "want 1 to 60"},
		"interval":                    {"interval: 7s", "whole number of intervals"},
		"policy":                      {"backup: {policy: sometimes}", "want none, alert, night or all"},
		"vault":                       {"backup: {url: cloud}", "want the cloud's address"},
		"night":                       {"backup: {night_from: 25:00}", "want a time of day"},
	} {
		t.Run(name, func(t *testing.T) {
			err := config.Parse("edge.yaml", []byte(plain+c.add+"\n"), &file{DefaultConfig()})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the message shows a password: %v", err)
			}
		})
	}
}
