package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

func deliveryRows() []row {
	return []row{
		{
			id: "A1", property: "No record lost or doubled between Append and InfluxDB, whatever dies",
			goal: "0 lost, 0 doubled, 0 wrong in 200 cycles of random faults", run: randomFaults,
		},
		{
			id: "A2", property: "The broker acknowledged and dies before it passed on",
			goal: "0 lost with a broker that keeps nothing, killed 100 times between PUBACK and delivery", run: brokerDies,
		},
		{
			id: "A3", property: "A fleet comes back after its uplink does: soon, and not all at once",
			goal: "first backlog record accepted p95 ≤ 35 s, max ≤ 60 s; 500 boxes at once: ≤ 25 connects per second", run: fleetReturns,
			long: "boxes take up to 35 s to come back, on purpose",
		},
		{
			id: "A4", property: "A dead link is noticed", goal: "≤ 25 s for half-open links and blackholes one way, 50 times", run: deadLinks,
			long: "it waits out the 20 s that a link may be silent",
		},
		{
			id: "A5", property: "The network never stalls the cameras",
			goal: "hand-off p99.9 ≤ 5 ms with the link dead under load, no frame dropped", run: handOff,
			long: "milliseconds are nothing that a busy machine can promise",
		},
		{
			id: "A6", property: "A backlog drains without starving live data",
			goal: "86,400 records in ≤ 120 s on loopback, live p95 ≤ 5 s meanwhile", run: backlog,
		},
		{
			id: "A7", property: "Messages repeated 1 to 1,000 times in any order change nothing",
			goal: "0 differing points", run: replays,
		},
	}
}

