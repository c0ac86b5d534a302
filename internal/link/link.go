// Package link keeps a session with an MQTT 3.1.1 broker: it signs in, lets its
// user work, and tries again when the connection breaks.
//
//	Run ─> once: Login, dial (tcp or tls), CONNECT ─> Work ─> DISCONNECT ─┐
//	 ^                                 messages ─> Message                │
//	 └──────────────────────── Pause, Down <──────────────────────────────┘
//
// paho is used for its packets and its pings only. It does not reconnect, as its
// pauses have no chance in them, and keeps nothing to send again: every connection
// is a new client that remembers nothing, and what must arrive is kept by the user
// of the link, on disk.
//
// Fill in a Link and call Run.
package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"floorwatch/internal/access"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"
)

// Defaults of a Link.
const (
	DefaultTimeout   = 10 * time.Second
	DefaultKeepAlive = 10 * time.Second
)

// Link keeps one session. Its fields are set before Run and not changed after;
// Login, ClientID and Work must be set.
type Link struct {
	// Login is asked before every attempt, so that a password that was corrected
	// is used.
	Login    func() (access.Login, error)
	ClientID string
	Key      string // of the configuration, under which the broker is named; for messages

	Keep      bool // the broker keeps the session, and what comes meanwhile, while we are away
	Ordered   bool // Message is called in order, and must not block; else each in a goroutine
	ManualAck bool // Message acknowledges; else it is done when it returns
	// Will is what the broker says for us, at QoS 1 and retained, if we are lost;
	// made anew for every attempt. nil: nothing.
	Will func() (topic string, payload []byte)

	Timeout   time.Duration // of dialling, and of each write; an answer may take twice that; 0: DefaultTimeout
	KeepAlive time.Duration // longest silence from us; after twice that from the broker, the link is dead; 0: DefaultKeepAlive
	// PingTimeout is how long the answer to a ping may take; 0: half of KeepAlive.
	// It may stand behind much else that the broker sends.
	PingTimeout time.Duration
	MaxPacket   int // bytes of a packet from the broker, which paho does not bound; 0: any number
	// Wrap goes around the TCP connection, below TLS, and must find out by itself
	// when that is dead; nil: a connection with deadlines.
	Wrap func(net.Conn) net.Conn

	// Work is called once the broker has let us in. It subscribes, calls Up, and
	// works until s is lost, which is an error, or ctx ends: nil then means that all
	// was said, and the broker is told that we leave.
	Work func(ctx context.Context, s *Session) error
	// Message is called for what comes. Its ctx outlives that of Work a little, and
	// once returned no call of it goes on.
	Message func(ctx context.Context, s *Session, m mqtt.Message)

	// Pause is how long to wait after an attempt that lasted so long, up or not; nil:
	// a back-off from a quarter of a second to half a minute.
	Pause func(up bool, lasted time.Duration) time.Duration
	// Down hears that an attempt ended, and when the next one is; first, of a row
	// of those that were not up. nil: nobody does.
	Down func(err error, first bool, in time.Duration)

	Pulse *watchdog.Pulse // rests while the broker is waited for
}

// ErrPacket is the end of a session in which the broker sent more than MaxPacket
// at once. It would send that again for ever, so the next session of a Link that
// keeps one begins empty.
var ErrPacket = errors.New("the broker sent a packet that is too large; what it kept is left behind")

// Run keeps the session until ctx ends. It returns nil, when its goroutines and
// the calls of Message are gone.
func (l *Link) Run(ctx context.Context) error {
	apart := retry.Backoff{Min: 250 * time.Millisecond, Max: 30 * time.Second, Steady: 10 * time.Second}
	first, fresh := true, false
	for {
		began := time.Now()
		l.Pulse.Beat()
		up, err := l.once(ctx, fresh)
		l.Pulse.Rest()
		if ctx.Err() != nil {
			return nil
		}
		lasted := time.Since(began)
		in := apart.Next(lasted)
		if l.Pause != nil {
			in = l.Pause(up, lasted)
		}
		if first = first || up; l.Down != nil {
			l.Down(err, first, in)
		}
		first, fresh = false, errors.Is(err, ErrPacket)
		if !retry.Pause(ctx, in) {
			return nil
		}
	}
}

// Once holds one session, and says how it ended.
func (l *Link) Once(ctx context.Context) error {
	_, err := l.once(ctx, false)
	return err
}

func (l *Link) timeout() time.Duration { return cmp.Or(l.Timeout, DefaultTimeout) }

// once holds one session, which leaves behind what the broker kept if it is fresh.
func (l *Link) once(ctx context.Context, fresh bool) (up bool, err error) {
	login, err := l.Login()
	if err != nil {
		return false, err
	}
	broker, err := access.BrokerURL(login.URL)
	if err != nil {
		return false, fmt.Errorf("broker address: %w", err)
	}
	// The connection closes with life, which outlives ctx by the farewell; with it
	// ends whatever still reads or writes, a peer that says nothing included.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	s := &Session{l: l, user: login.Username, lost: make(chan error, 1)}
	o := l.options(login, fresh).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.hear(life, m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.lost <- err }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			return l.dial(life, broker, login.TLS, &s.oversize)
		})
	s.client = mqtt.NewClient(o)
	if err = s.signIn(ctx); err == nil {
		err = l.Work(ctx, s)
	}
	if err != nil {
		end() // there is nobody to say goodbye to
	}
	s.client.Disconnect(uint(l.timeout().Milliseconds() / 10))
	end()
	s.deaf()
	if s.oversize.Load() {
		err = ErrPacket
	}
	return s.up, err
}

