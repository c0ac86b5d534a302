package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/internal/lab/kit"
)

func recordingRows() []row {
	return []row{
		{
			id: "C1", property: "Footage lost at a power cut: at any moment, segment switches included",
			goal: "≤ GOP + 1 s, and ≤ 3 s, in the worst of 100 cuts", run: footageCuts,
		},
		{
			id: "C2", property: "Footage after a crash plays: kill -9 and torn files, salvaged by the next start",
			goal: "500 crashes: 100 % of finished files and ≥ 99 % of salvaged ones play to their last fragment; salvage marks them partial", run: footageCrashes,
		},
		{
			id: "C3", property: "Cameras that hang and get lost: process stopped, line mute, noise, other size, resets",
			goal: "200 faults: noticed in ≤ 10 s, back ≤ 15 s after the camera is, each outage a signed gap with its cause, no supervisor hangs", run: camerasLost,
			long: "workers side by side take too long to start on a small machine",
		},
		{
			id: "C4", property: "Crashes of the decoder stay in the camera worker",
			goal: "1,000 crashes and damaged streams: the recorder loses 0 s, the camera is seen again in ≤ 3 s", run: workersCrash,
			long: "workers side by side take too long to start on a small machine",
		},
		{
			id: "C5", property: "Retention on a small disk with a dead uplink, killed in the midst of deletions",
			goal: "held footage is never deleted; every deletion has its signed record and the other way round; free space never below 5 %", run: retentionPressed,
		},
		{
			id: "C6", property: "Backup over a line that is cut, to a vault that is killed and runs full",
			goal: "500 cuts at a random byte: 0 corrupt or lost; ≤ 10 % sent again", run: uploadsCut,
		},
		{
			id: "C7", property: "Clock jumps: an hour, 1970 at a start, leap seconds, drift",
			goal: "1,000 jumps: 0 segments out of order or overlapping, 0 intervals twice, all times of an unsynchronised clock marked", run: clockJumps,
		},
	}
}

const (
	recStore, recEdge, recCamera = "shop", "box", "door"
	// recSegment is short, so that many cuts fall on the change of files.
	recSegment = 3 * time.Second
)

// recKey is the box's key.
func recKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("the fault bench's own box, a key"))
}

func newRecorder(dir, source string) *footage.Recorder {
	return &footage.Recorder{
		Dir: dir, Store: recStore, Edge: recEdge, Camera: recCamera, Source: source, Every: recSegment, Key: recKey(),
		Emit: func(floorwatch.Record) error { return nil },
	}
}

// record is a recorder that is killed: role record DIR SOURCE EVERY.
func record(args []string) (err error) {
	r := newRecorder(args[0], args[1])
	if r.Every, err = time.ParseDuration(args[2]); err != nil {
		return err
	}
	return r.Run(context.Background())
}

// salvage is the product's own next start: a recorder that finds what the last
// one left, and ends before it records anything.
func salvage(ctx context.Context, dir string) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	return newRecorder(dir, "rtsp://127.0.0.1:9/none").Run(ended)
}

// kept is one sealed file.
type kept struct {
	floorwatch.Seal
	raw  string // the seal's bytes
	path string
}

// footageOf reads the seals of the camera below dir, in order.
func footageOf(dir string) (all []kept, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.seal"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := floorwatch.ParseSeal(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, kept{s, string(raw), filepath.Join(filepath.Dir(path), s.File)})
	}
	slices.SortFunc(all, func(a, b kept) int {
		if c := strings.Compare(a.Camera, b.Camera); c != 0 {
			return c
		}
		return int(a.Seq) - int(b.Seq)
	})
	return all, nil
}

