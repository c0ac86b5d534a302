package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// meter tells what a span of time has cost.
type meter struct {
	s     *place
	db    int
	began time.Time
	busy  float64
	used  [2]usage // broker, database
}

func (s *place) meter() (m meter, err error) {
	m.s = s
	if m.db, err = s.database.PID(); err != nil {
		return m, err
	}
	var errs [3]error
	m.used[0], errs[0] = usageOf(s.broker.PID())
	m.used[1], errs[1] = usageOf(m.db)
	m.busy, errs[2] = busy()
	m.began = time.Now()
	return m, errors.Join(errs[:]...)
}

// read fills in the costs for n records: those of p since it had used before.
func (m meter) read(f *figures, n int, p *kit.Process, before usage) error {
	wall := time.Since(m.began).Seconds()
	end, err := m.s.meter()
	if err != nil {
		return err
	}
	now, err := usageOf(p.PID())
	if err != nil {
		return err
	}
	own, broker, db := now.cpu-before.cpu, end.used[0].cpu-m.used[0].cpu, end.used[1].cpu-m.used[1].cpu
	per := 1e6 / float64(n)
	f.CPU, f.BrokerCPU, f.DBCPU, f.Memory = own*per, broker*per, db*per, now.memory
	f.Other = max(0, (end.busy-m.busy-own-broker-db)/wall/2)
	return nil
}

// drain lets messages wait in a broker with open limits, then starts who is to
// read them and takes the time until the last record is confirmed by InfluxDB,
// or by the bare reader received.
func (p *plan) drain(ctx context.Context, who string, batch int) (f figures, err error) {
	n := p.records * min(batch, 2)
	s, err := p.newPlace(ctx, kit.Open)
	if err != nil {
		return f, err
	}
	defer s.end()
	if p.sink {
		if err := s.startSink(ctx); err != nil {
			return f, err
		}
		defer s.sink.End()
	}
	if err := s.openSession(ctx); err != nil {
		return f, err
	}
	want, err := s.publish(ctx, task{Broker: s.broker.Address, Kind: p.kind, Records: n, Batch: batch})
	if err != nil {
		return f, err
	}
	m, err := s.meter()
	if err != nil {
		return f, err
	}
	reader, err := play(ctx, who, task{
		Broker: s.broker.Address, Endpoint: s.database.EndpointFile(), Dir: s.dir, Session: sessionName, Expect: n / batch * perMessage(who, batch), Profile: p.profile,
	})
	if err != nil {
		return f, err
	}
	defer reader.End()
	var up, end done
	if err := reader.Next(&up); err != nil {
		return f, err
	}
	if err := reader.Next(&end); err != nil {
		return f, err
	}
	f.Repeated = int(end.Outages)
	f.Records, f.Rate = n, float64(n)/time.Unix(0, end.At).Sub(m.began).Seconds()
	if err := m.read(&f, n, reader, usage{}); err != nil || who != roleIngest {
		return f, err
	}
	if s.sink != nil {
		n, err := s.sunk()
		f.Lost = max(0, int(want.Total.N-n)) // a write that was repeated counts twice there
		return f, err
	}
	f.Lost, err = s.missing(ctx, p.kind, want.Total)
	return f, err
}

// intoSink is a drain without InfluxDB.
func (p *plan) intoSink(ctx context.Context, batch int) (figures, error) {
	with := *p
	with.sink = true
	return with.drain(ctx, roleIngest, batch)
}

// perMessage is what a reader counts of a message.
func perMessage(who string, batch int) int {
	if who == roleIngest {
		return batch
	}
	return 1
}

// startSink has ingest write into the sink instead of InfluxDB.
func (s *place) startSink(ctx context.Context) (err error) {
	if s.sink, err = play(ctx, roleSink, task{}); err != nil {
		return err
	}
	var at string
	if err = s.sink.Next(&at); err == nil {
		err = os.WriteFile(s.database.EndpointFile(), []byte(at+" none"), 0o600)
	}
	if err != nil {
		s.sink.End()
	}
	return err
}

