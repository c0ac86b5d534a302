// Package ingest takes what edge boxes send, stores it and says so.
//
//	broker ─> queue ─> collect: parse, check ─> deliver ─┬─> Store  (figures)
//	  ^       (bytes      (batches of several   (repeats ├─> Index  (seals)
//	  │        bounded)    boxes in one write)   until   ├─> DB     (dead letters)
//	  └──────────── acknowledge each range <── stored) ──┘
//
// Nothing is acknowledged before all of it is stored. An Ingest keeps no state
// of its own: what it has not acknowledged when it is killed, the boxes send
// again, and storing twice changes nothing. While the database is away it holds
// at most MaxQueued bytes and three writes, leaves the rest unread and goes on by
// itself. Set the fields of Ingest and call Run.
package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/link"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"
)

// PointStore keeps figures. Write returns nil only when every point is durable;
// points written twice change nothing. An error with a method
// Bad() map[int]error names, by index, points that can never be stored, all
// others being durable; any other error is repeated.
type PointStore interface {
	Write(ctx context.Context, points []influx.Point) error
}

// SegmentIndex keeps seals of footage: those of segments, and those of gaps and
// deletions as they are. Both methods return nil once it is durable, also for the
// same one again. An error whose method Refused() returns true cannot be mended
// by repeating; any other error is repeated.
type SegmentIndex interface {
	PutSegment(ctx context.Context, store, edge string, s floorwatch.Segment) error
	PutSeal(ctx context.Context, store, edge, seal string) error
}

// Limits of an Ingest.
const (
	MaxQueued = 8 << 20 // bytes of messages that wait to be read

	maxMessages      = 4096
	maxPoints        = 5000 // of one write, plus one batch
	maxHeld          = 4 << 20
	writers          = 2 // InfluxDB takes half as much again from two
	retryLetters     = 100
	retryEvery       = 2 * time.Second
	maxWait          = 5 * time.Second        // for room in the queue
	linger           = 150 * time.Millisecond // between two writes that are not full
	firstWriteDelay  = 100 * time.Millisecond
	lastWriteDelay   = 5 * time.Second
	defaultRetention = 400 * 24 * time.Hour
)

// Ingest moves batches from the broker into the stores. Fields are set before
// Run and not changed after.
type Ingest struct {
	Broker access.Login
	Plain  bool // subscribe plainly instead of sharing with other instances
	// Session, with Plain, names a session in which the broker keeps what comes
	// while this one instance is away, within its limits. "": it keeps nothing and
	// the boxes send again, which takes them half a minute.
	Session   string
	Sites     *site.Live
	Store     PointStore
	Index     SegmentIndex
	DB        *DB
	Retention time.Duration // older records are refused; 400 days when 0
	// Stored is called after a batch is confirmed, with its stored records
	// (*floorwatch.Stay and so on), never twice at once; it must not block. nil: none.
	Stored func(store, edge string, recs []floorwatch.Record)
	Dog    *watchdog.Dog    // hears the loops beat; nil: nobody does
	Log    *slog.Logger     // nil discards
	Now    func() time.Time // nil: time.Now

	fig     figures
	client  atomic.Pointer[link.Session]
	queued  atomic.Int64
	telling sync.Mutex   // held while Stored runs
	away    atomic.Bool  // a store does not take what we have
	full    atomic.Int64 // ns, when the queue was found full; 0: it is not

	slow atomic.Bool // the last write was

	noScenes atomic.Int64 // ns, until when no scene is kept after one could not be; 0: all is well

	// Of collect's goroutine alone.
	known  boxes
	decode decoder
}

// place is where a record is from.
type place struct{ store, edge, camera, zone string }

// message is what came in one MQTT message, or a dead letter that is tried again.
type message struct {
	topic    string
	payload  []byte
	received time.Time
	letter   string // hash of that letter
}

// item is one record of a batch that passed the checks.
type item struct {
	seq uint64
	rec floorwatch.Record
	raw json.RawMessage
}

// job is one message on its way to the stores.
type job struct {
	message
	store, edge string // of the topic, which the broker vouches for
	log         string // "" when there is nothing to acknowledge
	first       uint64
	n           int
	items       []item
	letters     []Letter
	later       bool // something of it could not be stored: not acknowledged, so that the box sends it again
}

func (g *Ingest) log() *slog.Logger {
	if g.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return g.Log
}