// plays decodes a file from end to end and says why it does not play as long as
// its seal says.
func plays(ctx context.Context, k kept) error {
	out, err := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-threads", "1", "-i", k.path, "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err = exec.CommandContext(ctx, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", k.path).Output()
	if err != nil {
		return err
	}
	var seconds float64
	if _, err := fmt.Sscan(string(out), &seconds); err != nil {
		return err
	}
	if want := k.End.Sub(k.Start).Seconds(); seconds < want-0.3 || seconds > want+0.3 {
		return fmt.Errorf("plays %.1f s of %.1f s", seconds, want)
	}
	return nil
}

// cutGOP is the longest that cameras are to be set to.
const cutGOP = 2

// footageCuts records onto disks whose power is cut, several at a time.
func footageCuts(ctx context.Context, b *bench) (finding, error) {
	dir, end, err := b.scratch()
	if err != nil {
		return finding{}, err
	}
	defer end()
	film, err := b.filmOf(ctx, cutGOP)
	if err != nil {
		return finding{}, err
	}
	const parallel = 10
	rounds := b.rounds(100, 4)
	lost := make([]time.Duration, rounds)
	moments := make([]time.Duration, rounds) // drawn here, as a generator is nobody's who shares it
	for i := range moments {
		moments[i] = 4*time.Second + time.Duration(b.rand.Int64N(int64(8*time.Second)))
		if b.short {
			moments[i] = time.Second + time.Duration(i)*900*time.Millisecond
		}
	}
	sum := newTally()
	err = each(ctx, rounds, parallel, func(ctx context.Context, i int) error {
		var err error
		lost[i], err = cutRecorder(ctx, filepath.Join(dir, fmt.Sprint(i)+".img"), film, moments[i], sum)
		return err
	})
	if err != nil {
		return finding{}, err
	}
	slices.Sort(lost)
	worst, median := lost[len(lost)-1], lost[len(lost)/2]
	return finding{
		Figure: fmt.Sprintf("worst %.2f s of footage lost, median %.2f s, in %d power cuts with a GOP of %d s and files of %s; %d files afterwards, %d of them salvaged, %d do not play",
			worst.Seconds(), median.Seconds(), rounds, cutGOP, recSegment, sum.of("files"), sum.of("partial"), sum.of("unplayable")),
		Reached: worst <= 3*time.Second && sum.of("unplayable") == 0,
	}, nil
}

// cutRecorder records onto a disk of its own, cuts the power after a while, and
// returns how much footage of before the cut is missing after the next start.
func cutRecorder(ctx context.Context, image, film string, after time.Duration, sum *tally) (time.Duration, error) {
	d, err := newDisk(ctx, image, 24<<20)
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(image) }()
	if err := d.mount(ctx); err != nil {
		return 0, err
	}
	defer d.unmount()
	cam, err := startCamera(ctx, 10, film)
	if err != nil {
		return 0, err
	}
	defer cam.End()
	p, err := kit.Self(ctx, "role", "record", d.at, cam.url(), recSegment.String())
	if err != nil {
		return 0, err
	}
	defer p.End()
	open := filepath.Join(d.at, recCamera, "open.mp4")
	err = kit.Until(ctx, "a recording to begin", 30*time.Second, func() (bool, error) {
		_, err := os.Stat(open)
		return err == nil, nil
	})
	if err := errors.Join(err, kit.Pause(ctx, after)); err != nil {
		return 0, err
	}
	cut := floorwatch.TimeOf(time.Now())
	if err := p.Kill(); err != nil {
		return 0, err
	}
	p.End()
	if err := d.cut(ctx); err != nil {
		return 0, err
	}
	if err := salvage(ctx, d.at); err != nil {
		return 0, fmt.Errorf("start after the power cut: %w", err)
	}
	return afterCut(ctx, d.at, cut, sum)
}

