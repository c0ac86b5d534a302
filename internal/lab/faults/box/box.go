// Package box is a box of the fault bench: the real agent, run by a manager as
// systemd would run it, with a camera worker that sees a crowd.
package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
)

// Service is a program of the bench with a folder and a configuration.
type Service struct {
	Dir, Exe, Config string
	Args             []string
}

// Box is an edge box of the bench: a service with a copy of the agent's program,
// and a camera worker beside it.
type Box struct{ Service }

const boxConfig = `store: shop
edge: %s
data: %s
metrics: ""
interval: 10s
broker: {url: "tcp://%s", username: anyone, password_file: %s}
backup: {url: "http://127.0.0.1:9", policy: all}
footage: {segment: 10s}
counters:
  mqtt: {broker: "tcp://%s"}
  devices: [{name: beam, topic: %s/beam, series: [{name: beam, kind: event}]}]
cameras:
  - name: lobby
    label: {zh: 大厅, en: Lobby}
    source: %s
    record: %t
    picture: {width: 640, height: 480}
    zones:
      - {name: queue, role: queue, label: {zh: 排队区, en: Queue}, polygon: [[0, 0], [640, 0], [640, 480], [0, 480]]}
`

// New makes a box whose camera's people are those of the role crowd; film is
// what is recorded, "" for nothing.
func New(b *bench.Bench, name, broker, film string) (*Box, error) {
	dir, err := b.Sub(name)
	if err != nil {
		return nil, err
	}
	x := &Box{Service{Dir: dir, Exe: filepath.Join(dir, "floorwatch-edge"), Config: filepath.Join(dir, "edge.yaml")}}
	x.Args = []string{"run", "-config", x.Config, "-ledger", filepath.Join(dir, "ledger")}
	if err := CopyFile(filepath.Join(b.Bin, "floorwatch-edge"), x.Exe); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	source := film
	if film == "" {
		source = "rtsp://127.0.0.1:9/none" // only the worker looks, and it is ours
	}
	password := filepath.Join(dir, "password")
	return x, errors.Join(
		os.WriteFile(filepath.Join(dir, "floorwatch-camera"), []byte("#!/bin/sh\nexec "+self+" role crowd\n"), 0o755),
		os.WriteFile(password, []byte("none\n"), 0o600),
		os.WriteFile(x.Config, fmt.Appendf(nil, boxConfig, name, x.Data(), broker, password, broker, name, source, film != ""), 0o600),
	)
}

// Data is its data folder.
func (x *Box) Data() string { return filepath.Join(x.Dir, "data") }

// CopyFile links a program, or copies it where that cannot be.
func CopyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Manager runs the service.
func (x *Service) Manager() (*Manager, io.Closer, error) {
	log, err := os.OpenFile(filepath.Join(x.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("write a log: %w", err)
	}
	return &Manager{
		exe: x.Exe, args: x.Args, Env: []string{"PATH=" + kit.SearchPath()}, dir: x.Dir, pause: restartTime, log: log,
	}, log, nil
}

// Tail returns the end of what it wrote, for an error.
func (x *Service) Tail() string {
	b, _ := os.ReadFile(filepath.Join(x.Dir, "log"))
	return string(b[max(0, len(b)-1500):])
}

// Film makes a small film with a key frame a second, which can be copied.
func Film(ctx context.Context, b *bench.Bench) (string, error) {
	path := filepath.Join(b.Dir, "film.mp4")
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=5", "-t", "60",
		"-c:v", "libx264", "-g", "5", "-bf", "0", "-pix_fmt", "yuv420p", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a film: %w: %s", err, out)
	}
	return path, nil
}

// Logged tells whether the service has written a text.
func (x *Service) Logged(text string) bool {
	b, _ := os.ReadFile(filepath.Join(x.Dir, "log"))
	return strings.Contains(string(b), text)
}
