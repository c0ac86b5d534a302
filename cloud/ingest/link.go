package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"net/url"
	"time"

	"floorwatch/internal/access"
	"floorwatch/internal/link"
)

const (
	keepAlive      = 10 * time.Second
	publishTimeout = 5 * time.Second
)

// NewLink is a link to the broker, by a connection that may be paced, see conn;
// only without QoS 1. session names one that the broker keeps while we are away;
// "": none, and what was not acknowledged is sent again by the boxes. connected
// hears of the session that topics can be published in, and of its end: nil.
func NewLink(broker access.Login, log *slog.Logger, session string, paced bool, topics map[string]byte, connected func(*link.Session)) *link.Link {
	return &link.Link{
		Login:    func() (access.Login, error) { return broker, nil },
		ClientID: clientID(broker.Username, session), Key: "broker",
		Keep:      session != "",
		Ordered:   true, // else a goroutine for each message
		KeepAlive: keepAlive,
		// The answer to a ping may stand behind all that waits for us, so conn
		// tells a dead link by its silence.
		PingTimeout: time.Hour,
		Wrap:        func(c net.Conn) net.Conn { return newConn(c, paced) },
		Work: func(ctx context.Context, s *link.Session) error {
			defer connected(nil)
			if session != "" {
				connected(s) // what the broker has kept comes before its answer to our subscription
			}
			if err := s.Subscribe(ctx, topics); err != nil {
				return err
			}
			s.Up()
			log.Info("connected to the broker", "broker", host(broker.URL))
			connected(s)
			return s.Hold(ctx)
		},
		Down: func(err error, first bool, _ time.Duration) {
			if first {
				log.Warn("no connection to the broker; trying again", "broker", host(broker.URL), "error", err)
			}
		},
	}
}

func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "unreadable address"
	}
	return u.Host // never the credentials
}

// clientID begins with the user's name, as the broker's rules want it, so that
// nobody can take another's place; the rest tells instances apart.
func clientID(user, session string) string {
	if session == "" {
		var id [6]byte
		_, _ = rand.Read(id[:]) // never fails: it ends the program instead
		session = hex.EncodeToString(id[:])
	}
	return cmp.Or(user, "floorwatch") + ":" + session
}
