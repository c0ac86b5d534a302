package recording

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// Faults of a camera.
var cameraFaults = []string{"stopped", "line mute", "garbage", "other size", "reset loop"}

// watchedCamera is a camera behind a line.
type watchedCamera struct {
	*camera
	line *chaos.Proxy
}

// startCameras starts n cameras that play film, and other when told to.
func startCameras(ctx context.Context, n int, film, other string) (cams []watchedCamera, sources []string, end func(), err error) {
	end = func() {
		for _, c := range cams {
			_ = c.Signal(syscall.SIGCONT)
			c.line.Close()
			c.End()
		}
	}
	for range n {
		c, err := startCamera(ctx, 5, film, other)
		if err != nil {
			return cams, nil, end, err
		}
		line, err := chaos.Start(c.addr)
		if err != nil {
			return cams, nil, end, err
		}
		cams = append(cams, watchedCamera{c, line})
		sources = append(sources, "rtsp://"+line.Addr+"/stream")
	}
	return cams, sources, end, nil
}

// fault begins or ends a fault; a reset loop goes on until ctx ends.
func (c watchedCamera) fault(ctx context.Context, kind string, on bool) error {
	switch {
	case kind == "stopped" && on:
		return c.Signal(syscall.SIGSTOP)
	case kind == "stopped":
		return c.Signal(syscall.SIGCONT)
	case kind == "line mute" && on:
		c.line.Blackhole()
	case kind == "line mute":
		c.line.Pass()
		c.line.Reset()
	case kind == "garbage" && on:
		return c.tell(camGarbage)
	case kind == "other size" && on:
		return c.tell(camOther)
	case kind == "reset loop" && on:
		go func() {
			for kit.Pause(ctx, 300*time.Millisecond) == nil {
				c.line.Reset()
			}
		}()
	case kind != "reset loop":
		return c.tell(camPlay)
	}
	return nil
}

// camerasLost makes cameras hang and get lost in five ways, several at a time.
func camerasLost(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	film, other := filepath.Join(b.Dir, "film.h264"), filepath.Join(b.Dir, "other.h264")
	if err := errors.Join(annexB(ctx, film, "320x240", 5, 1), annexB(ctx, other, "480x360", 5, 1)); err != nil {
		return bench.Finding{}, err
	}
	cams, sources, end, err := startCameras(ctx, b.Rounds(16, 5), film, other)
	defer end()
	if err != nil {
		return bench.Finding{}, err
	}
	a, err := newAgent(filepath.Join(b.Dir, "box"), filepath.Join(b.Bin, "floorwatch-camera"), sources)
	if err != nil {
		return bench.Finding{}, err
	}
	if err := a.start(ctx); err != nil {
		return bench.Finding{}, err
	}
	if err := a.watched(ctx); err != nil {
		return bench.Finding{}, errors.Join(err, a.stop())
	}
	sum := &lossTally{}
	for round := range b.Rounds(13, 1) {
		if err := loseCameras(ctx, b, a, cams, round, sum); err != nil {
			return bench.Finding{}, errors.Join(err, a.stop())
		}
		b.Say("round %d: noticed after at most %.1f s, back after at most %.1f s", round+1, most(sum.noticed).Seconds(), most(sum.back).Seconds())
	}
	if err := a.stop(); err != nil {
		return bench.Finding{}, err
	}
	seals, unexplained, err := a.seals()
	if err != nil {
		return bench.Finding{}, err
	}
	missing := 0
	for _, l := range sum.outages {
		if !slices.ContainsFunc(seals[l.camera], func(k kept) bool {
			return k.Kind == floorwatch.SealGap && k.Cause != "" && k.Start < l.to && k.End > l.from
		}) {
			missing++
		}
	}
	var p95 time.Duration
	if slices.Sort(sum.back); len(sum.back) > 0 {
		p95 = sum.back[len(sum.back)*95/100]
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d faults (camera process stopped, line mute, noise in place of H.264, other picture size in the running stream, connections reset all the time): noticed after at most %.1f s, seen again after p95 %.1f s, at most %.1f s, recorded again after at most %.1f s; %d of %d outages without a signed gap, %.1f s of footage time unexplained, %d supervisors hung",
			sum.faults, most(sum.noticed).Seconds(), p95.Seconds(), most(sum.back).Seconds(), most(sum.recorded).Seconds(), missing, len(sum.outages), unexplained.Seconds(), sum.hung),
	},
		bench.Pace(most(sum.noticed) <= 10*time.Second, "noticed within 10 s"),
		bench.Pace(max(most(sum.back), most(sum.recorded)) <= 15*time.Second, "seen and recorded again within 15 s"),
		bench.That(missing == 0, "a signed gap for each outage"),
		bench.That(unexplained == 0, "no footage time unexplained"),
		bench.That(sum.hung == 0, "no supervisor hung"),
	), nil
}

func most(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Max(d)
}

// outage is a span in which a camera gave nothing.
type outage struct {
	camera   string
	from, to floorwatch.Time
}

type lossTally struct {
	faults, hung  int
	noticed, back []time.Duration
	recorded      []time.Duration // like back, of the recorder
	outages       []outage
}

// loseCameras gives every camera a fault, ends it, and waits for all to be back.
func loseCameras(ctx context.Context, b *bench.Bench, a *agent, cams []watchedCamera, round int, sum *lossTally) error {
	faulty, heal := context.WithCancel(ctx)
	defer heal()
	kinds, lost := map[string]string{}, map[string]time.Time{}
	for i, c := range cams {
		n := a.names[i]
		kinds[n] = cameraFaults[(i+round)%len(cameraFaults)]
		if err := c.fault(faulty, kinds[n], true); err != nil {
			return err
		}
		if kinds[n] != "other size" { // that one loses nothing
			lost[n] = time.Now()
		}
	}
	sum.faults += len(cams)
	from, hold := time.Now(), time.Duration(b.Rounds(14, 8))*time.Second
	noticed, err := a.await(ctx, lost, hold, func(fig map[string]float64, n string) bool { return fig["watching "+n] == 0 })
	if err := errors.Join(err, kit.Pause(ctx, time.Until(from.Add(hold)))); err != nil {
		return err
	}
	sum.noticed = slices.AppendSeq(sum.noticed, maps.Values(noticed))
	before, err := a.look(ctx)
	if err != nil {
		return err
	}
	heal()
	back := map[string]time.Time{}
	for i, c := range cams {
		n := a.names[i]
		if err := c.fault(ctx, kinds[n], false); err != nil {
			return err
		}
		back[n] = time.Now()
		if k := kinds[n]; k == "stopped" || k == "line mute" || k == "reset loop" {
			sum.outages = append(sum.outages, outage{n, floorwatch.TimeOf(lost[n].Add(time.Second)), floorwatch.TimeOf(back[n])})
		}
	}
	const patience = 40 * time.Second
	took, err := a.await(ctx, back, patience, func(fig map[string]float64, n string) bool {
		return fig["watching "+n] == 1 && fig["frames_total "+n] > before["frames_total "+n]+2
	})
	if err != nil {
		return err
	}
	for _, d := range took {
		if d >= patience {
			sum.hung++
		}
		sum.back = append(sum.back, d)
	}
	for n, from := range back {
		open := filepath.Join(a.Config.Data, edge.FootageDir, n, "open.mp4")
		err := kit.Until(ctx, "footage of "+n, patience, func() (bool, error) {
			st, err := os.Stat(open)
			return err == nil && st.ModTime().After(from.Add(time.Second)), nil
		})
		if err != nil {
			return err
		}
		sum.recorded = append(sum.recorded, time.Since(from))
	}
	return nil
}
