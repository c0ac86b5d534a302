package counter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"floorwatch"
)

// book is everything that must survive a restart: the series, what holds people,
// and the records that nobody has taken yet.
type book struct {
	V       int
	Every   time.Duration
	Series  map[string]*series
	Balance *balance            `json:",omitempty"`
	Pending []*floorwatch.Count `json:",omitempty"`
	Late    int64               // records that are no bucket, so far

	plan    plan
	dropped int // records given up because nobody took them
}

// plan is the part of the configuration that a book needs.
type plan struct {
	every   time.Duration
	zone    *time.Location
	rezero  time.Duration     // since local midnight
	series  map[string]Series // by name
	by      map[string]string // series -> what the records say of their origin
	balance string            // name of the series of entries minus exits; "": none
}

// balance is the occupancy of the store as entries minus exits of its doors.
type balance struct {
	series
	Raw    int64           // entries minus exits since Zeroed
	People int64           // the same, never let below 0
	Zeroed floorwatch.Time // when it was last set to 0
}

// newBook returns a book as data has it, which may be nil. What was kept of a
// series of another kind, or for buckets of another length, is not carried over.
func newBook(data []byte, p plan) (*book, error) {
	b := &book{}
	if data != nil {
		if err := json.Unmarshal(data, b); err != nil {
			return nil, fmt.Errorf("parse counter state: %w", err)
		}
		if b.V != 1 {
			return nil, fmt.Errorf("parse counter state: version %d is not 1", b.V)
		}
		maps.DeleteFunc(b.Series, func(_ string, s *series) bool { return s == nil })
		b.Pending = slices.DeleteFunc(b.Pending, func(c *floorwatch.Count) bool { return c == nil })
	}
	kept := make(map[string]*series)
	for _, name := range b.names() {
		s, c := b.Series[name], p.series[name]
		if b.Every != p.every || s.Kind != c.Kind {
			b.close(name, s)
		}
		if s.Kind == c.Kind {
			kept[name] = s
		}
	}
	for name, c := range p.series {
		if kept[name] == nil {
			kept[name] = &series{Kind: c.Kind}
		}
	}
	b.balanceAs(p)
	b.V, b.Every, b.plan, b.Series = 1, p.every, p, kept
	return b, nil
}

func (b *book) balanceAs(p plan) {
	switch l := b.Balance; {
	case p.balance == "":
		b.Balance = nil
	case l == nil:
		b.Balance = &balance{}
	case b.Every != p.every:
		for _, x := range l.Buckets {
			l.add(x.In - x.Out)
		}
		l.Buckets, l.Next = nil, 0
	}
}

// close publishes what is open of a series that does not go on as it was.
func (b *book) close(name string, s *series) {
	for _, x := range s.Buckets {
		end := x.Start.Add(b.Every)
		b.publish(name, s, span{x.Start, end}, x, s.coverage(x.Start, end), end)
	}
	s.Buckets, s.Next = nil, 0
}

func (b *book) floor(t floorwatch.Time) floorwatch.Time { return t.Floor(b.plan.every) }

// alive notes a sign of life of a device with the named series.
func (b *book) alive(names []string, now floorwatch.Time) {
	for _, name := range names {
		b.start(b.Series[name], now)
		b.Series[name].alive(now)
		if b.Balance != nil && b.plan.series[name].Door {
			b.start(&b.Balance.series, now)
		}
	}
}

// start opens a series' first bucket: the one that has not settled at now.
func (b *book) start(s *series, now floorwatch.Time) {
	if s.Next == 0 {
		s.Next = b.floor(now.Add(-settleAfter))
	}
}

// take books an item of the named series.
func (b *book) take(name string, it Item, from, to, now floorwatch.Time, trusted bool) (reset bool, err error) {
	s, c := b.Series[name], b.plan.series[name]
	p, reset, err := s.take(it, from, to, trusted)
	if err != nil {
		return reset, err
	}
	if s.Kind == KindState {
		b.level(s, s.LevelAt)
		return false, nil
	}
	if c.Invert {
		p.in, p.out = p.out, p.in
	}
	if p.To > p.From {
		b.count(name, s, p, now)
	}
	return reset, nil
}

