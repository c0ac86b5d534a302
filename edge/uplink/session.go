package uplink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"floorwatch"
)

// schemes tells which broker addresses mean TLS.
var schemes = map[string]bool{"tcp": false, "mqtt": false, "ssl": true, "tls": true, "mqtts": true}

// session is one connection to the broker. paho is used for its packets and its
// pings only: it does not reconnect, keep messages or resend.
type session struct {
	u    *Uplink
	cl   mqtt.Client
	lost chan error
}

// session connects, greets, and sends until the link breaks or ctx ends.
func (u *Uplink) session(ctx context.Context) error {
	s := &session{u: u, lost: make(chan error, 1)}
	// The connection closes with this context, which outlives ctx by the
	// farewell; with it ends whatever still reads or writes.
	dialing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	quiesce := uint(u.time.connect.Milliseconds() / 10)
	s.cl = mqtt.NewClient(u.options(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		c, err := u.dial(dialing)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(dialing, func() { _ = c.Close() })
		return &boundConn{Conn: c, silence: u.time.silence, write: u.time.write}, nil
	}, s.lost))
	if err := s.greet(ctx, dialing); err != nil {
		cancel()
		s.cl.Disconnect(quiesce)
		u.settle()
		return err
	}
	defer u.settle()
	defer cancel()
	defer s.cl.Disconnect(quiesce)
	u.open()
	defer u.close()
	u.set.Log.Info("uplink is up", "broker", u.broker.Redacted())
	return s.pump(ctx)
}

func (u *Uplink) options(dial mqtt.OpenConnectionFunc, lost chan<- error) *mqtt.ClientOptions {
	t := u.time
	return mqtt.NewClientOptions().
		AddBroker(u.broker.String()).
		SetClientID(u.set.Store+"/"+u.set.Edge).
		SetUsername(u.set.Username).SetPassword(u.set.Password).
		SetProtocolVersion(4). // else paho tries each refused connection again as 3.1
		SetCleanSession(true).
		SetAutoReconnect(false). // its back-off has no jitter
		SetStore(noStore{}).
		SetOrderMatters(false). // else a slow handler holds up the pings
		SetConnectTimeout(t.connect).SetWriteTimeout(t.write).
		SetKeepAlive(t.keepAlive).SetPingTimeout(t.keepAlive/2).
		SetBinaryWill(u.topic(floorwatch.LeafState), u.state(floorwatch.StateOffline), 1, true).
		SetCustomOpenConnectionFn(dial).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
}

func (u *Uplink) topic(leaf ...string) string {
	return floorwatch.Topic(u.set.Store, u.set.Edge, leaf...)
}

func (u *Uplink) state(value string) []byte {
	st := floorwatch.State{V: floorwatch.Version, State: value, T: floorwatch.TimeOf(time.Now()), Version: u.set.Version}
	if u.set.OutboxID != nil {
		st.Log = u.set.OutboxID()
	}
	b, err := json.Marshal(st)
	if err != nil { // a struct of strings and numbers always encodes
		panic(fmt.Sprintf("encode state: %v", err))
	}
	return b
}

func (u *Uplink) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.time.connect)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", u.broker.Host)
	if err != nil || !schemes[u.broker.Scheme] {
		return c, err
	}
	cfg := u.set.TLS.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.broker.Hostname()
	}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return tc, nil
}

// boundConn fails when the other side is silent or takes nothing for too long,
// however the link died.
type boundConn struct {
	net.Conn
	silence, write time.Duration
}

func (c *boundConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if err != nil {
		_ = c.Close() // or paho waits for a write that the dead link holds up
	}
	return n, err
}

func (c *boundConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// greet connects, listens for acknowledgements and commands, whose work ends with
// life, and says "online".
func (s *session) greet(ctx, life context.Context) error {
	err := s.wait(ctx, "connect", s.cl.Connect())
	if errors.Is(err, packets.ErrorRefusedNotAuthorised) || errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) {
		return fmt.Errorf("%w; the broker does not know %q with this password: check broker.username and broker.password_file", err, s.u.set.Username)
	}
	if err != nil {
		return err
	}
	hear := map[string]func(mqtt.Message){floorwatch.LeafAck: func(m mqtt.Message) { s.u.onAck(m.Payload(), m.Retained()) }}
	if s.u.set.Command != nil {
		hear[floorwatch.LeafCmd] = func(m mqtt.Message) { s.onCommand(life, m) }
	}
	for leaf, handle := range hear {
		if err := s.subscribe(ctx, s.u.topic(leaf), handle); err != nil {
			return err
		}
	}
	return s.wait(ctx, "publish state", s.cl.Publish(s.u.topic(floorwatch.LeafState), 1, true, s.u.state(floorwatch.StateOnline)))
}

func (s *session) subscribe(ctx context.Context, topic string, handle func(mqtt.Message)) error {
	sub := s.cl.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { handle(m) })
	if err := s.wait(ctx, "subscribe", sub); err != nil {
		return err
	}
	if st, ok := sub.(*mqtt.SubscribeToken); ok && st.Result()[topic] > 1 {
		return fmt.Errorf("subscribe to %s: the broker refuses; check its access rules", topic)
	}
	return nil
}

func (s *session) wait(ctx context.Context, what string, t mqtt.Token) error {
	limit := time.NewTimer(2 * s.u.time.connect)
	defer limit.Stop()
	s.u.set.Pulse.Rest() // limit bounds it
	defer s.u.set.Pulse.Beat()
	select {
	case <-t.Done():
		if err := t.Error(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case err := <-s.lost:
		return fmt.Errorf("%s: %w", what, err)
	case <-limit.C:
		return fmt.Errorf("%s: the broker does not answer", what)
	case <-ctx.Done():
		return ctx.Err()
	}
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
		case err := <-s.lost:
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
	t := s.cl.Publish(s.u.topic(floorwatch.LeafState), 1, true, s.u.state(floorwatch.StateStopped))
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
	for s.u.Stats().InFlight < window {
		b, err := s.u.set.Outbox.Next(floorwatch.MaxBatchRecords, floorwatch.MaxRecordBytes+1)
		if err != nil {
			s.u.set.Log.Error("outbox not read; trying again", "err", err)
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
	t := s.cl.Publish(s.u.topic(floorwatch.LeafUp), 1, false, f.payload)
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
		t := s.cl.Publish(s.u.topic(floorwatch.LeafLive, zone), 0, true, b)
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

// noStore is paho's message store, holding nothing: the outbox is the store.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
