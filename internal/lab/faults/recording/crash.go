package recording

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// footageCrashes kills recorders and tears files.
func footageCrashes(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	film, err := filmOf(ctx, b, 1)
	if err != nil {
		return bench.Finding{}, err
	}
	sum := bench.NewTally()
	kills := b.Rounds(100, 2)
	torn := make([]string, kills) // open files as the kills left them
	moments := make([]time.Duration, kills)
	for i := range moments {
		moments[i] = time.Second + time.Duration(b.Rand.Int64N(int64(b.Rounds(10_000, 2000))))*time.Millisecond
	}
	cam, err := startCamera(ctx, 10, film)
	if err != nil {
		return bench.Finding{}, err
	}
	defer cam.End()
	err = bench.Each(ctx, kills, 10, func(ctx context.Context, i int) error {
		var err error
		every := [...]time.Duration{time.Minute, time.Second}[i%2]
		torn[i], err = killRecorder(ctx, b, filepath.Join(dir, fmt.Sprint("kill-", i)), cam.url(), every, moments[i], sum)
		return err
	})
	if err != nil {
		return bench.Finding{}, err
	}
	torn = slices.DeleteFunc(torn, func(s string) bool { return s == "" })
	if len(torn) == 0 {
		return bench.Finding{}, errors.New("no kill left an open file")
	}
	cuts := b.Rounds(500, 8) - kills
	at := make([]float64, cuts)
	for i := range at {
		at[i] = b.Rand.Float64()
	}
	err = bench.Each(ctx, cuts, 4, func(ctx context.Context, i int) error {
		return tear(ctx, filepath.Join(dir, fmt.Sprint("tear-", i)), torn[i%len(torn)], at[i], sum)
	})
	finished, partial := sum.Of("finished"), sum.Of("partial")
	share := 1 - float64(sum.Of("partial bad"))/float64(max(1, partial))
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d of %d finished files and %d of %d salvaged ones play to their last fragment after %d kill -9 and %d truncations; %d salvaged files without the mark; %d crashes left less than one whole fragment",
			finished-sum.Of("finished bad"), finished, partial-sum.Of("partial bad"), partial, kills, cuts, sum.Of("unmarked"), sum.Of("nothing")),
	},
		bench.That(finished > 0 && sum.Of("finished bad") == 0, "finished files, and all of them play"),
		bench.That(partial > 0 && share >= 0.99, "salvaged files, and 99 %% of them play"),
		bench.That(sum.Of("unmarked") == 0, "all salvaged ones marked"),
	), err
}

// killRecorder records into dir, kills the recorder after a while, keeps a copy
// of the file that it was writing, and looks at what the next start makes of it.
func killRecorder(ctx context.Context, b *bench.Bench, dir, source string, every, after time.Duration, sum *bench.Tally) (copied string, err error) {
	p, err := kit.Self(ctx, "role", "record", dir, source, every.String())
	if err != nil {
		return "", err
	}
	defer p.End()
	open := filepath.Join(dir, recCamera, "open.mp4")
	err = kit.Until(ctx, "a recording to begin", kit.Patience, func() (bool, error) {
		if b.Short && every < recSegment { // a moment may be too short for a finished file
			seals, err := filepath.Glob(filepath.Join(dir, recCamera, "*", "*.seal"))
			return len(seals) > 0, err
		}
		_, err := os.Stat(open)
		return err == nil, nil
	})
	if err := errors.Join(err, kit.Pause(ctx, after)); err != nil {
		return "", err
	}
	if err := p.Kill(); err != nil {
		return "", err
	}
	p.End()
	if raw, err := os.ReadFile(open); err == nil && every > recSegment { // a long one, for tearing
		copied = dir + ".open.mp4"
		if err := os.WriteFile(copied, raw, 0o600); err != nil {
			return "", err
		}
	}
	return copied, salvaged(ctx, dir, sum)
}

// tear gives a recorder's next start a file that ends somewhere.
func tear(ctx context.Context, dir, from string, at float64, sum *bench.Tally) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, recCamera), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, recCamera, "open.mp4"), raw[:int(at*float64(len(raw)))], 0o600); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return salvaged(ctx, dir, sum)
}

// salvaged starts the recorder again and counts how what it finds plays.
func salvaged(ctx context.Context, dir string, sum *bench.Tally) error {
	open := filepath.Join(dir, recCamera, "open.mp4")
	_, err := os.Stat(open)
	wasOpen := err == nil
	before, err := footageOf(dir)
	if err != nil {
		return err
	}
	if err := salvage(ctx, dir); err != nil {
		return fmt.Errorf("start after a crash: %w", err)
	}
	if _, err := os.Stat(open); err == nil {
		return errors.New("a torn file is still there after the start")
	}
	all, err := footageOf(dir)
	if err != nil {
		return err
	}
	segment := func(k kept) bool { return k.Kind != floorwatch.SealSegment }
	files, old := slices.DeleteFunc(all, segment), len(slices.DeleteFunc(before, segment))
	marked := 0
	for _, k := range files {
		kind := "finished"
		if k.Partial {
			kind, marked = "partial", marked+1
		}
		sum.Add(kind, 1)
		if err := plays(ctx, k); err != nil {
			sum.Add(kind+" bad", 1)
		}
	}
	sum.Add("unmarked", max(0, len(files)-old-marked))
	if wasOpen && len(files) == old { // what was in it was less than a fragment
		sum.Add("nothing", 1)
	}
	return nil
}
