package hall

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"floorwatch/internal/lab/kit"
)

// Gate stands before InfluxDB at a fixed address. It can refuse with 503, keep
// silent, and be slow.
type Gate struct {
	url    string
	Closed atomic.Bool
	Hold   atomic.Bool  // requests wait until it is false again
	Delay  atomic.Int64 // ns, of each request
	srv    *http.Server
	done   chan error
}

func newGate(target func() (string, error)) (*Gate, error) {
	address, err := kit.FreeAddress()
	if err != nil {
		return nil, err
	}
	g := &Gate{url: "http://" + address, done: make(chan error, 1)}
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
		if g.Closed.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if kit.Pause(r.Context(), time.Duration(g.Delay.Load())) != nil {
			return
		}
		for g.Hold.Load() {
			if kit.Pause(r.Context(), 50*time.Millisecond) != nil {
				return
			}
		}
		proxy.ServeHTTP(w, r)
	})}
	go func() { g.done <- g.srv.ListenAndServe() }()
	return g, nil
}

func (g *Gate) end() { _ = g.srv.Close(); <-g.done }
