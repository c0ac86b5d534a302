package footage

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/internal/clip"
)

// Stamp is one reading of the clock.
type Stamp = clip.Stamp

// SystemClock reads this machine's clocks. Without a readable boot id (never on
// Linux with /proc) the boot is all zeros.
func SystemClock() Stamp {
	s := Stamp{Wall: floorwatch.TimeOf(time.Now()), Boot: strings.Repeat("0", 32)}
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

// steady keeps wall time from running back: below the last stamp on disk, or
// after a step of the clock, time is the last stamp plus the monotonic clock,
// and counts as unsynced until the wall clock has caught up.
type steady struct {
	read func() Stamp
	mu   sync.Mutex
	wall floorwatch.Time
	mono time.Duration
}

// nudge is what a synchronised clock may be set back by, in milliseconds.
const nudge = 100

func newSteady(read func() Stamp, last floorwatch.Time) *steady {
	if read == nil {
		read = SystemClock
	}
	return &steady{read: read, wall: last, mono: read().Mono}
}

func (c *steady) now() Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.read()
	if s.Wall >= c.wall {
		c.wall, c.mono = s.Wall, s.Mono
		return s
	}
	ms := max(0, s.Mono-c.mono).Truncate(time.Millisecond) // the rest counts at the next call
	c.wall, c.mono = c.wall.Add(ms), c.mono+ms
	s.Wall, s.Synced = c.wall, s.Synced && c.wall-s.Wall <= nudge
	return s
}

// dayOf returns the name of the folder for t.
func dayOf(t floorwatch.Time) string { return t.Time().Format(time.DateOnly) }

func validDay(name string) bool {
	t, err := time.Parse(time.DateOnly, name)
	return err == nil && t.Format(time.DateOnly) == name
}

func fileName(seq uint64) string { return fmt.Sprintf("%08d.mp4", seq) }
func sealName(seq uint64) string { return fmt.Sprintf("%08d.seal", seq) }
