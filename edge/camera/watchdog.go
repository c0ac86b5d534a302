//go:build cgo

package camera

import (
	"fmt"
	"sync"
	"time"
)

// How long a call into OpenCV may take before it counts as stuck. All are far
// above what the calls' own time limits allow.
const (
	readTimeout   = 30 * time.Second
	detectTimeout = 60 * time.Second
)

// watchdog watches calls that cannot be cancelled (a known one: a camera that
// comes back while OpenCV is opening it leaves the read stuck for ever,
// opencv#22677). It can only report; ending the process is the caller's part.
type watchdog struct {
	mu    sync.Mutex
	calls map[string]*time.Timer
	stuck func(error)
}

func newWatchdog(stuck func(error)) *watchdog {
	return &watchdog{calls: map[string]*time.Timer{}, stuck: stuck}
}

// begin says that a call starts and when it must have ended.
func (d *watchdog) begin(call string, limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if timer, ok := d.calls[call]; ok {
		timer.Reset(limit)
		return
	}
	d.calls[call] = time.AfterFunc(limit, func() {
		d.stuck(fmt.Errorf("%s does not return after %s: OpenCV is stuck; the worker has to be started again", call, limit))
	})
}

// end says that the call returned.
func (d *watchdog) end(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if timer, ok := d.calls[call]; ok {
		timer.Stop()
	}
}

// stop ends all watching.
func (d *watchdog) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, timer := range d.calls {
		timer.Stop()
	}
}
