// Package bench is what every row of the fault bench has: its folder and disks,
// its chance, its sums, and its line in the report.
package bench

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"floorwatch/internal/lab/kit"
)

// Row is one property of the product under a fault that is made to happen.
type Row struct {
	ID       string // of the goal table: A1, B2 …
	Property string // what must hold, in a few words
	Goal     string // the figure to reach
	Run      func(ctx context.Context, b *Bench) (Finding, error)
	// Long says why a row has no short form; empty: it has one.
	Long string
}

// Measure runs one row in a folder of its own.
func (r Row) Measure(ctx context.Context, bin string, short bool, seed uint64) (Finding, error) {
	dir, err := kit.Folder("faults-" + r.ID)
	if err != nil {
		return Finding{}, err
	}
	defer os.RemoveAll(dir)
	h := fnv.New64a()
	h.Write([]byte(r.ID))
	began := time.Now()
	return r.Run(ctx, &Bench{
		Dir: dir, Bin: bin, Short: short, Rand: rand.New(rand.NewPCG(seed, h.Sum64())),
		Say: func(format string, args ...any) {
			fmt.Printf("%s  %4.0f s  %s\n", r.ID, time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		},
	})
}

// Bench is what one row gets: a folder of its own, the programs, and its form.
type Bench struct {
	Dir   string // empty, removed afterwards
	Bin   string // folder of the product's programs
	Short bool   // the form of make test: the same faults, fewer rounds
	Say   func(format string, args ...any)
	Rand  *rand.Rand // seeded, so that a run can be repeated
}

// Rounds returns how many rounds to make in this form.
func (b *Bench) Rounds(full, short int) int {
	if b.Short {
		return short
	}
	return full
}

// Sub makes a folder inside the bench's own.
func (b *Bench) Sub(name string) (string, error) {
	dir := filepath.Join(b.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", dir, err)
	}
	return dir, nil
}

// Roles are processes that rows start with `faults role NAME ARGS`, by name.
type Roles map[string]func(args []string) error
