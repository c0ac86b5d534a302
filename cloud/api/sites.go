package api

import (
	"cmp"
	"net/http"

	"floorwatch"
	"floorwatch/cloud/site"
)

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
	views := make([]siteView, 0, len(s.Registry.Stores))
	for _, store := range s.Registry.Stores {
		v := siteView{store.ID, store.Label, cmp.Or(store.TimeZone, "UTC"), []edgeView{}}
		for _, e := range s.Registry.EdgesOf(store.ID) {
			v.Edges = append(v.Edges, viewEdge(e))
		}
		views = append(views, v)
	}
	return writeJSON(w, map[string]any{"t": floorwatch.TimeOf(s.Now()), "stores": views})
}

func viewEdge(e site.Edge) edgeView {
	v := edgeView{e.ID, e.Label, []cameraView{}}
	for _, c := range e.Cameras {
		scene := c.Scene()
		cv := cameraView{
			Name: c.Name, Label: c.Label, Picture: scene.Picture, Stream: c.Stream,
			Rev: scene.Rev(), Zones: []zoneView{}, Lines: scene.Lines, Notice: c.Notice,
		}
		for _, z := range scene.Zones {
			cv.Zones = append(cv.Zones, zoneView{
				z.Name, z.Label, z.Role, z.Polygon,
				floorwatch.Seconds(z.MinStay), floorwatch.Seconds(z.MergeGap), floorwatch.Seconds(z.Reach), z.Serves,
			})
		}
		v.Cameras = append(v.Cameras, cv)
	}
	return v
}
