package link

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"floorwatch/internal/access"
)

const patience = 20 * time.Second

// rules lets everybody in but "nobody", and refuses the topic "secret".
type rules struct{ mochi.HookBase }

func (*rules) ID() string { return "rules" }

func (*rules) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (*rules) OnConnectAuthenticate(_ *mochi.Client, p packets.Packet) bool {
	return string(p.Connect.Username) != "nobody"
}

func (*rules) OnACLCheck(_ *mochi.Client, topic string, _ bool) bool { return topic != "secret" }

// startBroker runs a real broker in this process.
func startBroker(t *testing.T, hook mochi.Hook) (server *mochi.Server, url string) {
	t.Helper()
	caps := mochi.NewDefaultServerCapabilities()
	server = mochi.New(&mochi.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler), InlineClient: true})
	if err := server.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.AddListener(listeners.NewNet("tcp", ln)); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server, "tcp://" + ln.Addr().String()
}

func as(url, user string) func() (access.Login, error) {
	return func() (access.Login, error) { return access.Login{URL: url, Username: user, Password: "p"}, nil }
}

// start runs l and returns how to end it.
func start(t *testing.T, l *Link) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func receive[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("not in time: " + what)
	}
	return v
}

func TestASessionComesBackAndEndsInOrder(t *testing.T) {
	t.Parallel()
	server, url := startBroker(t, new(auth.AllowHook))
	heard, up := make(chan string, 10), make(chan struct{}, 10)
	downs := make(chan bool, 100)
	wills := make(chan string, 10)
	if err := server.Subscribe("will", 1, func(_ *mochi.Client, _ packets.Subscription, p packets.Packet) { wills <- string(p.Payload) }); err != nil {
		t.Fatal(err)
	}
	var working atomic.Int32
	began := make(chan struct{}, 10)
	l := &Link{
		Login: as(url, "a"), ClientID: "a", Timeout: 2 * time.Second,
		Will: func() (string, []byte) { return "will", []byte("lost") },
		Work: func(ctx context.Context, s *Session) error {
			if err := s.Subscribe(ctx, map[string]byte{"in": 1}); err != nil {
				return err
			}
			s.Up()
			up <- struct{}{}
			return s.Hold(ctx)
		},
		Message: func(ctx context.Context, s *Session, m mqtt.Message) {
			working.Add(1)
			defer working.Add(-1)
			if string(m.Payload()) == "wait" {
				began <- struct{}{}
				<-ctx.Done()
			}
			heard <- string(m.Payload())
		},
		Pause: func(up bool, lasted time.Duration) time.Duration { return 10 * time.Millisecond },
		Down:  func(err error, first bool, _ time.Duration) { downs <- first },
	}
	stop := start(t, l)
	for range 2 {
		receive(t, "session", up)
		if err := server.Publish("in", []byte("word"), false, 1); err != nil {
			t.Fatal(err)
		}
		if s := receive(t, "message", heard); s != "word" {
			t.Errorf("heard %q", s)
		}
		cl, _ := server.Clients.Get("a")
		cl.Stop(errors.New("cut"))
		if !receive(t, "end of the session", downs) {
			t.Error("a session that was up ended, and that is no new trouble")
		}
		if w := receive(t, "last will", wills); w != "lost" {
			t.Errorf("will %q", w)
		}
	}
	receive(t, "session", up)
	if err := server.Publish("in", []byte("wait"), false, 1); err != nil {
		t.Fatal(err)
	}
	receive(t, "handler", began)
	stop()
	if n := working.Load(); n != 0 {
		t.Errorf("%d calls of Message go on after Run", n)
	}
	select {
	case w := <-wills:
		t.Errorf("a clean stop, and the broker says %q", w)
	case <-time.After(200 * time.Millisecond):
	}
}

func TestWhatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	_, url := startBroker(t, new(rules))
	worked := errors.New("worked")
	for _, c := range []struct{ url, user, topic, want string }{
		{url, "a", "open", "worked"},
		{url, "nobody", "open", `does not know "nobody" with this password: check counters.mqtt.username and counters.mqtt.password_file`},
		{url, "a", "secret", `subscribe to secret: the broker refuses it; its access list must allow it to "a"`},
		{"ssl://h:1", "a", "open", "broker address: want tcp://HOST:PORT or tls://HOST:PORT"},
		{"tls" + strings.TrimPrefix(url, "tcp"), "a", "open", "connect to broker: "},
	} {
		l := &Link{Login: as(c.url, c.user), ClientID: "a", Key: "counters.mqtt", Timeout: 2 * time.Second, Work: func(ctx context.Context, s *Session) error {
			if err := s.Subscribe(ctx, map[string]byte{c.topic: 1}); err != nil {
				return err
			}
			return worked
		}}
		if err := l.Once(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s as %s, %s: %v, want %q", c.url, c.user, c.topic, err, c.want)
		}
	}
}

// mute takes connections and says nothing, but for what it is given to say.
func mute(t *testing.T, say []byte) (url string, connected <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	in := make(chan struct{}, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			in <- struct{}{}
			go func() {
				_, _ = c.Write(say)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	return "tcp://" + ln.Addr().String(), in
}

var connack = []byte{0x20, 2, 0, 0}

func TestAMuteBrokerHoldsNobodyAtTheEnd(t *testing.T) {
	t.Parallel()
	for name, say := range map[string][]byte{"from the start": nil, "after its welcome": connack} {
		url, connected := mute(t, say)
		l := &Link{Login: as(url, "a"), ClientID: "a", Keep: true, Work: func(ctx context.Context, s *Session) error {
			return s.Subscribe(ctx, map[string]byte{"in": 1})
		}}
		stop := start(t, l)
		receive(t, "connection", connected)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("mute %s: Run took %s to return", name, took)
		}
	}
}

func TestASilentLinkIsDead(t *testing.T) {
	t.Parallel()
	url, _ := mute(t, connack)
	l := &Link{Login: as(url, "a"), ClientID: "a", KeepAlive: 200 * time.Millisecond, PingTimeout: time.Hour, Work: func(ctx context.Context, s *Session) error {
		return s.Hold(ctx)
	}}
	began := time.Now()
	if err := l.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "broker connection lost") {
		t.Error(err)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("it was lost after %s, want twice the keep-alive", took)
	}
}

func TestAPacketThatIsTooLargeIsLeftBehind(t *testing.T) {
	t.Parallel()
	server, url := startBroker(t, new(auth.AllowHook))
	up, downs, heard := make(chan struct{}, 10), make(chan error, 10), make(chan string, 10)
	l := &Link{
		Login: as(url, "a"), ClientID: "a", Keep: true, Ordered: true, ManualAck: true, MaxPacket: 1000,
		Work: func(ctx context.Context, s *Session) error {
			if err := s.Subscribe(ctx, map[string]byte{"in": 1}); err != nil {
				return err
			}
			up <- struct{}{}
			return s.Hold(ctx)
		},
		Message: func(_ context.Context, _ *Session, m mqtt.Message) { heard <- string(m.Payload()); m.Ack() },
		Pause:   func(bool, time.Duration) time.Duration { return 10 * time.Millisecond },
		Down:    func(err error, _ bool, _ time.Duration) { downs <- err },
	}
	start(t, l)
	receive(t, "session", up)
	if err := server.Publish("in", make([]byte, 2000), false, 1); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "end of the session", downs); !errors.Is(err, ErrPacket) {
		t.Errorf("it ended with %v", err)
	}
	receive(t, "next session", up)
	if err := server.Publish("in", []byte("small"), false, 1); err != nil {
		t.Fatal(err)
	}
	if s := receive(t, "message", heard); s != "small" {
		t.Errorf("heard %q", s)
	}
}
