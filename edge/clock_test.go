package edge

import (
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
)

// hands is a clock whose hands the test moves.
type hands struct{ footage.Stamp }

func (h *hands) read() footage.Stamp { return h.Stamp }

// pass lets d pass.
func (h *hands) pass(d time.Duration) { h.Wall, h.Mono = h.Wall.Add(d), h.Mono+d }

func setHands(wall floorwatch.Time, synced bool) *hands {
	return &hands{footage.Stamp{Wall: wall, Mono: time.Hour, Boot: "0123456789abcdef0123456789abcdef", Synced: synced}}
}

func TestTimeGoesOnFromTheDiskUntilTheClockIsSet(t *testing.T) {
	const last, boot1970 = 1763755200000, 5000
	h := setHands(boot1970, false)
	k := &clock{steady: footage.NewSteady(h.read, last)}
	h.pass(30 * time.Second)
	if now := k.now(); now != last+30_000 {
		t.Errorf("30 s after the last stamp it is %d", now)
	}
	// A worker that was started in 1970, and one from before the step back.
	for _, line := range []floorwatch.Time{boot1970 + 29_900, last + 29_900} {
		if at, ahead := k.place(line); at != last+29_900 || ahead == 0 {
			t.Errorf("a line stamped %d belongs to %d", line, at)
		}
	}
	if at, _ := k.place(12345678901234); at != last+30_000 {
		t.Errorf("a line of no known clock belongs to %d", at)
	}
	wait := &floorwatch.Wait{Header: floorwatch.Header{At: last + 29_000}, Enter: last + 10_000}
	k.stamp(wait)
	if want := (floorwatch.Clock{Boot: "01234567", Mono: 3600_000 + 30_000, Unsynced: true}); wait.Clock != want {
		t.Errorf("the record says %+v, want %+v", wait.Clock, want)
	}

	h.Wall, h.Synced = last+86_400_000, true
	if at, ahead := k.place(h.Wall - 50); at != h.Wall-50 || ahead != 0 {
		t.Errorf("a line of the clock that was set belongs to %d", at)
	}
	stay := &floorwatch.Stay{Header: floorwatch.Header{At: h.Wall}, Enter: last + 30_000}
	if k.stamp(stay); !stay.Unsynced {
		t.Error("a stay that began before the clock was set is not marked")
	}
	h.pass(time.Minute)
	stay = &floorwatch.Stay{Header: floorwatch.Header{At: h.Wall}, Enter: h.Wall - 1000}
	if k.stamp(stay); stay.Unsynced {
		t.Error("a stay of good times is marked")
	}
}