// quantile returns the p-quantile of seconds; 0 of none.
func quantile(all []float64, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// brokerDies holds the cloud's side of the broker, waits until the boxes have
// their PUBACKs, and kills it.
func brokerDies(ctx context.Context, b *bench) (finding, error) {
	halls := b.rounds(10, 1) // mostly they wait
	rounds := b.rounds(10, 2)
	var mu sync.Mutex
	var all judged
	var resent, kills uint64
	err := each(ctx, halls, halls, func(ctx context.Context, i int) error {
		dir, err := b.sub(fmt.Sprint("hall", i))
		if err != nil {
			return err
		}
		h, err := b.newHall(ctx, dir, 4)
		if err != nil {
			return err
		}
		defer h.end()
		ledgers := filepath.Join(dir, "ledgers")
		c, err := startCrew(ctx, lightBoxes{Dir: filepath.Join(dir, "boxes"), Ledger: ledgers, Broker: []string{h.line.Addr}, Boxes: 4, Rate: 20})
		if err != nil {
			return err
		}
		defer c.End()
		for range rounds {
			if err := h.killBetween(ctx, c); err != nil {
				return err
			}
		}
		if err := c.finish(ctx, 90*time.Second); err != nil {
			return err
		}
		v, err := h.judge(ctx, ledgers)
		mu.Lock()
		defer mu.Unlock()
		all.add(v)
		kills += uint64(rounds)
		resent += c.said().Again
		return err
	})
	return finding{
		Figure:  fmt.Sprintf("%d kills between PUBACK and delivery: %s; %.0f records sent again per kill", kills, all, float64(resent)/float64(max(kills, 1))),
		Reached: all.clean(),
	}, err
}

func (h *hall) killBetween(ctx context.Context, c *crew) error {
	up := func(s boxesSay) bool { return s.Connected == 4 && s.Acked > 0 }
	if err := c.until(ctx, "the boxes to be connected", time.Minute, up); err != nil {
		return err
	}
	h.behind.Set(chaos.Fault{}, chaos.Fault{Hold: true}) // what is delivered goes nowhere
	before := c.said().Stored
	held := func(s boxesSay) bool { return s.Stored > before+12 && s.Waiting > 12 }
	if err := c.until(ctx, "records to be on their way", time.Minute, held); err != nil {
		return err
	}
	if err := kit.Pause(ctx, 50*time.Millisecond); err != nil { // for the last PUBACK
		return err
	}
	h.line.Down() // the cloud comes back first; boxes that do wait half a minute
	if err := h.broker.Kill(); err != nil {
		return err
	}
	h.broker.End()
	h.behind.Reset()
	h.behind.Pass()
	at := c.said()
	if err := h.broker.Start(ctx); err != nil {
		return err
	}
	if err := h.connected(ctx); err != nil {
		return err
	}
	if err := h.line.Up(); err != nil {
		return err
	}
	return c.until(ctx, "what the broker forgot to be acknowledged", 90*time.Second, func(s boxesSay) bool { return s.Acked >= at.Stored })
}

func (v *judged) add(w judged) {
	v.Records += w.Records
	v.Lost += w.Lost
	v.Doubled += w.Doubled
	v.Wrong += w.Wrong
}

// deadLinks kills 50 links in three ways, idle and busy ones, each at its own
// time.
func deadLinks(ctx context.Context, b *bench) (finding, error) {
	broker, err := kit.StartBroker(ctx, b.dir, kit.Open)
	if err != nil {
		return finding{}, err
	}
	defer func() { broker.End() }()
	const links = 50
	lines := make([]*chaos.Proxy, links)
	addresses := make([]string, links)
	for i := range lines {
		if lines[i], err = chaos.Start(broker.Address); err != nil {
			return finding{}, err
		}
		defer lines[i].Close()
		addresses[i] = lines[i].Addr
	}
	dir := filepath.Join(b.dir, "boxes")
	idle, err := startCrew(ctx, lightBoxes{Dir: dir, Ledger: dir + ".ledgers", Broker: addresses[:links/2], Boxes: links / 2})
	if err != nil {
		return finding{}, err
	}
	defer idle.End()
	busy, err := startCrew(ctx, lightBoxes{Dir: dir, Ledger: dir + ".ledgers", Broker: addresses[links/2:], First: links / 2, Boxes: links / 2, Rate: 1})
	if err != nil {
		return finding{}, err
	}
	defer busy.End()
	for _, c := range []*crew{idle, busy} {
		if err := c.until(ctx, "all boxes to be connected", time.Minute, func(s boxesSay) bool { return s.Connected == links/2 }); err != nil {
			return finding{}, err
		}
	}
	hold := chaos.Fault{Hold: true}
	ways := [][2]chaos.Fault{{hold, {}}, {{}, hold}, {hold, hold}, {chaos.Fault{Stall: true}, chaos.Fault{Stall: true}}}
	at := make([]float64, links)
	for i, l := range lines {
		if err := kit.Pause(ctx, rand.N(600*time.Millisecond)); err != nil {
			return finding{}, err
		}
		at[i] = now()
		l.Mute()
		l.Set(ways[i%len(ways)][0], ways[i%len(ways)][1])
	}
	if err := kit.Pause(ctx, 32*time.Second); err != nil {
		return finding{}, err
	}
	lost := slices.Concat(idle.said().Lost, busy.said().Lost)
	var took []float64
	missed := 0
	for i := range lost {
		if lost[i] < at[i] {
			missed++
			continue
		}
		took = append(took, lost[i]-at[i])
	}
	return finding{
		Figure: fmt.Sprintf("%d links, dead to the broker, from it, both ways, or full: noticed after p50 %.1f s, p95 %.1f s, at most %.1f s; %d not noticed within 32 s",
			links, quantile(took, 0.5), quantile(took, 0.95), quantile(took, 1), missed),
		Reached: missed == 0 && len(took) == links && quantile(took, 1) <= 25,
	}, nil
}

// backlog drains a day of records while the box goes on recording.
func backlog(ctx context.Context, b *bench) (finding, error) {
	h, err := b.newHall(ctx, b.dir, 1)
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	records := b.rounds(86_400, 8_640)
	ledgers := filepath.Join(b.dir, "ledgers")
	h.line.Blackhole()
	c, err := startCrew(ctx, lightBoxes{Dir: filepath.Join(b.dir, "boxes"), Ledger: ledgers, Broker: []string{h.line.Addr}, Boxes: 1, Rate: 20, Preset: records, Max: 64 << 20})
	if err != nil {
		return finding{}, err
	}
	defer c.End()
	if err := c.until(ctx, "the backlog to be stored", 2*time.Minute, func(s boxesSay) bool { return s.Stored >= uint64(records) }); err != nil {
		return finding{}, err
	}
	h.line.Reset()
	h.line.Pass()
	if err := c.until(ctx, "the link", time.Minute, func(s boxesSay) bool { return s.Connected == 1 }); err != nil {
		return finding{}, err
	}
	began := time.Now()
	c.forget()
	if err := c.until(ctx, "the backlog to be acknowledged", 10*time.Minute, func(s boxesSay) bool { return s.Acked >= uint64(records) }); err != nil {
		return finding{}, err
	}
	took := time.Since(began).Seconds()
	live := c.liveAges(began)
	if err := c.finish(ctx, time.Minute); err != nil {
		return finding{}, err
	}
	v, err := h.judge(ctx, ledgers)
	return finding{
		Figure: fmt.Sprintf("%s records in %.1f s (%s per second); live records meanwhile acknowledged after p50 %.2f s, p95 %.2f s (%d of them); %s",
			number(records), took, number(int(float64(records)/took)), quantile(live, 0.5), quantile(live, 0.95), len(live), v),
		Reached: took <= 120*float64(records)/86_400+5 && len(live) > 0 && quantile(live, 0.95) <= 5 && v.clean() && took <= 120,
	}, err
}

// replays captures what boxes send, and sends it again and again.
func replays(ctx context.Context, b *bench) (finding, error) {
	h, err := b.newHall(ctx, b.dir, 3)
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	thief, err := h.listen(floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafUp)
	if err != nil {
		return finding{}, err
	}
	defer thief.Disconnect(100)
	ledgers := filepath.Join(b.dir, "ledgers")
	c, err := startCrew(ctx, lightBoxes{Dir: filepath.Join(b.dir, "boxes"), Ledger: ledgers, Broker: []string{h.line.Addr}, Boxes: 3, Rate: 50, Preset: b.rounds(3000, 300)})
	if err != nil {
		return finding{}, err
	}
	defer c.End()
	if err := kit.Pause(ctx, time.Duration(b.rounds(10, 2))*time.Second); err != nil {
		return finding{}, err
	}
	if err := c.finish(ctx, time.Minute); err != nil {
		return finding{}, err
	}
	v, err := h.judge(ctx, ledgers)
	if err != nil {
		return finding{}, err
	}
	before, err := h.dump(ctx)
	if err != nil {
		return finding{}, err
	}
	stolen := thief.taken()
	var plan []stolenMessage
	for i, m := range stolen {
		times := 1 + b.rand.IntN(10)
		if i%50 == 0 && len(m.payload) < 20_000 {
			times = b.rounds(1000, 100)
		}
		plan = append(plan, slices.Repeat([]stolenMessage{m}, times)...)
	}
	b.rand.Shuffle(len(plan), func(i, k int) { plan[i], plan[k] = plan[k], plan[i] })
	want := h.figure("floorwatch_ingest_records_total")
	for _, m := range plan {
		if token := thief.Publish(m.topic, 1, false, m.payload); !token.WaitTimeout(time.Minute) || token.Error() != nil {
			return finding{}, fmt.Errorf("send a message again: %w", token.Error())
		}
		want += float64(m.records)
	}
	err = kit.Until(ctx, "the cloud to have taken all", 2*time.Minute, func() (bool, error) { return h.figure("floorwatch_ingest_records_total") >= want, nil })
	if err != nil {
		return finding{}, err
	}
	after, err := h.dump(ctx)
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
	return finding{
		Figure: fmt.Sprintf("%s messages sent again up to %s times, shuffled, %s in all: %d of %s points differ; %s",
			number(len(stolen)), number(b.rounds(1000, 100)), number(len(plan)), differ, number(len(after)), v),
		Reached: differ == 0 && len(after) > 0 && v.clean(),
	}, err
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

func (h *hall) listen(topic string) (*listener, error) {
	l := &listener{}
	l.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + h.broker.Address).SetClientID("thief").SetProtocolVersion(4).SetOrderMatters(false))
	if token := l.Connect(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		return nil, fmt.Errorf("connect to the broker: %w", token.Error())
	}
	token := l.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) {
		if b, err := floorwatch.ParseBatch(m.Payload()); err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.got = append(l.got, stolenMessage{m.Topic(), m.Payload(), b.N})
		}
	})
	if !token.WaitTimeout(10 * time.Second) {
		return nil, fmt.Errorf("hear %s: no answer", topic)
	}
	return l, token.Error()
}