func (g *Ingest) now() time.Time {
	if g.Now == nil {
		return time.Now()
	}
	return g.Now()
}

// Stats returns the figures so far.
func (g *Ingest) Stats() Stats { return g.fig.stats() }

// Run works until ctx ends and returns when its goroutines are gone; an error
// only for settings that cannot work.
func (g *Ingest) Run(ctx context.Context) error {
	if g.Sites == nil || g.Store == nil || g.Index == nil || g.DB == nil {
		return errors.New("start ingest: sites, a store, an index and a DB are needed")
	}
	if g.Session != "" && !g.Plain {
		return errors.New("start ingest: a session belongs to one instance, so it needs a plain subscription")
	}
	queue := make(chan message, maxMessages)
	jobs := make(chan []*job)
	l := g.link(ctx, queue)
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) }) // nil
	reading := g.Dog.Pulse("ingest: reading")
	wg.Go(func() { g.collect(ctx, reading, queue, jobs) })
	for range writers {
		storing := g.Dog.Pulse("ingest: storing")
		wg.Go(func() { g.deliverAll(ctx, storing, jobs) })
	}
	wg.Wait()
	return nil
}

// Connected tells whether the broker hands us messages now.
func (g *Ingest) Connected() bool {
	s := g.client.Load()
	return s != nil && s.Open()
}

// link subscribes at QoS 0 where the broker keeps no session: it then sends
// without waiting for acknowledgements that would mean nothing, and what it
// loses of a broken connection the boxes send again, as with QoS 1.
func (g *Ingest) link(ctx context.Context, queue chan<- message) *link.Link {
	filter, qos := floorwatch.TopicRoot+"/+/+/"+floorwatch.LeafUp, byte(0)
	if !g.Plain {
		filter = "$share/ingest/" + filter
	}
	if g.Session != "" {
		qos = 1
	}
	l := NewLink(g.Broker, g.log(), g.Session, qos == 0, map[string]byte{filter: qos}, g.client.Store)
	l.Message = func(_ context.Context, _ *link.Session, m mqtt.Message) { g.take(ctx, queue, m) }
	return l
}

