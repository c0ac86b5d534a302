package picture

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/cloud/command"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/lab/kit"
)

// TestOverTheBroker: with a real broker that lets anybody say anything, a picture
// of its box arrives, and neither one that is too large nor one of another box.
func TestOverTheBroker(t *testing.T) {
	t.Parallel()
	broker := "tcp://" + kit.Mosquitto(t, "").Address
	c := &command.Commander{
		Broker: access.Login{URL: broker},
		Sites:  site.Of(site.Registry{Stores: []site.Store{{ID: "s1"}}, Edges: []site.Edge{{Store: "s1", ID: "box"}}}),
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() { stop(); kit.Must(t, <-done) }()

	answers := make(chan func(floorwatch.Command) (edge string, reply floorwatch.Reply), 9)
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(broker).SetProtocolVersion(4).SetClientID("box").SetOrderMatters(false))
	if token := client.Connect(); !token.WaitTimeout(kit.Patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer client.Disconnect(0)
	heard := client.Subscribe(floorwatch.Topic("s1", "box", floorwatch.LeafCmd), 1, func(_ mqtt.Client, m mqtt.Message) {
		cmd, err := floorwatch.ParseCommand(m.Payload())
		if err != nil {
			t.Error(err)
		}
		edge, reply := (<-answers)(cmd)
		payload, err := json.Marshal(reply)
		if err != nil {
			t.Error(err)
		}
		client.Publish(floorwatch.Topic("s1", edge, floorwatch.LeafReply), 1, false, payload)
	})
	if !heard.WaitTimeout(kit.Patience) || heard.Error() != nil {
		t.Fatal(heard.Error())
	}
	p := (&box{}).pictures()
	p.Boxes = c
	picture := jpegHead + strings.Repeat("x", floorwatch.MaxReplyData-len(jpegHead))
	good := func(cmd floorwatch.Command) (string, floorwatch.Reply) { return "box", signed(cmd, 1000, picture) }
	// What is too large, or on another box's topic, is no answer: the command goes on.
	for what, wrong := range map[string]func(floorwatch.Command) (string, floorwatch.Reply){
		"too large": func(cmd floorwatch.Command) (string, floorwatch.Reply) {
			return "box", signed(cmd, 1000, picture+strings.Repeat("x", floorwatch.MaxReplyBytes))
		},
		"another box": func(cmd floorwatch.Command) (string, floorwatch.Reply) { return "other", signed(cmd, 2000, picture) },
	} {
		answers <- wrong
		answers <- good
		p.kept = cache{}
		if jpeg, at, err := p.Still(t.Context(), door); err != nil || string(jpeg) != picture || at != 1000 || len(answers) > 0 {
			t.Errorf("%s: %d bytes at %d, %d answers left: %v", what, len(jpeg), at, len(answers), err)
		}
	}
	answers <- func(cmd floorwatch.Command) (string, floorwatch.Reply) { // another box, where it must not speak
		r := signed(cmd, 3000, picture)
		r.Sign("s1", "box", key(2))
		return "box", r
	}
	p.kept = cache{}
	if jpeg, at, err := p.Still(t.Context(), door); err == nil || errors.Is(err, ErrAway) || len(jpeg) > 0 {
		t.Errorf("forged: %d bytes at %d: %v", len(jpeg), at, err)
	}
}
