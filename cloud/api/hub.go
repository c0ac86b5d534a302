package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"floorwatch/cloud/figures"

	"floorwatch"
)

// Bounds of the hub.
const (
	maxClients = 128 // open event streams
	clientRoom = 512 // events that wait for one client
	maxLive    = 10_000
	writeLimit = 10 * time.Second
)

// Hub keeps the newest live figure per zone and state per edge, and passes on
// what is published to every open event stream. Publishing never blocks: a
// stream that does not keep up is closed, and the browser opens a new one.
type Hub struct {
	mu      sync.Mutex
	live    map[[3]string]LiveView
	states  map[[2]string]StateView
	health  map[[3]string]floorwatch.Health // by store, edge, camera; "" is the box itself
	heard   map[[2]string]time.Time         // when the newest live figure of a box came
	turned  map[[2]string]time.Time         // when a box came or went
	clients map[chan event]struct{}
	closed  bool
}

// LiveView is a live figure and where it comes from.
type LiveView struct {
	Store string `json:"store"`
	Edge  string `json:"edge"`
	floorwatch.Live
}

// StateView is an edge's presence.
type StateView struct {
	Store string `json:"store"`
	Edge  string `json:"edge"`
	floorwatch.State
}

// recordView is a record that was stored.
type recordView struct {
	Store  string `json:"store"`
	Edge   string `json:"edge"`
	Record any    `json:"record"`
}

type event struct {
	name string
	data []byte
}

// NewHub returns an empty hub.
func NewHub() *Hub {
	return &Hub{turned: map[[2]string]time.Time{}, heard: map[[2]string]time.Time{}, live: map[[3]string]LiveView{}, states: map[[2]string]StateView{}, health: map[[3]string]floorwatch.Health{}, clients: map[chan event]struct{}{}}
}

// PublishLive takes the newest live figure of a zone.
func (h *Hub) PublishLive(store, edge string, l floorwatch.Live) {
	v, key := LiveView{store, edge, l}, [3]string{store, edge, l.Zone}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.live[key]; ok && old.T > l.T || !ok && len(h.live) >= maxLive {
		return
	}
	h.live[key] = v
	h.heard[[2]string{store, edge}] = time.Now()
	h.send("live", v)
}

// PublishState takes an edge's presence.
func (h *Hub) PublishState(store, edge string, st floorwatch.State) {
	v, key := StateView{store, edge, st}, [2]string{store, edge}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.states[key]; !ok && len(h.states) >= maxLive {
		return
	}
	if h.states[key].State.State != st.State {
		h.turned[key] = time.Now()
	}
	h.states[key] = v
	h.send("state", v)
}

// PublishStored passes on records that are stored for good, and keeps the newest
// of health. Others are left out.
func (h *Hub) PublishStored(store, edge string, recs []floorwatch.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range recs {
		switch x := r.(type) {
		case *floorwatch.Stay:
			h.send("stay", recordView{store, edge, stayView{*x, figures.Length(x)}})
		case *floorwatch.Wait:
			h.send("wait", recordView{store, edge, waitView{*x, figures.Length(x)}})
		case *floorwatch.Interval:
			h.send("interval", recordView{store, edge, x})
		case *floorwatch.Gap:
			h.send("gap", recordView{store, edge, x})
		case *floorwatch.Count:
			h.send("count", recordView{store, edge, x})
		case *floorwatch.Segment:
			h.send("segment", recordView{store, edge, x.Header})
		case *floorwatch.Health:
			h.newer(store, edge, *x)
		}
	}
}

// keepHealth takes a box's word about itself unless a newer one is known.
func (h *Hub) keepHealth(store, edge string, x floorwatch.Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newer(store, edge, x)
}

func (h *Hub) newer(store, edge string, x floorwatch.Health) {
	if x.Probe() {
		return
	}
	key := [3]string{store, edge, x.Camera}
	if old, ok := h.health[key]; ok && old.At <= x.At || !ok && len(h.health) < maxLive {
		h.health[key] = x
	}
}

// healthOf returns the newest word of a box about itself or one of its cameras.
func (h *Hub) healthOf(store, edge, camera string) (floorwatch.Health, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, ok := h.health[[3]string{store, edge, camera}]
	return x, ok
}

// presence returns the state of a box, empty when it is not known, and the time
// of its newest live figure or connection, 0 for none.
func (h *Hub) presence(store, edge string) (st floorwatch.State, seen floorwatch.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st = h.states[[2]string{store, edge}].State
	seen = st.T
	for k, l := range h.live {
		if k[0] == store && k[1] == edge {
			seen = max(seen, l.T)
		}
	}
	return st, seen
}

// sight returns the least coverage of the last minute that a camera's live
// figures tell of; false when there are none that are still valid.
func (h *Hub) sight(store, edge, camera string, now time.Time) (coverage float64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.heard[[2]string{store, edge}]).Abs() > liveSilence {
		return 0, false
	}
	for k, l := range h.live {
		if k[0] == store && k[1] == edge && l.Camera == camera {
			if !ok || l.Coverage < coverage {
				coverage = l.Coverage
			}
			ok = true
		}
	}
	return coverage, ok
}

