package counter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	connectTime = 10 * time.Second
	keepAlive   = 30 * time.Second
	// Between two tries to reach the broker.
	minRetry, maxRetry = time.Second, 30 * time.Second
)

// subscribe takes messages from the broker until ctx ends, connecting again as
// often as it must. The broker keeps what comes meanwhile, where it can.
func (f *Feeds) subscribe(ctx context.Context) {
	fresh := false
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		began := time.Now()
		err := f.session(ctx, fresh)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait = minRetry
		}
		// A packet that cannot be read would be sent again for ever.
		fresh = errors.Is(err, errPacket)
		f.set.Log.Warn("counters' broker is away; trying again", "in", wait, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// session holds one connection until it breaks or ctx ends. A fresh one leaves
// behind what the broker kept.
func (f *Feeds) session(ctx context.Context, fresh bool) error {
	password, err := f.set.Config.MQTT.Password.Read()
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	var oversize atomic.Bool
	// The session is kept by the broker (no clean session, one client id), so
	// that what devices publish while we are away is not lost. Messages are
	// acknowledged by us, once they are on disk.
	cl := mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker(f.set.Config.MQTT.Broker).SetClientID(f.set.ClientID).
		SetUsername(f.set.Config.MQTT.Username).SetPassword(password).
		SetProtocolVersion(4).SetCleanSession(fresh).SetAutoReconnect(false).
		SetOrderMatters(true). // a register must be read in order; receive never blocks
		SetAutoAckDisabled(true).
		SetConnectTimeout(connectTime).SetWriteTimeout(connectTime).SetKeepAlive(keepAlive).
		SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return dial(u, &oversize) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { f.receive(m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }))
	defer cl.Disconnect(250)
	if err := wait(ctx, cl.Connect()); err != nil {
		return fmt.Errorf("connect to %s: %w", f.set.Config.MQTT.Broker, err)
	}
	topics := make(map[string]byte)
	for topic := range f.topics {
		topics[topic] = 1
	}
	// Without a callback of its own a subscription uses the default handler,
	// which also gets what the broker kept.
	token := cl.SubscribeMultiple(topics, nil)
	if err := wait(ctx, token); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for topic, qos := range token.(*mqtt.SubscribeToken).Result() {
		if qos == 0x80 {
			return fmt.Errorf("subscribe to %s: the broker refuses it; allow it in its ACL", topic)
		}
	}
	f.set.Log.Info("counters' broker is connected", "topics", len(topics))
	select {
	case <-ctx.Done():
		return nil
	case err := <-lost:
		if oversize.Load() {
			return errPacket
		}
		return err
	}
}

func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(connectTime):
		return errors.New("no answer")
	}
}

// receive takes one message in and acknowledges it once it is on disk. What can
// never be taken is acknowledged too, or it would come for ever; what is over
// the rate is lost, and counted.
func (f *Feeds) receive(m mqtt.Message) {
	d := f.topics[m.Topic()]
	if d == nil || m.Retained() { // what a broker retains was said long ago
		m.Ack()
		return
	}
	_, err := f.accept(d, slices.Clone(m.Payload()), func(err error) {
		if err == nil {
			f.acks.Go(m.Ack) // else the broker sends it again with the next session
		}
	})
	if err != nil {
		m.Ack()
	}
}

// dial connects and puts a bound on what the broker may send, which paho has not.
func dial(u *url.URL, oversize *atomic.Bool) (net.Conn, error) {
	d := &net.Dialer{Timeout: connectTime}
	var c net.Conn
	var err error
	if u.Scheme == "tls" {
		c, err = tls.DialWithDialer(d, "tcp", u.Host, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()})
	} else {
		c, err = d.Dial("tcp", u.Host)
	}
	if err != nil {
		return nil, err
	}
	return &boundConn{Conn: c, oversize: oversize}, nil
}

// maxPacket is far above MaxBody: what is between is read, refused and gone.
const maxPacket = 8 << 20

var errPacket = errors.New("the broker sent a packet of more than 8 MiB; what it kept is left behind; switch pictures off, and set its message_size_limit")

// boundConn reads MQTT packets and fails at one that is too large.
type boundConn struct {
	net.Conn
	oversize *atomic.Bool
	left     int  // bytes of the packet still to come
	header   bool // its length is being read
	length   int
	shift    uint
}

func (c *boundConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bad := c.follow(b[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// follow keeps track of where packets begin: a type byte, then the length in 7
// bits a byte, the lowest first (MQTT 3.1.1, 2.2.3).
func (c *boundConn) follow(b []byte) error {
	for len(b) > 0 {
		switch {
		case c.left > 0:
			n := min(c.left, len(b))
			c.left -= n
			b = b[n:]
			continue
		case !c.header:
			c.header, c.length, c.shift = true, 0, 0
		default:
			c.length |= int(b[0]&0x7f) << c.shift
			c.shift += 7
			if c.length > maxPacket || c.shift > 28 {
				c.oversize.Store(true)
				return errPacket
			}
			if b[0]&0x80 == 0 {
				c.header, c.left = false, c.length
			}
		}
		b = b[1:]
	}
	return nil
}
