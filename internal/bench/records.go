package main

import (
	"fmt"
	"strconv"
	"time"

	"floorwatch"
)

// The stores of a run: 200, a box in each, 5 zones, so 1,000 series.
const (
	stores = 200
	zones  = 5
	edge   = "box"
)

func storeName(i int) string { return "s" + strconv.Itoa(i) }

// source makes the records of a run, in the form in which boxes write them. What
// a record says follows from its number, so that sums tell a wrong one.
type source struct {
	base floorwatch.Time // of the first records
	sent [stores]uint64
}

func newSource() *source {
	return &source{base: floorwatch.TimeOf(time.Now().Add(-24 * time.Hour))}
}

// logOf names the log of a store's box.
func logOf(store int) string { return fmt.Sprintf("b0b0b0b0%08x", store) }

// storeOf is its inverse, -1 for another log.
func storeOf(log string) int {
	if len(log) != 16 || log[:8] != "b0b0b0b0" {
		return -1
	}
	n, err := strconv.ParseUint(log[8:], 16, 32)
	if err != nil || n >= stores {
		return -1
	}
	return int(n)
}

// exit is the end of a box's stay number seq.
func (s *source) exit(seq uint64) floorwatch.Time { return s.base + floorwatch.Time(seq) }

// seen is what a stay says of seconds: exact in a float64, and in sums.
func seen(seq uint64) int { return int(seq%10) + 1 }

func (s *source) appendRecord(b []byte, store int, seq uint64) []byte {
	exit := int64(s.exit(seq))
	b = append(b, `{"kind":"stay","camera":"hall","zone":"z`...)
	b = strconv.AppendUint(b, seq%zones, 10)
	b = append(b, `","id":"`...)
	b = strconv.AppendUint(b, 1<<40+uint64(store)<<24+seq, 16)
	b = append(b, `","at":`...)
	b = strconv.AppendInt(b, exit+2000, 10)
	b = append(b, `,"rev":"aabbccddeeff","by":"motion","enter":`...)
	b = strconv.AppendInt(b, exit-20_000, 10)
	b = append(b, `,"exit":`...)
	b = strconv.AppendInt(b, exit, 10)
	b = append(b, `,"enter_seen":true,"exit_seen":true,"seen_s":`...)
	b = strconv.AppendInt(b, int64(seen(seq)), 10)
	b = append(b, `,"merged_s":0,"tracks":[`...)
	b = strconv.AppendUint(b, seq, 10)
	return append(b, "]}"...)
}

// batch makes the next n records of a store's box.
func (s *source) batch(store, n int) (payload []byte, first uint64) {
	first = s.sent[store] + 1
	s.sent[store] += uint64(n)
	payload = fmt.Appendf(make([]byte, 0, 128+n*260), `{"v":1,"store":%q,"edge":%q,"log":%q,"first":%d,"n":%d,"records":[`,
		storeName(store), edge, logOf(store), first, n)
	for i := range n {
		if i > 0 {
			payload = append(payload, ',')
		}
		payload = s.appendRecord(payload, store, first+uint64(i))
	}
	return append(payload, "]}"...), first
}

// total is what a set of records adds up to.
type total struct {
	N    int64 `json:"n"`
	Seq  int64 `json:"seq"`
	Seen int64 `json:"seen"`
}

// total of all records made so far.
func (s *source) total() (t total) {
	for _, n := range s.sent {
		for seq := uint64(1); seq <= n; seq++ {
			t.N, t.Seq, t.Seen = t.N+1, t.Seq+int64(seq), t.Seen+int64(seen(seq))
		}
	}
	return t
}
