package api

import (
	"maps"
	"net/http"
	"net/url"
	"strings"

	"floorwatch"
	"floorwatch/cloud/site"
	"floorwatch/cloud/waits"
)

// WaitComparison is how far two windows are apart: two days of one queue zone, or
// two queue zones.
type WaitComparison struct {
	MinQuality float64      `json:"min_quality"`
	A          ComparedZone `json:"a"`
	B          ComparedZone `json:"b"`
	waits.Comparison
}

// ComparedZone is where one side's waits come from. Redrawn says that only the
// part of the window since then was measured with this zone.
type ComparedZone struct {
	site.Source
	Zone     string           `json:"zone"`
	Rev      string           `json:"rev"`
	Redrawn  *floorwatch.Time `json:"redrawn"`
	Coverage float64          `json:"coverage"`
	Quality  *float64         `json:"quality"`
	LeftOut  LeftOut          `json:"left_out"`
	waits.Compared
}

// compare answers /api/compare. The other side has the same parameters with b_
// before them; those that are not given are as on the first side.
func (s *server) compare(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	least, err := minQuality(v)
	if err != nil {
		return err
	}
	a, first, err := s.side(r, v, least)
	if err != nil {
		return err
	}
	b, second, err := s.side(r, otherSide(v), least)
	if err != nil {
		return err
	}
	c := waits.Compare(first, a.Window, second, b.Window)
	a.Compared, b.Compared = c.A, c.B
	return writeJSON(w, WaitComparison{MinQuality: least, A: a, B: b, Comparison: c})
}

// otherSide returns the parameters of the second side.
func otherSide(v url.Values) url.Values {
	b := maps.Clone(v)
	for name, values := range v {
		if plain, ok := strings.CutPrefix(name, "b_"); ok {
			b[plain] = values
		}
	}
	return b
}

// side reads one side's waits.
func (s *server) side(r *http.Request, v url.Values, least float64) (c ComparedZone, recs []floorwatch.Wait, err error) {
	q, err := s.query(v, 0, MaxStays)
	if err != nil {
		return c, nil, err
	}
	zone, err := s.queue(q)
	if err != nil {
		return c, nil, err
	}
	d, err := s.readQueue(r.Context(), q, zone, q.From, q.To, least)
	if err != nil {
		return c, nil, err
	}
	w := waits.Window{From: q.From, To: q.To}
	c = ComparedZone{
		Source: site.Source{Store: q.Store, Edge: q.Edge, Camera: zone.camera}, Zone: zone.zone, Rev: d.rev, Redrawn: d.redrawn,
		Coverage: min(1, observed(d.ivs, q.From, q.To)/floorwatch.Seconds(q.To.Sub(q.From))),
		Quality:  meanQuality(d.in(w)), LeftOut: d.leftOut(w), Compared: waits.Compared{Window: w},
	}
	return c, d.recs, nil
}
