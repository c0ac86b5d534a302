package delivery

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// replays captures what boxes send, and sends it again and again.
func replays(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	h, err := hall.New(ctx, b, b.Dir, 3)
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	thief, err := listen(h, floorwatch.TopicRoot+"/+/+/"+floorwatch.LeafUp)
	if err != nil {
		return bench.Finding{}, err
	}
	defer thief.Disconnect(100)
	ledgers := filepath.Join(b.Dir, "ledgers")
	c, err := hall.StartCrew(ctx, hall.Boxes{Dir: filepath.Join(b.Dir, "boxes"), Ledger: ledgers, Broker: []string{h.Line.Addr}, Boxes: 3, Rate: 50, Preset: b.Rounds(3000, 300)})
	if err != nil {
		return bench.Finding{}, err
	}
	defer c.End()
	if err := kit.Pause(ctx, time.Duration(b.Rounds(10, 2))*time.Second); err != nil {
		return bench.Finding{}, err
	}
	if err := c.Finish(ctx); err != nil {
		return bench.Finding{}, err
	}
	v, err := h.Judge(ctx, ledgers)
	if err != nil {
		return bench.Finding{}, err
	}
	before, err := dump(ctx, h)
	if err != nil {
		return bench.Finding{}, err
	}
	stolen := thief.taken()
	var plan []stolenMessage
	for i, m := range stolen {
		times := 1 + b.Rand.IntN(10)
		if i%50 == 0 && len(m.payload) < 20_000 {
			times = b.Rounds(1000, 100)
		}
		plan = append(plan, slices.Repeat([]stolenMessage{m}, times)...)
	}
	b.Rand.Shuffle(len(plan), func(i, k int) { plan[i], plan[k] = plan[k], plan[i] })
	want := h.Figure("floorwatch_ingest_records_total")
	for _, m := range plan {
		if token := thief.Publish(m.topic, 1, false, m.payload); !token.WaitTimeout(kit.Patience) || token.Error() != nil {
			return bench.Finding{}, fmt.Errorf("send a message again: %w", token.Error())
		}
		want += float64(m.records)
	}
	err = kit.Until(ctx, "the cloud to have taken all", kit.Patience, func() (bool, error) { return h.Figure("floorwatch_ingest_records_total") >= want, nil })
	if err != nil {
		return bench.Finding{}, err
	}
	after, err := dump(ctx, h)
	differ := 0
	for key, row := range after {
		if before[key] != row {
			differ++
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			differ++
		}
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s messages sent again up to %s times, shuffled, %s in all: %d of %s points differ; %s",
			bench.Number(len(stolen)), bench.Number(b.Rounds(1000, 100)), bench.Number(len(plan)), differ, bench.Number(len(after)), v),
	},
		bench.That(differ == 0 && len(after) > 0, "points, 0 of them differing"),
		bench.That(v.Clean(), "records, 0 of them lost, doubled or wrong"),
	), err
}

type stolenMessage struct {
	topic   string
	payload []byte
	records int
}

// listener hears a topic and keeps what it hears.
type listener struct {
	mqtt.Client
	mu  sync.Mutex
	got []stolenMessage
}

func (l *listener) taken() []stolenMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func listen(h *hall.Hall, topic string) (*listener, error) {
	l := &listener{}
	l.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + h.Broker.Address).SetClientID("thief").SetProtocolVersion(4).SetOrderMatters(false))
	if token := l.Connect(); !token.WaitTimeout(kit.Patience) || token.Error() != nil {
		return nil, fmt.Errorf("connect to the broker: %w", token.Error())
	}
	token := l.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) {
		if b, err := floorwatch.ParseBatch(m.Payload()); err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.got = append(l.got, stolenMessage{m.Topic(), m.Payload(), b.N})
		}
	})
	if !token.WaitTimeout(kit.Patience) {
		return nil, fmt.Errorf("hear %s: no answer", topic)
	}
	return l, token.Error()
}

// dump reads the whole database: each point by its series and time.
func dump(ctx context.Context, h *hall.Hall) (map[string]string, error) {
	at, err := h.Database.Endpoint()
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	for _, kind := range []string{floorwatch.KindStay, floorwatch.KindGap, floorwatch.KindHealth} {
		rows, err := influxdb.Query(ctx, at, fmt.Sprintf("SELECT * FROM %q", kind))
		if err != nil {
			return nil, err
		}
		for i, r := range rows {
			var line strings.Builder
			for _, k := range slices.Sorted(maps.Keys(r)) {
				fmt.Fprintf(&line, "%s=%q ", k, r[k])
			}
			key := fmt.Sprintf("%s %s %s %s %s %s", kind, r["store"], r["edge"], r["camera"], r["zone"], r["time"])
			if _, twice := all[key]; twice {
				key += fmt.Sprint(" again ", i)
			}
			all[key] = line.String()
		}
	}
	return all, nil
}
