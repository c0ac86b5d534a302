package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Quantile returns the p-quantile of seconds; 0 of none.
func Quantile(all []float64, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// Each runs n rounds of do, parallel of them at a time, until one fails.
func Each(ctx context.Context, n, parallel int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return do(ctx, i)
		})
	}
	return group.Wait()
}

// Tally is what the rounds of a row add up to.
type Tally struct {
	mu sync.Mutex
	N  map[string]int
}

// NewTally returns one of nothing.
func NewTally() *Tally { return &Tally{N: make(map[string]int)} }

// Add counts n more of something.
func (t *Tally) Add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.N[what] += n
}

// Of returns how many of something there were.
func (t *Tally) Of(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.N[what]
}

// Number writes a figure as people do: 123,456.
func Number[T ~int | ~int64 | ~uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
