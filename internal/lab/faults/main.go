// Command faults is the fault bench behind make faults: it cuts power, networks,
// processes, disks and clocks under the real programs, compares what a ledger
// kept outside them says with what the databases and folders hold, and writes
// docs/reliability.md. Its short form is the package's test.
//
// The rows lie in rooms by theme: delivery, outbox, recording, unattended, cloud.
// What they share is in bench (a row, its folder, its disks, its report), hall (a
// broker, a database, the cloud and boxes without cameras) and box (the agent,
// run as a service).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/cloud"
	"floorwatch/internal/lab/faults/delivery"
	"floorwatch/internal/lab/faults/outbox"
	"floorwatch/internal/lab/faults/recording"
	"floorwatch/internal/lab/faults/unattended"
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
	report, err := bench.ReadReport(*docs)
	if err != nil {
		return err
	}
	for i, r := range chosen {
		if *short && r.Long != "" {
			fmt.Printf("%s  no short form: %s\n", r.ID, r.Long)
			continue
		}
		fmt.Printf("%s  %s (%d of %d)\n", r.ID, r.Property, i+1, len(chosen))
		began := time.Now()
		found, err := r.Measure(ctx, abs, *short, *seed)
		if err != nil {
			return fmt.Errorf("row %s: %w", r.ID, err)
		}
		fmt.Printf("%s  %s: %s (%s)\n", r.ID, verdict(found), found.Figure, time.Since(began).Round(time.Second))
		if *short {
			continue
		}
		report.Put(r, found, time.Since(began))
		if err := report.Write(*docs, rows()); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the rows with the ids, all without.
func choose(all []bench.Row, ids []string) ([]bench.Row, error) {
	if len(ids) == 0 {
		return all, nil
	}
	var out []bench.Row
	for _, id := range ids {
		i := slices.IndexFunc(all, func(r bench.Row) bool { return r.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("-only %q is no row; rows are %s", id, strings.Join(idsOf(all), " "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func idsOf(all []bench.Row) []string {
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = r.ID
	}
	return out
}

func verdict(f bench.Finding) string {
	if f.Reached {
		return "reached"
	}
	return "NOT REACHED (" + strings.Join(f.Missed, "; ") + ")"
}

// rows is the goal table, in its order.
func rows() []bench.Row {
	var all []bench.Row
	for _, part := range [][]bench.Row{delivery.Rows(), outbox.Rows(), recording.Rows(), unattended.Rows(), cloud.Rows()} {
		all = append(all, part...)
	}
	return all
}
