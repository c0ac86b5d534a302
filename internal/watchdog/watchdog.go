// Package watchdog tells the service manager that a program works, and only as
// long as it does: each loop of the program has a Pulse that beats with its
// progress, and systemd's watchdog is fed while no loop that has work stands
// still. A goroutine that feeds it by the clock would prove only that the
// scheduler lives.
//
// The manager is whoever made the datagram socket that NOTIFY_SOCKET names; the
// protocol is that of sd_notify(3). Without one the Dog only logs.
package watchdog

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Patience is how long a loop that has work may stand still. With the Dog's own
// look once a second and systemd's RestartSec it keeps the restart below 30 s.
const Patience = 20 * time.Second

// lookEvery is the time between two looks at the pulses. A pulse is counted in
// looks and not by the clock, so that a machine that slept has not stood still.
const lookEvery = time.Second

// Pulse is one loop's sign of life. The loop calls Beat whenever it begins or
// goes on with something, and Rest before it waits for work, or for something
// that has a deadline of its own. A nil Pulse is nobody's and does nothing.
type Pulse struct {
	name  string
	beats atomic.Uint64
	rests atomic.Bool

	// Of the Dog.
	seen  uint64
	still int // looks without a beat
}

// Beat says that the loop works.
func (p *Pulse) Beat() {
	if p != nil {
		p.rests.Store(false)
		p.beats.Add(1)
	}
}

// Rest says that the loop may stand still until its next Beat.
func (p *Pulse) Rest() {
	if p != nil {
		p.rests.Store(true)
		p.beats.Add(1)
	}
}

// Dog watches pulses.
type Dog struct {
	Log      *slog.Logger  // nil = discard
	Patience time.Duration // 0 = Patience

	mu     sync.Mutex
	pulses []*Pulse
	stuck  []string
}

// Pulse adds a loop, which rests until its first Beat. A nil Dog gives nil.
func (d *Dog) Pulse(name string) *Pulse {
	if d == nil {
		return nil
	}
	p := &Pulse{name: name}
	p.rests.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pulses = append(d.pulses, p)
	return p
}

// Stuck names the loops that stand still; none without a Dog.
func (d *Dog) Stuck() []string {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.stuck)
}

// Run feeds the manager's watchdog until ctx ends, beginning with the word that
// the program is ready. Once a loop stands still it says which, asks to be
// restarted at once, and feeds no more until the loop goes on.
func (d *Dog) Run(ctx context.Context) {
	log := d.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := openManager(log)
	defer n.close()
	n.tell("READY=1", "STATUS=working")
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	feed := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := len(d.Stuck())
		switch stuck := d.look(); {
		case len(stuck) > before:
			why := fmt.Sprintf("stands still: %s", strings.Join(stuck, ", "))
			log.Error("a part of the program stands still; the watchdog is no longer fed", "parts", stuck)
			n.tell("STATUS="+why, "WATCHDOG=trigger")
		case len(stuck) > 0:
		case before > 0:
			log.Warn("the part that stood still goes on")
			n.tell("STATUS=working", "WATCHDOG=1")
		default:
			if feed++; time.Duration(feed)*lookEvery >= n.every {
				feed = 0
				n.tell("WATCHDOG=1")
			}
		}
	}
}

// look counts for each pulse the looks since its last beat.
func (d *Dog) look() []string {
	patience := d.Patience
	if patience == 0 {
		patience = Patience
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = d.stuck[:0]
	for _, p := range d.pulses {
		beats := p.beats.Load()
		if beats != p.seen || p.rests.Load() {
			p.seen, p.still = beats, 0
			continue
		}
		if p.still++; time.Duration(p.still)*lookEvery >= patience {
			d.stuck = append(d.stuck, p.name)
		}
	}
	return d.stuck
}

// manager is the other end of the socket; its zero value is nobody.
type manager struct {
	conn  *net.UnixConn
	every time.Duration // between two feeds
	log   *slog.Logger
}

// openManager connects to NOTIFY_SOCKET. It is fed four times in its time, so
// that a late word or two do not matter.
func openManager(log *slog.Logger) *manager {
	m := &manager{log: log, every: 5 * time.Second}
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return m
	}
	if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		m.every = time.Duration(us) * time.Microsecond / 4
	}
	// A name that begins with @ is of the abstract namespace; net knows that.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		log.Error("service manager not reached; it will not hear from us", "error", err)
		return m
	}
	m.conn = conn
	return m
}

// tell sends one message; a manager that does not take it at once misses it.
func (m *manager) tell(lines ...string) {
	if m.conn == nil {
		return
	}
	_ = m.conn.SetWriteDeadline(time.Now().Add(lookEvery))
	if _, err := m.conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		m.log.Warn("service manager not told", "error", err)
	}
}

func (m *manager) close() {
	if m.conn != nil {
		_ = m.conn.Close()
	}
}
