package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/edge/outbox"
	"floorwatch/edge/uplink"
	"floorwatch/internal/access"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// Roles that this program plays as its own child. Each says what it has to say
// as lines of JSON.
const (
	roleIngest  = "ingest"
	roleReader  = "reader"
	rolePublish = "publish"
	roleBoxes   = "boxes"
	roleRaw     = "raw"
	roleSink    = "sink"
)

// task is what a role is to do; each role uses what it needs.
type task struct {
	Broker   string // host:port
	Endpoint string // file
	Dir      string
	Session  string
	Kind     string  // of record
	Expect   int     // records or messages, after which to say so
	Records  int     // to publish
	Batch    int     // records in a message
	Rate     float64 // records per second; 0: as fast as it goes
	Writers  int
	Boxes    int
	For      time.Duration
	Profile  string
}

const (
	allBatches  = floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafUp
	allAcks     = floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafAck
	sessionName = "bench"
	sessionID   = "floorwatch:" + sessionName // as ingest makes it
)

func role(ctx context.Context, name string, conf []byte, out io.Writer) error {
	var t task
	if err := json.Unmarshal(conf, &t); err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	do := map[string]func(context.Context, task, io.Writer) error{
		roleIngest: playIngest, roleReader: playReader, rolePublish: playPublisher, roleBoxes: playBoxes, roleRaw: playRaw, roleSink: playSink,
		roleCloud: playCloud, roleFleet: playFleet,
	}[name]
	if do == nil {
		return fmt.Errorf("no role %q", name)
	}
	return do(ctx, t, out)
}

func tell(out io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = out.Write(append(b, '\n'))
	}
	return err
}

// done is what ingest and reader say at the end, and ingest once before, when it
// is connected, with everything 0.
type done struct {
	N       int64 // records
	At      int64 // Unix ns
	Letters int64
	Unread  int64
	Outages int64
}

