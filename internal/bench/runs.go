package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"floorwatch/cloud/influx"
	"floorwatch/internal/child"
)

// meter tells what a span of time has cost.
type meter struct {
	s     *stage
	db    int
	began time.Time
	busy  float64
	used  [2]usage // broker, database
}

func (s *stage) meter() (m meter, err error) {
	m.s = s
	if m.db, err = s.databasePID(); err != nil {
		return m, err
	}
	var errs [3]error
	m.used[0], errs[0] = s.broker.usage()
	m.used[1], errs[1] = usageOf(m.db)
	m.busy, errs[2] = busy()
	m.began = time.Now()
	return m, errors.Join(errs[:]...)
}

// read fills in the costs for n records: those of p since it had used before.
func (m meter) read(f *figures, n int, p *process, before usage) error {
	wall := time.Since(m.began).Seconds()
	end, err := m.s.meter()
	if err != nil {
		return err
	}
	now, err := p.usage()
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
	s, err := p.newStage(ctx, brokerOpen)
	if err != nil {
		return f, err
	}
	defer s.end()
	if p.sink {
		if err := s.startSink(ctx); err != nil {
			return f, err
		}
		defer s.sink.end()
	}
	if err := s.openSession(ctx); err != nil {
		return f, err
	}
	want, err := s.publish(ctx, task{Broker: s.address, Kind: p.kind, Records: n, Batch: batch})
	if err != nil {
		return f, err
	}
	m, err := s.meter()
	if err != nil {
		return f, err
	}
	reader, err := play(ctx, who, task{
		Broker: s.address, Endpoint: s.endpointFile(), Dir: s.dir, Session: sessionName, Expect: n / batch * perMessage(who, batch), Profile: p.profile,
	})
	if err != nil {
		return f, err
	}
	defer reader.end()
	var up, end done
	if err := reader.next(&up); err != nil {
		return f, err
	}
	if err := reader.next(&end); err != nil {
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
func (s *stage) startSink(ctx context.Context) (err error) {
	if s.sink, err = play(ctx, roleSink, task{}); err != nil {
		return err
	}
	var at string
	if err = s.sink.next(&at); err == nil {
		err = os.WriteFile(s.endpointFile(), []byte(at+" none"), 0o600)
	}
	if err != nil {
		s.sink.end()
	}
	return err
}

// sunk asks the sink how many lines it took.
func (s *stage) sunk() (n int64, err error) {
	if _, err := s.sink.in.Write([]byte("\n")); err != nil {
		return 0, fmt.Errorf("ask the sink: %w", err)
	}
	return n, s.sink.next(&n)
}

// openSession has the broker keep messages for one who is not there yet.
func (s *stage) openSession(ctx context.Context) error {
	c, err := dialWire(ctx, s.address, sessionID, false)
	if err != nil {
		return err
	}
	defer c.close()
	return c.subscribe(allBatches, 1)
}

func (s *stage) publish(ctx context.Context, t task) (answer published, err error) {
	p, err := play(ctx, rolePublish, t)
	if err != nil {
		return answer, err
	}
	defer p.end()
	return answer, p.next(&answer)
}

// missing compares what is in the database with what was published: the count of
// points, and the sums of two fields, since a number right by accident is not
// right three times. What came twice may have been counted for what is still on
// its way, so it looks again for a while before it says that records are missing.
func (s *stage) missing(ctx context.Context, kind string, want total) (int, error) {
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
		if err := pause(ctx, time.Second); err != nil {
			return 0, err
		}
	}
}

func (s *stage) stored(ctx context.Context, kind string) (t total, err error) {
	at, err := s.database.Endpoint()
	if err != nil {
		return t, err
	}
	q := url.Values{"db": {influx.DefaultDatabase}, "epoch": {"s"}, "q": {fmt.Sprintf(`SELECT count("seq"), sum("seq"), sum(%q) FROM %q`, checked(kind), kind)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.URL+"/query", strings.NewReader(q.Encode()))
	if err != nil {
		return t, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Token "+at.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return t, fmt.Errorf("count points: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Results []struct {
			Series []struct{ Values [][]float64 }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return t, fmt.Errorf("count points: %w", err)
	}
	if len(answer.Results) != 1 || len(answer.Results[0].Series) != 1 {
		return t, nil // none
	}
	v := answer.Results[0].Series[0].Values[0] // time, count, sums; all below 2^53
	return total{int64(v[1]), int64(v[2]), int64(v[3])}, nil
}

// raw writes line protocol straight into InfluxDB.
func (p *plan) raw(ctx context.Context, writers int) (f figures, err error) {
	s, err := p.newStage(ctx, "")
	if err != nil {
		return f, err
	}
	defer s.end()
	m, err := s.meter()
	if err != nil {
		return f, err
	}
	w, err := play(ctx, roleRaw, task{Endpoint: s.endpointFile(), Kind: p.kind, Records: p.records, Writers: writers})
	if err != nil {
		return f, err
	}
	defer w.end()
	var end done
	if err := w.next(&end); err != nil {
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
	s, err := p.newStage(ctx, "")
	if err != nil {
		return f, err
	}
	defer s.end()
	in, err := play(ctx, who, task{Broker: s.address, Endpoint: s.endpointFile(), Dir: s.dir, Profile: p.profile})
	if err != nil {
		return f, err
	}
	defer in.end()
	var up done
	if err := in.next(&up); err != nil {
		return f, err
	}
	acks := s.endpointFile()
	if who == roleReader {
		acks = ""
	}
	// The first record of a series has its names admitted, once and for all time.
	warm, err := s.publish(ctx, task{Broker: s.address, Endpoint: acks, Kind: p.kind, Records: stores * zones, Batch: 1, Rate: liveRate})
	if err != nil {
		return f, err
	}
	m, err := s.meter()
	if err != nil {
		return f, err
	}
	before, err := in.usage()
	if err != nil {
		return f, err
	}
	n := int(p.live.Seconds() * liveRate)
	answer, err := s.publish(ctx, task{Broker: s.address, Endpoint: acks, Kind: p.kind, Records: n, Batch: 1, Rate: liveRate})
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
	s, err := p.newStage(ctx, "")
	if err != nil {
		return f, err
	}
	defer s.end()
	in, err := play(ctx, roleIngest, task{Broker: s.address, Endpoint: s.endpointFile(), Dir: s.dir})
	if err != nil {
		return f, err
	}
	defer in.end()
	var up done
	if err := in.next(&up); err != nil {
		return f, err
	}
	const lead = 10 * time.Second
	boxes, err := play(ctx, roleBoxes, task{Broker: s.address, Dir: s.dir, Kind: p.kind, Boxes: 20, Rate: 5000, For: p.away + 3*lead})
	if err != nil {
		return f, err
	}
	defer boxes.end()
	var end drained
	if err := boxes.next(&end); err != nil {
		return f, err
	}
	last, err := s.breakThings(ctx, lead, p.away)
	if err != nil {
		return f, err
	}
	if err := boxes.next(&end); err != nil {
		return f, err
	}
	u, err := in.usage()
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
func (s *stage) breakThings(ctx context.Context, lead, away time.Duration) (last time.Time, err error) {
	steps := []struct {
		wait time.Duration
		do   func() error
	}{
		{lead, func() error { s.endDB(); return nil }},
		{away / 2, func() error { return s.killBroker(ctx) }},
		{away / 2, func() error { return s.startDatabase(ctx) }},
		{lead, func() error { return s.killBroker(ctx) }},
	}
	for _, step := range steps {
		if err := pause(ctx, step.wait); err != nil {
			return last, err
		}
		if err := step.do(); err != nil {
			return last, err
		}
	}
	return time.Now(), nil
}

// killBroker kills mosquitto, which has written nothing down, and starts it again.
func (s *stage) killBroker(ctx context.Context) error {
	if err := child.Signal(s.broker.cmd, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill mosquitto: %w", err)
	}
	s.broker.end()
	return s.startBroker(ctx)
}
