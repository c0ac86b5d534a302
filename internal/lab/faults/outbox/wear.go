package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// playWear stores a record a second and acknowledges it a little later, as a box
// with a link does: role wear DIR COMMIT SECONDS. The records have 204 bytes.
func playWear(args []string) error {
	commit, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	o, err := outbox.Open(outbox.Settings{Dir: filepath.Join(args[0], "outbox"), Commit: commit})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode("open"); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	for n := range seconds {
		<-tick.C
		rec := fmt.Appendf(nil, `{"kind":"stay","id":"%06d","pad":""}`, n)
		rec = fmt.Appendf(nil, `{"kind":"stay","id":"%06d","pad":%q}`, n, strings.Repeat("x", 204-len(rec)))
		go func() { _ = o.Append(floorwatch.Encoded{Kind: floorwatch.KindStay, JSON: rec}) }() // returns with the commit
		b, err := o.Next(100, floorwatch.MaxRecordBytes+1)
		if err == nil && b.N > 0 {
			err = o.Ack(b.Log, b.First, b.N)
		}
		if err != nil {
			return err
		}
	}
	return out.Encode("done")
}

// written returns the bytes that a block device was told to write.
func written(device string) (int64, error) {
	b, err := os.ReadFile("/sys/block/" + device + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read what the device has written: %w", err)
	}
	f := strings.Fields(string(b))
	if len(f) < 7 {
		return 0, fmt.Errorf("read what the device has written: %d fields", len(f))
	}
	sectors, err := strconv.ParseInt(f[6], 10, 64)
	return sectors * 512, err
}

// wearOf measures the device bytes of a record at one a second.
func wearOf(ctx context.Context, image, commit string, seconds int, opts string) (perRecord float64, err error) {
	d, err := bench.NewDisk(ctx, image, 512<<20, "-b", "4096")
	if err != nil {
		return 0, err
	}
	d.Opts = opts
	if err := d.Mount(ctx); err != nil {
		return 0, err
	}
	defer d.Unmount()
	p, err := kit.Self(ctx, "role", "wear", d.At, commit, strconv.Itoa(seconds))
	if err != nil {
		return 0, err
	}
	defer p.End()
	var said string
	if err := p.Next(&said); err != nil {
		return 0, err
	}
	const settle = 15 * time.Second // for what the making of the files leaves to write
	if err := kit.Pause(ctx, settle); err != nil {
		return 0, err
	}
	before, err := written(d.Loop)
	if err != nil {
		return 0, err
	}
	if err := p.Next(&said); err != nil {
		return 0, err
	}
	after, err := written(d.Loop)
	return float64(after-before) / (float64(seconds) - settle.Seconds()), err
}

// sparing is the mount that docs/deploy.md recommends for a box's data.
const sparing = "noatime,commit=600"

func wear(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	const seconds = 15 + 2*960 // with 5 s commits twice 256 KiB of zeros, and the state once
	kinds := []struct{ commit, opts string }{{"1s", sparing}, {"5s", sparing}, {"1s", ""}, {"5s", ""}}
	got := make([]float64, len(kinds))
	err = bench.Each(ctx, len(kinds), len(kinds), func(ctx context.Context, i int) (err error) {
		got[i], err = wearOf(ctx, filepath.Join(dir, fmt.Sprint(i, ".img")), kinds[i].commit, seconds, kinds[i].opts)
		return err
	})
	day := func(i int) float64 { return got[i] * 86_400 / 1e6 }
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("records of 204 bytes at 1 per second on ext4 mounted with %s: %.0f bytes each, %.0f MB/day with 1 s commits; %.0f bytes, %.0f MB/day with 5 s. "+
			"Mounted with ext4's defaults, which write the journal every 5 s: %.0f bytes, %.0f MB/day and %.0f bytes, %.0f MB/day",
			sparing, got[0], day(0), got[1], day(1), got[2], day(2), got[3], day(3)),
		Scope: "32 minutes in place of an hour; the verdict is that of the recommended mount",
	},
		bench.That(err == nil && day(0) <= 450, "at most 450 MB/day with 1 s commits"),
		bench.That(err == nil && day(1) <= 100, "at most 100 MB/day with 5 s commits"),
	), err
}
