// Package influxdb starts real InfluxDBs for tests and benches, asks them past our
// own client, and compares what they hold with a ledger.
package influxdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"floorwatch/cloud/influx"
	"floorwatch/internal/child"
	"floorwatch/internal/lab/kit"
)

// Database is an influxd of the bench's own. Its address changes with each start.
type Database struct {
	*influx.Server
	file string
	end  func()
}

// Start starts one below dir.
func Start(ctx context.Context, dir string) (*Database, error) {
	d := &Database{Server: &influx.Server{Dir: filepath.Join(dir, "influx")}, file: filepath.Join(dir, "endpoint")}
	return d, d.Start(ctx)
}

// Start starts it again, on the same data, and writes where it is into EndpointFile.
func (d *Database) Start(ctx context.Context) error {
	var err error
	if d.Bin, err = kit.Find("influxd"); err != nil {
		return err
	}
	dbCtx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- d.Run(dbCtx) }()
	d.end = func() { cancel(); <-done }
	ready, stop := context.WithTimeout(ctx, kit.Patience)
	defer stop()
	at, err := d.WaitReady(ready)
	if err == nil {
		err = d.tell(at)
	}
	if err != nil {
		d.end()
		return fmt.Errorf("start influxd: %w", err)
	}
	return nil
}

// tell writes where it is.
func (d *Database) tell(at influx.Endpoint) error {
	if d.file == "" {
		return nil
	}
	b := fmt.Appendf(nil, "%s %s", at.URL, at.Token)
	if err := os.WriteFile(d.file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(d.file+".new", d.file)
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
