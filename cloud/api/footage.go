package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/fmp4"
)

// spanView is footage without a break, or a gap with its cause.
type spanView struct {
	Start floorwatch.Time `json:"start"`
	End   floorwatch.Time `json:"end"`
	Cause string          `json:"cause,omitempty"`
}

// Causes that the timeline adds to those that the records name.
const (
	causeUnexplained = "unexplained" // neither footage nor a gap says what was
	causeOpen        = "open"        // being written, not sealed yet
)

// Bounds of what the timeline passes over: two segments this close are one
// span, an unexplained span up to holeTol is rounding, and footage is sealed
// after openFor at the latest.
const (
	joinTol = 500
	holeTol = 1000
	openFor = 3 * time.Minute
)

// timeline answers /api/timeline: spans of sealed footage and gaps which
// together fill [from, min(to, now)), and the holds on them.
func (s *server) timeline(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	c, err := s.camera(v)
	if err != nil {
		return err
	}
	from, to, err := s.span(v, defaultSpan, MaxSpan)
	if err != nil {
		return err
	}
	var segs []floorwatch.Segment
	if s.Footage != nil {
		if segs, err = s.Footage.Segments(r.Context(), c, from, to); err != nil {
			return err
		}
	}
	gaps, err := s.Figures.Gaps(r.Context(), influx.Query{Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: from, To: to, Limit: figures.MaxRecords})
	if err != nil {
		return err
	}
	now := floorwatch.TimeOf(s.Now())
	spans := joinSegments(segs, from, to)
	footage := clipGaps(gaps, floorwatch.OfFootage, c.Camera, from, min(to, now))
	if len(spans) > 0 { // before the first footage nothing was promised
		footage = append(footage, holes(spans, footage, min(to, now), now)...)
	}
	sortSpans(footage)
	var holds []holdView // null where nothing can be held
	if s.Archive != nil {
		all, err := s.Archive.Holds(r.Context(), c, from, to)
		if err != nil {
			return err
		}
		holds = viewHolds(all)
	}
	return writeJSON(w, map[string]any{
		"holds": holds,
		"from":  from, "to": to, "footage": spans, "footage_gaps": footage,
		"observation_gaps": clipGaps(gaps, floorwatch.OfObservation, c.Camera, from, min(to, now)),
		"record_gaps":      clipGaps(gaps, floorwatch.OfRecords, c.Camera, from, min(to, now)),
	})
}

func viewHolds(all []vault.Hold) []holdView {
	views := make([]holdView, 0, len(all))
	for _, h := range all {
		views = append(views, holdView{ID: h.ID, From: h.From, To: h.To, Why: h.Why, Who: h.Who, At: h.At, Told: h.Told})
	}
	slices.SortFunc(views, func(a, b holdView) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.ID, b.ID)) })
	return views
}

func sortSpans(v []spanView) {
	slices.SortFunc(v, func(a, b spanView) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End)) })
}

func joinSegments(segs []floorwatch.Segment, from, to floorwatch.Time) []spanView {
	all := make([]spanView, 0, len(segs))
	for _, x := range segs {
		if x.End > from && x.Start < to && x.End > x.Start {
			all = append(all, spanView{Start: max(x.Start, from), End: min(x.End, to)})
		}
	}
	sortSpans(all)
	out := make([]spanView, 0, len(all))
	for _, x := range all {
		if n := len(out); n > 0 && x.Start-out[n-1].End <= joinTol {
			out[n-1].End = max(out[n-1].End, x.End)
			continue
		}
		out = append(out, x)
	}
	return out
}

// clipGaps cuts the gaps of one camera, or of the whole box, to [from, to). A
// gap that still lasts ends at to.
func clipGaps(gaps []floorwatch.Gap, of, camera string, from, to floorwatch.Time) []spanView {
	out := []spanView{}
	for _, g := range gaps {
		end := to
		if g.To != nil {
			end = min(to, *g.To)
		}
		if g.Of == of && (g.Camera == camera || g.Camera == "") && end > max(g.From, from) {
			out = append(out, spanView{max(g.From, from), end, g.Cause})
		}
	}
	sortSpans(out)
	return out
}

