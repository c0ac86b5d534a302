package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

func cloudRows() []row {
	return []row{
		{
			id: "H1", property: "InfluxDB is away: it refuses, hangs, is slow, and the aggregator dies meanwhile",
			goal: "10 min away: 0 lost, ≤ 256 MB, drained in ≤ 20 % of the time", run: databaseAway,
		},
		{
			id: "H2", property: "A bad point among 5,000 good ones", goal: "all good ones written, only the bad one in the dead letters, for each class of error", run: badPoint,
		},
		{
			id: "H3", property: "Late and shuffled records give the figures of records in order", goal: "0 differing rows, up to 30 days late", run: lateAndShuffled,
		},
		{
			id: "H4", property: "Three aggregators on one subscription, killed and paused at random", goal: "0 lost, 0 doubled, another takes over in ≤ 60 s", run: instances,
		},
		{
			id: "H6", property: "Far more comes than the database takes", goal: "10 times the load for 10 min: 0 lost, ≤ 256 MB, boxes wait instead of sending again and again", run: overload,
		},
	}
}

const memoryLimit = 256 // MiB, of the aggregator

// highWater watches the largest memory in MiB of processes that come and go.
type highWater struct {
	peak atomic.Int64
	stop context.CancelFunc
	done chan struct{}
}

func watchMemory(ctx context.Context, pids func() []int) *highWater {
	ctx, stop := context.WithCancel(ctx)
	w := &highWater{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for kit.Pause(ctx, 100*time.Millisecond) == nil {
			for _, pid := range pids() {
				w.peak.Store(max(w.peak.Load(), residentMiB(pid)))
			}
		}
	}()
	return w
}

func (w *highWater) end() int64 { w.stop(); <-w.done; return w.peak.Load() }

// residentMiB reads the peak of a process's memory; 0 when it is gone.
func residentMiB(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	text, _, _ := strings.Cut(rest, "kB")
	kb, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return kb >> 10
}

// databaseAway takes the database away in three ways, one after the other, while
// boxes go on, and kills the aggregator in each.
func databaseAway(ctx context.Context, b *bench) (finding, error) {
	h, err := b.newHall(ctx, b.dir, 4)
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	ledgers := filepath.Join(b.dir, "ledgers")
	c, err := startCrew(ctx, lightBoxes{Dir: filepath.Join(b.dir, "boxes"), Ledger: ledgers, Broker: []string{h.line.Addr}, Boxes: 4, Rate: 25})
	if err != nil {
		return finding{}, err
	}
	defer c.End()
	if err := c.until(ctx, "records to arrive", time.Minute, func(s boxesSay) bool { return s.Acked > 20 }); err != nil {
		return finding{}, err
	}
	var pid atomic.Int64
	pid.Store(int64(h.cloud.PID()))
	memory := watchMemory(ctx, func() []int { return []int{int(pid.Load())} })
	defer memory.end()
	away, part := time.Duration(0), time.Duration(b.rounds(200, 2))*time.Second
	for _, fault := range []func(){
		func() { h.gate.closed.Store(true) },
		func() { h.gate.closed.Store(false); h.gate.hold.Store(true) },
		func() { h.gate.delay.Store(int64(12 * time.Second)); h.gate.hold.Store(false) }, // longer than a write may take
	} {
		fault()
		b.say("another way of being away; %d records wait", c.said().Waiting)
		if err := kit.Pause(ctx, part/2); err != nil {
			return finding{}, err
		}
		if !b.short { // the boxes send again half a minute after such a death, which the short form does not wait for
			if err := h.killCloud(ctx); err != nil {
				return finding{}, err
			}
			pid.Store(int64(h.cloud.PID()))
		}
		if err := kit.Pause(ctx, part/2); err != nil {
			return finding{}, err
		}
		away += part
	}
	waiting := c.said().Waiting
	h.gate.delay.Store(0)
	healed := time.Now()
	if err := c.until(ctx, "the boxes to be rid of what waited", 10*time.Minute, func(s boxesSay) bool { return s.Oldest < 2 }); err != nil {
		return finding{}, err
	}
	drained := time.Since(healed)
	if err := c.finish(ctx, 2*time.Minute); err != nil {
		return finding{}, err
	}
	v, err := h.judge(ctx, ledgers)
	peak := memory.end()
	killed := "aggregator killed in each"
	if b.short {
		killed = "aggregator alive"
	}
	limit := max(away/5, 20*time.Second) // a request that hung is given up after some seconds
	return finding{
		Figure: fmt.Sprintf("%s of 503, of silence and of answers that come too late, 100 records/s, %s: %s; %s records waited at the end, drained in %.0f s; aggregator at most %d MiB",
			away, killed, v, number(waiting), drained.Seconds(), peak),
		Reached: v.clean() && peak > 0 && peak <= memoryLimit && drained <= limit,
	}, err
}

