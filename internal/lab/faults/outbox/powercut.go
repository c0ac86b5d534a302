package outbox

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// numbered makes the record with a number. What it says follows from the number,
// so that a spoilt one is known by itself.
func numbered(n uint64) floorwatch.Encoded {
	kind := []string{floorwatch.KindStay, floorwatch.KindInterval, floorwatch.KindAlert}[n%3]
	return floorwatch.Encoded{Kind: kind, JSON: fmt.Appendf(nil, `{"kind":%q,"id":"%d","pad":%q}`, kind, n, strings.Repeat(string(rune('a'+n%26)), int(n*7919%400)))}
}

// numberOf reads a record of numbered back; false when it is none.
func numberOf(rec string) (uint64, bool) {
	_, rest, _ := strings.Cut(rec, `"id":"`)
	text, _, _ := strings.Cut(rest, `"`)
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && string(numbered(n).JSON) == rec
}

// appender is the process whose power is cut. It tells, a line each:
//
//	R LOG SEQ RECORD  what it found when it opened the outbox
//	O                 it has found all
//	A RECORD          it is about to settle a record
//	C NUMBER          Append has returned
func appender(args []string) error {
	dir := args[0]
	first, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	o, err := outbox.Open(outbox.Settings{Dir: dir, MaxBytes: 24 << 20, Commit: time.Millisecond})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
		_ = out.Flush()
	}
	settle := func(half bool) error {
		b, err := o.Next(100, floorwatch.MaxRecordBytes+1)
		if err != nil || b.N == 0 {
			return err
		}
		if half && rand.N(2) == 0 {
			return nil
		}
		for _, r := range b.Records {
			tell("A %s", r)
		}
		return o.Ack(b.Log, b.First, b.N)
	}
	if err := found(o, func(log string, seq uint64, rec json.RawMessage) { tell("R %s %d %s", log, seq, rec) }); err != nil {
		return err
	}
	tell("O")
	o.Rewind()
	for g := range uint64(4) {
		go func() {
			for n := first + g; o.Append(numbered(n)) == nil; n += 4 {
				tell("C %d", n)
			}
		}()
	}
	for {
		if err := settle(true); err != nil {
			return err
		}
		select {
		case <-o.Changed():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// found reads all that an outbox holds.
func found(o *outbox.Outbox, yield func(log string, seq uint64, rec json.RawMessage)) error {
	o.Rewind()
	for {
		b, err := o.Next(floorwatch.MaxBatchRecords, floorwatch.MaxRecordBytes+1)
		if err != nil || b.N == 0 {
			return err
		}
		for i, r := range b.Records {
			yield(b.Log, b.First+uint64(i), r)
		}
	}
}

// diary is what the bench knows of one outbox from what its process said.
type diary struct {
	confirmed map[uint64]bool   // not settled
	settled   map[uint64]bool   // may come back, need not
	numbers   map[string]string // by log and number, the record
	sum       *bench.Tally
}

// cutChain cuts the power of one box again and again, each time while it lives on
// what the cut before has left.
func cutChain(ctx context.Context, b *bench.Bench, d *bench.Disk, rounds int, rng *rand.Rand, sum *bench.Tally) error {
	if err := d.Mount(ctx); err != nil {
		return err
	}
	defer d.Unmount()
	t := &diary{confirmed: map[uint64]bool{}, settled: map[uint64]bool{}, numbers: map[string]string{}, sum: sum}
	for round := range rounds + 1 {
		p, err := kit.Self(ctx, "role", "appender", filepath.Join(d.At, "outbox"), strconv.Itoa(round*1_000_000))
		if err != nil {
			return err
		}
		last := round == rounds // opens, and is not cut
		early := !last && rng.IntN(5) == 0 && !(b.Short && round == 0)
		life := time.Duration(rng.IntN(200)) * time.Millisecond
		if rounds > 25 && rng.IntN(25) == 0 { // long enough for ext4's own commit, where it has one
			life += 6 * time.Second
		}
		if early {
			cutLater(p, life/4)
		}
		opened := t.read(p, b.Short && round == 0, func() {
			switch {
			case last:
				_ = p.Kill()
			case !early:
				cutLater(p, life)
			}
		})
		p.End()
		switch {
		case opened:
			sum.Add("opens", 1)
		case last || p.Tail() != "":
			b.Say("the outbox did not open: %s", p.Tail())
			sum.Add("refusals", 1)
		default:
			sum.Add("cut while opening", 1)
		}
		if last {
			break
		}
		if err := d.Cut(ctx); err != nil {
			return err
		}
		sum.Add("cuts", 1)
	}
	return nil
}

// cutLater kills a process that lives until then.
func cutLater(p *kit.Process, after time.Duration) {
	time.AfterFunc(after, func() { _ = p.Kill() })
}

// read takes what a process says until it is dead, and compares what it found
// with what was confirmed before. It calls open, and returns true, if the process
// came so far; with sure not before it has confirmed something.
func (t *diary) read(p *kit.Process, sure bool, open func()) (opened bool) {
	back := map[uint64]int{}
	for {
		line, ok := p.Line()
		if !ok {
			return opened
		}
		what, rest, _ := strings.Cut(line, " ")
		switch what {
		case "R":
			t.record(rest, back)
		case "O":
			t.compare(back)
			if opened = true; !sure {
				open()
			}
		case "A":
			if n, ok := numberOf(rest); ok {
				delete(t.confirmed, n)
				t.settled[n] = true
			}
		case "C":
			if n, err := strconv.ParseUint(rest, 10, 64); err == nil && !t.settled[n] {
				t.confirmed[n] = true
				t.sum.Add("confirmed", 1)
			}
			if sure {
				sure = false
				open()
			}
		}
	}
}

func (t *diary) record(line string, back map[uint64]int) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 {
		return // cut off in the middle of a line
	}
	key := f[0] + " " + f[1]
	if old, ok := t.numbers[key]; ok && old != f[2] {
		t.sum.Add("numbers used twice", 1)
	}
	t.numbers[key] = f[2]
	n, ok := numberOf(f[2])
	switch {
	case ok:
		back[n]++
	case !strings.HasPrefix(f[2], `{"kind":"gap"`):
		t.sum.Add("garbage", 1)
	}
}

func (t *diary) compare(back map[uint64]int) {
	for n := range t.confirmed {
		if back[n] == 0 {
			delete(t.confirmed, n)
			t.sum.Add("lost", 1)
		}
	}
	for _, k := range back {
		if k > 1 {
			t.sum.Add("doubled", 1)
		}
	}
}

func powerCuts(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	const chains, parallel = 8, 4
	rounds := b.Rounds(125, 2)
	sum := bench.NewTally()
	seed := b.Rand.Uint64()
	err = bench.Each(ctx, chains, parallel, func(ctx context.Context, i int) error {
		d, err := bench.NewDisk(ctx, filepath.Join(dir, fmt.Sprintf("box%d.img", i)), 48<<20)
		if err != nil {
			return err
		}
		d.Opts = []string{"", sparing}[i%2]
		return cutChain(ctx, b, d, rounds, rand.New(rand.NewPCG(seed, uint64(i))), sum)
	})
	if err != nil {
		return bench.Finding{}, err
	}
	bad := sum.Of("lost") + sum.Of("doubled") + sum.Of("garbage") + sum.Of("numbers used twice") + sum.Of("refusals")
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s power cuts (%s of them while opening), half of them with ext4's defaults and half with "+sparing+": %s of %s acknowledged records lost, %d doubled, %d spoilt, %d numbers used twice; %d opens, %d failed",
			bench.Number(sum.Of("cuts")), bench.Number(sum.Of("cut while opening")), bench.Number(sum.Of("lost")), bench.Number(sum.Of("confirmed")),
			sum.Of("doubled"), sum.Of("garbage"), sum.Of("numbers used twice"), sum.Of("opens"), sum.Of("refusals")),
	},
		bench.That(bad == 0, "0 lost, doubled, spoilt, numbered twice or failed to open"),
		bench.That(sum.Of("confirmed") > 0, "acknowledged records"),
	), nil
}