// level notes a state in its bucket; one that is late only shapes the present.
func (b *book) level(s *series, at floorwatch.Time) {
	if start := b.floor(at); start >= s.Next {
		x := s.bucket(start)
		x.Level, x.LevelAt = s.Level, at
	}
}

// count books who passed: in the bucket in which the window ends, which is at
// most a window off, or on its own where that has settled or the window is
// longer than a bucket.
func (b *book) count(name string, s *series, p passed, now floorwatch.Time) {
	start, long := b.floor(p.To-1), p.To.Sub(p.From) > b.plan.every
	late := start < s.Next || long
	if !long && s.Kind != KindEvent {
		s.Covered = join(s.Covered, p.From, p.To)
	}
	if late {
		b.publish(name, s, p.span, bucket{In: p.in, Out: p.out}, 1, now)
	} else {
		x := s.bucket(start)
		x.In, x.Out = x.In+p.in, x.Out+p.out
	}
	if b.Balance != nil && b.plan.series[name].Door {
		b.Balance.move(p, start, late)
	}
}

// move changes the occupancy by who passed a door.
func (l *balance) move(p passed, start floorwatch.Time, late bool) {
	switch {
	case p.To <= l.Zeroed: // of a day that is over
	case late || start < l.Next:
		l.add(p.in - p.out)
	default:
		x := l.bucket(start)
		x.In, x.Out = x.In+p.in, x.Out+p.out
	}
}

func (l *balance) add(n int64) {
	l.Raw += n
	l.People = max(0, l.People+n)
}

// advance publishes what has settled at now.
func (b *book) advance(now floorwatch.Time) (changed bool) {
	for _, name := range b.names() {
		s := b.Series[name]
		for s.Next > 0 && s.Next.Add(b.plan.every+settleAfter) <= now {
			changed = true
			of := span{s.Next, s.Next.Add(b.plan.every)}
			x, coverage := s.pop(s.Next), s.coverage(of.From, of.To)
			if x.Level != nil {
				s.Carried = x.Level
			} else if coverage > 0 {
				x.Level = s.Carried
			}
			b.publish(name, s, of, x, coverage, now)
			b.skip(s, now)
		}
	}
	return b.advanceBalance(now) || changed
}

// skip moves on to the next bucket, over those of which nothing can be known
// when the box was off.
func (b *book) skip(s *series, now floorwatch.Time) {
	s.Next = s.Next.Add(b.plan.every)
	target := b.floor(now.Add(-settleAfter))
	if len(s.Buckets) > 0 {
		target = min(target, s.Buckets[0].Start)
	}
	for _, p := range s.Covered {
		if p.To > s.Next {
			target = min(target, max(s.Next, b.floor(p.From)))
			break
		}
	}
	s.Next = max(s.Next, target)
	// The balance, which may settle after its doors, still asks for the last ones.
	old := s.Next.Add(-10 * b.plan.every)
	s.Covered = slices.DeleteFunc(s.Covered, func(p span) bool { return p.To < old })
}

// pop takes a bucket out.
func (s *series) pop(start floorwatch.Time) bucket {
	if len(s.Buckets) == 0 || s.Buckets[0].Start != start {
		return bucket{Start: start}
	}
	x := s.Buckets[0]
	s.Buckets = slices.Delete(s.Buckets, 0, 1)
	return x
}

// publish makes a record of who passed in a span; none where nothing is known.
func (b *book) publish(name string, s *series, of span, x bucket, coverage float64, at floorwatch.Time) {
	silent := x.In == 0 && x.Out == 0 && x.Level == nil
	if coverage == 0 && silent || s.Kind == KindState && x.Level == nil {
		return
	}
	b.emit(&floorwatch.Count{
		Header: floorwatch.Header{Kind: floorwatch.KindCount, At: at, By: b.plan.by[name], ID: b.id(name, s.Next, of)},
		Line:   name, Start: of.From, End: of.To, In: x.In, Out: x.Out, Coverage: coverage, Occupancy: x.Level,
	})
}

