package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

func open(t testing.TB, set Settings) *Outbox {
	t.Helper()
	if set.Commit == 0 {
		set.Commit = time.Nanosecond
	}
	o, err := Open(set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func record(kind string, i int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"kind":%q,"id":"%d","pad":%q}`, kind, i, strings.Repeat("x", i%300)))
}

type key struct {
	log string
	seq uint64
}

// drain reads everything from the start on and checks that numbers only rise.
func drain(t testing.TB, o *Outbox) map[key]string {
	t.Helper()
	o.Rewind()
	got := make(map[key]string)
	for {
		b, err := o.Next(floorwatch.MaxBatchRecords, floorwatch.MaxRecordBytes+1)
		if err != nil {
			t.Fatal(err)
		}
		if b.N == 0 {
			return got
		}
		if b.N != len(b.Records) || b.N > floorwatch.MaxBatchRecords {
			t.Fatalf("batch says n=%d and holds %d records", b.N, len(b.Records))
		}
		for i, r := range b.Records {
			k := key{b.Log, b.First + uint64(i)}
			if old, ok := got[k]; ok {
				t.Fatalf("%v returned twice: %.80s, %.80s", k, old, r)
			}
			got[k] = string(r)
		}
	}
}

// gaps returns the losses that drained records name.
func gaps(t testing.TB, got map[key]string) map[key]string {
	t.Helper()
	lost := make(map[key]string)
	for _, r := range got {
		var g floorwatch.Gap
		if err := json.Unmarshal([]byte(r), &g); err != nil {
			t.Fatalf("record %.80q: %v", r, err)
		}
		for n := range g.N {
			lost[key{g.Log, g.First + n}] = g.Cause
		}
	}
	return lost
}

func values(m map[key]string) map[string]int {
	out := make(map[string]int)
	for v := range maps.Values(m) {
		out[v]++
	}
	return out
}

// encoded says of a record's bytes what MarshalRecord would.
func encoded(recs ...json.RawMessage) (out []floorwatch.Encoded) {
	for _, r := range recs {
		var h struct {
			Kind string `json:"kind"`
		}
		_ = json.Unmarshal(r, &h)
		out = append(out, floorwatch.Encoded{Kind: h.Kind, JSON: r})
	}
	return out
}

func mustAppend(t testing.TB, o *Outbox, recs ...json.RawMessage) {
	t.Helper()
	if err := o.Append(encoded(recs...)...); err != nil {
		t.Fatal(err)
	}
}

func TestAppendReadAckReopen(t *testing.T) {
	dir := t.TempDir()
	o := open(t, Settings{Dir: dir})
	for i := range 50 {
		mustAppend(t, o, record("stay", i), record("interval", 1000+i))
	}
	log := o.Log()
	got := drain(t, o)
	if len(got) != 100 || len(values(got)) != 100 {
		t.Fatalf("drained %d records, %d different, want 100", len(got), len(values(got)))
	}
	stay := log[:15] + "1"
	for _, r := range [][2]uint64{{11, 10}, {1, 10}, {31, 5}, {1, 10}} { // early, closing, early, repeated
		if err := o.Ack(stay, r[0], int(r[1])); err != nil {
			t.Fatal(err)
		}
	}
	if st := o.Stats(); st.Records != 75 || st.Oldest == 0 || st.Appended != 100 {
		t.Fatalf("stats %+v, want 75 records", st)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, Settings{Dir: dir})
	if o.Log() != log {
		t.Errorf("log is %s after a clean stop, want %s", o.Log(), log)
	}
	again := drain(t, o)
	if len(again) != 80 { // the early range 31..35 was kept in memory only
		t.Errorf("%d records after reopening, want 80", len(again))
	}
	for k, v := range again {
		if got[k] != v {
			t.Fatalf("%v was %.60q and is %.60q", k, got[k], v)
		}
	}
	mustAppend(t, o, record("stay", 99))
	if b, err := o.Next(10, 1<<20); err != nil || b.First != 51 || b.N != 1 {
		t.Errorf("next is %d from %d (%v), want 1 from 51", b.N, b.First, err)
	}
}

func TestFreshAndBacklogTakeTurnsAndDearGoesBeforeCheap(t *testing.T) {
	o := open(t, Settings{Dir: t.TempDir()})
	mustAppend(t, o, record("health", 1), record("stay", 2), record("alert", 3))
	o.Rewind()
	mustAppend(t, o, record("health", 4), record("stay", 5))
	var order []string
	for {
		b, err := o.Next(10, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b.N == 0 {
			break
		}
		for _, r := range b.Records {
			var h floorwatch.Header
			_ = json.Unmarshal(r, &h)
			order = append(order, h.ID)
		}
	}
	if got := strings.Join(order, " "); got != "5 3 4 2 1" {
		t.Errorf("order %s, want 5 3 4 2 1", got)
	}
}

func TestAppendRefuses(t *testing.T) {
	o := open(t, Settings{Dir: t.TempDir()})
	big := json.RawMessage(`{"kind":"stay","pad":"` + strings.Repeat("x", floorwatch.MaxRecordBytes) + `"}`)
	ok := record("stay", 1)
	for name, recs := range map[string][]json.RawMessage{
		"too large": {ok, big}, "no kind": {ok, json.RawMessage(`{}`)}, "empty": {nil},
	} {
		if err := o.Append(encoded(recs...)...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if n := len(drain(t, o)); n != 0 {
		t.Errorf("%d records stored by refused appends", n)
	}
	exact := json.RawMessage(`{"kind":"stay","pad":"` + strings.Repeat("x", floorwatch.MaxRecordBytes-24) + `"}`)
	if len(exact) != floorwatch.MaxRecordBytes {
		t.Fatal("wrong size", len(exact))
	}
	mustAppend(t, o, exact)
	if got := drain(t, o); values(got)[string(exact)] != 1 {
		t.Error("record of exactly the limit did not come back")
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Append(encoded(ok)...); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestAckRefuses(t *testing.T) {
	o := open(t, Settings{Dir: t.TempDir()})
	mustAppend(t, o, record("stay", 1), record("stay", 2))
	log := o.Log()[:15] + "1"
	for _, a := range []struct {
		log   string
		first uint64
		n     int
	}{{log, 0, 1}, {log, 1, 3}, {log, 3, 1}, {log, 1, 0}, {log, 1, -1}, {log, ^uint64(0), 1}, {"feedfacefeedface", 1, 1}} {
		if err := o.Ack(a.log, a.first, a.n); err == nil {
			t.Errorf("%+v accepted", a)
		}
	}
	if st := o.Stats(); st.Records != 2 {
		t.Errorf("%d records left, want 2", st.Records)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, Settings{Dir: dir})
	if _, err := Open(Settings{Dir: dir}); err == nil || !strings.Contains(err.Error(), "stop the other floorwatch") {
		t.Errorf("second open: %v", err)
	}
}

func TestManyAppendersShareSyncs(t *testing.T) {
	var syncs int // written by the committing goroutine only, read after Close
	o := open(t, Settings{Dir: t.TempDir(), Commit: 20 * time.Millisecond, fault: func(op string) error {
		if op == "sync" {
			syncs++
		}
		return nil
	}})
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 10 {
				if err := o.Append(encoded(record("stay", g*1000+i))...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(values(drain(t, o))); n != 200 {
		t.Errorf("%d records, want 200", n)
	}
	_ = o.Close()
	if syncs > 40 {
		t.Errorf("%d syncs for 200 records of 20 appenders", syncs)
	}
}

func TestBudgetDropsByClassAndBooks(t *testing.T) {
	kit.Long(t)
	dir := t.TempDir()
	o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
	kinds := []string{"health", "interval", "stay", "count", "wait", "alert", "segment"}
	appended := make(map[string]string) // record -> kind
	for i := range 240 {
		recs := make([]json.RawMessage, 0, 50)
		for k := range 50 {
			kind := kinds[(i*50+k)%len(kinds)]
			r := json.RawMessage(fmt.Sprintf(`{"kind":%q,"id":"%d","pad":%q}`, kind, i*50+k, strings.Repeat("y", 700)))
			appended[string(r)] = kind
			recs = append(recs, r)
		}
		mustAppend(t, o, recs...)
	}
	if size := dirSize(t, dir); size > MinMaxBytes {
		t.Errorf("folder holds %d bytes, budget %d", size, MinMaxBytes)
	}
	got := drain(t, o)
	kept := make(map[string]int)
	for v := range values(got) {
		kept[appended[v]]++
	}
	lost := gaps(t, got)
	if kept["health"]+kept["interval"] > 200 || kept["stay"]+kept["count"] > 200 || kept["wait"]+kept["alert"]+kept["segment"] < 3000 {
		t.Errorf("kept %v: the cheap classes go first", kept)
	}
	n := 0
	for _, k := range kinds {
		n += kept[k]
	}
	if st := o.Stats(); uint64(len(lost)) != st.Dropped || n+len(lost) != len(appended) {
		t.Errorf("appended %d, kept %d, booked %d, dropped %d", len(appended), n, len(lost), st.Dropped)
	}
	// The bookings outlive a restart and are not repeated.
	_ = o.Close()
	o = open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
	if again := gaps(t, drain(t, o)); !maps.Equal(again, lost) {
		t.Errorf("%d booked after reopening, before %d", len(again), len(lost))
	}
}

func dirSize(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
	}
	return bytes
}

func TestSettledSegmentsAreDeleted(t *testing.T) {
	dir := t.TempDir()
	o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
	for i := range 400 {
		mustAppend(t, o, json.RawMessage(fmt.Sprintf(`{"kind":"stay","id":"%d","pad":%q}`, i, strings.Repeat("z", 2000))))
	}
	before := o.Stats().Bytes
	if err := o.Ack(o.Log()[:15]+"1", 1, 400); err != nil {
		t.Fatal(err)
	}
	o.upkeep()
	if st := o.Stats(); st.Records != 0 || st.Bytes > before/4 || st.Dropped != 0 {
		t.Errorf("%d bytes before, after the acknowledgement %+v", before, st)
	}
}

// A failed write, sync, creation or growth costs no record and no number.
func TestFaults(t *testing.T) {
	kit.Long(t)
	for _, op := range []string{"write", "sync", "grow", "create", "state"} {
		t.Run(op, func(t *testing.T) {
			dir := t.TempDir()
			rng := rand.New(rand.NewPCG(1, 2))
			o := open(t, Settings{Dir: dir, fault: func(got string) error {
				if got == op && rng.IntN(4) == 0 {
					return syscall.EIO
				}
				return nil
			}})
			stored := make(map[string]bool)
			for i := range 300 {
				r := record("stay", i)
				if o.Append(encoded(r)...) == nil {
					stored[string(r)] = true
				}
			}
			_ = o.Close()
			o = open(t, Settings{Dir: dir})
			got := drain(t, o)
			count := values(got)
			for r := range stored {
				if count[r] != 1 {
					t.Fatalf("confirmed record came back %d times: %s", count[r], r)
				}
			}
			if len(gaps(t, got)) != 0 || len(count) != len(stored) {
				t.Errorf("%d confirmed, %d came back, %d booked as lost", len(stored), len(count), len(gaps(t, got)))
			}
			if len(stored) < 200 {
				t.Errorf("only %d of 300 appends got through", len(stored))
			}
		})
	}
}

func TestNextSurvivesDamageUnderIt(t *testing.T) {
	dir := t.TempDir()
	o := open(t, Settings{Dir: dir})
	for i := range 20 {
		mustAppend(t, o, record("stay", i))
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*1-*.seg"))
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[strings.Index(string(b), `"id":"7"`)] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, o); len(got) != 19 {
		t.Errorf("%d records, want the 19 sound ones", len(got))
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		got := drain(t, o)
		if lost := gaps(t, got); len(lost) == 1 && len(got) == 20 && o.Stats().Lost == 1 {
			if lost[key{o.Log()[:15] + "1", 8}] != "damaged on disk" {
				t.Errorf("booked %v", lost)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("loss not booked: %+v", o.Stats())
		}
	}
}

func TestRanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var r ranges
		var model [64]bool
		for range 20 {
			a := uint64(rng.IntN(60))
			b := a + uint64(rng.IntN(5))
			if rng.IntN(8) == 0 {
				r.trim(a)
				clear(model[:a])
			} else {
				r.add(a, b)
				for i := a; i < b; i++ {
					model[i] = true
				}
			}
			n := uint64(0)
			for i, in := range model {
				if in {
					n++
				}
				if (r.skip(uint64(i)) != uint64(i)) != in {
					t.Fatalf("%v: %d in the set: %v", r, i, in)
				}
			}
			if r.count() != n {
				t.Fatalf("%v: count %d, want %d", r, r.count(), n)
			}
			for _, h := range r.holes(0, 64) {
				for i := h.First; i < h.End; i++ {
					if model[i] {
						t.Fatalf("%v: %d is no hole", r, i)
					}
					n++
				}
			}
			if n != 64 {
				t.Fatalf("%v: holes and members are %d of 64", r, n)
			}
		}
	}
}

// What a crash leaves ready behind the records does not pile up: many crashes
// with no link must not spend the budget on zeros.
func TestCrashesLeaveNoSlack(t *testing.T) {
	kit.Long(t)
	dir := t.TempDir()
	for i := range 80 {
		o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
		mustAppend(t, o, record("stay", i), record("interval", i), record("alert", i))
		dir = crashCopy(t, dir)
		_ = o.Close()
	}
	o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
	if st := o.Stats(); st.Records != 240 || st.Bytes > 240*400 {
		t.Errorf("after 80 crashes %d records in %d bytes, want 240 in less than 96,000", st.Records, st.Bytes)
	}
}

func TestSmallCommitsStayWithinABlock(t *testing.T) {
	t.Parallel()
	o := open(t, Settings{Dir: t.TempDir()})
	rec := json.RawMessage(fmt.Sprintf(`{"kind":"stay","pad":%q}`, strings.Repeat("x", 700)))
	const n = 100
	for range n {
		mustAppend(t, o, rec)
	}
	if got := drain(t, o); len(got) != n {
		t.Fatalf("%d of %d records came back", len(got), n)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.current[classPeople].open()
	b, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	scan(b, o.current[classPeople].id, 1, func(e entry) bool {
		if last := e.off + e.size() - 1; e.off/block != last/block {
			t.Errorf("record %d lies from %d to %d, in two blocks", e.seq, e.off, last)
		}
		return true
	})
	if size := int64(len(rec)) + headerSize; g.size > (n/(block/size)+1)*block {
		t.Errorf("%d records take %d bytes", n, g.size)
	}
}

func TestStartSparesBlocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ size, n, want int64 }{
		{0, 232, 0},
		{3900, 196, 3900},         // fits to the last byte
		{3900, 197, 4096},         // would touch a second block
		{3000, 1160, 3000},        // more than a quarter would stay empty
		{3480, 1160, 4096},        // as little as that may
		{4000, 4192, 4000},        // touches two either way
		{4000, 8192, 4096},        // two instead of three
		{8192, 5000, 8192},        // at a block already
		{4096 - 1, 1 << 20, 4096}, // a large commit likewise
	} {
		g := segment{size: c.size}
		if got := g.start(c.n); got != c.want {
			t.Errorf("%d bytes behind %d are written at %d, want %d", c.n, c.size, got, c.want)
		}
	}
}
