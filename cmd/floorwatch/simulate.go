package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"floorwatch"
	"floorwatch/edge/simulate"
	"floorwatch/internal/program"
)

const simulateHelp = `Usage: floorwatch simulate [flags] HALL
       floorwatch simulate -halls

Plays a hall and prints camera lines, as floorwatch-camera does. HALL is the name
of a built-in hall or a YAML file; docs/simulate.md says what it holds.

  floorwatch simulate -zones-out - single >zones.yaml
  floorwatch simulate -noise realistic -truth truth.jsonl single |
    floorwatch stays -zones zones.yaml | floorwatch intervals -zones zones.yaml

`

// simulation is what the flags of `floorwatch simulate` say.
type simulation struct {
	opts                    simulate.Options
	real                    bool
	truth, truthMOT, zones  string
	video                   string
	level, ids, start, pace string
}

// runSimulate plays a hall.
func runSimulate(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("simulate", flag.ContinueOnError)
	s := &simulation{}
	list := fs.Bool("halls", false, "list the built-in halls")
	s.flags(fs)
	fs.Usage = func() { fmt.Fprint(std.Err, simulateHelp); fs.PrintDefaults() }
	if err := parseFlags(fs, args, std, -1); err != nil {
		return err
	}
	if *list {
		return listHalls(std.Out)
	}
	if fs.NArg() != 1 {
		return fmt.Errorf("%w: simulate takes one hall, got %d; simulate -halls lists the built-in ones", program.ErrUsage, fs.NArg())
	}
	if err := s.check(fs); err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	hall, err := simulate.Load(fs.Arg(0))
	if err != nil {
		return fmt.Errorf("%w: the hall is not right\n%w", program.ErrUsage, err)
	}
	return s.play(ctx, hall, std.Out)
}

