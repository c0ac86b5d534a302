package ingest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/access"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// database is the one real influxd of the package's tests; each test writes
// into stores of its own.
var database *influxdb.Database

func TestMain(m *testing.M) { os.Exit(withDatabase(m)) }

func withDatabase(m *testing.M) int {
	flag.Parse()
	if _, err := kit.Find("influxd"); err != nil || testing.Short() {
		return m.Run() // realDatabase says what is missing
	}
	dir, err := kit.Folder("ingest")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		database, err = influxdb.Start(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer database.End()
	return m.Run()
}

// realDatabase is where that one is.
func realDatabase(t testing.TB) func() (influx.Endpoint, error) {
	t.Helper()
	kit.Tool(t, "influxd")
	return database.Endpoint
}

// bench is one ingest with everything around it real.
type bench struct {
	*Ingest
	broker string
	influx *influx.Client
	index  *vault.Index
	now    floorwatch.Time
}

func startBroker(t testing.TB) string {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	s.Options.Capabilities.MaximumPacketSize = floorwatch.MaxPacket
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return "tcp://" + l.Address()
}

func registry(store string, edges ...string) *site.Live {
	r := site.Registry{Stores: []site.Store{{ID: store}}}
	for _, e := range edges {
		r.Edges = append(r.Edges, site.Edge{Store: store, ID: e})
	}
	return site.Of(r)
}

// prepare makes a bench that is not yet running.
func prepare(t testing.TB, broker string, endpoint func() (influx.Endpoint, error), r *site.Live) *bench {
	t.Helper()
	dir := t.TempDir()
	db, err := OpenDB(filepath.Join(dir, "letters.db"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := vault.OpenIndex(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	c := &influx.Client{Endpoint: endpoint}
	t.Cleanup(func() { c.Close(); _ = db.Close(); _ = index.Close() })
	return &bench{
		broker: broker, influx: c, index: index, now: floorwatch.TimeOf(time.Now()),
		Ingest: &Ingest{Broker: access.Login{URL: broker}, Sites: r, Store: c, Index: index, DB: db},
	}
}

// start runs the ingest and returns a function that ends it.
func (b *bench) start(t testing.TB) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end within 10 s")
		}
	})
	t.Cleanup(stop)
	until(t, "the ingest to connect", func() bool { return b.client.Load() != nil })
	return stop
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(90 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited 90 s for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// box is an edge box's end of the contract.
type box struct {
	mqtt.Client
	store, edge, log string

	mu    sync.Mutex
	acked map[uint64]bool // by record
	told  string          // why the last one was refused
}

const testLog = "00112233aabbccdd"

func newBox(t testing.TB, broker, store, edge string) *box {
	t.Helper()
	b := &box{store: store, edge: edge, log: testLog, acked: map[uint64]bool{}}
	b.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(broker).SetProtocolVersion(4).SetClientID(store + edge).SetOrderMatters(false))
	for _, tok := range []func() mqtt.Token{
		b.Connect,
		func() mqtt.Token {
			return b.Subscribe(floorwatch.Topic(store, edge, floorwatch.LeafAck), 1, b.ack)
		},
	} {
		if tok := tok(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			t.Fatal("connect box: ", tok.Error())
		}
	}
	t.Cleanup(func() { b.Disconnect(0) })
	return b
}

func (b *box) ack(_ mqtt.Client, m mqtt.Message) {
	var a floorwatch.Ack
	if json.Unmarshal(m.Payload(), &a) != nil || a.Log != b.log {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range a.N {
		b.acked[a.First+uint64(i)] = true
	}
	if a.Refused > 0 {
		b.told = a.Reason
	}
}

// refusal is why the cloud refused a record last, as the box was told.
func (b *box) refusal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.told
}

func (b *box) batch(t testing.TB, first uint64, recs ...any) []byte {
	t.Helper()
	m := floorwatch.Batch{V: 1, Store: b.store, Edge: b.edge, Log: b.log, First: first, N: len(recs)}
	for _, r := range recs {
		if bytes, ok := r.([]byte); ok {
			m.Records = append(m.Records, bytes)
			continue
		}
		raw, err := floorwatch.MarshalRecord(r.(floorwatch.Record))
		if err != nil {
			t.Fatal(err)
		}
		m.Records = append(m.Records, raw.JSON)
	}
	p, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *box) send(payload []byte) {
	b.Publish(floorwatch.Topic(b.store, b.edge, floorwatch.LeafUp), 1, false, payload)
}

func (b *box) has(first uint64, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range n {
		if !b.acked[first+uint64(i)] {
			return false
		}
	}
	return true
}

// stayAt is a stay that ended i ms before an hour ago.
func (b *bench) stayAt(zone string, i int) *floorwatch.Stay {
	exit := b.now - 3_600_000 - floorwatch.Time(i)
	return &floorwatch.Stay{
		Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "hall", Zone: zone, ID: fmt.Sprint("s", i), At: exit + 2000, Rev: "aabbccddeeff", By: "motion"},
		Enter:  exit - 5000, Exit: &exit, EnterSeen: true, SeenS: 5, Tracks: []int64{int64(i)},
	}
}

