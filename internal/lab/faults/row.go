package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// row is one property of the product under a fault that is made to happen.
type row struct {
	id       string // of the goal table: A1, B2 …
	property string // what must hold, in a few words
	goal     string // the figure to reach
	run      func(ctx context.Context, b *bench) (finding, error)
	// long says why a row has no short form; empty: it has one.
	long string
}

// finding is what a row measured: the figures in words, and whether they reach
// the goal. An error of run is a fault bench that broke, not a finding.
type finding struct {
	Figure  string `json:"figure"`
	Reached bool   `json:"reached"`
	// Scope says how the run falls short of the goal's own test, if it does:
	// fewer rounds, a shorter outage.
	Scope string `json:"scope,omitempty"`
}

// bench is what one row gets: a folder of its own, the programs, and its form.
type bench struct {
	dir   string // empty, removed afterwards
	bin   string // folder of the product's programs
	short bool   // the form of make test: the same faults, fewer rounds
	say   func(format string, args ...any)
	rand  *rand.Rand // seeded, so that a run can be repeated
}

// rounds returns how many rounds to make in this form.
func (b *bench) rounds(full, short int) int {
	if b.short {
		return short
	}
	return full
}

// sub makes a folder inside the bench's own.
func (b *bench) sub(name string) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", dir, err)
	}
	return dir, nil
}

// rows is the goal table, in its order.
func rows() []row {
	var all []row
	for _, part := range [][]row{deliveryRows(), outboxRows(), recordingRows(), unattendedRows(), cloudRows()} {
		all = append(all, part...)
	}
	return all
}
