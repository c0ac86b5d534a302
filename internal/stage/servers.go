package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"floorwatch/cloud/influx"
	"floorwatch/internal/child"
)

// Open takes mosquitto's limits on waiting messages away.
const Open = "max_inflight_messages 0\nmax_queued_messages 0\n"

// FreeAddress returns a loopback address on which nobody listens right now.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// Broker is a mosquitto for everyone on loopback, which keeps nothing on disk.
type Broker struct {
	Address string
	conf    string
	*Process
}

// StartBroker starts one; limits are lines of its configuration, "" for its
// defaults.
func StartBroker(ctx context.Context, dir, limits string) (*Broker, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	b := &Broker{Address: address, conf: filepath.Join(dir, "mosquitto-"+address+".conf")}
	_, port, _ := net.SplitHostPort(address)
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nlog_type none\nset_tcp_nodelay true\n%s", port, limits)
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("configure mosquitto: %w", err)
	}
	return b, b.Start(ctx)
}

// Start starts it again at the same address and waits until it answers.
func (b *Broker) Start(ctx context.Context) (err error) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto" // where Debian keeps it, off a user's PATH
	}
	if b.Process, err = Start(ctx, bin, "-c", b.conf); err != nil {
		return err
	}
	err = Until(ctx, "mosquitto", 10*time.Second, func() (bool, error) {
		c, err := net.Dial("tcp", b.Address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil, nil
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

// Database is an influxd of the bench's own. Its address changes with each start.
type Database struct {
	*influx.Server
	file string
	end  func()
}

// StartDatabase starts one below dir.
func StartDatabase(ctx context.Context, dir string) (*Database, error) {
	d := &Database{Server: &influx.Server{Dir: filepath.Join(dir, "influx")}, file: filepath.Join(dir, "endpoint")}
	return d, d.Start(ctx)
}

// Start starts it again and writes where it is into EndpointFile.
func (d *Database) Start(ctx context.Context) error {
	dbCtx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- d.Run(dbCtx) }()
	d.end = func() { cancel(); <-done }
	ready, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	at, err := d.WaitReady(ready)
	if err == nil {
		b := fmt.Appendf(nil, "%s %s", at.URL, at.Token)
		if err = os.WriteFile(d.file+".new", b, 0o600); err == nil {
			err = os.Rename(d.file+".new", d.file)
		}
	}
	if err != nil {
		d.end()
		return fmt.Errorf("start influxd: %w", err)
	}
	return nil
}

// End stops it.
func (d *Database) End() { d.end() }

// EndpointFile holds the address and the token of the running database, for
// ReadEndpoint in another process.
func (d *Database) EndpointFile() string { return d.file }

// ReadEndpoint reads where the database is each time it is asked.
func ReadEndpoint(path string) func() (influx.Endpoint, error) {
	return func() (at influx.Endpoint, err error) {
		b, err := os.ReadFile(path)
		at.URL, at.Token, _ = strings.Cut(string(b), " ")
		return at, err
	}
}

// PID finds influxd, which influx.Server keeps to itself.
func (d *Database) PID() (int, error) {
	alive, err := child.Alive()
	for pid, line := range alive {
		if strings.Contains(line, d.Dir) && strings.Contains(line, "influxd") {
			return pid, nil
		}
	}
	return 0, errors.Join(err, errors.New("find influxd among the children"))
}

// Query asks a database past our own client and its limits. A row holds its
// columns that have a value; numbers are as the database wrote them.
func Query(ctx context.Context, at influx.Endpoint, statement string) ([]map[string]string, error) {
	form := url.Values{"db": {influx.DefaultDatabase}, "epoch": {"ns"}, "q": {statement}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.URL+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Token "+at.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the database: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct {
				Tags    map[string]string
				Columns []string
				Values  [][]any
			}
		}
	}
	d := json.NewDecoder(resp.Body)
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return nil, fmt.Errorf("ask the database: %w", err)
	}
	var rows []map[string]string
	for _, r := range answer.Results {
		answer.Error += r.Error
		for _, s := range r.Series {
			for _, v := range s.Values {
				row := maps.Clone(s.Tags)
				if row == nil {
					row = map[string]string{}
				}
				for i, c := range s.Columns {
					if v[i] != nil {
						row[c] = fmt.Sprint(v[i])
					}
				}
				rows = append(rows, row)
			}
		}
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("ask the database %q: %s", statement, answer.Error)
	}
	return rows, nil
}