// dump reads the whole database: each point by its series and time.
func (h *hall) dump(ctx context.Context) (map[string]string, error) {
	at, err := h.database.Endpoint()
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

// randomFaults runs two halls side by side, each with boxes on a disk whose power
// is cut, and does something to them every second or two.
func randomFaults(ctx context.Context, b *bench) (finding, error) {
	scratch, end, err := b.scratch()
	if err != nil {
		return finding{}, err
	}
	defer end()
	halls, cycles := b.rounds(2, 1), b.rounds(100, 3)
	var mu sync.Mutex
	var all judged
	oldest := 0.0
	done := newTally()
	seed := b.rand.Uint64()
	err = each(ctx, halls, halls, func(ctx context.Context, i int) error {
		dir, err := b.sub(fmt.Sprint("hall", i))
		if err != nil {
			return err
		}
		h, err := b.newHall(ctx, dir, 3)
		if err != nil {
			return err
		}
		defer h.end()
		s := &siege{hall: h, rng: rand.New(rand.NewPCG(seed, uint64(i))), done: done, ledgers: filepath.Join(dir, "ledgers")}
		v, err := s.run(ctx, filepath.Join(scratch, fmt.Sprintf("%d.img", i)), cycles)
		mu.Lock()
		defer mu.Unlock()
		all.add(v)
		oldest = max(oldest, s.oldest)
		return err
	})
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(done.n)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", done.n[k], k))
	}
	f := finding{
		Figure:  fmt.Sprintf("%d cycles (%s): %s; no record waited longer than %.0f s", halls*cycles, strings.Join(kinds, ", "), all, oldest),
		Reached: all.clean(),
	}
	if err != nil || b.short {
		return f, err
	}
	text, fits, err := weekOffline(filepath.Join(scratch, "week"))
	f.Figure += "; " + text
	f.Reached = f.Reached && fits
	return f, err
}

