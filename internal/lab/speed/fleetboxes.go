package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// roleFleet is many boxes at rest, each with its own connection.
const roleFleet = "fleet"

// What a box at rest sends: live figures of each zone each second, a wait now and
// then, its health each minute, intervals of each zone when they settle.
const (
	waitEvery     = 10 * time.Second
	healthEvery   = time.Minute
	intervalEvery = 5 * time.Minute
	dialers       = 16
)

var (
	fleetCameras = []string{"hall", "door"}
	fleetZones   = []string{"queue", "counter", "rest", "area"} // two of each camera
)

// crowd is what the fleet says when all are connected, and at its end.
type crowd struct {
	Live, Records float64 // per second
	Unacked       int64
}

// fleetBox is one box.
type fleetBox struct {
	*wire
	store string
	log   string
	phase time.Duration // of what it does by the clock, so that boxes do not do it together
	next  uint64
	sent  int64
	acked atomic.Int64
	began time.Time
}

func playFleet(ctx context.Context, t task, out io.Writer) error {
	boxes := make([]*fleetBox, t.Boxes)
	group, ctx := errgroup.WithContext(ctx)
	dial, dialCtx := errgroup.WithContext(ctx)
	dial.SetLimit(dialers)
	for i := range boxes {
		dial.Go(func() (err error) {
			boxes[i], err = openBox(dialCtx, t.Broker, i)
			return err
		})
	}
	if err := dial.Wait(); err != nil {
		return err
	}
	if err := tell(out, crowd{}); err != nil {
		return err
	}
	began := time.Now()
	var live atomic.Int64
	var working errgroup.Group
	for _, b := range boxes {
		group.Go(func() error { return b.listen(b.ack) })
		working.Go(func() error { return b.work(ctx, began.Add(t.For), &live) })
	}
	if err := working.Wait(); err != nil {
		return err
	}
	wall := time.Since(began).Seconds()
	var sent, acked int64
	for deadline := time.Now().Add(time.Minute); ; {
		sent, acked = 0, 0
		for _, b := range boxes {
			sent, acked = sent+b.sent, acked+b.acked.Load()
		}
		if acked >= sent || time.Now().After(deadline) || kit.Pause(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	if err := tell(out, crowd{Live: float64(live.Load()) / wall, Records: float64(sent) / wall, Unacked: max(0, sent-acked)}); err != nil {
		return err
	}
	<-ctx.Done()
	for _, b := range boxes {
		b.close()
	}
	return group.Wait()
}

// openBox connects one and says that it is there.
func openBox(ctx context.Context, broker string, i int) (*fleetBox, error) {
	b := &fleetBox{store: storeName(i), log: fmt.Sprintf("f1ee7000%08x", i), phase: time.Duration(rand.Int64N(int64(intervalEvery))), next: 1, began: time.Now()}
	var err error
	if b.wire, err = dialWire(ctx, broker, b.store+"/"+edge, true); err != nil {
		return nil, err
	}
	if err := b.subscribe(floorwatch.Topic(b.store, edge, floorwatch.LeafAck), 1); err != nil {
		return nil, err
	}
	state, err := json.Marshal(floorwatch.State{V: floorwatch.Version, State: floorwatch.StateOnline, T: floorwatch.TimeOf(b.began), Version: "fleet", Log: b.log})
	if err == nil {
		err = b.retain1(floorwatch.Topic(b.store, edge, floorwatch.LeafState), state)
	}
	return b, err
}

// retain0 and retain1 publish what the broker keeps, at QoS 0 and 1.
func (c *wire) retain0(topic string, payload []byte) error {
	return c.packet(publish0Retained, text(nil, topic), payload)
}

func (c *wire) retain1(topic string, payload []byte) error {
	c.id++
	if err := c.packet(publish1|1, binary.BigEndian.AppendUint16(text(nil, topic), c.id), payload); err != nil {
		return err
	}
	return c.w.Flush()
}

func (b *fleetBox) ack(payload []byte) {
	var a floorwatch.Ack
	if json.Unmarshal(payload, &a) == nil && a.Log == b.log {
		b.acked.Add(int64(a.N))
	}
}

// work is a box's life, a step a second, until the end.
func (b *fleetBox) work(ctx context.Context, until time.Time, live *atomic.Int64) error {
	if kit.Pause(ctx, b.phase%time.Second) != nil {
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	every := func(step int, d time.Duration) bool { return (time.Duration(step)*time.Second+b.phase)%d < time.Second }
	for step := 0; ; step++ {
		now := time.Now()
		if now.After(until) {
			return nil
		}
		for i, zone := range fleetZones {
			if err := b.retain0(floorwatch.Topic(b.store, edge, floorwatch.LeafLive, zone), liveFigure(i, zone, now, step)); err != nil {
				return err
			}
			live.Add(1)
		}
		var recs []json.RawMessage
		at := floorwatch.TimeOf(now)
		if every(step, waitEvery) {
			recs = append(recs, encode(aWait(at)))
		}
		if every(step, healthEvery) {
			for _, h := range health(at, now.Sub(b.began)+2*time.Hour) {
				recs = append(recs, encode(h))
			}
		}
		if every(step, intervalEvery) {
			for _, r := range intervals(at.Add(-intervalEvery).Floor(intervalEvery)) {
				recs = append(recs, encode(r))
			}
		}
		if len(recs) > 0 {
			if err := b.send(recs); err != nil {
				return err
			}
		}
		if err := b.w.Flush(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *fleetBox) send(recs []json.RawMessage) error {
	m := floorwatch.Batch{V: floorwatch.Version, Store: b.store, Edge: edge, Log: b.log, First: b.next, N: len(recs), Records: recs}
	payload, err := m.Encode()
	if err != nil {
		return err
	}
	b.next += uint64(len(recs))
	b.sent += int64(len(recs))
	return b.publish(floorwatch.Topic(b.store, edge, floorwatch.LeafUp), payload)
}

func encode(rec floorwatch.Record) json.RawMessage {
	b, err := json.Marshal(rec)
	if err != nil {
		panic(err) // of our own figures, which are finite
	}
	return b
}

func liveFigure(i int, zone string, now time.Time, step int) []byte {
	return encodeLive(floorwatch.Live{
		V: floorwatch.Version, Camera: fleetCameras[i/2], Zone: zone, T: floorwatch.TimeOf(now), ValidS: 5, Coverage: 1,
		People: step % 7, Queue: step % 3, LongestS: float64(step % 100),
	})
}

func encodeLive(l floorwatch.Live) []byte {
	return fmt.Appendf(nil, `{"v":%d,"camera":%q,"zone":%q,"t":%d,"valid_s":%g,"coverage":%g,"occupancy":%d,"queue_length":%d,"longest_wait_s":%g,"level":"ok"}`,
		l.V, l.Camera, l.Zone, int64(l.T), l.ValidS, l.Coverage, l.People, l.Queue, l.LongestS)
}

func header(kind, camera, zone string, at floorwatch.Time) floorwatch.Header {
	return floorwatch.Header{Kind: kind, Camera: camera, Zone: zone, ID: fmt.Sprintf("%s-%d", zone, at), At: at, Rev: "aabbccddeeff", By: "motion", Clock: floorwatch.Clock{Boot: "b0b0b0b0", Mono: int64(at % 1e9)}}
}

func aWait(at floorwatch.Time) floorwatch.Record {
	return &floorwatch.Wait{
		Header: header(floorwatch.KindWait, fleetCameras[0], fleetZones[0], at), Enter: at.Add(-90 * time.Second), End: &at,
		Outcome: floorwatch.OutcomeServed, ServiceZone: fleetZones[1], EnterSeen: true, ErrorS: 0.2,
	}
}

// health is a box's word about itself and each camera, with every figure that a
// box tells.
func health(at floorwatch.Time, up time.Duration) (all []floorwatch.Record) {
	for _, camera := range append([]string{""}, fleetCameras...) {
		h := &floorwatch.Health{Header: header(floorwatch.KindHealth, camera, "", at), Figures: map[string]float64{}}
		for _, f := range floorwatch.Figures {
			if f.Camera == (camera != "") {
				h.Figures[string(f.Name)] = 0
			}
		}
		for name, v := range map[floorwatch.Figure]float64{
			floorwatch.FigureUptime: up.Seconds(), floorwatch.FigureDiskBytes: 960e9, floorwatch.FigureDiskFreeBytes: 412e9, floorwatch.FigureFootageBytes: 388e9,
			floorwatch.FigureClockSynced: 1, floorwatch.FigureClockOffset: 0.004, floorwatch.FigureWatching: 1, floorwatch.FigureFrameAge: 0.1, floorwatch.FigureCoverage: 1,
		} {
			if _, has := h.Figures[string(name)]; has {
				h.Figures[string(name)] = v
			}
		}
		all = append(all, h)
	}
	return all
}

func intervals(start floorwatch.Time) (all []floorwatch.Record) {
	for i, zone := range fleetZones {
		r := &floorwatch.Interval{
			Header: header(floorwatch.KindInterval, fleetCameras[i/2], zone, start.Add(intervalEvery+30*time.Second)), Start: start, End: start.Add(intervalEvery),
			Coverage: 1, ObservedS: intervalEvery.Seconds(), PersonS: 400, Occupancy: 1.3, Max: 4, Inside: 1, Arrived: 3, Departed: 3,
			Stays: floorwatch.Sum{N: 3, Sum: 270, Min: 60, Max: 120}, Crossings: floorwatch.Sum{N: 3, Sum: 270, Min: 60, Max: 120}, Quality: 1,
		}
		if zone == fleetZones[0] {
			r.Waits, r.Served = &floorwatch.Sum{N: 3, Sum: 270, Min: 60, Max: 120}, 3
		}
		all = append(all, r)
	}
	return all
}

// preload stores what the first n boxes would have sent in the two hours before,
// and gaps of today, so that the aggregator finds as much as on any other day.
func preload(ctx context.Context, t task, n int) error {
	c := &influx.Client{Endpoint: influxdb.ReadEndpoint(t.Endpoint)}
	defer c.Close()
	now := floorwatch.TimeOf(time.Now())
	var points []influx.Point
	for i := range n {
		var recs []floorwatch.Record
		for start := now.Add(-2 * time.Hour).Floor(intervalEvery); start < now.Add(-intervalEvery); start = start.Add(intervalEvery) {
			recs = append(recs, intervals(start)...)
		}
		for k := range 4 {
			to := now.Add(-time.Duration(k+1) * time.Hour)
			recs = append(recs, &floorwatch.Gap{Header: header(floorwatch.KindGap, fleetCameras[k%2], "", to), Of: floorwatch.OfObservation, From: to.Add(-4 * time.Second), To: &to, Cause: "stall"})
		}
		for k, r := range recs {
			points = append(points, influx.Point{Store: storeName(i), Edge: edge, Log: fmt.Sprintf("01d00000%08x", i), Seq: uint64(k + 1), Record: r})
		}
		if len(points) >= 5000 || i == n-1 {
			if err := c.Write(ctx, points); err != nil {
				return fmt.Errorf("store what was before: %w", err)
			}
			points = points[:0]
		}
	}
	return nil
}