// id names a record by its span. One that is not a bucket has a number too, for
// two may have the same span.
func (b *book) id(name string, next floorwatch.Time, of span) string {
	id := fmt.Sprintf("%s-%d-%d", name, of.From, of.To-of.From)
	if of.From == next && of.To == next.Add(b.Every) {
		return id
	}
	b.Late++
	return fmt.Sprintf("%s-late-%d", id, b.Late)
}

func (b *book) emit(c *floorwatch.Count) {
	b.Pending = append(b.Pending, c)
	if over := len(b.Pending) - maxPending; over > 0 {
		b.Pending = slices.Delete(b.Pending, 0, over)
		b.dropped += over
	}
}

func (b *book) names() []string {
	names := make([]string, 0, len(b.Series))
	for name := range b.Series {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// advanceBalance publishes the occupancy, and sets it to 0 every night.
func (b *book) advanceBalance(now floorwatch.Time) (changed bool) {
	l := b.Balance
	if l == nil || l.Next == 0 {
		return false
	}
	if l.Zeroed == 0 {
		l.Zeroed = b.zero(l.Next)
	}
	if oldest := b.floor(now.Add(-48 * time.Hour)); l.Next < oldest && len(l.Buckets) == 0 {
		l.Next = oldest // the box was off
	}
	for l.Next.Add(b.plan.every+settleAfter) <= now {
		changed = true
		of := span{l.Next, l.Next.Add(b.plan.every)}
		x := l.pop(l.Next)
		var drift *int64
		if zero := b.zero(of.To - 1); zero > l.Zeroed {
			drift = new(l.Raw)
			l.Raw, l.People, l.Zeroed = 0, 0, zero
		}
		l.add(x.In - x.Out)
		l.Next = of.To
		coverage := b.doorCoverage(of)
		if coverage == 0 && drift == nil && x.In == 0 && x.Out == 0 {
			continue
		}
		b.emit(&floorwatch.Count{
			Header: floorwatch.Header{Kind: floorwatch.KindCount, At: now, By: "counter balance", ID: b.id(b.plan.balance, of.From, of)},
			Line:   b.plan.balance, Start: of.From, End: of.To, Coverage: coverage, Occupancy: new(l.People), Drift: drift,
		})
	}
	return changed
}

// doorCoverage is that of the door that was heard least: one that is not heard
// of makes the balance wrong.
func (b *book) doorCoverage(of span) float64 {
	least := 1.0
	for name, c := range b.plan.series {
		if c.Door && c.Kind != KindState {
			least = min(least, b.Series[name].coverage(of.From, of.To))
		}
	}
	return least
}

// zero returns the latest nightly setting to 0 that is not after t.
func (b *book) zero(t floorwatch.Time) floorwatch.Time {
	local := t.Time().In(b.plan.zone)
	for back := 0; ; back++ {
		z := time.Date(local.Year(), local.Month(), local.Day()-back, 0, 0, int(b.plan.rezero/time.Second), 0, b.plan.zone)
		if ms := floorwatch.TimeOf(z); ms <= t {
			return ms
		}
	}
}

// level is the present of one thing that holds people.
type level struct {
	name   string
	people int64
	heard  bool
}

// levels returns the present: states as last told, the balance with what has not
// settled.
func (b *book) levels(now floorwatch.Time) []level {
	var out []level
	for _, name := range b.names() {
		if s := b.Series[name]; s.Level != nil {
			out = append(out, level{name, *s.Level, now.Sub(s.Heard) <= silence})
		}
	}
	if l := b.Balance; l != nil && l.Next > 0 {
		n, heard := l.People, true
		for _, x := range l.Buckets {
			n = max(0, n+x.In-x.Out)
		}
		for name, c := range b.plan.series {
			if s := b.Series[name]; c.Door && c.Kind != KindState {
				heard = heard && now.Sub(s.Heard) <= silence
			}
		}
		out = append(out, level{b.plan.balance, n, heard})
	}
	slices.SortFunc(out, func(x, y level) int { return cmp.Compare(x.name, y.name) })
	return out
}
