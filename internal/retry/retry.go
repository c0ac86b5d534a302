// Package retry spaces the attempts at what fails: pauses that double, with chance
// in them, so that those who failed together do not come back together.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// least keeps even a lucky one from turning in circles.
const least = 10 * time.Millisecond

// Backoff gives the pauses of one who tries again. Only Min and Max must be set.
type Backoff struct {
	Min, Max time.Duration // the first pause, and what it doubles up to
	// Steady is how long an attempt must have lasted for its end to be taken for
	// a new trouble, with the first pause; 0: never.
	Steady time.Duration
	// Full makes a pause anything up to its length, which spreads many who fail at
	// one moment; else at least half of it is waited.
	Full bool

	next time.Duration
}

// Next returns the pause after an attempt that failed and lasted so long.
func (b *Backoff) Next(lasted time.Duration) time.Duration {
	if b.next == 0 || b.Steady > 0 && lasted >= b.Steady {
		b.next = b.Min
	}
	pause := b.next
	b.next = min(2*b.next, b.Max)
	if b.Full {
		return least + rand.N(pause)
	}
	return pause/2 + rand.N(pause/2+1)
}

// Until repeats attempt until it succeeds or ctx ends; then it returns what the
// context says. failed hears of each failure and of the pause that follows.
func (b Backoff) Until(ctx context.Context, attempt func() error, failed func(err error, in time.Duration)) error {
	for {
		began := time.Now()
		err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in := b.Next(time.Since(began))
		failed(err, in)
		if !Pause(ctx, in) {
			return context.Cause(ctx)
		}
	}
}

// Pause waits for d; false when ctx ended before.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
