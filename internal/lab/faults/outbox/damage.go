package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/faults/bench"
)

// place is where a record lies in an outbox.
type place struct {
	log string
	seq uint64
}

// folder is an outbox's files and what they hold.
type folder struct {
	files map[string][]byte
	holds map[place]string
	clean bool // it was closed
}

// readFolder keeps an outbox's files, but those that hold no data.
func readFolder(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == "lock" || strings.HasPrefix(e.Name(), "reserve-") {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// writeFolder is its inverse.
func writeFolder(dir string, files map[string][]byte) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sampleFolders makes an outbox with several segments of each class, and returns
// it as a crash leaves it and as a clean stop does.
func sampleFolders(dir string) (crashed, clean folder, err error) {
	o, err := outbox.Open(outbox.Settings{Dir: dir, MaxBytes: outbox.MinMaxBytes, Commit: 1})
	if err != nil {
		return crashed, clean, err
	}
	for n := range uint64(1000) {
		if err := o.Append(numbered(n)); err != nil {
			return crashed, clean, err
		}
	}
	holds := make(map[place]string)
	if err := found(o, func(log string, seq uint64, rec json.RawMessage) { holds[place{log, seq}] = string(rec) }); err != nil {
		return crashed, clean, err
	}
	crashed = folder{holds: holds}
	if crashed.files, err = readFolder(dir); err != nil {
		return crashed, clean, err
	}
	if err := o.Close(); err != nil {
		return crashed, clean, err
	}
	clean = folder{holds: holds, clean: true}
	clean.files, err = readFolder(dir)
	return crashed, clean, err
}

// entryMagic begins every record on disk (docs/outbox.md): behind the last of
// them nothing says how many there were.
const entryMagic = "\x1eFW\x01"

// harm damages one to three places of a folder's copy. what names the damage;
// flips is how many bytes were flipped, if nothing else was done; wiped tells
// that something was cut off, or zeroed with no record behind it in a crashed log's file, or
// both copies of the state hit, so that nothing on the disk proves what was there.
func harm(rng *rand.Rand, files map[string][]byte, clean bool) (what string, flips int, wiped bool) {
	names := slices.Sorted(maps.Keys(files)) // chance comes from rng alone
	flipsOnly := rng.IntN(3) == 0
	for range 1 + rng.IntN(3) {
		name := names[rng.IntN(len(names))]
		b := append([]byte(nil), files[name]...)
		if len(b) == 0 {
			continue
		}
		at := rng.IntN(len(b))
		switch op := rng.IntN(3); {
		case flipsOnly || op == 0:
			b[at] ^= byte(1 + rng.IntN(255))
			flips++
			what += fmt.Sprintf("flip %s at %d; ", name, at)
		case op == 1:
			end := min(len(b), at+1+rng.IntN(4096))
			clear(b[at:end])
			wiped = wiped || !strings.Contains(string(b[end:]), entryMagic)
			what += fmt.Sprintf("zero %s from %d to %d; ", name, at, end)
		default:
			b = b[:at]
			wiped = true
			what += fmt.Sprintf("cut %s at %d; ", name, at)
		}
		files[name] = b
	}
	wiped = wiped && !clean || strings.Contains(what, " state ") && strings.Contains(what, " state-copy ")
	if !flipsOnly {
		flips = 0
	}
	return what, flips, wiped
}

// spoil damages a copy of f, opens it and compares what comes back.
func (f folder) spoil(rng *rand.Rand, dir string, sum *bench.Tally) (complaint string, err error) {
	files := make(map[string][]byte)
	for name, b := range f.files {
		files[name] = b
	}
	what, flips, wiped := harm(rng, files, f.clean)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeFolder(dir, files); err != nil {
		return "", err
	}
	sum.Add("damaged", 1)
	o, err := outbox.Open(outbox.Settings{Dir: dir, MaxBytes: outbox.MinMaxBytes, Commit: 1})
	if err != nil {
		sum.Add("refused", 1)
		return fmt.Sprintf("%s: %v", what, err), nil
	}
	defer func() { _ = o.Close() }()
	back, booked := make(map[place]bool), make(map[place]bool)
	err = found(o, func(log string, seq uint64, rec json.RawMessage) {
		at := place{log, seq}
		if rec := string(rec); f.holds[at] == rec {
			back[at] = true
			return
		}
		var g floorwatch.Gap
		if json.Unmarshal(rec, &g) != nil || g.Kind != floorwatch.KindGap || f.holds[at] != "" {
			sum.Add("garbage", 1)
			complaint = fmt.Sprintf("%s: %s %d came back as %.100q", what, log, seq, rec)
			return
		}
		for n := range g.N {
			booked[place{g.Log, g.First + n}] = true
		}
	})
	lost := 0
	for at := range f.holds {
		switch {
		case back[at] && booked[at]:
			sum.Add("booked and there", 1)
			complaint = fmt.Sprintf("%s: %v came back and is booked as lost", what, at)
		case back[at]:
		case booked[at]:
			lost++
		case wiped:
			lost++
			sum.Add("unprovable", 1)
		default:
			lost++
			sum.Add("not booked", 1)
			complaint = fmt.Sprintf("%s (clean %v): %v is gone and not booked", what, f.clean, at)
		}
	}
	sum.Add("lost", lost)
	if flips > 0 {
		sum.Add("flips", flips)
		sum.Add("lost to flips", lost)
		if lost > flips {
			sum.Add("more than a record for a flip", 1)
			complaint = fmt.Sprintf("%s: %d records lost", what, lost)
		}
	}
	return complaint, err
}

func damages(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	crashed, clean, err := sampleFolders(filepath.Join(dir, "sample"))
	if err != nil {
		return bench.Finding{}, err
	}
	sum, rounds, seed := bench.NewTally(), b.Rounds(10_000, 500), b.Rand.Uint64()
	const parallel = 4
	err = bench.Each(ctx, parallel, parallel, func(ctx context.Context, i int) error {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		for n := i; n < rounds && ctx.Err() == nil; n += parallel {
			f := crashed
			if rng.IntN(2) == 0 {
				f = clean
			}
			complaint, err := f.spoil(rng, filepath.Join(dir, fmt.Sprint("box", i)), sum)
			if err != nil {
				return err
			}
			if complaint != "" {
				b.Say("%s", complaint)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return bench.Finding{}, err
	}
	fuzzed, err := fuzz(ctx, b)
	if err != nil {
		return bench.Finding{}, err
	}
	bad := sum.Of("refused") + sum.Of("garbage") + sum.Of("booked and there") + sum.Of("not booked") + sum.Of("more than a record for a flip")
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s damaged outboxes: %d failed to open, %d bad records returned; %s flipped bytes alone cost %s records, never more than one each: %v; "+
			"of %s records lost to all damage %d were not booked and could have been, and %s could not, because the end of a log or its state was wiped without a trace; %s",
			bench.Number(sum.Of("damaged")), sum.Of("refused"), sum.Of("garbage"), bench.Number(sum.Of("flips")), bench.Number(sum.Of("lost to flips")), sum.Of("more than a record for a flip") == 0,
			bench.Number(sum.Of("lost")), sum.Of("not booked"), bench.Number(sum.Of("unprovable")), fuzzed),
	},
		bench.That(bad == 0, "0 failed to open, 0 bad or doubled records, 0 losses not booked, at most one record for a flip"),
	), nil
}

// fuzz lets Go's fuzzer loose on the reader of segments and on the opening, where
// the source is at hand.
func fuzz(ctx context.Context, b *bench.Bench) (string, error) {
	if b.Short {
		return "not fuzzed (full form only)", nil
	}
	const each = "60s"
	for _, target := range []string{"FuzzScan", "FuzzOpen"} {
		out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", each, "./edge/outbox").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("fuzz %s: %w: %s", target, err, out[max(0, len(out)-2000):])
		}
	}
	return "fuzzed " + each + " for each of two targets without a finding", nil
}
