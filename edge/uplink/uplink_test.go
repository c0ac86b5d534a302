package uplink

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/kit"
)

// quick is the contract with its times divided, for tests.
var quick = timing{
	connect: 2 * time.Second, keepAlive: time.Second,
	resend: 300 * time.Millisecond, jitter: 50 * time.Millisecond, backOff: 200 * time.Millisecond, retry: 50 * time.Millisecond,
}

// startBroker runs a real broker in this process on addr ("127.0.0.1:0" picks
// a port). It keeps nothing between starts.
func startBroker(t testing.TB, addr string) (kill func(), at string) {
	t.Helper()
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	eventually(t, "listen on "+addr, func() bool {
		var err error
		ln, err = net.Listen("tcp", addr)
		return err == nil
	})
	if err := server.AddListener(listeners.NewNet("tcp", ln)); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() { _ = server.Close() })
	t.Cleanup(kill)
	return kill, ln.Addr().String()
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
		<-tick.C
	}
}

// cloud stands for floorwatch-cloud: it keeps what arrives and acknowledges as
// the test says. It is a plain MQTT client that reconnects.
type cloud struct {
	t      testing.TB
	cl     mqtt.Client
	answer func(b floorwatch.Batch, times int) [][]byte // nil: acknowledge

	mu    sync.Mutex
	got   map[string]string // log/seq -> record
	times map[string]int    // log/first -> arrivals of that batch
	other map[string][]byte // the last payload of every other topic
	bad   []string
}

func startCloud(t testing.TB, addr string, answer func(floorwatch.Batch, int) [][]byte) *cloud {
	t.Helper()
	c := &cloud{t: t, answer: answer, got: map[string]string{}, times: map[string]int{}, other: map[string][]byte{}}
	up := make(chan struct{}, 100)
	c.cl = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("cloud").
		SetProtocolVersion(4).SetOrderMatters(false).SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond).
		SetMaxReconnectInterval(50 * time.Millisecond).
		SetOnConnectHandler(func(cl mqtt.Client) {
			cl.Subscribe(floorwatch.TopicRoot+"/#", 1, c.on).WaitTimeout(5 * time.Second)
			up <- struct{}{}
		}))
	c.cl.Connect()
	select {
	case <-up:
	case <-time.After(10 * time.Second):
		t.Fatal("cloud does not reach the broker")
	}
	t.Cleanup(func() { c.cl.Disconnect(100) })
	return c
}

func (c *cloud) on(_ mqtt.Client, m mqtt.Message) {
	if strings.HasSuffix(m.Topic(), "/ack") {
		return
	}
	if !strings.HasSuffix(m.Topic(), "/up") {
		c.mu.Lock()
		c.other[m.Topic()] = m.Payload()
		c.mu.Unlock()
		return
	}
	c.mu.Lock()
	b, err := floorwatch.ParseBatch(m.Payload())
	if err != nil || len(m.Payload()) > floorwatch.MaxBatchBytes {
		c.bad = append(c.bad, fmt.Sprintf("batch of %d bytes: %v", len(m.Payload()), err))
	}
	for i, r := range b.Records {
		k := fmt.Sprintf("%s/%d", b.Log, b.First+uint64(i))
		if old, ok := c.got[k]; ok && old != string(r) {
			c.bad = append(c.bad, "two contents under "+k)
		}
		c.got[k] = string(r)
	}
	k := fmt.Sprintf("%s/%d", b.Log, b.First)
	c.times[k]++
	n := c.times[k]
	c.mu.Unlock()
	if c.answer == nil {
		c.send(ackOf(b))
		return
	}
	for _, a := range c.answer(b, n) {
		c.send(a)
	}
}

func (c *cloud) send(ack []byte) { c.cl.Publish(floorwatch.Topic("s1", "box", "ack"), 1, false, ack) }

func ackOf(b floorwatch.Batch) []byte {
	a, _ := json.Marshal(floorwatch.Ack{V: 1, Log: b.Log, First: b.First, N: b.N})
	return a
}

