package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// gate stands before InfluxDB at a fixed address. It can refuse with 503, keep
// silent, and be slow.
type gate struct {
	url    string
	closed atomic.Bool
	hold   atomic.Bool  // requests wait until it is false again
	delay  atomic.Int64 // ns, of each request
	srv    *http.Server
	done   chan error
}

func newGate(target func() (string, error)) (*gate, error) {
	address, err := kit.FreeAddress()
	if err != nil {
		return nil, err
	}
	g := &gate{url: "http://" + address, done: make(chan error, 1)}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			if at, err := target(); err == nil {
				if u, err := url.Parse(at); err == nil {
					r.SetURL(u)
				}
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	g.srv = &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.closed.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if kit.Pause(r.Context(), time.Duration(g.delay.Load())) != nil {
			return
		}
		for g.hold.Load() {
			if kit.Pause(r.Context(), 50*time.Millisecond) != nil {
				return
			}
		}
		proxy.ServeHTTP(w, r)
	})}
	go func() { g.done <- g.srv.ListenAndServe() }()
	return g, nil
}

func (g *gate) end() { _ = g.srv.Close(); <-g.done }

// hall is a broker, a database and the real cloud, with a line between the boxes
// and the broker and one between the cloud and the broker.
type hall struct {
	bench    *bench
	dir      string
	broker   *kit.Broker
	database *influxdb.Database
	gate     *gate
	line     *chaos.Proxy // boxes to broker
	behind   *chaos.Proxy // cloud to broker
	cloud    *kit.Process
	pages    string // address
	ends     []func()
}

const hallStore = "s1"

func boxName(i int) string { return fmt.Sprintf("box%d", i) }

// newHall starts one for so many boxes.
func (b *bench) newHall(ctx context.Context, dir string, boxes int) (h *hall, err error) {
	h = &hall{bench: b, dir: dir}
	defer func() {
		if err != nil {
			h.end()
		}
	}()
	if h.broker, err = kit.StartBroker(ctx, dir, kit.Open); err != nil {
		return h, err
	}
	h.ends = append(h.ends, func() { h.broker.End() })
	if h.database, err = influxdb.Start(ctx, dir); err != nil {
		return h, err
	}
	h.ends = append(h.ends, h.database.End)
	h.gate, err = newGate(func() (string, error) { at, err := h.database.Endpoint(); return at.URL, err })
	if err != nil {
		return h, err
	}
	h.ends = append(h.ends, h.gate.end)
	for _, line := range []**chaos.Proxy{&h.line, &h.behind} {
		if *line, err = chaos.Start(h.broker.Address); err != nil {
			return h, err
		}
		h.ends = append(h.ends, (*line).Close)
	}
	if err = h.configure(boxes); err != nil {
		return h, err
	}
	if err = h.startCloud(ctx); err == nil {
		h.ends = append(h.ends, func() { h.cloud.End() })
	}
	return h, err
}

func (h *hall) end() {
	for len(h.ends) > 0 {
		h.ends[len(h.ends)-1]()
		h.ends = h.ends[:len(h.ends)-1]
	}
}

func (h *hall) configure(boxes int) (err error) {
	at, err := h.database.Endpoint()
	if err != nil {
		return err
	}
	if h.pages, err = kit.FreeAddress(); err != nil {
		return err
	}
	var edges strings.Builder
	for i := range boxes {
		fmt.Fprintf(&edges, "  - {store: %s, id: %s, key: %s=}\n", hallStore, boxName(i), strings.Repeat("A", 43))
	}
	for name, text := range map[string]string{
		"password": "any", "token": at.Token,
		"cloud.yaml": fmt.Sprintf("data: %s/cloud\nstores: [{id: %s}]\nedges:\n%sbroker: {url: \"tcp://%s\", password_file: %s/password}\n"+
			"influx: {url: %q, token_file: %s/token}\npages: {listen: %q}\n", h.dir, hallStore, edges.String(), h.behind.Addr, h.dir, h.gate.url, h.dir, h.pages),
	} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("configure the cloud: %w", err)
		}
	}
	return nil
}

// startCloud starts the cloud and returns once the broker hands it messages.
func (h *hall) startCloud(ctx context.Context) (err error) {
	cloud := kit.Program{Name: filepath.Join(h.bench.bin, "floorwatch-cloud"), Args: []string{"-config", filepath.Join(h.dir, "cloud.yaml")}}
	if h.cloud, err = cloud.Start(ctx); err != nil {
		return err
	}
	if err := h.connected(ctx); err != nil {
		h.cloud.End()
		return fmt.Errorf("%w; %s", err, h.cloud.Tail())
	}
	return nil
}

// figure reads one of the cloud's metrics; -1 while there is none.
func (h *hall) figure(name string) float64 {
	all, _ := kit.ReadFigures(context.Background(), nil, h.pages)
	return all.Get(name)
}

// connected waits until the broker hands the cloud messages.
func (h *hall) connected(ctx context.Context) error {
	return kit.Until(ctx, "the cloud to be connected", 40*time.Second, func() (bool, error) {
		return h.figure("floorwatch_broker_connected") == 1, nil
	})
}

func (h *hall) killCloud(ctx context.Context) error {
	if err := h.cloud.Kill(); err != nil {
		return err
	}
	h.cloud.End()
	return h.startCloud(ctx)
}
