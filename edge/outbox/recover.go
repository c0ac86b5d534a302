package outbox

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/internal/durable"
)

const quarantineName = "quarantine"

// begin makes a new current log. Its id is random, so that no number in it can
// ever have been used.
func (o *Outbox) begin() {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	o.base = hex.EncodeToString(id[:])[:15]
	for c := range classes {
		o.current[c] = newStream(fmt.Sprintf("%s%d", o.base, c), c)
		o.streams = append(o.streams, o.current[c])
	}
}

// recover rebuilds from the folder what the process before knew, as far as the
// files prove it.
func (o *Outbox) recover() error {
	st := o.loadState()
	files, err := o.listSegments()
	if err != nil {
		return err
	}
	for _, l := range st.Logs {
		if _, ok := files[l.Log]; !ok && logRE.MatchString(l.Log) {
			files[l.Log] = nil // lost with all its records, or has none
		}
	}
	for id, segs := range files {
		o.streams = append(o.streams, o.load(id, segs, st))
	}
	slices.SortFunc(o.streams, func(a, b *stream) int {
		if d := a.since() - b.since(); d != 0 {
			return int(min(max(d, -1), 1))
		}
		return strings.Compare(a.id, b.id)
	})
	proven := st.Clean && o.resume(st.Log)
	if !proven {
		o.begin()
	}
	// The mark of the clean stop goes before anything is appended: it holds once.
	if err := o.saveState(false); err != nil {
		o.set.Log.Error("outbox state not saved; free some space or check the disk", "error", err)
		o.moved = true
		if proven {
			o.begin()
		}
	}
	for _, s := range o.streams {
		s.rewind()
	}
	o.commit() // books what was found lost
	o.trim()
	o.upkeep()
	return nil
}

// trim cuts the segments of logs that are only emptied to their records: what a
// crash leaves ready behind them would else eat the budget, crash by crash. The
// losses that those bytes may prove are booked by now.
func (o *Outbox) trim() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.losses) > 0 || o.moved {
		return // not booked, or the state not saved: the next opening trims
	}
	for _, s := range o.streams {
		for _, g := range s.segs {
			if g.f == nil && g.alloc > g.size && os.Truncate(g.path, g.size) == nil {
				g.alloc = g.size
			}
		}
	}
}

// resume goes on with the log of a clean stop.
func (o *Outbox) resume(log string) bool {
	found := 0
	for _, s := range o.streams {
		if s.id[:15] == log[:min(15, len(log))] {
			o.current[s.class] = s
			found++
		}
	}
	return found == int(classes)
}

// since tells when the first record on disk was appended.
func (s *stream) since() floorwatch.Time {
	if len(s.segs) == 0 || len(s.segs[0].marks) == 0 {
		return 0
	}
	return s.segs[0].marks[0].at
}

// loadState reads the state; without a sound one everything on disk counts as
// unsettled, which costs repeats and loses nothing.
func (o *Outbox) loadState() state {
	st, damage, err := readState(o.set.Dir)
	switch {
	case damage != nil:
		o.set.Log.Error("outbox state unreadable; put aside, its copy is used", "error", damage)
		o.quarantine(stateName)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		o.set.Log.Error("outbox state unreadable; put aside, records on disk are sent again", "error", err)
		o.quarantine(stateName)
	}
	return st
}

type found struct {
	name  string
	first uint64
}

// listSegments returns the segment files by log, each log's by first number.
func (o *Outbox) listSegments() (map[string][]found, error) {
	names, err := os.ReadDir(o.set.Dir)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	files := make(map[string][]found)
	for _, e := range names { // sorted by name, so by log and first number
		log, _, first, ok := parseSegmentName(e.Name())
		switch {
		case ok && e.Type().IsRegular():
			files[log] = append(files[log], found{e.Name(), first})
		case strings.HasSuffix(e.Name(), ".seg"):
			o.quarantine(e.Name())
		case strings.HasPrefix(e.Name(), "."+stateName) && strings.Contains(e.Name(), ".tmp-"):
			_ = os.Remove(filepath.Join(o.set.Dir, e.Name())) // of an interrupted saveState
		}
	}
	return files, nil
}

