package hall

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/edge/uplink"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"

	"golang.org/x/sync/errgroup"
)

// Roles are the processes of a hall.
func Roles() bench.Roles { return bench.Roles{"boxes": playBoxes} }

// Boxes is what a process with a number of boxes is to do: real outboxes and
// real uplinks, without cameras.
type Boxes struct {
	Dir    string // of the outboxes, DIR/NAME
	Ledger string // folder with a ledger for each box, outside DIR
	Broker []string
	First  int // number of the first box
	Boxes  int
	Rate   float64 // records per second and box
	Preset int     // records in each outbox before the uplink starts
	Seq    uint64  // number of the first record of each box
	Max    int64   // bytes of each outbox; 0: the least
	Health bool    // each second each box says how far it is
}

// Said is what such a process says, ten times a second.
type Said struct {
	Stored    uint64 // records that Append took, since the start
	Waiting   uint64 // durable and not acknowledged
	Resent    uint64 // batches, within a session and by new sessions
	Again     uint64 // records that were handed out more than once
	Acked     uint64
	Connects  uint64
	Connected int
	Oldest    float64   // s, age of the oldest record not acknowledged
	Ages      []float64 // s from Append to acknowledgement, of those acknowledged since the line before
	First     []float64 // Unix s: when each box had its first acknowledgement since it last lost its link; 0: not yet
	Lost      []float64 // Unix s: when each box last noticed that it had lost its link; 0: never
}

// StayOf makes a box's record with a number. What it says follows from the number
// and the box.
func StayOf(box int, n uint64, end floorwatch.Time) floorwatch.Encoded {
	exit := end
	b, err := floorwatch.MarshalRecord(&floorwatch.Stay{
		Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "hall", Zone: "queue", ID: recordID(box, n), At: end, Rev: "aabbccddeeff", By: "motion"},
		Enter:  end.Add(-20 * time.Second), Exit: &exit, EnterSeen: true, ExitSeen: true, SeenS: float64(n%19 + 1), MergedS: 1, Tracks: []int64{int64(n)},
	})
	if err != nil { // a struct of strings and numbers always encodes
		panic(fmt.Sprintf("encode a stay: %v", err))
	}
	return b
}

func recordID(box int, n uint64) string { return fmt.Sprintf("%d-%d", box, n) }

// lightBox is one of them.
type lightBox struct {
	*outbox.Outbox
	n      int
	link   *uplink.Uplink
	ledger *os.File

	mu     sync.Mutex
	at     map[string]time.Time         // by record id, when Append took it
	sent   map[string]map[uint64]string // by log and number, the record's id
	handed map[string]uint64            // by log, one past the highest number handed out
	again  uint64                       // records handed out more than once
	ages   []float64
	first  float64
	up     time.Time
	lost   float64
}

