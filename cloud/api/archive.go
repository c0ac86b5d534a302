package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/command"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
)

// Archive brings footage from its box, and holds it; vault.Archive is one. Safe
// for concurrent use.
type Archive interface {
	// Fetch returns when Clip can answer for the span. progress hears bytes: of
	// done, never less than before, and of all; it may block for a moment. Fetch
	// ends with ctx, and what has come by then is kept. vault.ErrNoFootage says that
	// the box has none of it, command.ErrAway that it does not answer,
	// vault.ErrStalled that nothing comes any more; any other error is logged and
	// not shown.
	Fetch(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time, progress func(done, total int64)) error
	// Hold keeps a span of at most floorwatch.MaxHoldSpan, durably, until Release.
	Hold(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time, why string) (id string, err error)
	// Release ends a hold; one that has ended is success, one that never was is
	// vault.ErrNoHold.
	Release(ctx context.Context, who account.Identity, id string) error
	// Holds returns those that last and overlap [from, to), in any order.
	Holds(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]vault.Hold, error)
}

// holdView is a span that is kept until someone releases it.
type holdView struct {
	ID   string          `json:"id"` // as floorwatch.ValidCommandID says
	From floorwatch.Time `json:"from"`
	To   floorwatch.Time `json:"to"`
	Why  string          `json:"why"`
	Who  string          `json:"who"` // as the access log names them
	At   floorwatch.Time `json:"at"`
	Told bool            `json:"told"` // the box has confirmed
}

const (
	maxFetches = 8   // that run at a time
	maxWhy     = 500 // bytes
)

var (
	onBox     = &fault{http.StatusConflict, vault.ErrNotHere.Error(), "ask /api/fetch for it, then again"}
	noHold    = &fault{http.StatusNotFound, "there is no such hold", "see the holds in /api/timeline"}
	noArchive = &fault{http.StatusNotFound, "footage is neither fetched nor held here", "this program has no vault; footage is on the box alone"}
)

// change is what a request that changes something must carry beside its method:
// browsers let no other site send this header without asking us first, and we
// never say yes.
const change = "X-Floorwatch"

// refuseChange refuses a request that may come from another site's page.
func refuseChange(r *http.Request) *fault {
	origin, err := url.Parse(r.Header.Get("Origin"))
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" || err != nil || r.Header.Get("Origin") != "" && origin.Host != r.Host {
		return &fault{http.StatusForbidden, "another site asked for this", "use the page of floorwatch itself"}
	}
	if r.Header.Get(change) == "" {
		return &fault{http.StatusForbidden, "the header " + change + " is missing", "send " + change + ": 1 with a request that changes something"}
	}
	return nil
}

// hold answers POST /api/hold: it keeps a span.
func (s *server) hold(w http.ResponseWriter, r *http.Request) error {
	if s.Archive == nil {
		return noArchive
	}
	if f := refuseChange(r); f != nil {
		return f
	}
	c, from, to, why, err := s.readHold(r)
	if err != nil {
		return err
	}
	id, err := s.Archive.Hold(r.Context(), account.Of(r), c, from, to, why)
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]string{"id": id})
}

// release answers DELETE /api/hold.
func (s *server) release(w http.ResponseWriter, r *http.Request) error {
	if s.Archive == nil {
		return noArchive
	}
	if f := refuseChange(r); f != nil {
		return f
	}
	id, err := param(r.URL.Query(), "id")
	if err != nil {
		return err
	}
	if !floorwatch.ValidCommandID(id) {
		return bad("take the id from /api/timeline", "parameter id is no hold")
	}
	if err := s.Archive.Release(r.Context(), account.Of(r), id); err != nil {
		return err
	}
	return writeJSON(w, map[string]string{"released": id})
}

