package command

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/link"
)

const (
	maxWatched = 4 << 10 // bytes of one state or live message
)

// Watch hears the presence of registered boxes and the live figures of their zones.
// Fields are set before Run and not changed after.
type Watch struct {
	Broker access.Login
	Sites  *site.Live
	// OnState and OnLive are called for each message, each by one goroutine, and say
	// why it cannot be shown; they must not block.
	OnState func(store, edge string, s floorwatch.State) error
	OnLive  func(store, edge string, l floorwatch.Live) error
	Log     *slog.Logger // nil discards

	mu      sync.Mutex
	ignored int64
	told    time.Time // when that was logged
}

// Run works until ctx ends and returns when its goroutines are gone.
func (w *Watch) Run(ctx context.Context) error {
	// Retained messages do not reach a shared subscription, so these are plain. Live
	// figures come each second from each zone and may be lost, so they have a link of
	// their own, paced: it reads them 20 times a second instead of one by one.
	state := w.link(false, floorwatch.LeafState, 1)
	live := w.link(true, floorwatch.LeafLive+"/+", 0)
	var wg sync.WaitGroup
	wg.Go(func() { _ = live.Run(ctx) }) // nil
	defer wg.Wait()
	return state.Run(ctx)
}

func (w *Watch) link(paced bool, leaf string, qos byte) *link.Link {
	l := ingest.NewLink(w.Broker, w.log(), "", paced, map[string]byte{floorwatch.TopicRoot + "/+/+/" + leaf: qos}, func(*link.Session) {})
	l.Message = func(_ context.Context, _ *link.Session, m mqtt.Message) { w.message(m) }
	return l
}

func (w *Watch) log() *slog.Logger {
	if w.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return w.Log
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
		w.log().Warn("a state or live message is not shown; check the box that sent it, and the broker's access list",
			"topic", fmt.Sprintf("%.200q", m.Topic()), "reason", err, "in_all", n)
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
	if _, ok := w.Sites.Edge(store, edge); !ok {
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

func (w *Watch) state(store, edge string, payload []byte) error {
	var s floorwatch.State
	if err := json.Unmarshal(payload, &s); err != nil {
		return fmt.Errorf("parse state: %w", err)
	}
	if s.V != floorwatch.Version {
		return fmt.Errorf("state of version %d, want %d", s.V, floorwatch.Version)
	}
	return w.OnState(store, edge, s)
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
	}
	return w.OnLive(store, edge, l)
}
