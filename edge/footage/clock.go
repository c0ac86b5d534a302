package footage

import (
	"fmt"
	"os"
	"path/filepath"
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

// Steady keeps wall time from running back: below the last stamp on disk, or
// after a step of the clock, time is the last stamp plus the monotonic clock,
// and counts as unsynced until the wall clock has caught up. It may be used by
// many at a time.
type Steady struct {
	read func() Stamp
	mu   sync.Mutex
	wall floorwatch.Time
	mono time.Duration
}

// nudge is what a synchronised clock may be set back by, in milliseconds.
const nudge = 100

// NewSteady carries read on from the stamp last, 0 for none. Without read it
// reads this machine's clocks.
func NewSteady(read func() Stamp, last floorwatch.Time) *Steady {
	if read == nil {
		read = SystemClock
	}
	return &Steady{read: read, wall: last, mono: read().Mono}
}

// Now returns the time, never before what it returned earlier.
func (c *Steady) Now() Stamp {
	s, _ := c.Carried()
	return s
}

// Carried is Now, and how far that is ahead of the wall clock.
func (c *Steady) Carried() (now Stamp, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// LastStamp returns the latest time that the footage of a camera below dir
// speaks of, 0 without any: no clock after it may read less.
func LastStamp(dir, camera string) (floorwatch.Time, error) {
	h, err := findHead(filepath.Join(dir, camera))
	return max(h.until, h.seal.At), err
}

func fileName(seq uint64) string { return fmt.Sprintf("%08d.mp4", seq) }
func sealName(seq uint64) string { return fmt.Sprintf("%08d.seal", seq) }
