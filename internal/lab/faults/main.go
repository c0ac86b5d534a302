// Command faults is the fault bench behind make faults: it cuts power, networks,
// processes, disks and clocks under the real programs, compares what a ledger
// kept outside them says with what the databases and folders hold, and writes
// docs/reliability.md. Its short form is the package's test.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	// The bench starts itself again as the processes that it kills.
	if len(os.Args) > 2 && os.Args[1] == "role" {
		if err := play(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "faults role", os.Args[2]+":", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("faults", flag.ContinueOnError)
	only := fs.String("only", "", "ids of the rows to run, such as \"B1 B2\"; default all, those not run keep what was measured before")
	short := fs.Bool("short", false, "the short form: the same faults, fewer rounds; measures, but does not write the report")
	bin := fs.String("bin", "bin", "folder of floorwatch's programs, built by make build")
	docs := fs.String("docs", "docs", "folder in which reliability.md and reliability.json are written")
	seed := fs.Uint64("seed", 1, "of chance")
	if err := fs.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(rows(), strings.Fields(*only))
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("mounts disks and cuts networks: run it as root")
	}
	abs, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	report, err := readReport(*docs)
	if err != nil {
		return err
	}
	for i, r := range chosen {
		if *short && r.long != "" {
			fmt.Printf("%s  no short form: %s\n", r.id, r.long)
			continue
		}
		fmt.Printf("%s  %s (%d of %d)\n", r.id, r.property, i+1, len(chosen))
		began := time.Now()
		found, err := r.measure(ctx, abs, *short, *seed)
		if err != nil {
			return fmt.Errorf("row %s: %w", r.id, err)
		}
		fmt.Printf("%s  %s: %s (%s)\n", r.id, verdict(found), found.Figure, time.Since(began).Round(time.Second))
		if *short {
			continue
		}
		report.put(r, found, time.Since(began))
		if err := report.write(*docs, rows()); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the rows with the ids, all without.
func choose(all []row, ids []string) ([]row, error) {
	if len(ids) == 0 {
		return all, nil
	}
	var out []row
	for _, id := range ids {
		i := slices.IndexFunc(all, func(r row) bool { return r.id == id })
		if i < 0 {
			return nil, fmt.Errorf("-only %q is no row; rows are %s", id, strings.Join(idsOf(all), " "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func idsOf(all []row) []string {
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = r.id
	}
	return out
}

// measure runs one row in a folder of its own.
func (r row) measure(ctx context.Context, bin string, short bool, seed uint64) (finding, error) {
	dir, err := os.MkdirTemp("", "floorwatch-faults-"+r.id+"-")
	if err != nil {
		return finding{}, fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	h := fnv.New64a()
	h.Write([]byte(r.id))
	began := time.Now()
	return r.run(ctx, &bench{
		dir: dir, bin: bin, short: short, rand: rand.New(rand.NewPCG(seed, h.Sum64())),
		say: func(format string, args ...any) {
			fmt.Printf("%s  %4.0f s  %s\n", r.id, time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		},
	})
}

func verdict(f finding) string {
	if f.Reached {
		return "reached"
	}
	return "NOT REACHED"
}
