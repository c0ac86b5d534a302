// Package api is HTTP for programs: the figures, the footage and the live state
// of floorwatch as JSON, CSV, MP4 and server-sent events. New returns one
// handler; what it reads comes through the interfaces declared here, and the
// pages for people (package web) are mounted beside it.
//
// Here are parameters and encodings; what is asked and how it is answered is in
// figures, fleet and vault. docs/api.md lists the endpoints and their parameters.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/internal/fmp4"
)

// Footage is where recorded video comes from; vault.Archive is one. Clip returns
// what there is of [from, to), vault.ErrNoFootage when there is nothing, and
// vault.ErrNotHere while it lies on its box still: Archive.Fetch brings it. Safe
// for concurrent use.
type Footage interface {
	Segments(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Segment, error)
	Clip(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error)
}

// Pictures is what a camera worker saw: its lines in [from, to), events among
// them, and the newest still as a JPEG with its capture time; picture.Pictures is
// one. An error says why there is nothing, or, beside what is returned, why there
// is nothing newer or some is missing: picture.ErrAway, ErrOutdated or ErrNone, or
// another that it has logged. Safe for concurrent use.
type Pictures interface {
	Lines(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Frame, error)
	Still(ctx context.Context, c site.Source) (jpeg []byte, t floorwatch.Time, err error)
}

// Settings of the handler. Figures, Hub and Fleet are required; without Footage or
// Pictures the answers that need them are 404 and say so.
type Settings struct {
	Sites    *site.Live
	Figures  figures.Reader
	Footage  Footage
	Pictures Pictures
	Archive  Archive // nil: nothing is fetched from boxes, nothing can be held
	Hub      *Hub
	Fleet    *fleet.Fleet
	Pages    http.Handler     // everything outside /api/ and /healthz; nil = 404
	Hosts    []string         // further Host names accepted beside loopback ones
	Log      *slog.Logger     // nil = discard
	Now      func() time.Time // nil = time.Now
	// Heartbeat is the time between two pings of an event stream; 0 = 10 s.
	Heartbeat time.Duration
}

type server struct {
	Settings
	mux     *http.ServeMux
	figures figures.Figures
	clips   clipCache
	// fetches bounds those that run at a time.
	fetches chan struct{}
}

// New returns the handler of the whole site.
func New(set Settings) http.Handler {
	if set.Log == nil {
		set.Log = slog.New(slog.DiscardHandler)
	}
	if set.Now == nil {
		set.Now = time.Now
	}
	if set.Hub == nil {
		set.Hub = NewHub(fleet.NewLive())
	}
	if set.Heartbeat <= 0 {
		set.Heartbeat = 10 * time.Second
	}
	s := &server{Settings: set, mux: http.NewServeMux(), figures: figures.Figures{Sites: set.Sites, Reader: set.Figures, Now: set.Now}}
	s.clips.load = make(chan struct{}, 2)
	s.fetches = make(chan struct{}, maxFetches)
	allowed := map[string][]string{} // by path
	for _, e := range []struct {
		pattern string
		answer  func(http.ResponseWriter, *http.Request) error
		params  string // that it knows; every other is refused
	}{
		{"GET /api/sites", s.sites, "store at"},
		{"GET /api/standard", s.standard, "store at"},
		{"GET /api/live", s.live, "store"},
		{"GET /api/events", s.events, "store"},
		{"GET /api/stays", s.stays, "store edge camera zone from to limit rev min_quality format"},
		{"GET /api/waits", s.waits, "store edge camera zone from to limit rev min_quality format"},
		{"GET /api/waits/summary", s.waitSummary, "store edge camera zone from to min_quality cohort target"},
		{"GET /api/waits/series", s.waitSeries, "store edge camera zone from to min_quality step target format"},
		{"GET /api/compare", s.compare, "store edge camera zone from to min_quality b_store b_edge b_camera b_zone b_from b_to"},
		{"GET /api/intervals", s.intervals, "store edge camera zone from to limit rev min_quality format"},
		{"GET /api/series", s.series, "store edge camera zone from to min_quality step format"},
		{"GET /api/counts", s.counts, "store edge camera from to step format"},
		{"GET /api/timeline", s.timeline, "store edge camera from to"},
		{"GET /api/clip", s.clip, "store edge camera from to tracks at"},
		{"GET /api/clip.mp4", s.clipFile, "store edge camera from to"},
		{"GET /api/fetch", s.fetch, "store edge camera from to"},
		{"POST /api/hold", s.hold, ""},
		{"DELETE /api/hold", s.release, "id"},
		{"GET /api/boxes", s.boxes, "scope q state trouble sort offset limit"},
		{"GET /api/still.jpg", s.still, "store edge camera"},
		{"GET /healthz", s.healthz, ""},
	} {
		s.mux.Handle(e.pattern, s.answer(knowing(strings.Fields(e.params), e.answer)))
		method, path, _ := strings.Cut(e.pattern, " ")
		allowed[path] = append(allowed[path], method)
	}
	for path, methods := range allowed { // with any other method
		s.mux.Handle(path, only(methods, nil))
	}
	read := []string{http.MethodGet}
	s.mux.Handle("/api/", only(read, s.answer(func(http.ResponseWriter, *http.Request) error {
		return &fault{http.StatusNotFound, "no such endpoint", "see the list in docs/api.md"}
	})))
	if set.Pages != nil {
		s.mux.Handle("/", only(read, set.Pages))
	}
	return s
}

