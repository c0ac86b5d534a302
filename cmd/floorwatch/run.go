package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	_ "time/tzdata" // pages name a store's time zone; a minimal Debian has none

	"floorwatch"
	"floorwatch/cloud"
	"floorwatch/cloud/broker"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/edge"
	"floorwatch/edge/footage"
	"floorwatch/internal/access"
	"floorwatch/internal/durable"
	"floorwatch/internal/identity"
	"floorwatch/internal/program"
)

// Folders of the product below the data folder, beside those of the box.
const (
	cloudDir = "cloud"
	logFile  = "floorwatch.log"
	lockFile = "run.lock"
)

// runRun runs the whole product on this machine until it is stopped:
//
//	broker, influxd  <─  cloud aggregator and pages  <─  edge agent, its workers
func runRun(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	configPath := fs.String("config", "deploy/floorwatch.yaml", "configuration file; it documents every key")
	page := fs.String("page", "", "address of the pages, instead of the configuration's")
	fs.Usage = func() {
		fmt.Fprintln(std.Err, "Usage: floorwatch run [-config FILE] [-page ADDRESS]\n"+
			"Runs broker, database, aggregator, pages, agent, recorder and camera workers on this machine.\n"+
			"FLOORWATCH_SOURCE replaces the configuration's cameras by one source: an address, a file, a device,\n"+
			"or simulated or simulated:HALL, a film of a hall (floorwatch simulate -halls). Ctrl-C stops everything.")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std, 0); err != nil {
		return err
	}
	cfg, err := loadRunConfig(*configPath)
	if err != nil {
		return err
	}
	cfg.Page = cmp.Or(*page, cfg.Page)
	if !access.Loopback(cfg.Page) {
		return fmt.Errorf("%w: -page %s is no loopback address; pages have no accounts yet", program.ErrUsage, cfg.Page)
	}
	program.Private()
	p := &product{cfg: cfg, out: std.Out, began: started()}
	return p.run(ctx)
}

// started is when the user typed make run, for the time to the first figure.
func started() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("FLOORWATCH_STARTED"), 10, 64); err == nil {
		return time.Unix(s, 0)
	}
	return time.Now()
}

// product is everything that `floorwatch run` runs.
type product struct {
	cfg    runConfig
	out    io.Writer
	began  time.Time
	log    *slog.Logger
	camera string // the worker's program
	ln     net.Listener
	broker *broker.Broker
	influx *influx.Server
	key    ed25519.PublicKey // of the box
	// Passwords on the broker, made anew at each start.
	cloudPassword, edgePassword string
}

func (p *product) run(ctx context.Context) (err error) {
	data := p.cfg.Edge.Data
	if err := durable.MkdirAll(data, 0o700); err != nil {
		return err
	}
	unlock, err := lockFolder(filepath.Join(data, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	file, err := openLog(filepath.Join(data, logFile))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	p.log = slog.New(newScreenLog(file, p.out))
	if err := p.prepare(); err != nil {
		return err
	}
	defer func() { _ = p.ln.Close() }()
	if p.cfg.film != nil {
		if err := p.cfg.film.make(ctx, p.out); err != nil {
			return err
		}
	}

	if err := p.register(ctx); err != nil {
		return err
	}
	stack, ctx := newLayers(ctx)
	stack.add(p.broker.Run, func(ctx context.Context) error { return cloud.KeepInflux(ctx, p.influx, p.log) })
	fmt.Fprintln(p.out, "Starting the database …")
	if _, err := p.influx.WaitReady(ctx); err != nil {
		stack.stop()
		return context.Cause(ctx)
	}
	stack.add(p.aggregator().Run)
	stack.add(p.agent().Run)
	p.screen()
	<-ctx.Done()
	cause := context.Cause(ctx)
	fmt.Fprintln(p.out, "\nStopping …")
	stack.stop()
	if errors.Is(cause, context.Canceled) {
		fmt.Fprintln(p.out, "Stopped. Start again and it goes on with what is there.")
		return nil
	}
	return cause
}

// maxLog is the size beyond which a start puts the log aside, replacing the one
// that was put aside before.
const maxLog = 20 << 20

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put the old log aside: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return file, nil
}

// prepare finds the programs and binds what others must know the address of.
func (p *product) prepare() (err error) {
	if p.camera, err = program.Find(program.Camera); err != nil {
		return err
	}
	for _, name := range []string{"influxd", "ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not there; make run installs it", name)
		}
	}
	private, err := edge.LoadKey(p.cfg.Edge.Data)
	if err != nil {
		return err
	}
	p.key = private.Public().(ed25519.PublicKey)
	if p.cfg.Edge.CloudKey == "" {
		key, err := identity.Load(filepath.Join(p.cfg.Edge.Data, cloudDir, cloud.KeyFile))
		if err != nil {
			return err
		}
		p.cfg.Edge.CloudKey = identity.Text(key.Public().(ed25519.PublicKey))
	}
	p.cloudPassword, p.edgePassword = rand.Text(), rand.Text()
	p.broker, err = broker.New(broker.Settings{
		Edges:         map[string]string{p.username(): p.edgePassword},
		CloudPassword: p.cloudPassword, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.influx = &influx.Server{
		Dir: filepath.Join(p.cfg.Edge.Data, cloud.InfluxDir), Retention: p.cfg.Retention, Log: p.log,
	}
	p.ln, err = listenNear(p.cfg.Page)
	return err
}

// listenNear binds address, or one of the next 20 ports when it is taken.
func listenNear(address string) (net.Listener, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("page address: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("page address: %w", err)
	}
	var ln net.Listener
	for next := port; next <= port+20 && next <= 65535; next++ {
		ln, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(next)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("serve pages: %w", err)
	}
	return ln, nil
}

// lockFolder keeps a second run away from the same data.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use by another floorwatch; stop that one, or give this one a data folder of its own", filepath.Dir(path))
	}
	return func() { _ = f.Close() }, nil
}

