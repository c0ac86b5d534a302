package influx

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"floorwatch/internal/child"
	"floorwatch/internal/durable"
)

// Defaults of a Server, and of the database it keeps.
const (
	DefaultDatabase  = "floorwatch"
	DefaultPolicy    = "raw"
	DefaultRetention = 400 * 24 * time.Hour

	maxSeries    = 1_000_000
	startTimeout = 60 * time.Second // a start replays the WAL of every shard
	adminUser    = "floorwatch"
	passwordFile = "admin-password"
	configFile   = "influxd.conf"
)

// Server runs InfluxDB 1.8.10 as a child on loopback, its data under Dir. Its
// port is picked by the system and changes with every start, so ask Endpoint
// each time. The zero value of every field but Dir is usable.
type Server struct {
	Bin       string        // influxd; "": what Find finds
	Dir       string        // made if absent, readable by us alone
	Database  string        // DefaultDatabase
	Policy    string        // the retention policy's name, DefaultPolicy
	Retention time.Duration // DefaultRetention; at least one hour
	Seed      string        // folder that Dump made: a Dir without a database begins with it
	Log       *slog.Logger  // nil discards

	mu      sync.Mutex
	at      Endpoint
	changed chan struct{} // closed when at changes
}

// Endpoint is where an InfluxDB answers and the token it wants.
type Endpoint struct{ URL, Token string }

// At returns an endpoint that never changes, for a server that others run.
func At(url, token string) func() (Endpoint, error) {
	return func() (Endpoint, error) { return Endpoint{url, token}, nil }
}

// errDown is what Endpoint answers while the child is not up.
var errDown = errors.New("find influxdb: influxd is not up; it is started again by itself")

// Endpoint tells where the running child answers; an error while there is none.
func (s *Server) Endpoint() (Endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.URL == "" {
		return Endpoint{}, errDown
	}
	return s.at, nil
}

// WaitReady returns once the child answers and its database is there.
func (s *Server) WaitReady(ctx context.Context) (Endpoint, error) {
	for {
		s.mu.Lock()
		at := s.at
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if at.URL != "" {
			return at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Endpoint{}, fmt.Errorf("wait for influxd: %w", context.Cause(ctx))
		}
	}
}

func (s *Server) setEndpoint(at Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = at
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Run starts the child and returns when it is gone: nil after ctx ended, else
// an error that says why it died. It may be called again after that.
func (s *Server) Run(ctx context.Context) error {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	rpc, err := freeAddress()
	if err != nil {
		return err
	}
	bin, password, err := s.prepare(rpc)
	if err != nil {
		return err
	}
	childCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lines := &logLines{log: log, addr: make(chan string, 1)}
	influxd := &child.Process{
		Path: bin, Args: []string{"run", "-config", filepath.Join(s.Dir, configFile)},
		Stdout: lines, Stderr: lines,
	}
	if err := influxd.Start(childCtx); err != nil {
		return err
	}
	setup := make(chan struct{})
	go func() {
		defer close(setup)
		if err := s.setUp(childCtx, bin, lines.addr, rpc, password); err != nil {
			cancel(err)
		}
	}()
	err = influxd.Wait()
	cause := context.Cause(childCtx)
	cancel(nil)
	<-setup
	s.setEndpoint(Endpoint{})
	switch {
	case ctx.Err() != nil:
		return nil
	case cause != nil:
		return fmt.Errorf("set up influxd: %w", cause)
	case err == nil:
		err = errors.New("it exited without an error")
	}
	return fmt.Errorf("run influxd: %w; its last words: %s", err, lines.lastWords())
}

// Packaged is where the package floorwatch-cloud puts its influxd, out of the way of
// Debian's, which is older than what we need.
const Packaged = "/usr/lib/floorwatch/influxd"

// Find returns the influxd that we run: the package's, or the one on PATH.
func Find() (string, error) {
	if info, err := os.Stat(Packaged); err == nil && info.Mode().IsRegular() {
		return Packaged, nil
	}
	path, err := exec.LookPath("influxd")
	if err != nil {
		return "", fmt.Errorf("find influxd 1.8: it is neither %s, which the package floorwatch-cloud brings, nor on PATH; install that package, "+
			"or run a server of your own (child: false and url); in the project's folder make run builds it into .tools/bin", Packaged)
	}
	return path, nil
}

// prepare makes the folder, the password and the configuration file.
func (s *Server) prepare(rpc string) (bin, password string, err error) {
	if bin, err = find(s.Bin); err != nil {
		return "", "", err
	}
	if err := durable.MkdirAll(s.Dir, 0o700); err != nil {
		return "", "", fmt.Errorf("prepare influxd: %w", err)
	}
	if password, err = s.password(); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(s.Dir, configFile), s.config(rpc), 0o600); err != nil {
		return "", "", fmt.Errorf("prepare influxd: %w", err)
	}
	return bin, password, nil
}