// weekOffline stores a record for each second of seven days in an outbox with its
// defaults, each in a commit of its own.
func weekOffline(dir string) (text string, fits bool, err error) {
	o, err := outbox.Open(outbox.Settings{Dir: dir, Commit: 1})
	if err != nil {
		return "", false, err
	}
	defer func() { _ = o.Close() }()
	const week = 7 * 24 * 3600
	bytes := 0
	for n := range uint64(week) {
		rec := stayOf(0, n, floorwatch.Time(1_700_000_000_000+n*1000))
		bytes += len(rec.JSON)
		if err := o.Append(rec); err != nil {
			return "", false, err
		}
	}
	st := o.Stats()
	reserve, err := filepath.Glob(filepath.Join(dir, "reserve-*"))
	held := float64(st.Bytes+int64(len(reserve))*outbox.DefaultMaxBytes/64) / (1 << 20)
	return fmt.Sprintf("7 days offline at 1 record per second: %s records of %d bytes in %.0f MiB with the reserve, %s dropped",
		number(st.Records), bytes/week, held, number(st.Dropped)), st.Dropped == 0 && st.Records == week && held <= 256, err
}

// siege is a hall under random faults.
type siege struct {
	*hall
	rng     *rand.Rand
	done    *tally
	ledgers string
	disk    *disk
	crew    *crew
	lives   uint64
	oldest  float64 // s, of any record that waited
}

