package counter

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"floorwatch"
)

const (
	// silence is how long a device may say nothing and still counts as heard;
	// it matters to events and states, which say nothing of the time between.
	silence = 5 * time.Minute
	// settleAfter is how long after its end a bucket still takes numbers in.
	settleAfter = 2 * time.Minute
	maxIDs      = 4096 // ids that a series remembers
	maxSpans    = 1024 // spans that a series remembers to have heard of
	maxBuckets  = 5000 // open or to be published at once
	maxPending  = 20000
	// Nobody passes a door faster; a register that leaps further is broken.
	fastest, atOnce = 10, 100 // people a second, and beside that
)

// Why an item counts for nothing. All but errRepeated are worth a figure.
var (
	errRepeated  = errors.New("said before")
	errOtherKind = errors.New("another kind than the one that is counted")
)

// span is [From, To).
type span struct {
	From, To floorwatch.Time
}

// bucket is what is known of one series in [Start, Start+every).
type bucket struct {
	Start   floorwatch.Time
	In, Out int64
	Level   *int64          `json:",omitempty"` // of a state: the last in the bucket
	LevelAt floorwatch.Time `json:",omitempty"`
}

// reading is what a register showed.
type reading struct {
	At      floorwatch.Time
	In, Out int64
}

// series is the durable memory of one series.
type series struct {
	Kind    string
	Next    floorwatch.Time // start of the first bucket that is not published
	Buckets []bucket        `json:",omitempty"` // sorted, none before Next
	Covered []span          `json:",omitempty"` // of open buckets: what the counter speaks of; sorted, joined
	Said    []span          `json:",omitempty"` // interval: windows taken; sorted, joined
	Forgot  floorwatch.Time `json:",omitempty"` // what is older cannot be told from a repetition
	IDs     []uint64        `json:",omitempty"` // hashes of the latest ids
	Last    *reading        `json:",omitempty"` // cumulative
	Doubt   *reading        `json:",omitempty"` // cumulative: a fall that could not be a reset
	Level   *int64          `json:",omitempty"` // state: the latest value
	Carried *int64          `json:",omitempty"` // state: the value at Next
	LevelAt floorwatch.Time `json:",omitempty"`
	Heard   floorwatch.Time `json:",omitempty"` // latest sign of life

	ids map[uint64]bool
}

