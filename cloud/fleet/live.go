package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"floorwatch"
)

// Bounds of what Live keeps.
const (
	maxBoxes = 20_000
	maxKept  = 200_000 // live figures and health records, each
	maxZones = 256     // with live figures, of one box
)

// LiveView is a live figure and where it comes from.
type LiveView struct {
	Store string `json:"store"`
	Edge  string `json:"edge"`
	floorwatch.Live
}

// StateView is a box's presence.
type StateView struct {
	Store string `json:"store"`
	Edge  string `json:"edge"`
	floorwatch.State
}

// Live keeps what boxes say of now: the newest state of each, live figure of each
// zone, and health record of each camera. It is safe for concurrent use.
type Live struct {
	mu     sync.Mutex
	boxes  map[key]*box
	lives  int // in all
	health int
	listen func(event, store string, view any)
}

type key struct{ store, edge string }

// box is what is known of one.
type box struct {
	state  floorwatch.State
	turned time.Time       // when it came or went
	heard  time.Time       // when its newest live figure came
	said   floorwatch.Time // the time of its newest stored record
	// An outbox has an id of its own. One that comes back after another had taken its
	// place is a second box under the same name.
	log, otherLog string
	twins         time.Time // when that was seen last
	live          map[string]floorwatch.Live
	health        map[string]floorwatch.Health // by camera; "" is the box itself
}

// NewLive returns one that knows nothing.
func NewLive() *Live { return &Live{boxes: map[key]*box{}} }

// Listen passes what changes on, in order: "live" with a LiveView, "state" with a
// StateView. f must not block, nor call Live. Before the first change.
func (l *Live) Listen(f func(event, store string, view any)) { l.listen = f }

func (l *Live) tell(event, store string, view any) {
	if l.listen != nil {
		l.listen(event, store, view)
	}
}

// box finds one, or makes room for it; nil when there is none.
func (l *Live) box(store, edge string) *box {
	k := key{store, edge}
	b := l.boxes[k]
	if b == nil && len(l.boxes) < maxBoxes {
		b = &box{live: map[string]floorwatch.Live{}, health: map[string]floorwatch.Health{}}
		l.boxes[k] = b
	}
	return b
}

var errFull = errors.New("there are too many boxes or zones to show it")

// PutLive takes the newest live figure of a zone; an error when it cannot be
// shown.
func (l *Live) PutLive(store, edge string, x floorwatch.Live) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.box(store, edge)
	if b == nil {
		return errFull
	}
	old, known := b.live[x.Zone]
	switch {
	case known && old.T > x.T:
		return nil
	case !known && len(b.live) >= maxZones:
		return fmt.Errorf("zone %s is one more than the %d that a box may show", x.Zone, maxZones)
	case !known && l.lives >= maxKept:
		return errFull
	case !known:
		l.lives++
	}
	b.live[x.Zone], b.heard = x, time.Now()
	l.tell("live", store, LiveView{store, edge, x})
	return nil
}

// PutState takes a box's presence. The will carries the time of the connection
// that it ends, so order of arrival decides and not T.
func (l *Live) PutState(store, edge string, st floorwatch.State) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.box(store, edge)
	if b == nil {
		return errFull
	}
	if b.state.State != st.State {
		b.turned = time.Now()
	}
	if st.State == floorwatch.StateOnline && st.Log != b.log { // a will may come late
		if st.Log != "" && st.Log == b.otherLog {
			b.twins = time.Now()
		}
		b.otherLog, b.log = b.log, st.Log
	}
	b.state = st
	l.tell("state", store, StateView{store, edge, st})
	return nil
}

// PutHealth takes a box's word about itself, or about a camera, unless a newer
// one is known. Probes are none.
func (l *Live) PutHealth(store, edge string, h floorwatch.Health) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.box(store, edge)
	if h.Probe() || b == nil {
		return
	}
	old, known := b.health[h.Camera]
	switch {
	case known && old.At > h.At, !known && l.health >= maxKept:
		return
	case !known:
		l.health++
	}
	b.health[h.Camera] = h
}

// Heard takes the time of a box's stored record, which is a sign of life.
func (l *Live) Heard(store, edge string, at floorwatch.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.box(store, edge); b != nil {
		b.said = max(b.said, at)
	}
}

// State returns a box's last word on its presence.
func (l *Live) State(store, edge string) (floorwatch.State, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boxes[key{store, edge}]
	if b == nil || b.state.State == "" {
		return floorwatch.State{}, false
	}
	return b.state, true
}

// Snapshot calls f with all live figures and states of a store, "" for all, in
// order of names, and lets nothing come in between.
func (l *Live) Snapshot(store string, f func([]LiveView, []StateView)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live, states := []LiveView{}, []StateView{}
	for k, b := range l.boxes {
		if store != "" && k.store != store {
			continue
		}
		for _, x := range b.live {
			live = append(live, LiveView{k.store, k.edge, x})
		}
		if b.state.State != "" {
			states = append(states, StateView{k.store, k.edge, b.state})
		}
	}
	slices.SortFunc(live, func(a, b LiveView) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.Zone, b.Zone))
	})
	slices.SortFunc(states, func(a, b StateView) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Edge, b.Edge))
	})
	f(live, states)
}

// of calls f with what is known of a box, which f must not keep.
func (l *Live) of(store, edge string, f func(*box)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boxes[key{store, edge}]
	if b == nil {
		b = &box{}
	}
	f(b)
}

// overdue tells whether a box is there and we have not heard its word about itself
// for longer than it is silent.
func (l *Live) overdue(k key, now floorwatch.Time) (is bool) {
	l.of(k.store, k.edge, func(b *box) {
		here := b.state.State == floorwatch.StateOnline || b.state.State == "" && b.lives(now)
		is = here && now.Sub(b.health[""].At) > overdueAfter
	})
	return is
}

// seen is the time of the box's newest word of any sort, 0 for none.
func (b *box) seen() floorwatch.Time {
	at := max(b.state.T, b.said)
	for _, x := range b.live {
		at = max(at, x.T)
	}
	for _, h := range b.health {
		at = max(at, h.At)
	}
	return at
}

// lives tells whether a box was heard of lately.
func (b *box) lives(now floorwatch.Time) bool { return now.Sub(b.seen()) <= silentAfter }

// sight returns the least coverage of the last minute that a camera's live
// figures tell of; nil when there are none that are still valid.
func (b *box) sight(camera string, now time.Time) (coverage *float64) {
	if now.Sub(b.heard).Abs() > liveSilence {
		return nil
	}
	for _, x := range b.live {
		if x.Camera == camera && (coverage == nil || x.Coverage < *coverage) {
			coverage = new(x.Coverage)
		}
	}
	return coverage
}

// lately tells whether the box has come or gone a moment ago: a link that breaks
// and is back in seconds is no trouble.
func (b *box) lately(now time.Time) bool { return now.Sub(b.turned).Abs() < brokenFor }

// quiet tells for how long a box that sends live figures has sent none; 0 for
// one that does not, or whose figures are of before its connection.
func (b *box) quiet(now time.Time) time.Duration {
	if b.heard.IsZero() || floorwatch.TimeOf(b.heard) < b.state.T {
		return 0
	}
	return max(0, now.Sub(b.heard))
}