func (l *Link) options(login access.Login, fresh bool) *mqtt.ClientOptions {
	keepAlive := cmp.Or(l.KeepAlive, DefaultKeepAlive)
	o := mqtt.NewClientOptions().
		AddBroker(login.URL).
		SetClientID(l.ClientID).
		SetUsername(login.Username).SetPassword(login.Password).
		SetProtocolVersion(4). // else paho tries each refused connection again as 3.1
		SetCleanSession(!l.Keep || fresh).
		SetAutoReconnect(false).SetConnectRetry(false).
		SetStore(noStore{}).
		SetOrderMatters(l.Ordered).
		SetAutoAckDisabled(l.ManualAck).
		SetConnectTimeout(l.timeout()).SetWriteTimeout(l.timeout()).
		SetKeepAlive(keepAlive).SetPingTimeout(cmp.Or(l.PingTimeout, keepAlive/2))
	if l.Will != nil {
		topic, payload := l.Will()
		o.SetBinaryWill(topic, payload, 1, true)
	}
	return o
}

// dial connects to the broker until life ends.
func (l *Link) dial(life context.Context, broker *url.URL, trust *tls.Config, oversize *atomic.Bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(life, l.timeout())
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", broker.Host)
	if err != nil {
		return nil, err
	}
	if l.Wrap != nil {
		raw = l.Wrap(raw)
	} else {
		raw = &boundConn{Conn: raw, silence: 2 * cmp.Or(l.KeepAlive, DefaultKeepAlive), write: l.timeout()}
	}
	context.AfterFunc(life, func() { _ = raw.Close() })
	conn := raw
	if broker.Scheme == "tls" {
		if trust = trust.Clone(); trust == nil {
			trust = new(tls.Config)
		}
		if trust.ServerName == "" {
			trust.ServerName = broker.Hostname()
		}
		secure := tls.Client(raw, trust)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		conn = secure
	}
	if l.MaxPacket > 0 {
		conn = &packetConn{Conn: conn, max: l.MaxPacket, oversize: oversize}
	}
	return conn, nil
}

// Session is one connection, from the broker's welcome until it is lost.
type Session struct {
	l        *Link
	user     string
	client   mqtt.Client
	lost     chan error
	up       bool
	oversize atomic.Bool

	mu      sync.Mutex
	hearing sync.WaitGroup
}

func (s *Session) signIn(ctx context.Context) error {
	err := s.Await(ctx, "connect to broker", s.client.Connect())
	if errors.Is(err, packets.ErrorRefusedNotAuthorised) || errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) {
		return fmt.Errorf("%w; the broker does not know %q with this password: check %s.username and %s.password_file", err, s.user, s.l.Key, s.l.Key)
	}
	return err
}

// hear passes a message on, unless the session is over.
func (s *Session) hear(life context.Context, m mqtt.Message) {
	s.mu.Lock()
	if life.Err() != nil || s.l.Message == nil {
		s.mu.Unlock()
		return
	}
	s.hearing.Add(1)
	s.mu.Unlock()
	defer s.hearing.Done()
	s.l.Message(life, s, m)
}

// deaf waits, after the end of life, for the calls of Message.
func (s *Session) deaf() {
	s.mu.Lock() // whoever has the lock later sees that end
	hearing := &s.hearing
	s.mu.Unlock()
	hearing.Wait()
}

// Subscribe asks for topics, each with its QoS, and waits for the broker's word on
// them.
func (s *Session) Subscribe(ctx context.Context, topics map[string]byte) error {
	token := s.client.SubscribeMultiple(topics, nil)
	// Before its answer comes all that the broker has kept for us. As long as that
	// comes there is no hurry; a link that is dead or closed ends the wait.
	if err := s.await(ctx, "subscribe", token, !s.l.Keep); err != nil {
		return err
	}
	for topic, code := range token.(*mqtt.SubscribeToken).Result() {
		if code > 2 {
			return fmt.Errorf("subscribe to %s: the broker refuses it; its access list must allow it to %q", topic, s.user)
		}
	}
	return nil
}

// Publish hands a message to the connection. The token says what became of it.
func (s *Session) Publish(topic string, qos byte, retained bool, payload []byte) mqtt.Token {
	return s.client.Publish(topic, qos, retained, payload)
}

// Await waits for the broker's answer.
func (s *Session) Await(ctx context.Context, what string, t mqtt.Token) error {
	return s.await(ctx, what, t, true)
}

func (s *Session) await(ctx context.Context, what string, t mqtt.Token, hurry bool) error {
	var late <-chan time.Time
	if hurry {
		limit := time.NewTimer(2 * s.l.timeout())
		defer limit.Stop()
		late = limit.C
	}
	s.l.Pulse.Rest() // limit bounds it, or the deadlines of the connection
	defer s.l.Pulse.Beat()
	select {
	case <-t.Done():
		if err := t.Error(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case err := <-s.lost:
		return fmt.Errorf("%s: %w", what, err)
	case <-late:
		return fmt.Errorf("%s: the broker does not answer", what)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Up says, from Work, that the session is at work: what ends it is a new trouble.
func (s *Session) Up() { s.up = true }

// Open tells whether the connection still stands.
func (s *Session) Open() bool { return s.client.IsConnectionOpen() }

// Lost gets the reason, once, when the connection is lost.
func (s *Session) Lost() <-chan error { return s.lost }

// Hold waits until the session is lost, or for the end of ctx, which is no error.
func (s *Session) Hold(ctx context.Context) error {
	select {
	case err := <-s.lost:
		return fmt.Errorf("broker connection lost: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// noStore is paho's message store, holding nothing.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
