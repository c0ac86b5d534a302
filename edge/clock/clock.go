// Package clock is the box's one time: agent, recorders, uploads, retention and
// counters all go by the same Clock, which never runs back.
package clock

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch"
)

// System reads this machine's clocks. Without a readable boot id (never on Linux
// with /proc) the boot is all zeros.
func System() floorwatch.Stamp {
	s := floorwatch.Stamp{Wall: floorwatch.TimeOf(time.Now()), Boot: strings.Repeat("0", 32)}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		s.Mono = time.Duration(ts.Nano())
	}
	var tx unix.Timex
	if state, err := unix.Adjtimex(&tx); err == nil {
		s.Synced = state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
	}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		if id := strings.ReplaceAll(strings.TrimSpace(string(b)), "-", ""); len(id) == 32 {
			s.Boot = id
		}
	}
	return s
}

// Offset is how far the kernel holds this machine's clock to be off, where a time
// server disciplines it.
func Offset() (time.Duration, bool) {
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err != nil || state == unix.TIME_ERROR {
		return 0, false
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	return time.Duration(t.Offset) * unit, true
}

// Clock keeps wall time from running back: below the last stamp on disk, or
// after a step of the clock, time is the last stamp plus the monotonic clock,
// and counts as unsynced until the wall clock has caught up. It remembers when it
// could not be trusted. It may be used by many at a time. A nil Clock can be read,
// and tells this machine's time as it is.
type Clock struct {
	read func() floorwatch.Stamp

	mu    sync.Mutex
	wall  floorwatch.Time
	mono  time.Duration
	blind floorwatch.Time // latest time that was read unsynchronised
}

// nudge is what a synchronised clock may be set back by, in milliseconds.
const nudge = 100

// New returns a clock that carries read on; nil: this machine's clocks.
func New(read func() floorwatch.Stamp) *Clock {
	if read == nil {
		read = System
	}
	return &Clock{read: read, mono: read().Mono}
}

// NotBefore carries the clock on from last where that is later than it is.
func (c *Clock) NotBefore(last floorwatch.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last > c.wall {
		c.wall, c.mono = last, c.read().Mono
	}
}

// Now returns the time, never before what it returned earlier.
func (c *Clock) Now() floorwatch.Stamp {
	s, _ := c.Carried()
	return s
}

// Time is the wall time of Now.
func (c *Clock) Time() floorwatch.Time { return c.Now().Wall }

// Carried is Now, and how far that is ahead of the wall clock.
func (c *Clock) Carried() (now floorwatch.Stamp, ahead time.Duration) {
	if c == nil {
		return System(), 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, ahead = c.carried()
	if !now.Synced {
		c.blind = max(c.blind, now.Wall)
	}
	return now, ahead
}

func (c *Clock) carried() (now floorwatch.Stamp, ahead time.Duration) {
	s := c.read()
	if s.Wall >= c.wall {
		c.wall, c.mono = s.Wall, s.Mono
		return s, 0
	}
	ms := max(0, s.Mono-c.mono).Truncate(time.Millisecond) // the rest counts at the next call
	c.wall, c.mono = c.wall.Add(ms), c.mono+ms
	ahead = c.wall.Sub(s.Wall)
	s.Wall, s.Synced = c.wall, s.Synced && ahead <= nudge*time.Millisecond
	return s, ahead
}

// near is how far the stamp of a line may be from the present for its worker to
// go by the same wall clock, or by one that it carries on itself.
const near = 5 * time.Second

// Place returns a camera line's stamp on the box's time, and how far that runs
// ahead of the wall clock. While it does, workers that were started before the
// clock was set back are ahead too, and those started since are not.
func (c *Clock) Place(t floorwatch.Time) (floorwatch.Time, time.Duration) {
	now, ahead := c.Carried()
	switch {
	case ahead == 0:
		return t, 0
	case now.Wall.Add(-ahead).Sub(t).Abs() <= near:
		return min(t.Add(ahead), now.Wall), ahead
	case now.Wall.Sub(t).Abs() <= near:
		return min(t, now.Wall), ahead
	}
	return now.Wall, ahead
}

// Mark says in rec when, on which boot's clock, it was made, and whether the
// clock was synchronised in all of the time that it speaks of. Records of footage
// say it themselves, as their seals do.
func (c *Clock) Mark(rec floorwatch.Record) {
	switch rec.(type) {
	case *floorwatch.Segment, *floorwatch.Deleted:
		return
	}
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	from, _ := rec.Span()
	h := rec.Head()
	h.Boot = now.Boot[:min(8, len(now.Boot))]
	h.Mono = now.Mono.Milliseconds()
	h.Unsynced = from <= c.blind
}
