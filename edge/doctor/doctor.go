// Package doctor tests an installed box, part by part, and says of each what was
// found and what to do next. It may work beside a running box, whose records and
// figures it leaves as they are.
//
// Fill in a Doctor, as edge.BoxConfig.Doctor does, and examine its Parts.
package doctor

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"syscall"

	"floorwatch"
	"floorwatch/internal/access"
)

// Results of a test.
const (
	OK   = "ok"
	Warn = "warn" // it works, and will not for long, or not as well as it could
	Fail = "fail"
)

// Finding is what one test found, and what to do next where something is to be
// done.
type Finding struct {
	Part   string `json:"check"`
	Result string `json:"result"`
	Found  string `json:"found"`
	Next   string `json:"next,omitempty"`
}

// Doctor says what a box needs. Fields are set before use and not changed after.
type Doctor struct {
	Store, Edge string
	Data        string // folder of records and footage
	Lock        string // file that a running box holds locked
	Budget      int64  // bytes that the box allows itself on the disk
	KeyFile     string
	// Key reads the box's key, and makes one where there is none.
	Key    func() (ed25519.PrivateKey, error)
	Models string // folder of the detectors' weights
	// Where the box listens for those who ask for its figures, and for counters;
	// "": nowhere.
	Metrics, Counters string
	// Login reads what the box signs in to its broker with; nil: it has no broker
	// of its own.
	Login             func() (access.Login, error)
	VaultURL, VaultCA string // "": no footage goes to a vault
	Cameras           []Camera
}

// Camera is a camera as the box reads and records it.
type Camera struct {
	Name     string
	Source   string // what is looked at
	Recorded string // the RTSP stream that is recorded; "": none
	Detector string
	FPS      float64
	Scene    floorwatch.Scene
	// Address returns a stream with the camera's credentials.
	Address func(stream string) (string, error)
}

// Part is one part of a box with its tests.
type Part struct {
	Name string
	test func(ctx context.Context) []Finding
}

// Examine makes the tests. It takes from nothing to half a minute.
func (p Part) Examine(ctx context.Context) []Finding {
	found := p.test(ctx)
	for i := range found {
		found[i].Part = p.Name
	}
	return found
}

// Parts returns the parts of the box; what the later ones need comes first.
func (d *Doctor) Parts() []Part {
	alone := func(test func() []Finding) func(context.Context) []Finding {
		return func(context.Context) []Finding { return test() }
	}
	parts := []Part{
		{"configuration", alone(d.configuration)},
		{"programs", alone(programs)},
		{"model", alone(d.model)},
		{"clock", alone(clockSync)},
		{"disk", alone(d.disk)},
		{"ports", alone(d.ports)},
	}
	if d.Login != nil {
		parts = append(parts, Part{"broker", d.broker})
	}
	if d.VaultURL != "" {
		parts = append(parts, Part{"vault", d.vault})
	}
	for _, c := range d.Cameras {
		parts = append(parts, Part{"camera " + c.Name, func(ctx context.Context) []Finding { return d.camera(ctx, c) }})
	}
	return parts
}

func good(format string, args ...any) Finding {
	return Finding{Result: OK, Found: fmt.Sprintf(format, args...)}
}

func doubt(next, format string, args ...any) Finding {
	return Finding{Result: Warn, Found: fmt.Sprintf(format, args...), Next: next}
}

func bad(next, format string, args ...any) Finding {
	return Finding{Result: Fail, Found: fmt.Sprintf(format, args...), Next: next}
}

// configuration tells what was read; that it is right, Config.Check has found.
func (d *Doctor) configuration() []Finding {
	state := "the box is not running"
	if d.running() {
		state = "the box is running"
	}
	return []Finding{good("%s/%s, %d camera(s); %s", d.Store, d.Edge, len(d.Cameras), state)}
}

// running tells whether an agent works with the data folder right now.
func (d *Doctor) running() bool {
	f, err := os.Open(d.Lock)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
