// Command speed measures the path of a record through broker, ingest and
// InfluxDB: how fast, for how much processor time and memory, how late, and what
// is lost when the database and the broker go away. Everything is the real
// thing: mosquitto, influxd, and the product's own packages, each in a process
// of its own so that its costs can be told apart. Beside them it measures what
// the ground allows on this machine at this moment: an MQTT client that only
// reads, and plain writes of line protocol.
//
//	go run ./internal/lab/speed            all of it, medians of five
//	go run ./internal/lab/speed -short     a quick look
//	go run ./internal/lab/speed -only drain-1,live -runs 3 -json out.json
//	go run ./internal/lab/speed -fleet 1000,3000 -runs 3
//
// A fleet is boxes at rest, each with a connection of its own, before the whole
// aggregator: what it costs per box, and how soon /api/boxes answers.
//
// It needs mosquitto and influxd, which deploy/setup.sh test brings, and some 2 GB
// of memory. It ends with an error when a record is missing, and never because of
// a speed. docs/performance.md says what the figures mean.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

// plan is what is to be measured.
type plan struct {
	runs    int
	records int           // of a drain
	live    time.Duration // of a live run
	away    time.Duration // how long InfluxDB is away in the fault run
	dir     string
	kind    string // of record
	sink    bool   // instead of InfluxDB
	say     io.Writer
	profile string
}

func run(ctx context.Context, args []string, out, say io.Writer) error {
	if len(args) == 3 && args[0] == roleArg {
		return role(ctx, args[1], []byte(args[2]), out)
	}
	fs := flag.NewFlagSet("speed", flag.ContinueOnError)
	fs.SetOutput(say)
	runs := fs.Int("runs", 5, "runs of each measurement; the medians are told")
	short := fs.Bool("short", false, "a quick look: one run of a fifth, 10 s without InfluxDB")
	records := fs.Int("records", 500_000, "records of a drain; twice as many in batches")
	only := fs.String("only", "", "names of measurements, with commas between; all without")
	jsonTo := fs.String("json", "", "file for all figures of all runs")
	kind := fs.String("kind", floorwatch.KindCount, "kind of record: count, 150 bytes and 9 fields, or stay, 250 bytes and 14 fields")
	profile := fs.String("profile", "", "file for the processor profile of the last ingest, or the last fleet's aggregator")
	fleet := fs.String("fleet", "", "instead: fleets at rest of so many boxes, as 1000,3000; 0/10000 are 10,000 registered of which none is connected")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *runs < 1 || *records < 5000 || *records%5000 != 0 {
		return fmt.Errorf("%d runs of %d records: want at least one run, of a multiple of 5,000", *runs, *records)
	}
	if *kind != floorwatch.KindCount && *kind != floorwatch.KindStay {
		return fmt.Errorf("kind %.50q is neither count nor stay", *kind)
	}
	dir, err := kit.Folder("speed")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p := plan{runs: *runs, records: *records, live: 20 * time.Second, away: time.Minute, kind: *kind, dir: dir, say: say, profile: *profile}
	if *fleet != "" {
		p.live = time.Minute
	}
	if *short {
		p.runs, p.records, p.live, p.away = 1, 100_000, 8*time.Second, 10*time.Second
	}
	if *fleet != "" {
		return p.fleet(ctx, *fleet, *jsonTo, out)
	}
	report := report{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Kind: *kind}
	if err := p.all(ctx, &report, strings.Split(*only, ",")); err != nil {
		return err
	}
	report.table(out)
	if *jsonTo == "" {
		return nil
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = os.WriteFile(*jsonTo, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

// measurement is one line of the table: something that is done several times.
type measurement struct {
	name string
	once bool // not worth repeating
	do   func(context.Context, *plan) (figures, error)
}

func measurements() []measurement {
	return []measurement{
		{"reader", false, func(ctx context.Context, p *plan) (figures, error) { return p.drain(ctx, roleReader, 1) }},
		{"drain-1", false, func(ctx context.Context, p *plan) (figures, error) { return p.drain(ctx, roleIngest, 1) }},
		{"drain-100", false, func(ctx context.Context, p *plan) (figures, error) { return p.drain(ctx, roleIngest, 100) }},
		{"drain-1000", false, func(ctx context.Context, p *plan) (figures, error) { return p.drain(ctx, roleIngest, 1000) }},
		{"sink-1", false, func(ctx context.Context, p *plan) (figures, error) { return p.intoSink(ctx, 1) }},
		{"sink-100", false, func(ctx context.Context, p *plan) (figures, error) { return p.intoSink(ctx, 100) }},
		{"sink-1000", false, func(ctx context.Context, p *plan) (figures, error) { return p.intoSink(ctx, 1000) }},
		{"raw-1", false, func(ctx context.Context, p *plan) (figures, error) { return p.raw(ctx, 1) }},
		{"raw-2", false, func(ctx context.Context, p *plan) (figures, error) { return p.raw(ctx, 2) }},
		{"live", false, func(ctx context.Context, p *plan) (figures, error) { return p.liveRun(ctx, roleIngest) }},
		{"live-reader", false, func(ctx context.Context, p *plan) (figures, error) { return p.liveRun(ctx, roleReader) }},
		{"faults", true, func(ctx context.Context, p *plan) (figures, error) { return p.faults(ctx) }},
	}
}

// all runs the measurements in turns, so that a machine that is slow for a while
// is slow for all of them.
func (p *plan) all(ctx context.Context, r *report, only []string) error {
	for turn := range p.runs {
		for _, m := range measurements() {
			if turn > 0 && m.once || only[0] != "" && !slices.Contains(only, m.name) {
				continue
			}
			_, _ = fmt.Fprintf(p.say, "%s, run %d of %d: ", m.name, turn+1, p.runs)
			f, err := m.do(ctx, p)
			if err != nil {
				_, _ = fmt.Fprintln(p.say)
				return fmt.Errorf("measure %s: %w", m.name, err)
			}
			_, _ = fmt.Fprintln(p.say, f)
			r.add(m.name, f)
		}
	}
	return nil
}

func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
			}
		}
	}
	return fmt.Sprintf("%d x %s, %s", runtime.NumCPU(), model, runtime.Version())
}
