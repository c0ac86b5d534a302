package unattended

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"floorwatch/edge/relay"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/kit"

	"golang.org/x/sync/errgroup"
)

// Times of the soak.
const (
	soakFor   = 30 * time.Minute
	soakWarm  = 5 * time.Minute // until the first look that counts
	soakEvery = 30 * time.Second
	soakLook  = 5 * time.Second
)

const soakConfig = `store: shop
edge: soak
data: %s
metrics: %q
interval: 10s
broker: {url: "tcp://%s", username: anyone, password_file: %s}
footage: {segment: 10s, max_bytes: 200MB}
cameras:
%s`

const soakCamera = `  - name: %s
    label: {zh: 大厅, en: Lobby}
    source: %s
    detector: motion
    fps: 60
    zones:
      - {name: zone-%s, role: queue, label: {zh: 排队区, en: Queue}, polygon: [[0, 0], [320, 0], [320, 240], [0, 240]]}
`

// soakLeaks lets a box work at many times the usual speed while its link and one
// of its cameras break again and again, and looks for what grows.
func soakLeaks(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	broker, err := kit.StartBroker(ctx, b.Dir, "")
	if err != nil {
		return bench.Finding{}, err
	}
	defer broker.End()
	film := filepath.Join(b.Dir, "fast.mp4")
	made, err := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=60", "-t", "30",
		"-c:v", "libx264", "-g", "60", "-bf", "0", "-pix_fmt", "yuv420p", film).CombinedOutput()
	if err != nil {
		return bench.Finding{}, fmt.Errorf("make a film: %w: %s", err, made)
	}
	rel, err := relay.New(relay.Settings{Source: film})
	if err != nil {
		return bench.Finding{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	var running errgroup.Group
	defer func() { stop(); _ = running.Wait() }()
	running.Go(func() error { return rel.Run(ctx) })
	select {
	case <-rel.Ready():
	case <-time.After(20 * time.Second):
		return bench.Finding{}, errors.New("the film is not served")
	}
	host := strings.TrimPrefix(rel.URL(), "rtsp://")
	host, path, _ := strings.Cut(host, "/")
	camera, err := chaos.Start(host)
	if err != nil {
		return bench.Finding{}, err
	}
	defer camera.Close()
	line, err := chaos.Start(broker.Address)
	if err != nil {
		return bench.Finding{}, err
	}
	defer line.Close()
	x, m, page, err := soakBox(b, line.Addr, rel.URL(), "rtsp://"+camera.Addr+"/"+path)
	if err != nil {
		return bench.Finding{}, err
	}
	running.Go(func() error { return m.Run(ctx) })
	running.Go(func() error {
		for kit.Pause(ctx, soakEvery) == nil {
			camera.Down()
			line.Cut()
			_ = kit.Pause(ctx, 3*time.Second)
			if err := camera.Up(); err != nil {
				return err
			}
		}
		return nil
	})
	looks, err := soakLooks(ctx, b, m, page)
	if err != nil {
		return bench.Finding{}, fmt.Errorf("%w\n%s", err, x.Tail())
	}
	rss, routines, files, worker := slope(looks, func(l soakSample) float64 { return l.rss / 1e6 }), slope(looks, func(l soakSample) float64 { return l.routines }),
		slope(looks, func(l soakSample) float64 { return l.files }), slope(looks, func(l soakSample) float64 { return l.worker / 1e6 })
	last := looks[len(looks)-1]
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("agent %+.1f MB/h (%.0f MB in the end), %+.1f goroutines/h (%.0f), %+.1f open files/h (%.0f); the steady camera's worker %+.1f MB/h (%.0f MB); %d starts in %.0f min with a link and a camera that broke every %.0f s",
			rss, last.rss/1e6, routines, last.routines, files, last.files, worker, last.worker/1e6, m.State().Starts, soakFor.Minutes(), soakEvery.Seconds()),
		Scope: "60 pictures a second of each of two cameras; Mats are counted by the tests of edge/camera",
	},
		bench.That(rss < 1 && worker < 1, "less than 1 MB/h"),
		bench.That(routines < 1 && files < 1, "less than one goroutine or open file an hour"),
		bench.That(m.State().Starts == 1, "one start"),
	), nil
}

