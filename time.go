package floorwatch

import "time"

// Time is a capture-clock instant in Unix milliseconds, UTC. Every stamp on the
// wire and on disk is one; store-local time exists only on pages and reports.
type Time int64

// MaxTime is the year 2200: stamps beyond it are damage, not time.
const MaxTime Time = 7258118400000

// TimeOf converts t, dropping what is finer than a millisecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Time converts back to a time.Time in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add returns t moved by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Sub returns t - u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Millisecond }

// Floor returns the latest multiple of d since the Unix epoch that is not after
// t: the start of the clock-aligned interval that holds t. d must be positive.
func (t Time) Floor(d time.Duration) Time {
	step := Time(d.Milliseconds())
	rest := t % step
	if rest < 0 {
		rest += step
	}
	return t - rest
}

// String formats t as RFC 3339 with milliseconds.
func (t Time) String() string { return t.Time().Format("2006-01-02T15:04:05.000Z07:00") }

// Stamp is one reading of a box's clock.
type Stamp struct {
	Wall   Time
	Mono   time.Duration // since the machine's boot, sleep included
	Boot   string        // 32 hex digits
	Synced bool          // the kernel holds the wall clock for synchronised
}

// Seconds returns d in seconds rounded to the millisecond, the unit in which
// durations travel (fields that end in _s).
func Seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
