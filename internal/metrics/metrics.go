// Package metrics serves a program's figures about itself in the Prometheus
// format. A program gives one function that reads its present figures; it is
// asked at each scrape, so nothing has to be kept up to date in between.
package metrics

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"floorwatch/internal/retry"
)

// Figure is one named figure with a sample for each combination of its labels.
// Names follow Prometheus: base units (seconds, bytes), counters end in _total.
type Figure struct {
	Name, Help string
	Counter    bool     // it only grows; else a gauge
	Labels     []string // names of the labels
	Samples    []Sample
}

// Sample is one value; Labels are the values of Figure.Labels, in their order.
type Sample struct {
	Value  float64
	Labels []string
}

// Gauge returns a figure without labels that goes up and down.
func Gauge(name, help string, v float64) Figure {
	return Figure{Name: name, Help: help, Samples: []Sample{{Value: v}}}
}

// Counter returns a figure without labels that only grows.
func Counter(name, help string, v float64) Figure {
	return Figure{Name: name, Help: help, Counter: true, Samples: []Sample{{Value: v}}}
}

// Flag is 1 for true and 0 for false.
func Flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// scrapeTimeout bounds one answer, and atOnce how many are made side by side.
const (
	scrapeTimeout = 10 * time.Second
	atOnce        = 3
)

// Handler answers scrapes with what read returns, and with the figures of the Go
// runtime and the process. read may be called by several goroutines at once.
func Handler(read func() []Figure) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector(read))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: atOnce, Timeout: scrapeTimeout})
}

// collector turns figures into Prometheus' own form.
type collector func() []Figure

// Describe announces nothing: which figures there are is known at the scrape.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, f := range c() {
		desc := prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
		kind := prometheus.GaugeValue
		if f.Counter {
			kind = prometheus.CounterValue
		}
		for _, s := range f.Samples {
			m, err := prometheus.NewConstMetric(desc, kind, s.Value, s.Labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(desc, err) // the scrape says so
			}
			out <- m
		}
	}
}

// Keep serves on address, host:port, until ctx ends. While that is another
// program's it tries again, and says so once: figures must not stop the program
// that they are of.
func Keep(ctx context.Context, address string, log *slog.Logger, read func() []Figure) error {
	var ln net.Listener
	told := false
	again := retry.Backoff{Min: time.Second, Max: 30 * time.Second}
	err := again.Until(ctx, func() (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	}, func(err error, _ time.Duration) {
		if !told {
			log.Warn("figures are not served and all else goes on; change the key metrics or stop the other program", "error", err)
		}
		told = true
	})
	if err != nil { // ctx ended
		return nil
	}
	if told {
		log.Info("figures are served", "address", address)
	}
	return Serve(ctx, ln, read)
}

// Serve answers GET /metrics on ln until ctx ends, and closes ln.
func Serve(ctx context.Context, ln net.Listener, read func() []Figure) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", Handler(read))
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 2 * scrapeTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_ = srv.Close()
	})
	err := srv.Serve(ln)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Samples are those of a /metrics, by name and labels as they stand there.
type Samples map[string]float64

// Have tells whether one begins so.
func (s Samples) Have(prefix string) bool {
	for name := range s {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// maxRead bounds what another program may answer.
const maxRead = 4 << 20

// Read returns what a /metrics of ours answers.
func Read(client *http.Client, req *http.Request) (Samples, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: it answers %s", res.Status)
	}
	out := Samples{}
	for lines := bufio.NewScanner(io.LimitReader(res.Body, maxRead)); lines.Scan(); {
		text := lines.Text()
		end := strings.LastIndexByte(text, ' ')
		if end < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(text[end+1:], 64); err == nil {
			out[text[:end]] = v
		}
	}
	return out, nil
}
