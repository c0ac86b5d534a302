package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/stage"
)

// ballast takes everything that a disk has left: its bytes, or its inodes.
func ballast(dir string, inodes bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	for i, size := 0, int64(1<<20); ; i++ {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err == nil && !inodes {
			err = syscall.Fallocate(int(f.Fd()), 0, 0, size)
			_ = f.Close()
		} else if err == nil {
			err = f.Close()
		}
		switch {
		case err == nil:
		case !errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("fill the disk: %w", err)
		case inodes || size <= 1024:
			return nil
		default:
			_ = os.Remove(filepath.Join(dir, strconv.Itoa(i)))
			size /= 4
		}
	}
}

// fillRound is what the process on a small disk says of one round, and at the end
// of all once more.
type fillRound struct {
	Confirmed []uint64
	Refused   int
	Resume    time.Duration // from the freeing of space to the next record stored
	Reserve   int           // files of the reserve left while the disk was full
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
	for range rounds {
		var r fillRound
		add := func() bool {
			err := o.Append(numbered(n))
			if err == nil {
				r.Confirmed = append(r.Confirmed, n)
			}
			n++
			return err == nil
		}
		if err := ballast(fill, mode == "inodes"); err != nil {
			return err
		}
		for range each {
			if !add() {
				r.Refused++
			}
		}
		reserve, _ := filepath.Glob(filepath.Join(set.Dir, "reserve-*"))
		r.Reserve = len(reserve)
		if err := os.RemoveAll(fill); err != nil {
			return err
		}
		freed := time.Now()
		for !add() {
			<-time.After(10 * time.Millisecond)
		}
		r.Resume = time.Since(freed)
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	if err := out.Encode(fillRound{End: true}); err != nil {
		return err
	}
	select {} // until the power is cut
}

// fillDisk runs a filler on a disk of its own, then cuts the power and compares.
func fillDisk(ctx context.Context, image, mode string, bytes int64, rounds int, sum *tally, mkfs ...string) (worst time.Duration, err error) {
	d, err := newDisk(ctx, image, bytes, mkfs...)
	if err != nil {
		return 0, err
	}
	if err := d.mount(ctx); err != nil {
		return 0, err
	}
	defer d.unmount()
	p, err := stage.Self(ctx, "role", "filler", d.at, mode, strconv.Itoa(rounds))
	if err != nil {
		return 0, err
	}
	defer p.End()
	confirmed := make(map[uint64]bool)
	for {
		var r fillRound
		if err := p.Next(&r); err != nil {
			if strings.Contains(p.Tail(), "goroutine ") {
				sum.add("panics", 1)
			}
			return worst, err
		}
		if r.End {
			break
		}
		for _, n := range r.Confirmed {
			confirmed[n] = true
		}
		sum.add("rounds", 1)
		sum.add("refused", r.Refused)
		worst = max(worst, r.Resume)
	}
	if err := p.Kill(); err != nil {
		return worst, err
	}
	p.End()
	if err := d.cut(ctx); err != nil {
		return worst, err
	}
	return worst, compareFilled(filepath.Join(d.at, "outbox"), mode, confirmed, sum)
}

// compareFilled opens what a filler has left: what it was promised is there, or
// named in a gap record.
func compareFilled(dir, mode string, confirmed map[uint64]bool, sum *tally) error {
	set := outbox.Settings{Dir: dir, MaxBytes: outbox.MinMaxBytes}
	if mode == "day" {
		set.MaxBytes = outbox.DefaultMaxBytes
	}
	o, err := outbox.Open(set)
	if err != nil {
		sum.add("corrupt", 1)
		return err
	}
	defer func() { _ = o.Close() }()
	back, booked := 0, 0
	seen := make(map[uint64]bool)
	err = found(o, func(_ string, _ uint64, rec json.RawMessage) {
		var g floorwatch.Gap
		n, ok := numberOf(string(rec))
		switch {
		case ok && seen[n]:
			sum.add("corrupt", 1)
		case ok && confirmed[n]:
			back++
		case ok: // refused to the caller, but stored
		case json.Unmarshal(rec, &g) == nil && g.Kind == floorwatch.KindGap:
			booked += int(g.N)
		default:
			sum.add("corrupt", 1)
		}
		seen[n] = ok || seen[n]
	})
	sum.add("confirmed", len(confirmed))
	sum.add("dropped", len(confirmed)-back)
	sum.add("not booked", max(0, len(confirmed)-back-booked))
	if mode == "day" {
		sum.add("dropped of the day", len(confirmed)-back)
	}
	return err
}

func fullDisks(ctx context.Context, b *bench) (finding, error) {
	dir, end, err := b.scratch()
	if err != nil {
		return finding{}, err
	}
	defer end()
	type kind struct {
		mode   string
		bytes  int64
		rounds int
		mkfs   []string
	}
	rounds := b.rounds(50, 2)
	kinds := []kind{{"bytes", 6 << 20, rounds, nil}, {"inodes", 6 << 20, rounds, []string{"-N", "64"}}}
	if !b.short {
		kinds = append(kinds, kind{"day", 160 << 20, 1, nil})
	}
	sum, day := newTally(), newTally()
	worst := make([]time.Duration, len(kinds))
	err = each(ctx, len(kinds), len(kinds), func(ctx context.Context, i int) (err error) {
		k, to := kinds[i], sum
		if k.mode == "day" {
			to = day
		}
		worst[i], err = fillDisk(ctx, filepath.Join(dir, k.mode+".img"), k.mode, k.bytes, k.rounds, to, k.mkfs...)
		return err
	})
	if err != nil {
		return finding{}, err
	}
	f := finding{
		Figure: fmt.Sprintf("%d times full and freed (bytes, and inodes): %d panics, %d corrupt, resumed after at most %.2f s; %s records accepted meanwhile, %s refused, %s dropped for space and every one booked: %v",
			sum.of("rounds"), sum.of("panics"), sum.of("corrupt"), max(worst[0], worst[1]).Seconds(), number(sum.of("confirmed")), number(sum.of("refused")),
			number(sum.of("dropped")), sum.of("not booked") == 0),
		Reached: sum.of("panics")+sum.of("corrupt")+sum.of("not booked") == 0 && max(worst[0], worst[1]) <= 10*time.Second,
	}
	if !b.short {
		f.Figure += fmt.Sprintf("; on a full disk the reserve of the default outbox took the 86,400 records of a day (240 bytes each): %d refused, %d dropped",
			day.of("refused"), day.of("dropped of the day"))
		f.Reached = f.Reached && day.of("refused")+day.of("dropped of the day")+day.of("corrupt") == 0
	}
	return f, nil
}
