package api

import (
	"net/http"

	"floorwatch"
	"floorwatch/cloud/site"
)

type siteView struct {
	Name     string           `json:"name"`
	Label    floorwatch.Label `json:"label"`
	TimeZone string           `json:"time_zone"`
	Path     []nodeView       `json:"path"` // of the org tree, from its top to what the store is below
	Edges    []edgeView       `json:"edges"`
}

type nodeView struct {
	Name  string           `json:"name"`
	Level string           `json:"level"`
	Label floorwatch.Label `json:"label"`
}

type edgeView struct {
	Name     string                    `json:"name"`
	Label    floorwatch.Label          `json:"label"`
	Cameras  []cameraView              `json:"cameras"`
	Counters []floorwatch.SceneCounter `json:"counters"`
}

// cameraView is a camera; in the list of all stores its names alone.
type cameraView struct {
	Name  string           `json:"name"`
	Label floorwatch.Label `json:"label"`
	*sceneView
}

// sceneView is what the camera's box has told of it.
type sceneView struct {
	Picture floorwatch.Size        `json:"picture"` // pixels that polygons are in; 0 x 0: those of the stream
	Stream  floorwatch.Size        `json:"stream"`
	Rev     string                 `json:"rev"`
	Since   floorwatch.Time        `json:"since"` // from when on this rev holds
	Zones   []floorwatch.SceneZone `json:"zones"`
	Lines   []floorwatch.Line      `json:"lines"`
	Masks   [][]floorwatch.Point   `json:"masks"`
	Notice  floorwatch.Label       `json:"notice"`
}

// sites answers /api/sites: with a store all that is known of it, else the names
// of all there is. Both as of a moment.
func (s *server) sites(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	id, err := nameParam(v, "store")
	if err != nil {
		return err
	}
	now := floorwatch.TimeOf(s.Now())
	at, err := timeParam(v, "at", now)
	if err != nil {
		return err
	}
	sites := s.Sites.At(at)
	ids := sites.Halls("")
	if id != "" {
		if _, ok := sites.Store(id); !ok {
			return &fault{http.StatusNotFound, "there is no store " + id, "see /api/sites; a closed one is there at a moment before it closed: at=…"}
		}
		ids = []string{id}
	}
	views := make([]siteView, 0, len(ids))
	for _, store := range ids {
		views = append(views, viewSite(sites, store, id != ""))
	}
	return writeJSON(w, map[string]any{"t": now, "stores": views})
}

func viewSite(sites site.At, id string, whole bool) siteView {
	store, _ := sites.Store(id)
	v := siteView{id, store.Label, store.TimeZone, []nodeView{}, []edgeView{}}
	for _, above := range sites.Path(id) {
		if n, _ := sites.Node(above); !n.Hall() {
			v.Path = append(v.Path, nodeView{n.ID, n.Level, n.Label})
		}
	}
	for _, e := range sites.Edges(id) {
		edge := edgeView{e.ID, e.Label, []cameraView{}, append([]floorwatch.SceneCounter{}, sites.Counters(id, e.ID)...)}
		for _, c := range sites.Cameras(id, e.ID) {
			edge.Cameras = append(edge.Cameras, viewCamera(c, whole))
		}
		v.Edges = append(v.Edges, edge)
	}
	return v
}

func viewCamera(c site.Camera, whole bool) cameraView {
	v := cameraView{Name: c.Name, Label: c.Label}
	if whole {
		told := floorwatch.TellScene(c.Name, c.Scene)
		v.sceneView = &sceneView{
			c.Scene.Picture, c.Stream, c.Rev, c.Since, told.Zones, told.Lines, append([][]floorwatch.Point{}, c.Masks...), c.Notice,
		}
	}
	return v
}
