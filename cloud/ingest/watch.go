package ingest

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
)

const (
	maxWatched   = 4 << 10 // bytes of one state or live message
	maxLiveZones = 256     // of one box
)

// Watch keeps the last state of each registered box and the last live figures of
// each of its zones. Fields are set before Run and not changed after.
type Watch struct {
	Broker   Broker
	Registry Registry
	// OnState and OnLive are called for each message, by one goroutine; they must
	// not block. nil: none.
	OnState func(store, edge string, s floorwatch.State)
	OnLive  func(store, edge string, l floorwatch.Live)
	Log     *slog.Logger // nil discards

	mu     sync.Mutex
	states map[[2]string]floorwatch.State
	lives  map[[2]string]map[string]floorwatch.Live
}

// Run works until ctx ends and returns when its goroutines are gone.
func (w *Watch) Run(ctx context.Context) error {
	if err := w.Registry.Validate(); err != nil {
		return err
	}
	log := w.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	// Retained messages do not reach a shared subscription, so this one is plain.
	l := &link{broker: w.Broker, log: log, up: func(mqtt.Client) {}, message: w.message, topics: map[string]byte{
		floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafState:       1,
		floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafLive + "/+": 0,
	}}
	l.run(ctx)
	return nil
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

func (w *Watch) message(m mqtt.Message) {
	store, edge, leaf, err := floorwatch.ParseTopic(m.Topic())
	if err != nil || len(m.Payload()) == 0 || len(m.Payload()) > maxWatched {
		return // display only: what cannot be read is not shown
	}
	if _, ok := w.Registry.edge(store, edge); !ok {
		return
	}
	switch {
	case len(leaf) == 1 && leaf[0] == floorwatch.LeafState:
		w.state(store, edge, m.Payload())
	case len(leaf) == 2 && leaf[0] == floorwatch.LeafLive:
		w.live(store, edge, leaf[1], m.Payload())
	}
}

// state takes a box's word. The will carries the time of the connection that it
// ends, so order of arrival decides and not T.
func (w *Watch) state(store, edge string, payload []byte) {
	var s floorwatch.State
	if json.Unmarshal(payload, &s) != nil || s.V != floorwatch.Version {
		return
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
}

func (w *Watch) live(store, edge, zone string, payload []byte) {
	var l floorwatch.Live
	if json.Unmarshal(payload, &l) != nil || l.V != floorwatch.Version || l.Zone != zone || !floorwatch.ValidName(zone) || !floorwatch.ValidName(l.Camera) {
		return
	}
	if w.keep(store, edge, l) && w.OnLive != nil {
		w.OnLive(store, edge, l)
	}
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
