// Package outbox is the durable queue on an edge box's disk: what Append has
// accepted survives power cuts, damage and full disks until the cloud has
// acknowledged it, and whatever is lost all the same is named in a gap record.
//
// Open an outbox, Append records, and hand it to the uplink, which takes batches
// with Next and settles them with Ack. The files, and why no sequence number is
// ever used twice, are written down in docs/outbox.md; the format of version 1
// stays readable.
package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
)

// Defaults and bounds of the settings.
const (
	DefaultMaxBytes = 256 << 20
	MinMaxBytes     = 4 << 20
	DefaultCommit   = 200 * time.Millisecond
	MaxAppend       = 1 << 20 // bytes of records in one Append
)

const (
	segmentsInBudget = 64       // a segment is this part of the budget
	reserveFiles     = 8        // of one segment each, inside the budget
	growStep         = 64 << 10 // bytes of zeros written ahead of the records, at least
	block            = 4 << 10  // of a file system: what the device writes at least
	maxCommit        = 2 << 20  // bytes of entries written in one go
	upkeepEvery      = 2 * time.Second
	stateEvery       = 30 * time.Minute // the state and its copy cost the flash some 60 kB; a crash, what was settled since sent again
)

// Settings say where an outbox lies and how much it may hold.
type Settings struct {
	Dir      string
	MaxBytes int64         // of the whole folder; 0: DefaultMaxBytes
	Commit   time.Duration // shortest time between two syncs; 0: DefaultCommit
	Now      func() time.Time
	Log      *slog.Logger
	// Found is told, in Open, of each sound record in the newest two files of
	// each log, settled or not: what the process before had made durable last.
	Found func(rec json.RawMessage)

	fault func(op string) error // tests: fails the named operation
}

func (s *Settings) fill() error {
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultMaxBytes
	}
	if s.MaxBytes < MinMaxBytes {
		return fmt.Errorf("outbox of %d bytes is too small; give it at least %d", s.MaxBytes, MinMaxBytes)
	}
	if s.Commit == 0 {
		s.Commit = DefaultCommit
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.fault == nil {
		s.fault = func(string) error { return nil }
	}
	return nil
}

// Outbox is an open queue. Its methods may be called from many goroutines.
type Outbox struct {
	set     Settings
	lock    *os.File
	reserve reserve
	wake    chan struct{} // something is queued
	changed chan struct{} // something became durable
	stop    chan struct{}
	stopped chan struct{}

	// Only the committing goroutine, and Open before it, write files and
	// change segments; it holds mu where others look.
	mu          sync.Mutex
	base        string // the current log's id without its class
	streams     []*stream
	backlogTurn bool // Next looks into the backlog first
	current     [classes]*stream
	queue       []*request
	losses      []loss // found, not yet booked
	closed      bool
	moved       bool // a cursor moved since the state was written
	written     time.Time
	counters    Counters
}

// request is one Append on its way to the disk.
type request struct {
	recs  [classes][]json.RawMessage
	bytes int
	done  chan error
}

// loss is a range of numbers whose records are gone.
type loss struct {
	s *stream
	seqRange
	from, to floorwatch.Time
	cause    string
}

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("outbox is closed")

// Open opens or creates the outbox in set.Dir. Damage never keeps it from
// opening: what can be read is kept, what cannot is put aside in the folder
// "quarantine", and lost numbers are booked. It fails when the settings are
// wrong, the folder cannot be used, or another process has it open.
func Open(set Settings) (*Outbox, error) {
	if err := set.fill(); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(set.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	lock, err := lockDir(set.Dir)
	if err != nil {
		return nil, err
	}
	o := &Outbox{
		set: set, lock: lock,
		reserve: reserve{set.Dir, reserveFiles, set.MaxBytes / segmentsInBudget},
		wake:    make(chan struct{}, 1), changed: make(chan struct{}, 1),
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := o.recover(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	go o.loop()
	return o, nil
}

// LockFile is the file in the folder that whoever has it open holds locked.
const LockFile = "lock"

// lockDir takes the folder for this process; the lock goes with the process.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, LockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock outbox %s: %w; stop the other floorwatch that uses this folder, or give this one its own", dir, err)
	}
	return f, nil
}

// Log returns the id of the current log: 16 hex digits, random, made anew
// whenever the last number cannot be proven. The last digit is the class of its
// records; this is class 0.
func (o *Outbox) Log() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.current[0].id
}

