package command

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"floorwatch"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/lab/kit"
)

// startBroker runs a broker that lets everyone in.
func startBroker(t *testing.T) string {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return "tcp://" + l.Address()
}

// newBox is a box's end of the contract.
func newBox(t *testing.T, broker string) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(broker).SetProtocolVersion(4).SetClientID("box").SetOrderMatters(false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal("connect box: ", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func registry(store string, edges ...string) *site.Live {
	r := site.Registry{Stores: []site.Store{{ID: store}}}
	for _, e := range edges {
		r.Edges = append(r.Edges, site.Edge{Store: store, ID: e})
	}
	return site.Of(r)
}

func TestCommandsFindTheirReplies(t *testing.T) {
	t.Parallel()
	broker := startBroker(t)
	c := &Commander{Broker: access.Login{URL: broker}, Sites: registry("cmds", "box", "other")}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	command := func(id string, life time.Duration) floorwatch.Command {
		return floorwatch.Command{V: 1, ID: id, Do: floorwatch.DoSend, Expires: floorwatch.TimeOf(time.Now().Add(life)), Camera: "hall", From: 1, To: 2}
	}
	const a, b = "00000000000000aa", "00000000000000bb"

	// Before the box is there the command is lost, and said again.
	got := make(chan floorwatch.Reply, 1)
	go func() {
		r, err := c.Do(ctx, "cmds", "box", command(a, 30*time.Second))
		if err != nil {
			t.Error(err)
		}
		got <- r
	}()
	x := newBox(t, broker)
	heard := make(chan floorwatch.Command, 100)
	sub := x.Subscribe(floorwatch.Topic("cmds", "box", floorwatch.LeafCmd), 1, func(_ mqtt.Client, m mqtt.Message) {
		cmd, err := floorwatch.ParseCommand(m.Payload())
		if err != nil {
			t.Error(err)
		}
		heard <- cmd
	})
	if !sub.WaitTimeout(10*time.Second) || sub.Error() != nil {
		t.Fatal(sub.Error())
	}
	reply := func(edge string, v any) {
		p, _ := json.Marshal(v)
		x.Publish(floorwatch.Topic("cmds", edge, floorwatch.LeafReply), 1, false, p).WaitTimeout(10 * time.Second)
	}
	if cmd := <-heard; cmd.ID != a || cmd.Camera != "hall" {
		t.Errorf("%+v", cmd)
	}
	reply("box", "rubbish")
	reply("box", floorwatch.Reply{V: 1, ID: b, State: floorwatch.ReplyDone, Bytes: 1})                  // another's
	reply("other", floorwatch.Reply{V: 1, ID: a, State: floorwatch.ReplyDone, Bytes: 2})                // from another box
	reply("box", floorwatch.Reply{V: 1, ID: a, State: floorwatch.ReplyDone, Objects: []string{"../x"}}) // no hash
	reply("box", floorwatch.Reply{V: 1, ID: a, Reason: strings.Repeat("x", floorwatch.MaxReplyBytes)})  // too large
	reply("box", floorwatch.Reply{V: 1, ID: a, State: floorwatch.ReplyDone, Bytes: 3, Objects: []string{strings.Repeat("ab", 32)}})
	if r := <-got; r.Bytes != 3 || len(r.Objects) != 1 {
		t.Errorf("%+v", r)
	}

	for name, ask := range map[string]func() error{
		"expired":       func() error { _, err := c.Do(ctx, "cmds", "other", command(b, 300*time.Millisecond)); return err },
		"unknown box":   func() error { _, err := c.Do(ctx, "cmds", "nobox", command(b, time.Minute)); return err },
		"not a command": func() error { _, err := c.Do(ctx, "cmds", "box", floorwatch.Command{}); return err },
		"given up": func() error {
			short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
			defer stop()
			_, err := c.Do(short, "cmds", "other", command(b, time.Minute))
			return err
		},
	} {
		if err := ask(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) != 0 {
		t.Errorf("%d commands are kept", len(c.asked))
	}
}

func TestWatchKeepsTheLastWord(t *testing.T) {
	broker := startBroker(t)
	x := newBox(t, broker)
	publish := func(v any, leaf ...string) {
		p, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if tok := x.Publish(floorwatch.Topic("watch", "box", leaf...), 1, true, p); !tok.WaitTimeout(10 * time.Second) {
			t.Fatal("publish hangs")
		}
	}
	publish(floorwatch.State{V: 1, State: floorwatch.StateOnline, T: 5}, floorwatch.LeafState) // before the watch
	called := make(chan int, 100)
	live := fleet.NewLive()
	w := &Watch{Broker: access.Login{URL: broker}, Sites: registry("watch", "box"), OnState: live.PutState, OnLive: func(store, edge string, l floorwatch.Live) error {
		called <- l.People
		return live.PutLive(store, edge, l)
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	kit.Wait(t, "the retained state", func() bool { s, ok := live.State("watch", "box"); return ok && s.State == floorwatch.StateOnline })
	publish(floorwatch.Live{V: 1, Camera: "hall", Zone: "other", T: 1}, floorwatch.LeafLive, "table") // lies about its zone
	publish("rubbish", floorwatch.LeafLive, "table")
	publish(floorwatch.Live{V: 1, Camera: "hall", Zone: "table", T: 9, People: 4}, floorwatch.LeafLive, "table")
	if n := <-called; n != 4 {
		t.Errorf("first live message has %d people, want 4", n)
	}
	publish(floorwatch.State{V: 1, State: floorwatch.StateOffline, T: 1}, floorwatch.LeafState) // the will is older
	kit.Wait(t, "the will", func() bool { s, _ := live.State("watch", "box"); return s.State == floorwatch.StateOffline })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A broker that takes connections and never says a word does not hold the end.
func TestMuteBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	w := &Watch{Broker: access.Login{URL: "tcp://" + l.Addr().String()}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	cancel()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		t.Error("Run did not end within 3 s")
	}
}
