package counter

import (
	"fmt"
	"time"

	"floorwatch"
)

// Clock policies: what a device's stamps are worth.
const (
	ClockDevice  = "device"                      // right, with their offset
	ClockWall    = "device_wallclock_in_site_tz" // right digits, wrong offset: read them in the site's time zone
	ClockReceive = "receive"                     // only their differences are right: what was sent now is now
)

const (
	// maxSkew is how far a device's clock may be off before what it says of the
	// present is booked by ours. Nothing is ever dropped for a wrong clock: one
	// that froze would black-hole everything it counts.
	maxSkew = 10 * time.Minute
	// maxAge is how old a stamp may be that no send time vouches for.
	maxAge = 31 * 24 * time.Hour
)

// deviceClock reads one device's stamps.
type deviceClock struct {
	policy string
	zone   *time.Location
}

const wallLayout = "2006-01-02T15:04:05"

// read returns the instant that a stamp means, before any shift.
func (c deviceClock) read(s Stamp) (floorwatch.Time, error) {
	if s.text == "" {
		if c.policy == ClockWall {
			return 0, fmt.Errorf("%d has no wall-clock digits: send text, or set clock_policy: %s", s.ms, ClockDevice)
		}
		return floorwatch.Time(s.ms), nil
	}
	text := []byte(s.text)
	if len(text) > 10 && text[10] == ' ' {
		text[10] = 'T'
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil { // without an offset
		if c.policy == ClockDevice {
			return 0, fmt.Errorf("%q is not RFC 3339 with an offset; if the device sends none, set clock_policy: %s", s.text, ClockWall)
		}
		if t, err = time.Parse(wallLayout, string(text)); err != nil {
			return 0, fmt.Errorf("%q is not a time such as 2026-03-01T08:00:00", s.text)
		}
	}
	if c.policy == ClockWall {
		t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), c.zone)
	}
	ms := floorwatch.TimeOf(t)
	if ms <= 0 || ms > floorwatch.MaxTime {
		return 0, fmt.Errorf("%q is not between 1970 and 2200", s.text)
	}
	return ms, nil
}

// reckoning is how the stamps of one message are to be moved.
type reckoning struct {
	deviceClock
	now    floorwatch.Time
	sent   bool
	skew   time.Duration // our clock less the device's, when sent
	shift  floorwatch.Time
	faulty bool // the device's clock was not believed
}

// reckon compares a message's send time with ours.
func (c deviceClock) reckon(m Message, now floorwatch.Time) (reckoning, error) {
	r := reckoning{deviceClock: c, now: now}
	if m.Sent.zero() {
		return r, nil
	}
	sent, err := c.read(m.Sent)
	if err != nil {
		return r, fmt.Errorf("sent: %w", err)
	}
	r.sent, r.skew = true, now.Sub(sent)
	r.faulty = c.policy != ClockReceive && (r.skew > maxSkew || r.skew < -maxSkew)
	if r.faulty || c.policy == ClockReceive {
		r.shift = now - sent
	}
	return r, nil
}

// window returns [from, to) of an item, and for one moment [at, at] with both
// the same. A missing moment is now.
func (r *reckoning) window(it Item, kind string) (from, to floorwatch.Time, err error) {
	first, last := it.At, it.At
	if kind == KindInterval {
		first, last = it.From, it.To
	}
	if last.zero() {
		return r.now, r.now, nil
	}
	if from, err = r.read(first); err != nil {
		return 0, 0, err
	}
	if to, err = r.read(last); err != nil {
		return 0, 0, err
	}
	shift := r.shift
	if !r.sent && r.policy == ClockReceive {
		shift = r.now - to
	}
	if ahead := (to + shift).Sub(r.now); ahead > maxSkew || ahead < -maxAge {
		shift, r.faulty = r.now-to, true
	}
	return from + shift, to + shift, nil
}