func listHalls(w io.Writer) error {
	for _, name := range simulate.Names() {
		h, err := simulate.Load(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%-16s %s\n", name, h.Label.EN)
	}
	return nil
}

// knobs are the single settings of noise, by flag.
func (s *simulation) knobs() []struct {
	name, help string
	high       float64
	value      func(*simulate.Noise) *float64
} {
	type n = simulate.Noise
	return []struct {
		name, help string
		high       float64
		value      func(*simulate.Noise) *float64
	}{
		{"miss", "`probability` that a detection is missing", 1, func(n *n) *float64 { return &n.Miss }},
		{"false", "false boxes that begin, per `frame`", 10, func(n *n) *float64 { return &n.False }},
		{"jitter", "standard deviation of a box's place and size, `pixels`", 100, func(n *n) *float64 { return &n.Jitter }},
		{"swap", "`probability` that two people who cross swap ids", 1, func(n *n) *float64 { return &n.Swap }},
		{"drop", "`share` of frames that are not there", 0.99, func(n *n) *float64 { return &n.Drop }},
		{"hide", "least visible `share` of a person with which they are seen", 1, func(n *n) *float64 { return &n.Hide }},
		{"occlude", "longest time for which a standing person is hidden, `seconds`", 3600, func(n *n) *float64 { return &n.Occlude }},
		{"memory", "`seconds` unseen after which a person has a new id; 0: never", 3600, func(n *n) *float64 { return &n.Memory }},
		{"clock-jump", "`seconds` by which the clock is set in the middle", 86400, func(n *n) *float64 { return &n.Jump }},
	}
}

func (s *simulation) flags(fs *flag.FlagSet) {
	fs.Uint64Var(&s.opts.Seed, "seed", 1, "`number` that decides everything that is random")
	fs.Float64Var(&s.opts.FPS, "fps", simulate.DefaultFPS, "frames per second")
	fs.DurationVar(&s.opts.Length, "duration", 0, "length of the play; 0: the hall's")
	fs.StringVar(&s.start, "start", "", "stamp of the start, RFC 3339 `time`; default "+simulate.DefaultStart.String()+", with -pace real now")
	fs.StringVar(&s.pace, "pace", "max", "max | real")
	fs.StringVar(&s.level, "noise", "clean", "clean | realistic | harsh; the flags below change single settings of it")
	fs.StringVar(&s.ids, "ids", "", "truth | broken | none; default broken with noise, else truth")
	fs.StringVar(&s.truth, "truth", "", "`file` for the true stays and waits, JSON lines")
	fs.StringVar(&s.truthMOT, "truth-mot", "", "`file` for the true boxes, MOT text")
	fs.StringVar(&s.zones, "zones-out", "", "`file` for the hall's zones in the picture, YAML; - prints them alone")
	fs.StringVar(&s.video, "video", "", "`file` for a film of the hall, H.264 in MP4, as the camera sees it")
	for _, k := range s.knobs() {
		fs.Float64(k.name, 0, k.help)
	}
}

// check turns what the flags say into options.
func (s *simulation) check(fs *flag.FlagSet) (err error) {
	if s.opts.Noise, err = simulate.Level(s.level); err != nil {
		return fmt.Errorf("-noise: %w", err)
	}
	for _, k := range s.knobs() {
		fs.Visit(func(f *flag.Flag) {
			if f.Name != k.name || err != nil {
				return
			}
			v, _ := strconv.ParseFloat(f.Value.String(), 64) // the flag has parsed it
			if low := map[bool]float64{true: -k.high}[k.name == "clock-jump"]; !(v >= low && v <= k.high) {
				err = fmt.Errorf("-%s %v: want a number from %g to %g", k.name, v, low, k.high)
			}
			*k.value(&s.opts.Noise) = v
		})
	}
	switch s.opts.IDs = simulate.IDs(s.ids); {
	case err != nil:
		return err
	case s.ids != "" && s.opts.IDs != simulate.IDsTruth && s.opts.IDs != simulate.IDsBroken && s.opts.IDs != simulate.IDsNone:
		return fmt.Errorf("-ids %.40q: want truth, broken or none", s.ids)
	case s.video != "" && (s.opts.Noise.Drop != 0 || s.opts.Noise.Jump != 0):
		return errors.New("-video has every frame at an even pace: leave -drop and -clock-jump out")
	case s.pace != "max" && s.pace != "real":
		return fmt.Errorf("-pace %.40q: want max or real", s.pace)
	case !(s.opts.FPS >= 0.1 && s.opts.FPS <= 100):
		return fmt.Errorf("-fps %v: want a number from 0.1 to 100", s.opts.FPS)
	case s.opts.Length < 0 || s.opts.Length > 48*time.Hour:
		return fmt.Errorf("-duration %s: want at most 48h", s.opts.Length)
	}
	s.real = s.pace == "real"
	if s.real {
		s.opts.Start = floorwatch.TimeOf(time.Now())
	}
	if s.start != "" {
		t, err := time.Parse(time.RFC3339, s.start)
		if err != nil || t.Unix() <= 0 {
			return fmt.Errorf("-start %.40q: want a time such as 2026-01-05T09:00:00+08:00", s.start)
		}
		s.opts.Start = floorwatch.TimeOf(t)
	}
	return nil
}

// play prints the lines and writes the files.
func (s *simulation) play(ctx context.Context, hall *simulate.Hall, out io.Writer) error {
	if s.zones == "-" {
		return simulate.WriteZones(out, hall.Scene())
	}
	if s.zones != "" {
		if err := saveTo(s.zones, func(w io.Writer) error { return simulate.WriteZones(w, hall.Scene()) }); err != nil {
			return err
		}
	}
	p := simulate.New(hall, s.opts)
	lines := func(mot *bufio.Writer) error { return s.lines(ctx, p, out, mot) }
	if s.truthMOT == "" {
		if err := lines(nil); err != nil {
			return err
		}
	} else if err := saveTo(s.truthMOT, func(w io.Writer) error {
		mot := bufio.NewWriter(w)
		return errors.Join(lines(mot), mot.Flush())
	}); err != nil {
		return err
	}
	if s.truth == "" {
		return nil
	}
	return saveTo(s.truth, func(w io.Writer) error { return simulate.WriteTruth(w, p.Truth()) })
}

// lines prints the camera lines, at the pace that was asked for.
func (s *simulation) lines(ctx context.Context, p *simulate.Play, out io.Writer, mot *bufio.Writer) error {
	w := bufio.NewWriterSize(out, 1<<16)
	began, start := time.Now(), floorwatch.Time(0)
	line := func(f floorwatch.Frame) error {
		if start == 0 {
			start = f.T
		}
		if s.real {
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write lines: %w", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(began.Add(f.T.Sub(start)))):
			}
		}
		if mot != nil && f.Event == "" {
			simulate.WriteMOT(mot, f.N, p.Boxes())
		}
		b, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("encode line: %w", err)
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return fmt.Errorf("write lines: %w", err)
		}
		return nil
	}
	err := s.each(ctx, p, line)
	if flush := w.Flush(); err == nil && flush != nil {
		err = fmt.Errorf("write lines: %w", flush)
	}
	return err
}

// each plays p to its end, into a film where one was asked for. An end of ctx is
// an end of the play.
func (s *simulation) each(ctx context.Context, p *simulate.Play, line func(floorwatch.Frame) error) error {
	if s.video != "" {
		return p.Record(ctx, s.video, line)
	}
	for f, ok := p.Next(); ok && ctx.Err() == nil; f, ok = p.Next() {
		if err := line(f); err != nil {
			return err
		}
	}
	return nil
}

// saveTo makes a file of what write writes.
func saveTo(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
