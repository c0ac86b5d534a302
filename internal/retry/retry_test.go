package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPausesDoubleWithChance(t *testing.T) {
	for _, full := range []bool{false, true} {
		seen := map[time.Duration]bool{}
		for range 100 {
			b := Backoff{Min: time.Second, Max: 5 * time.Second, Steady: 10 * time.Second, Full: full}
			for n, want := range []time.Duration{1, 2, 4, 5, 5, 1, 2} {
				want *= time.Second
				lasted := time.Duration(n) * time.Second
				if n == 5 {
					lasted = 10 * time.Second // it was up: a new trouble
				}
				low, high := want/2, want
				if full {
					low, high = least, want+least
				}
				d := b.Next(lasted)
				if d < low || d > high {
					t.Fatalf("full %t: pause %d is %s, want %s to %s", full, n, d, low, high)
				}
				seen[d] = true
			}
		}
		if len(seen) < 600 {
			t.Errorf("full %t: only %d different pauses of 700", full, len(seen))
		}
	}
}

func TestUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		var told time.Duration
		err := Backoff{Min: time.Second, Max: time.Minute}.Until(t.Context(), func() error {
			if tries++; tries == 4 {
				return nil
			}
			return errors.New("not yet")
		}, func(err error, in time.Duration) {
			if err.Error() != "not yet" {
				t.Error(err)
			}
			told += in
		})
		if took := time.Since(began); err != nil || tries != 4 || took != told || took < 3500*time.Millisecond || took > 7*time.Second {
			t.Errorf("%v after %d attempts and %s, told %s", err, tries, took, told)
		}
	})
}

func TestUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("no longer wanted")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Second, func() { cancel(why) })
		began, tries, heard := time.Now(), 0, 0
		err := Backoff{Min: time.Hour, Max: time.Hour}.Until(ctx, func() error { tries++; return errors.New("no") }, func(error, time.Duration) { heard++ })
		if !errors.Is(err, why) || tries != 1 || heard != 1 || time.Since(began) != 100*time.Second {
			t.Errorf("in a pause: %v after %d attempts and %s", err, tries, time.Since(began))
		}
		err = Backoff{Min: time.Hour, Max: time.Hour}.Until(ctx, func() error { tries++; return context.Cause(ctx) }, func(error, time.Duration) { heard++ })
		if !errors.Is(err, why) || tries != 2 || heard != 1 {
			t.Errorf("in an attempt: %v after %d attempts, told %d", err, tries, heard)
		}
	})
}
