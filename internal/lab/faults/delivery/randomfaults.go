package delivery

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
)

// randomFaults runs two halls side by side, each with boxes on a disk whose power
// is cut, and does something to them every second or two.
func randomFaults(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	scratch, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	halls, cycles := b.Rounds(2, 1), b.Rounds(100, 3)
	var mu sync.Mutex
	var all hall.Judged
	oldest := 0.0
	done := bench.NewTally()
	seed := b.Rand.Uint64()
	err = bench.Each(ctx, halls, halls, func(ctx context.Context, i int) error {
		dir, err := b.Sub(fmt.Sprint("hall", i))
		if err != nil {
			return err
		}
		h, err := hall.New(ctx, b, dir, 3)
		if err != nil {
			return err
		}
		defer h.End()
		s := &siege{Hall: h, rng: rand.New(rand.NewPCG(seed, uint64(i))), done: done, ledgers: filepath.Join(dir, "ledgers")}
		v, err := s.run(ctx, filepath.Join(scratch, fmt.Sprintf("%d.img", i)), cycles)
		mu.Lock()
		defer mu.Unlock()
		all.Add(v)
		oldest = max(oldest, s.oldest)
		return err
	})
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(done.N)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", done.N[k], k))
	}
	f := b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d cycles (%s): %s; no record waited longer than %.0f s", halls*cycles, strings.Join(kinds, ", "), all, oldest),
	},
		bench.That(all.Clean(), "records, 0 of them lost, doubled or wrong"),
	)
	if err != nil || b.Short {
		return f, err
	}
	text, fits, err := weekOffline(filepath.Join(scratch, "week"))
	f.Figure += "; " + text
	if f.Reached = f.Reached && fits; !fits {
		f.Missed = append(f.Missed, "7 days of records in 256 MiB, 0 dropped")
	}
	return f, err
}

// weekOffline stores a record for each second of seven days in an outbox with its
// defaults, each in a commit of its own.
func weekOffline(dir string) (text string, fits bool, err error) {
	o, err := outbox.Open(outbox.Settings{Dir: dir, Commit: 1})
	if err != nil {
		return "", false, err
	}
	defer func() { _ = o.Close() }()
	const week = 7 * 24 * 3600
	bytes := 0
	for n := range uint64(week) {
		rec := hall.StayOf(0, n, floorwatch.Time(1_700_000_000_000+n*1000))
		bytes += len(rec.JSON)
		if err := o.Append(rec); err != nil {
			return "", false, err
		}
	}
	st := o.Stats()
	reserve, err := filepath.Glob(filepath.Join(dir, "reserve-*"))
	held := float64(st.Bytes+int64(len(reserve))*outbox.DefaultMaxBytes/64) / (1 << 20)
	return fmt.Sprintf("7 days offline at 1 record per second: %s records of %d bytes in %.0f MiB with the reserve, %s dropped",
		bench.Number(st.Records), bytes/week, held, bench.Number(st.Dropped)), st.Dropped == 0 && st.Records == week && held <= 256, err
}

// siege is a hall under random faults.
type siege struct {
	*hall.Hall
	rng     *rand.Rand
	done    *bench.Tally
	ledgers string
	disk    *bench.Disk
	crew    *hall.Crew
	lives   uint64
	oldest  float64 // s, of any record that waited
}

func (s *siege) run(ctx context.Context, image string, cycles int) (v hall.Judged, err error) {
	if s.disk, err = bench.NewDisk(ctx, image, 160<<20); err != nil {
		return v, err
	}
	if err := s.disk.Mount(ctx); err != nil {
		return v, err
	}
	defer s.disk.Unmount()
	if err := s.live(ctx); err != nil {
		return v, err
	}
	defer func() { s.crew.End() }()
	faults := s.faults()
	names := slices.Sorted(maps.Keys(faults))
	for i := range cycles {
		name := names[s.rng.IntN(len(names))]
		if s.Bench.Short { // a new session sends all again at once, so it comes last
			name = []string{"InfluxDB refuses", "aggregator killed", "power cut"}[i%3]
		}
		if err := faults[name](ctx); err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
		s.done.Add(name, 1)
		if err := s.look(ctx, 200*time.Millisecond+time.Duration(s.rng.IntN(800))*time.Millisecond); err != nil {
			return v, err
		}
	}
	if err := s.crew.Finish(ctx); err != nil {
		return v, err
	}
	return s.Judge(ctx, s.ledgers)
}

// live starts the boxes on what is on their disk.
func (s *siege) live(ctx context.Context) (err error) {
	s.lives++
	s.crew, err = hall.StartCrew(ctx, hall.Boxes{
		Dir: filepath.Join(s.disk.At, "boxes"), Ledger: s.ledgers, Broker: []string{s.Line.Addr}, Boxes: 3, Rate: 20, Seq: s.lives * 1_000_000, Max: 64 << 20,
	})
	return err
}

// look waits, and notes how old what waits is.
func (s *siege) look(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.oldest = max(s.oldest, s.crew.Said().Oldest)
		if err := kit.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (s *siege) faults() map[string]func(context.Context) error {
	while := func(put, heal func()) func(context.Context) error {
		return func(ctx context.Context) error {
			put()
			err := s.look(ctx, 300*time.Millisecond+time.Duration(s.rng.IntN(1500))*time.Millisecond)
			heal()
			return err
		}
	}
	pass := func() { s.Line.Pass(); s.Line.Reset() }
	die := func(ctx context.Context, cut bool) error {
		if err := s.crew.Kill(); err != nil {
			return err
		}
		<-s.crew.Done
		s.crew.End()
		if cut {
			if err := s.disk.Cut(ctx); err != nil {
				return err
			}
		}
		return s.live(ctx)
	}
	return map[string]func(context.Context) error{
		"boxes killed":            func(ctx context.Context) error { return die(ctx, false) },
		"power cut":               func(ctx context.Context) error { return die(ctx, true) },
		"broker killed":           func(ctx context.Context) error { return s.Broker.Restart(ctx) },
		"aggregator killed":       s.KillCloud,
		"InfluxDB refuses":        while(func() { s.Gate.Closed.Store(true) }, func() { s.Gate.Closed.Store(false) }),
		"blackhole":               while(s.Line.Blackhole, pass),
		"blackhole to the broker": while(func() { s.Line.Set(chaos.Fault{Hold: true}, chaos.Fault{}) }, pass),
		"acknowledgements lost":   while(func() { s.Line.Set(chaos.Fault{}, chaos.Fault{Hold: true}) }, pass),
		"slow line": while(func() {
			s.Line.Both(chaos.Fault{Delay: 50 * time.Millisecond, Jitter: 100 * time.Millisecond, Rate: 50_000})
		}, s.Line.Pass),
		"lossy line":        while(func() { s.Line.Drop(20) }, s.Line.Pass),
		"connections reset": func(context.Context) error { s.Line.Reset(); s.Behind.Reset(); return nil },
	}
}
