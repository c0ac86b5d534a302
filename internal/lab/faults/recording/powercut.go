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

// cutGOP is the longest that cameras are to be set to.
const cutGOP = 2

// footageCuts records onto disks whose power is cut, several at a time.
func footageCuts(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	film, err := filmOf(ctx, b, cutGOP)
	if err != nil {
		return bench.Finding{}, err
	}
	const parallel = 10
	rounds := b.Rounds(100, 4)
	lost := make([]time.Duration, rounds)
	moments := make([]time.Duration, rounds) // drawn here, as a generator is nobody's who shares it
	for i := range moments {
		moments[i] = 4*time.Second + time.Duration(b.Rand.Int64N(int64(8*time.Second)))
		if b.Short {
			moments[i] = time.Second + time.Duration(i)*900*time.Millisecond
		}
	}
	sum := bench.NewTally()
	err = bench.Each(ctx, rounds, parallel, func(ctx context.Context, i int) error {
		var err error
		lost[i], err = cutRecorder(ctx, filepath.Join(dir, fmt.Sprint(i)+".img"), film, moments[i], sum)
		return err
	})
	if err != nil {
		return bench.Finding{}, err
	}
	slices.Sort(lost)
	worst, median := lost[len(lost)-1], lost[len(lost)/2]
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("worst %.2f s of footage lost, median %.2f s, in %d power cuts with a GOP of %d s and files of %s; %d files afterwards, %d of them salvaged, %d do not play",
			worst.Seconds(), median.Seconds(), rounds, cutGOP, recSegment, sum.Of("files"), sum.Of("partial"), sum.Of("unplayable")),
	},
		bench.Pace(worst <= 3*time.Second, "at most 3 s lost"),
		bench.That(sum.Of("files") > 0 && sum.Of("unplayable") == 0, "files, and every one plays"),
	), nil
}

// cutRecorder records onto a disk of its own, cuts the power after a while, and
// returns how much footage of before the cut is missing after the next start.
func cutRecorder(ctx context.Context, image, film string, after time.Duration, sum *bench.Tally) (time.Duration, error) {
	d, err := bench.NewDisk(ctx, image, 24<<20)
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(image) }()
	if err := d.Mount(ctx); err != nil {
		return 0, err
	}
	defer d.Unmount()
	cam, err := startCamera(ctx, 10, film)
	if err != nil {
		return 0, err
	}
	defer cam.End()
	p, err := kit.Self(ctx, "role", "record", d.At, cam.url(), recSegment.String())
	if err != nil {
		return 0, err
	}
	defer p.End()
	open := filepath.Join(d.At, recCamera, "open.mp4")
	err = kit.Until(ctx, "a recording to begin", kit.Patience, func() (bool, error) {
		_, err := os.Stat(open)
		return err == nil, nil
	})
	if err := errors.Join(err, kit.Pause(ctx, after)); err != nil {
		return 0, err
	}
	cut := floorwatch.TimeOf(time.Now())
	began := cut.Add(-after)
	if err := p.Kill(); err != nil {
		return 0, err
	}
	p.End()
	if err := d.Cut(ctx); err != nil {
		return 0, err
	}
	if err := salvage(ctx, d.At); err != nil {
		return 0, fmt.Errorf("start after the power cut: %w", err)
	}
	return afterCut(ctx, d.At, began, cut, sum)
}

// afterCut returns the time between the last footage and the cut, of a recording
// that began at least so early.
func afterCut(ctx context.Context, dir string, began, cut floorwatch.Time, sum *bench.Tally) (time.Duration, error) {
	all, err := footageOf(dir)
	if err != nil {
		return 0, err
	}
	var last floorwatch.Time
	for _, k := range all {
		if k.Kind != floorwatch.SealSegment {
			continue
		}
		sum.Add("files", 1)
		if k.Partial {
			sum.Add("partial", 1)
		}
		if err := plays(ctx, k); err != nil {
			sum.Add("unplayable", 1)
			continue
		}
		last = max(last, k.End)
	}
	return max(0, cut.Sub(max(began, last))), nil // all of it where no file is left
}
