package influx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
)

// The flavours of InfluxDB; its own version word cannot be relied on.
const (
	Flavour18 = "1.8"
	Flavour27 = "2.7"
)

const (
	writeTimeout = 15 * time.Second
	queryTimeout = 60 * time.Second
	maxAnswer    = 256 << 20 // bytes of one query's answer
	maxErrorBody = 4 << 10
)

// Client writes records and reads them back. It is safe for concurrent use. Set
// the fields before the first call and do not change them after.
type Client struct {
	Endpoint func() (Endpoint, error) // Server.Endpoint, or At(url, token)
	Flavour  string                   // Flavour18 when empty
	Org      string                   // 2.7 only
	Database string                   // DefaultDatabase; 2.7: the bucket is "Database/Policy"
	Policy   string                   // DefaultPolicy

	mu    sync.Mutex
	at    Endpoint
	inner influxdb2.Client
	http  *http.Client
}

// WriteError names the points that InfluxDB refuses for good, by their index in
// what was given to Write; all others are stored. Repeating cannot help.
type WriteError struct{ refused map[int]error }

// Bad returns the refused points with the reason of each.
func (e *WriteError) Bad() map[int]error { return e.refused }

func (e *WriteError) Error() string {
	first := slices.Min(slices.Collect(maps.Keys(e.refused)))
	return fmt.Sprintf("write points: influxdb refuses %d of them, the first: %v", len(e.refused), e.refused[first])
}

// Write stores points and returns nil only when InfluxDB has confirmed every
// one. A *WriteError names those that it will never take, the others being
// stored; any other error means that nothing is certain and that the same call
// must be made again. Points that are written twice change nothing.
func (c *Client) Write(ctx context.Context, points []Point) error {
	refused := map[int]error{}
	buf := buffers.Get().(*lines)
	defer buffers.Put(buf)
	buf.reset()
	for i, p := range points {
		if err := buf.add(i, p); err != nil {
			refused[i] = err
		}
	}
	w, err := c.writer()
	if err != nil {
		return err
	}
	if err := buf.bisect(ctx, w, 0, len(buf.index), refused); err != nil {
		return fmt.Errorf("write %d points: %w", len(points), err)
	}
	if len(refused) > 0 {
		return &WriteError{refused}
	}
	return nil
}

// lines is what one Write sends: its points in line protocol, each with a line
// break, one after the other.
type lines struct {
	text  []byte
	end   []int // of each line in text
	index []int // of each line in the points
}

// buffers keeps the memory of past writes for the next ones.
var buffers = sync.Pool{New: func() any { return new(lines) }}

func (l *lines) reset() { l.text, l.end, l.index = l.text[:0], l.end[:0], l.index[:0] }

func (l *lines) add(i int, p Point) (err error) {
	if l.text, err = appendLine(l.text, p); err != nil {
		return err
	}
	l.text = append(l.text, '\n')
	l.end, l.index = append(l.end, len(l.text)), append(l.index, i)
	return nil
}

// part returns the text of the lines [from, to), without the last line break.
func (l *lines) part(from, to int) string {
	start := 0
	if from > 0 {
		start = l.end[from-1]
	}
	return string(l.text[start : l.end[to-1]-1])
}

// bisect writes the lines [from, to), and where InfluxDB refuses some of them
// writes each half by itself until the bad ones are alone. Good points of a
// refused write are stored already; a second time they change nothing.
func (l *lines) bisect(ctx context.Context, w api.WriteAPIBlocking, from, to int, refused map[int]error) error {
	if from == to {
		return nil
	}
	ctx2, cancel := context.WithTimeout(ctx, writeTimeout)
	err := w.WriteRecord(ctx2, l.part(from, to))
	cancel()
	switch {
	case err == nil:
		return nil
	case !refusesContent(err):
		return fmt.Errorf("influxdb did not confirm: %w", err)
	case to-from == 1:
		refused[l.index[from]] = err
		return nil
	}
	half := from + (to-from)/2
	if err := l.bisect(ctx, w, from, half, refused); err != nil {
		return err
	}
	return l.bisect(ctx, w, half, to, refused)
}

