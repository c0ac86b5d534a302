package clock

import (
	"testing"
	"time"

	"floorwatch"
)

// hands is a clock whose hands the test moves.
type hands struct{ floorwatch.Stamp }

func (h *hands) read() floorwatch.Stamp { return h.Stamp }

// pass lets d pass.
func (h *hands) pass(d time.Duration) { h.Wall, h.Mono = h.Wall.Add(d), h.Mono+d }

func setHands(wall floorwatch.Time, synced bool) *hands {
	return &hands{floorwatch.Stamp{Wall: wall, Mono: time.Hour, Boot: "0123456789abcdef0123456789abcdef", Synced: synced}}
}

func TestTimeGoesOnFromTheDiskUntilTheClockIsSet(t *testing.T) {
	const last, boot1970 = 1763755200000, 5000
	h := setHands(boot1970, false)
	k := New(h.read)
	k.NotBefore(last)
	h.pass(30 * time.Second)
	if now := k.Time(); now != last+30_000 {
		t.Errorf("30 s after the last stamp it is %d", now)
	}
	// A worker that was started in 1970, and one from before the step back.
	for _, line := range []floorwatch.Time{boot1970 + 29_900, last + 29_900} {
		if at, ahead := k.Place(line); at != last+29_900 || ahead == 0 {
			t.Errorf("a line stamped %d belongs to %d", line, at)
		}
	}
	if at, _ := k.Place(12345678901234); at != last+30_000 {
		t.Errorf("a line of no known clock belongs to %d", at)
	}
	wait := &floorwatch.Wait{Header: floorwatch.Header{At: last + 29_000}, Enter: last + 10_000}
	k.Mark(wait)
	if want := (floorwatch.Clock{Boot: "01234567", Mono: 3600_000 + 30_000, Unsynced: true}); wait.Clock != want {
		t.Errorf("the record says %+v, want %+v", wait.Clock, want)
	}

	h.Wall, h.Synced = last+86_400_000, true
	if at, ahead := k.Place(h.Wall - 50); at != h.Wall-50 || ahead != 0 {
		t.Errorf("a line of the clock that was set belongs to %d", at)
	}
	stay := &floorwatch.Stay{Header: floorwatch.Header{At: h.Wall}, Enter: last + 30_000}
	if k.Mark(stay); !stay.Unsynced {
		t.Error("a stay that began before the clock was set is not marked")
	}
	h.pass(time.Minute)
	stay = &floorwatch.Stay{Header: floorwatch.Header{At: h.Wall}, Enter: h.Wall - 1000}
	if k.Mark(stay); stay.Unsynced {
		t.Error("a stay of good times is marked")
	}
}

func TestClockNeverRunsBack(t *testing.T) {
	now := floorwatch.Stamp{Wall: 1000_000, Mono: time.Hour, Synced: true}
	c := New(func() floorwatch.Stamp { return now })
	c.NotBefore(2000_000) // the disk knows a later time
	if s := c.Now(); s.Wall != 2000_000 || s.Synced {
		t.Errorf("%+v", s)
	}
	now.Mono += 90 * time.Second
	if s := c.Now(); s.Wall != 2090_000 || s.Synced {
		t.Errorf("%+v", s)
	}
	now.Wall, now.Mono = 5000_000, now.Mono+time.Second // NTP sets it right
	if s := c.Now(); s.Wall != 5000_000 || !s.Synced {
		t.Errorf("%+v", s)
	}
	now.Wall, now.Mono = 4000_000, now.Mono+1500*time.Microsecond // and somebody wrong
	if s := c.Now(); s.Wall != 5000_001 || s.Synced {
		t.Errorf("%+v", s)
	}
	now.Mono += 500 * time.Microsecond
	if s := c.Now(); s.Wall != 5000_002 {
		t.Errorf("fractions of a millisecond are lost: %+v", s)
	}
}