// load rebuilds one log from its segments and what the state says of it.
func (o *Outbox) load(id string, files []found, st state) *stream {
	s := newStream(id, class(id[15]-'0'))
	end := ^uint64(0) // the log's first number that was never confirmed, if known
	if i := slices.IndexFunc(st.Logs, func(l logState) bool { return l.Log == id }); i >= 0 {
		l := st.Logs[i]
		s.cursor, s.next = l.Cursor, l.Next
		for _, r := range l.Lost {
			s.done.add(max(r.First, s.cursor), r.End)
			s.lost.add(max(r.First, s.cursor), r.End)
		}
		s.doubt = slices.Clone(s.lost)
		if l.Closed || st.Clean {
			end = l.Next
		}
	} else if len(files) > 0 {
		s.cursor = files[0].first
		s.next = s.cursor
	}
	r := reader{o: o, s: s, end: end, next: s.cursor}
	for i, f := range files {
		r.tell = o.set.Found
		if i < len(files)-2 {
			r.tell = nil
		}
		r.segment(f, i == len(files)-1)
	}
	if end == ^uint64(0) && r.next > s.next {
		s.next = r.next
	}
	if r.next < s.next {
		r.hole(s.next, o.now(), "missing on disk")
	}
	if r.torn && end == ^uint64(0) {
		s.next++
		r.hole(s.next, o.now(), "torn or damaged tail after a crash: at least one record, perhaps never confirmed")
	}
	s.settle(s.cursor, s.cursor) // over what the state says is lost
	return s
}

// reader goes through a log's segments and notes what is missing.
type reader struct {
	o    *Outbox
	s    *stream
	end  uint64          // numbers from here on do not count
	next uint64          // the number expected next
	at   floorwatch.Time // of the record before
	torn bool            // the last segment ends in the middle of a record
	tell func(rec json.RawMessage)
}

// hole notes that the numbers from next up to end are missing, as far as they
// are not settled.
func (r *reader) hole(end uint64, at floorwatch.Time, cause string) {
	if first := max(r.next, r.s.cursor); first < end {
		r.o.find(loss{s: r.s, seqRange: seqRange{first, end}, from: r.at, to: at, cause: cause})
	}
	r.next = max(r.next, end)
}

// segment takes one file in.
func (r *reader) segment(f found, last bool) {
	path := filepath.Join(r.o.set.Dir, f.name)
	b, err := readFile(path, r.o.set.MaxBytes)
	if err != nil {
		r.o.set.Log.Error("outbox segment unreadable; put aside", "error", err)
		r.o.quarantine(f.name)
		return
	}
	g := &segment{path: path, first: max(f.first, r.next), alloc: int64(len(b))}
	if f.first < r.s.cursor {
		g.first = f.first
	}
	beyond := false
	g.size = scan(b, r.s.id, f.first, func(e entry) bool {
		if e.seq >= r.end {
			beyond = true
			return false
		}
		if e.seq > r.next {
			r.hole(e.seq, e.at, "damaged on disk")
		}
		r.next, r.at = max(r.next, e.seq+1), e.at
		g.next = e.seq + 1
		g.note(e)
		if r.tell != nil {
			r.tell(e.payload)
		}
		return true
	})
	r.torn = last && !beyond && torn(b, g.size)
	switch {
	case g.next > 0:
		r.s.segs = append(r.s.segs, g)
	case len(strings.Trim(string(b), "\x00")) == 0:
		_ = os.Remove(path) // made ready, never written
	default:
		r.o.set.Log.Error("outbox segment holds no sound record; put aside", "file", f.name)
		r.o.quarantine(f.name)
	}
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", path, limit)
	}
	return b, nil
}

// quarantine puts a file of the folder aside for a person to look at, and keeps
// what is aside below two segments' bytes, the newest first.
func (o *Outbox) quarantine(name string) {
	dir := filepath.Join(o.set.Dir, quarantineName)
	err := durable.MkdirAll(dir, 0o700)
	if err == nil {
		stamp := o.set.Now().UTC().Format("20060102T150405.000000000")
		err = os.Rename(filepath.Join(o.set.Dir, name), filepath.Join(dir, stamp+"-"+name))
	}
	if err != nil {
		o.set.Log.Error("damaged outbox file not put aside; move it away by hand", "file", name, "error", err)
		return
	}
	entries, _ := os.ReadDir(dir) // sorted by stamp
	var bytes int64
	for _, e := range slices.Backward(entries) {
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
		if bytes > 2*o.reserve.bytes {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}
