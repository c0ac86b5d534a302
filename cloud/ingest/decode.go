package ingest

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"floorwatch"
)

// decoder reads batches as boxes write them, in one pass and with few
// allocations. It knows the envelope and the kinds that make up nearly all
// records; at anything else (an unknown or repeated key, an escape, null, a
// number in an unusual form, a fault of any sort) it stops, and encoding/json
// reads the record or the batch instead. So the decoder decides how fast a batch
// is read and never how: FuzzDecode holds the two against each other.
type decoder struct {
	b     []byte
	i     int
	names map[string]string // texts that come again and again, one copy of each
}

// record is one record of a batch: its bytes, and what they say, or nil where
// ParseRecord is to be asked.
type record struct {
	raw json.RawMessage
	rec floorwatch.Record
}

const (
	maxInterned = 4096
	maxName     = 200  // bytes of a text that is worth a copy that stays
	maxNested   = 64   // a value nested deeper is left to encoding/json
	exactFloat  = 1e15 // integers below are exact, and so is one division by 10^22
)

// parse reads a batch: quickly where that gives the very same, else slowly.
func (d *decoder) parse(payload []byte) (floorwatch.Batch, []record, error) {
	if len(payload) <= floorwatch.MaxPacket {
		if m, recs, ok := d.batch(payload); ok {
			return m, recs, nil
		}
	}
	m, err := floorwatch.ParseBatch(payload)
	if err != nil {
		return m, nil, err
	}
	recs := make([]record, len(m.Records))
	for i, raw := range m.Records {
		recs[i] = record{raw: raw}
	}
	return m, recs, nil
}

// batch reads an envelope that ParseBatch would accept; Records stays empty.
func (d *decoder) batch(payload []byte) (m floorwatch.Batch, recs []record, ok bool) {
	d.b, d.i = payload, 0
	var seen fields
	ok = d.object(func(key []byte) bool {
		switch string(key) {
		case "v":
			return seen.once(0) && d.int(&m.V)
		case "store":
			return seen.once(1) && d.name(&m.Store)
		case "edge":
			return seen.once(2) && d.name(&m.Edge)
		case "log":
			return seen.once(3) && d.name(&m.Log)
		case "first":
			return seen.once(4) && d.uint64(&m.First)
		case "n":
			return seen.once(5) && d.int(&m.N)
		case "records":
			return seen.once(6) && d.records(m.N, &recs)
		}
		return false
	})
	d.space()
	ok = ok && d.i == len(d.b) && m.V == floorwatch.Version && floorwatch.ValidName(m.Store) && floorwatch.ValidName(m.Edge) &&
		validLog(m.Log) && m.N == len(recs) && m.N > 0 && m.N <= floorwatch.MaxBatchRecords &&
		m.First > 0 && m.First <= math.MaxInt64-floorwatch.MaxBatchRecords
	return m, recs, ok
}

func validLog(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 16
}

// records reads the array; n is how many the envelope announced, if it did.
func (d *decoder) records(n int, recs *[]record) bool {
	*recs = make([]record, 0, min(max(n, 1), floorwatch.MaxBatchRecords))
	return d.array(func() bool {
		if len(*recs) >= floorwatch.MaxBatchRecords {
			return false
		}
		start := d.i
		rec, ok := d.record()
		if !ok {
			rec, d.i = nil, start
			if !d.skip(0) {
				return false
			}
		}
		raw := json.RawMessage(d.b[start:d.i:d.i])
		*recs = append(*recs, record{raw, rec})
		return true
	})
}

// record reads one whose first key is its kind.
func (d *decoder) record() (floorwatch.Record, bool) {
	start := d.i
	var kind string
	if !d.lit(`{"kind":`) || !d.name(&kind) {
		return nil, false
	}
	d.i = start + 1
	switch kind {
	case floorwatch.KindStay:
		return d.stay()
	case floorwatch.KindWait:
		return d.wait()
	case floorwatch.KindInterval:
		return d.interval()
	case floorwatch.KindCount:
		return d.count()
	}
	return nil, false
}

