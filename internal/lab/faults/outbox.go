package main

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

func outboxRows() []row {
	return []row{
		{
			id: "B1", property: "A record that the outbox acknowledged is on the disk: power cut at any moment",
			goal: "0 acknowledged records lost in 500 power cuts; opens unattended 500 of 500", run: powerCuts,
		},
		{
			id: "B2", property: "Torn and rotten files: the outbox opens, returns nothing bad, and books what is gone",
			goal: "10,000 random truncations, zeroings and flips: 0 open failures, 0 bad records returned, at most 1 record lost per flipped byte, every loss booked; fuzzing without a finding", run: damages,
		},
		{
			id: "B3", property: "A disk without space or inodes: nothing breaks, the reserve carries on, work resumes",
			goal: "no panic, no corruption, 50 fills; the reserve keeps the records of 24 h more; resumes in ≤ 10 s after space returns", run: fullDisks,
		},
		{
			id: "B4", property: "A file operation fails: what is suspect is put aside, work goes on, an alarm tells",
			goal: "EIO at every call site: the process lives, 0 acknowledged records lost without being booked", run: brokenCalls,
		},
		{
			id: "B5", property: "The outbox spares the flash", goal: "at 1 record per second ≤ 450 MB/day with 1 s commits, ≤ 100 MB/day with 5 s", run: wear,
			long: "half an hour of one record a second",
		},
	}
}

// each runs n rounds of do, parallel of them at a time, until one fails.
func each(ctx context.Context, n, parallel int, do func(ctx context.Context, i int) error) error {
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

// tally is what the rounds of a row add up to.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func newTally() *tally { return &tally{n: make(map[string]int)} }

func (t *tally) add(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[what] += n
}

func (t *tally) of(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[what]
}

// number writes a figure as people do: 123,456.
func number[T ~int | ~int64 | ~uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