// holes returns what lies between spans and gaps, from the first span to end.
func holes(spans, gaps []spanView, end, now floorwatch.Time) (out []spanView) {
	all := slices.Concat(spans, gaps)
	sortSpans(all)
	last := spans[0].End
	for _, x := range append(all, spanView{Start: end, End: end}) {
		if x.Start < spans[0].Start {
			continue
		}
		if x.Start-last > holeTol {
			cause := causeUnexplained
			if x.Start == end && now.Sub(last) < openFor {
				cause = causeOpen
			}
			out = append(out, spanView{last, x.Start, cause})
		}
		last = max(last, x.End)
	}
	return out
}

// personView is a box in a clip; Wanted marks the person that was asked for.
type personView struct {
	ID     int64   `json:"id"`
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	W      float64 `json:"w"`
	H      float64 `json:"h"`
	Wanted bool    `json:"wanted,omitempty"`
}

type frameView struct {
	T      floorwatch.Time `json:"t"`
	W      int             `json:"w"`
	H      int             `json:"h"`
	Run    int             `json:"run"` // track ids mean the same within a run only
	People []personView    `json:"people"`
}

// clip answers /api/clip: where the video is, what it shows, and the boxes.
// tracks are the wanted ids and at a time in the stay: ids start anew when the
// camera is reopened, so only the run of frames that holds `at` is marked.
func (s *server) clip(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	ids, err := tracks(v)
	if err != nil {
		return err
	}
	c, from, to, err := s.clipParams(v)
	if err != nil {
		return err
	}
	at, err := timeParam(v, "at", from)
	if err != nil {
		return err
	}
	k, err := s.loadClip(r.Context(), account.Of(r), c, from, to)
	if err != nil {
		return err
	}
	var lines []floorwatch.Frame
	if err = picture.ErrNone; s.Pictures != nil {
		lines, err = s.Pictures.Lines(r.Context(), c, k.Start, k.End)
	}
	missing, _ := whyNot(err)
	u := url.Values{"store": {c.Store}, "edge": {c.Edge}, "camera": {c.Camera}, "from": {ms(from)}, "to": {ms(to)}}
	return writeJSON(w, map[string]any{
		"camera": c.Camera, "start": k.Start, "end": k.End, "codec": k.Codec, "bytes": len(k.Data),
		"url": "/api/clip.mp4?" + u.Encode(), "frames": boxes(lines, ids, at), "missing": missing,
	})
}

func ms(t floorwatch.Time) string { return strconv.FormatInt(int64(t), 10) }

func boxes(lines []floorwatch.Frame, ids map[int64]bool, at floorwatch.Time) []frameView {
	out := make([]frameView, 0, len(lines))
	run, wantedRun := 0, 0
	for _, f := range lines {
		if f.Event == floorwatch.EventOpen {
			run++
			if f.T <= at {
				wantedRun = run
			}
		}
		if f.Event != "" {
			continue
		}
		people := make([]personView, 0, len(f.People))
		for _, p := range f.People {
			people = append(people, personView{p.ID, p.X, p.Y, p.W, p.H, ids[p.ID]})
		}
		out = append(out, frameView{f.T, f.W, f.H, run, people})
	}
	for i := range out {
		for j := range out[i].People {
			out[i].People[j].Wanted = out[i].People[j].Wanted && out[i].Run == wantedRun
		}
	}
	return out
}

func (s *server) clipParams(v url.Values) (c site.Source, from, to floorwatch.Time, err error) {
	if c, err = s.camera(v); err != nil {
		return c, 0, 0, err
	}
	from, to, err = s.span(v, time.Minute, MaxClipSpan)
	return c, from, to, err
}

