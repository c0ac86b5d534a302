package outbox

import (
	"encoding/json"
	"fmt"

	"floorwatch"
)

// Rewind makes Next begin again: with what is appended from now on, and beside
// it with all that is not settled yet.
func (o *Outbox) Rewind() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.backlogTurn = false
	for _, s := range o.streams {
		s.rewind()
	}
}

// Next returns the next run of durable, unsettled records that it has not
// returned since Rewind: at most maxRecords, with payloads of at most maxBytes
// in all, counting one byte more for each; N is 0 when there are none. What was
// appended after Rewind and the backlog take turns, so that neither waits for
// the other however slow the cloud is; dearer classes go before cheaper ones. Store and Edge are left empty. maxBytes must exceed
// floorwatch.MaxRecordBytes.
func (o *Outbox) Next(maxRecords, maxBytes int) (floorwatch.Batch, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, fresh := range []bool{!o.backlogTurn, o.backlogTurn} {
		for c := classes - 1; c >= 0; c-- {
			for _, s := range o.streams {
				if s.class != c {
					continue
				}
				if b, err := o.nextOf(s, fresh, maxRecords, maxBytes); err != nil || b.N > 0 {
					o.backlogTurn = fresh
					return b, err
				}
			}
		}
	}
	return floorwatch.Batch{}, nil
}

// nextOf reads on in one log. It steps over numbers that turn out to be lost.
func (o *Outbox) nextOf(s *stream, fresh bool, maxRecords, maxBytes int) (floorwatch.Batch, error) {
	at, limit := &s.back, s.fence
	if fresh {
		at, limit = &s.fresh, s.next
	}
	for {
		*at = s.done.skip(max(*at, s.cursor))
		if *at >= limit {
			return floorwatch.Batch{}, nil
		}
		recs, stop, err := s.run(*at, s.done.before(*at, limit), maxRecords, maxBytes)
		if err != nil {
			return floorwatch.Batch{}, err
		}
		first := *at
		*at = stop
		if len(recs) > 0 {
			return floorwatch.Batch{V: floorwatch.Version, Log: s.id, First: first, N: len(recs), Records: recs}, nil
		}
		o.find(loss{s: s, seqRange: seqRange{first, stop}, cause: "damaged on disk"})
	}
}

// run reads consecutive records from first on, all below end, and returns where
// it stopped. With no records, the numbers up to there are lost.
func (s *stream) run(first, end uint64, maxRecords, maxBytes int) (recs []json.RawMessage, stop uint64, err error) {
	g := s.holding(first)
	if g == nil {
		return nil, end, nil
	}
	if first < g.first {
		return nil, min(end, g.first), nil
	}
	end = min(end, g.next)
	stop, found := first, end
	err = g.read(s.id, first, func(e entry) bool {
		maxBytes -= len(e.payload) + 1
		if e.seq != stop || e.seq >= end || len(recs) >= maxRecords || maxBytes < 0 {
			found = min(e.seq, end)
			return false
		}
		recs = append(recs, e.payload)
		stop++
		return true
	})
	if len(recs) == 0 {
		stop = found
	}
	return recs, stop, err
}

// find notes lost numbers, so that the next commit books them. Those noted
// before are left out.
func (o *Outbox) find(l loss) {
	for _, hole := range l.s.doubt.holes(l.First, l.End) {
		part := l
		part.seqRange = hole
		o.losses = append(o.losses, part)
		o.counters.Lost += hole.End - hole.First
	}
	l.s.doubt.add(l.First, l.End)
	signal(o.wake)
}

// Ack settles the records first..first+n-1 of a log. Ranges may come in any
// order and more than once.
func (o *Outbox) Ack(log string, first uint64, n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.streams {
		if s.id != log {
			continue
		}
		if first == 0 || n <= 0 || first >= s.next || uint64(n) > s.next-first {
			return fmt.Errorf("acknowledge %d records from %d of log %s: it holds %d to %d", n, first, log, s.cursor, s.next-1)
		}
		s.settle(first, first+uint64(n))
		o.moved = true
		return nil
	}
	return fmt.Errorf("acknowledge records of log %s: this outbox holds no such log", log)
}
