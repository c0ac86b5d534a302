package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"floorwatch"
	"floorwatch/internal/durable"
)

// job is what one commit writes: the records of some requests, and the gap
// records of what is lost.
type job struct {
	reqs    []*request
	losses  []loss
	victims []victim // segments to give up once their loss is booked
	recs    [classes][]json.RawMessage
	errs    [classes]error
	done    [classes]bool
	forced  bool // records were dropped for want of disk space
}

type victim struct {
	s *stream
	g *segment
}

// commit writes what is queued with one sync per class and answers the
// requests. It returns whether more is waiting.
func (o *Outbox) commit() (more bool) {
	o.mu.Lock()
	j := o.take()
	more = len(o.queue) > 0
	o.mu.Unlock()
	if len(j.reqs) == 0 && len(j.losses) == 0 {
		return false
	}
	for range 2 {
		o.fit(j)
		err := o.write(j)
		if err == nil {
			break
		}
		// The file that failed is suspect, and so are its last numbers: the
		// same records go to a new log, once.
		o.renew(err)
	}
	o.publish(j)
	if j.short() { // and what was dropped makes room, once the file system notes it
		_ = durable.SyncDir(o.set.Dir)
		o.fit(j)
		if err := o.write(j); err != nil {
			o.renew(err)
		}
		o.publish(j)
	}
	for _, r := range j.reqs {
		r.done <- j.result(r)
	}
	if more {
		signal(o.wake)
	}
	return more
}

// take removes from the queue what fits one commit, at least one request.
func (o *Outbox) take() *job {
	j := &job{losses: o.losses}
	o.losses = nil
	bytes := 0
	for len(o.queue) > 0 && (bytes == 0 || bytes+o.queue[0].bytes <= maxCommit) {
		r := o.queue[0]
		o.queue = o.queue[1:]
		bytes += r.bytes
		j.reqs = append(j.reqs, r)
		for c := range classes {
			j.recs[c] = append(j.recs[c], r.recs[c]...)
		}
	}
	for _, l := range j.losses {
		j.book(l, o.now())
	}
	return j
}

func (o *Outbox) now() floorwatch.Time { return floorwatch.TimeOf(o.set.Now()) }

// book adds the gap record that names a loss.
func (j *job) book(l loss, now floorwatch.Time) {
	from, to := l.from, l.to
	if from == 0 {
		from = now
	}
	to = max(from, to)
	b, err := floorwatch.MarshalRecord(&floorwatch.Gap{
		Header: floorwatch.Header{Kind: floorwatch.KindGap, ID: fmt.Sprintf("%s-%d", l.s.id, l.First), At: now},
		Of:     floorwatch.OfRecords, From: from, To: &to, Cause: l.cause,
		Log: l.s.id, First: l.First, N: l.End - l.First,
	})
	if err != nil { // a struct of strings and numbers always encodes
		panic(fmt.Sprintf("encode gap: %v", err))
	}
	j.recs[classGaps] = append(j.recs[classGaps], b.JSON)
}

// short tells whether records were dropped to make room, and some of the job's
// have found none yet.
func (j *job) short() bool {
	for c := range classes {
		if j.forced && !j.done[c] && errors.Is(j.errs[c], syscall.ENOSPC) {
			return true
		}
	}
	return false
}

// bytes returns what a class still has to write.
func (j *job) bytes(c class) int64 {
	if j.done[c] {
		return 0
	}
	return sizeOf(j.recs[c])
}

// sizeOf returns the bytes of records as entries.
func sizeOf(recs []json.RawMessage) (n int64) {
	for _, r := range recs {
		n += headerSize + int64(len(r))
	}
	return n
}

// result returns why a request is not stored, nil when it is.
func (j *job) result(r *request) error {
	for c := range classes {
		if len(r.recs[c]) > 0 && j.errs[c] != nil {
			return fmt.Errorf("append to outbox: %w", j.errs[c])
		}
	}
	return nil
}

// fit makes sure that the job's bytes find room: within the budget, and on the
// disk. Room is made by deleting what is settled, by giving up parts of the
// reserve, and at last by dropping records, the cheapest class first. A class
// that finds no room gets an error.
func (o *Outbox) fit(j *job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	budget := o.set.MaxBytes - (reserveFiles+1)*o.reserve.bytes
	var need int64
	for c := range classes {
		need += j.bytes(c)
	}
	if over := o.used() + need - budget; over > 0 && o.reclaim() < over {
		o.drop(j, o.used()+need-budget)
	}
	for c := classGaps; c >= 0; { // bookings first: without them nothing can be dropped
		err := o.room(o.current[c], j.bytes(c))
		switch {
		case err == nil:
			j.errs[c] = nil
			c--
		case errors.Is(err, syscall.ENOSPC) && o.reserve.left() > 1 && o.reserve.release():
			o.set.Log.Warn("disk is full; the outbox uses its reserve, free some space", "dir", o.set.Dir, "reserve_files", o.reserve.left())
		case errors.Is(err, syscall.ENOSPC) && !j.forced:
			j.forced = true
			o.drop(j, o.reserve.bytes)
			o.reserve.release() // room for the booking; comes back with the files dropped
			c = classGaps
		default:
			j.errs[c] = err
			c--
		}
	}
}

