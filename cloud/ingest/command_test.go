package ingest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/internal/access"
)

func TestCommandsFindTheirReplies(t *testing.T) {
	t.Parallel()
	broker := startBroker(t)
	c := &Commander{Broker: access.Login{URL: broker}, Registry: registry("cmds", "box", "other")}
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
	x := newBox(t, broker, "cmds", "box")
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