// maxURL bounds the request line; the server bounds the headers.
const maxURL = 8 << 10

// ServeHTTP guards every request before it reaches an endpoint. Pages bind to
// loopback, where any site that a browser visits could reach them by DNS
// rebinding; so the Host must be one that we answer to, and requests that a
// browser marks as cross-site are refused.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if f := s.refuse(r); f != nil {
		writeFault(w, f)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// only lets requests with one of the methods pass; to others it says which they are.
func only(methods []string, next http.Handler) http.Handler {
	if slices.Contains(methods, http.MethodGet) {
		methods = append(slices.Clone(methods), http.MethodHead)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(methods, r.Method) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		writeFault(w, &fault{http.StatusMethodNotAllowed, "method not allowed here", "use " + strings.Join(methods, " or ")})
	})
}

func (s *server) refuse(r *http.Request) *fault {
	api := strings.HasPrefix(r.URL.Path, "/api/")
	switch {
	case r.URL.Path != "/healthz" && !s.knownHost(r.Host):
		return &fault{http.StatusForbidden, "this host name is not served here", "open the page by its loopback address, or list the name in the configuration"}
	case len(r.RequestURI) > maxURL:
		return &fault{http.StatusRequestURITooLong, "the address is too long", "send fewer or shorter parameters"}
	case api && r.Header.Get("Sec-Fetch-Site") == "cross-site":
		return &fault{http.StatusForbidden, "another site asked for this", "open the address directly"}
	}
	return nil
}

// knownHost tells whether the Host header names this machine's loopback or one
// of Settings.Hosts.
func (s *server) knownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(s.Hosts, host)
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]any{"ok": true, "t": floorwatch.TimeOf(s.Now())})
}

// still answers /api/still.jpg. The header Floorwatch-Why says why there is no
// picture, or, beside one, why there is none that is newer.
func (s *server) still(w http.ResponseWriter, r *http.Request) error {
	c, err := s.camera(r.URL.Query())
	if err != nil {
		return err
	}
	jpeg, t, err := []byte(nil), floorwatch.Time(0), picture.ErrNone
	if s.Pictures != nil {
		jpeg, t, err = s.Pictures.Still(r.Context(), c)
	}
	why, fault := whyNot(err)
	if why != "" {
		w.Header().Set("Floorwatch-Why", why)
	}
	if len(jpeg) == 0 {
		return fault
	}
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Capture-Time", t.String())
	_, err = w.Write(jpeg)
	return gone(err)
}

// whyNot says why there is no picture, or none that is newer: a word for pages, and
// what is told to others. "" when there is one.
func whyNot(err error) (why string, f *fault) {
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, picture.ErrAway):
		return "away", &fault{http.StatusNotFound, "the box does not answer", "the page of boxes says since when it is not online; the picture comes when it is back"}
	case errors.Is(err, picture.ErrOutdated):
		return "outdated", &fault{http.StatusNotFound, "the box's program is too old to send pictures", "install this version on the box"}
	case errors.Is(err, picture.ErrNone):
		return "none", &fault{http.StatusNotFound, err.Error(), "check on the box that the camera worker runs and that its source opens: floorwatch doctor"}
	}
	return "broken", &fault{http.StatusNotFound, "the box's answer cannot be used", "the log of the cloud says why"}
}