// sunk asks the sink how many lines it took.
func (s *place) sunk() (n int64, err error) {
	if _, err := s.sink.In.Write([]byte("\n")); err != nil {
		return 0, fmt.Errorf("ask the sink: %w", err)
	}
	return n, s.sink.Next(&n)
}

// openSession has the broker keep messages for one who is not there yet.
func (s *place) openSession(ctx context.Context) error {
	c, err := dialWire(ctx, s.broker.Address, sessionID, false)
	if err != nil {
		return err
	}
	defer c.close()
	return c.subscribe(allBatches, 1)
}

func (s *place) publish(ctx context.Context, t task) (answer published, err error) {
	p, err := play(ctx, rolePublish, t)
	if err != nil {
		return answer, err
	}
	defer p.End()
	return answer, p.Next(&answer)
}

// missing compares what is in the database with what was published: the count of
// points, and the sums of two fields, since a number right by accident is not
// right three times. What came twice may have been counted for what is still on
// its way, so it looks again for a while before it says that records are missing.
func (s *place) missing(ctx context.Context, kind string, want total) (int, error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		got, err := s.stored(ctx, kind)
		if err != nil {
			return 0, err
		}
		if want.Seq == 0 {
			got.Seq = 0 // the outbox gave the numbers
		}
		switch {
		case got == want:
			return 0, nil
		case got.N >= want.N:
			return 0, fmt.Errorf("the points are not the records: %+v, want %+v", got, want)
		case time.Now().After(deadline):
			return int(want.N - got.N), nil
		}
		if err := kit.Pause(ctx, time.Second); err != nil {
			return 0, err
		}
	}
}

func (s *place) stored(ctx context.Context, kind string) (t total, err error) {
	at, err := s.database.Endpoint()
	if err != nil {
		return t, err
	}
	rows, err := influxdb.Query(ctx, at, fmt.Sprintf(`SELECT count("seq") AS n, sum("seq") AS seq, sum(%q) AS seen FROM %q`, checked(kind), kind))
	if err != nil || len(rows) == 0 {
		return t, err
	}
	for name, to := range map[string]*int64{"n": &t.N, "seq": &t.Seq, "seen": &t.Seen} {
		v, err := strconv.ParseFloat(rows[0][name], 64) // below 2^53
		if err != nil {
			return t, fmt.Errorf("count points: %w", err)
		}
		*to = int64(v)
	}
	return t, nil
}

// raw writes line protocol straight into InfluxDB.
func (p *plan) raw(ctx context.Context, writers int) (f figures, err error) {
	s, err := p.newPlace(ctx, "")
	if err != nil {
		return f, err
	}
	defer s.end()
	m, err := s.meter()
	if err != nil {
		return f, err
	}
	w, err := play(ctx, roleRaw, task{Endpoint: s.database.EndpointFile(), Kind: p.kind, Records: p.records, Writers: writers})
	if err != nil {
		return f, err
	}
	defer w.End()
	var end done
	if err := w.Next(&end); err != nil {
		return f, err
	}
	f.Records, f.Rate = p.records, float64(p.records)/time.Duration(end.N).Seconds()
	if err := m.read(&f, p.records, w, usage{}); err != nil {
		return f, err
	}
	got, err := s.stored(ctx, p.kind)
	f.Lost = p.records - int(got.N)
	return f, err
}

const liveRate = 2000 // records per second, one in a message

