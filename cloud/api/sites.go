package api

import (
	"net/http"
	"time"

	"floorwatch"
)

// Site describes a store: its name in topics and tags, its label, its IANA time
// zone (pages show its times), and what stands in it.
type Site struct {
	Name     string
	Label    floorwatch.Label
	TimeZone string // such as Asia/Shanghai; "" = UTC
	// Open tells whether the store is open at a moment; nil: it always counts as.
	Open  func(time.Time) bool
	Edges []Edge
}

// Edge is a box in a store.
type Edge struct {
	Name    string
	Label   floorwatch.Label
	Cameras []Camera
}

// Camera is one picture and the zones on it. Notice is a line that the page
// shows above its figures: what to know before reading them.
type Camera struct {
	Name   string
	Label  floorwatch.Label
	Scene  floorwatch.Scene
	Stream floorwatch.Size // of the stream, when known
	Notice floorwatch.Label
}

type siteView struct {
	Name     string           `json:"name"`
	Label    floorwatch.Label `json:"label"`
	TimeZone string           `json:"time_zone"`
	Edges    []edgeView       `json:"edges"`
}

type edgeView struct {
	Name    string           `json:"name"`
	Label   floorwatch.Label `json:"label"`
	Cameras []cameraView     `json:"cameras"`
}

type cameraView struct {
	Name    string            `json:"name"`
	Label   floorwatch.Label  `json:"label"`
	Picture floorwatch.Size   `json:"picture"` // pixels that polygons are in; 0 x 0: those of the stream
	Stream  floorwatch.Size   `json:"stream"`
	Rev     string            `json:"rev"`
	Zones   []zoneView        `json:"zones"`
	Lines   []floorwatch.Line `json:"lines"`
	Notice  floorwatch.Label  `json:"notice"`
}

type zoneView struct {
	Name      string             `json:"name"`
	Label     floorwatch.Label   `json:"label"`
	Role      floorwatch.Role    `json:"role"`
	Polygon   []floorwatch.Point `json:"polygon"`
	MinStayS  float64            `json:"min_stay_s"`
	MergeGapS float64            `json:"merge_gap_s"`
	ReachS    float64            `json:"reach_s"` // of a queue: how soon after leaving it a counter is reached
	Serves    []string           `json:"serves"`  // of a service zone: its queues; none = all
}

func (s *server) sites(w http.ResponseWriter, _ *http.Request) error {
	views := make([]siteView, 0, len(s.Sites))
	for _, site := range s.Sites {
		v := siteView{site.Name, site.Label, site.TimeZone, []edgeView{}}
		if v.TimeZone == "" {
			v.TimeZone = "UTC"
		}
		for _, e := range site.Edges {
			v.Edges = append(v.Edges, viewEdge(e))
		}
		views = append(views, v)
	}
	return writeJSON(w, map[string]any{"t": floorwatch.TimeOf(s.Now()), "stores": views})
}

func viewEdge(e Edge) edgeView {
	v := edgeView{e.Name, e.Label, []cameraView{}}
	for _, c := range e.Cameras {
		cv := cameraView{
			Name: c.Name, Label: c.Label, Picture: c.Scene.Picture, Stream: c.Stream,
			Rev: c.Scene.Rev(), Zones: []zoneView{}, Lines: c.Scene.Lines, Notice: c.Notice,
		}
		for _, z := range c.Scene.Zones {
			cv.Zones = append(cv.Zones, zoneView{
				z.Name, z.Label, z.Role, z.Polygon,
				floorwatch.Seconds(z.MinStay), floorwatch.Seconds(z.MergeGap), floorwatch.Seconds(z.Reach), z.Serves,
			})
		}
		v.Cameras = append(v.Cameras, cv)
	}
	return v
}

// edge returns the configured edge of c, which source has found before.
func (s *server) edge(c Source) Edge {
	for _, site := range s.Sites {
		for _, e := range site.Edges {
			if site.Name == c.Store && e.Name == c.Edge {
				return e
			}
		}
	}
	return Edge{}
}
