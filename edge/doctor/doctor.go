// Package doctor tests an installed box, part by part, and says of each what was
// found and what to do next. It may work beside a running box, whose records and
// figures it leaves as they are.
//
// Fill in a Doctor, as edge.BoxConfig.Doctor does, and tell of its Parts.
package doctor

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"syscall"

	"floorwatch"
	"floorwatch/internal/access"
	"floorwatch/internal/finding"
)

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

// Parts returns the parts of the box; what the later ones need comes first.
func (d *Doctor) Parts() []finding.Part {
	parts := []finding.Part{
		finding.Alone("configuration", d.configuration),
		finding.Alone("programs", programs),
		finding.Alone("model", d.model),
		finding.Alone("clock", clockSync),
		finding.Alone("disk", d.disk),
		finding.Alone("ports", d.ports),
	}
	if d.Login != nil {
		parts = append(parts, finding.Part{Name: "broker", Test: d.broker})
	}
	parts = append(parts, finding.Part{Name: "vault", Test: d.vault})
	for _, c := range d.Cameras {
		parts = append(parts, finding.Part{Name: "camera " + c.Name, Test: func(ctx context.Context) []finding.Finding { return d.camera(ctx, c) }})
	}
	return parts
}

// configuration tells what was read; that it is right, Config.Check has found.
func (d *Doctor) configuration() []finding.Finding {
	state := "the box is not running"
	if d.running() {
		state = "the box is running"
	}
	return []finding.Finding{finding.Good("%s/%s, %d camera(s); %s", d.Store, d.Edge, len(d.Cameras), state)}
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