func (c *cloud) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// check compares what arrived with the ledger: everything, unaltered.
func (c *cloud) check(ledger map[string]bool) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.bad {
		c.t.Error(b)
	}
	arrived := map[string]bool{}
	for _, r := range c.got {
		if !ledger[r] {
			c.t.Errorf("arrived, but was never appended: %.100s", r)
		}
		arrived[r] = true
	}
	for r := range ledger {
		if !arrived[r] {
			c.t.Fatalf("appended, but never arrived (%d of %d did): %.100s", len(arrived), len(ledger), r)
		}
	}
}

type box struct {
	*outbox.Outbox
	up     *Uplink
	ledger map[string]bool
}

func openBox(t testing.TB, broker string, tm timing) *box {
	t.Helper()
	o, err := outbox.Open(outbox.Settings{Dir: t.TempDir(), Commit: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	u, err := New(Settings{Broker: "tcp://" + broker, Store: "s1", Edge: "box", Version: "test", Outbox: o, OutboxID: o.Log, Changed: o.Changed()})
	if err != nil {
		t.Fatal(err)
	}
	u.time = tm
	return &box{o, u, map[string]bool{}}
}

// run starts the uplink and returns how to end it; ending waits for Run.
func (b *box) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.up.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func (b *box) put(t testing.TB, n int) {
	t.Helper()
	for len(b.ledger)%1000 != 999 && n > 0 {
		b.putBatch(t, 1)
		n--
	}
	for ; n > 0; n -= 500 {
		b.putBatch(t, min(n, 500))
	}
}

func (b *box) putBatch(t testing.TB, n int) {
	t.Helper()
	var recs []floorwatch.Encoded
	kinds := []string{"stay", "interval", "alert"}
	for range n {
		i := len(b.ledger)
		r := fmt.Sprintf(`{"kind":%q, "id":"%d","note":"<&>  排队区"}`, kinds[i%3], i)
		b.ledger[r] = true
		recs = append(recs, floorwatch.Encoded{Kind: kinds[i%3], JSON: json.RawMessage(r)})
	}
	if err := b.Append(recs...); err != nil {
		t.Fatal(err)
	}
}

func (b *box) drained() bool { return b.Outbox.Stats().Records == 0 }

func TestEverythingArrivesUnaltered(t *testing.T) {
	kit.Long(t)
	_, addr := startBroker(t, "127.0.0.1:0")
	c := startCloud(t, addr, nil)
	b := openBox(t, addr, quick)
	b.put(t, 1000)
	stop := b.run(t)
	b.put(t, 1000)
	eventually(t, "drain", b.drained)
	stop()
	c.check(b.ledger)
	if st := b.up.Stats(); st.Acked != 2000 || st.Resent != 0 || st.Ignored != 0 || !st.Since.IsZero() || st.LastAck.IsZero() {
		t.Errorf("stats %+v", st)
	}
	var s floorwatch.State
	eventually(t, "stopped", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = json.Unmarshal(c.other[floorwatch.Topic("s1", "box", "state")], &s)
		return s.State == floorwatch.StateStopped
	})
	if s.Version != "test" || s.Log != b.Log() || s.V != 1 || s.T == 0 {
		t.Errorf("state %+v", s)
	}
}

func TestPubackFreesNothing(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	var acks atomic.Bool
	c := startCloud(t, addr, func(b floorwatch.Batch, _ int) [][]byte {
		if acks.Load() {
			return [][]byte{ackOf(b), ackOf(b)} // and once more
		}
		return nil
	})
	b := openBox(t, addr, quick)
	b.put(t, 30)
	b.run(t)
	eventually(t, "resends", func() bool { return b.up.Stats().Resent > 8 })
	if n := b.Outbox.Stats().Records; n != 30 {
		t.Fatalf("%d records left without any acknowledgement, want 30", n)
	}
	acks.Store(true)
	eventually(t, "drain", b.drained)
	c.check(b.ledger)
}

func TestAcksAreLost(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	c := startCloud(t, addr, func(b floorwatch.Batch, times int) [][]byte {
		if times < 3 {
			return nil
		}
		return [][]byte{ackOf(b)}
	})
	b := openBox(t, addr, quick)
	b.run(t)
	b.put(t, 300)
	eventually(t, "drain", b.drained)
	c.check(b.ledger)
	if b.up.Stats().Resent == 0 {
		t.Error("nothing was sent again")
	}
}

func TestWrongAcksAreIgnored(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	var right atomic.Bool
	c := startCloud(t, addr, func(b floorwatch.Batch, _ int) [][]byte {
		if right.Load() {
			return [][]byte{ackOf(b)}
		}
		ack := func(f string, a ...any) []byte { return fmt.Appendf(nil, f, a...) }
		return [][]byte{
			ack(`{"v":1,"log":"feedfacefeedface","first":%d,"n":%d}`, b.First, b.N),
			ack(`{"v":1,"log":%q,"first":%d,"n":%d}`, b.Log, b.First, b.N+1),
			ack(`{"v":1,"log":%q,"first":%d,"n":1000}`, b.Log, b.First+uint64(b.N)),
			ack(`{"v":2,"log":%q,"first":%d,"n":%d}`, b.Log, b.First, b.N),
			ack(`{"v":1,"log":%q,"first":%d,"n":-1}`, b.Log, b.First),
			ack(`{"v":1,"log":%q,"first":%d,"n":%d,"pad":%q}`, b.Log, b.First, b.N, strings.Repeat("x", 2000)),
			[]byte(`not JSON`), nil,
		}
	})
	b := openBox(t, addr, quick)
	b.put(t, 10)
	b.run(t)
	eventually(t, "bad acknowledgements", func() bool { return b.up.Stats().Ignored >= 24 })
	if st := b.Outbox.Stats(); st.Records != 10 {
		t.Fatalf("%d records left, want 10", st.Records)
	}
	right.Store(true)
	eventually(t, "drain", b.drained)
	c.check(b.ledger)
}

// TestRefusalsAreTold: the records are settled as ever, counted, and each reason
// is logged once.
func TestRefusalsAreTold(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	c := startCloud(t, addr, func(b floorwatch.Batch, _ int) [][]byte {
		a := floorwatch.Ack{V: 1, Log: b.Log, First: b.First, N: b.N}
		a.Refuse(b.N, "this box is not registered")
		raw, _ := a.Encode()
		return [][]byte{raw}
	})
	b := openBox(t, addr, quick)
	var log syncBuffer
	b.up.set.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.run(t)
	for i := range 3 {
		b.put(t, 10)
		eventually(t, "drain", b.drained)
		eventually(t, "the refusals to be counted", func() bool { return b.up.Stats().Refused == uint64(10*(i+1)) })
	}
	c.check(b.ledger)
	if st := b.up.Stats(); len(st.Refusals) != 1 || st.Refusals[0].Reason != "this box is not registered" || time.Since(st.Refusals[0].Last) > time.Minute {
		t.Errorf("%+v", st.Refusals)
	}
	if n := strings.Count(log.String(), "the cloud refuses records"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, log.String())
	}
	b.up.mu.Lock()
	b.up.stats.Refusals[0].Since = time.Now().Add(-refusalLasts)
	b.up.mu.Unlock()
	b.put(t, 1)
	eventually(t, "the reason to be told anew", func() bool { return strings.Count(log.String(), "the cloud refuses records") == 2 })
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// An acknowledgement may cover several batches, and also what was settled
// before; never a batch in part, nor what was not sent.
func TestAcksOfSeveralBatches(t *testing.T) {
	box := &ranges{}
	u, err := New(Settings{Broker: "tcp://h:1", Store: "s1", Edge: "box", Outbox: box})
	if err != nil {
		t.Fatal(err)
	}
	u.flight, u.sent = map[flightKey]*flight{}, map[string]uint64{"a": 41, "b": 100}
	for _, first := range []uint64{11, 21, 31} {
		u.flight[flightKey{"a", first}] = &flight{n: 10}
	}
	for _, c := range []struct {
		log   string
		first uint64
		n     int
		want  []uint64 // batches of a that it settles
	}{
		{"b", 11, 30, nil},         // another log's
		{"c", 11, 30, nil},         // nobody's
		{"a", 11, 9, nil},          // less than a batch
		{"a", 12, 18, nil},         // parts of two
		{"a", 11, 31, nil},         // more than was sent
		{"a", 11, 0, nil},          // nothing
		{"a", 40, -30, nil},        // backwards
		{"a", 1<<64 - 5, 100, nil}, // over the end of the numbers
		{"a", 1, 24, []uint64{11}}, // with what was settled before, and part of the next
		{"a", 1, 20, nil},          // once more
		{"a", 21, 20, []uint64{21, 31}},
	} {
		box.acked = nil
		u.onAck(fmt.Appendf(nil, `{"v":1,"log":%q,"first":%d,"n":%d}`, c.log, c.first, c.n), false)
		slices.Sort(box.acked)
		if !slices.Equal(box.acked, c.want) {
			t.Errorf("%s %d+%d settles %v, want %v", c.log, c.first, c.n, box.acked, c.want)
		}
	}
	if st := u.Stats(); st.Acked != 30 || st.Ignored != 9 || st.InFlight != 0 {
		t.Errorf("stats %+v", st)
	}
}

// ranges is an outbox that notes the batches of 10 that are settled.
type ranges struct{ acked []uint64 }

func (*ranges) Rewind() {}

func (*ranges) Next(int, int) (floorwatch.Batch, error) { return floorwatch.Batch{}, nil }

func (r *ranges) Ack(_ string, first uint64, n int) error {
	if n != 10 {
		return fmt.Errorf("%d records in a batch of 10", n)
	}
	r.acked = append(r.acked, first)
	return nil
}

func TestBrokerDiesAndComesBackEmpty(t *testing.T) {
	kill, addr := startBroker(t, "127.0.0.1:0")
	var acks atomic.Bool
	c := startCloud(t, addr, func(b floorwatch.Batch, _ int) [][]byte {
		if acks.Load() {
			return [][]byte{ackOf(b)}
		}
		return nil
	})
	b := openBox(t, addr, quick)
	b.run(t)
	for round := range 5 {
		b.put(t, 20)
		eventually(t, "connection", func() bool { return b.up.Stats().Connects > uint64(round) && b.up.Stats().InFlight > 0 })
		kill() // with batches that it took and nobody acknowledged
		eventually(t, "loss noticed", func() bool { return b.up.Stats().Since.IsZero() })
		kill, _ = startBroker(t, addr)
	}
	if n := b.Outbox.Stats().Records; n != 100 {
		t.Fatalf("%d records left, want all 100", n)
	}
	acks.Store(true)
	eventually(t, "drain", b.drained)
	c.check(b.ledger)
}

func TestMosquittoKilledAfterPuback(t *testing.T) {
	m := kit.Mosquitto(t, "")
	addr := m.Address
	b := openBox(t, addr, quick)
	b.run(t)
	b.put(t, 50)
	eventually(t, "PUBACK", func() bool { // no cloud is there: the broker takes and forgets
		b.up.mu.Lock()
		defer b.up.mu.Unlock()
		for _, f := range b.up.flight {
			select {
			case <-f.puback:
				return true
			default:
			}
		}
		return false
	})
	kit.Must(t, m.Restart(context.Background()))
	c := startCloud(t, addr, nil)
	eventually(t, "drain", b.drained)
	c.check(b.ledger)
}

// proxy passes bytes on until it is told to swallow them: a half-open link.
type proxy struct {
	ln     net.Listener
	to     string
	up     atomic.Bool // swallow what the edge says
	down   atomic.Bool // swallow what the broker says
	opened atomic.Int64
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: to}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			a, err := ln.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", p.to)
			if err != nil {
				_ = a.Close()
				continue
			}
			p.opened.Add(1)
			go p.pass(b, a, &p.up)
			go p.pass(a, b, &p.down)
		}
	}()
	return p
}