// playIngest is the product's ingest and nothing else.
func playIngest(ctx context.Context, t task, out io.Writer) error {
	if t.Profile != "" {
		f, err := os.Create(t.Profile)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	db, err := ingest.OpenDB(filepath.Join(t.Dir, "ingest.sqlite"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	index, err := vault.OpenIndex(filepath.Join(t.Dir, "vault.sqlite"))
	if err != nil {
		return err
	}
	defer func() { _ = index.Close() }()
	var r site.Registry
	for i := range stores {
		r.Stores = append(r.Stores, site.Store{ID: storeName(i)})
		r.Edges = append(r.Edges, site.Edge{Store: storeName(i), ID: edge})
	}
	store := &influx.Client{Endpoint: influxdb.ReadEndpoint(t.Endpoint)}
	defer store.Close()
	up := make(chan struct{}, 1)
	g := &ingest.Ingest{
		Broker: access.Login{URL: "tcp://" + t.Broker}, Plain: t.Session != "", Session: t.Session,
		Sites: site.Of(r), Store: store, Index: index, DB: db, Log: slog.New(upHandler{slog.NewTextHandler(os.Stderr, nil), up}),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Run(ctx) })
	group.Go(func() error {
		select {
		case <-up:
		case <-ctx.Done():
			return nil
		}
		if err := tell(out, done{}); err != nil || t.Expect == 0 {
			return err
		}
		for s := g.Stats(); s.Records-s.Duplicates < int64(t.Expect); s = g.Stats() {
			if kit.Pause(ctx, 5*time.Millisecond) != nil {
				return nil
			}
		}
		s := g.Stats()
		return tell(out, done{s.Records - s.Duplicates, time.Now().UnixNano(), s.DeadLetters, s.Unread, s.Outages})
	})
	return group.Wait()
}

// upHandler notices the line that says that ingest has subscribed.
type upHandler struct {
	slog.Handler
	up chan struct{}
}

// Handle implements slog.Handler.
func (h upHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "connected to the broker" {
		select {
		case h.up <- struct{}{}:
		default:
		}
	}
	return h.Handler.Handle(ctx, r)
}

// playReader is paho as it comes, with a handler that counts.
func playReader(ctx context.Context, t task, out io.Writer) error {
	var n atomic.Int64
	all := make(chan struct{})
	o := mqtt.NewClientOptions().AddBroker("tcp://" + t.Broker).SetClientID(sessionID).SetCleanSession(t.Session == "").SetProtocolVersion(4).
		SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) {
			if n.Add(1) == int64(t.Expect) {
				close(all)
			}
		})
	c := mqtt.NewClient(o)
	defer c.Disconnect(100)
	for _, token := range []func() mqtt.Token{c.Connect, func() mqtt.Token { return c.Subscribe(allBatches, 1, nil) }} {
		if k := token(); !k.WaitTimeout(time.Minute) || k.Error() != nil {
			return fmt.Errorf("connect reader: %w", k.Error())
		}
	}
	if err := tell(out, done{}); err != nil {
		return err
	}
	select {
	case <-all:
	case <-ctx.Done():
		return nil
	}
	if err := tell(out, done{N: n.Load(), At: time.Now().UnixNano()}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// published is what a publisher says at its end.
type published struct {
	Total    total
	P50, P99 float64 // seconds from publishing to the acknowledgement, at a set rate
	Seen     int     // of Sampled records that were in the database when acknowledged
	Sampled  int
}

// publisher sends records and takes the time until each is acknowledged: ingest
// does that once InfluxDB has confirmed the write, and from then on, at the
// latest, a query finds it (sample checks that).
type publisher struct {
	*wire
	task
	src *source

	mu     sync.Mutex
	sent   [stores][]time.Time // by sequence number, from 1
	delays []time.Duration
	sample chan [2]uint64 // store and number
}

func playPublisher(ctx context.Context, t task, out io.Writer) error {
	c, err := dialWire(ctx, t.Broker, "publisher", true)
	if err != nil {
		return err
	}
	p := &publisher{wire: c, task: t, src: newSource(t.Kind), sample: make(chan [2]uint64, 100)}
	var on func([]byte)
	if t.Endpoint != "" {
		on = p.ack
		if err := c.subscribe(allAcks, 0); err != nil {
			return err
		}
	}
	var answer published
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.listen(on) })
	group.Go(func() error { return p.check(ctx, &answer) })
	group.Go(func() error {
		defer c.close()
		defer close(p.sample)
		return p.publishAll(ctx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	answer.Total = p.src.total()
	if slices.Sort(p.delays); len(p.delays) > 0 {
		answer.P50 = p.delays[len(p.delays)/2].Seconds()
		answer.P99 = p.delays[len(p.delays)*99/100].Seconds()
	}
	return tell(out, answer)
}

func (p *publisher) publishAll(ctx context.Context) error {
	began := time.Now()
	messages := p.Records / p.Batch
	for m := range messages {
		if p.Rate > 0 {
			due := began.Add(time.Duration(float64(m*p.Batch) / p.Rate * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				if err := p.w.Flush(); err != nil {
					return err
				}
				if err := kit.Pause(ctx, wait); err != nil {
					return err
				}
			}
		}
		store := m % stores
		payload, first := p.src.batch(store, p.Batch)
		if p.Endpoint != "" {
			p.note(store, first)
		}
		if err := p.publish(floorwatch.Topic(storeName(store), edge, floorwatch.LeafUp), payload); err != nil {
			return err
		}
	}
	if err := p.w.Flush(); err != nil {
		return err
	}
	if err := p.settle(ctx, int64(messages)); err != nil || p.Endpoint == "" {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		p.mu.Lock()
		n := len(p.delays)
		p.mu.Unlock()
		if n >= p.Records {
			break // the caller counts what is missing
		}
		if err := kit.Pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) note(store int, first uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.sent[store]) < int(first)+p.Batch {
		p.sent[store] = append(p.sent[store], now)
	}
}

func (p *publisher) ack(payload []byte) {
	now := time.Now()
	var a floorwatch.Ack
	if json.Unmarshal(payload, &a) != nil {
		return
	}
	store := storeOf(a.Log)
	p.mu.Lock()
	defer p.mu.Unlock()
	if store < 0 || a.First == 0 || a.First+uint64(a.N) > uint64(len(p.sent[store])) {
		return
	}
	for i := range uint64(a.N) {
		p.delays = append(p.delays, now.Sub(p.sent[store][a.First+i]))
	}
	if len(p.delays)%500 < a.N {
		select {
		case p.sample <- [2]uint64{uint64(store), a.First}:
		default:
		}
	}
}

// check asks the database for some of what was acknowledged.
func (p *publisher) check(ctx context.Context, answer *published) error {
	c := &influx.Client{Endpoint: influxdb.ReadEndpoint(p.Endpoint)}
	defer c.Close()
	for at := range p.sample {
		n, err := found(ctx, c, p.Kind, int(at[0]), p.src.end(at[1]))
		if err != nil {
			return err
		}
		if answer.Sampled++; n == 1 {
			answer.Seen++
		}
	}
	return nil
}

// found counts the records of a store that ended at one moment.
func found(ctx context.Context, c *influx.Client, kind string, store int, at floorwatch.Time) (int, error) {
	q := influx.Query{Store: storeName(store), Edge: edge, From: at, To: at + 1}
	if kind == floorwatch.KindCount {
		got, err := c.Counts(ctx, q)
		return len(got), err
	}
	got, err := c.Stays(ctx, q)
	return len(got), err
}

// drained is what the boxes say at the end, and once before, when they have
// begun, with everything 0.
type drained struct {
	Total  total // Seq stays 0: the outbox gives the numbers
	Resent uint64
	Left   uint64
	At     int64 // Unix ns, when the last record was acknowledged
}

// playBoxes is a number of real outboxes with their uplinks, fed for a while.
// What Append has taken is the ledger.
func playBoxes(ctx context.Context, t task, out io.Writer) error {
	all := make([]*outbox.Outbox, t.Boxes)
	links := make([]*uplink.Uplink, t.Boxes)
	group, ctx := errgroup.WithContext(ctx)
	linkCtx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range all {
		var err error
		if all[i], err = outbox.Open(outbox.Settings{Dir: filepath.Join(t.Dir, storeName(i))}); err != nil {
			return err
		}
		defer func() { _ = all[i].Close() }()
		links[i], err = uplink.New(uplink.Settings{
			Broker: "tcp://" + t.Broker, Store: storeName(i), Edge: edge, Outbox: all[i], OutboxID: all[i].Log, Changed: all[i].Changed(),
		})
		if err != nil {
			return err
		}
		group.Go(func() error { return links[i].Run(linkCtx) })
	}
	if err := tell(out, drained{}); err != nil {
		return err
	}
	answer, err := feed(ctx, t, all)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Minute); ; {
		answer.Left, answer.At = 0, time.Now().UnixNano()
		for _, o := range all {
			answer.Left += o.Stats().Records
		}
		if answer.Left == 0 || time.Now().After(deadline) {
			break
		}
		if err := kit.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	for _, l := range links {
		answer.Resent += l.Stats().Resent
	}
	if err := tell(out, answer); err != nil {
		return err
	}
	stop()
	return group.Wait()
}

// feed appends t.Rate records a second, shared by the boxes, for t.For.
func feed(ctx context.Context, t task, boxes []*outbox.Outbox) (d drained, err error) {
	src := newSource(t.Kind)
	began := time.Now()
	for n := 0; time.Since(began) < t.For; {
		if err := kit.Pause(ctx, 50*time.Millisecond); err != nil {
			return d, err
		}
		due := int(time.Since(began).Seconds() * t.Rate / float64(len(boxes))) // of each box
		for i, o := range boxes {
			var recs []floorwatch.Encoded
			for k := n; k < due; k++ {
				recs = append(recs, floorwatch.Encoded{Kind: t.Kind, JSON: src.appendRecord(nil, i, uint64(k+1))})
				d.Total.N++
				d.Total.Seen += int64(seen(uint64(k + 1)))
			}
			if len(recs) == 0 {
				continue
			}
			if err := o.Append(recs...); err != nil {
				return d, err
			}
		}
		n = due
	}
	return d, nil
}

// playRaw writes line protocol as fast as InfluxDB takes it: points like those
// of the drains, 5,000 in a write.
func playRaw(ctx context.Context, t task, out io.Writer) error {
	at, err := influxdb.ReadEndpoint(t.Endpoint)()
	if err != nil {
		return err
	}
	const each = 5000
	src := newSource(t.Kind)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for w := range t.Writers {
		group.Go(func() error {
			var b []byte
			for from := w * each; from < t.Records; from += t.Writers * each {
				b = b[:0]
				for k := from; k < from+each; k++ {
					b = src.appendLine(b, k%stores, uint64(k/stores+1))
				}
				if err := post(ctx, at, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := tell(out, done{N: int64(time.Since(began)), At: time.Now().UnixNano()}); err != nil {
		return err
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until our costs were read
	return nil
}

func post(ctx context.Context, at influx.Endpoint, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		at.URL+"/api/v2/write?org=&precision=ns&bucket="+influx.DefaultDatabase+"/"+influx.DefaultPolicy, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Token "+at.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("influxdb answers %s", resp.Status)
	}
	return nil
}

// playSink stands where InfluxDB does and takes every write at no cost to speak
// of, so that ingest is all that limits a drain. It counts lines, tells where it
// is, and answers a line on its input with the count.
func playSink(_ context.Context, _ task, out io.Writer) error {
	var n atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 256<<10)
		lines := int64(1) // the last one has no break
		for {
			k, err := r.Body.Read(buf)
			lines += int64(bytes.Count(buf[:k], []byte("\n")))
			if err != nil {
				break
			}
		}
		n.Add(lines)
		w.WriteHeader(http.StatusNoContent)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	if err := tell(out, "http://"+l.Addr().String()); err != nil {
		return err
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	if err := tell(out, n.Load()); err != nil {
		return err
	}
	_ = srv.Close()
	<-done
	return nil
}