func (s *siege) run(ctx context.Context, image string, cycles int) (v judged, err error) {
	if s.disk, err = newDisk(ctx, image, 160<<20); err != nil {
		return v, err
	}
	if err := s.disk.mount(ctx); err != nil {
		return v, err
	}
	defer s.disk.unmount()
	if err := s.live(ctx); err != nil {
		return v, err
	}
	defer func() { s.crew.End() }()
	faults := s.faults()
	names := slices.Sorted(maps.Keys(faults))
	for i := range cycles {
		name := names[s.rng.IntN(len(names))]
		if s.bench.short { // a new session sends all again at once, so it comes last
			name = []string{"InfluxDB refuses", "aggregator killed", "power cut"}[i%3]
		}
		if err := faults[name](ctx); err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
		s.done.add(name, 1)
		if err := s.look(ctx, 200*time.Millisecond+time.Duration(s.rng.IntN(800))*time.Millisecond); err != nil {
			return v, err
		}
	}
	if err := s.crew.finish(ctx, 2*time.Minute); err != nil {
		return v, err
	}
	return s.judge(ctx, s.ledgers)
}

// live starts the boxes on what is on their disk.
func (s *siege) live(ctx context.Context) (err error) {
	s.lives++
	s.crew, err = startCrew(ctx, lightBoxes{
		Dir: filepath.Join(s.disk.at, "boxes"), Ledger: s.ledgers, Broker: []string{s.line.Addr}, Boxes: 3, Rate: 20, Seq: s.lives * 1_000_000, Max: 64 << 20,
	})
	return err
}

// look waits, and notes how old what waits is.
func (s *siege) look(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.oldest = max(s.oldest, s.crew.said().Oldest)
		if err := kit.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (s *siege) faults() map[string]func(context.Context) error {
	while := func(put, heal func()) func(context.Context) error {
		return func(ctx context.Context) error {
			put()
			err := s.look(ctx, 300*time.Millisecond+time.Duration(s.rng.IntN(1500))*time.Millisecond)
			heal()
			return err
		}
	}
	pass := func() { s.line.Pass(); s.line.Reset() }
	die := func(ctx context.Context, cut bool) error {
		if err := s.crew.Kill(); err != nil {
			return err
		}
		<-s.crew.done
		s.crew.End()
		if cut {
			if err := s.disk.cut(ctx); err != nil {
				return err
			}
		}
		return s.live(ctx)
	}
	return map[string]func(context.Context) error{
		"boxes killed":            func(ctx context.Context) error { return die(ctx, false) },
		"power cut":               func(ctx context.Context) error { return die(ctx, true) },
		"broker killed":           func(ctx context.Context) error { return s.broker.Restart(ctx) },
		"aggregator killed":       s.killCloud,
		"InfluxDB refuses":        while(func() { s.gate.closed.Store(true) }, func() { s.gate.closed.Store(false) }),
		"blackhole":               while(s.line.Blackhole, pass),
		"blackhole to the broker": while(func() { s.line.Set(chaos.Fault{Hold: true}, chaos.Fault{}) }, pass),
		"acknowledgements lost":   while(func() { s.line.Set(chaos.Fault{}, chaos.Fault{Hold: true}) }, pass),
		"slow line": while(func() {
			s.line.Both(chaos.Fault{Delay: 50 * time.Millisecond, Jitter: 100 * time.Millisecond, Rate: 50_000})
		}, s.line.Pass),
		"lossy line":        while(func() { s.line.Drop(20) }, s.line.Pass),
		"connections reset": func(context.Context) error { s.line.Reset(); s.behind.Reset(); return nil },
	}
}
