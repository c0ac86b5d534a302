package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"floorwatch/cloud/figures"
	"floorwatch/cloud/fleet"

	"floorwatch"
)

// Bounds of the hub.
const (
	maxClients = 128 // open event streams
	clientRoom = 512 // events that wait for one client
	writeLimit = 10 * time.Second
)

// Hub passes on to every open event stream what boxes say of now, and what is
// stored. Publishing never blocks: a stream that does not keep up is closed, and
// the browser opens a new one.
type Hub struct {
	live    *fleet.Live
	mu      sync.Mutex            // taken within live's
	clients map[chan event]string // the store that it is about, "" for all
	closed  bool
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

// NewHub returns a hub that listens to live.
func NewHub(live *fleet.Live) *Hub {
	h := &Hub{live: live, clients: map[chan event]string{}}
	live.Listen(h.send)
	return h
}

// PublishStored passes on records that are stored for good, and to Live that they
// came, and those of health. Others are left out.
func (h *Hub) PublishStored(store, edge string, recs []floorwatch.Record) {
	newest := floorwatch.Time(0)
	for _, r := range recs {
		newest = max(newest, r.Head().At)
	}
	h.live.Heard(store, edge, newest)
	for _, r := range recs {
		switch x := r.(type) {
		case *floorwatch.Stay:
			h.send("stay", store, recordView{store, edge, stayView{*x, figures.Length(x)}})
		case *floorwatch.Wait:
			h.send("wait", store, recordView{store, edge, waitView{*x, figures.Length(x)}})
		case *floorwatch.Interval:
			h.send("interval", store, recordView{store, edge, x})
		case *floorwatch.Gap:
			h.send("gap", store, recordView{store, edge, x})
		case *floorwatch.Count:
			h.send("count", store, recordView{store, edge, x})
		case *floorwatch.CameraScene:
			h.send("scene", store, recordView{store, edge, x.Header})
		case *floorwatch.Segment:
			h.send("segment", store, recordView{store, edge, x.Header})
		case *floorwatch.Health:
			h.live.PutHealth(store, edge, *x)
		}
	}
}

// send hands an event of a store to every client that wants it.
func (h *Hub) send(name, store string, v any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b []byte
	for c, of := range h.clients {
		if of != "" && of != store {
			continue
		}
		if b == nil {
			var err error
			if b, err = json.Marshal(v); err != nil { // only a NaN, which no record that was parsed can hold
				return
			}
		}
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

// join opens a stream: what is known now, then what follows, without a hole.
func (h *Hub) join(store string) (live []fleet.LiveView, states []fleet.StateView, c chan event, ok bool) {
	h.live.Snapshot(store, func(l []fleet.LiveView, s []fleet.StateView) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if ok = !h.closed && len(h.clients) < maxClients; ok {
			live, states, c = l, s, make(chan event, clientRoom)
			h.clients[c] = store
		}
	})
	return live, states, c, ok
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
func (s *server) live(w http.ResponseWriter, r *http.Request) error {
	store, err := nameParam(r.URL.Query(), "store")
	if err != nil {
		return err
	}
	type aged struct {
		fleet.LiveView
		AgeS  float64 `json:"age_s"`
		Valid bool    `json:"valid"`
	}
	now := floorwatch.TimeOf(s.Now())
	zones, edges := []aged{}, []fleet.StateView{}
	s.Hub.live.Snapshot(store, func(live []fleet.LiveView, states []fleet.StateView) {
		for _, v := range live {
			age := floorwatch.Seconds(now.Sub(v.T))
			zones = append(zones, aged{v, age, age <= v.ValidS})
		}
		edges = append(edges, states...)
	})
	return writeJSON(w, map[string]any{"t": now, "zones": zones, "edges": edges})
}

// events answers /api/events, a stream of server-sent events: live, state,
// stay, wait, interval, gap, segment, and ping with the server's time.
func (s *server) events(w http.ResponseWriter, r *http.Request) error {
	store, err := nameParam(r.URL.Query(), "store")
	if err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	live, states, c, ok := s.Hub.join(store)
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

func (o eventWriter) start(live []fleet.LiveView, states []fleet.StateView) error {
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
