package recording

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/edge/upload"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"

	"golang.org/x/sys/unix"
)

// holdEvery is the distance of the spans that are held, holdFor their length.
const (
	holdEvery = 40 * time.Second
	holdFor   = 2 * time.Second
)

// hoarder records onto a small disk with an uplink that is dead: role hoarder
// FOLDER SOURCE START. From START, Unix ms, spans are held.
func hoarder(args []string) error {
	dir := filepath.Join(args[0], "footage")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var start floorwatch.Time
	if _, err := fmt.Sscan(args[2], &start); err != nil {
		return err
	}
	claims, err := upload.OpenClaims(filepath.Join(args[0], "claims.json"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	up := &upload.Uploader{
		Dir: dir, Store: recStore, Edge: recEdge, URL: "http://127.0.0.1:9", Key: recKey(), Policy: upload.Alert, Claims: claims, Every: time.Second, BackOff: time.Second,
	}
	for i := range 30 {
		id := fmt.Sprintf("%016x", i)
		from := start.Add(time.Duration(i) * holdEvery)
		r := up.Command(ctx, floorwatch.Command{
			V: floorwatch.Version, ID: id, Hold: id, Do: floorwatch.DoHold, Expires: start.Add(time.Hour), Camera: recCamera, From: from, To: from.Add(holdFor),
		})
		if r.State != floorwatch.ReplyDone {
			return errors.New(r.Reason)
		}
	}
	keep := &footage.Retention{Dir: dir, Store: recStore, Edge: recEdge, Key: recKey(), Holds: claims, Wanted: up, Every: 100 * time.Millisecond}
	go func() { _ = keep.Run(ctx) }()
	go func() { _ = up.Run(ctx) }()
	rec := newRecorder(dir, args[1])
	rec.Every = time.Second
	fmt.Println("ready")
	return rec.Run(ctx)
}

// retentionPressed records several disks full of footage and kills the box in
// the midst of its deletions.
func retentionPressed(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	film := filepath.Join(b.Dir, "busy.h264")
	// A fragment is a picture, so that it is small against the disk.
	err = annexB(ctx, film, "640x480", 10, 1, "-vf", "noise=alls=60:allf=t", "-b:v", "16M", "-maxrate", "16M", "-bufsize", "2M", "-g", "1", "-keyint_min", "1")
	if err != nil {
		return bench.Finding{}, err
	}
	const size = 64 << 20
	d, err := bench.NewDisk(ctx, filepath.Join(dir, "box.img"), size, "-m", "0", "-I", "128")
	if err != nil {
		return bench.Finding{}, err
	}
	if err := d.Mount(ctx); err != nil {
		return bench.Finding{}, err
	}
	defer d.Unmount()
	if b.Short { // most of the disk is somebody else's
		if out, err := exec.CommandContext(ctx, "fallocate", "-l", "36M", filepath.Join(d.At, "other")).CombinedOutput(); err != nil {
			return bench.Finding{}, fmt.Errorf("fill the disk: %w: %s", err, out)
		}
	}
	cam, err := startCamera(ctx, 10, film)
	if err != nil {
		return bench.Finding{}, err
	}
	defer cam.End()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	least := watchSpace(watching, d.At)
	start := floorwatch.TimeOf(time.Now().Add(2 * time.Second))
	kills, goal := 0, int64(b.Rounds(5*size, 18<<20))
	for began := time.Now(); recorded(d.At) < goal && time.Since(began) < 5*time.Minute; kills++ {
		p, err := kit.Self(ctx, "role", "hoarder", d.At, cam.url(), fmt.Sprint(int64(start)))
		if err != nil {
			return bench.Finding{}, err
		}
		pause := time.Duration(3000+b.Rand.Int64N(4000)) * time.Millisecond
		err = errors.Join(kit.Pause(ctx, pause), p.Kill())
		p.End()
		if err != nil {
			return bench.Finding{}, fmt.Errorf("%w: %s", err, p.Tail())
		}
		b.Say("%d MB recorded", recorded(d.At)>>20)
	}
	stop()
	return judgeShelf(ctx, b, d, kills, float64(least.Load())/1000)
}

// recorded returns the bytes of all footage that was ever sealed below dir.
func recorded(dir string) (sum int64) {
	all, _ := footageOf(filepath.Join(dir, "footage")) // told in the end
	for _, k := range all {
		sum += k.Length
	}
	return sum
}

// watchSpace follows the free space of a disk, in thousandths.
func watchSpace(ctx context.Context, dir string) *atomic.Int64 {
	least := new(atomic.Int64)
	least.Store(1000)
	go func() {
		for kit.Pause(ctx, 20*time.Millisecond) == nil {
			if free, err := freeShare(dir); err == nil {
				least.Store(min(least.Load(), int64(free*1000)))
			}
		}
	}()
	return least
}

// freeShare is what an ordinary process may still write, of the whole disk.
func freeShare(dir string) (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return float64(st.Bavail) / float64(st.Blocks), nil
}

// judgeShelf lets the box finish what the last kill cut short and compares what
// is left with what its seals say.
func judgeShelf(ctx context.Context, b *bench.Bench, d *bench.Disk, kills int, least float64) (bench.Finding, error) {
	dir := filepath.Join(d.At, "footage")
	claims, err := upload.OpenClaims(filepath.Join(d.At, "claims.json"))
	if err != nil {
		return bench.Finding{}, err
	}
	if err := salvage(ctx, dir); err != nil {
		return bench.Finding{}, err
	}
	finishing, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	keep := &footage.Retention{Dir: dir, Store: recStore, Edge: recEdge, Key: recKey(), Holds: claims, Every: time.Hour}
	if err := keep.Run(finishing); err != nil {
		return bench.Finding{}, err
	}
	all, err := footageOf(dir)
	if err != nil {
		return bench.Finding{}, err
	}
	named := map[string]bool{}
	for _, k := range all {
		for _, h := range k.Gone {
			named[h] = true
		}
	}
	var written int64
	gone, unsaid, stillThere, held, heldLost, bad := 0, 0, 0, 0, 0, 0
	for _, k := range all {
		if k.Kind != floorwatch.SealSegment {
			continue
		}
		written += k.Length
		raw, err := os.ReadFile(k.path)
		there, said := err == nil, named[floorwatch.SealHash([]byte(k.raw))]
		isHeld := claims.Held(recCamera, k.Start, k.End)
		switch {
		case there && said:
			stillThere++
		case !there:
			gone++
			if !said {
				unsaid++
			}
		default:
			if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != k.SHA256 {
				bad++
			}
		}
		if isHeld {
			held++
			if !there {
				heldLost++
			}
		}
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%.1f times the disk of %d MB recorded, uplink dead, %d kill -9: %d of %d held files deleted; %d files deleted and %d signed words of it (%d without, %d said and still there), %d damaged; free space never below %.1f %%",
			float64(written)/(64<<20), 64, kills, heldLost, held, gone, len(named), unsaid, stillThere, bad, 100*least),
		Scope: "retention looks every 0.1 s in place of each minute, as the disk is that small",
	},
		bench.That(heldLost+bad == 0, "no held file deleted, none damaged"),
		bench.That(gone > 0 && gone == len(named) && unsaid+stillThere == 0, "files deleted, each with its signed word"),
		bench.Pace(least >= 0.05, "5 %% free"),
	), nil
}
