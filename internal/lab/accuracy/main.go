// Command accuracy measures floorwatch against the truth and writes what it found
// as a page for people (docs/accuracy.md) and, with every figure, as JSON into the
// cache, for whoever compares two runs. Every figure is
// computed in the run, and stands beside that of a naive pipeline on the same
// boxes.
//
//	go run ./internal/lab/accuracy                all of it
//	go run ./internal/lab/accuracy -short         a quick look
//	go run ./internal/lab/accuracy -only vtest    the cases whose name or set begins so
//
// The films are seen by the real camera worker, whose lines are kept in
// .cache/accuracy and used again while worker, model and film are the same. Real
// cases are looked for in ../shared/data; those that are absent are named. The
// figures depend on nothing but the code and the cases; only speeds differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"floorwatch/edge/simulate"
	"floorwatch/models"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	data, cache, models string
	camera              string // the worker; "" not there
	detectors           []string
	absent              []string // what was looked for and not found
	only                string
	short               bool
	began               time.Time
	mu                  sync.Mutex
	out                 io.Writer
}

// say prints a line of progress.
func (r *bench) say(form string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.out, "%5.0f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(form, args...))
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	r := &bench{began: time.Now(), out: stderr, cache: filepath.Join(".cache", "accuracy")}
	flags.StringVar(&r.only, "only", "", "measure only the cases whose name or set begins with `CASE`: vtest, TUD, MOT15, MOT17, queue logs, halls, seeds")
	flags.BoolVar(&r.short, "short", false, "a quick look: no HOG, one log, three halls, 20 seeds")
	flags.StringVar(&r.data, "data", filepath.Join("..", "shared", "data"), "`folder` of the real cases")
	to := flags.String("out", filepath.Join("docs", "accuracy.md"), "`file` of the page")
	figures := flags.String("json", filepath.Join(".cache", "accuracy", figuresFile), "`file` of all figures")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || filepath.Ext(*to) != ".md" {
		return errors.New("want flags only, and -out a name that ends in .md; -h lists them")
	}
	if err := os.MkdirAll(r.cache, 0o755); err != nil {
		return fmt.Errorf("make folder of kept lines: %w", err)
	}
	r.findPrograms()
	rep := &report{
		Date: r.began.UTC().Format(time.DateOnly), Machine: machine(), Commit: commit(ctx),
		Command: strings.Join(append([]string{"go run ./internal/lab/accuracy"}, args...), " "),
	}
	if err := r.all(ctx, rep); err != nil {
		return err
	}
	rep.Absent = append(rep.Absent, r.absent...)
	rep.Seconds = number(time.Since(r.began).Seconds())
	rep.Goals = goals(rep)
	if err := rep.write(*to, *figures); err != nil {
		return err
	}
	r.say("written to %s and %s", *to, *figures)
	return nil
}

// findPrograms looks for the camera worker and the model.
func (r *bench) findPrograms() {
	if path, err := exec.LookPath("floorwatch-camera"); err == nil {
		r.camera = path
	} else if path, err := exec.LookPath(filepath.Join("bin", "floorwatch-camera")); err == nil {
		r.camera = path
	}
	for _, dir := range []string{os.Getenv("FLOORWATCH_MODELS"), "models", filepath.Join(r.data, "..", "models")} {
		if _, err := models.Find(dir, models.NanoDet); dir != "" && err == nil {
			r.models, r.detectors = dir, []string{models.NanoDet}
			break
		}
	}
	r.detectors = append(r.detectors, "motion")
	if !r.short {
		r.detectors = append(r.detectors, "hog")
	}
}

// chosen tells whether -only lets a case be measured.
func (r *bench) chosen(set, name string) bool {
	return strings.HasPrefix(set, r.only) || strings.HasPrefix(name, r.only)
}

// all measures every case that is chosen and there.
func (r *bench) all(ctx context.Context, rep *report) error {
	if r.camera == "" {
		r.absent = append(r.absent, "the camera worker (run make build): films were not seen")
	}
	if r.models == "" {
		r.absent = append(r.absent, "the NanoDet model (run make models): films were not seen with it")
	}
	for _, f := range films() {
		if !r.chosen(f.set, f.name) || r.short && f.set == "MOT15" {
			continue
		}
		r.say("%s", f.name)
		if err := rep.take(f.name, "../shared/data/"+f.truth)(r.runFilm(ctx, f)); err != nil {
			return err
		}
	}
	rep.sums()
	for _, log := range logCases {
		if !r.chosen("queue logs", log) || r.short && log != logCases[0] {
			continue
		}
		r.say("%s", log)
		if err := rep.take(log, "../shared/data/queues/"+log+".csv")(r.runLog(ctx, log)); err != nil {
			return err
		}
	}
	return r.simulated(ctx, rep)
}

// simulated measures the halls of the simulator.
func (r *bench) simulated(ctx context.Context, rep *report) error {
	names, seeds := simulate.Names(), 400
	steady := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "day" || n == "demo" })
	if r.short {
		names, steady, seeds = steady[:3], steady[:3], 20
	}
	if r.chosen("halls", "simulated") {
		if err := rep.take(fmt.Sprintf("%d simulated halls", len(names)), "")(r.runHalls(ctx, names)); err != nil {
			return err
		}
	}
	if !r.chosen("seeds", "harsh") {
		return nil
	}
	r.say("%d harsh plays", seeds)
	var err error
	rep.Coverage, err = r.runSeeds(ctx, steady, seeds, time.Hour)
	return err
}

// take takes the results of a case in; a case whose files are not there is named.
func (rep *report) take(name, where string) func([]result, error) error {
	return func(rs []result, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			rep.Absent = append(rep.Absent, name+" ("+where+")")
			return nil
		case err != nil:
			return err
		}
		rep.Found = append(rep.Found, name)
		rep.Results = append(rep.Results, rs...)
		return nil
	}
}

// sums adds a line for each set of several films: their boxes and tracks as one.
func (rep *report) sums() {
	type key struct{ set, detector, pipeline string }
	sums, cases := map[key]*result{}, map[key]int{}
	for _, r := range rep.Results {
		if r.Tracks == nil {
			continue
		}
		k := key{r.Set, r.Detector, r.Pipeline}
		if sums[k] == nil {
			sums[k] = &result{Set: r.Set, Case: sumName, Load: loadAll, Detector: r.Detector, Pipeline: r.Pipeline}
		}
		sums[k].boxes.Add(r.boxes)
		sums[k].tracks.Add(r.tracks)
		cases[k]++
	}
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(a, b key) int {
		return strings.Compare(a.set+a.detector+a.pipeline, b.set+b.detector+b.pipeline)
	}) {
		if s := sums[k]; cases[k] > 1 {
			s.Boxes, s.Tracks = boxFigures(s.boxes), trackFigures(s.tracks)
			rep.Results = append(rep.Results, *s)
		}
	}
}

// sumName is the case that is all films of a set together.
const sumName = "all"

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

// commit names what was measured.
func commit(ctx context.Context) string {
	b, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
