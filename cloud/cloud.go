// Package cloud is the aggregator: it connects the rooms below it.
//
//	broker ─ batches ─> ingest ─┬─> influx (figures) ──┐
//	   ^                 │      ├─> vault (seals)      ├─> api ─> web, programs
//	   └─ acknowledged ──┘      └─> dead letters       │
//	broker ─ live, state ─────────> hub ───────────────┤
//	broker <─ commands, replies ──> picture ───────────┘
//	broker <─ standards, signed ── what holds in each hall
//
// Ingest keeps no state of its own and can be killed at any moment.
package cloud

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/api"
	"floorwatch/cloud/command"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/cloud/web"
	"floorwatch/internal/access"
	"floorwatch/internal/identity"
	"floorwatch/internal/layout"
	"floorwatch/internal/metrics"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"

	"golang.org/x/sync/errgroup"
)

// Aggregator is the cloud's program.
type Aggregator struct {
	Data     string // folder of the SQLite files
	Broker   access.Login
	Metadata string // SQLite file, or postgres://…
	// Sites is opened by Run from Metadata, unless it is there already.
	Sites     *site.Live
	Figures   *influx.Client
	Retention time.Duration // older records are refused
	Footage   time.Duration // footage in the vault is kept for; 0: for ever
	Clips     vault.Clips   // where the box's folder is on this machine; nil: the vault
	Listener  net.Listener  // of the pages
	Hosts     []string      // names of the pages beside loopback ones
	Token     string        // that visitors must know; "": none, for loopback only
	Secure    bool          // Listener speaks TLS
	// First is called once, when the first figure of a zone is in the database.
	First func()
	Log   *slog.Logger // nil discards
}

// KeyFile is the name of the cloud's private key in the data folder.
const KeyFile = "cloud.key"

// ingestFile lies beside the vault's index.
const ingestFile = "ingest.sqlite"

// Run works until ctx ends.
func (a *Aggregator) Run(ctx context.Context) (err error) {
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	key, err := identity.Load(filepath.Join(a.Data, KeyFile))
	if err != nil {
		return err
	}
	meta, err := a.openSites(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, meta.Close()) }()
	index, err := vault.OpenIndex(filepath.Join(a.Data, layout.VaultIndex))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	db, err := ingest.OpenDB(filepath.Join(a.Data, ingestFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	live := fleet.NewLive()
	hub := api.NewHub(live)
	group, ctx := errgroup.WithContext(ctx)
	dog := &watchdog.Dog{Log: a.Log}
	group.Go(func() error { dog.Run(ctx); return nil })
	in := &ingest.Ingest{
		Broker: a.Broker, Sites: a.Sites, Store: a.Figures, Index: index, DB: db,
		Retention: a.Retention, Stored: a.stored(hub), Dog: dog, Log: a.Log,
	}
	film, err := a.openVault(index)
	if err != nil {
		return err
	}
	standards := &command.Standards{Sites: a.Sites, DB: meta, Key: key, Do: film.commander.Do, Log: a.Log}
	watch := &command.Watch{
		Broker: a.Broker, Sites: a.Sites, OnLive: live.PutLive, Log: a.Log,
		OnState: func(store, edge string, st floorwatch.State) error {
			standards.PutState(store, edge, st)
			return live.PutState(store, edge, st)
		},
	}
	for _, part := range []func(context.Context) error{
		a.Sites.Run, in.Run, watch.Run, film.commander.Run, standards.Run, film.archive.Run, film.retention.Run,
	} {
		group.Go(func() error { return part(ctx) })
	}
	boxes := &fleet.Fleet{Sites: a.Sites, Records: a.Figures, Footage: index, Live: live, Log: a.Log}
	status := &status{a: a, fleet: boxes, live: live, ingest: in, watch: watch, db: db, hub: hub, uploads: film.uploads}
	group.Go(func() error { return boxes.Run(ctx) })
	pictures := &picture.Pictures{Boxes: film.commander, State: live.State, Key: a.Sites.Key, Vault: film.archive, Log: a.Log}
	group.Go(func() error { return a.serve(ctx, hub, boxes, film, pictures, status) })
	return group.Wait()
}

// openSites opens the metadata. While its server is away it waits: without it
// nobody would know whose records come in.
func (a *Aggregator) openSites(ctx context.Context) (db *metadata.DB, err error) {
	again := retry.Backoff{Min: time.Second, Max: 10 * time.Second}
	open := func() error {
		if db, err = metadata.Open(ctx, a.Metadata); err != nil {
			return err
		}
		if a.Sites, err = site.Open(ctx, db, a.Log); err != nil {
			return errors.Join(err, db.Close())
		}
		return nil
	}
	if !metadata.IsPostgres(a.Metadata) {
		err = open()
		return db, err
	}
	err = again.Until(ctx, open, func(err error, pause time.Duration) {
		a.Log.Warn("the metadata cannot be opened; the aggregator starts when it can", "metadata", metadata.Redact(a.Metadata), "error", err, "again_in", pause)
	})
	return db, err
}

// stored passes confirmed records on to those who watch.
func (a *Aggregator) stored(hub *api.Hub) func(store, edge string, recs []floorwatch.Record) {
	first := a.First
	return func(store, edge string, recs []floorwatch.Record) {
		hub.PublishStored(store, edge, recs)
		for _, r := range recs {
			if _, ok := r.(*floorwatch.Interval); ok && first != nil {
				first()
				first = nil
			}
		}
	}
}

// serve answers HTTP on the aggregator's listener until ctx ends.
func (a *Aggregator) serve(ctx context.Context, hub *api.Hub, boxes *fleet.Fleet, film *footage, pictures api.Pictures, s *status) error {
	handler := api.New(api.Settings{
		Sites: a.Sites, Figures: a.Figures, Hub: hub, Fleet: boxes, Pictures: pictures, Pages: a.pages(s),
		Footage: film.archive, Archive: film.archive, Hosts: a.Hosts, Log: a.Log,
	})
	if a.Token != "" {
		handler = account.NewLogin(a.Token, a.Secure, handler)
	}
	// Boxes sign their requests and know no token.
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle(floorwatch.UploadPath, film.uploads)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		hub.Close()
		stopping, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(stopping)
		_ = srv.Close()
	})
	err := srv.Serve(a.Listener)
	if !stop() {
		<-stopped
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pages returns what is served beside the interface for programs.
func (a *Aggregator) pages(s *status) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", web.Handler())
	mux.Handle("GET /metrics", metrics.Handler(s.figures))
	return mux
}
