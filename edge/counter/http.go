package counter

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// maxAtOnce bounds the posts that are read or wait for the disk.
const maxAtOnce = 64

// serve answers POST /counters/{device}/{token} until ctx ends.
func (f *Feeds) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	room := make(chan struct{}, maxAtOnce)
	mux.HandleFunc("POST /counters/{device}/{token}", func(w http.ResponseWriter, r *http.Request) {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
			f.post(w, r)
		default:
			answer(w, http.StatusServiceUnavailable, "busy; try again")
		}
	})
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(f.set.Log.Handler(), slog.LevelDebug), // a port scan is no news
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(stopping)
		_ = srv.Close()
	}()
	err := srv.Serve(f.ln)
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}

// post takes one message in. Whoever may not post learns no more than that
// nothing is there.
func (f *Feeds) post(w http.ResponseWriter, r *http.Request) {
	d := f.devices[r.PathValue("device")]
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if d == nil || !d.opens(r.PathValue("token")) || err != nil || !d.from(addr.Addr()) {
		f.set.Log.Debug("post to a counter refused", "from", r.RemoteAddr)
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		f.refused(d)
		answer(w, http.StatusRequestEntityTooLarge, "message is larger than 1 MiB; switch pictures off")
		return
	case err != nil:
		return // the device went away
	}
	stored := make(chan error, 1)
	reply, err := f.accept(d, body, func(err error) { stored <- err })
	if err == nil {
		select {
		case <-r.Context().Done():
			return
		case err = <-stored:
			if err != nil {
				err = errDisk
			}
		}
	}
	switch {
	case errors.Is(err, errLimited):
		w.Header().Set("Retry-After", "10")
		answer(w, http.StatusTooManyRequests, "too many messages; send less often")
	case errors.Is(err, errDisk):
		w.Header().Set("Retry-After", "10")
		answer(w, http.StatusServiceUnavailable, "not stored; send it again")
	case err != nil:
		answer(w, http.StatusBadRequest, err.Error())
	case len(reply.Refused) > 0 && reply.Accepted+reply.Repeated+reply.Ignored == 0:
		writeJSON(w, http.StatusUnprocessableEntity, reply)
	default:
		writeJSON(w, http.StatusOK, reply)
	}
}

// refused counts a message that was not even read.
func (f *Feeds) refused(d *device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.stats.Refused++
}

func answer(w http.ResponseWriter, status int, why string) {
	writeJSON(w, status, map[string]string{"error": why})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a device that left reads nothing
}