// repeated tells whether an id was seen, and remembers it otherwise.
func (s *series) repeated(id string) bool {
	if id == "" {
		return false
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	key := h.Sum64()
	if s.ids == nil {
		s.ids = make(map[uint64]bool, len(s.IDs))
		for _, k := range s.IDs {
			s.ids[k] = true
		}
	}
	if s.ids[key] {
		return true
	}
	s.ids[key] = true
	s.IDs = append(s.IDs, key)
	if over := len(s.IDs) - maxIDs; over > 0 {
		for _, k := range s.IDs[:over] {
			delete(s.ids, k)
		}
		s.IDs = slices.Delete(s.IDs, 0, over)
	}
	return false
}

// spoken tells whether [from, to) overlaps what was spoken of, and whether it
// lies in it altogether. Borders may be off by a second.
func (s *series) spoken(from, to floorwatch.Time) (overlaps, within bool) {
	const slack = 1000
	for _, p := range s.Said {
		if p.From+min(slack, (to-from)/2) < to && from < p.To-min(slack, (to-from)/2) {
			return true, p.From <= from+slack && to <= p.To+slack
		}
	}
	return false, false
}

// join adds [from, to) to a sorted list of spans of which no two touch.
func join(list []span, from, to floorwatch.Time) []span {
	if to <= from {
		return list
	}
	i, _ := slices.BinarySearchFunc(list, from, func(p span, t floorwatch.Time) int { return cmp.Compare(p.To, t) })
	j := i
	for ; j < len(list) && list[j].From <= to; j++ {
		from, to = min(from, list[j].From), max(to, list[j].To)
	}
	return slices.Replace(list, i, j, span{from, to})
}

// speak notes that the window [from, to) was taken.
func (s *series) speak(from, to floorwatch.Time) {
	s.Said = join(s.Said, from, to)
	if over := len(s.Said) - maxSpans; over > 0 {
		s.Forgot = max(s.Forgot, s.Said[over-1].To)
		s.Said = slices.Delete(s.Said, 0, over)
	}
}

// coverage returns the share of [from, to) that the counter speaks of.
func (s *series) coverage(from, to floorwatch.Time) float64 {
	var sum floorwatch.Time
	for _, p := range s.Covered {
		sum += max(0, min(to, p.To)-max(from, p.From))
	}
	return float64(sum) / float64(to-from)
}

// bucket returns the bucket that starts at start.
func (s *series) bucket(start floorwatch.Time) *bucket {
	i, found := slices.BinarySearchFunc(s.Buckets, start, func(b bucket, t floorwatch.Time) int { return cmp.Compare(b.Start, t) })
	if !found {
		s.Buckets = slices.Insert(s.Buckets, i, bucket{Start: start})
	}
	return &s.Buckets[i]
}

// alive notes a sign of life at now. Events and states need one to be believed
// when they say nothing.
func (s *series) alive(now floorwatch.Time) {
	s.Heard = max(s.Heard, now)
	if s.Kind == KindEvent || s.Kind == KindState {
		s.Covered = join(s.Covered, now, now.Add(silence))
	}
}

// passed is who passed in [From, To).
type passed struct {
	span
	in, out int64
}

// take takes an item of its kind in and returns who passed by it, if anybody:
// errRepeated when it was said before, another error when it cannot be true. The
// window of a clock that is not trusted says little: there the id alone tells a
// repetition.
func (s *series) take(it Item, from, to floorwatch.Time, trusted bool) (p passed, reset bool, err error) {
	if to < from || to.Sub(from) > 24*time.Hour {
		return p, false, fmt.Errorf("from %s to %s is no window of at most a day", from, to)
	}
	p = passed{span{from, to}, people(it.In), people(it.Out)}
	switch s.Kind {
	case KindInterval:
		if !trusted {
			return s.shifted(p, it.ID)
		}
		return p, false, s.interval(p, it.ID)
	case KindEvent:
		p.To = p.From + 1
		if err := plausible(p); err != nil {
			return p, false, err
		}
		if s.repeated(it.ID) {
			return p, false, errRepeated
		}
		return p, false, nil
	case KindCumulative:
		return s.cumulative(p, it.ID)
	}
	return p, false, s.state(it, from)
}

func plausible(p passed) error {
	limit := atOnce + fastest*int64((p.To-p.From)/1000)
	if max(p.in, p.out) > limit {
		return fmt.Errorf("%d in and %d out in %s: more than can pass, not counted", p.in, p.out, p.To.Sub(p.From))
	}
	return nil
}

func (s *series) interval(p passed, id string) error {
	if p.From == p.To {
		return errors.New("the interval is empty")
	}
	if err := plausible(p); err != nil {
		return err
	}
	if overlaps, within := s.spoken(p.From, p.To); within {
		return errRepeated
	} else if overlaps {
		return fmt.Errorf("%s to %s overlaps what was counted before; let the device send windows of one length", p.From, p.To)
	}
	if p.From < s.Forgot {
		return fmt.Errorf("%s is too long ago to be told from a repetition", p.From)
	}
	if s.repeated(id) {
		return errRepeated
	}
	s.speak(p.From, p.To)
	return nil
}

// shifted is interval for a window that was moved to our clock: what it overlaps
// by the way that messages take is cut off, and its people count.
func (s *series) shifted(p passed, id string) (passed, bool, error) {
	if err := plausible(p); err != nil {
		return p, false, err
	}
	if s.repeated(id) {
		return p, false, errRepeated
	}
	if n := len(s.Said); n > 0 {
		p.From = max(p.From, min(s.Said[n-1].To, p.To-1))
	}
	s.speak(p.From, p.To)
	return p, false, nil
}

// cumulative turns a register into what was added since the reading before. A
// register that shows less than before was reset: what it shows was added since.
// Where that is more than can have passed, an old reading came late or the
// register was set by hand; the next reading tells which.
func (s *series) cumulative(p passed, id string) (passed, bool, error) {
	now := reading{p.From, p.in, p.out}
	last := s.Last
	switch {
	case s.repeated(id), last != nil && now.At <= last.At: // late: the later reading holds it
		return p, false, errRepeated
	case last == nil:
		s.Last = &now
		return passed{}, false, nil
	case now.below(last) && s.Doubt != nil && !now.below(s.Doubt):
		last = s.Doubt
	}
	p = passed{span{last.At, now.At}, now.In - last.In, now.Out - last.Out}
	reset := now.below(last)
	if reset {
		p.in, p.out = now.In, now.Out
	}
	err := plausible(p)
	if s.Doubt = nil; err != nil && reset {
		s.Doubt = &now
		return p, true, err
	}
	s.Last = &now
	return p, reset, err
}

func (r *reading) below(o *reading) bool { return r.In < o.In || r.Out < o.Out }

// state takes a level in; below 0 there is nobody.
func (s *series) state(it Item, at floorwatch.Time) error {
	if s.repeated(it.ID) || s.Level != nil && at <= s.LevelAt {
		return errRepeated
	}
	s.Level, s.LevelAt = new(max(0, *it.Value)), at
	return nil
}
