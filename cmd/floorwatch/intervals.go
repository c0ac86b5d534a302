package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
	"floorwatch/internal/program"
)

const intervalsHelp = `Usage: floorwatch intervals -zones FILE.yaml [-every 5m] < RECORDS

Reads the records that floorwatch stays prints, of one camera, and prints at the
end of the input one interval record per zone and interval, aligned to the clock
(UTC), and then one count record per line and interval. Give it the same zones: records measured with others are refused. The
last intervals may be cut short by the end of the input; their coverage says so.

`

// runIntervals turns stays, waits, crossings and gaps into interval figures.
func runIntervals(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("intervals", flag.ContinueOnError)
	zones := fs.String("zones", "", "zones of the camera, a YAML `file`")
	every := fs.Duration("every", 5*time.Minute, "`length` of an interval")
	fs.Usage = func() { fmt.Fprint(std.Err, intervalsHelp); fs.PrintDefaults() }
	if err := parseFlags(fs, args, std, 0); err != nil {
		return err
	}
	scene, err := loadZones(*zones)
	if err != nil {
		return err
	}
	iv, err := queue.NewIntervals(scene, *every)
	if err != nil {
		return fmt.Errorf("%w: -every: %w", program.ErrUsage, err)
	}
	return intervals(ctx, iv, std)
}

// intervals feeds iv from std.In. An interval can hold the beginning of a stay
// that ends, and is printed, hours later: figures come out at the end only.
func intervals(ctx context.Context, iv *queue.Intervals, std stdio) error {
	any := false
	bad := eachLine(ctx, std.In, floorwatch.MaxRecordBytes, func(line []byte) error {
		rec, err := floorwatch.ParseRecord(line)
		if err != nil {
			return err
		}
		any = true
		return iv.Feed(rec)
	})
	out, counts := iv.Close(), iv.Counts()
	to := bufio.NewWriter(std.Out)
	if err := errors.Join(printRecords(to, out), printRecords(to, counts)); err != nil {
		return errors.Join(bad, err)
	}
	if bad == nil && any && len(out)+len(counts) == 0 {
		return errors.New("no gap record says what was observed: feed everything that floorwatch stays prints")
	}
	return bad
}
