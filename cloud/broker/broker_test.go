package broker

import (
	"fmt"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

func start(t *testing.T) string {
	t.Helper()
	b, err := New(Settings{Edges: map[string]string{"s1/box": "one", "s1/other": "two", "s1/blank": ""}, CloudPassword: "three"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b.URL()
}

func options(url, user, password, id string) *paho.ClientOptions {
	return paho.NewClientOptions().AddBroker(url).SetProtocolVersion(4).SetUsername(user).SetPassword(password).
		SetClientID(id).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second)
}

func connect(t *testing.T, o *paho.ClientOptions) (paho.Client, error) {
	t.Helper()
	c := paho.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(10 * time.Second) {
		t.Fatal("connect neither worked nor failed")
	}
	if token.Error() == nil {
		t.Cleanup(func() { c.Disconnect(0) })
	}
	return c, token.Error()
}

func TestWhoComesIn(t *testing.T) {
	url := start(t)
	for name, c := range map[string]struct {
		user, password, id, will string
		ok                       bool
	}{
		"edge":                 {"s1/box", "one", "s1/box", "", true},
		"second connection":    {"s1/box", "one", "s1/box:2", "", true},
		"cloud":                {"cloud", "three", "cloud:1", "", true},
		"wrong password":       {"s1/box", "two", "s1/box", "", false},
		"no password":          {"s1/box", "", "s1/box", "", false},
		"blank password":       {"s1/blank", "", "s1/blank", "", false},
		"stranger":             {"s9/box", "", "s9/box", "", false},
		"nobody":               {"", "", "x", "", false},
		"another's client id":  {"s1/box", "one", "s1/other", "", false},
		"prefix of another id": {"s1/box", "one", "s1/box2", "", false},
		"own will":             {"s1/box", "one", "s1/box:w", "floorwatch/v1/s1/box/state", true},
		"foreign will":         {"s1/box", "one", "s1/box:v", "floorwatch/v1/s1/other/state", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(url, c.user, c.password, c.id)
			if c.will != "" {
				o.SetWill(c.will, "gone", 1, true)
			}
			if _, err := connect(t, o); (err == nil) != c.ok {
				t.Errorf("let in: %v, want %v", err == nil, c.ok)
			}
		})
	}
}

func TestTopics(t *testing.T) {
	const own = "floorwatch/v1/s1/box/"
	for topic, want := range map[string]bool{
		own + "up": true, own + "state": true, own + "reply": true, own + "live/table": true,
		own + "ack": false, own + "cmd": false, own + "live": false, own + "live/a/b": false, own + "up/x": false,
		"floorwatch/v1/s1/other/up": false, "floorwatch/v1/s1/box": false, "floorwatch/v2/s1/box/up": false,
		"$SYS/broker": false, "": false,
	} {
		if mayWrite("s1/box", topic) != want {
			t.Errorf("edge writes %q: %v", topic, !want)
		}
	}
	for topic, want := range map[string]bool{
		own + "ack": true, own + "cmd": true, own + "up": false, "#": false, "floorwatch/#": false, own + "#": false,
		"floorwatch/v1/s1/+/ack": false, "floorwatch/v1/s1/other/ack": false, "$share/g/" + own + "ack": false,
	} {
		if mayRead("s1/box", topic) != want {
			t.Errorf("edge reads %q: %v", topic, !want)
		}
	}
	for topic, want := range map[string]bool{own + "ack": true, own + "cmd": true, own + "up": false, own + "state": false} {
		if mayWrite(CloudUser, topic) != want {
			t.Errorf("cloud writes %q: %v", topic, !want)
		}
	}
	for topic, want := range map[string]bool{"$share/ingest/floorwatch/v1/+/+/up": true, "floorwatch/v1/+/+/state": true, "$SYS/#": false, "#": false} {
		if mayRead(CloudUser, topic) != want {
			t.Errorf("cloud reads %q: %v", topic, !want)
		}
	}
}

func TestForeignPublicationIsDropped(t *testing.T) {
	url := start(t)
	cloud, err := connect(t, options(url, CloudUser, "three", "cloud:1"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	cloud.Subscribe("floorwatch/v1/+/+/up", 1, func(_ paho.Client, m paho.Message) { got <- m.Topic() }).Wait()
	// mochi ends the connection of a 3.1.1 client that oversteps, so each
	// publication has its own.
	for id, topic := range []string{"floorwatch/v1/s1/other/up", "floorwatch/v1/s1/box/up"} {
		box, err := connect(t, options(url, "s1/box", "one", fmt.Sprintf("s1/box:%d", id)))
		if err != nil {
			t.Fatal(err)
		}
		box.Publish(topic, 1, false, "x").WaitTimeout(5 * time.Second)
	}
	select {
	case topic := <-got:
		if topic != "floorwatch/v1/s1/box/up" {
			t.Errorf("a publication on %s came through", topic)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the box's own publication did not arrive")
	}
}
