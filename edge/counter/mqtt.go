package counter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch/internal/access"
	"floorwatch/internal/link"
)

const (
	keepAlive = 30 * time.Second
	// maxPacket is far above MaxBody: what is between is read, refused and gone.
	maxPacket = 8 << 20
)

// subscribe takes messages from the broker until ctx ends. The broker keeps the
// session, so that what devices publish while we are away is not lost, where it
// can. Messages are acknowledged by us, once they are on disk.
func (f *Feeds) subscribe(ctx context.Context) error {
	topics := make(map[string]byte)
	for topic := range f.topics {
		topics[topic] = 1
	}
	broker := f.set.Config.MQTT
	l := &link.Link{
		Login: func() (access.Login, error) {
			password, err := broker.Password.Read()
			return access.Login{URL: broker.Broker, Username: broker.Username, Password: password}, err
		},
		ClientID: f.set.ClientID, Key: "counters.mqtt",
		Keep: true, ManualAck: true,
		Ordered:   true, // a register must be read in order; receive never blocks
		KeepAlive: keepAlive, MaxPacket: maxPacket,
		Work: func(ctx context.Context, s *link.Session) error {
			if err := s.Subscribe(ctx, topics); err != nil {
				return err
			}
			s.Up()
			f.set.Log.Info("counters' broker is connected", "topics", len(topics))
			return s.Hold(ctx)
		},
		Message: func(_ context.Context, _ *link.Session, m mqtt.Message) { f.receive(m) },
		Down: func(err error, _ bool, in time.Duration) {
			if errors.Is(err, link.ErrPacket) {
				err = fmt.Errorf("%w: over %d MiB; switch pictures off, and set its message_size_limit", err, maxPacket>>20)
			}
			f.set.Log.Warn("counters' broker is away; trying again", "broker", broker.Broker, "in", in.Round(time.Millisecond), "error", err)
		},
	}
	return l.Run(ctx)
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
