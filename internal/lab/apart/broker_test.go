package apart

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// broker is a running Mosquitto with the shipped configuration.
type broker struct {
	boxes, cloud string // addresses of its listeners
	tls          *tls.Config
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	dir := t.TempDir()
	a := newAuthority(t, dir)
	a.issue(t, "server", "127.0.0.1")
	boxes, clouds := kit.FreePort(t), kit.FreePort(t)
	conf := brokerFolder(t, dir, registry("a", "b"), map[string]string{"s1/a": "password-a", "s1/b": "password-b"},
		"listener 8883", fmt.Sprintf("listener %d 127.0.0.1", boxes), "listener 8884", fmt.Sprintf("listener %d 127.0.0.1", clouds))
	kit.Run(t, kit.Program{Name: kit.Tool(t, "mosquitto"), Args: []string{"-c", conf}})
	b := &broker{fmt.Sprintf("127.0.0.1:%d", boxes), fmt.Sprintf("127.0.0.1:%d", clouds), a.trust(t)}
	kit.Wait(t, "mosquitto to listen", func() bool {
		return kit.Answers(b.cloud)
	})
	return b
}

// client is a connection with what came over it.
type client struct {
	mqtt.Client
	conn net.Conn
	lost chan error

	mu  sync.Mutex
	got []string // topics and payloads
}

// connect signs in at an address; change may alter the options.
func (b *broker) connect(address, user, password string, change func(*mqtt.ClientOptions)) (*client, error) {
	c := &client{lost: make(chan error, 1)}
	o := mqtt.NewClientOptions().AddBroker("tls://" + address).SetUsername(user).SetPassword(password).SetClientID(user).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(kit.Patience).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lost <- err }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.got = append(c.got, m.Topic()+" "+string(m.Payload()))
		}).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (conn net.Conn, err error) {
			c.conn, err = tls.Dial("tcp", address, b.tls)
			return c.conn, err
		})
	if change != nil {
		change(o)
	}
	c.Client = mqtt.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(kit.Patience) {
		return nil, fmt.Errorf("no answer within %s", kit.Patience)
	}
	return c, token.Error()
}

func (b *broker) mustConnect(t *testing.T, address, user, password string, change func(*mqtt.ClientOptions)) *client {
	t.Helper()
	c, err := b.connect(address, user, password, change)
	if err != nil {
		t.Fatalf("%s cannot connect: %v", user, err)
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func (b *broker) cloudClient(t *testing.T) *client {
	c := b.mustConnect(t, b.cloud, "cloud", "cloud", nil)
	c.hear(t, floorwatch.TopicRoot+"/#")
	return c
}

func (c *client) hear(t *testing.T, filter string) {
	t.Helper()
	token := c.Subscribe(filter, 1, nil)
	if !token.WaitTimeout(kit.Patience) {
		t.Fatalf("subscribe %s: no answer", filter)
	}
}

func (c *client) say(t *testing.T, topic, text string, retain bool) {
	t.Helper()
	if token := c.Publish(topic, 1, retain, text); !token.WaitTimeout(kit.Patience) {
		t.Fatalf("publish %s: no answer", topic)
	}
}

// heard waits for a message and returns everything that came up to it. Mosquitto
// hands a connection's messages on in their order, so what was sent before and
// is not there never comes.
func (c *client) heard(t *testing.T, last string) []string {
	t.Helper()
	var all []string
	kit.Wait(t, last, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.got, last)
		if i >= 0 {
			all, c.got = slices.Clone(c.got[:i+1]), c.got[i+1:]
		}
		return i >= 0
	})
	return all
}

func leaves() []string {
	return []string{"up", "state", "reply", "live/zone", "ack", "cmd", "other"}
}

