// Package broker is the MQTT broker for one machine: mochi in process, with the
// same rules that deploy/ gives a broker of its own. Everything is denied but
// what is named: an edge speaks and hears on its own topics only, the cloud
// hears all and publishes acknowledgements and commands only.
package broker

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"floorwatch"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Settings of a broker. Edges maps an edge's user name, Username, to its
// password; the cloud signs in as CloudUser.
type Settings struct {
	Listen        string // address; "127.0.0.1:0" when empty
	Edges         map[string]string
	CloudPassword string
	Log           *slog.Logger
}

// CloudUser is the user name of the cloud.
const CloudUser = "cloud"

// Username is the broker's user name of an edge. Its client id must be the same
// or start with it and a colon, so that no box can take another's place.
func Username(store, edge string) string { return store + "/" + edge }

// Limits that hold for every client.
const (
	maxClients = 10000
	// maxInflight is how many messages wait for a client's acknowledgement;
	// mochi drops what is beyond it.
	maxInflight = 65535
)

// Broker is a running listener; Run serves it.
type Broker struct {
	set  Settings
	mqtt *mqtt.Server
	ln   net.Listener
}

// New binds the listener.
func New(set Settings) (*Broker, error) {
	if set.CloudPassword == "" {
		return nil, errors.New("start broker: the cloud has no password")
	}
	if set.Log == nil {
		set.Log = slog.New(slog.DiscardHandler)
	}
	if set.Listen == "" {
		set.Listen = "127.0.0.1:0"
	}
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumPacketSize = floorwatch.MaxPacket
	caps.MaximumClients = maxClients
	caps.MaximumInflight = maxInflight
	caps.MaximumSessionExpiryInterval = 3600
	b := &Broker{set: set, mqtt: mqtt.New(&mqtt.Options{Capabilities: caps, Logger: quiet(set.Log)})}
	if err := b.mqtt.AddHook(&rules{set: set}, nil); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	ln, err := net.Listen("tcp", set.Listen)
	if err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.ln = ln
	if err := b.mqtt.AddListener(listeners.NewNet("tcp", ln)); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("start broker: %w", err)
	}
	return b, nil
}

// quiet keeps mochi's own chatter at warnings and above.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(warnings{log.Handler()}) }

type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}

// URL is the broker's address for clients.
func (b *Broker) URL() string { return "tcp://" + b.ln.Addr().String() }

// Run serves until ctx ends.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.mqtt.Serve(); err != nil {
		return fmt.Errorf("serve mqtt: %w", err)
	}
	<-ctx.Done()
	if err := b.mqtt.Close(); err != nil {
		return fmt.Errorf("close broker: %w", err)
	}
	return nil
}

// rules is the hook that lets in and limits clients.
type rules struct {
	mqtt.HookBase
	set Settings
}

// ID implements mqtt.Hook.
func (*rules) ID() string { return "floorwatch-rules" }

// Provides implements mqtt.Hook.
func (*rules) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck}, []byte{b})
}

// OnConnectAuthenticate checks password, client id and will. mochi publishes
// wills without asking the access rules, so a foreign one is refused here.
func (r *rules) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	user := string(cl.Properties.Username)
	want, known := r.set.Edges[user], true
	if user == CloudUser {
		want = r.set.CloudPassword
	} else if _, known = r.set.Edges[user]; !known || want == "" {
		known = false
	}
	ok := subtle.ConstantTimeCompare(pk.Connect.Password, []byte(want)) == 1 && known
	reason := "unknown user or wrong password"
	if ok && cl.ID != user && !strings.HasPrefix(cl.ID, user+":") {
		ok, reason = false, "client id is not the user's"
	}
	if ok && pk.Connect.WillFlag && !mayWrite(user, pk.Connect.WillTopic) {
		ok, reason = false, "will on a foreign topic"
	}
	if !ok {
		r.set.Log.Warn("mqtt client refused", "user", clip(user), "client", clip(cl.ID), "remote", cl.Net.Remote, "why", reason)
	}
	return ok
}

// OnACLCheck decides on one publication or subscription.
func (r *rules) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	user := string(cl.Properties.Username)
	if write {
		return mayWrite(user, topic)
	}
	return mayRead(user, topic)
}

func mayWrite(user, topic string) bool {
	store, edge, leaf, err := floorwatch.ParseTopic(topic)
	if err != nil {
		return false
	}
	if user == CloudUser {
		return len(leaf) == 1 && slices.Contains([]string{floorwatch.LeafAck, floorwatch.LeafCmd}, leaf[0])
	}
	if user != Username(store, edge) {
		return false
	}
	switch leaf[0] {
	case floorwatch.LeafUp, floorwatch.LeafState, floorwatch.LeafReply:
		return len(leaf) == 1
	case floorwatch.LeafLive:
		return len(leaf) == 2 && floorwatch.ValidName(leaf[1])
	}
	return false
}

func mayRead(user, filter string) bool {
	if user == CloudUser {
		if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
			_, filter, _ = strings.Cut(rest, "/")
		}
		return strings.HasPrefix(filter, floorwatch.TopicRoot+"/")
	}
	store, edge, leaf, err := floorwatch.ParseTopic(filter)
	return err == nil && user == Username(store, edge) && len(leaf) == 1 &&
		slices.Contains([]string{floorwatch.LeafAck, floorwatch.LeafCmd}, leaf[0])
}

// clip shortens what a stranger sent before it is logged.
func clip(s string) string { return s[:min(len(s), 60)] }