// Next notes which record has which number.
func (b *lightBox) Next(maxRecords, maxBytes int) (floorwatch.Batch, error) {
	batch, err := b.Outbox.Next(maxRecords, maxBytes)
	b.mu.Lock()
	defer b.mu.Unlock()
	if end := batch.First + uint64(batch.N); end > b.handed[batch.Log] {
		b.again += min(uint64(batch.N), max(b.handed[batch.Log], batch.First)-batch.First)
		b.handed[batch.Log] = end
	} else {
		b.again += uint64(batch.N)
	}
	for i, r := range batch.Records {
		_, rest, _ := strings.Cut(string(r), `"id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		if _, timed := b.at[id]; timed {
			if b.sent[batch.Log] == nil {
				b.sent[batch.Log] = map[uint64]string{}
			}
			b.sent[batch.Log][batch.First+uint64(i)] = id
		}
	}
	return batch, err
}

// Ack notes how old the acknowledged records are.
func (b *lightBox) Ack(log string, first uint64, n int) error {
	b.mu.Lock()
	if b.first == 0 {
		b.first = Now()
	}
	for seq := first; seq < first+uint64(n); seq++ {
		if id, ok := b.sent[log][seq]; ok {
			b.ages = append(b.ages, time.Since(b.at[id]).Seconds())
			delete(b.at, id)
			delete(b.sent[log], seq)
		}
	}
	b.mu.Unlock()
	return b.Outbox.Ack(log, first, n)
}

// store appends records and writes those that were taken into the ledger.
func (b *lightBox) store(timed bool, numbers ...uint64) error {
	now := time.Now()
	recs := make([]floorwatch.Encoded, len(numbers))
	var lines strings.Builder
	for i, n := range numbers {
		// A stay's end is its point's time: different for each number.
		recs[i] = StayOf(b.n, n, floorwatch.TimeOf(now).Add(time.Duration(n%1000)*time.Millisecond-time.Minute))
		fmt.Fprintf(&lines, "%s\n", recs[i].JSON)
		if timed {
			b.mu.Lock()
			b.at[recordID(b.n, n)] = now
			b.mu.Unlock()
		}
	}
	if err := b.Append(recs...); err != nil {
		return err
	}
	if _, err := b.ledger.WriteString(lines.String()); err != nil {
		return err
	}
	return b.ledger.Sync()
}

// playBoxes runs light boxes until it is killed or its input ends, and then until
// nothing waits any more.
func playBoxes(args []string) error {
	var t Boxes
	if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	boxes := make([]*lightBox, t.Boxes)
	for i := range boxes {
		b, err := t.open(t.First+i, t.Broker[i%len(t.Broker)])
		if err != nil {
			return err
		}
		boxes[i] = b
		defer func() { _ = b.Close() }()
	}
	next := t.Seq
	for next < t.Seq+uint64(t.Preset) {
		numbers := make([]uint64, min(500, int(t.Seq)+t.Preset-int(next)))
		for k := range numbers {
			numbers[k] = next + uint64(k)
		}
		next += uint64(len(numbers))
		for _, b := range boxes {
			if err := b.store(false, numbers...); err != nil {
				return err
			}
		}
	}
	feeding, done := context.WithCancel(ctx)
	go func() { // the bench closes our input when it has seen enough
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		done()
	}()
	for _, b := range boxes {
		group.Go(func() error { return b.link.Run(ctx) })
		group.Go(func() error { b.watch(ctx); return nil })
		if t.Rate > 0 {
			group.Go(func() error { return b.feed(feeding, t.Rate, next) })
		}
		if t.Health {
			group.Go(func() error { return b.report(feeding) })
		}
	}
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		if ctx.Err() != nil {
			return group.Wait()
		}
		s := say(boxes)
		if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
			return err
		}
		if feeding.Err() != nil && s.Waiting == 0 {
			stop()
			return group.Wait()
		}
	}
}

func (t *Boxes) open(n int, broker string) (b *lightBox, err error) {
	b = &lightBox{n: n, at: map[string]time.Time{}, sent: map[string]map[uint64]string{}, handed: map[string]uint64{}}
	if b.Outbox, err = outbox.Open(outbox.Settings{Dir: filepath.Join(t.Dir, BoxName(n)), MaxBytes: max(t.Max, outbox.MinMaxBytes), Commit: 20 * time.Millisecond}); err != nil {
		return nil, err
	}
	b.ledger, err = os.OpenFile(filepath.Join(t.Ledger, BoxName(n)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	b.link, err = uplink.New(uplink.Settings{
		Broker: "tcp://" + broker, Store: hallStore, Edge: BoxName(n), Outbox: b, OutboxID: b.Log, Changed: b.Changed(),
	})
	return b, err
}

// report stores a record of the box's health each second until ctx ends, as a box
// does each minute.
func (b *lightBox) report(ctx context.Context) error {
	for kit.Pause(ctx, time.Second) == nil {
		now, backlog := time.Now(), 0.0
		if st := b.Stats(); st.Records > 0 && st.Oldest > 0 {
			backlog = now.Sub(st.Oldest.Time()).Seconds()
		}
		rec, err := floorwatch.MarshalRecord(&floorwatch.Health{
			Header: floorwatch.Header{Kind: floorwatch.KindHealth, At: floorwatch.TimeOf(now)}, Figures: map[string]float64{string(floorwatch.FigureBacklog): backlog},
		})
		if err == nil {
			err = b.Append(rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// feed stores records at a rate until ctx ends.
func (b *lightBox) feed(ctx context.Context, rate float64, n uint64) error {
	for tick := time.NewTicker(time.Duration(float64(time.Second) / rate)); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := b.store(true, n); err != nil {
			return err
		}
	}
}

// watch notes when the link came and went.
func (b *lightBox) watch(ctx context.Context) {
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		since := b.link.Stats().Since
		b.mu.Lock()
		if !b.up.IsZero() && !since.Equal(b.up) { // gone, or gone and back already
			b.lost, b.first = Now(), 0
		}
		b.up = since
		b.mu.Unlock()
	}
}

func say(boxes []*lightBox) (s Said) {
	for _, b := range boxes {
		st, link := b.Stats(), b.link.Stats()
		s.Stored += st.Appended
		s.Waiting += st.Records
		s.Resent += link.Resent
		s.Acked += link.Acked
		s.Connects += link.Connects
		if !link.Since.IsZero() {
			s.Connected++
		}
		if st.Records > 0 && st.Oldest > 0 {
			s.Oldest = max(s.Oldest, time.Since(st.Oldest.Time()).Seconds())
		}
		b.mu.Lock()
		s.Again += b.again
		s.Ages = append(s.Ages, b.ages...)
		b.ages = nil
		s.First = append(s.First, b.first)
		s.Lost = append(s.Lost, b.lost)
		b.mu.Unlock()
	}
	return s
}

// Now is the clock of a Said.
func Now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }

// Crew is a process with light boxes, and the last that it said.
type Crew struct {
	*kit.Process
	mu   sync.Mutex
	last Said
	ages []float64     // since forget
	Done chan struct{} // closed when it has ended
}

// StartCrew starts one.
func StartCrew(ctx context.Context, t Boxes) (*Crew, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(t.Dir, 0o700), os.MkdirAll(t.Ledger, 0o700)); err != nil {
		return nil, err
	}
	p, err := kit.Self(ctx, "role", "boxes", string(b))
	if err != nil {
		return nil, err
	}
	return follow(p), nil
}

func follow(p *kit.Process) *Crew {
	c := &Crew{Process: p, Done: make(chan struct{})}
	go func() {
		defer close(c.Done)
		for {
			line, ok := p.Line()
			if !ok {
				return
			}
			var s Said
			if json.Unmarshal([]byte(line), &s) == nil {
				c.mu.Lock()
				c.last = s
				c.ages = append(c.ages, s.Ages...)
				c.mu.Unlock()
			}
		}
	}()
	return c
}

// Said returns the last that it said.
func (c *Crew) Said() Said {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Forget begins to collect the ages of records anew.
func (c *Crew) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ages = nil
}

// LiveAges returns how old records were when they were acknowledged, of those
// that were stored after since.
func (c *Crew) LiveAges(since time.Time) (ages []float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, age := range c.ages {
		if age <= time.Since(since).Seconds() {
			ages = append(ages, age)
		}
	}
	return ages
}

// Until waits for the boxes to say what is wanted.
func (c *Crew) Until(ctx context.Context, what string, patience time.Duration, want func(Said) bool) error {
	return kit.Until(ctx, what, patience, func() (bool, error) {
		select {
		case <-c.Done:
			c.End()
			return false, fmt.Errorf("the boxes ended: %s", c.Tail())
		default:
			return want(c.Said()), nil
		}
	})
}

// Finish tells the boxes to store no more and waits until nothing waits.
func (c *Crew) Finish(ctx context.Context) error {
	_ = c.In.Close()
	err := kit.Until(ctx, "the outboxes to be empty", kit.Patience, func() (bool, error) {
		select {
		case <-c.Done:
			return true, nil
		default:
			return false, nil
		}
	})
	c.End()
	if err == nil && c.Tail() != "" {
		err = fmt.Errorf("the boxes ended: %s", c.Tail())
	}
	return err
}