// header reads a field that every record has; known tells whether key is one.
func (d *decoder) header(h *floorwatch.Header, key []byte, seen *fields) (known, ok bool) {
	switch string(key) {
	case "kind":
		return true, seen.once(0) && d.name(&h.Kind)
	case "camera":
		return true, seen.once(1) && d.name(&h.Camera)
	case "zone":
		return true, seen.once(2) && d.name(&h.Zone)
	case "id":
		return true, seen.once(3) && d.text(&h.ID)
	case "at":
		return true, seen.once(4) && d.time(&h.At)
	case "rev":
		return true, seen.once(5) && d.name(&h.Rev)
	case "by":
		return true, seen.once(6) && d.name(&h.By)
	case "boot":
		return true, seen.once(7) && d.name(&h.Boot)
	case "mono":
		return true, seen.once(8) && d.int64(&h.Mono)
	case "unsynced":
		return true, seen.once(9) && d.bool(&h.Unsynced)
	}
	return false, false
}

const afterHeader = 10 // the first bit of fields that a kind has for itself

func (d *decoder) stay() (floorwatch.Record, bool) {
	r := &struct { // one piece of memory for all of it
		floorwatch.Stay
		exit   floorwatch.Time
		tracks [2]int64
	}{}
	var seen fields
	ok := d.members(func(key []byte) bool {
		switch string(key) {
		case "enter":
			return seen.once(afterHeader) && d.time(&r.Enter)
		case "exit":
			r.Exit = &r.exit
			return seen.once(afterHeader+1) && d.time(&r.exit)
		case "enter_seen":
			return seen.once(afterHeader+2) && d.bool(&r.EnterSeen)
		case "exit_seen":
			return seen.once(afterHeader+3) && d.bool(&r.ExitSeen)
		case "seen_s":
			return seen.once(afterHeader+4) && d.float(&r.SeenS)
		case "merged_s":
			return seen.once(afterHeader+5) && d.float(&r.MergedS)
		case "tracks":
			r.Tracks = r.tracks[:0]
			return seen.once(afterHeader+6) && d.ints(&r.Tracks)
		case "bridged_s":
			return seen.once(afterHeader+7) && d.float(&r.BridgedS)
		case "bridges":
			return seen.once(afterHeader+8) && d.int(&r.Bridges)
		case "error_s":
			return seen.once(afterHeader+9) && d.float(&r.ErrorS)
		}
		if bit, name := originOf(&r.Origin, key); name != nil {
			return seen.once(afterHeader+10+bit) && d.name(name)
		}
		known, ok := d.header(&r.Header, key, &seen)
		return known && ok
	})
	return &r.Stay, ok
}

func (d *decoder) wait() (floorwatch.Record, bool) {
	r := &struct {
		floorwatch.Wait
		end floorwatch.Time
	}{}
	var seen fields
	ok := d.members(func(key []byte) bool {
		switch string(key) {
		case "enter":
			return seen.once(afterHeader) && d.time(&r.Enter)
		case "end":
			r.End = &r.end
			return seen.once(afterHeader+1) && d.time(&r.end)
		case "outcome":
			return seen.once(afterHeader+2) && d.name(&r.Outcome)
		case "service_zone":
			return seen.once(afterHeader+3) && d.name(&r.ServiceZone)
		case "enter_seen":
			return seen.once(afterHeader+4) && d.bool(&r.EnterSeen)
		case "direct":
			return seen.once(afterHeader+5) && d.bool(&r.Direct)
		case "bridged_s":
			return seen.once(afterHeader+6) && d.float(&r.BridgedS)
		case "bridges":
			return seen.once(afterHeader+7) && d.int(&r.Bridges)
		case "error_s":
			return seen.once(afterHeader+8) && d.float(&r.ErrorS)
		}
		if bit, name := originOf(&r.Origin, key); name != nil {
			return seen.once(afterHeader+9+bit) && d.name(name)
		}
		known, ok := d.header(&r.Header, key, &seen)
		return known && ok
	})
	return &r.Wait, ok
}