// badClass is a way in which one record can be bad. The database learns of it
// first; what comes of it is a record of the hall's box.
type badClass struct {
	name   string
	record func(now time.Time) json.RawMessage
}

func badClasses() []badClass {
	stay := func(id string, enter, exit int64, more string) json.RawMessage {
		return fmt.Appendf(nil, `{"kind":"stay","camera":"hall","zone":"queue","id":%q,"at":%d,"rev":"aabbccddeeff","enter":%d,"exit":%d,"enter_seen":true,"exit_seen":true,"seen_s":1,"merged_s":0,"tracks":[1]%s}`,
			id, exit, enter, exit, more)
	}
	return []badClass{
		{"field of another type in the database", func(now time.Time) json.RawMessage {
			ms := now.Add(-time.Minute).UnixMilli()
			return fmt.Appendf(nil, `{"kind":"alert","camera":"hall","zone":"queue","id":"bad-type","at":%d,"level":"high","since":%d,"value":5,"limit":3}`, ms, ms)
		}},
		{"older than the database keeps", func(now time.Time) json.RawMessage {
			ms := now.Add(-90 * time.Hour).UnixMilli()
			return stay("bad-old", ms-5000, ms, "")
		}},
		{"ends before it begins", func(now time.Time) json.RawMessage {
			ms := now.Add(-time.Minute).UnixMilli()
			return stay("bad-order", ms+5000, ms, "")
		}},
		{"of an unknown kind", func(time.Time) json.RawMessage { return json.RawMessage(`{"kind":"poem","id":"bad-kind","at":1}`) }},
		{"no JSON object", func(time.Time) json.RawMessage { return json.RawMessage(`["bad-json"]`) }},
	}
}

// badPoint puts one bad record into the midst of 5,000 good ones, for each class.
func badPoint(ctx context.Context, b *bench) (finding, error) {
	classes := badClasses()
	h, err := b.newHall(ctx, b.dir, len(classes))
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	at, err := h.database.Endpoint()
	if err != nil {
		return finding{}, err
	}
	if _, err := influxdb.Query(ctx, at, `ALTER RETENTION POLICY raw ON floorwatch DURATION 72h SHARD DURATION 24h`); err != nil {
		return finding{}, err
	}
	if err := write(ctx, at, fmt.Sprintf(`alert,store=other value="a word" %d`, time.Now().UnixNano())); err != nil {
		return finding{}, err
	}
	link, err := h.sender()
	if err != nil {
		return finding{}, err
	}
	defer link.Disconnect(100)
	good := b.rounds(5000, 5000)
	for box, class := range classes {
		recs := make([]json.RawMessage, 0, good+1)
		now := time.Now()
		for i := range good {
			recs = append(recs, stayOf(box, uint64(i+1), tick(now, i)).JSON)
		}
		recs = append(recs[:good/2], append([]json.RawMessage{class.record(now)}, recs[good/2:]...)...)
		if err := link.batches(ctx, box, recs); err != nil {
			return finding{}, fmt.Errorf("%s: %w", class.name, err)
		}
	}
	rows, err := influxdb.Query(ctx, at, `SELECT count(seen_s) FROM stay GROUP BY edge`)
	if err != nil {
		return finding{}, err
	}
	written, lost := 0, len(classes)*good
	for _, r := range rows {
		n, _ := strconv.Atoi(r["count"])
		written += n
	}
	lost -= written
	letters, err := h.deadLetters(ctx)
	if err != nil {
		return finding{}, err
	}
	unnamed := 0
	for _, id := range []string{"bad-type", "bad-old", "bad-order", "bad-kind", "bad-json"} {
		if !strings.Contains(letters, id) {
			unnamed++
		}
	}
	n := int(h.figure("floorwatch_ingest_dead_letters_total"))
	var names []string
	for _, c := range classes {
		names = append(names, c.name)
	}
	return finding{
		Figure: fmt.Sprintf("one bad record among %s good ones, %d classes (%s): %s good ones lost, %d dead letters, %d bad records without one",
			number(good), len(classes), strings.Join(names, "; "), number(lost), n, unnamed),
		Reached: lost == 0 && n == len(classes) && unnamed == 0,
	}, nil
}

