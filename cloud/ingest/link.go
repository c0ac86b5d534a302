package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Broker says where the MQTT broker is and who we are to it.
type Broker struct {
	URL      string // tcp://host:port or tls://host:port
	User     string
	Password string
	TLS      *tls.Config // nil: the system's roots
}

const (
	connectTimeout = 10 * time.Second
	keepAlive      = 10 * time.Second
	publishTimeout = 5 * time.Second
	firstDelay     = 250 * time.Millisecond
	lastDelay      = 30 * time.Second
	// steady is how long a connection must hold before the delay starts anew.
	steady = 10 * time.Second
)

// link keeps one connection to the broker with one subscription. paho's own
// reconnect has no jitter and keeps what it could not send, so every connection
// is a new client that remembers nothing: what was not acknowledged comes again.
type link struct {
	broker  Broker
	session string          // kept by the broker while we are away; "": none
	topics  map[string]byte // filter: QoS
	message func(mqtt.Message)
	paced   bool              // see conn; only without QoS 1
	up      func(mqtt.Client) // nil argument: down
	log     *slog.Logger

	connected bool // in the last attempt; of run's goroutine alone
}

// run connects again and again until ctx ends.
func (l *link) run(ctx context.Context) {
	delay := firstDelay
	told := false
	for ctx.Err() == nil {
		began := time.Now()
		l.connected = false
		err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			delay = firstDelay
		}
		if l.connected { // and said so
			told = false
		}
		if !told {
			l.log.Warn("no connection to the broker; trying again", "broker", l.host(), "error", err)
			told = true
		}
		select { // half of it random, so that instances do not come all at once
		case <-time.After(delay/2 + mathrand.N(delay/2)):
		case <-ctx.Done():
		}
		delay = min(2*delay, lastDelay)
	}
}

func (l *link) host() string {
	u, err := url.Parse(l.broker.URL)
	if err != nil {
		return "unreadable address"
	}
	return u.Host // never the credentials
}

// once connects, subscribes and returns when the connection is lost.
func (l *link) once(ctx context.Context) error {
	lost := make(chan error, 1)
	var d dialer
	o := mqtt.NewClientOptions().AddBroker(l.broker.URL).SetClientID(clientID(l.broker.User, l.session)).
		SetUsername(l.broker.User).SetPassword(l.broker.Password).
		SetProtocolVersion(4).SetCleanSession(l.session == "").SetAutoReconnect(false).SetConnectRetry(false).SetStore(noStore{}).
		SetConnectTimeout(connectTimeout).SetKeepAlive(keepAlive).SetWriteTimeout(publishTimeout).
		// The answer to a ping may stand behind all that waits for us, so conn
		// tells a dead link by its silence.
		SetPingTimeout(time.Hour).
		SetOrderMatters(true). // else a goroutine for each message
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.message(m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }).
		SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return d.dial(ctx, u, l.broker.TLS, l.paced) })
	client := mqtt.NewClient(o)
	defer client.Disconnect(100) // ms for what is still to be sent
	// A peer that takes the connection and says nothing must not hold us at the end.
	stop := context.AfterFunc(ctx, d.close)
	token := client.Connect()
	if !token.WaitTimeout(2 * connectTimeout) {
		d.close()
		return errors.New("connect to broker: no answer")
	}
	if err := token.Error(); err != nil {
		stop()
		if errors.Is(err, packets.ErrorRefusedNotAuthorised) || errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) {
			err = fmt.Errorf("%w; the broker does not know %q with this password: check broker.username and broker.password_file", err, l.broker.User)
		}
		return fmt.Errorf("connect to broker: %w", err)
	}
	if l.session != "" {
		l.up(client) // what the broker has kept comes before its answer to our subscription
		defer l.up(nil)
	}
	sub := client.SubscribeMultiple(l.topics, nil)
	if err := l.confirmed(sub, lost); err != nil {
		stop()
		return fmt.Errorf("subscribe: %w", err)
	}
	for filter, code := range sub.(*mqtt.SubscribeToken).Result() {
		if code == 0x80 {
			stop()
			return fmt.Errorf("subscribe to %s: the broker refuses it; its access list must allow it to %q", filter, l.broker.User)
		}
	}
	if !stop() {
		return ctx.Err()
	}
	l.connected = true
	l.log.Info("connected to the broker", "broker", l.host())
	l.up(client)
	defer l.up(nil)
	select {
	case err := <-lost:
		return fmt.Errorf("broker connection lost: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// confirmed waits for the broker's answer to a subscription. With a session it
// stands behind all that the broker has kept, so as long as that comes, there is
// no hurry; a link that is dead or closed ends the wait.
func (l *link) confirmed(sub mqtt.Token, lost chan error) error {
	var limit <-chan time.Time
	if l.session == "" {
		limit = time.After(connectTimeout)
	}
	select {
	case <-sub.Done():
		return sub.Error()
	case err := <-lost:
		return err
	case <-limit:
		return errors.New("the broker did not confirm")
	}
}

// dialer opens the one connection of a client, so that it can be cut from
// outside while the broker still owes its first answer.
type dialer struct {
	mu   sync.Mutex
	conn net.Conn
}

func (d *dialer) dial(ctx context.Context, u *url.URL, conf *tls.Config, paced bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	secure := u.Scheme == "tls" || u.Scheme == "ssl" || u.Scheme == "mqtts"
	if !secure && u.Scheme != "tcp" && u.Scheme != "mqtt" {
		return nil, fmt.Errorf("broker address begins with %q, want tcp:// or tls://", u.Scheme)
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	var conn net.Conn = newConn(raw, paced) // below TLS, whose records hold a message each
	if secure {
		if conn, err = handshake(ctx, conn, u.Hostname(), conf); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	d.conn = conn
	d.mu.Unlock()
	if err := ctx.Err(); err != nil { // close may have come before there was anything to close
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func handshake(ctx context.Context, raw net.Conn, host string, conf *tls.Config) (net.Conn, error) {
	if conf = conf.Clone(); conf == nil {
		conf = new(tls.Config)
	}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// clientID begins with the user's name, as the broker's rules want it, so that
// nobody can take another's place; the rest tells instances apart.
func clientID(user, session string) string {
	if session == "" {
		var id [6]byte
		_, _ = rand.Read(id[:]) // never fails: it ends the program instead
		session = hex.EncodeToString(id[:])
	}
	return cmp.Or(user, "floorwatch") + ":" + session
}

// noStore is paho's message store, holding nothing: what counts is in InfluxDB
// or with the boxes.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