// originOf finds the text that key names, nil when it names none.
func originOf(o *floorwatch.Origin, key []byte) (bit int, text *string) {
	switch string(key) {
	case "source":
		return 0, &o.Source
	case "stage":
		return 1, &o.Stage
	case "business":
		return 2, &o.Business
	}
	return 0, nil
}

func (d *decoder) count() (floorwatch.Record, bool) {
	r := new(floorwatch.Count)
	var seen fields
	ok := d.members(func(key []byte) bool {
		switch string(key) {
		case "line":
			return seen.once(afterHeader) && d.name(&r.Line)
		case "start":
			return seen.once(afterHeader+1) && d.time(&r.Start)
		case "end":
			return seen.once(afterHeader+2) && d.time(&r.End)
		case "in":
			return seen.once(afterHeader+3) && d.int64(&r.In)
		case "out":
			return seen.once(afterHeader+4) && d.int64(&r.Out)
		case "coverage":
			return seen.once(afterHeader+5) && d.float(&r.Coverage)
		case "occupancy":
			r.Occupancy = new(int64)
			return seen.once(afterHeader+6) && d.int64(r.Occupancy)
		case "drift":
			r.Drift = new(int64)
			return seen.once(afterHeader+7) && d.int64(r.Drift)
		}
		known, ok := d.header(&r.Header, key, &seen)
		return known && ok
	})
	return r, ok
}

func (d *decoder) interval() (floorwatch.Record, bool) {
	r := new(floorwatch.Interval)
	var seen fields
	ok := d.members(func(key []byte) bool {
		switch string(key) {
		case "start":
			return seen.once(afterHeader) && d.time(&r.Start)
		case "end":
			return seen.once(afterHeader+1) && d.time(&r.End)
		case "coverage":
			return seen.once(afterHeader+2) && d.float(&r.Coverage)
		case "observed_s":
			return seen.once(afterHeader+3) && d.float(&r.ObservedS)
		case "person_s":
			return seen.once(afterHeader+4) && d.float(&r.PersonS)
		case "occupancy":
			return seen.once(afterHeader+5) && d.float(&r.Occupancy)
		case "stays":
			return seen.once(afterHeader+6) && d.sum(&r.Stays)
		case "waits":
			r.Waits = new(floorwatch.Sum)
			return seen.once(afterHeader+7) && d.sum(r.Waits)
		case "crossings":
			return seen.once(afterHeader+8) && d.sum(&r.Crossings)
		case "quality":
			return seen.once(afterHeader+9) && d.float(&r.Quality)
		}
		if bit, n := countOf(r, key); n != nil {
			return seen.once(bit) && d.int64(n)
		}
		known, ok := d.header(&r.Header, key, &seen)
		return known && ok
	})
	return r, ok
}

// countOf finds the count that key names, nil when it names none.
func countOf(r *floorwatch.Interval, key []byte) (bit int, n *int64) {
	const next = afterHeader + 10
	switch string(key) {
	case "occupancy_min":
		return next, &r.Min
	case "occupancy_max":
		return next + 1, &r.Max
	case "inside":
		return next + 2, &r.Inside
	case "arrived":
		return next + 3, &r.Arrived
	case "appeared":
		return next + 4, &r.Appeared
	case "departed":
		return next + 5, &r.Departed
	case "lost":
		return next + 6, &r.Lost
	case "served":
		return next + 7, &r.Served
	case "abandoned":
		return next + 8, &r.Abandoned
	case "unknown":
		return next + 9, &r.Unknown
	case "direct":
		return next + 10, &r.Direct
	}
	return 0, nil
}

func (d *decoder) sum(s *floorwatch.Sum) bool {
	var seen fields
	return d.object(func(key []byte) bool {
		switch string(key) {
		case "n":
			return seen.once(0) && d.int64(&s.N)
		case "sum":
			return seen.once(1) && d.float(&s.Sum)
		case "min":
			return seen.once(2) && d.float(&s.Min)
		case "max":
			return seen.once(3) && d.float(&s.Max)
		}
		return false
	})
}

