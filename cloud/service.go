package cloud

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"floorwatch/cloud/account"
	"floorwatch/cloud/backup"
	"floorwatch/cloud/influx"
	"floorwatch/internal/access"

	"golang.org/x/sync/errgroup"
)

// Service is the aggregator as its configuration says: with the database as a
// child where it is asked for, and the pages on their listener.
type Service struct {
	set   *Aggregator
	tls   *tls.Config // of the pages; nil: none
	child *influx.Server
	cfg   Config
}

// InfluxDir is the folder below the data folder of a database that we start.
const InfluxDir = "influxdb"

// Open reads the secrets and certificates that cfg names, reports all that cannot
// be used, and starts nothing. A nil log discards.
func Open(cfg Config, log *slog.Logger) (*Service, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	login, brokerErr := cfg.Broker.Open("cloud")
	s := &Service{cfg: cfg, set: &Aggregator{
		Data: cfg.Data, Retention: cfg.Retention, Footage: cfg.Footage, Metadata: cfg.MetadataAt(), Log: log,
		Broker: login,
		Hosts:  cfg.Pages.hosts(),
	}}
	if err := errors.Join(backup.Whole(cfg.Data), brokerErr, s.openFigures(), s.openToken(), s.openCertificate()); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Service) openFigures() (err error) {
	s.set.Figures, s.child, err = s.cfg.figures(s.set.Log)
	return err
}

// figures returns the database, and where it is a child of ours that too.
func (c *Config) figures(log *slog.Logger) (*influx.Client, *influx.Server, error) {
	in := c.Influx
	client := &influx.Client{Flavour: in.Flavour, Org: in.Org, Database: in.Database, Policy: in.Policy}
	if in.Child {
		if _, err := influx.Find(); err != nil {
			return nil, nil, fmt.Errorf("influx.child: %w", err)
		}
		child := &influx.Server{
			Dir: filepath.Join(c.Data, InfluxDir), Database: in.Database, Policy: in.Policy,
			Retention: c.Retention, Log: log,
		}
		client.Endpoint = child.Endpoint
		return client, child, nil
	}
	token := ""
	if in.Token != "" {
		var err error
		if token, err = access.ReadSecret(in.Token); err != nil {
			return nil, nil, fmt.Errorf("influx.token_file: %w", err)
		}
	}
	client.Endpoint = influx.At(in.URL, token)
	return client, nil, nil
}

func (s *Service) openToken() (err error) {
	if s.cfg.Pages.Token == "" {
		return nil
	}
	if s.set.Token, err = access.ReadSecret(s.cfg.Pages.Token); err != nil {
		return fmt.Errorf("pages.token_file: %w", err)
	}
	if len(s.set.Token) < account.MinToken {
		return fmt.Errorf("pages.token_file: the token has %d characters, want at least %d: openssl rand -hex 16 makes one", len(s.set.Token), account.MinToken)
	}
	return nil
}

func (s *Service) openCertificate() error {
	if s.cfg.Pages.Cert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(s.cfg.Pages.Cert, s.cfg.Pages.Key)
	if err != nil {
		return fmt.Errorf("pages.cert: %w", err)
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	s.set.Secure = true
	return nil
}

// hosts returns the names under which the pages answer.
func (p *Pages) hosts() []string {
	hosts := append([]string{}, p.Hosts...)
	if host, _, err := net.SplitHostPort(p.Listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	return hosts
}

// Run works until ctx ends; ready, unless nil, is called with the address of the
// pages once they are served. It fails early when that address is taken.
func (s *Service) Run(ctx context.Context, ready func(address string)) error {
	ln, err := net.Listen("tcp", s.cfg.Pages.Listen)
	if err != nil {
		return fmt.Errorf("serve pages: %w; change pages.listen or stop the other program", err)
	}
	defer func() { _ = ln.Close() }()
	if ready != nil {
		ready(ln.Addr().String())
	}
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	s.set.Listener = ln
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.set.Run(ctx) })
	if s.child != nil {
		group.Go(func() error { return KeepInflux(ctx, s.child, s.set.Log) })
	}
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Times of KeepInflux.
const (
	influxPause = time.Second
	influxTries = 5

	pingEvery = 5 * time.Second
	pingTries = 3 // in vain, after which a database that had answered is taken for hung
)

var errInfluxHung = fmt.Errorf("it answered nothing for %s", pingTries*pingEvery)

// runInflux runs the database to its end, which it brings about when the
// database has hung. One that has not answered yet replays its log.
func runInflux(ctx context.Context, db *influx.Server) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	defer func() { cancel(nil); <-watched }()
	go func() {
		defer close(watched)
		if _, err := db.WaitReady(ctx); err != nil {
			return
		}
		client := &influx.Client{Endpoint: db.Endpoint}
		tick := time.NewTicker(pingEvery)
		defer tick.Stop()
		for failed := 0; ctx.Err() == nil; {
			asked, done := context.WithTimeout(ctx, pingEvery)
			if failed++; client.Ping(asked) == nil {
				failed = 0
			}
			done()
			if failed == pingTries {
				cancel(errInfluxHung)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	err := db.Run(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, errInfluxHung) {
		return cause
	}
	return err
}

// KeepInflux runs the database and starts it again when it dies; it gives up
// when it dies so again and again within its first minute.
func KeepInflux(ctx context.Context, db *influx.Server, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for quick := 0; ; {
		began := time.Now()
		err := runInflux(ctx, db)
		if ctx.Err() != nil {
			return nil
		}
		if quick++; time.Since(began) > time.Minute {
			quick = 0
		}
		if quick == influxTries {
			return fmt.Errorf("the database ended %d times in a row: %w", quick, err)
		}
		log.Warn("database ended, starting it again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(influxPause):
		}
	}
}
