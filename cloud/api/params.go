package api

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/internal/config"
)

// Bounds of a query.
const (
	MaxSpan     = 32 * 24 * time.Hour // of records and series
	MaxClipSpan = 5 * time.Minute
	maxTracks   = 64
	defaultSpan = time.Hour
)

// knowing refuses a request with a parameter that the endpoint does not know, or
// that stands twice: an answer to a question that was not asked would be wrong.
func knowing(known []string, answer func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return bad("write names and values as a browser does: %20 for a blank, & between two, no ;", "the parameters cannot be read")
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if _, err := param(v, name); err != nil {
				return err
			}
			if !slices.Contains(known, name) {
				hint := "it takes no parameters"
				if near := config.Nearest(name, known); near != "" {
					hint = "did you mean " + near + "? It takes: " + strings.Join(known, ", ")
				} else if len(known) > 0 {
					hint = "it takes: " + strings.Join(known, ", ")
				}
				return bad(hint, "parameter %.40q is not known here", name)
			}
		}
		return answer(w, r)
	}
}

// param returns a parameter that is given at most once.
func param(v url.Values, name string) (string, error) {
	switch all := v[name]; {
	case len(all) == 0:
		return "", nil
	case len(all) > 1:
		return "", bad("give it once", "parameter %s is given %d times", name, len(all))
	default:
		return all[0], nil
	}
}

func nameParam(v url.Values, name string) (string, error) {
	s, err := param(v, name)
	if err != nil || s == "" {
		return "", err
	}
	if !floorwatch.ValidName(s) {
		return "", bad("use "+floorwatch.NameRule, "parameter %s is not a name", name)
	}
	return s, nil
}

func intParam(v url.Values, name string, def, lo, hi int) (int, error) {
	s, err := param(v, name)
	if err != nil || s == "" {
		return def, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n > hi {
		return 0, bad("give a whole number from "+strconv.Itoa(lo)+" to "+strconv.Itoa(hi), "parameter %s is out of range", name)
	}
	return n, nil
}

func timeParam(v url.Values, name string, def floorwatch.Time) (floorwatch.Time, error) {
	s, err := param(v, name)
	if err != nil || s == "" {
		return def, err
	}
	t := floorwatch.Time(-1)
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		t = floorwatch.Time(ms)
	} else if p, err := time.Parse(time.RFC3339Nano, s); err == nil {
		t = floorwatch.TimeOf(p)
	}
	if t < 0 || t > floorwatch.MaxTime {
		return 0, bad("give Unix milliseconds or RFC 3339, such as 2026-03-01T08:00:00Z", "parameter %s is not a time", name)
	}
	return t, nil
}

// span reads from and to; to defaults to now, from to span before it.
func (s *server) span(v url.Values, def, limit time.Duration) (from, to floorwatch.Time, err error) {
	if to, err = timeParam(v, "to", floorwatch.TimeOf(s.Now())); err != nil {
		return 0, 0, err
	}
	if from, err = timeParam(v, "from", max(0, to.Add(-def))); err != nil {
		return 0, 0, err
	}
	if from >= to {
		return 0, 0, bad("from must lie before to", "the time range is empty")
	}
	if to.Sub(from) > limit {
		return 0, 0, bad("ask for at most "+limit.String(), "the time range is too long")
	}
	return from, to, nil
}

// source reads store, edge and camera. A store or edge that is not given is the
// only one there is; camera stays empty when it is not given.
func (s *server) source(v url.Values) (c site.Source, err error) {
	if c.Store, err = nameParam(v, "store"); err != nil {
		return c, err
	}
	if c.Edge, err = nameParam(v, "edge"); err != nil {
		return c, err
	}
	if c.Camera, err = nameParam(v, "camera"); err != nil {
		return c, err
	}
	return s.Sites.Now().Complete(c)
}

// camera is source for endpoints that need a camera.
func (s *server) camera(v url.Values) (site.Source, error) {
	c, err := s.source(v)
	if err != nil {
		return c, err
	}
	return s.Sites.Now().CompleteCamera(c)
}

// query reads what the record endpoints share.
func (s *server) query(v url.Values, defLimit, maxLimit int) (q influx.Query, err error) {
	c, err := s.source(v)
	if err != nil {
		return q, err
	}
	q.Store, q.Edge, q.Camera = c.Store, c.Edge, c.Camera
	if q.Zone, err = nameParam(v, "zone"); err != nil {
		return q, err
	}
	if q.From, q.To, err = s.span(v, defaultSpan, MaxSpan); err != nil {
		return q, err
	}
	q.Limit, err = intParam(v, "limit", defLimit, 1, maxLimit)
	return q, err
}

// wantCSV reads format.
func wantCSV(v url.Values) (bool, error) {
	f, err := param(v, "format")
	if err != nil {
		return false, err
	}
	if f != "" && f != "json" && f != "csv" {
		return false, bad("use json or csv", "parameter format is unknown")
	}
	return f == "csv", nil
}

// minQuality reads min_quality, 0 when it is not given.
func minQuality(v url.Values) (float64, error) {
	s, err := param(v, "min_quality")
	if err != nil || s == "" {
		return 0, err
	}
	q, err := strconv.ParseFloat(s, 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0, bad("give a number from 0 to 1", "parameter min_quality is out of range")
	}
	return q, nil
}

var revRE = regexp.MustCompile(`^[0-9A-Za-z_-]{1,200}$`)

// revParam reads rev, the version of a zone's geometry.
func revParam(v url.Values) (string, error) {
	rev, err := param(v, "rev")
	if err == nil && rev != "" && !revRE.MatchString(rev) {
		err = bad("give a rev as records carry it", "parameter rev is none")
	}
	return rev, err
}

// tracks reads a comma-separated list of track ids.
func tracks(v url.Values) (map[int64]bool, error) {
	s, err := param(v, "tracks")
	if err != nil || s == "" {
		return nil, err
	}
	parts := strings.Split(s, ",")
	if len(parts) > maxTracks {
		return nil, bad("name at most 64", "parameter tracks names %d ids", len(parts))
	}
	ids := make(map[int64]bool, len(parts))
	for _, p := range parts {
		id, err := strconv.ParseInt(p, 10, 64)
		if err != nil || id < 0 {
			return nil, bad("give whole numbers, split by commas", "parameter tracks is not a list of ids")
		}
		ids[id] = true
	}
	return ids, nil
}
