package api

import (
	"net/http"

	"floorwatch"
	"floorwatch/cloud/site"
)

// standardView is what holds in a hall from a moment on: the first span is in force
// then.
type standardView struct {
	T     floorwatch.Time             `json:"t"`
	Store string                      `json:"store"`
	At    floorwatch.Time             `json:"at"`
	Open  bool                        `json:"open"` // at that moment
	Spans []floorwatch.HallSpan       `json:"spans"`
	Nodes map[string]floorwatch.Label `json:"nodes"` // names of those who set something
}

// standard answers /api/standard. There is nothing here to change it with: that is
// done where the metadata lies, and signed.
func (s *server) standard(w http.ResponseWriter, r *http.Request) error {
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
	snapshot := s.Sites.Snapshot()
	sites := snapshot.At(at)
	if halls := sites.Halls(""); id == "" && len(halls) == 1 {
		id = halls[0]
	}
	if id == "" {
		return &site.NameError{What: "store"}
	}
	if _, ok := sites.Store(id); !ok {
		return &fault{http.StatusNotFound, "there is no store " + id, "see /api/sites; a closed one is there at a moment before it closed: at=…"}
	}
	out := standardView{now, id, at, sites.Open(id), snapshot.HallStandard(id, at).Spans, map[string]floorwatch.Label{}}
	for _, span := range out.Spans {
		if span.Wait == nil {
			continue
		}
		if n, ok := snapshot.At(span.From).Node(span.Wait.Node); ok {
			out.Nodes[n.ID] = n.Label
		}
	}
	return writeJSON(w, out)
}