// fields marks which fields of an object came; encoding/json takes the last of
// two, and that is not worth imitating.
type fields uint64

func (f *fields) once(bit int) bool {
	if *f&(1<<bit) != 0 {
		return false
	}
	*f |= 1 << bit
	return true
}

// object reads {"key":value,…}; member reads the value of a key.
func (d *decoder) object(member func(key []byte) bool) bool {
	d.space()
	return d.lit("{") && d.members(member)
}

// members reads what follows the opening brace, the closing one included.
func (d *decoder) members(member func(key []byte) bool) bool {
	d.space()
	if d.lit("}") {
		return true
	}
	for {
		key, ok := d.plain()
		if !ok {
			return false
		}
		d.space()
		if !d.lit(":") {
			return false
		}
		d.space()
		if !member(key) {
			return false
		}
		d.space()
		if d.lit("}") {
			return true
		}
		if !d.lit(",") {
			return false
		}
		d.space()
	}
}

// array reads [element,…].
func (d *decoder) array(element func() bool) bool {
	if !d.lit("[") {
		return false
	}
	d.space()
	if d.lit("]") {
		return true
	}
	for {
		if !element() {
			return false
		}
		d.space()
		if d.lit("]") {
			return true
		}
		if !d.lit(",") {
			return false
		}
		d.space()
	}
}

func (d *decoder) space() {
	for d.i < len(d.b) && (d.b[d.i] == ' ' || d.b[d.i] == '\n' || d.b[d.i] == '\t' || d.b[d.i] == '\r') {
		d.i++
	}
}

func (d *decoder) lit(s string) bool {
	if len(d.b)-d.i < len(s) || string(d.b[d.i:d.i+len(s)]) != s {
		return false
	}
	d.i += len(s)
	return true
}