// afterCut returns the time between the last footage and the cut.
func afterCut(ctx context.Context, dir string, cut floorwatch.Time, sum *tally) (time.Duration, error) {
	all, err := footageOf(dir)
	if err != nil {
		return 0, err
	}
	var last floorwatch.Time
	for _, k := range all {
		if k.Kind != floorwatch.SealSegment {
			continue
		}
		sum.add("files", 1)
		if k.Partial {
			sum.add("partial", 1)
		}
		if err := plays(ctx, k); err != nil {
			sum.add("unplayable", 1)
			continue
		}
		last = max(last, k.End)
	}
	if last == 0 {
		return 0, errors.New("nothing at all is left of a recording")
	}
	return max(0, cut.Sub(last)), nil
}

// footageCrashes kills recorders and tears files.
func footageCrashes(ctx context.Context, b *bench) (finding, error) {
	dir, end, err := b.scratch()
	if err != nil {
		return finding{}, err
	}
	defer end()
	film, err := b.filmOf(ctx, 1)
	if err != nil {
		return finding{}, err
	}
	sum := newTally()
	kills := b.rounds(100, 2)
	torn := make([]string, kills) // open files as the kills left them
	moments := make([]time.Duration, kills)
	for i := range moments {
		moments[i] = time.Second + time.Duration(b.rand.Int64N(int64(b.rounds(10_000, 2000))))*time.Millisecond
	}
	cam, err := startCamera(ctx, 10, film)
	if err != nil {
		return finding{}, err
	}
	defer cam.End()
	err = each(ctx, kills, 10, func(ctx context.Context, i int) error {
		var err error
		every := [...]time.Duration{time.Minute, time.Second}[i%2]
		torn[i], err = killRecorder(ctx, filepath.Join(dir, fmt.Sprint("kill-", i)), cam.url(), every, moments[i], sum)
		return err
	})
	if err != nil {
		return finding{}, err
	}
	torn = slices.DeleteFunc(torn, func(s string) bool { return s == "" })
	if len(torn) == 0 {
		return finding{}, errors.New("no kill left an open file")
	}
	cuts := b.rounds(500, 8) - kills
	at := make([]float64, cuts)
	for i := range at {
		at[i] = b.rand.Float64()
	}
	err = each(ctx, cuts, 4, func(ctx context.Context, i int) error {
		return tear(ctx, filepath.Join(dir, fmt.Sprint("tear-", i)), torn[i%len(torn)], at[i], sum)
	})
	finished, partial := sum.of("finished"), sum.of("partial")
	share := 1 - float64(sum.of("partial bad"))/float64(max(1, partial))
	return finding{
		Figure: fmt.Sprintf("%d of %d finished files and %d of %d salvaged ones play to their last fragment after %d kill -9 and %d truncations; %d salvaged files without the mark; %d crashes left less than one whole fragment",
			finished-sum.of("finished bad"), finished, partial-sum.of("partial bad"), partial, kills, cuts, sum.of("unmarked"), sum.of("nothing")),
		Reached: finished > 0 && partial > 0 && sum.of("finished bad") == 0 && share >= 0.99 && sum.of("unmarked") == 0,
	}, err
}

// killRecorder records into dir, kills the recorder after a while, keeps a copy
// of the file that it was writing, and looks at what the next start makes of it.
func killRecorder(ctx context.Context, dir, source string, every, after time.Duration, sum *tally) (copied string, err error) {
	p, err := kit.Self(ctx, "role", "record", dir, source, every.String())
	if err != nil {
		return "", err
	}
	defer p.End()
	open := filepath.Join(dir, recCamera, "open.mp4")
	err = kit.Until(ctx, "a recording to begin", 30*time.Second, func() (bool, error) {
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
func tear(ctx context.Context, dir, from string, at float64, sum *tally) error {
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
func salvaged(ctx context.Context, dir string, sum *tally) error {
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
		sum.add(kind, 1)
		if err := plays(ctx, k); err != nil {
			sum.add(kind+" bad", 1)
		}
	}
	sum.add("unmarked", max(0, len(files)-old-marked))
	if wasOpen && len(files) == old { // what was in it was less than a fragment
		sum.add("nothing", 1)
	}
	return nil
}