// soakBox makes a box with a steady camera and one that is lost again and again.
func soakBox(b *bench.Bench, broker, steady, lost string) (*box.Box, *box.Manager, string, error) {
	x, err := box.New(b, "soak", broker, "")
	if err != nil {
		return nil, nil, "", err
	}
	beside := filepath.Join(x.Dir, "floorwatch-camera")
	page, err := kit.FreeAddress()
	if err == nil {
		err = errors.Join(os.Remove(beside), box.CopyFile(filepath.Join(b.Bin, "floorwatch-camera"), beside))
	}
	cameras := fmt.Sprintf(soakCamera, "steady", steady, "a") + fmt.Sprintf(soakCamera, "lost", lost, "b")
	if err == nil {
		err = os.WriteFile(x.Config, fmt.Appendf(nil, soakConfig, x.Data(), page, broker, filepath.Join(x.Dir, "password"), cameras), 0o600)
	}
	if err != nil {
		return nil, nil, "", fmt.Errorf("configure the box of the soak: %w", err)
	}
	m, _, err := x.Manager()
	return x, m, page, err
}

// soakSample is what was used at a moment.
type soakSample struct {
	hours                        float64
	rss, routines, files, worker float64
}

func soakLooks(ctx context.Context, b *bench.Bench, m *box.Manager, page string) ([]soakSample, error) {
	var looks []soakSample
	began := time.Now()
	for time.Since(began) < soakFor {
		if err := kit.Pause(ctx, soakLook); err != nil {
			return nil, err
		}
		if time.Since(began) < soakWarm {
			continue
		}
		l := soakSample{
			hours: time.Since(began).Hours(), rss: box.FigureOf(ctx, page, "process_resident_memory_bytes"),
			routines: box.FigureOf(ctx, page, "go_goroutines"), files: box.FigureOf(ctx, page, "process_open_fds"), worker: oldestWorker(m.State().PID),
		}
		if l.rss <= 0 {
			return nil, errors.New("the agent shows no figures")
		}
		looks = append(looks, l)
		if len(looks)%60 == 1 {
			b.Say("%.0f MB, %.0f goroutines, %.0f files, worker %.0f MB", l.rss/1e6, l.routines, l.files, l.worker/1e6)
		}
	}
	return looks, nil
}

// oldestWorker returns the memory of the camera worker that has run for longest.
func oldestWorker(parent int) float64 {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var first, bytes float64
	for _, path := range stats {
		b, err := os.ReadFile(path)
		head, rest, ok := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 22 || fields[1] != strconv.Itoa(parent) || !strings.Contains(head, "(floorwatch-came") {
			continue
		}
		start, _ := strconv.ParseFloat(fields[19], 64)
		pages, _ := strconv.ParseFloat(fields[21], 64)
		if first == 0 || start < first {
			first, bytes = start, pages*float64(os.Getpagesize())
		}
	}
	return bytes
}

// slope is the growth per hour: the line through the medians of the first and the
// last third, which a collector's ups and downs do not bend.
func slope(looks []soakSample, value func(soakSample) float64) float64 {
	third := max(1, len(looks)/3)
	median := func(part []soakSample) (at, v float64) {
		var all []float64
		for _, l := range part {
			all, at = append(all, value(l)), at+l.hours/float64(len(part))
		}
		slices.Sort(all)
		return at, all[len(all)/2]
	}
	t0, a := median(looks[:third])
	t1, z := median(looks[len(looks)-third:])
	if t1 <= t0 {
		return 0
	}
	return (z - a) / (t1 - t0)
}
