//go:build cgo

package camera

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gocv.io/x/gocv"

	"floorwatch"
)

// settle is how long after an open frames that come too fast are dropped: what
// the camera had buffered arrives at once and would carry one stamp.
const settle = 3 * time.Second

// mailbox holds the newest picture of a live source. Three pictures go round:
// one is being read, one lies here, one is being analysed.
type mailbox struct {
	mu    sync.Mutex
	mat   gocv.Mat
	at    time.Time // when it was received
	pos   time.Duration
	full  bool
	ready chan struct{} // a picture came
}

// put swaps the picture in for what lies here.
func (m *mailbox) put(picture *gocv.Mat, at time.Time, pos time.Duration) {
	m.mu.Lock()
	m.mat, *picture = *picture, m.mat
	m.at, m.pos, m.full = at, pos, true
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take swaps the newest picture out; false when it was taken before.
func (m *mailbox) take(picture *gocv.Mat) (at time.Time, pos time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.full {
		return at, 0, false
	}
	m.mat, *picture = *picture, m.mat
	m.full = false
	return m.at, m.pos, true
}

// follow analyses the newest picture of a source that runs by itself, until it
// ends or stalls. It closes the capture.
func (w *worker) follow(ctx context.Context, c *capture) error {
	ctx, cancel := context.WithCancel(ctx)
	box := &mailbox{mat: gocv.NewMat(), ready: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { ended <- w.drain(ctx, c, box) }()
	err := w.consume(ctx, c.step(), box, ended, func(t floorwatch.Time) error { return w.opened(t, c) })
	cancel()
	if !w.drained(ended) { // the process is about to be ended
		return err
	}
	c.close()
	_ = box.mat.Close()
	return err
}

// drained waits for the reader. It always comes unless OpenCV is stuck, which
// the watchdog reports.
func (w *worker) drained(ended chan error) bool {
	select {
	case <-ended:
		return true
	case <-time.After(readTimeout + time.Second):
		return false
	}
}

// drain reads at full rate into the mailbox. It returns nil when ctx is done or
// a file ended.
func (w *worker) drain(ctx context.Context, c *capture, box *mailbox) error {
	picture := gocv.NewMat()
	defer func() { _ = picture.Close() }()
	began, kept := time.Now(), time.Time{}
	for ctx.Err() == nil {
		w.dog.begin("read", readTimeout)
		ok := c.read(&picture)
		w.dog.end("read")
		now := time.Now()
		if !ok {
			return w.readEnded(c)
		}
		if w.Source.Live() {
			if now.Sub(began) < settle && now.Sub(kept) < c.step()/2 {
				continue
			}
			kept = now
			box.put(&picture, now, 0)
			continue
		}
		pos := c.position()
		if !wait(ctx, time.Until(began.Add(pos))) {
			return nil
		}
		box.put(&picture, time.Now(), pos)
	}
	return nil
}

// readEnded explains a read that gave no picture.
func (w *worker) readEnded(c *capture) error {
	switch {
	case w.Source.Live() && c.count == 0:
		return fmt.Errorf("read %s: %w came; %s", w.Source, ErrStalled, w.Source.hint())
	case w.Source.Live():
		return fmt.Errorf("read %s: %w any more after %d; the camera or the network broke off", w.Source, ErrStalled, c.count)
	case c.count == 0:
		return fmt.Errorf("read %s: no picture in it; check that it is a video that ffmpeg can play", w.Source)
	}
	return nil
}

// wait pauses for d; false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// consume analyses what the mailbox holds. A source that gives nothing for
// Settings.Stall has stalled: OpenCV may return old pictures or wait longer,
// only the wall clock tells.
func (w *worker) consume(ctx context.Context, step time.Duration, box *mailbox, ended chan error, opened func(floorwatch.Time) error) error {
	begin := w.clock.now()
	if !w.Source.Live() && !w.Start.IsZero() {
		begin = floorwatch.TimeOf(w.Start)
	}
	if err := opened(begin - 1); err != nil {
		return err
	}
	picture := gocv.NewMat()
	defer func() { _ = picture.Close() }()
	stalled := time.NewTimer(max(w.Stall, 3*step))
	defer stalled.Stop()
	limit := pacer{interval: perSecond(w.MaxFPS)}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- err
			if err != nil {
				return w.stall(err)
			}
			return w.takeLast(box, &picture, begin, &limit)
		case <-stalled.C:
			return w.stall(fmt.Errorf("read %s: %w for %s; the camera or the network hangs", w.Source, ErrStalled, max(w.Stall, 3*step)))
		case <-box.ready:
			if err := w.takeLast(box, &picture, begin, &limit); err != nil {
				return err
			}
			stalled.Reset(max(w.Stall, 3*step))
		}
	}
}

// takeLast analyses the picture in the mailbox, if there is a new one and its
// time has come.
func (w *worker) takeLast(box *mailbox, picture *gocv.Mat, begin floorwatch.Time, limit *pacer) error {
	at, pos, ok := box.take(picture)
	if !ok {
		return nil
	}
	t := begin.Add(pos)
	if w.Source.Live() {
		t = w.clock.at(at)
	}
	if !limit.due(t) {
		return nil
	}
	return w.analyse(t, *picture)
}

// stall emits the event and returns the reason.
func (w *worker) stall(reason error) error {
	if !w.Source.Live() {
		return reason
	}
	if err := w.emit(floorwatch.Frame{T: w.clock.now(), Event: floorwatch.EventStall, Cause: reason.Error()}); err != nil {
		return err
	}
	return reason
}
