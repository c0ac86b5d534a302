package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/watchdog"
)

// writer stores records in their order without making the camera wait for the
// disk: what cannot be stored now is kept and tried again.
type writer struct {
	store func(recs ...floorwatch.Record) error
	log   *slog.Logger
	pulse *watchdog.Pulse

	mu      sync.Mutex
	queue   []floorwatch.Record
	wake    chan struct{}
	dropped int
}

// maxQueued bounds the records that wait for a disk that does not take them.
const maxQueued = 10000

func newWriter(store func(...floorwatch.Record) error, pulse *watchdog.Pulse, log *slog.Logger) *writer {
	return &writer{store: store, pulse: pulse, log: log, wake: make(chan struct{}, 1)}
}

func (w *writer) add(recs ...floorwatch.Record) {
	if len(recs) == 0 {
		return
	}
	w.mu.Lock()
	w.queue = append(w.queue, recs...)
	if over := len(w.queue) - maxQueued; over > 0 {
		w.queue = append(w.queue[:0], w.queue[over:]...)
		w.dropped += over
		w.log.Error("records dropped, the disk does not take them", "records", over, "in_all", w.dropped)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run stores what is added until ctx ends, and then what is left, once.
func (w *writer) run(ctx context.Context) {
	for {
		w.pulse.Rest()
		select {
		case <-ctx.Done():
			_ = w.flush()
			return
		case <-w.wake:
		}
		w.pulse.Beat()
		for err := w.flush(); err != nil; err = w.flush() {
			w.log.Error("records wait, the outbox does not take them", "error", err)
			w.pulse.Beat()
			select {
			case <-ctx.Done():
				_ = w.flush()
				return
			case <-time.After(time.Second):
			}
		}
	}
}

func (w *writer) flush() error {
	w.mu.Lock()
	recs := w.queue
	w.queue = nil
	w.mu.Unlock()
	if len(recs) == 0 {
		return nil
	}
	err := w.store(recs...)
	if err != nil {
		w.mu.Lock()
		w.queue = append(recs, w.queue...)
		w.mu.Unlock()
	}
	return err
}
