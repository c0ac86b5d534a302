package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/link"
)

const (
	maxWatched   = 4 << 10 // bytes of one state or live message
	maxLiveZones = 256     // of one box
)

// Watch keeps the last state of each registered box and the last live figures of
// each of its zones. Fields are set before Run and not changed after.
type Watch struct {
	Broker   access.Login
	Registry site.Registry
	// OnState and OnLive are called for each message, by one goroutine; they must
	// not block. nil: none.
	OnState func(store, edge string, s floorwatch.State)
	OnLive  func(store, edge string, l floorwatch.Live)
	Log     *slog.Logger // nil discards

	mu      sync.Mutex
	ignored int64
	told    time.Time // when that was logged
	states  map[[2]string]floorwatch.State
	lives   map[[2]string]map[string]floorwatch.Live
}

// Run works until ctx ends and returns when its goroutines are gone.
func (w *Watch) Run(ctx context.Context) error {
	if err := w.Registry.Validate(); err != nil {
		return err
	}
	if w.Log == nil {
		w.Log = slog.New(slog.DiscardHandler)
	}
	// Retained messages do not reach a shared subscription, so this one is plain.
	l := newLink(w.Broker, w.Log, "", false, map[string]byte{
		floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafState:       1,
		floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafLive + "/+": 0,
	}, func(*link.Session) {})
	l.Message = func(_ context.Context, _ *link.Session, m mqtt.Message) { w.message(m) }
	return l.Run(ctx)
}

// State returns a box's last word on its presence.
func (w *Watch) State(store, edge string) (floorwatch.State, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.states[[2]string{store, edge}]
	return s, ok
}

// Live returns the newest figures of a box's zones, in no order. What is older
// than T + ValidS must not be shown.
func (w *Watch) Live(store, edge string) []floorwatch.Live {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []floorwatch.Live
	for _, l := range w.lives[[2]string{store, edge}] {
		out = append(out, l)
	}
	return out
}

// tellEvery bounds the log lines about what is ignored: a box gone mad sends
// hundreds a second.
const tellEvery = time.Minute

// Ignored counts the states and live figures that could not be shown.
func (w *Watch) Ignored() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ignored
}

// message shows what it can; the rest is display only, so it is counted, told
// now and then, and forgotten.
func (w *Watch) message(m mqtt.Message) {
	err := w.show(m.Topic(), m.Payload())
	if err == nil {
		return
	}
	w.mu.Lock()
	w.ignored++
	tell := time.Since(w.told) > tellEvery
	if tell {
		w.told = time.Now()
	}
	n := w.ignored
	w.mu.Unlock()
	if tell {
		w.Log.Warn("a state or live message is not shown; check the box that sent it, and the broker's access list",
			"topic", fmt.Sprintf("%.200q", m.Topic()), "reason", err, "so_far", n)
	}
}

func (w *Watch) show(topic string, payload []byte) error {
	store, edge, leaf, err := floorwatch.ParseTopic(topic)
	switch {
	case err != nil:
		return err
	case len(payload) == 0:
		return nil // a retained message was cleared
	case len(payload) > maxWatched:
		return fmt.Errorf("it has %d bytes, limit %d", len(payload), maxWatched)
	}
	if _, ok := w.Registry.Edge(store, edge); !ok {
		return fmt.Errorf("box %s of store %s is not registered", edge, store)
	}
	switch {
	case len(leaf) == 1 && leaf[0] == floorwatch.LeafState:
		return w.state(store, edge, payload)
	case len(leaf) == 2 && leaf[0] == floorwatch.LeafLive:
		return w.live(store, edge, leaf[1], payload)
	}
	return nil
}

// state takes a box's word. The will carries the time of the connection that it
// ends, so order of arrival decides and not T.
func (w *Watch) state(store, edge string, payload []byte) error {
	var s floorwatch.State
	if err := json.Unmarshal(payload, &s); err != nil {
		return fmt.Errorf("parse state: %w", err)
	}
	if s.V != floorwatch.Version {
		return fmt.Errorf("state of version %d, want %d", s.V, floorwatch.Version)
	}
	w.mu.Lock()
	if w.states == nil {
		w.states = map[[2]string]floorwatch.State{}
	}
	w.states[[2]string{store, edge}] = s
	w.mu.Unlock()
	if w.OnState != nil {
		w.OnState(store, edge, s)
	}
	return nil
}

func (w *Watch) live(store, edge, zone string, payload []byte) error {
	var l floorwatch.Live
	if err := json.Unmarshal(payload, &l); err != nil {
		return fmt.Errorf("parse live figures: %w", err)
	}
	switch {
	case l.V != floorwatch.Version:
		return fmt.Errorf("live figures of version %d, want %d", l.V, floorwatch.Version)
	case l.Zone != zone || !floorwatch.ValidName(zone) || !floorwatch.ValidName(l.Camera):
		return fmt.Errorf("live figures of camera %.50q, zone %.50q on the topic of zone %.50q: a name is %s", l.Camera, l.Zone, zone, floorwatch.NameRule)
	case !w.keep(store, edge, l):
		return fmt.Errorf("zone %s is one more than the %d that a box may show", zone, maxLiveZones)
	case w.OnLive != nil:
		w.OnLive(store, edge, l)
	}
	return nil
}

// keep takes l unless its box shows too many zones already. Order of arrival
// decides: a box publishes in order, and its clock may be set back.
func (w *Watch) keep(store, edge string, l floorwatch.Live) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := [2]string{store, edge}
	if w.lives == nil {
		w.lives = map[[2]string]map[string]floorwatch.Live{}
	}
	if w.lives[at] == nil {
		w.lives[at] = map[string]floorwatch.Live{}
	}
	if _, ok := w.lives[at][l.Zone]; !ok && len(w.lives[at]) >= maxLiveZones {
		return false
	}
	w.lives[at][l.Zone] = l
	return true
}