// take queues a message. When the queue is full it waits for room, which slows
// the broker down, or leaves the message to be sent again: the broker forgets
// it, the box does not.
func (g *Ingest) take(ctx context.Context, queue chan<- message, m mqtt.Message) {
	msg := message{topic: m.Topic(), payload: m.Payload(), received: g.now()}
	if g.push(queue, msg) {
		g.full.Store(0)
		return
	}
	began := time.Now()
	if !g.full.CompareAndSwap(0, began.UnixNano()) {
		began = time.Unix(0, g.full.Load())
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !g.away.Load() && time.Since(began) < maxWait && ctx.Err() == nil {
		<-look.C
		if g.push(queue, msg) {
			g.full.Store(0)
			return
		}
	}
	g.fig.count(func(s *Stats) { s.Unread++ })
}

func (g *Ingest) push(queue chan<- message, m message) bool {
	size := int64(len(m.payload))
	if g.queued.Add(size) <= MaxQueued {
		select {
		case queue <- m:
			return true
		default:
		}
	}
	g.queued.Add(-size)
	return false
}

// collect reads messages into the next write while the last one is under way:
// an idle ingest writes at once, a busy one every 150 ms or in large pieces.
func (g *Ingest) collect(ctx context.Context, pulse *watchdog.Pulse, queue <-chan message, jobs chan<- []*job) {
	defer pulse.Rest()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	lingered := time.NewTimer(0)
	defer lingered.Stop()
	early := false // for the next write, unless it is full
	var held []*job
	records, size := 0, 0
	add := func(m message) {
		j := g.read(m)
		held = append(held, j)
		records += max(j.n, 1)
		size += len(m.payload)
	}
	for {
		pulse.Beat()
		in, out := queue, jobs
		full := records >= maxPoints || size >= maxHeld
		if full {
			in = nil
		}
		if len(held) == 0 || early && !full {
			out = nil
		}
		select {
		case m := <-in:
			g.queued.Add(-int64(len(m.payload)))
			add(m)
		case out <- held:
			held, records, size = nil, 0, 0
			early = true
			lingered.Reset(linger)
		case <-lingered.C:
			early = false
		case <-tick.C:
			if in == nil {
				continue
			}
			for _, m := range g.retries(ctx) {
				add(m)
			}
		case <-ctx.Done():
			return
		}
	}
}

// retries turns marked dead letters back into messages.
func (g *Ingest) retries(ctx context.Context) []message {
	letters, err := g.DB.takeRetries(ctx, retryLetters)
	if err != nil {
		if ctx.Err() == nil {
			g.log().Warn("cannot look for dead letters to try again", "error", err)
		}
		return nil
	}
	var out []message
	for _, l := range letters {
		m := message{topic: l.Topic, payload: l.Bytes, received: l.Received.Time(), letter: l.hash()}
		if !l.Whole {
			store, edge, _, err := floorwatch.ParseTopic(l.Topic)
			if err != nil {
				continue // only whole letters come from elsewhere
			}
			b := floorwatch.Batch{V: floorwatch.Version, Store: store, Edge: edge, Log: l.Log, First: l.First, N: 1, Records: []json.RawMessage{l.Bytes}}
			if m.payload, err = b.Encode(); err != nil {
				continue
			}
		}
		out = append(out, m)
	}
	return out
}

// read checks a message and sorts its records into those to be stored and dead
// letters.
func (g *Ingest) read(m message) *job {
	j := &job{message: m}
	from, err := g.known.of(g.Sites.Snapshot(), m.topic)
	if err != nil {
		return j.refuse(err)
	}
	j.store, j.edge = from.store, from.edge
	b, recs, err := g.decode.parse(m.payload)
	if err != nil {
		return j.refuse(err)
	}
	j.log, j.first, j.n = b.Log, b.First, b.N
	if b.Store != j.store || b.Edge != j.edge {
		return j.refuse(fmt.Errorf("batch from %s/%s came on the topic of %s/%s", b.Store, b.Edge, j.store, j.edge))
	}
	if len(from.boxes) == 0 {
		return j.refuse(fmt.Errorf("box %s of store %s is not registered with the cloud: floorwatch-cloud site add, then dead-letters retry", j.edge, j.store))
	}
	now := g.now()
	w := window{floorwatch.TimeOf(now.Add(-cmp.Or(g.Retention, defaultRetention))), floorwatch.TimeOf(now.Add(maxAhead))}
	j.items = make([]item, 0, len(recs))
	for i, r := range recs {
		it := item{seq: b.First + uint64(i), rec: r.rec, raw: r.raw}
		if err := it.check(from, w); err != nil {
			j.refuseItem(it, err)
			continue
		}
		j.items = append(j.items, it)
	}
	return j
}

// check parses a record, unless that is done, and tells why it is refused.
func (it *item) check(from *origin, w window) (err error) {
	if len(it.raw) > floorwatch.MaxRecordBytes {
		return fmt.Errorf("record has %d bytes, limit %d", len(it.raw), floorwatch.MaxRecordBytes)
	}
	if it.rec == nil {
		if it.rec, err = floorwatch.ParseRecord(it.raw); err != nil {
			return err
		}
	}
	if err := check(it.rec, w); err != nil {
		return err
	}
	edge, err := from.at(it.rec.Head().At)
	if err != nil {
		return err
	}
	return checkSeal(it.rec, edge)
}

// admitNames has the names of all jobs that become tags or field keys admitted at
// once, and refuses the records with a name too many.
func (g *Ingest) admitNames(ctx context.Context, jobs []*job) error {
	var names []name
	asked := map[place]bool{} // records of one place have the same names, but for health
	for _, j := range jobs {
		for _, it := range j.items {
			h := it.rec.Head()
			at := place{j.store, j.edge, h.Camera, h.Zone}
			if _, figures := it.rec.(*floorwatch.Health); asked[at] && !figures || !influx.Holds(it.rec) {
				continue
			}
			asked[at] = true
			names = append(names, namesOf(j, it.rec)...)
		}
	}
	refused, err := g.DB.admit(ctx, names)
	if err != nil || len(refused) == 0 {
		return err
	}
	for _, j := range jobs {
		bad := map[int]error{}
		for i, it := range j.items {
			for _, n := range namesOf(j, it.rec) {
				if refused[n] {
					bad[i] = fmt.Errorf("too many names: %s %s would be number %d of this box, limit %d", n.sort, n.name, MaxNames+1, MaxNames)
				}
			}
		}
		j.takeOut(bad)
	}
	return nil
}

// namesOf lists the names in a record that become tags or field keys.
func namesOf(j *job, rec floorwatch.Record) []name {
	if !influx.Holds(rec) {
		return nil
	}
	h := rec.Head()
	var out []name
	if h.Camera != "" {
		out = append(out, name{j.store, j.edge, "camera", h.Camera})
	}
	if h.Zone != "" {
		out = append(out, name{j.store, j.edge, "zone", h.Camera + "/" + h.Zone})
	}
	if r, ok := rec.(*floorwatch.Health); ok {
		for figure := range r.Figures {
			out = append(out, name{j.store, j.edge, "figure", figure})
		}
	}
	return out
}

// refuse makes the whole message one dead letter.
func (j *job) refuse(reason error) *job {
	j.letters = append(j.letters, Letter{
		Topic: j.topic, Log: j.log, First: j.first, N: j.n, Whole: true,
		Bytes: j.payload, Reason: reason.Error(), Received: floorwatch.TimeOf(j.received),
	})
	return j
}

func (j *job) refuseItem(it item, reason error) {
	j.letters = append(j.letters, Letter{
		Topic: j.topic, Log: j.log, First: it.seq, N: 1,
		Bytes: it.raw, Reason: reason.Error(), Received: floorwatch.TimeOf(j.received),
	})
}

// deliverAll stores one write after another.
func (g *Ingest) deliverAll(ctx context.Context, pulse *watchdog.Pulse, in <-chan []*job) {
	for {
		pulse.Rest()
		select {
		case jobs := <-in:
			if g.deliver(ctx, pulse, jobs) != nil {
				return // ctx ended; the boxes will send it again
			}
		case <-ctx.Done():
			return
		}
	}
}

// deliver stores what the jobs hold, repeating until it is stored or ctx ends,
// and then acknowledges each.
func (g *Ingest) deliver(ctx context.Context, pulse *watchdog.Pulse, jobs []*job) error {
	for _, step := range []func(context.Context, []*job) error{g.admitNames, g.storePoints, g.indexSegments, g.storeScenes, g.storeLetters} {
		if err := g.persist(ctx, func() error { pulse.Beat(); return step(ctx, jobs) }); err != nil {
			return err
		}
	}
	jobs = slices.DeleteFunc(jobs, func(j *job) bool { return j.later })
	g.fig.confirmed(jobs, g.now())
	g.acknowledge(jobs)
	if g.Stored != nil {
		g.tell(jobs)
	}
	return nil
}

// tell passes on what was stored.
func (g *Ingest) tell(jobs []*job) {
	g.telling.Lock()
	defer g.telling.Unlock()
	for _, j := range jobs {
		if len(j.items) == 0 {
			continue
		}
		recs := make([]floorwatch.Record, len(j.items))
		for i, it := range j.items {
			recs[i] = it.rec
		}
		g.Stored(j.store, j.edge, recs)
	}
}

// persist repeats step with growing, jittered delays until it succeeds.
func (g *Ingest) persist(ctx context.Context, step func() error) error {
	began, outages := g.now(), 0
	again := retry.Backoff{Min: firstWriteDelay, Max: lastWriteDelay}
	err := again.Until(ctx, step, func(err error, _ time.Duration) {
		g.away.Store(true)
		g.fig.count(func(s *Stats) { s.Outages++ })
		if outages++; outages == 1 {
			g.log().Warn("cannot store; nothing is acknowledged and the boxes keep it; trying again", "error", err)
		}
	})
	if err != nil {
		return err
	}
	g.away.Store(false)
	if outages > 0 {
		g.log().Info("storing again", "after", g.now().Sub(began).Round(time.Millisecond))
	}
	return nil
}

// storePoints writes the figures of all jobs at once. Points that the store
// refuses become dead letters of their jobs.
func (g *Ingest) storePoints(ctx context.Context, jobs []*job) error {
	type origin struct {
		j  *job
		at int
	}
	n := 0
	for _, j := range jobs {
		n += len(j.items)
	}
	points, places := make([]influx.Point, 0, n), make([]origin, 0, n)
	for _, j := range jobs {
		for i, it := range j.items {
			if !influx.Holds(it.rec) {
				continue
			}
			points = append(points, influx.Point{Store: j.store, Edge: j.edge, Log: j.log, Seq: it.seq, Record: it.rec})
			places = append(places, origin{j, i})
		}
	}
	if len(points) == 0 {
		return nil
	}
	began := time.Now()
	err := g.Store.Write(ctx, points)
	g.tellSlow(time.Since(began), len(points))
	var partly interface{ Bad() map[int]error }
	if err != nil && !errors.As(err, &partly) {
		return err
	}
	g.fig.count(func(*Stats) { g.fig.write.add(time.Since(began)) })
	if err == nil {
		return nil
	}
	bad := map[*job]map[int]error{}
	for i, reason := range partly.Bad() {
		if i < 0 || i >= len(places) {
			return fmt.Errorf("store names point %d of %d: %w", i, len(places), reason)
		}
		p := places[i]
		if bad[p.j] == nil {
			bad[p.j] = map[int]error{}
		}
		bad[p.j][p.at] = reason
	}
	for j, reasons := range bad {
		j.takeOut(reasons)
	}
	return nil
}

// slowWrite is what a write may take before it is told; the next one is told
// when writes have been quick in between.
const slowWrite = time.Second

func (g *Ingest) tellSlow(took time.Duration, points int) {
	if slow := took > slowWrite; g.slow.Swap(slow) != slow && slow {
		g.log().Warn("InfluxDB is slow; records wait with the boxes meanwhile, check its load and its disk",
			"took", took.Round(time.Millisecond), "points", points)
	}
}

// indexSegments stores the seals.
func (g *Ingest) indexSegments(ctx context.Context, jobs []*job) error {
	for _, j := range jobs {
		var bad map[int]error
		for i, it := range j.items {
			err := g.index(ctx, j, it.rec)
			var refused interface{ Refused() bool }
			switch {
			case err == nil:
			case errors.As(err, &refused) && refused.Refused():
				if bad == nil {
					bad = map[int]error{}
				}
				bad[i] = err
			default:
				return err
			}
		}
		j.takeOut(bad)
	}
	return nil
}

// takeOut moves the items named by index to the dead letters.
func (j *job) takeOut(bad map[int]error) {
	if len(bad) == 0 {
		return
	}
	kept := j.items[:0]
	for i, it := range j.items {
		if reason := bad[i]; reason != nil {
			j.refuseItem(it, reason)
			continue
		}
		kept = append(kept, it)
	}
	j.items = kept
}

func (g *Ingest) storeLetters(ctx context.Context, jobs []*job) error {
	var letters []Letter
	var done []string
	for _, j := range jobs {
		letters = append(letters, j.letters...)
		if j.letter != "" && !j.later { // else it is the only copy
			done = append(done, j.letter)
		}
	}
	if err := g.DB.put(ctx, letters, done...); err != nil {
		return err
	}
	g.fig.count(func(s *Stats) { s.DeadLetters += int64(len(letters)) })
	if len(letters) > 0 {
		g.log().Warn("records refused; floorwatch-cloud dead-letters list shows them", "letters", len(letters), "first", letters[0].Reason)
	}
	return nil
}

// acknowledge tells the boxes, each run of batches that follow one another in
// one message. When that does not reach a box, it sends again and is told again;
// so it goes at QoS 0.
func (g *Ingest) acknowledge(jobs []*job) {
	s := g.client.Load()
	if s == nil || !s.Open() {
		return
	}
	for _, r := range runs(jobs) {
		payload, err := r.Encode()
		if err != nil {
			g.log().Error("an acknowledgement cannot be sent", "error", err)
			return
		}
		s.Publish(floorwatch.Topic(r.store, r.edge, floorwatch.LeafAck), 0, false, payload)
	}
}

// run is what one acknowledgement covers.
type run struct {
	floorwatch.Ack
	store, edge string
}

// runs joins the ranges of jobs that follow one another.
func runs(jobs []*job) []run {
	type key struct{ store, edge, log string }
	all := make([]run, 0, len(jobs))
	last := make(map[key]int, len(jobs)) // of each log in all
	for _, j := range jobs {
		if j.log == "" {
			continue // nobody can be told
		}
		k := key{j.store, j.edge, j.log}
		i, ok := last[k]
		if ok && all[i].First+uint64(all[i].N) == j.first {
			all[i].N += j.n
		} else {
			i = len(all)
			last[k] = i
			all = append(all, run{floorwatch.Ack{V: floorwatch.Version, Log: j.log, First: j.first, N: j.n}, j.store, j.edge})
		}
		for _, l := range j.letters {
			all[i].Refuse(l.N, l.Reason)
		}
	}
	return all
}