// clipFile answers /api/clip.mp4 with the bytes, in ranges where asked.
func (s *server) clipFile(w http.ResponseWriter, r *http.Request) error {
	c, from, to, err := s.clipParams(r.URL.Query())
	if err != nil {
		return err
	}
	k, err := s.loadClip(r.Context(), account.Of(r), c, from, to)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "video/mp4")
	h.Set("Cache-Control", "no-store")
	h.Set("ETag", k.etag)
	h.Set("X-Capture-Start", k.Start.String())
	h.Set("Content-Disposition", fmt.Sprintf(`inline; filename="%s_%s_%s.mp4"`, c.Store, c.Camera, k.Start.Time().Format("20060102T150405Z")))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(k.Data))
	return nil
}

// maxClip is the most bytes that one clip may have; keepClips how many bytes of
// clips are kept for the ranges that a player asks for one after the other.
const (
	maxClip   = 96 << 20
	keepClips = 96 << 20
)

// stillRecorded is said of the newest moments: a piece is closed at the full minute
// of the box's clock as shipped, and its seal takes a moment.
var stillRecorded = &fault{http.StatusNotFound, "this time is still being recorded", "its piece is closed within about a minute; ask again then"}

const recordedWithin = 2 * time.Minute

// none says why there is no footage of a span.
func (s *server) none(to floorwatch.Time) *fault {
	if floorwatch.TimeOf(s.Now()).Sub(to) < recordedWithin {
		return stillRecorded
	}
	return noFootage
}

var noFootage = &fault{http.StatusNotFound, "there is no footage of this time", "the timeline shows what was recorded, and the cause of each gap"}

type clipKey struct {
	site.Source
	from, to floorwatch.Time
}

type keptClip struct {
	fmp4.Clip
	key   clipKey
	etag  string
	until time.Time
}

// clipCache keeps the newest clips, so that all ranges of one playback come out
// of the same bytes. load bounds how many are built at a time.
type clipCache struct {
	load chan struct{}
	mu   sync.Mutex
	kept []keptClip
}

func (s *server) loadClip(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time) (keptClip, error) {
	key := clipKey{c, from, to}
	if k, ok := s.clips.get(key, s.Now()); ok {
		return k, nil
	}
	if s.Footage == nil {
		return keptClip{}, noFootage
	}
	select {
	case s.clips.load <- struct{}{}:
		defer func() { <-s.clips.load }()
	case <-ctx.Done():
		return keptClip{}, ctx.Err()
	}
	cut, err := s.Footage.Clip(ctx, who, c, from, to)
	switch {
	case errors.Is(err, vault.ErrNoFootage) || err == nil && len(cut.Data) == 0:
		return keptClip{}, s.none(to)
	case err != nil:
		return keptClip{}, fmt.Errorf("read clip of %s: %w", c.Camera, err)
	case len(cut.Data) > maxClip:
		return keptClip{}, &fault{http.StatusRequestEntityTooLarge, "the clip is too large", "ask for a shorter time range"}
	}
	hash := sha256.Sum256(cut.Data)
	k := keptClip{cut, key, `"` + hex.EncodeToString(hash[:12]) + `"`, s.Now().Add(2 * time.Minute)}
	if cut.End < to { // the recorder may still be writing it
		k.until = s.Now().Add(10 * time.Second)
	}
	s.clips.put(k)
	return k, nil
}

func (c *clipCache) get(key clipKey, now time.Time) (keptClip, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = slices.DeleteFunc(c.kept, func(k keptClip) bool { return now.After(k.until) })
	i := slices.IndexFunc(c.kept, func(k keptClip) bool { return k.key == key })
	if i < 0 {
		return keptClip{}, false
	}
	return c.kept[i], true
}

func (c *clipCache) put(k keptClip) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(slices.DeleteFunc(c.kept, func(o keptClip) bool { return o.key == k.key }), k)
	for size := c.size(); size > keepClips && len(c.kept) > 1; size = c.size() {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
}

func (c *clipCache) size() (n int) {
	for _, k := range c.kept {
		n += len(k.Data)
	}
	return n
}