// readHold reads the body of a POST, which ServeHTTP has bounded.
func (s *server) readHold(r *http.Request) (c site.Source, from, to floorwatch.Time, why string, err error) {
	var body struct {
		site.Source
		From floorwatch.Time `json:"from"`
		To   floorwatch.Time `json:"to"`
		Why  string          `json:"why"`
	}
	const form = `send {"store":…,"edge":…,"camera":…,"from":…,"to":…,"why":…} with times in Unix milliseconds, at most 4 KiB`
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return c, 0, 0, "", &fault{http.StatusUnsupportedMediaType, "the body is not JSON", "send Content-Type: application/json"}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if d.Decode(&body) != nil {
		return c, 0, 0, "", bad(form, "the hold cannot be read")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, 0, 0, "", bad(form, "something follows the hold")
	}
	c, err = s.camera(url.Values{"store": {body.Store}, "edge": {body.Edge}, "camera": {body.Camera}})
	if err != nil {
		return c, 0, 0, "", err
	}
	why = strings.TrimSpace(body.Why)
	switch {
	case body.From <= 0 || body.From >= body.To || body.To > floorwatch.MaxTime:
		return c, 0, 0, "", bad("from must lie before to, both after 1970", "the time range is empty")
	case body.To.Sub(body.From) > floorwatch.MaxHoldSpan:
		return c, 0, 0, "", bad("hold at most "+floorwatch.MaxHoldSpan.String()+" at once", "the time range is too long")
	case why == "" || len(why) > maxWhy || !utf8.ValidString(why) || strings.ContainsFunc(why, unicode.IsControl):
		return c, 0, 0, "", bad("say in 1 to 500 bytes of plain text why it is kept", "the reason cannot be taken")
	}
	return c, body.From, body.To, why, nil
}

// progressView is bytes.
type progressView struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// fetch answers /api/fetch, a stream of server-sent events: progress while
// footage comes from its box, then end, or failed with a code (none, away,
// refused, stalled, broken), an error and a hint.
func (s *server) fetch(w http.ResponseWriter, r *http.Request) error {
	c, from, to, err := s.clipParams(r.URL.Query())
	if err != nil {
		return err
	}
	if s.Archive == nil {
		return noArchive
	}
	// It asks something of the box, so no page of another site may start it.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return &fault{http.StatusForbidden, "another site asked for this", "use the page of floorwatch itself"}
	}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	select {
	case s.fetches <- struct{}{}:
		defer func() { <-s.fetches }()
	default:
		head.Set("Retry-After", "30")
		return &fault{http.StatusServiceUnavailable, "too much footage is being fetched already", "try again when some of it has come"}
	}
	return s.follow(r.Context(), account.Of(r), eventWriter{w, http.NewResponseController(w)}, c, from, to)
}

// follow runs the fetch and writes what it says, until it is over or the caller
// has gone; it never leaves the fetch behind.
func (s *server) follow(ctx context.Context, who account.Identity, out eventWriter, c site.Source, from, to floorwatch.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard, over := make(chan progressView, 1), make(chan error, 1)
	go func() {
		over <- s.Archive.Fetch(ctx, who, c, from, to, func(done, total int64) {
			select {
			case heard <- progressView{done, total}:
			case <-ctx.Done():
			}
		})
	}()
	tick := time.NewTicker(s.Heartbeat)
	defer tick.Stop()
	for err := out.ping(s.Now()); ; {
		if err != nil { // nobody reads any more
			cancel()
			<-over
			return gone(err)
		}
		select {
		case p := <-heard:
			err = out.value("progress", p)
		case <-tick.C:
			err = out.ping(s.Now())
		case end := <-over:
			return gone(s.fetched(ctx, out, c, end, heard))
		}
	}
}

// fetched writes the last word.
func (s *server) fetched(ctx context.Context, out eventWriter, c site.Source, err error, heard chan progressView) error {
	select {
	case p := <-heard:
		if err := out.value("progress", p); err != nil {
			return err
		}
	default:
	}
	if err == nil {
		return out.value("end", struct{}{})
	}
	say := func(code, what, hint string) error {
		return out.value("failed", map[string]string{"code": code, "error": what, "hint": hint})
	}
	switch {
	case errors.Is(err, vault.ErrNoFootage):
		return say("none", "the box has no footage of this time", "the timeline shows what was recorded, and the cause of each gap")
	case errors.Is(err, command.ErrAway):
		return say("away", "the box does not answer", "try again when it is online; the page of boxes says since when it is not")
	case errors.Is(err, vault.ErrRefused):
		return say("refused", err.Error(), "a box sends footage where backup.url stands in its configuration")
	case errors.Is(err, vault.ErrStalled):
		return say("stalled", "nothing comes from the box any more", "its line may be down or its upload budget for the day spent; what has come is kept, so try again later")
	case ctx.Err() != nil: // the caller left, or this program ends
		return nil
	}
	s.Log.Error("fetch footage from box", "store", c.Store, "edge", c.Edge, "camera", c.Camera, "error", err)
	return say("broken", "the footage could not be fetched", "try again; the log of the cloud says why")
}
