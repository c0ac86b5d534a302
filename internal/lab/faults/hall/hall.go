// Package hall is a hall of the fault bench from the broker on: broker, database,
// cloud, and boxes without cameras whose ledgers are compared in the end.
package hall

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"floorwatch/cloud"
	"floorwatch/cloud/influx"
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
	Database *influxdb.Database // nil: it is the cloud's child
	Gate     *Gate              // nil with it
	Line     *chaos.Proxy       // boxes to broker
	Behind   *chaos.Proxy       // cloud to broker
	Cloud    *kit.Process
	Pages    string // address
	ends     []func()
}

const hallStore = "s1"

// BoxName is the name of the i-th box.
func BoxName(i int) string { return fmt.Sprintf("box%d", i) }

// New starts one for so many boxes.
func New(ctx context.Context, b *bench.Bench, dir string, boxes int) (*Hall, error) {
	return start(ctx, b, dir, boxes, false)
}

// NewWhole starts one whose cloud keeps everything in its own folder, the database
// too.
func NewWhole(ctx context.Context, b *bench.Bench, dir string, boxes int) (*Hall, error) {
	return start(ctx, b, dir, boxes, true)
}

func start(ctx context.Context, b *bench.Bench, dir string, boxes int, child bool) (h *Hall, err error) {
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
	if !child {
		if err = h.startDatabase(ctx); err != nil {
			return h, err
		}
	}
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

func (h *Hall) startDatabase(ctx context.Context) (err error) {
	if h.Database, err = influxdb.Start(ctx, h.Dir); err != nil {
		return err
	}
	h.ends = append(h.ends, h.Database.End)
	h.Gate, err = newGate(func() (string, error) { at, err := h.Database.Endpoint(); return at.URL, err })
	if err == nil {
		h.ends = append(h.ends, h.Gate.end)
	}
	return err
}

// Endpoint is where the hall's database answers.
func (h *Hall) Endpoint() (influx.Endpoint, error) {
	if h.Database != nil {
		return h.Database.Endpoint()
	}
	at, _, err := (&influx.Server{Dir: filepath.Join(h.Data(), cloud.InfluxDir)}).Running()
	return at, err
}

// Data is the cloud's folder.
func (h *Hall) Data() string { return filepath.Join(h.Dir, "cloud") }

// End ends everything.
func (h *Hall) End() {
	for len(h.ends) > 0 {
		h.ends[len(h.ends)-1]()
		h.ends = h.ends[:len(h.ends)-1]
	}
}

func (h *Hall) configure(boxes int) (err error) {
	database, token := "influx: {child: true}", ""
	if h.Database != nil {
		at, err := h.Database.Endpoint()
		if err != nil {
			return err
		}
		database, token = fmt.Sprintf("influx: {url: %q, token_file: %s/token}", h.Gate.url, h.Dir), at.Token
	}
	if h.Pages, err = kit.FreeAddress(); err != nil {
		return err
	}
	keys := map[string]site.Key{}
	for i := range boxes {
		keys[BoxName(i)] = ""
	}
	if err := halls.Register(context.Background(), h.Data(), halls.One(hallStore, keys)); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"password": "any", "token": token,
		"cloud.yaml": fmt.Sprintf("data: %s\nbroker: {url: \"tcp://%s\", password_file: %s/password}\n"+
			"%s\npages: {listen: %q}\n", h.Data(), h.Behind.Addr, h.Dir, database, h.Pages),
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