// lateAndShuffled sends the same month from two boxes, from one in order and from
// the other as chance has it, and compares all that a query can tell of them.
func lateAndShuffled(ctx context.Context, b *bench) (finding, error) {
	h, err := b.newHall(ctx, b.dir, 2)
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	link, err := h.sender()
	if err != nil {
		return finding{}, err
	}
	defer link.Disconnect(100)
	n := b.rounds(20_000, 3000)
	now := time.Now().Truncate(time.Second)
	step := 30 * 24 * time.Hour / time.Duration(n)
	for box := range 2 {
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		if box == 1 {
			b.rand.Shuffle(n, func(i, k int) { order[i], order[k] = order[k], order[i] })
		}
		recs := make([]json.RawMessage, n)
		for i, k := range order {
			recs[i] = stayOf(0, uint64(k+1), floorwatch.TimeOf(now.Add(-time.Duration(n-k)*step))).JSON
		}
		if err := link.batches(ctx, box, recs); err != nil {
			return finding{}, err
		}
	}
	at, err := h.database.Endpoint()
	if err != nil {
		return finding{}, err
	}
	differ, rows := 0, 0
	for _, q := range []string{
		`SELECT id, enter, exit, seen_s, merged_s, stay_s FROM stay WHERE edge = '%s'`,
		`SELECT count(stay_s), sum(stay_s), min(stay_s), max(stay_s), sum(seen_s) FROM stay WHERE edge = '%s' AND time > now() - 31d GROUP BY time(1h) fill(none)`,
		`SELECT percentile(seen_s, 50), percentile(seen_s, 90), mean(seen_s) FROM stay WHERE edge = '%s' AND time > now() - 31d GROUP BY time(1d) fill(none)`,
	} {
		var seen [2]map[string]int
		for box := range 2 {
			got, err := influxdb.Query(ctx, at, fmt.Sprintf(q, boxName(box)))
			if err != nil {
				return finding{}, err
			}
			seen[box] = map[string]int{}
			for _, r := range got {
				if r["id"] != "" {
					delete(r, "time") // its nanoseconds hold the sequence number
				}
				seen[box][fmt.Sprint(r)]++
			}
		}
		rows += len(seen[0])
		differ += difference(seen[0], seen[1]) + difference(seen[1], seen[0])
	}
	return finding{
		Figure: fmt.Sprintf("%s records of 30 days in order and shuffled: %d of %s rows differ (records, hourly sums, daily quantiles)",
			number(n), differ, number(rows)),
		Reached: differ == 0 && rows > n,
	}, nil
}

// difference counts what is in a and not in b.
func difference(a, b map[string]int) (n int) {
	for k, v := range a {
		n += max(0, v-b[k])
	}
	return n
}