// stored asks InfluxDB itself for the ids of all stays of a box.
func (b *bench) stored(t testing.TB, store, edge string) map[string]bool {
	t.Helper()
	got, err := b.influx.Stays(context.Background(), influx.Query{Store: store, Edge: edge, To: b.now + 1000})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, s := range got {
		if ids[s.ID] {
			t.Errorf("stay %s is stored twice", s.ID)
		}
		ids[s.ID] = true
	}
	return ids
}

func TestReplaysOfManyBoxesInAnyOrder(t *testing.T) {
	b := prepare(t, startBroker(t), realDatabase(t), registry("replays", "a", "b"))
	var seen struct {
		sync.Mutex
		n int
	}
	b.Stored = func(_, _ string, recs []floorwatch.Record) { seen.Lock(); seen.n += len(recs); seen.Unlock() }
	b.start(t)
	type one struct {
		x *box
		p []byte
	}
	var all []one
	const batches, each = 20, 10
	boxes := []*box{newBox(t, b.broker, "replays", "a"), newBox(t, b.broker, "replays", "b")}
	for _, x := range boxes {
		for i := range batches {
			var recs []any
			for k := range each {
				s := b.stayAt("table", i*each+k)
				*s.Exit = b.now - 3_600_000 // all end on one frame
				s.SeenS = 1
				s.Enter = *s.Exit - 5000
				recs = append(recs, s)
			}
			p := x.batch(t, uint64(i*each+1), recs...)
			for range 1 + rand.IntN(30) {
				all = append(all, one{x, p})
			}
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, m := range all {
		m.x.send(m.p)
	}
	for _, x := range boxes {
		until(t, "all ranges of "+x.edge, func() bool { return x.has(1, batches*each) })
	}
	until(t, "the replays to be through", func() bool { return b.Stats().Batches == int64(len(all)) })
	for _, x := range boxes {
		if n := len(b.stored(t, "replays", x.edge)); n != batches*each {
			t.Errorf("box %s: %d stays stored, want %d", x.edge, n, batches*each)
		}
	}
	st := b.Stats()
	if want := int64((len(all) - 2*batches) * each); st.Duplicates != want || st.DeadLetters != 0 {
		t.Errorf("%d duplicates and %d dead letters, want %d and 0", st.Duplicates, st.DeadLetters, want)
	}
	if st.Fresh.N != 2*batches*each || st.Fresh.Median < 50*time.Minute || st.Write.N == 0 {
		t.Errorf("delays %+v, want one for each record, of about an hour", st)
	}
	seen.Lock()
	defer seen.Unlock()
	if seen.n != len(all)*each {
		t.Errorf("the hook saw %d records, want %d", seen.n, len(all)*each)
	}
}

// What was acknowledged is there after the database was killed twice under load.
func TestInfluxKilledWhileBatchesFlow(t *testing.T) {
	srv := &influx.Server{Bin: kit.Tool(t, "influxd"), Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	restart := make(chan struct{})
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = srv.Run(ctx) // a kill is what this test is about
			select {
			case <-restart:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	if _, err := srv.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	b := prepare(t, startBroker(t), srv.Endpoint, registry("killed", "box"))
	b.start(t)
	x := newBox(t, b.broker, "killed", "box")
	const batches, each = 60, 20
	for i := range batches {
		var recs []any
		for k := range each {
			recs = append(recs, b.stayAt("table", i*each+k))
		}
		p, first := x.batch(t, uint64(i*each+1), recs...), uint64(i*each+1)
		if i == 20 || i == 40 {
			kill(t, srv.Dir)
		}
		x.send(p)
		if i == 20 || i == 40 {
			before := b.Stats().Outages
			until(t, "a write to meet the dead database", func() bool { return b.Stats().Outages > before })
			restart <- struct{}{}
		}
		if i%20 == 19 { // let some be confirmed before the next kill
			until(t, "the range to be acknowledged", func() bool { return x.has(first, each) })
		}
	}
	until(t, "everything to be acknowledged", func() bool { return x.has(1, batches*each) })
	if n := len(b.stored(t, "killed", "box")); n != batches*each {
		t.Errorf("%d stays stored, want the %d that were acknowledged", n, batches*each)
	}
}

// kill sends SIGKILL to the influxd whose folder is dir.
func kill(t *testing.T, dir string) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		var pid int
		line, err := os.ReadFile(p)
		if err != nil || !bytes.Contains(line, []byte(dir+"/")) {
			continue
		}
		if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err != nil {
			t.Fatal(err)
		}
		proc, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := proc.Kill(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("influxd was not found")
}

// While the database is away nothing is acknowledged and memory stays bounded.
func TestDatabaseAway(t *testing.T) {
	away := func() (influx.Endpoint, error) { return influx.Endpoint{}, fmt.Errorf("influxd is not up") }
	b := prepare(t, startBroker(t), away, registry("away", "box"))
	stop := b.start(t)
	x := newBox(t, b.broker, "away", "box")
	var recs []any
	for i := range 1000 {
		recs = append(recs, b.stayAt("table", i))
	}
	big := x.batch(t, 1, recs...)
	for range 300 { // 70 MB
		if tok := x.Publish(floorwatch.Topic("away", "box", floorwatch.LeafUp), 1, false, big); !tok.WaitTimeout(20 * time.Second) {
			t.Fatal("publish hangs")
		}
	}
	until(t, "messages to be left unread", func() bool { return b.Stats().Unread > 0 })
	if q := b.queued.Load(); q > MaxQueued {
		t.Errorf("%d bytes queued, limit %d", q, MaxQueued)
	}
	if x.has(1, 1) || b.Stats().Batches != 0 {
		t.Error("something was acknowledged that is not stored")
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("stopping with the database away took %s", took)
	}
}

func TestBadRecordsLeaveAndDoNotBlock(t *testing.T) {
	b := prepare(t, startBroker(t), realDatabase(t), registry("poison", "box"))
	b.start(t)
	x := newBox(t, b.broker, "poison", "box")
	evil := []byte(`{"kind":"stay","zone":"t,able=1","camera":"hall","id":"x","at":1,"enter":1,"exit":2}`)
	recs := []any{[]byte(`{"kind":"love letter"}`), []byte("null"), evil, []byte(`[]`)}
	for i := range 900 {
		recs = append(recs, b.stayAt("table", i))
	}
	x.send([]byte("{"))                                                                    // unreadable
	x.send(bytes.Repeat([]byte("["), 200_000))                                             // deep
	x.send(bytes.Replace(x.batch(t, 1, evil), []byte(`"poison"`), []byte(`"other"`), 1))   // not its topic
	x.Publish("floorwatch/v1/POISON/../up", 1, false, x.batch(t, 7, b.stayAt("table", 1))) // no box
	x.send(x.batch(t, 5000, recs...))
	until(t, "the whole range, bad records included", func() bool { return x.has(5000, len(recs)) })
	if n := len(b.stored(t, "poison", "box")); n != 900 {
		t.Errorf("%d stays stored, want 900", n)
	}
	var letters []Letter
	until(t, "eight dead letters", func() bool {
		var err error
		if letters, err = b.DB.List(t.Context(), 0, 100); err != nil {
			t.Fatal(err)
		}
		return len(letters) == 8
	})
	reasons := map[string]int{}
	for _, l := range letters {
		for _, want := range []string{"parse batch", "came on the topic", "is not floorwatch/v1", "unknown kind", "a name is", "parse record"} {
			if strings.Contains(l.Reason, want) {
				reasons[want]++
			}
		}
		if strings.Contains(l.Reason, "a name is") && (!bytes.Equal(l.Bytes, evil) || l.First != 5002 || l.Whole || l.Log != testLog) {
			t.Errorf("letter %+v does not hold the original", l)
		}
	}
	for want, n := range map[string]int{"parse batch": 2, "came on the topic": 1, "is not floorwatch/v1": 1, "unknown kind": 2, "a name is": 1, "parse record": 3} {
		if reasons[want] != n {
			t.Errorf("%d letters with %q, want %d", reasons[want], want, n)
		}
	}
	x.send(x.batch(t, 5000, recs...)) // the same again: letters do not grow
	until(t, "the replay", func() bool { return b.Stats().Duplicates >= int64(len(recs)) })
	if tot, err := b.DB.Totals(t.Context()); err != nil || tot.Letters != 8 {
		t.Errorf("%+v letters after a replay (%v), want 8", tot, err)
	}
}

// The database's own refusal of one point reaches the dead letters, too.
func TestStoreRefusesOnePoint(t *testing.T) {
	b := prepare(t, startBroker(t), realDatabase(t), registry("onepoint", "box"))
	b.Retention = 5000 * 24 * time.Hour // longer than the database's
	b.start(t)
	x := newBox(t, b.broker, "onepoint", "box")
	old := b.stayAt("table", 0)
	*old.Exit = b.now - 1000*24*3_600_000
	old.Enter = *old.Exit - 5000
	x.send(x.batch(t, 1, b.stayAt("table", 1), old, b.stayAt("table", 2)))
	until(t, "the range", func() bool { return x.has(1, 3) })
	letters, err := b.DB.List(t.Context(), 0, 10)
	if err != nil || len(letters) != 1 || letters[0].First != 2 || !strings.Contains(letters[0].Reason, "retention policy") {
		t.Errorf("letters %+v (%v), want the second record with the database's reason", letters, err)
	}
	if n := len(b.stored(t, "onepoint", "box")); n != 2 {
		t.Errorf("%d stays stored, want 2", n)
	}
}

func TestInventedZonesAreBounded(t *testing.T) {
	b := prepare(t, startBroker(t), realDatabase(t), registry("zones", "box"))
	stop := b.start(t)
	x := newBox(t, b.broker, "zones", "box")
	var recs []any
	for i := range 200 {
		recs = append(recs, b.stayAt(fmt.Sprint("zone-", i), i))
	}
	x.send(x.batch(t, 1, recs...))
	until(t, "the range", func() bool { return x.has(1, 200) })
	if n := len(b.stored(t, "zones", "box")); n != MaxNames {
		t.Errorf("%d series, want %d", n, MaxNames)
	}
	if tot, err := b.DB.Totals(t.Context()); err != nil || tot.Letters != 200-MaxNames {
		t.Errorf("%+v letters (%v), want %d", tot, err, 200-MaxNames)
	}
	stop() // the names outlive the process
	c := &Ingest{Broker: b.Broker, Sites: b.Sites, Store: b.influx, Index: b.index, DB: b.DB}
	b.DB.names = map[name]bool{}
	b.Ingest = c
	b.start(t)
	x.send(x.batch(t, 301, b.stayAt("zone-new", 300), b.stayAt("zone-5", 301)))
	until(t, "the second range", func() bool { return x.has(301, 2) })
	if ids := b.stored(t, "zones", "box"); ids["s300"] || !ids["s301"] {
		t.Error("after a restart a new zone was let in, or a known one kept out")
	}
}

// A store that is registered late loses nothing.
func TestRegisteredLate(t *testing.T) {
	b := prepare(t, startBroker(t), realDatabase(t), registry("early", "box"))
	stop := b.start(t)
	x := newBox(t, b.broker, "late", "box")
	x.send(x.batch(t, 1, b.stayAt("table", 1), b.stayAt("table", 2)))
	x.send([]byte("rubbish"))
	until(t, "the range in the dead letters", func() bool { return x.has(1, 2) })
	if want := "box box of store late is not registered with the cloud: floorwatch-cloud site add"; !strings.HasPrefix(x.refusal(), want) {
		t.Errorf("the box was told %q, want %q", x.refusal(), want)
	}
	until(t, "both letters", func() bool { tot, _ := b.DB.Totals(t.Context()); return tot.Letters == 2 })
	stop()
	b.Ingest = &Ingest{Broker: b.Broker, Sites: registry("late", "box"), Store: b.influx, Index: b.index, DB: b.DB}
	if n, err := b.DB.Retry(t.Context()); n != 2 || err != nil {
		t.Fatalf("%d letters marked (%v), want 2", n, err)
	}
	b.start(t)
	until(t, "the retried letter to leave", func() bool { tot, _ := b.DB.Totals(t.Context()); return tot.Letters == 1 })
	if n := len(b.stored(t, "late", "box")); n != 2 {
		t.Errorf("%d stays stored, want 2", n)
	}
	until(t, "the unreadable one to be refused again", func() bool {
		l, err := b.DB.List(t.Context(), 0, 9)
		return err == nil && len(l) == 1 && l[0].Times == 2 && string(l[0].Bytes) == "rubbish"
	})
	if n, err := b.DB.Drop(t.Context()); n != 1 || err != nil {
		t.Errorf("dropped %d (%v), want 1", n, err)
	}
}

func TestLettersAreBounded(t *testing.T) {
	db, err := OpenDB(filepath.Join(t.TempDir(), "x", "letters.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.MaxLetters, db.MaxLetterBytes = 5, 1000
	for i := range 9 {
		if err := db.put(t.Context(), []Letter{{Topic: "t", First: uint64(i + 1), Bytes: []byte("x"), Reason: strings.Repeat("é", 900)}}); err != nil {
			t.Fatal(err)
		}
	}
	letters, err := db.List(t.Context(), 0, 100)
	if err != nil || len(letters) != 5 || letters[0].First != 5 {
		t.Fatalf("%d letters (%v), want the newest 5", len(letters), err)
	}
	if err := db.put(t.Context(), []Letter{{Topic: "t", First: 10, Bytes: make([]byte, 999)}}); err != nil {
		t.Fatal(err)
	}
	if tot, err := db.Totals(t.Context()); err != nil || tot != (Totals{2, 1000, 8}) {
		t.Errorf("totals %+v (%v), want 2 letters of 1000 bytes, 8 evicted", tot, err)
	}
	if more, err := db.List(t.Context(), letters[4].ID, 100); err != nil || len(more) != 1 {
		t.Errorf("%d letters after the fifth (%v), want 1", len(more), err)
	}
}

// A seal is acknowledged once it is in the index, and only the registered key's.
func TestSegmentsReachTheIndex(t *testing.T) {
	mine, other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	r := site.Of(site.Registry{
		Stores: []site.Store{{ID: "seals"}},
		Edges:  []site.Edge{{Store: "seals", ID: "box", Key: site.KeyOf(mine.Public().(ed25519.PublicKey))}},
	})
	b := prepare(t, startBroker(t), realDatabase(t), r)
	b.start(t)
	x := newBox(t, b.broker, "seals", "box")
	changed := b.segment(t, mine, 3)
	changed.End++
	p := x.batch(t, 1, b.segment(t, mine, 1), b.segment(t, other, 2), changed, b.stayAt("table", 1), b.segment(t, mine, 1))
	for range 2 { // the second time as if the reply to the first was lost
		before := b.Stats().Batches
		x.send(p)
		until(t, "the range", func() bool { return x.has(1, 5) && b.Stats().Batches == before+1 })
	}
	got, err := b.index.Segments(t.Context(), "seals", "box", "hall", 0, b.now)
	if err != nil || len(got) != 1 || got[0] != *b.segment(t, mine, 1) {
		t.Errorf("index holds %d pieces (%v), want the first, unchanged", len(got), err)
	}
	letters, err := b.DB.List(t.Context(), 0, 10)
	if err != nil || len(letters) != 2 || !strings.Contains(letters[0].Reason, "not the registered key") || !strings.Contains(letters[1].Reason, "its seal") {
		t.Errorf("letters %+v (%v), want the foreign key and the changed end", letters, err)
	}
	if want := string(site.KeyOf(other.Public().(ed25519.PublicKey))) + ", which is not the registered key"; !strings.Contains(x.refusal(), want) {
		t.Errorf("the box was told %q, want %q", x.refusal(), want)
	}
}

// TestBoxAsksForItsKey: a box learns that another key than its own is registered
// before it has sealed anything.
func TestBoxAsksForItsKey(t *testing.T) {
	mine, other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	r := site.Of(site.Registry{
		Stores: []site.Store{{ID: "keys"}},
		Edges:  []site.Edge{{Store: "keys", ID: "box", Key: site.KeyOf(mine.Public().(ed25519.PublicKey))}},
	})
	b := prepare(t, startBroker(t), realDatabase(t), r)
	b.start(t)
	x := newBox(t, b.broker, "keys", "box")
	for i, c := range []struct {
		key  ed25519.PrivateKey
		want string
	}{{mine, ""}, {other, "is not the registered key of this box"}} {
		x.send(x.batch(t, uint64(i+1), &floorwatch.Health{
			Header:  floorwatch.Header{Kind: floorwatch.KindHealth, ID: fmt.Sprint("doctor-", i), At: b.now},
			Figures: map[string]float64{floorwatch.FigureProbe: 1}, Key: string(site.KeyOf(c.key.Public().(ed25519.PublicKey))),
		}))
		until(t, "the record", func() bool { return x.has(uint64(i+1), 1) })
		if !strings.HasSuffix(x.refusal(), c.want) || (x.refusal() == "") != (c.want == "") {
			t.Errorf("told %q, want %q", x.refusal(), c.want)
		}
	}
}

// Gaps and deletions bring their seals, so that the chain in the index has no
// holes; a record that says something else than its seal is refused.
func TestSealsOfGapsAndDeletionsReachTheIndex(t *testing.T) {
	mine, other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	r := site.Of(site.Registry{
		Stores: []site.Store{{ID: "seals"}},
		Edges:  []site.Edge{{Store: "seals", ID: "box", Key: site.KeyOf(mine.Public().(ed25519.PublicKey))}},
	})
	b := prepare(t, startBroker(t), realDatabase(t), r)
	b.start(t)
	x := newBox(t, b.broker, "seals", "box")
	seal := func(kind string, seq uint64, key ed25519.PrivateKey) string {
		s := floorwatch.Seal{
			Kind: kind, Store: "seals", Edge: "box", Camera: "hall", Chain: "00112233aabbccdd", Seq: seq, Prev: strings.Repeat("ab", 32),
			At: b.now, Start: b.now - 60_000, End: b.now - 1000, Boot: strings.Repeat("0a", 16), Cause: "test",
		}
		if kind == floorwatch.SealDeleted {
			s.Gone = []string{strings.Repeat("cd", 32)}
		}
		raw, err := floorwatch.SignSeal(s, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	to := b.now - 1000
	gap := func(seq uint64, key ed25519.PrivateKey) *floorwatch.Gap {
		return &floorwatch.Gap{
			Header: floorwatch.Header{Kind: floorwatch.KindGap, Camera: "hall", ID: fmt.Sprint(seq), At: b.now}, Of: floorwatch.OfFootage,
			From: b.now - 60_000, To: &to, Cause: "test", Seal: seal(floorwatch.SealGap, seq, key),
		}
	}
	deleted := func(seq uint64, key ed25519.PrivateKey) *floorwatch.Deleted {
		return &floorwatch.Deleted{
			Header: floorwatch.Header{Kind: floorwatch.KindDeleted, Camera: "hall", ID: fmt.Sprint(seq), At: b.now},
			Chain:  "00112233aabbccdd", Seq: seq, Start: b.now - 60_000, End: to, Cause: "test", N: 1, Seal: seal(floorwatch.SealDeleted, seq, key),
		}
	}
	old := gap(9, mine) // of a box from before gaps carried seals
	old.Seal = ""
	lies, swapped := gap(7, mine), deleted(8, mine)
	lies.Cause = "something else"
	swapped.Seal = seal(floorwatch.SealGap, 8, mine)
	x.send(x.batch(t, 1, gap(2, mine), deleted(3, mine), gap(2, mine), old, gap(5, other), deleted(6, other), lies, swapped))
	until(t, "the range", func() bool { return x.has(1, 8) })
	n := 0
	err := b.index.EachSeal(t.Context(), func(s string) error {
		if n++; s != seal(floorwatch.SealGap, 2, mine) && s != seal(floorwatch.SealDeleted, 3, mine) {
			t.Errorf("not one that was sent: %s", s)
		}
		return nil
	})
	letters, listErr := b.DB.List(t.Context(), 0, 10)
	if err != nil || n != 2 || listErr != nil || len(letters) != 4 {
		t.Errorf("%d seals (%v), want 2; %d letters (%v), want 4: %+v", n, err, len(letters), listErr, letters)
	}
}

// segment is a minute of footage that ended an hour ago, signed with key.
func (b *bench) segment(t *testing.T, key ed25519.PrivateKey, seq uint64) *floorwatch.Segment {
	t.Helper()
	end, hash := b.now-3_600_000, strings.Repeat("ab", 32)
	seal := floorwatch.Seal{
		Kind: floorwatch.SealSegment, Store: "seals", Edge: "box", Camera: "hall", Chain: "00112233aabbccdd", Seq: seq,
		At: end, Start: end - 60_000, End: end, Synced: true, Boot: strings.Repeat("0a", 16), MonoStart: 1000, MonoEnd: 61_000,
		File: "1.mp4", Codec: "avc1.64001f", Length: 1000, SHA256: hash,
		Fragments: []floorwatch.Fragment{{Length: 100, SHA256: hash}, {Length: 900, Duration: 60_000, SHA256: hash}},
	}
	if seq > 1 {
		seal.Prev = hash
	}
	raw, err := floorwatch.SignSeal(seal, key)
	if err != nil {
		t.Fatal(err)
	}
	return &floorwatch.Segment{
		Header: floorwatch.Header{Kind: floorwatch.KindSegment, Camera: "hall", At: end},
		File:   seal.File, Chain: seal.Chain, Seq: seq, Start: seal.Start, End: end, Bytes: seal.Length, SHA256: hash, Seal: string(raw),
	}
}

// The same path over the broker that shops use, which dies in between.
func TestMosquittoRestarts(t *testing.T) {
	m := kit.Mosquitto(t, "")
	b := prepare(t, "tcp://"+m.Address, realDatabase(t), registry("mosquitto", "box"))
	b.start(t)
	for round := range 2 {
		x := newBox(t, b.broker, "mosquitto", "box")
		p := x.batch(t, uint64(round*10+1), b.stayAt("table", round))
		until(t, "the acknowledgement", func() bool {
			x.send(p)
			return x.has(uint64(round*10+1), 1)
		})
		x.Disconnect(0)
		if round == 0 {
			m.End()
			until(t, "the ingest to notice", func() bool { return b.client.Load() == nil })
			kit.Must(t, m.Start(context.Background()))
			until(t, "the ingest to come back", func() bool { return b.client.Load() != nil })
		}
	}
	if n := len(b.stored(t, "mosquitto", "box")); n != 2 {
		t.Errorf("%d stays stored, want 2", n)
	}
}

// With a session the broker keeps what comes while the one instance is away.
func TestSessionOutlivesUs(t *testing.T) {
	b := prepare(t, startBroker(t), realDatabase(t), registry("session", "box"))
	b.Plain, b.Session = true, "one"
	stop := b.start(t)
	x := newBox(t, b.broker, "session", "box")
	p := x.batch(t, 1, b.stayAt("table", 0))
	until(t, "the first acknowledgement", func() bool {
		x.send(p)
		return x.has(1, 1)
	})
	stop()
	x.send(x.batch(t, 2, b.stayAt("table", 1)))
	b.start(t)
	until(t, "the acknowledgement of what came meanwhile", func() bool { return x.has(2, 1) })
	if n := len(b.stored(t, "session", "box")); n != 2 {
		t.Errorf("%d stays stored, want 2", n)
	}
}

func TestRunRefusesSettings(t *testing.T) {
	for name, g := range map[string]*Ingest{
		"no stores":      {},
		"shared session": {Sites: registry("x"), Session: "x", Store: new(influx.Client), Index: new(vault.Index), DB: new(DB)},
	} {
		if g.Run(t.Context()) == nil {
			t.Errorf("%s: Run began", name)
		}
	}
}

// BenchmarkPath measures records through broker, ingest and InfluxDB, from
// publishing to the acknowledgement: in batches of 100 and one by one.
func BenchmarkPath(b *testing.B) {
	for _, each := range []int{100, 1} {
		b.Run(fmt.Sprintf("batch=%d", each), func(b *testing.B) {
			store := fmt.Sprint("bench-", each)
			p := prepare(b, startBroker(b), realDatabase(b), registry(store, "box"))
			p.start(b)
			x := newBox(b, p.broker, store, "box")
			batches := (b.N + each - 1) / each
			payloads := make([][]byte, batches)
			for i := range payloads {
				var recs []any
				for k := range each {
					recs = append(recs, p.stayAt("table", i*each+k))
				}
				payloads[i] = x.batch(b, uint64(i*each+1), recs...)
			}
			b.ResetTimer()
			inFlight := 0
			for i, m := range payloads {
				x.send(m)
				if inFlight++; inFlight == 64 {
					until(b, "acknowledgements", func() bool { return x.has(uint64((i-32)*each+1), each) })
					inFlight = 32
				}
			}
			until(b, "all acknowledgements", func() bool { return x.has(1, batches*each) })
			b.StopTimer()
			b.ReportMetric(float64(batches*each)/b.Elapsed().Seconds(), "records/s")
			st := p.Stats()
			b.ReportMetric(float64(st.Write.Median.Microseconds())/1000, "ms/write-median")
		})
	}
}