// liveRun publishes single records at a set rate through a broker with its
// default limits, and takes the time of each until it is stored; for the bare
// reader only the costs.
func (p *plan) liveRun(ctx context.Context, who string) (f figures, err error) {
	s, err := p.newPlace(ctx, "")
	if err != nil {
		return f, err
	}
	defer s.end()
	in, err := play(ctx, who, task{Broker: s.broker.Address, Endpoint: s.database.EndpointFile(), Dir: s.dir, Profile: p.profile})
	if err != nil {
		return f, err
	}
	defer in.End()
	var up done
	if err := in.Next(&up); err != nil {
		return f, err
	}
	acks := s.database.EndpointFile()
	if who == roleReader {
		acks = ""
	}
	// The first record of a series has its names admitted, once and for all time.
	warm, err := s.publish(ctx, task{Broker: s.broker.Address, Endpoint: acks, Kind: p.kind, Records: stores * zones, Batch: 1, Rate: liveRate})
	if err != nil {
		return f, err
	}
	m, err := s.meter()
	if err != nil {
		return f, err
	}
	before, err := usageOf(in.PID())
	if err != nil {
		return f, err
	}
	n := int(p.live.Seconds() * liveRate)
	answer, err := s.publish(ctx, task{Broker: s.broker.Address, Endpoint: acks, Kind: p.kind, Records: n, Batch: 1, Rate: liveRate})
	if err != nil {
		return f, err
	}
	f.Records = n
	if who == roleReader {
		return f, m.read(&f, n, in, before)
	}
	if answer.Seen != answer.Sampled || answer.Sampled == 0 {
		return f, fmt.Errorf("of %d records that were acknowledged %d were found", answer.Sampled, answer.Seen)
	}
	f.P50, f.P99 = answer.P50, answer.P99
	if err := m.read(&f, n, in, before); err != nil {
		return f, err
	}
	f.Lost, err = s.missing(ctx, p.kind, answer.Total.plus(warm.Total))
	return f, err
}

// faults has 20 boxes with real outboxes and uplinks publish 5,000 records per
// second through a broker with its default limits, which keeps nothing on disk.
// InfluxDB goes away for a while, and the broker is killed in that time and
// again after it. In the end every record that an outbox took is to be stored.
func (p *plan) faults(ctx context.Context) (f figures, err error) {
	s, err := p.newPlace(ctx, "")
	if err != nil {
		return f, err
	}
	defer s.end()
	in, err := play(ctx, roleIngest, task{Broker: s.broker.Address, Endpoint: s.database.EndpointFile(), Dir: s.dir})
	if err != nil {
		return f, err
	}
	defer in.End()
	var up done
	if err := in.Next(&up); err != nil {
		return f, err
	}
	const lead = 10 * time.Second
	boxes, err := play(ctx, roleBoxes, task{Broker: s.broker.Address, Dir: s.dir, Kind: p.kind, Boxes: 20, Rate: 5000, For: p.away + 3*lead})
	if err != nil {
		return f, err
	}
	defer boxes.End()
	var end drained
	if err := boxes.Next(&end); err != nil {
		return f, err
	}
	last, err := s.breakThings(ctx, lead, p.away)
	if err != nil {
		return f, err
	}
	if err := boxes.Next(&end); err != nil {
		return f, err
	}
	u, err := usageOf(in.PID())
	if err != nil {
		return f, err
	}
	f.Records, f.Resent, f.Memory = int(end.Total.N), int(end.Resent), u.memory
	f.Recovery = time.Unix(0, end.At).Sub(last).Seconds()
	if f.Lost, err = s.missing(ctx, p.kind, end.Total); err == nil && (f.Lost > 0 || end.Left > 0) {
		err = fmt.Errorf("%d of %d records are missing, and %d wait unacknowledged", f.Lost, f.Records, end.Left)
	}
	return f, err
}

// breakThings takes the database away after lead, kills the broker in the middle of
// that, brings both back, and after lead kills the broker once more; it returns
// when that was.
func (s *place) breakThings(ctx context.Context, lead, away time.Duration) (last time.Time, err error) {
	steps := []struct {
		wait time.Duration
		do   func() error
	}{
		{lead, func() error { s.database.End(); return nil }},
		{away / 2, func() error { return s.broker.Restart(ctx) }},
		{away / 2, func() error { return s.database.Start(ctx) }},
		{lead, func() error { return s.broker.Restart(ctx) }},
	}
	for _, step := range steps {
		if err := kit.Pause(ctx, step.wait); err != nil {
			return last, err
		}
		if err := step.do(); err != nil {
			return last, err
		}
	}
	return time.Now(), nil
}
