package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Open takes mosquitto's limits on waiting messages away.
const Open = "max_inflight_messages 0\nmax_queued_messages 0\n"

// Broker is a mosquitto for everyone on loopback, which keeps nothing on disk
// unless it is told to.
type Broker struct {
	Address string // host and port
	conf    string
	*Process
}

// StartBroker starts one; more are lines of its configuration.
func StartBroker(ctx context.Context, dir, more string) (*Broker, error) {
	var err error
	for range 10 { // another process may take the port between choosing and using it
		var address string
		if address, err = FreeAddress(); err != nil {
			return nil, err
		}
		b := &Broker{Address: address, conf: filepath.Join(dir, "mosquitto-"+address+".conf")}
		_, port, _ := net.SplitHostPort(address)
		// As root it would give its rights up, could not read the test's folder,
		// and would no longer be killed with us.
		conf := fmt.Sprintf("user root\nlistener %s 127.0.0.1\nallow_anonymous true\nlog_type none\nset_tcp_nodelay true\n%s", port, more)
		if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
			return nil, fmt.Errorf("configure mosquitto: %w", err)
		}
		if err = b.Start(ctx); err == nil {
			return b, nil
		}
	}
	return nil, err
}

// Start starts it again at the same address and waits until it answers.
func (b *Broker) Start(ctx context.Context) error {
	bin, err := Find("mosquitto")
	if err != nil {
		return err
	}
	if b.Process, err = (Program{Name: bin, Args: []string{"-c", b.conf}}).Start(ctx); err != nil {
		return err
	}
	err = Until(ctx, "mosquitto", Patience, func() (bool, error) {
		select {
		case <-b.Ended():
			return false, errors.New("mosquitto ended at once")
		default:
			return Answers(b.Address), nil
		}
	})
	if err != nil {
		b.End()
		return fmt.Errorf("%w; %s", err, b.Tail())
	}
	return nil
}

// Restart kills it, with whatever it had not passed on, and starts it again.
func (b *Broker) Restart(ctx context.Context) error {
	if err := b.Kill(); err != nil {
		return err
	}
	b.End()
	return b.Start(ctx)
}