// drop chooses segments worth want bytes, cheapest class and oldest first, and
// books their unsettled records. They are deleted once that is durable.
func (o *Outbox) drop(j *job, want int64) {
	for c := class(0); c < classes; c++ {
		for _, s := range o.streams {
			if s.class != c {
				continue
			}
			for _, g := range s.segs {
				if want <= 0 {
					return
				}
				if j.has(g) || g.size == 0 {
					continue
				}
				o.giveUp(j, s, g)
				want -= g.alloc
			}
		}
	}
}

func (j *job) has(g *segment) bool {
	for _, v := range j.victims {
		if v.g == g {
			return true
		}
	}
	return false
}

func (o *Outbox) giveUp(j *job, s *stream, g *segment) {
	if g.f != nil {
		o.retire(s)
	}
	j.victims = append(j.victims, victim{s, g})
	for _, hole := range s.done.holes(max(s.cursor, g.first), g.next) {
		for _, part := range s.doubt.holes(hole.First, hole.End) { // the rest is booked as damaged
			l := loss{
				s: s, seqRange: part, from: g.at(part.First).at, to: g.at(part.End - 1).at,
				cause: "disk budget spent: oldest records of " + s.class.String() + " dropped",
			}
			j.losses = append(j.losses, l)
			j.book(l, o.now())
			o.counters.Dropped += part.End - part.First
		}
	}
}

// room gives a log an open segment with n free bytes, written as zeros ahead so
// that a commit later changes the data blocks alone.
func (o *Outbox) room(s *stream, n int64) error {
	if n == 0 {
		return nil
	}
	g := s.open()
	if g == nil || g.size > 0 && g.start(n)+n > o.reserve.bytes {
		fresh, err := o.newSegment(s)
		if err != nil && (g == nil || !errors.Is(err, syscall.ENOSPC)) {
			return err
		}
		if err == nil {
			o.retire(s)
			s.segs = append(s.segs, fresh)
			g = fresh
		} // else: no inode for a new file, so the old one grows
	}
	end := g.start(n) + n
	if end <= g.alloc {
		return nil
	}
	err := o.grow(g, end, max(growStep, o.reserve.bytes/16/block*block)) // each growth costs a writing of the journal
	if errors.Is(err, syscall.ENOSPC) {
		err = o.grow(g, end, block)
	}
	return err
}

// grow writes zeros behind a segment up to a multiple of step that is not below
// need.
func (o *Outbox) grow(g *segment, need, step int64) error {
	if err := o.set.fault("grow"); err != nil {
		return err
	}
	end := (need + step - 1) / step * step
	wrote, err := g.f.WriteAt(make([]byte, end-g.alloc), g.alloc)
	if err != nil {
		if wrote > 0 {
			_ = g.f.Truncate(g.alloc)
		}
		return fmt.Errorf("grow %s: %w", filepath.Base(g.path), err)
	}
	g.alloc = end
	return nil
}

// open returns the segment that is being written, nil when there is none.
func (s *stream) open() *segment {
	if n := len(s.segs); n > 0 && s.segs[n-1].f != nil {
		return s.segs[n-1]
	}
	return nil
}

func (o *Outbox) newSegment(s *stream) (*segment, error) {
	if err := o.set.fault("create"); err != nil {
		return nil, err
	}
	path := segmentPath(o.set.Dir, s.id, s.next)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create outbox segment: %w", err)
	}
	if err := durable.SyncDir(o.set.Dir); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return nil, err
	}
	return &segment{path: path, first: s.next, next: s.next, f: f}, nil
}

// retire closes a log's open segment and gives back what it does not need.
func (o *Outbox) retire(s *stream) {
	g := s.open()
	if g == nil {
		return
	}
	if g.f.Truncate(g.size) == nil {
		g.alloc = g.size
	}
	_ = g.f.Close()
	g.f = nil
	if g.size == 0 && os.Remove(g.path) == nil {
		s.segs = s.segs[:len(s.segs)-1]
	}
}

// write puts each class's records behind its log and syncs them. An error is
// that of a file, which must not be written again.
func (o *Outbox) write(j *job) error {
	var failed error
	for c := range classes {
		s := o.current[c]
		if len(j.recs[c]) == 0 || j.done[c] {
			continue
		}
		if failed == nil && j.errs[c] != nil && !errors.Is(j.errs[c], syscall.ENOSPC) {
			failed = j.errs[c]
		}
		if j.errs[c] != nil {
			continue // fit found no room, and said why; what is open stays as it is
		}
		if j.errs[c] = o.writeClass(s, j.recs[c]); j.errs[c] != nil {
			failed = j.errs[c]
			continue
		}
		j.done[c] = true
	}
	return failed
}

