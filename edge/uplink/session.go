package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/internal/link"
)

// session is one connection to the broker.
type session struct {
	u *Uplink
	*link.Session
}

func (u *Uplink) topic(leaf ...string) string {
	return floorwatch.Topic(u.set.Store, u.set.Edge, leaf...)
}

// state is the box's word on its presence; since: zero is now.
func (u *Uplink) state(value string, since time.Time) []byte {
	if since.IsZero() {
		since = time.Now()
	}
	st := floorwatch.State{V: floorwatch.Version, State: value, T: floorwatch.TimeOf(since), Version: u.set.Version}
	if u.set.OutboxID != nil {
		st.Log = u.set.OutboxID()
	}
	if u.set.Standard != nil {
		st.Standard = new(u.set.Standard())
	}
	if u.set.Command != nil {
		st.Does = floorwatch.Commands()
	}
	b, err := json.Marshal(st)
	if err != nil { // a struct of strings and numbers always encodes
		panic(fmt.Sprintf("encode state: %v", err))
	}
	return b
}

// work listens for acknowledgements and commands, says "online", and sends until the
// link breaks or ctx ends.
func (u *Uplink) work(ctx context.Context, l *link.Session) error {
	hear := map[string]byte{u.topic(floorwatch.LeafAck): 1}
	if u.set.Command != nil {
		hear[u.topic(floorwatch.LeafCmd)] = 1
	}
	if err := l.Subscribe(ctx, hear); err != nil {
		return err
	}
	s := &session{u, l}
	online := s.Publish(u.topic(floorwatch.LeafState), 1, true, u.state(floorwatch.StateOnline, time.Time{}))
	if err := s.Await(ctx, "publish state", online); err != nil {
		return err
	}
	u.open()
	defer u.close()
	s.Up()
	u.set.Log.Info("uplink is up", "broker", u.set.Broker)
	return s.pump(ctx)
}

// hear takes what the cloud says.
func (u *Uplink) hear(ctx context.Context, l *link.Session, m mqtt.Message) {
	if m.Topic() == u.topic(floorwatch.LeafAck) {
		u.onAck(m.Payload(), m.Retained())
		return
	}
	(&session{u, l}).onCommand(ctx, m)
}

// open begins a session: everything unsettled is sent again.
func (u *Uplink) open() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flight = make(map[flightKey]*flight)
	u.sent = make(map[string]uint64)
	clear(u.live)
	u.stats.Since = time.Now()
	u.stats.Connects++
	u.set.Outbox.Rewind()
}

func (u *Uplink) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flight = nil
	clear(u.live)
	u.stats.Since = time.Time{}
}

// pump keeps the window full, sends again what is due, and passes live figures
// on:
//
//	outbox ─Next─> window of batches ─publish─> broker ─> cloud
//	outbox <─Ack── window           <─onAck──── broker <─ cloud
func (s *session) pump(ctx context.Context) error {
	u := s.u
	for {
		next, err := s.send()
		if err != nil {
			return err
		}
		timer := time.NewTimer(next)
		u.set.Pulse.Rest()
		select {
		case <-ctx.Done():
			timer.Stop()
			return s.farewell()
		case err := <-s.Lost():
			timer.Stop()
			return fmt.Errorf("connection lost: %w", err)
		case <-u.set.Changed:
		case <-u.acked:
		case <-u.fresh:
		case <-timer.C:
		}
		timer.Stop()
		u.set.Pulse.Beat()
	}
}

// farewell says "stopped", so that a clean stop is not taken for a lost box.
func (s *session) farewell() error {
	t := s.Publish(s.u.topic(floorwatch.LeafState), 1, true, s.u.state(floorwatch.StateStopped, time.Time{}))
	t.WaitTimeout(s.u.time.connect / 10)
	return t.Error()
}

// send publishes whatever can go now and returns how long there is nothing
// more to do by itself.
func (s *session) send() (time.Duration, error) {
	if err := s.sendLive(); err != nil {
		return 0, err
	}
	now := time.Now()
	next, err := s.resend(now)
	if err != nil {
		return 0, err
	}
	for s.u.room() {
		b, err := s.u.set.Outbox.Next(floorwatch.MaxBatchRecords, floorwatch.MaxRecordBytes+1)
		if err != nil {
			s.u.set.Log.Error("outbox not read; trying again", "error", err)
			return s.u.time.retry, nil
		}
		if b.N == 0 {
			break
		}
		f := &flight{n: b.N, payload: s.u.encode(b)}
		s.u.mu.Lock()
		s.u.flight[flightKey{b.Log, b.First}] = f
		s.u.sent[b.Log] = max(s.u.sent[b.Log], b.First+uint64(b.N))
		s.u.stats.Batches++
		s.u.mu.Unlock()
		if err := s.publish(f, now); err != nil {
			return 0, err
		}
		next = min(next, f.due.Sub(now))
	}
	return next, nil
}

// room tells whether another batch may go.
func (u *Uplink) room() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	once := 0
	for _, f := range u.flight {
		if f.tries <= 1 {
			once++
		}
	}
	return once < window && len(u.flight) < maxFlight
}

// resend publishes again what waited too long for its acknowledgement.
func (s *session) resend(now time.Time) (next time.Duration, err error) {
	s.u.mu.Lock()
	waiting := slices.Collect(maps.Values(s.u.flight))
	s.u.mu.Unlock()
	next = s.u.time.resend
	for _, f := range waiting {
		if wait := f.due.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		select {
		case <-f.puback:
		default:
			return 0, errors.New("the broker takes nothing: no PUBACK for a batch")
		}
		if err := s.publish(f, now); err != nil {
			return 0, err
		}
		s.u.mu.Lock()
		s.u.stats.Resent++
		s.u.mu.Unlock()
	}
	return next, nil
}

func (s *session) publish(f *flight, now time.Time) error {
	t := s.Publish(s.u.topic(floorwatch.LeafUp), 1, false, f.payload)
	f.puback = t.Done()
	wait := s.u.time.resend
	if f.tries == 1 || f.tries == 2 { // another instance may live where one died; soon, but not for ever
		wait /= 3
	}
	f.tries++
	f.due = now.Add(wait + rand.N(s.u.time.jitter))
	select {
	case <-t.Done():
		if err := t.Error(); err != nil {
			return fmt.Errorf("publish batch: %w", err)
		}
	default: // a PUBACK would say nothing anyway
	}
	return nil
}

func (s *session) sendLive() error {
	s.u.mu.Lock()
	live := maps.Clone(s.u.live)
	clear(s.u.live)
	s.u.mu.Unlock()
	for zone, b := range live {
		t := s.Publish(s.u.topic(floorwatch.LeafLive, zone), 0, true, b)
		select {
		case <-t.Done():
			if err := t.Error(); err != nil {
				return fmt.Errorf("publish live figures: %w", err)
			}
		default:
		}
	}
	return nil
}