func (p *product) username() string { return broker.Username(p.cfg.Edge.Store, p.cfg.Edge.Edge) }

func (p *product) aggregator() *cloud.Aggregator {
	e := p.cfg.Edge
	library := &footage.Library{Dir: filepath.Join(e.Data, edge.FootageDir)}
	return &cloud.Aggregator{
		Data:      filepath.Join(e.Data, cloudDir),
		Broker:    access.Login{URL: p.broker.URL(), Username: broker.CloudUser, Password: p.cloudPassword},
		Metadata:  p.metadata(),
		Figures:   p.figures(),
		Retention: p.cfg.Retention,
		Clips:     boxFolder{edge: e, library: library},
		Listener:  p.ln,
		First: func() {
			p.say("%s  first figure on the page, %.1f s after the start", time.Now().Format(time.TimeOnly), time.Since(p.began).Seconds())
		},
		Log: p.log,
	}
}

func (p *product) figures() *influx.Client {
	return &influx.Client{Endpoint: p.influx.Endpoint}
}

func (p *product) metadata() string {
	return filepath.Join(p.cfg.Edge.Data, cloudDir, cloud.MetadataFile)
}

// register writes the one hall of this machine, and its box, into the metadata.
func (p *product) register(ctx context.Context) (err error) {
	db, err := metadata.Open(ctx, p.metadata())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	e := p.cfg.Edge
	return site.Set(ctx, db, site.Registry{
		Stores: []site.Store{{ID: e.Store, Label: p.cfg.StoreLabel, TimeZone: p.cfg.TimeZone}},
		Edges:  []site.Edge{{Store: e.Store, ID: e.Edge, Label: floorwatch.Label{ZH: "边缘盒", EN: "Edge box"}, Key: site.KeyOf(p.key)}},
	}, floorwatch.TimeOf(time.Now()))
}

func (p *product) agent() *edge.Agent {
	return &edge.Agent{
		Config:  p.cfg.Edge,
		Broker:  edge.Broker{URL: p.broker.URL(), Username: p.username(), Password: p.edgePassword},
		Program: p.camera, Log: p.log,
	}
}

func (p *product) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// screen says what a person wants to know, once.
func (p *product) screen() {
	data, err := filepath.Abs(p.cfg.Edge.Data)
	if err != nil {
		data = p.cfg.Edge.Data
	}
	p.say(`
floorwatch %s is running.

  Page        http://%s
  Data        %s
              figures, footage (at most %.1f GB), keys; the log is %s
  Your own    make run SOURCE=rtsp://user:password@camera/path
  camera      also a video file or a device number; its whole picture is one zone until you
              draw zones: click on the page's still, save its text as a file, name it in deploy/floorwatch.yaml
  Stop        Ctrl-C
`, floorwatch.BuildVersion, p.ln.Addr(), data, float64(p.cfg.Edge.Footage.MaxBytes)/1e9, logFile)
}