// instances runs three aggregators and does something to one of them all the time.
func instances(ctx context.Context, b *bench) (finding, error) {
	h, err := b.newHall(ctx, b.dir, 4)
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	members := []*hall{h}
	for range 2 {
		twin, err := h.twin(ctx)
		if err != nil {
			return finding{}, err
		}
		defer func() { twin.cloud.End() }()
		members = append(members, twin)
	}
	ledgers := filepath.Join(b.dir, "ledgers")
	c, err := startCrew(ctx, lightBoxes{Dir: filepath.Join(b.dir, "boxes"), Ledger: ledgers, Broker: []string{h.line.Addr}, Boxes: 4, Rate: 20})
	if err != nil {
		return finding{}, err
	}
	defer c.End()
	kills, pauses, oldest := 0, 0, 0.0
	look := func(ctx context.Context, d time.Duration) error {
		for end := time.Now().Add(d); time.Now().Before(end); {
			oldest = max(oldest, c.said().Oldest)
			if err := kit.Pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	}
	for end := time.Now().Add(time.Duration(b.rounds(480, 4)) * time.Second); time.Now().Before(end); {
		m := members[b.rand.IntN(len(members))]
		if b.rand.IntN(2) == 0 {
			kills++
			err = errors.Join(m.cloud.Kill(), look(ctx, time.Duration(b.rand.IntN(3000))*time.Millisecond))
			m.cloud.End()
			err = errors.Join(err, m.startCloud(ctx))
		} else {
			pauses++
			err = errors.Join(m.cloud.Signal(syscall.SIGSTOP), look(ctx, time.Duration(b.rand.IntN(b.rounds(20_000, 1500)))*time.Millisecond), m.cloud.Signal(syscall.SIGCONT))
		}
		if err := errors.Join(err, look(ctx, time.Duration(b.rand.IntN(2000))*time.Millisecond)); err != nil {
			return finding{}, err
		}
	}
	if err := c.finish(ctx, 2*time.Minute); err != nil {
		return finding{}, err
	}
	v, err := h.judge(ctx, ledgers)
	return finding{
		Figure:  fmt.Sprintf("%d kills and %d pauses of three aggregators at 80 records/s: %s; no record waited longer than %.0f s", kills, pauses, v, oldest),
		Reached: v.clean() && kills+pauses > 0 && oldest <= 60,
		Scope:   "8 minutes in place of an hour",
	}, err
}

// twin starts another aggregator of the hall, with the same folder and its own
// pages.
func (h *hall) twin(ctx context.Context) (*hall, error) {
	t := &hall{bench: h.bench, dir: filepath.Join(h.dir, fmt.Sprintf("twin%d", rand.Uint32())), broker: h.broker, database: h.database}
	b, err := os.ReadFile(filepath.Join(h.dir, "cloud.yaml"))
	if err != nil {
		return nil, err
	}
	if t.pages, err = kit.FreeAddress(); err != nil {
		return nil, err
	}
	text := strings.Replace(string(b), h.pages, t.pages, 1)
	err = errors.Join(os.MkdirAll(t.dir, 0o700), os.WriteFile(filepath.Join(t.dir, "cloud.yaml"), []byte(text), 0o600))
	if err != nil {
		return nil, err
	}
	return t, t.startCloud(ctx)
}

// overload lets boxes come at once with far more than a slow database takes.
func overload(ctx context.Context, b *bench) (finding, error) {
	boxes, each := b.rounds(20, 2), b.rounds(20_000, 4000)
	h, err := b.newHall(ctx, b.dir, boxes)
	if err != nil {
		return finding{}, err
	}
	defer h.end()
	delay := time.Duration(b.rounds(4000, 200)) * time.Millisecond
	h.gate.delay.Store(int64(delay))
	memory := watchMemory(ctx, func() []int { return []int{h.cloud.PID()} })
	defer memory.end()
	ledgers := filepath.Join(b.dir, "ledgers")
	began := time.Now()
	c, err := startCrew(ctx, lightBoxes{Dir: filepath.Join(b.dir, "boxes"), Ledger: ledgers, Broker: []string{h.line.Addr}, Boxes: boxes, Rate: 1, Preset: each, Max: 64 << 20})
	if err != nil {
		return finding{}, err
	}
	defer c.End()
	all := uint64(boxes * each)
	var again uint64
	err = c.until(ctx, "the boxes to be rid of what they hold", 20*time.Minute, func(s boxesSay) bool {
		again = max(again, s.Again)
		return s.Stored >= all && s.Waiting < uint64(boxes)*50 // only fresh ones wait
	})
	if err != nil {
		return finding{}, err
	}
	took := time.Since(began)
	h.gate.delay.Store(0)
	if err := c.finish(ctx, 2*time.Minute); err != nil {
		return finding{}, err
	}
	v, err := h.judge(ctx, ledgers)
	peak := memory.end()
	return finding{
		Figure: fmt.Sprintf("%d boxes with %s records at once before a database that takes %s for each write: %s, stored after %.0f s; %.2f records sent again for each; aggregator at most %d MiB",
			boxes, number(all), delay, v, took.Seconds(), float64(again)/float64(all), peak),
		Reached: v.clean() && peak > 0 && peak <= memoryLimit && float64(again) <= float64(all),
		Scope:   "as long as that takes, in place of 10 minutes",
	}, err
}