// find looks for influxd; "": what Find finds.
func find(bin string) (string, error) {
	if bin == "" {
		return Find()
	}
	path, err := exec.LookPath(bin)
	if err != nil {
		return "", fmt.Errorf("find influxd: %w", err)
	}
	return path, nil
}

// password reads the admin's password, or makes one before the user exists.
func (s *Server) password() (string, error) {
	path := filepath.Join(s.Dir, passwordFile)
	b, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		return string(bytes.TrimSpace(b)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read influxd's password: %w", err)
	}
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails: it ends the program instead
	password := hex.EncodeToString(raw[:])
	return password, durable.WriteFile(path, []byte(password+"\n"), 0o600)
}

// config is influxd's configuration: loopback only, ports by the system,
// nothing phoned home, caches for a box that does other work too. Flux stays
// off: 1.8 spends 6 s of processor time at every start to type-check its
// library (0.01 s without), and all that asks this child asks in InfluxQL.
//
// The limit of series is for whoever changes the index: tsi1 keeps it on disk and
// looks at none. A hall with 2 cameras and 4 zones has 24 series.
func (s *Server) config(rpc string) []byte {
	dir := func(name string) string { return strconv.Quote(filepath.Join(s.Dir, name)) }
	return fmt.Appendf(nil, `# written by floorwatch at every start
reporting-disabled = true
bind-address = %q
[meta]
dir = %s
retention-autocreate = false
logging-enabled = false
[data]
dir = %s
wal-dir = %s
index-version = "tsi1"
wal-fsync-delay = "0s"
query-log-enabled = false
cache-max-memory-size = "128m"
cache-snapshot-memory-size = "8m"
max-concurrent-compactions = 1
max-series-per-database = %d
[coordinator]
write-timeout = "10s"
query-timeout = "60s"
[http]
bind-address = "127.0.0.1:0"
auth-enabled = true
flux-enabled = false
log-enabled = false
pprof-enabled = false
max-body-size = 16777216
[logging]
suppress-logo = true
format = "json"
level = "info"
[monitor]
store-enabled = false
[continuous_queries]
enabled = false
[subscriber]
enabled = false
`, rpc, dir("meta"), dir("data"), dir("wal"), maxSeries)
}

