// Package api is HTTP for programs: the figures, the footage and the live state
// of floorwatch as JSON, CSV, MP4 and server-sent events. New returns one
// handler; what it reads comes through the interfaces declared here, and the
// pages for people (package web) are mounted beside it.
//
// Everything is read-only, GET and HEAD, but for holds. Times in a query are Unix milliseconds
// or RFC 3339; times in an answer are Unix milliseconds, in CSV RFC 3339, UTC.
//
//	/api/sites        stores, edges, cameras, zones, notices
//	/api/live         newest live figure per zone, state per edge
//	/api/events       the same as it changes, and records as they are stored (SSE)
//	/api/stays        stays that ended in [from, to), newest first; limit
//	/api/waits        waits that ended in [from, to), newest first; limit
//	/api/waits/summary figures of one queue zone; cohort=finished|began, target (s)
//	/api/waits/series buckets for charts of waits; step, target
//	/api/compare      how far the waits of two windows are apart; b_from, b_to, b_store, …
//	/api/intervals    interval records, oldest first; limit
//	/api/series       buckets for charts: occupancy, arrivals, stays, coverage; step
//	/api/counts       buckets of entries and exits per line, today's, and who is inside; step
//	/api/timeline     spans of footage, gaps with their causes, holds
//	/api/clip         a clip's start, end, address and boxes; tracks, at; 409 with
//	                  elsewhere: true while the footage is on its box alone
//	/api/clip.mp4     its bytes, in ranges
//	/api/fetch        brings the footage of a clip from its box; progress (SSE)
//	/api/hold         POST keeps a span until DELETE with its id releases it; both
//	                  need the header X-Floorwatch
//	/api/boxes        every box: presence, figures, cameras, what is wrong
//	/api/still.jpg    the newest picture; X-Capture-Time says of when
//	/healthz          ok
//
// Common parameters are store, edge, camera, zone, from and to; stays, waits,
// intervals and both series take format=csv. A store, edge or camera that is the
// only one need not be named. min_quality (0 to 1) leaves intervals below it, and
// the records that ended in them, out of records, series, summaries and
// comparisons, which say how much that was.
//
// An error is {"error": what went wrong, "hint": what to do next}.
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
	"floorwatch/cloud/site"
	"floorwatch/internal/clip"
)

// ErrNotFound is what Pictures returns (wrapped or not) when there is nothing.
var ErrNotFound = errors.New("not found")

// Footage is where recorded video comes from; vault.Archive is one. Clip returns
// what there is of [from, to), vault.ErrNoFootage when there is nothing, and
// vault.ErrNotHere while it lies on its box still: Archive.Fetch brings it. Safe
// for concurrent use.
type Footage interface {
	Segments(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Segment, error)
	Clip(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time) (clip.Clip, error)
}

// Pictures is what a camera worker saw: its lines in [from, to), events among
// them, and the newest still as a JPEG with its capture time. Safe for
// concurrent use; ErrNotFound when there is nothing.
type Pictures interface {
	Lines(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Frame, error)
	Still(ctx context.Context, c site.Source) (jpeg []byte, t floorwatch.Time, err error)
}

// Settings of the handler. Figures, Hub and Fleet are required; without Footage or
// Pictures the answers that need them are 404 and say so.
type Settings struct {
	Registry site.Registry
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
	s := &server{Settings: set, mux: http.NewServeMux(), figures: figures.Figures{Registry: set.Registry, Reader: set.Figures, Now: set.Now}}
	s.clips.load = make(chan struct{}, 2)
	s.fetches = make(chan struct{}, maxFetches)
	for path, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/api/sites": s.sites, "/api/live": s.live, "/api/events": s.events,
		"/api/waits": s.waits, "/api/waits/summary": s.waitSummary, "/api/waits/series": s.waitSeries, "/api/compare": s.compare,
		"/api/counts": s.counts, "/api/stays": s.stays, "/api/intervals": s.intervals, "/api/series": s.series,
		"/api/timeline": s.timeline, "/api/clip": s.clip, "/api/clip.mp4": s.clipFile,
		"/api/fetch": s.fetch, holdPath: s.holds, "/api/boxes": s.boxes,
		"/api/still.jpg": s.still, "/healthz": s.healthz,
	} {
		s.mux.Handle(path, s.answer(h))
	}
	s.mux.Handle("/api/", s.answer(func(http.ResponseWriter, *http.Request) error {
		return &fault{http.StatusNotFound, "no such endpoint", "see the list in the documentation of cloud/api"}
	}))
	if set.Pages != nil {
		s.mux.Handle("/", set.Pages)
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
		if f.status == http.StatusMethodNotAllowed {
			h.Set("Allow", strings.Join(methods(r), ", "))
		}
		writeFault(w, f)
		return
	}
	if r.Method == http.MethodOptions {
		h.Set("Allow", strings.Join(methods(r), ", "))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// holdPath is the only one at which something can be changed.
const holdPath = "/api/hold"

func methods(r *http.Request) []string {
	if r.URL.Path == holdPath {
		return []string{http.MethodPost, http.MethodDelete}
	}
	return []string{http.MethodGet, http.MethodHead}
}

func (s *server) refuse(r *http.Request) *fault {
	api := strings.HasPrefix(r.URL.Path, "/api/")
	switch {
	case r.URL.Path != "/healthz" && !s.knownHost(r.Host):
		return &fault{http.StatusForbidden, "this host name is not served here", "open the page by its loopback address, or list the name in the configuration"}
	case len(r.RequestURI) > maxURL:
		return &fault{http.StatusRequestURITooLong, "the address is too long", "send fewer or shorter parameters"}
	case r.Method != http.MethodOptions && !slices.Contains(methods(r), r.Method):
		return &fault{http.StatusMethodNotAllowed, "this address does not do that", "use " + strings.Join(methods(r), " or ")}
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

// boxes answers /api/boxes, those in trouble first.
func (s *server) boxes(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, map[string]any{"boxes": s.Fleet.Boxes(r.Context()), "t": floorwatch.TimeOf(s.Now())})
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]any{"ok": true, "t": floorwatch.TimeOf(s.Now())})
}

func (s *server) still(w http.ResponseWriter, r *http.Request) error {
	c, err := s.camera(r.URL.Query())
	if err != nil {
		return err
	}
	if s.Pictures == nil {
		return noPicture
	}
	jpeg, t, err := s.Pictures.Still(r.Context(), c)
	if errors.Is(err, ErrNotFound) {
		return noPicture
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Capture-Time", t.String())
	_, err = w.Write(jpeg)
	return gone(err)
}

var noPicture = &fault{http.StatusNotFound, "this camera has given no picture yet", "check that the camera worker runs and that its source opens"}
