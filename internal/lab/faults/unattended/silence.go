package unattended

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"floorwatch/cloud/site"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/box"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"

	"golang.org/x/sync/errgroup"
)

// What happens to the boxes of G6, which are named after it.
const (
	boxKilled = "killed" // its program is gone
	boxCutOff = "cutoff" // its line swallows everything, and nobody says so
	boxBlind  = "blind"  // its camera gives nothing any more
	boxSlow   = "slow"   // a line that is bad all the time, and works
	boxWell   = "well"   // nothing
)

// fleetRow is a cloud with boxes, each behind a line of its own.
type fleetRow struct {
	page  string
	boxes map[string]*fleetBox

	mu    sync.Mutex
	seen  map[string][]string // troubles by box, as the page last had them
	false int                 // troubles that came up in boxes that had none
}

type fleetBox struct {
	*box.Box
	line    *chaos.Proxy
	manager *box.Manager
	well    string // text of the camera worker's script
}

// fleetAlarms are the troubles that this row is about; a bench has no time server.
var fleetAlarms = []string{"never", "offline", "silent", "safe", "camera", "short"}

// noticeFleet makes boxes fall silent and a camera go blind, and reads what the
// page of boxes says.
func noticeFleet(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	broker, err := kit.StartBroker(ctx, b.Dir, "")
	if err != nil {
		return bench.Finding{}, err
	}
	defer broker.End()
	ctx, stop := context.WithCancel(ctx)
	var running errgroup.Group
	defer func() { stop(); _ = running.Wait() }()
	f, err := startFleet(ctx, b, broker.Address, &running)
	if err != nil {
		return bench.Finding{}, err
	}
	running.Go(func() error { return f.look(ctx) })
	if err := f.await(ctx, 3*time.Minute, boxWell, boxSlow, boxBlind, boxKilled, boxCutOff); err != nil {
		return bench.Finding{}, err
	}
	f.mu.Lock()
	f.false = 0
	f.mu.Unlock()
	began := time.Now()
	slowest := map[string]time.Duration{}
	var mu sync.Mutex
	var group errgroup.Group
	for name, hurt := range map[string]func(*fleetBox) (heal func() error, err error){
		boxKilled: killBox, boxCutOff: cutOff, boxBlind: blindBox,
	} {
		group.Go(func() error {
			for range 3 {
				took, err := f.hurt(ctx, name, hurt)
				if err != nil {
					return err
				}
				b.Say("%s: %.1f s", name, took.Seconds())
				mu.Lock()
				slowest[name] = max(slowest[name], took)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return bench.Finding{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("3 times each: a killed box is told offline after at most %.1f s, one cut off without a word after %.1f s, a blind camera after %.1f s; %d false alarms of 2 boxes in %.0f s, one of them behind a line with 0.2 to 1 s of delay",
			slowest[boxKilled].Seconds(), slowest[boxCutOff].Seconds(), slowest[boxBlind].Seconds(), f.false, time.Since(began).Seconds()),
		Scope: "minutes of a bad line instead of an hour; a lost packet is there as the delay until it is sent again",
	},
		bench.Pace(slowest[boxKilled] <= 45*time.Second && slowest[boxCutOff] <= 45*time.Second, "offline within 45 s"),
		bench.Pace(slowest[boxBlind] <= time.Minute, "blind within 60 s"),
		bench.That(f.false == 0, "0 false alarms"),
	), nil
}

// startFleet starts the cloud and its boxes.
func startFleet(ctx context.Context, b *bench.Bench, broker string, running *errgroup.Group) (*fleetRow, error) {
	f := &fleetRow{boxes: map[string]*fleetBox{}, seen: map[string][]string{}}
	keys := map[string]site.Key{}
	for _, name := range []string{boxKilled, boxCutOff, boxBlind, boxSlow, boxWell} {
		line, err := chaos.Start(broker)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, line.Close)
		x, err := box.New(b, name, line.Addr, "")
		if err != nil {
			return nil, err
		}
		key, err := exec.CommandContext(ctx, x.Exe, "key", "-config", x.Config).Output()
		if err != nil {
			return nil, fmt.Errorf("ask for a box's key: %w", err)
		}
		keys[name] = halls.Key(key)
		m, log, err := x.Manager()
		if err != nil {
			return nil, err
		}
		script, err := os.ReadFile(filepath.Join(x.Dir, "floorwatch-camera"))
		if err != nil {
			return nil, fmt.Errorf("read a script: %w", err)
		}
		f.boxes[name] = &fleetBox{x, line, m, string(script)}
		if name == boxSlow {
			line.Both(chaos.Fault{Delay: 100 * time.Millisecond, Jitter: 400 * time.Millisecond})
		}
		running.Go(func() error { return errors.Join(m.Run(ctx), log.Close()) })
	}
	return f, startFleetCloud(ctx, b, f, broker, keys, running)
}

const fleetCloud = `data: %s
broker: {url: "tcp://%s", username: anyone, password_file: %s}
influx: {child: true}
pages: {listen: %q}
`

func startFleetCloud(ctx context.Context, b *bench.Bench, f *fleetRow, broker string, keys map[string]site.Key, running *errgroup.Group) error {
	dir, err := b.Sub("cloud")
	if err != nil {
		return err
	}
	if f.page, err = kit.FreeAddress(); err != nil {
		return err
	}
	x := &box.Service{Dir: dir, Exe: filepath.Join(b.Bin, "floorwatch-cloud"), Config: filepath.Join(dir, "cloud.yaml")}
	x.Args = []string{"run", "-config", x.Config}
	text := fmt.Appendf(nil, fleetCloud, filepath.Join(dir, "data"), broker, filepath.Join(f.boxes[boxWell].Dir, "password"), f.page)
	if err := os.WriteFile(x.Config, text, 0o600); err != nil {
		return fmt.Errorf("configure the cloud: %w", err)
	}
	if err := halls.Register(ctx, filepath.Join(dir, "data"), halls.One("shop", keys)); err != nil {
		return err
	}
	m, log, err := x.Manager()
	if err != nil {
		return err
	}
	running.Go(func() error { return errors.Join(m.Run(ctx), log.Close()) })
	return nil
}

// look reads the page of boxes twice a second until ctx ends.
func (f *fleetRow) look(ctx context.Context) error {
	for kit.Pause(ctx, 500*time.Millisecond) == nil {
		var said struct {
			Boxes []struct {
				Edge     string
				Troubles []struct{ What string }
			}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.page+"/api/boxes", nil)
		if err != nil {
			return fmt.Errorf("read the boxes: %w", err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // the cloud starts
		}
		err = json.NewDecoder(res.Body).Decode(&said)
		_ = res.Body.Close()
		if err != nil {
			continue
		}
		f.mu.Lock()
		for _, x := range said.Boxes {
			troubles := []string{}
			for _, t := range x.Troubles {
				if slices.Contains(fleetAlarms, t.What) {
					troubles = append(troubles, t.What)
				}
			}
			if (x.Edge == boxWell || x.Edge == boxSlow) && len(troubles) > len(f.seen[x.Edge]) {
				f.false++
			}
			f.seen[x.Edge] = troubles
		}
		f.mu.Unlock()
	}
	return nil
}

func (f *fleetRow) troubles(name string) ([]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.seen[name]
	return t, ok
}

// await waits until boxes are there and well.
func (f *fleetRow) await(ctx context.Context, patience time.Duration, names ...string) error {
	for _, name := range names {
		err := kit.Until(ctx, "box "+name+" to be well", patience, func() (bool, error) {
			t, ok := f.troubles(name)
			return ok && len(t) == 0, nil
		})
		if err != nil {
			t, _ := f.troubles(name)
			return fmt.Errorf("%w; it has %q\n%s", err, t, f.boxes[name].Tail())
		}
	}
	// A box that has just come is given a minute for its cameras.
	return kit.Pause(ctx, 65*time.Second)
}

// hurt returns how long it took until the page told of a box's trouble, and
// heals the box.
func (f *fleetRow) hurt(ctx context.Context, name string, do func(*fleetBox) (func() error, error)) (time.Duration, error) {
	heal, err := do(f.boxes[name])
	if err != nil {
		return 0, fmt.Errorf("hurt %s: %w", name, err)
	}
	began := time.Now()
	err = kit.Until(ctx, "the trouble of "+name, kit.Patience, func() (bool, error) {
		t, _ := f.troubles(name)
		return len(t) > 0, nil
	})
	took := time.Since(began)
	if err = errors.Join(err, heal()); err != nil {
		return 0, err
	}
	return took, f.await(ctx, 3*time.Minute, name)
}

func killBox(x *fleetBox) (func() error, error) {
	pid := x.manager.State().PID
	x.manager.SetPause(time.Minute) // nobody starts it meanwhile
	return func() error { return nil }, syscall.Kill(pid, syscall.SIGKILL)
}

func cutOff(x *fleetBox) (func() error, error) {
	x.line.Blackhole()
	return func() error { x.line.Pass(); x.line.Cut(); return nil }, nil
}

// blindBox replaces the camera worker by one that never sees anything.
func blindBox(x *fleetBox) (func() error, error) {
	path := filepath.Join(x.Dir, "floorwatch-camera")
	write := func(text string) error {
		err := os.WriteFile(path+".new", []byte(text), 0o755)
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		return err
	}
	if err := write("#!/bin/sh\nexec sleep 1000\n"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	name := filepath.Base(self)
	worker := box.ChildOf(x.manager.State().PID, name[:min(len(name), 15)]) // as the kernel keeps it
	if worker == 0 {
		return nil, errors.New("it has no camera worker")
	}
	return func() error { return write(x.well) }, syscall.Kill(worker, syscall.SIGKILL)
}