func TestBoxSpeaksOnItsOwnTopicsOnly(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	observer := b.cloudClient(t)
	a := b.mustConnect(t, b.boxes, "s1/a", "password-a", nil)
	var want []string
	for _, leaf := range leaves() {
		for _, retain := range []bool{false, true} {
			a.say(t, floorwatch.Topic("s1", "b", leaf), "forged", retain)
			a.say(t, floorwatch.Topic("s2", "a", leaf), "forged", retain)
			a.say(t, floorwatch.Topic("s1", "a", leaf), "own", retain)
		}
		if leaf != "ack" && leaf != "cmd" && leaf != "other" {
			want = append(want, floorwatch.Topic("s1", "a", leaf)+" own", floorwatch.Topic("s1", "a", leaf)+" own")
		}
	}
	a.say(t, floorwatch.Topic("s1", "a", "live", "zone", "deeper"), "forged", false)
	a.say(t, "$SYS/broker/uptime", "forged", false)
	a.say(t, floorwatch.Topic("s1", "a", "up"), "marker", false)
	got := observer.heard(t, floorwatch.Topic("s1", "a", "up")+" marker")
	if got = got[:len(got)-1]; !slices.Equal(got, want) {
		t.Errorf("the cloud heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	late := b.cloudClient(t) // hears what was retained
	a.say(t, floorwatch.Topic("s1", "a", "up"), "marker", false)
	for _, m := range late.heard(t, floorwatch.Topic("s1", "a", "up")+" marker") {
		if strings.Contains(m, "forged") {
			t.Errorf("retained: %s", m)
		}
	}
}

func TestBoxHearsItsOwnTopicsOnly(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	speaker := b.mustConnect(t, b.cloud, "cloud", "cloud", nil)
	a := b.mustConnect(t, b.boxes, "s1/a", "password-a", nil)
	other := b.mustConnect(t, b.boxes, "s1/b", "password-b", nil)
	other.say(t, floorwatch.Topic("s1", "b", "state"), "private", true)
	for _, filter := range []string{
		"#", "floorwatch/#", "floorwatch/v1/+/+/ack", "floorwatch/v1/s1/b/#", "floorwatch/v1/s1/b/state",
		"$share/x/floorwatch/v1/+/+/up", "$share/ingest/floorwatch/v1/+/+/up", "$SYS/#", "floorwatch/v1/s1/a/ack",
	} {
		a.hear(t, filter)
	}
	for _, leaf := range leaves() {
		other.say(t, floorwatch.Topic("s1", "b", leaf), "private", false)
	}
	speaker.say(t, floorwatch.Topic("s1", "b", "ack"), "private", false)
	speaker.say(t, floorwatch.Topic("s1", "b", "cmd"), "private", false)
	speaker.say(t, floorwatch.Topic("s1", "b", "state"), "forged by the cloud", false)
	speaker.say(t, floorwatch.Topic("s1", "a", "ack"), "marker", false)
	for _, m := range a.heard(t, floorwatch.Topic("s1", "a", "ack")+" marker") {
		if !strings.HasPrefix(m, floorwatch.Topic("s1", "a")+"/") {
			t.Errorf("box a heard %s", m)
		}
	}
}

func TestBoxLeavesNoForeignWill(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	observer := b.cloudClient(t)
	for _, will := range []string{floorwatch.Topic("s1", "b", "state"), floorwatch.Topic("s1", "a", "ack"), floorwatch.Topic("s1", "a", "state")} {
		c, err := b.connect(b.boxes, "s1/a", "password-a", func(o *mqtt.ClientOptions) { o.SetWill(will, "offline", 1, true) })
		if err != nil {
			t.Fatal(err)
		}
		kit.Must(t, c.conn.Close()) // the next one takes over what the broker has not seen close
	}
	want := floorwatch.Topic("s1", "a", "state") + " offline"
	if got := observer.heard(t, want); !slices.Equal(got, []string{want}) {
		t.Errorf("wills: %q", got)
	}
}

func TestBoxTakesNoOtherBoxsSession(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	observer := b.cloudClient(t)
	other := b.mustConnect(t, b.boxes, "s1/b", "password-b", nil)
	thief := b.mustConnect(t, b.boxes, "s1/a", "password-a", func(o *mqtt.ClientOptions) { o.SetClientID("s1/b") })
	thief.say(t, floorwatch.Topic("s1", "a", "up"), "marker", false)
	observer.heard(t, floorwatch.Topic("s1", "a", "up")+" marker")
	other.say(t, floorwatch.Topic("s1", "b", "up"), "still here", false)
	observer.heard(t, floorwatch.Topic("s1", "b", "up")+" still here")
	select {
	case err := <-other.lost:
		t.Errorf("box b was thrown out: %v", err)
	default:
	}
}

func TestStrangersStayOutside(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	for what, c := range map[string]struct{ address, user, password string }{
		"nobody":             {b.boxes, "", ""},
		"nobody, cloud":      {b.cloud, "", ""},
		"unknown":            {b.boxes, "s1/c", "password-a"},
		"wrong password":     {b.boxes, "s1/a", "password-b"},
		"no password":        {b.boxes, "s1/a", ""},
		"cloud at the boxes": {b.boxes, "cloud", "cloud"},
		"box at the cloud":   {b.cloud, "s1/a", "password-a"},
		"wildcard user":      {b.boxes, "+/+", "password-a"},
	} {
		if conn, err := b.connect(c.address, c.user, c.password, nil); err == nil {
			conn.Disconnect(0)
			t.Errorf("%s got in", what)
		}
	}
	plain := func(o *mqtt.ClientOptions) {
		o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return net.Dial("tcp", b.boxes) })
	}
	if _, err := b.connect(b.boxes, "s1/a", "password-a", plain); err == nil {
		t.Error("it speaks without TLS")
	}
	for what, cfg := range map[string]*tls.Config{
		"TLS 1.1":                {RootCAs: b.tls.RootCAs, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"another server's name":  {RootCAs: b.tls.RootCAs, ServerName: "elsewhere.example.com"},
		"an authority not known": {},
	} {
		if c, err := tls.Dial("tcp", b.boxes, cfg); err == nil {
			_ = c.Close()
			t.Errorf("%s is taken", what)
		}
	}
}