func (p *proxy) pass(dst, src net.Conn, swallow *atomic.Bool) {
	defer func() { _ = dst.Close(); _ = src.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		if swallow.Load() {
			continue
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestHalfOpenLinkIsNoticed(t *testing.T) {
	kit.Long(t)
	_, addr := startBroker(t, "127.0.0.1:0")
	c := startCloud(t, addr, nil)
	for _, way := range []string{"both", "up", "down"} {
		t.Run(way, func(t *testing.T) {
			p := startProxy(t, addr)
			b := openBox(t, p.ln.Addr().String(), quick)
			stop := b.run(t)
			defer stop()
			eventually(t, "connection", func() bool { return !b.up.Stats().Since.IsZero() })
			p.up.Store(way != "down")
			p.down.Store(way != "up")
			began := time.Now()
			eventually(t, "dead link noticed", func() bool { return b.up.Stats().Since.IsZero() })
			if d := time.Since(began); d > 3*quick.keepAlive+500*time.Millisecond {
				t.Errorf("noticed after %v", d)
			}
			p.up.Store(false)
			p.down.Store(false)
			b.put(t, 10)
			eventually(t, "drain", b.drained)
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bad) > 0 {
		t.Error(c.bad)
	}
}

func TestLiveNeverBlocksAndNewestWins(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	c := startCloud(t, addr, nil)
	p := startProxy(t, addr)
	b := openBox(t, p.ln.Addr().String(), quick)
	live := func(n int) { b.up.PublishLive(floorwatch.Live{V: 1, Zone: "table", People: n}) }
	seen := func() (l floorwatch.Live) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = json.Unmarshal(c.other[floorwatch.Topic("s1", "box", "live", "table")], &l)
		return l
	}
	live(1) // not connected: dropped
	b.run(t)
	eventually(t, "connection", func() bool { return !b.up.Stats().Since.IsZero() })
	live(2)
	eventually(t, "live", func() bool { return seen().People == 2 })
	p.up.Store(true)
	p.down.Store(true)
	began := time.Now()
	for i := range 10000 {
		live(100 + i)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("10000 live figures into a dead link took %v", d)
	}
	b.up.PublishLive(floorwatch.Live{Zone: "no/zone"}) // logged, not sent
}

func TestRecordGoesOutAtOnce(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	c := startCloud(t, addr, nil)
	b := openBox(t, addr, contract)
	b.run(t)
	eventually(t, "connection", func() bool { return !b.up.Stats().Since.IsZero() })
	var worst time.Duration
	for i := range 50 {
		b.put(t, 1)
		began := time.Now()
		eventually(t, "arrival", func() bool { return c.count() == i+1 })
		worst = max(worst, time.Since(began))
	}
	t.Logf("worst of 50 from durable to the cloud: %v", worst)
	if worst > 2*time.Second {
		t.Errorf("took %v", worst)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, s := range []Settings{
		{Broker: "localhost:1883"},
		{Broker: "http://h:1"},
		{Broker: "tcp://h"},
		{Broker: "tcp://h:1", Store: "A b", Edge: "box"},
		{Broker: "tcp://h:1", Store: "s", Edge: "box"},
		{Broker: ":"},
	} {
		if _, err := New(s); err == nil {
			t.Errorf("%+v accepted", s)
		}
	}
}

// A fleet that is cut off together comes back evenly over the spread, now, after
// many attempts, and after sessions of whatever length: of 5,000 boxes, 143 a second
// in the mean, at most 200 in any second.
func TestFleetComesBackEvenly(t *testing.T) {
	u := &Uplink{time: contract}
	const noAnswer = 10 * time.Second
	var first, later, cut [36]int
	for range 5000 {
		at := u.pause(false, true, time.Hour)
		first[int(at.Seconds())]++
		for range 4 {
			at += noAnswer + u.pause(false, false, noAnswer)
		}
		at %= contract.spread
		later[int(at.Seconds())]++
		// All connections end 65 s after the return: some sessions are older than a
		// minute then, and some younger.
		at = u.pause(false, true, 65*time.Second-at)
		cut[int(at.Seconds())]++
	}
	for i := range first {
		if first[i] > 200 || later[i] > 200 || cut[i] > 200 {
			t.Errorf("second %d: %d boxes at first, %d later, %d after a cut", i, first[i], later[i], cut[i])
		}
	}
	for range 100 {
		if d := u.pause(false, true, time.Second); d < contract.spread/2 || d > contract.spread*3/2 {
			t.Fatalf("a box that was thrown out at once tries again after %v", d)
		}
	}
}

func FuzzBelieve(f *testing.F) {
	f.Add([]byte(`{"v":1,"log":"00112233445566aa","first":1,"n":2}`), false)
	f.Add([]byte(`{"v":1,"log":"00112233445566aa","first":18446744073709551615,"n":-9}`), false)
	f.Add([]byte(`[]`), true)
	f.Fuzz(func(t *testing.T, b []byte, retained bool) {
		u := &Uplink{set: Settings{Outbox: nowhere{t}}, flight: map[flightKey]*flight{{"00112233445566aa", 1}: {n: 2}}}
		if _, n, err := u.believe(b, retained); err == nil && (n != 2 || retained) {
			t.Errorf("believed %q", b)
		}
	})
}

// nowhere is an outbox of which only one batch is in flight.
type nowhere struct{ t *testing.T }

func (nowhere) Rewind()                                 {}
func (nowhere) Next(int, int) (floorwatch.Batch, error) { return floorwatch.Batch{}, io.EOF }
func (n nowhere) Ack(log string, first uint64, count int) error {
	if log != "00112233445566aa" || first != 1 || count != 2 {
		n.t.Errorf("settled %d from %d of %q", count, first, log)
	}
	return nil
}

func BenchmarkDrain(b *testing.B) {
	_, addr := startBroker(b, "127.0.0.1:0")
	startCloud(b, addr, nil)
	bx := openBox(b, addr, contract)
	b.StopTimer()
	bx.put(b, b.N)
	b.StartTimer()
	bx.run(b)
	eventually(b, "drain", bx.drained)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// TestWhatCannotBeSettledHoldsUpNothing: the cloud leaves more batches than the
// window holds unanswered, as those with scenes while its metadata is away; what
// comes after them is delivered, and they are in the end.
func TestWhatCannotBeSettledHoldsUpNothing(t *testing.T) {
	_, addr := startBroker(t, "127.0.0.1:0")
	var settle atomic.Bool
	c := startCloud(t, addr, func(b floorwatch.Batch, _ int) [][]byte {
		if !settle.Load() && strings.Contains(string(b.Records[0]), `"kind":"alert"`) {
			return nil
		}
		return [][]byte{ackOf(b)}
	})
	b := openBox(t, addr, quick)
	b.run(t)
	put := func(kind string, i int) {
		t.Helper()
		r := fmt.Sprintf(`{"kind":%q,"id":"%d"}`, kind, i)
		b.ledger[r] = true
		if err := b.Append(floorwatch.Encoded{Kind: kind, JSON: json.RawMessage(r)}); err != nil {
			t.Fatal(err)
		}
	}
	const stuck = window + 2
	for i := range stuck {
		put("alert", i)
		eventually(t, "a batch that stays open", func() bool { return b.up.Stats().InFlight > min(i, window-1) })
	}
	for i := range 20 {
		put("stay", i)
	}
	eventually(t, "the stays behind them", func() bool { return b.Outbox.Stats().Records == stuck })
	settle.Store(true)
	eventually(t, "drain", b.drained)
	c.check(b.ledger)
}