// refusesContent tells whether the server refused what was sent, and not whom
// it was sent by or when: 400 (partial write, parse error), 413, 422. The rest,
// wrong credentials included, is mended at the server and then retried.
func refusesContent(err error) bool {
	var e *influxhttp.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.StatusCode == http.StatusBadRequest || e.StatusCode == http.StatusRequestEntityTooLarge ||
		e.StatusCode == http.StatusUnprocessableEntity
}

// Ping returns nil when the server answers.
func (c *Client) Ping(ctx context.Context) error {
	at, client, err := c.connect()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.URL+"/ping", nil)
	if err != nil {
		return fmt.Errorf("ping influxdb: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ping influxdb: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("ping influxdb: it answers %s", resp.Status)
	}
	return nil
}

// Check asks the database for anything, which finds out whether it answers, lets us
// in, and has the database with its retention policy.
func (c *Client) Check(ctx context.Context) error {
	at, client, err := c.connect()
	if err != nil {
		return err
	}
	db, rp := c.names()
	_, err = influxQL(ctx, client, at, db, fmt.Sprintf(`SELECT * FROM %s.%s.%s LIMIT 1`, quoteName(db), quoteName(rp), quoteName("health")))
	return err
}

// Close frees the connections; the client may be used again.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
}

func (c *Client) reset() {
	if c.inner != nil {
		c.inner.Close()
		c.http.CloseIdleConnections()
		c.inner, c.http, c.at = nil, nil, Endpoint{}
	}
}

// connect returns the present endpoint; a restarted server has another port.
func (c *Client) connect() (Endpoint, *http.Client, error) {
	at, err := c.Endpoint()
	if err != nil {
		return at, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at != c.at {
		c.reset()
		c.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second}}
		c.inner = influxdb2.NewClientWithOptions(at.URL, at.Token, influxdb2.DefaultOptions().SetHTTPClient(c.http))
		c.at = at
	}
	return at, c.http, nil
}

func (c *Client) writer() (api.WriteAPIBlocking, error) {
	if _, _, err := c.connect(); err != nil {
		return nil, err
	}
	db, rp := c.names()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		return nil, errors.New("write points: the client was closed")
	}
	return c.inner.WriteAPIBlocking(c.Org, db+"/"+rp), nil
}

func (c *Client) names() (db, rp string) {
	return (&Server{Database: c.Database, Policy: c.Policy}).names()
}

// statusError is an HTTP answer other than 200.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("influxdb answers %d %s", e.code, e.text)
}

// series is one table of an InfluxQL answer.
type series struct {
	Name    string            `json:"name"` // of the measurement
	Tags    map[string]string `json:"tags"` // of a statement that groups by them
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
}

// influxQL runs one statement through /query, which 1.8 and 2.7 both have, and
// returns its tables with numbers as json.Number and times in nanoseconds.
func influxQL(ctx context.Context, client *http.Client, at Endpoint, db, statement string) ([]series, error) {
	form := url.Values{"q": {statement}, "epoch": {"ns"}}
	if db != "" {
		form.Set("db", db)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.URL+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("ask influxdb: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if at.Token != "" {
		req.Header.Set("Authorization", "Token "+at.Token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask influxdb: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		return nil, fmt.Errorf("ask influxdb: %w", &statusError{resp.StatusCode, strings.TrimSpace(string(b))})
	}
	return readAnswer(io.LimitReader(resp.Body, maxAnswer))
}

func readAnswer(r io.Reader) ([]series, error) {
	var answer struct {
		Results []struct {
			Series []series `json:"series"`
			Error  string   `json:"error"`
		} `json:"results"`
		Error string `json:"error"`
	}
	d := json.NewDecoder(r)
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return nil, fmt.Errorf("read influxdb's answer: %w", err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("ask influxdb: %s", answer.Error)
	}
	var all []series
	for _, r := range answer.Results {
		if r.Error != "" {
			return nil, fmt.Errorf("ask influxdb: %s", r.Error)
		}
		all = append(all, r.Series...)
	}
	return all, nil
}
