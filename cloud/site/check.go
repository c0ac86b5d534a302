package site

import (
	"fmt"
	"time"

	"floorwatch/internal/config"
)

// Check reports what cannot be in the file that the registry was read from.
func (r *Registry) Check(rep *config.Report) {
	stores := map[string]string{}
	for i := range r.Stores {
		r.Stores[i].check(rep, fmt.Sprintf("stores[%d]", i), stores)
	}
	if len(r.Stores) == 0 {
		rep.Problem("stores", "want at least one store")
	}
	edges := map[string]map[string]string{} // names taken, by store
	for i := range r.Edges {
		e, key := &r.Edges[i], fmt.Sprintf("edges[%d]", i)
		if stores[e.Store] == "" {
			rep.Problem(key+".store", "want the id of a store that is listed under stores")
		}
		if edges[e.Store] == nil {
			edges[e.Store] = map[string]string{}
		}
		config.CheckName(rep, key+".id", e.ID, edges[e.Store])
		e.check(rep, key)
	}
}

func (s *Store) check(r *config.Report, key string, taken map[string]string) {
	config.CheckName(r, key+".id", s.ID, taken)
	if _, err := time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "" || s.TimeZone == "Local" {
		r.Problem(key+".time_zone", "want an IANA time zone such as Asia/Shanghai or Europe/Berlin")
	}
	for i, o := range s.Opening {
		at := fmt.Sprintf("%s.opening[%d]", key, i)
		if !o.validDays() {
			r.Problem(at+".days", "want days of mon, tue, wed, thu, fri, sat, sun: a span mon-fri or a list sat,sun")
		}
		if !o.validHours() {
			r.Problem(at, "want from before to, both like \"09:00\"; over midnight takes two entries")
		}
	}
}

func (e *Edge) check(r *config.Report, key string) {
	if k, err := e.Key.Public(); err != nil || len(k) == 0 {
		r.Problem(key+".key", "want the key that floorwatch-edge key prints: 44 characters of base64")
	}
	cameras, zones := map[string]string{}, map[string]string{}
	for i, c := range e.Cameras {
		at := fmt.Sprintf("%s.cameras[%d]", key, i)
		config.CheckName(r, at+".name", c.Name, cameras)
		c.CheckScene(r, at, zones)
	}
}