// plain reads a string without escapes, in UTF-8.
func (d *decoder) plain() ([]byte, bool) {
	if !d.lit(`"`) {
		return nil, false
	}
	ascii := true
	for i := d.i; i < len(d.b); i++ {
		switch c := d.b[i]; {
		case c == '"':
			s := d.b[d.i:i]
			d.i = i + 1
			return s, ascii || utf8.Valid(s)
		case c == '\\' || c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

func (d *decoder) text(v *string) bool {
	s, ok := d.plain()
	*v = string(s)
	return ok
}

// name reads a text of which there are few; each is kept once.
func (d *decoder) name(v *string) bool {
	s, ok := d.plain()
	if !ok {
		return false
	}
	if known, ok := d.names[string(s)]; ok {
		*v = known
		return true
	}
	*v = string(s)
	if d.names == nil || len(d.names) >= maxInterned {
		d.names = map[string]string{}
	}
	if len(s) <= maxName {
		d.names[*v] = *v
	}
	return true
}

// digits reads up to 18 digits without a leading zero.
func (d *decoder) digits() (v uint64, ok bool) {
	start := d.i
	for d.i < len(d.b) && d.b[d.i]-'0' <= 9 {
		v = v*10 + uint64(d.b[d.i]-'0')
		d.i++
	}
	n := d.i - start
	return v, n > 0 && n <= 18 && (n == 1 || d.b[start] != '0')
}

// whole tells whether the number that was read ends here.
func (d *decoder) whole() bool {
	return d.i >= len(d.b) || d.b[d.i] != '.' && d.b[d.i] != 'e' && d.b[d.i] != 'E'
}

func (d *decoder) uint64(v *uint64) (ok bool) {
	*v, ok = d.digits()
	return ok && d.whole()
}

func (d *decoder) int64(v *int64) bool {
	minus := d.lit("-")
	u, ok := d.digits()
	if *v = int64(u); minus {
		*v = -*v
	}
	return ok && d.whole()
}

func (d *decoder) int(v *int) bool {
	var n int64
	ok := d.int64(&n)
	*v = int(n)
	return ok && int64(*v) == n
}

func (d *decoder) time(v *floorwatch.Time) bool { return d.int64((*int64)(v)) }

func (d *decoder) ints(v *[]int64) bool {
	return d.array(func() bool {
		var n int64
		ok := d.int64(&n)
		*v = append(*v, n)
		return ok
	})
}

func (d *decoder) bool(v *bool) bool {
	*v = d.lit("true")
	return *v || d.lit("false")
}

// tens are the powers of ten that a float64 holds exactly.
var tens = [...]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// float reads a number. With few digits one division of two exact numbers is
// the nearest float64 (W. D. Clinger, "How to read floating point numbers
// accurately", 1990); the rest is for strconv.
func (d *decoder) float(v *float64) bool {
	start := d.i
	minus := d.lit("-")
	u, ok := d.digits()
	if !ok {
		return false
	}
	decimals := 0
	if d.lit(".") {
		from := d.i
		for d.i < len(d.b) && d.b[d.i]-'0' <= 9 {
			if u < exactFloat {
				u = u*10 + uint64(d.b[d.i]-'0')
			}
			d.i++
		}
		if decimals = d.i - from; decimals == 0 {
			return false
		}
	}
	if d.i < len(d.b) && (d.b[d.i] == 'e' || d.b[d.i] == 'E') {
		return false
	}
	if u >= exactFloat || decimals >= len(tens) {
		f, err := strconv.ParseFloat(string(d.b[start:d.i]), 64)
		*v = f
		return err == nil
	}
	if *v = float64(u) / tens[decimals]; minus {
		*v = -*v
	}
	return true
}

// skip passes over one value of any form.
func (d *decoder) skip(depth int) bool {
	if d.i >= len(d.b) || depth > maxNested {
		return false
	}
	switch c := d.b[d.i]; {
	case c == '{':
		d.i++
		return d.skipMembers(depth)
	case c == '[':
		return d.array(func() bool { return d.skip(depth + 1) })
	case c == '"':
		return d.skipString()
	case c == '-' || c-'0' <= 9:
		return d.skipNumber()
	}
	return d.lit("true") || d.lit("false") || d.lit("null")
}

func (d *decoder) skipMembers(depth int) bool {
	d.space()
	if d.lit("}") {
		return true
	}
	for {
		if !d.skipString() {
			return false
		}
		d.space()
		if !d.lit(":") {
			return false
		}
		d.space()
		if !d.skip(depth + 1) {
			return false
		}
		d.space()
		if d.lit("}") {
			return true
		}
		if !d.lit(",") {
			return false
		}
		d.space()
	}
}

func (d *decoder) skipString() bool {
	if !d.lit(`"`) {
		return false
	}
	for d.i < len(d.b) {
		c := d.b[d.i]
		d.i++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c == '\\':
			if !d.skipEscape() {
				return false
			}
		}
	}
	return false
}

func (d *decoder) skipEscape() bool {
	if d.i >= len(d.b) {
		return false
	}
	c := d.b[d.i]
	d.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if d.i >= len(d.b) || !hexDigit(d.b[d.i]) {
				return false
			}
			d.i++
		}
		return true
	}
	return false
}

func hexDigit(c byte) bool {
	return c-'0' <= 9 || c-'a' <= 5 || c-'A' <= 5
}

func (d *decoder) skipNumber() bool {
	d.lit("-")
	if !d.lit("0") && !d.skipDigits() {
		return false
	}
	if d.lit(".") && !d.skipDigits() {
		return false
	}
	if d.lit("e") || d.lit("E") {
		if !d.lit("+") {
			d.lit("-")
		}
		return d.skipDigits()
	}
	return true
}

func (d *decoder) skipDigits() bool {
	start := d.i
	for d.i < len(d.b) && d.b[d.i]-'0' <= 9 {
		d.i++
	}
	return d.i > start
}
