package hall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/internal/lab/kit"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Sender speaks for boxes without an outbox: what it sends is its caller's.
type Sender struct {
	mqtt.Client
	acked atomic.Int64 // records
}

// Sender connects one to the broker.
func (h *Hall) Sender() (*Sender, error) {
	s := &Sender{}
	s.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + h.Broker.Address).SetClientID("sender").SetProtocolVersion(4).SetOrderMatters(false))
	if token := s.Connect(); !token.WaitTimeout(kit.Patience) || token.Error() != nil {
		return nil, fmt.Errorf("connect to the broker: %w", token.Error())
	}
	token := s.Subscribe(floorwatch.TopicRoot+"/+/+/"+floorwatch.LeafAck, 1, func(_ mqtt.Client, m mqtt.Message) {
		var a floorwatch.Ack
		if json.Unmarshal(m.Payload(), &a) == nil {
			s.acked.Add(int64(a.N))
		}
	})
	if !token.WaitTimeout(kit.Patience) {
		return nil, fmt.Errorf("hear the acknowledgements: no answer")
	}
	return s, token.Error()
}

// Batches sends records as a new log of a box and waits until all are
// acknowledged.
func (s *Sender) Batches(ctx context.Context, box int, recs []json.RawMessage) error {
	want := s.acked.Load() + int64(len(recs))
	for first := 0; first < len(recs); {
		n, size := 0, 0
		for first+n < len(recs) && n < floorwatch.MaxBatchRecords && size < floorwatch.MaxBatchBytes-2048 {
			size += len(recs[first+n]) + 1
			n++
		}
		if size >= floorwatch.MaxBatchBytes-2048 {
			n--
		}
		b := floorwatch.Batch{
			V: floorwatch.Version, Store: hallStore, Edge: BoxName(box), Log: fmt.Sprintf("%016x", box+1),
			First: uint64(first + 1), N: n, Records: recs[first : first+n],
		}
		payload, err := json.Marshal(b)
		if err != nil {
			return err
		}
		token := s.Publish(floorwatch.Topic(b.Store, b.Edge, floorwatch.LeafUp), 1, false, payload)
		if !token.WaitTimeout(kit.Patience) || token.Error() != nil {
			return fmt.Errorf("send a batch: %w", token.Error())
		}
		first += n
	}
	return kit.Until(ctx, "the acknowledgements", kit.Patience, func() (bool, error) { return s.acked.Load() >= want, nil })
}

// Tick returns the end of the i-th of many records of the last minutes.
func Tick(now time.Time, i int) floorwatch.Time {
	return floorwatch.TimeOf(now.Add(-2*time.Minute + time.Duration(i)*10*time.Millisecond))
}

// Write puts a line into the database past our own client.
func Write(ctx context.Context, at influx.Endpoint, line string) error {
	u := fmt.Sprintf("%s/api/v2/write?bucket=%s/raw&precision=ns", at.URL, influx.DefaultDatabase)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewBufferString(line))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Token "+at.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("write %q: %w", line, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("write %q: %s", line, resp.Status)
	}
	return nil
}

// DeadLetters returns the bytes of all dead letters, as floorwatch-cloud shows
// them.
func (h *Hall) DeadLetters(ctx context.Context) (string, error) {
	cloud := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(h.Bench.Bin, "floorwatch-cloud"), append(args[:2:2], append([]string{"-config", filepath.Join(h.Dir, "cloud.yaml")}, args[2:]...)...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("dead-letters %s: %w: %s", args[1], err, out)
		}
		return string(out), nil
	}
	list, err := cloud("dead-letters", "list", "-n", "1000")
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for line := range strings.Lines(list) {
		id, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if out, err := cloud("dead-letters", "show", id); err == nil {
			all.WriteString(out)
		}
	}
	return all.String(), nil
}
