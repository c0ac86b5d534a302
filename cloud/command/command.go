// Package command carries commands to boxes and their replies back (Commander),
// and hears what boxes say of now (Watch).
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/link"
)

// repeatCommand is the time after which a command without a reply is published
// again: a box that was away hears only what is said when it is back.
const repeatCommand = 2 * time.Second

// maxAsked bounds the commands that wait for a reply.
const maxAsked = 1000

// ErrAway is what Do returns when no reply came in time.
var ErrAway = errors.New("the box does not answer: is it online, and does it hear commands?")

// Commander carries commands to boxes and their replies back. Several may serve
// the same boxes. Fields are set before Run and not changed after.
type Commander struct {
	Broker access.Login
	Sites  *site.Live
	Log    *slog.Logger // nil discards

	mu    sync.Mutex
	link  *link.Session                   // nil while there is no connection
	asked map[asked]chan floorwatch.Reply // waiting for a reply
}

// asked is a command on its way; only its own box may answer it.
type asked struct{ store, edge, id string }

// Run works until ctx ends and returns when its goroutines are gone.
func (c *Commander) Run(ctx context.Context) error {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := ingest.NewLink(c.Broker, log, "", false, map[string]byte{floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafReply: 1}, c.connected)
	l.Message = func(_ context.Context, _ *link.Session, m mqtt.Message) { c.message(m) }
	return l.Run(ctx)
}

func (c *Commander) connected(s *link.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = s
}

// message hands a reply to whoever waits for it.
func (c *Commander) message(m mqtt.Message) {
	store, edge, leaf, err := floorwatch.ParseTopic(m.Topic())
	if err != nil || len(leaf) != 1 || leaf[0] != floorwatch.LeafReply || m.Retained() {
		return
	}
	r, err := floorwatch.ParseReply(m.Payload())
	if err != nil {
		return // whoever waits learns that nothing came that can be read
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.asked[asked{store, edge, r.ID}] <- r: // no channel, no waiting
	default:
	}
}

// Do publishes a command, again and again, until its box replies, the command
// expires or ctx ends. Repeating is harmless: the box does each id once. A reply
// of "failed" is a reply.
func (c *Commander) Do(ctx context.Context, store, edge string, cmd floorwatch.Command) (floorwatch.Reply, error) {
	if err := cmd.Check(); err != nil {
		return floorwatch.Reply{}, err
	}
	if _, ok := c.Sites.Edge(store, edge); !ok {
		return floorwatch.Reply{}, fmt.Errorf("box %.50q of store %.50q is not registered", edge, store)
	}
	payload, err := json.Marshal(cmd)
	if err != nil {
		return floorwatch.Reply{}, fmt.Errorf("encode command: %w", err)
	}
	key := asked{store, edge, cmd.ID}
	replies, err := c.expect(key)
	if err != nil {
		return floorwatch.Reply{}, err
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asked, key)
	}()
	expired := time.NewTimer(time.Until(cmd.Expires.Time()))
	defer expired.Stop()
	again := time.NewTicker(repeatCommand)
	defer again.Stop()
	for {
		c.publish(floorwatch.Topic(store, edge, floorwatch.LeafCmd), payload)
		select {
		case r := <-replies:
			return r, nil
		case <-again.C:
		case <-expired.C:
			return floorwatch.Reply{}, ErrAway
		case <-ctx.Done():
			return floorwatch.Reply{}, ctx.Err()
		}
	}
}

func (c *Commander) expect(key asked) (chan floorwatch.Reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = map[asked]chan floorwatch.Reply{}
	}
	if c.asked[key] != nil {
		return nil, fmt.Errorf("command %s is on its way already", key.id)
	}
	if len(c.asked) >= maxAsked {
		return nil, fmt.Errorf("%d commands wait for replies already; repeat later", maxAsked)
	}
	c.asked[key] = make(chan floorwatch.Reply, 1)
	return c.asked[key], nil
}

// publish sends if there is a connection; the next repetition is not far.
func (c *Commander) publish(topic string, payload []byte) {
	c.mu.Lock()
	s := c.link
	c.mu.Unlock()
	if s != nil && s.Open() {
		s.Publish(topic, 1, false, payload)
	}
}
