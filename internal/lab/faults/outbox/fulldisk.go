package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// fillRound is what the process on a small disk says of one round, and at the end
// of all once more.
type fillRound struct {
	Confirmed []uint64
	Refused   int
	Resume    time.Duration // from the freeing of space to the next record stored
	Ready     time.Duration // … to the reserve being whole again
	Back      []uint64      // read and settled then, as an uplink would
	Booked    int           // lost records that the gaps among those name
	Spoilt    int
	End       bool
}

// filler is the process whose disk runs full: role filler DIR bytes|inodes|day ROUNDS.
// A day is one round of 86,400 records on the reserve of an outbox with defaults.
func filler(args []string) error {
	disk, mode := args[0], args[1]
	rounds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	set := outbox.Settings{Dir: filepath.Join(disk, "outbox"), MaxBytes: outbox.MinMaxBytes, Commit: 1}
	each := uint64(3000) // more than the reserve holds
	if mode == "day" {
		set.MaxBytes, each = outbox.DefaultMaxBytes, 86_400
	}
	o, err := outbox.Open(set)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	n := uint64(0)
	fill := filepath.Join(disk, "ballast")
	for round := range rounds {
		var r fillRound
		add := func() bool {
			err := o.Append(numbered(n))
			if err == nil {
				r.Confirmed = append(r.Confirmed, n)
			}
			n++
			return err == nil
		}
		if err := bench.Ballast(fill, mode == "inodes"); err != nil {
			return err
		}
		for range each {
			if !add() {
				r.Refused++
			}
		}
		if err := os.RemoveAll(fill); err != nil {
			return err
		}
		freed := time.Now()
		for !add() {
			<-time.After(10 * time.Millisecond)
		}
		r.Resume = time.Since(freed)
		for whole := false; !whole; { // the next fill finds the box ready again
			<-time.After(20 * time.Millisecond)
			reserve, err := filepath.Glob(filepath.Join(set.Dir, "reserve-*"))
			if err != nil {
				return err
			}
			whole = len(reserve) == 8
		}
		r.Ready = time.Since(freed)
		if round < rounds-1 {
			if err := r.settle(o); err != nil {
				return err
			}
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	if err := out.Encode(fillRound{End: true}); err != nil {
		return err
	}
	select {} // until the power is cut
}

// settle reads all that an outbox holds and acknowledges it.
func (r *fillRound) settle(o *outbox.Outbox) error {
	o.Rewind()
	for {
		b, err := o.Next(floorwatch.MaxBatchRecords, floorwatch.MaxRecordBytes+1)
		if err != nil || b.N == 0 {
			return err
		}
		for _, rec := range b.Records {
			r.take(rec)
		}
		if err := o.Ack(b.Log, b.First, b.N); err != nil {
			return err
		}
	}
}

func (r *fillRound) take(rec json.RawMessage) {
	var g floorwatch.Gap
	if n, ok := numberOf(string(rec)); ok {
		r.Back = append(r.Back, n)
	} else if json.Unmarshal(rec, &g) == nil && g.Kind == floorwatch.KindGap {
		r.Booked += int(g.N)
	} else {
		r.Spoilt++
	}
}

// fillDisk runs a filler on a disk of its own, then cuts the power and compares.
func fillDisk(ctx context.Context, image, mode string, bytes int64, rounds int, sum *bench.Tally, mkfs ...string) (resume, ready time.Duration, err error) {
	d, err := bench.NewDisk(ctx, image, bytes, mkfs...)
	if err != nil {
		return 0, 0, err
	}
	if err := d.Mount(ctx); err != nil {
		return 0, 0, err
	}
	defer d.Unmount()
	p, err := kit.Self(ctx, "role", "filler", d.At, mode, strconv.Itoa(rounds))
	if err != nil {
		return 0, 0, err
	}
	defer p.End()
	var all fillRound
	for {
		var r fillRound
		if err := p.Next(&r); err != nil {
			return resume, ready, err // a panic too
		}
		if r.End {
			break
		}
		all.join(r)
		sum.Add("rounds", 1)
		resume, ready = max(resume, r.Resume), max(ready, r.Ready)
	}
	if err := p.Kill(); err != nil {
		return resume, ready, err
	}
	p.End()
	if err := d.Cut(ctx); err != nil {
		return resume, ready, err
	}
	set := outbox.Settings{Dir: filepath.Join(d.At, "outbox"), MaxBytes: outbox.MinMaxBytes}
	if mode == "day" {
		set.MaxBytes = outbox.DefaultMaxBytes
	}
	o, err := outbox.Open(set)
	if err != nil {
		return resume, ready, err
	}
	defer func() { _ = o.Close() }()
	var last fillRound
	err = last.settle(o)
	all.join(last)
	all.count(sum)
	return resume, ready, err
}

func (r *fillRound) join(s fillRound) {
	r.Confirmed = append(r.Confirmed, s.Confirmed...)
	r.Back = append(r.Back, s.Back...)
	r.Refused += s.Refused
	r.Booked += s.Booked
	r.Spoilt += s.Spoilt
}

// count compares what was promised with what came back or is named as lost.
func (r *fillRound) count(sum *bench.Tally) {
	back := make(map[uint64]bool) // some twice: what was settled may come again after the power cut
	for _, n := range r.Back {
		back[n] = true
	}
	missing := 0
	for _, n := range r.Confirmed {
		if !back[n] {
			missing++
		}
	}
	sum.Add("confirmed", len(r.Confirmed))
	sum.Add("refused", r.Refused)
	sum.Add("corrupt", r.Spoilt)
	sum.Add("dropped", missing)
	sum.Add("not booked", max(0, missing-r.Booked))
}

func fullDisks(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	type kind struct {
		mode   string
		bytes  int64
		rounds int
		mkfs   []string
	}
	rounds := b.Rounds(50, 2)
	kinds := []kind{{"bytes", 6 << 20, rounds, nil}, {"inodes", 6 << 20, rounds, []string{"-N", "64"}}}
	if !b.Short {
		kinds = append(kinds, kind{"day", 160 << 20, 1, nil})
	}
	sum, day := bench.NewTally(), bench.NewTally()
	resume, ready := make([]time.Duration, len(kinds)), make([]time.Duration, len(kinds))
	err = bench.Each(ctx, len(kinds), len(kinds), func(ctx context.Context, i int) (err error) {
		k, to := kinds[i], sum
		if k.mode == "day" {
			to = day
		}
		resume[i], ready[i], err = fillDisk(ctx, filepath.Join(dir, k.mode+".img"), k.mode, k.bytes, k.rounds, to, k.mkfs...)
		return err
	})
	if err != nil {
		return bench.Finding{}, err
	}
	f := b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d times full and freed (bytes, and inodes): no panic, %d corrupt, records stored again after at most %.2f s and the reserve whole after %.1f s; %s records accepted meanwhile, %s refused, %s dropped for space, %s of them not booked",
			sum.Of("rounds"), sum.Of("corrupt"), slices.Max(resume).Seconds(), slices.Max(ready).Seconds(), bench.Number(sum.Of("confirmed")), bench.Number(sum.Of("refused")),
			bench.Number(sum.Of("dropped")), bench.Number(sum.Of("not booked"))),
	},
		bench.That(sum.Of("corrupt")+sum.Of("not booked") == 0, "0 corrupt, 0 not booked"),
		bench.Pace(slices.Max(ready) <= 10*time.Second, "whole again within 10 s"),
		bench.That(day.Of("refused")+day.Of("dropped")+day.Of("corrupt") == 0, "a day on the reserve: 0 refused, dropped or corrupt"),
	)
	if !b.Short {
		f.Figure += fmt.Sprintf("; on a full disk the reserve of the default outbox took the 86,400 records of a day (240 bytes each): %d refused, %d dropped",
			day.Of("refused"), day.Of("dropped"))
	}
	return f, nil
}