// Changed receives a value after new records became durable.
func (o *Outbox) Changed() <-chan struct{} { return o.changed }

// Append stores records and returns once they are on disk. Nothing is stored
// when a record has no kind or is larger than floorwatch.MaxRecordBytes, or all
// are together larger than MaxAppend. After any other error the records are not
// stored and may be appended again.
func (o *Outbox) Append(recs ...floorwatch.Encoded) error {
	if len(recs) == 0 {
		return nil
	}
	r := &request{done: make(chan error, 1)}
	total := 0
	for i, rec := range recs {
		if len(rec.JSON) > floorwatch.MaxRecordBytes {
			return fmt.Errorf("append record %d of %d: it has %d bytes, limit %d", i+1, len(recs), len(rec.JSON), floorwatch.MaxRecordBytes)
		}
		if rec.Kind == "" {
			return fmt.Errorf("append record %d of %d: it has no kind", i+1, len(recs))
		}
		c := classOf(rec.Kind)
		r.recs[c] = append(r.recs[c], rec.JSON)
		r.bytes += headerSize + len(rec.JSON)
		if total += len(rec.JSON); total > MaxAppend {
			return fmt.Errorf("append %d records: more than %d bytes together; append them in parts", len(recs), MaxAppend)
		}
	}
	if err := o.enqueue(r); err != nil {
		return err
	}
	return <-r.done
}

func (o *Outbox) enqueue(r *request) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	o.queue = append(o.queue, r)
	signal(o.wake)
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close commits what is queued, notes the clean stop and releases the folder.
func (o *Outbox) Close() error {
	o.mu.Lock()
	first := !o.closed
	o.closed = true
	o.mu.Unlock()
	if !first {
		<-o.stopped
		return nil
	}
	close(o.stop)
	<-o.stopped
	err := o.finish()
	if cerr := o.lock.Close(); err == nil {
		err = cerr
	}
	return err
}

// finish trims the open segments and writes a state that lets the next Open go
// on with this log.
func (o *Outbox) finish() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.current {
		o.retire(s)
	}
	return o.saveState(true)
}

// loop commits at once what comes after a pause, and gathers what comes within
// the commit interval of the sync before.
func (o *Outbox) loop() {
	defer close(o.stopped)
	upkeep := time.NewTicker(upkeepEvery)
	defer upkeep.Stop()
	for {
		select {
		case <-o.wake:
			o.commit()
			select {
			case <-time.After(o.set.Commit):
			case <-o.stop:
			}
		case <-upkeep.C:
			o.upkeep()
		case <-o.stop:
			for o.commit() {
			}
			return
		}
	}
}

// upkeep deletes settled segments, saves the cursors now and then, books losses
// that could not be booked before, and refills the reserve.
func (o *Outbox) upkeep() {
	o.commit()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settledSegments() > 0 || o.moved && time.Since(o.written) >= stateEvery {
		o.reclaim()
	}
	if err := o.reserve.fill(); err != nil {
		o.set.Log.Warn("outbox reserve is not complete; free some disk space", "error", err)
	}
}

// Counters count since Open.
type Counters struct {
	Appended uint64 // records made durable
	Dropped  uint64 // given up because the disk budget was spent
	Lost     uint64 // lost to damage, as far as it can be counted
	Faults   uint64 // failed writes after which a new log was begun
}

// Stats is what an outbox says of itself.
type Stats struct {
	Counters
	Records uint64          // durable and not settled
	Bytes   int64           // on disk, without the reserve
	Oldest  floorwatch.Time // about when the oldest unsettled record was appended; 0: none
}

// Stats returns the figures of this moment.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := Stats{Counters: o.counters, Bytes: o.used()}
	for _, s := range o.streams {
		n := s.pending()
		if n == 0 {
			continue
		}
		st.Records += n
		if g := s.holding(s.cursor); g != nil {
			if at := g.at(s.cursor).at; st.Oldest == 0 || at < st.Oldest {
				st.Oldest = at
			}
		}
	}
	return st
}

func (o *Outbox) used() int64 {
	var n int64
	for _, s := range o.streams {
		for _, g := range s.segs {
			n += g.alloc
		}
	}
	return n
}