// lately tells whether a box has come or gone a moment ago: a link that breaks
// and is back in seconds is no trouble.
func (h *Hub) lately(store, edge string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.turned[[2]string{store, edge}]).Abs() < brokenFor
}

// quiet tells for how long a box that sends live figures has sent none; 0 for
// one that does not, or whose figures are of before since.
func (h *Hub) quiet(store, edge string, since floorwatch.Time, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.heard[[2]string{store, edge}]
	if !ok || floorwatch.TimeOf(at) < since {
		return 0
	}
	return max(0, now.Sub(at))
}

// send hands an event to every client; the caller holds the lock.
func (h *Hub) send(name string, v any) {
	if len(h.clients) == 0 {
		return
	}
	b, err := json.Marshal(v)
	if err != nil { // only a NaN, which no record that was parsed can hold
		return
	}
	for c := range h.clients {
		select {
		case c <- event{name, b}:
		default:
			delete(h.clients, c)
			close(c)
		}
	}
}

// Close ends all event streams, so that a server can shut down.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.clients {
		delete(h.clients, c)
		close(c)
	}
}

// Clients returns the number of open event streams.
func (h *Hub) Clients() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

// Snapshot returns the newest of everything, in order of names.
func (h *Hub) Snapshot() ([]LiveView, []StateView) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshot()
}

func (h *Hub) snapshot() ([]LiveView, []StateView) {
	live, states := make([]LiveView, 0, len(h.live)), make([]StateView, 0, len(h.states))
	for _, v := range h.live {
		live = append(live, v)
	}
	for _, v := range h.states {
		states = append(states, v)
	}
	slices.SortFunc(live, func(a, b LiveView) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.Zone, b.Zone))
	})
	slices.SortFunc(states, func(a, b StateView) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Edge, b.Edge))
	})
	return live, states
}

// join opens a stream: what is known now, then what follows, without a hole.
func (h *Hub) join() (live []LiveView, states []StateView, c chan event, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.clients) >= maxClients {
		return nil, nil, nil, false
	}
	c = make(chan event, clientRoom)
	h.clients[c] = struct{}{}
	live, states = h.snapshot()
	return live, states, c, true
}

func (h *Hub) leave(c chan event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.clients[c]; ok {
		delete(h.clients, c)
		close(c)
	}
}

// live answers /api/live. A figure older than its validity is still named, with
// valid false: nothing is known of now.
func (s *server) live(w http.ResponseWriter, _ *http.Request) error {
	type aged struct {
		LiveView
		AgeS  float64 `json:"age_s"`
		Valid bool    `json:"valid"`
	}
	now := floorwatch.TimeOf(s.Now())
	live, states := s.Hub.Snapshot()
	zones := make([]aged, 0, len(live))
	for _, v := range live {
		age := floorwatch.Seconds(now.Sub(v.T))
		zones = append(zones, aged{v, age, age <= v.ValidS})
	}
	return writeJSON(w, map[string]any{"t": now, "zones": zones, "edges": states})
}

// events answers /api/events, a stream of server-sent events: live, state,
// stay, wait, interval, gap, segment, and ping with the server's time.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	head := w.Header()
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	live, states, c, ok := s.Hub.join()
	if !ok {
		head.Set("Retry-After", "10")
		return &fault{http.StatusServiceUnavailable, "too many pages are open", "close some, or try again in a moment"}
	}
	defer s.Hub.leave(c)
	out := eventWriter{w, http.NewResponseController(w)}
	if err := out.start(live, states); err != nil {
		return gone(err)
	}
	tick := time.NewTicker(s.Heartbeat)
	defer tick.Stop()
	for err := out.ping(s.Now()); err == nil; {
		select {
		case <-r.Context().Done():
			return nil
		case <-tick.C:
			err = out.ping(s.Now())
		case e, open := <-c:
			if !open {
				return nil
			}
			err = out.event(e.name, e.data)
		}
	}
	return nil // the caller went away, or was too slow to be worth waiting for
}

type eventWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (o eventWriter) start(live []LiveView, states []StateView) error {
	if _, err := fmt.Fprint(o.w, "retry: 2000\n\n"); err != nil {
		return err
	}
	for _, v := range states {
		if err := o.value("state", v); err != nil {
			return err
		}
	}
	for _, v := range live {
		if err := o.value("live", v); err != nil {
			return err
		}
	}
	return nil
}

func (o eventWriter) ping(now time.Time) error {
	return o.value("ping", map[string]any{"t": floorwatch.TimeOf(now)})
}

func (o eventWriter) value(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return o.event(name, b)
}

// event writes one event within writeLimit; the server's own write timeout is
// for whole answers, and this one has no end.
func (o eventWriter) event(name string, data []byte) error {
	if err := o.rc.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil && !isUnsupported(err) {
		return err
	}
	if _, err := fmt.Fprintf(o.w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return err
	}
	return o.rc.Flush()
}

func isUnsupported(err error) bool { return errors.Is(err, http.ErrNotSupported) }
