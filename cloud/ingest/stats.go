package ingest

import (
	"math"
	"sync"
	"time"
)

// Stats are an Ingest's figures since it was made.
type Stats struct {
	Batches     int64 // confirmed and acknowledged
	Records     int64 // of those, dead letters included
	DeadLetters int64
	Duplicates  int64 // records of ranges that this instance confirmed before, among the last 4,096
	Unread      int64 // messages left to be sent again because the queue was full or a name could not be checked
	Outages     int64 // writes that had to be repeated

	Write Delay // one write of coalesced batches, until the database confirmed
	Fresh Delay // from the time at which a record settled until it was confirmed
}

// Delay is a distribution of delays, each quantile within 5 %.
type Delay struct {
	N           int64
	Median, P95 time.Duration
	Max         time.Duration
}

// Buckets of a histogram grow by a tenth from 0.1 ms to over a month.
const (
	buckets    = 256
	firstUpper = 100 * time.Microsecond
	growth     = 1.1
)

// histogram counts delays in a bounded space. It is not safe for concurrent use.
type histogram struct {
	counts [buckets]int64
	n      int64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > firstUpper {
		i = min(int(math.Ceil(math.Log(float64(d)/float64(firstUpper))/math.Log(growth))), buckets-1)
	}
	h.counts[i]++
	h.n++
	h.max = max(h.max, d)
}

// quantile returns the middle (geometric) of the bucket that holds the value of
// rank ceil(q n).
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.n)))
	for i, c := range h.counts {
		if rank -= c; rank <= 0 && c > 0 {
			upper := float64(firstUpper) * math.Pow(growth, float64(i))
			return min(time.Duration(upper/math.Sqrt(growth)), h.max)
		}
	}
	return 0
}

func (h *histogram) delay() Delay {
	return Delay{N: h.n, Median: h.quantile(0.5), P95: h.quantile(0.95), Max: h.max}
}

// keptRanges bounds the memory for what was confirmed lately.
const keptRanges = 4096

// rangeKey names the records of a batch.
type rangeKey struct {
	store, edge, log string
	first            uint64
	n                int
}

// figures collects Stats.
type figures struct {
	mu     sync.Mutex
	s      Stats
	write  histogram
	fresh  histogram
	recent map[rangeKey]bool
	order  []rangeKey // ring of recent's keys
	next   int
}

func (f *figures) count(change func(*Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.s)
}

// confirmed books batches that were stored at now.
func (f *figures) confirmed(jobs []*job, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range jobs {
		f.one(j, now)
	}
}

func (f *figures) one(j *job, now time.Time) {
	f.s.Batches++
	f.s.Records += int64(j.n)
	key := rangeKey{j.store, j.edge, j.log, j.first, j.n}
	if f.recent[key] {
		f.s.Duplicates += int64(j.n)
		return
	}
	if f.recent == nil {
		f.recent = map[rangeKey]bool{}
	}
	if len(f.order) < keptRanges {
		f.order = append(f.order, key)
	} else {
		delete(f.recent, f.order[f.next])
		f.order[f.next] = key
		f.next = (f.next + 1) % keptRanges
	}
	f.recent[key] = true
	if j.letter != "" {
		return // a dead letter's age is no delay of the path
	}
	for _, it := range j.items {
		f.fresh.add(now.Sub(it.rec.Head().At.Time()))
	}
}

func (f *figures) stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.s
	s.Write, s.Fresh = f.write.delay(), f.fresh.delay()
	return s
}
