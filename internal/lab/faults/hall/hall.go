// Package hall is a hall of the fault bench from the broker on: broker, database,
// cloud, and boxes without cameras whose ledgers are compared in the end.
package hall

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"floorwatch/cloud/site"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"
	"floorwatch/internal/lab/kit/influxdb"
)

// Hall is a broker, a database and the real cloud, with a line between the boxes
// and the broker and one between the cloud and the broker.
type Hall struct {
	Bench    *bench.Bench
	Dir      string
	Broker   *kit.Broker
	Database *influxdb.Database
	Gate     *Gate
	Line     *chaos.Proxy // boxes to broker
	Behind   *chaos.Proxy // cloud to broker
	Cloud    *kit.Process
	Pages    string // address
	ends     []func()
}

const hallStore = "s1"

// BoxName is the name of the i-th box.
func BoxName(i int) string { return fmt.Sprintf("box%d", i) }

// New starts one for so many boxes.
func New(ctx context.Context, b *bench.Bench, dir string, boxes int) (h *Hall, err error) {
	h = &Hall{Bench: b, Dir: dir}
	defer func() {
		if err != nil {
			h.End()
		}
	}()
	if h.Broker, err = kit.StartBroker(ctx, dir, kit.Open); err != nil {
		return h, err
	}
	h.ends = append(h.ends, func() { h.Broker.End() })
	if h.Database, err = influxdb.Start(ctx, dir); err != nil {
		return h, err
	}
	h.ends = append(h.ends, h.Database.End)
	h.Gate, err = newGate(func() (string, error) { at, err := h.Database.Endpoint(); return at.URL, err })
	if err != nil {
		return h, err
	}
	h.ends = append(h.ends, h.Gate.end)
	for _, line := range []**chaos.Proxy{&h.Line, &h.Behind} {
		if *line, err = chaos.Start(h.Broker.Address); err != nil {
			return h, err
		}
		h.ends = append(h.ends, (*line).Close)
	}
	if err = h.configure(boxes); err != nil {
		return h, err
	}
	if err = h.StartCloud(ctx); err == nil {
		h.ends = append(h.ends, func() { h.Cloud.End() })
	}
	return h, err
}

// End ends everything.
func (h *Hall) End() {
	for len(h.ends) > 0 {
		h.ends[len(h.ends)-1]()
		h.ends = h.ends[:len(h.ends)-1]
	}
}

func (h *Hall) configure(boxes int) (err error) {
	at, err := h.Database.Endpoint()
	if err != nil {
		return err
	}
	if h.Pages, err = kit.FreeAddress(); err != nil {
		return err
	}
	keys := map[string]site.Key{}
	for i := range boxes {
		keys[BoxName(i)] = ""
	}
	if err := halls.Register(context.Background(), filepath.Join(h.Dir, "cloud"), halls.One(hallStore, keys)); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"password": "any", "token": at.Token,
		"cloud.yaml": fmt.Sprintf("data: %s/cloud\nbroker: {url: \"tcp://%s\", password_file: %s/password}\n"+
			"influx: {url: %q, token_file: %s/token}\npages: {listen: %q}\n", h.Dir, h.Behind.Addr, h.Dir, h.Gate.url, h.Dir, h.Pages),
	} {
		if err := os.WriteFile(filepath.Join(h.Dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("configure the cloud: %w", err)
		}
	}
	return nil
}

// StartCloud starts the cloud and returns once the broker hands it messages.
func (h *Hall) StartCloud(ctx context.Context) (err error) {
	cloud := kit.Program{Name: filepath.Join(h.Bench.Bin, "floorwatch-cloud"), Args: []string{"-config", filepath.Join(h.Dir, "cloud.yaml")}}
	if h.Cloud, err = cloud.Start(ctx); err != nil {
		return err
	}
	if err := h.Connected(ctx); err != nil {
		h.Cloud.End()
		return fmt.Errorf("%w; %s", err, h.Cloud.Tail())
	}
	return nil
}

// Figure reads one of the cloud's metrics; -1 while there is none.
func (h *Hall) Figure(name string) float64 {
	all, _ := kit.ReadFigures(context.Background(), nil, h.Pages)
	return all.Get(name)
}

// Connected waits until the broker hands the cloud messages.
func (h *Hall) Connected(ctx context.Context) error {
	return kit.Until(ctx, "the cloud to be connected", kit.Patience, func() (bool, error) {
		return h.Figure("floorwatch_broker_connected") == 1, nil
	})
}

// KillCloud kills the cloud and starts it again.
func (h *Hall) KillCloud(ctx context.Context) error {
	if err := h.Cloud.Kill(); err != nil {
		return err
	}
	h.Cloud.End()
	return h.StartCloud(ctx)
}