func (o *Outbox) writeClass(s *stream, recs []json.RawMessage) error {
	g := s.open()
	now := o.now()
	start := g.start(sizeOf(recs))
	var buf []byte
	var entries []entry
	for i, r := range recs {
		entries = append(entries, entry{seq: s.next + uint64(i), at: now, off: start + int64(len(buf))})
		buf = appendEntry(buf, s.id, s.next+uint64(i), now, r)
	}
	if start+int64(len(buf)) > g.alloc {
		return fmt.Errorf("write %s: %w", filepath.Base(g.path), syscall.ENOSPC)
	}
	err := o.set.fault("write")
	if err == nil {
		_, err = g.f.WriteAt(buf, start)
	}
	if err == nil {
		err = o.set.fault("sync")
	}
	if err == nil {
		err = syscall.Fdatasync(int(g.f.Fd()))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(g.path), err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range entries {
		g.note(e)
	}
	g.size = start + int64(len(buf))
	g.next += uint64(len(recs))
	s.next = g.next
	o.counters.Appended += uint64(len(recs))
	return nil
}

// publish lets readers see what was written. Losses whose booking is durable
// are settled, and the segments given up go.
func (o *Outbox) publish(j *job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	signal(o.changed)
	if len(j.losses) == 0 && len(j.victims) == 0 {
		return
	}
	if !j.done[classGaps] && len(j.recs[classGaps]) > 0 {
		o.unbook(j)
		return
	}
	for _, l := range j.losses {
		l.s.lost.add(l.First, l.End)
		l.s.settle(l.First, l.End)
		o.set.Log.Error("outbox records lost; a gap record names them", "log", l.s.id, "first", l.First, "n", l.End-l.First, "cause", l.cause)
	}
	o.moved = true
	if o.reclaim() == 0 && len(j.victims) > 0 {
		// No room even for the state. Their loss is booked, so a crash before the
		// state is saved books it twice and hides nothing.
		for _, v := range j.victims {
			_ = os.Remove(v.g.path)
		}
		_ = durable.SyncDir(o.set.Dir)
		o.reclaim()
	}
	if len(j.victims) > 0 && o.reserve.left() == 0 {
		_ = o.reserve.create(0) // for the next drop; upkeep says so when it stays away
	}
	j.losses, j.victims = nil, nil
}

// unbook keeps losses that could not be booked for the next commit. Those of
// segments that were to be dropped are no losses yet.
func (o *Outbox) unbook(j *job) {
	for _, l := range j.losses {
		dropped := false
		for _, v := range j.victims {
			dropped = dropped || v.s == l.s && l.First >= v.g.first && l.End <= v.g.next
		}
		if dropped {
			o.counters.Dropped -= l.End - l.First
		} else {
			o.losses = append(o.losses, l)
		}
	}
}

// settledSegments counts the closed segments that hold nothing unsettled.
func (o *Outbox) settledSegments() int {
	n := 0
	for _, s := range o.streams {
		for _, g := range s.segs {
			if g.f == nil && g.next <= s.cursor {
				n++
			}
		}
	}
	return n
}

// reclaim saves the cursors and then deletes the segments below them. It
// returns the bytes that it freed.
func (o *Outbox) reclaim() int64 {
	if err := o.saveState(false); err != nil {
		o.set.Log.Error("outbox state not saved; settled records stay on disk until it is, free some space", "error", err)
		return 0
	}
	var freed int64
	kept := o.streams[:0]
	for _, s := range o.streams {
		for len(s.segs) > 0 && s.segs[0].f == nil && s.segs[0].next <= s.cursor {
			if err := os.Remove(s.segs[0].path); err != nil && !errors.Is(err, os.ErrNotExist) {
				o.set.Log.Error("settled outbox segment not deleted; check the folder's permissions", "error", err)
				break
			}
			freed += s.segs[0].alloc
			s.segs = s.segs[1:]
		}
		if len(s.segs) > 0 || s.pending() > 0 || s == o.current[s.class] {
			kept = append(kept, s)
		}
	}
	clear(o.streams[len(kept):])
	o.streams = kept
	return freed
}

// saveState writes the state file, giving up a part of the reserve if need be.
func (o *Outbox) saveState(clean bool) error {
	st := state{V: 1, Log: o.current[0].id, Clean: clean}
	for _, s := range o.streams {
		st.Logs = append(st.Logs, logState{s.id, s.cursor, s.next, s != o.current[s.class], s.lost})
	}
	err := o.set.fault("state")
	if err == nil {
		err = writeState(o.set.Dir, st)
	}
	if errors.Is(err, syscall.ENOSPC) && o.reserve.release() {
		err = writeState(o.set.Dir, st)
	}
	if err != nil {
		return err
	}
	o.moved, o.written = false, o.set.Now()
	return nil
}

// renew begins a new log after a failed write: what the old one's files hold
// beyond the last confirmed record is unknown, so its numbers end there.
func (o *Outbox) renew(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counters.Faults++
	for _, s := range o.current {
		o.retire(s)
	}
	o.begin()
	o.set.Log.Error("outbox write failed; a new log begins, check the disk", "error", cause, "log", o.current[0].id)
	if err := o.saveState(false); err != nil {
		o.set.Log.Error("outbox state not saved; check the disk", "error", err)
	}
}
