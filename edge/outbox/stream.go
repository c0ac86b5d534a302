package outbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"

	"floorwatch"
)

// A class is what is dropped together when the disk budget is spent, the lowest
// first. It is the last digit of a log's id.
type class int

const (
	classFigures class = iota // health, interval
	classPeople               // stay, count
	classEvents               // wait, alert, segment, and kinds unknown here
	classGaps                 // gap
	classes
)

func classOf(kind string) class {
	switch kind {
	case floorwatch.KindHealth, floorwatch.KindInterval:
		return classFigures
	case floorwatch.KindStay, floorwatch.KindCount:
		return classPeople
	case floorwatch.KindGap:
		return classGaps
	}
	return classEvents
}

func (c class) String() string {
	return [classes]string{"health and interval", "stay and count", "wait, alert and segment", "gap"}[c]
}

// stream is one log: the records of one class from the making of the log on,
// numbered from 1, in segments.
type stream struct {
	id     string
	class  class
	segs   []*segment // by first number; the last may be open for writing
	cursor uint64     // everything below is settled
	next   uint64     // the first number that is not durable
	done   ranges     // settled at or above the cursor
	lost   ranges     // the part of done that is lost and was booked
	doubt  ranges     // found lost, booked or about to be

	// What the reader has handed out since Rewind: the backlog from back up to
	// fence, and what came later from fresh on.
	back, fence, fresh uint64
}

func newStream(id string, c class) *stream {
	return &stream{id: id, class: c, cursor: 1, next: 1, back: 1, fence: 1, fresh: 1}
}

// settle marks [first, end) as settled and moves the cursor over the closed
// prefix.
func (s *stream) settle(first, end uint64) {
	s.done.add(max(first, s.cursor), end)
	s.cursor = s.done.skip(s.cursor)
	s.done.trim(s.cursor)
	s.lost.trim(s.cursor)
}

// pending returns how many durable records are not settled.
func (s *stream) pending() uint64 { return s.next - s.cursor - s.done.count() }

// holding returns the segment in which n lies or would lie; nil when n is
// behind all of them.
func (s *stream) holding(n uint64) *segment {
	for _, g := range s.segs {
		if n < g.next {
			return g
		}
	}
	return nil
}

func (s *stream) rewind() { s.back, s.fence, s.fresh = s.cursor, s.next, s.next }

// segment is one file of a log, named LOG-FIRST.seg.
type segment struct {
	path        string
	first, next uint64 // numbers in the file: [first, next)
	size        int64  // bytes up to the end of the last record
	alloc       int64  // bytes of the file
	marks       []mark // where to start reading; at least one in each markEvery
	f           *os.File
}

type mark struct {
	seq uint64
	off int64
	at  floorwatch.Time
}

const (
	markEvery = 64 << 10
	readChunk = 1 << 20 // more than markEvery and two of the largest records
)

// start returns where to write n bytes: behind the last record, or at the next
// block of the file system when that spares writing one and leaves no more than
// a quarter of one empty. Blocks are what the flash wears by, not bytes.
func (g *segment) start(n int64) int64 {
	const spare = block / 4
	touched := func(at int64) int64 { return (at+n-1)/block - at/block }
	if next := (g.size + block - 1) / block * block; next-g.size <= spare && touched(next) < touched(g.size) {
		return next
	}
	return g.size
}

func (g *segment) note(e entry) {
	if n := len(g.marks); n == 0 || e.off-g.marks[n-1].off >= markEvery {
		g.marks = append(g.marks, mark{e.seq, e.off, e.at})
	}
}

// at returns the last mark at or before n; the start of the file without one.
func (g *segment) at(n uint64) mark {
	m := mark{seq: g.first}
	for _, k := range g.marks {
		if k.seq > n {
			break
		}
		m = k
	}
	return m
}

// read calls yield for the sound records from number n on, in order, until it
// returns false. A file that is gone or cannot be read holds none; any other
// trouble is an error and may pass.
func (g *segment) read(log string, n uint64, yield func(entry) bool) error {
	f, err := os.Open(g.path)
	if damaged(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read outbox: %w", err)
	}
	defer func() { _ = f.Close() }()
	start := g.at(n).off
	for _, length := range []int64{min(readChunk, g.size-start), g.size - start} {
		b := make([]byte, max(length, 0))
		got, err := f.ReadAt(b, start)
		if err != nil && !errors.Is(err, io.EOF) && !damaged(err) {
			return fmt.Errorf("read outbox: %w", err)
		}
		found := false
		scan(b[:got], log, g.at(n).seq, func(e entry) bool {
			if e.seq < n {
				return true
			}
			found = true
			return yield(e)
		})
		if found {
			return nil
		}
	}
	return nil
}

// damaged tells whether err means that the bytes are lost for good.
func damaged(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO) ||
		errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EUCLEAN) || errors.Is(err, syscall.EBADMSG)
}

var (
	logRE     = regexp.MustCompile(`^[0-9a-f]{15}[0-3]$`)
	segmentRE = regexp.MustCompile(`^([0-9a-f]{15}([0-3]))-([0-9a-f]{16})\.seg$`)
)

func segmentPath(dir, log string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%016x.seg", log, first))
}

// parseSegmentName reads what segmentPath wrote.
func parseSegmentName(name string) (log string, c class, first uint64, ok bool) {
	m := segmentRE.FindStringSubmatch(name)
	if m == nil {
		return "", 0, 0, false
	}
	first, err := strconv.ParseUint(m[3], 16, 63)
	return m[1], class(m[2][0] - '0'), first, err == nil && first > 0
}