// setUp waits for the port, puts back what Seed holds, makes user, database and
// retention policy, and publishes the endpoint.
func (s *Server) setUp(ctx context.Context, bin string, addr <-chan string, rpc, password string) error {
	at := Endpoint{Token: adminUser + ":" + password}
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	select {
	case a := <-addr:
		at.URL = "http://" + a
	case <-late.C:
		return errors.New("influxd did not come up within a minute; look at the disk")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.Seed != "" {
		if err := s.load(ctx, bin, rpc); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("influxd did not answer within a minute; look at the disk"))
	defer cancel()
	if err := s.createDatabase(ctx, at, password); err != nil {
		return err
	}
	if err := s.tell(at.URL, rpc); err != nil {
		return err
	}
	s.setEndpoint(at)
	return nil
}

func (s *Server) createDatabase(ctx context.Context, at Endpoint, password string) error {
	db, rp := s.names()
	keep := s.Retention
	if keep == 0 {
		keep = DefaultRetention
	}
	if keep < time.Hour {
		return fmt.Errorf("retention of %s: InfluxDB keeps at least 1h", keep)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	create := fmt.Sprintf(`CREATE DATABASE %s`, quoteName(db))
	_, err := influxQL(ctx, client, at, "", create)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusForbidden {
		// A new instance has no user yet and lets nobody in but the first admin.
		user := fmt.Sprintf(`CREATE USER %s WITH PASSWORD '%s' WITH ALL PRIVILEGES`, quoteName(adminUser), password)
		if _, err := influxQL(ctx, client, Endpoint{URL: at.URL}, "", user); err != nil {
			return fmt.Errorf("create influxdb user: %w", err)
		}
		_, err = influxQL(ctx, client, at, "", create)
	}
	if err != nil {
		return fmt.Errorf("create influxdb database: %w; if %s was lost, the data under %s can no longer be opened", err, passwordFile, s.Dir)
	}
	hours := int64(keep / time.Hour)
	spec := fmt.Sprintf(`%s ON %s DURATION %dh REPLICATION 1`, quoteName(rp), quoteName(db), hours)
	// It is there already at every start but the first, perhaps with another duration.
	_, createErr := influxQL(ctx, client, at, "", `CREATE RETENTION POLICY `+spec+` DEFAULT`)
	if _, err := influxQL(ctx, client, at, "", `ALTER RETENTION POLICY `+spec+` DEFAULT`); err != nil {
		return fmt.Errorf("set influxdb retention: %w", errors.Join(createErr, err))
	}
	return nil
}

func (s *Server) names() (db, rp string) {
	db, rp = s.Database, s.Policy
	if db == "" {
		db = DefaultDatabase
	}
	if rp == "" {
		rp = DefaultPolicy
	}
	return db, rp
}

// logLines reads the child's log: it finds the HTTP port and passes on what an
// operator should see. It is written by one goroutine only (exec's).
type logLines struct {
	log  *slog.Logger
	addr chan string
	rest []byte

	mu   sync.Mutex
	last []string
}

const (
	maxLogLine = 64 << 10
	keptWords  = 5
)

func (l *logLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			break
		}
		l.line(line)
		l.rest = rest
	}
	if len(l.rest) > maxLogLine {
		l.rest = nil
	}
	return len(p), nil
}

func (l *logLines) line(b []byte) {
	var m struct{ Lvl, Msg, Service, Addr, Error string }
	if json.Unmarshal(b, &m) != nil { // a panic's trace, or a word before the log is set up
		if text := strings.TrimSpace(string(b)); text != "" {
			l.keep(text)
			l.log.Info("influxd logged", "text", text)
		}
		return
	}
	if _, _, err := net.SplitHostPort(m.Addr); err == nil && m.Service == "httpd" && m.Msg == "Listening on HTTP" {
		select {
		case l.addr <- m.Addr:
		default:
		}
	}
	if m.Lvl == "warn" || m.Lvl == "error" || m.Error != "" {
		l.keep(strings.TrimSpace(m.Msg + " " + m.Error))
		// The first CREATE DATABASE of a new instance is refused on purpose.
		if m.Lvl == "warn" || m.Lvl == "error" {
			l.log.Warn("influxd logged", "text", m.Msg, "service", m.Service, "error", m.Error)
		}
	}
}

func (l *logLines) keep(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last = append(l.last, text[:min(len(text), 300)]); len(l.last) > keptWords {
		l.last = l.last[1:]
	}
}

func (l *logLines) lastWords() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) == 0 {
		return "none"
	}
	return strings.Join(l.last, " | ")
}
