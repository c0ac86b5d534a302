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
	kind string          // count or stay
	base floorwatch.Time // of the first records
	sent [stores]uint64
}

func newSource(kind string) *source {
	return &source{kind: kind, base: floorwatch.TimeOf(time.Now().Add(-24 * time.Hour))}
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

// end is when a box's record number seq ended.
func (s *source) end(seq uint64) floorwatch.Time { return s.base + floorwatch.Time(seq) }

// checked is the field of a kind whose sum is compared.
func checked(kind string) string {
	if kind == floorwatch.KindCount {
		return "in"
	}
	return "seen_s"
}

// seen is what a record says there: exact in a float64, and in sums.
func seen(seq uint64) int { return int(seq%10) + 1 }

func (s *source) appendRecord(b []byte, store int, seq uint64) []byte {
	end := int64(s.end(seq))
	b = append(append(append(b, `{"kind":"`...), s.kind...), `","camera":"hall","zone":"z`...)
	b = strconv.AppendUint(b, seq%zones, 10)
	if s.kind == floorwatch.KindCount {
		b = strconv.AppendInt(append(b, `","at":`...), end+2000, 10)
		b = strconv.AppendInt(append(b, `,"line":"door","start":`...), end-60_000, 10)
		b = strconv.AppendInt(append(b, `,"end":`...), end, 10)
		b = strconv.AppendInt(append(b, `,"in":`...), int64(seen(seq)), 10)
		return append(b, `,"out":3,"coverage":1}`...)
	}
	b = strconv.AppendUint(append(b, `","id":"`...), 1<<40+uint64(store)<<24+seq, 16)
	b = strconv.AppendInt(append(b, `","at":`...), end+2000, 10)
	b = strconv.AppendInt(append(b, `,"rev":"aabbccddeeff","by":"motion","enter":`...), end-20_000, 10)
	b = strconv.AppendInt(append(b, `,"exit":`...), end, 10)
	b = strconv.AppendInt(append(b, `,"enter_seen":true,"exit_seen":true,"seen_s":`...), int64(seen(seq)), 10)
	b = strconv.AppendUint(append(b, `,"merged_s":0,"tracks":[`...), seq, 10)
	return append(b, "]}"...)
}

// appendLine makes the point of a record as ingest would.
func (s *source) appendLine(b []byte, store int, seq uint64) []byte {
	end := int64(s.end(seq))
	b = append(append(b, s.kind...), ",camera=hall,edge=box,store="...)
	b = strconv.AppendUint(append(append(b, storeName(store)...), ",zone=z"...), seq%zones, 10)
	if s.kind == floorwatch.KindCount {
		b = strconv.AppendInt(append(b, ` line="door",start=`...), end-60_000, 10)
		b = strconv.AppendInt(append(b, "i,end="...), end, 10)
		b = strconv.AppendInt(append(b, "i,in="...), int64(seen(seq)), 10)
		b = append(b, "i,out=3i,coverage=1"...)
	} else {
		b = strconv.AppendInt(append(b, " enter="...), end-20_000, 10)
		b = strconv.AppendInt(append(b, "i,exit="...), end, 10)
		b = strconv.AppendInt(append(b, "i,stay_s=20,enter_seen=true,exit_seen=true,seen_s="...), int64(seen(seq)), 10)
		b = strconv.AppendUint(append(b, `,merged_s=0,tracks="[`...), seq, 10)
		b = strconv.AppendUint(append(b, `]",id="`...), 1<<40+uint64(store)<<24+seq, 16)
		b = append(b, `",rev="aabbccddeeff",by="motion"`...)
	}
	b = append(append(append(b, `,log="`...), logOf(store)...), `",seq=`...)
	b = strconv.AppendUint(b, seq, 10)
	b = strconv.AppendInt(append(b, "i,at="...), end+2000, 10)
	b = strconv.AppendInt(append(b, "i "...), end*1e6+int64(seq%1e6), 10)
	return append(b, '\n')
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

func (t total) plus(u total) total { return total{t.N + u.N, t.Seq + u.Seq, t.Seen + u.Seen} }

// total of all records made so far.
func (s *source) total() (t total) {
	for _, n := range s.sent {
		for seq := uint64(1); seq <= n; seq++ {
			t.N, t.Seq, t.Seen = t.N+1, t.Seq+int64(seq), t.Seen+int64(seen(seq))
		}
	}
	return t
}
