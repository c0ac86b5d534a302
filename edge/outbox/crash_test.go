package outbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch"
)

const childEnv = "FLOORWATCH_TEST_OUTBOX"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child appends without end and prints each record once it is confirmed.
func child(dir string) int {
	o, err := Open(Settings{Dir: dir, MaxBytes: MinMaxBytes * 4, Commit: time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	kinds := []string{"stay", "interval", "alert"}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				r := fmt.Sprintf(`{"kind":%q,"id":"%d-%d-%d","pad":%q}`, kinds[i%3], os.Getpid(), g, i, strings.Repeat("p", i%200))
				if o.Append(encoded(json.RawMessage(r))...) != nil {
					return
				}
				mu.Lock()
				fmt.Println(r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return 1
}

// Killed at any moment, an outbox opens again, gives back every confirmed
// record once, and never uses a number for a second content.
func TestKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 5
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	confirmed := make(map[string]bool)
	sent := make(map[key]string)
	acked := make(map[string]bool)
	for round := range rounds {
		for _, r := range killedChild(t, dir, time.Duration(1+rng.IntN(60))*time.Millisecond) {
			confirmed[r] = true
		}
		o, err := Open(Settings{Dir: dir, MaxBytes: MinMaxBytes * 4})
		if err != nil {
			t.Fatal(err)
		}
		got := drain(t, o)
		for k, v := range got {
			if old, ok := sent[k]; ok && old != v {
				t.Fatalf("round %d: %v was sent as %.80s and is now %.80s", round, k, old, v)
			}
			sent[k] = v
		}
		back := values(got)
		for r := range confirmed {
			if back[r] != 1 && !acked[r] {
				t.Fatalf("round %d: confirmed record came back %d times: %.80s", round, back[r], r)
			}
		}
		for k, v := range got { // settle about half, in no order
			if rng.IntN(2) == 0 {
				if err := o.Ack(k.log, k.seq, 1); err != nil {
					t.Fatal(err)
				}
				acked[v] = true
			}
		}
		if rng.IntN(2) == 0 {
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		dir = crashCopy(t, dir)
		_ = o.Close()
	}
	t.Logf("%d kills, %d records confirmed, none lost", rounds, len(confirmed))
}

func killedChild(t *testing.T, dir string, after time.Duration) (confirmed []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	var once sync.Once
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what is not a whole line was not confirmed to anyone
		}
		confirmed = append(confirmed, strings.TrimSpace(line))
		once.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
	}
	_ = cmd.Wait()
	return confirmed
}

// crashCopy copies the files of an outbox as a power cut would leave them.
func crashCopy(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), "reserve-") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// Bytes flipped, zeroed or cut off anywhere: the outbox opens, returns nothing
// that was not appended, loses one record per flipped byte at most, and names
// what it lost.
func TestDamage(t *testing.T) {
	rounds := 60
	if s := os.Getenv("FLOORWATCH_DAMAGE_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
	for i := range 200 {
		mustAppend(t, o, record("stay", i), json.RawMessage(fmt.Sprintf(`{"kind":"alert","id":"%d","pad":%q}`, i, strings.Repeat("a", 900))))
	}
	want := drain(t, o)
	crashed := crashCopy(t, dir)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	clean := crashCopy(t, dir)
	lost, flips := 0, 0
	for i := range rounds {
		from, isClean := clean, i%2 == 0
		if !isClean {
			from = crashed
		}
		d := damage(t, rng, crashCopy(t, from))
		o, err := Open(Settings{Dir: d.dir, MaxBytes: MinMaxBytes})
		if err != nil {
			t.Fatalf("seed %d, %v: %v", seed, d, err)
		}
		got := drain(t, o)
		booked := gaps(t, got)
		n := 0
		for k, v := range want {
			back, ok := got[k]
			_, named := booked[k]
			switch {
			case ok && back != v:
				t.Fatalf("seed %d, %v: %v came back as %.80q", seed, d, k, back)
			case ok && named:
				t.Fatalf("seed %d, %v: %v came back and is booked as lost", seed, d, k)
			case !ok && !named && (isClean && !d.state || !isTail(k, want, got, booked) && !d.state):
				t.Fatalf("seed %d, %v: %v is gone and not booked", seed, d, k)
			case !ok:
				n++
			}
		}
		for k, v := range got {
			if want[k] != v && !strings.Contains(v, `"kind":"gap"`) {
				t.Fatalf("seed %d, %v: %v was never appended: %.80q", seed, d, k, v)
			}
		}
		if d.flips > 0 && n > d.flips {
			t.Fatalf("seed %d, %v: %d records lost by %d flipped bytes", seed, d, n, d.flips)
		}
		lost += n
		flips += d.flips
		_ = o.Close()
		_ = os.RemoveAll(d.dir)
	}
	t.Logf("%d damaged outboxes opened; %d flips; %d records lost, every one that could be known booked", rounds, flips, lost)
}

// isTail tells whether nothing of k's log at or after k is known any more.
func isTail(k key, want, got, booked map[key]string) bool {
	for o := range want {
		_, ok := got[o]
		_, named := booked[o]
		if o.log == k.log && o.seq > k.seq && (ok || named) {
			return false
		}
	}
	return true
}

type damages struct {
	dir   string
	what  []string
	flips int  // the only kind of damage, if more than 0
	state bool // the state file is hit
}

func damage(t testing.TB, rng *rand.Rand, dir string) damages {
	t.Helper()
	d := damages{dir: dir}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	files = slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == "lock" })
	only := rng.IntN(2) == 0
	for range 1 + rng.IntN(3) {
		path := files[rng.IntN(len(files))]
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			continue
		}
		at := rng.IntN(len(b))
		end := min(len(b), at+1+rng.IntN(4096))
		op := rng.IntN(3)
		if only {
			op = 0
		}
		switch op {
		case 0:
			b[at] ^= byte(1 + rng.IntN(255))
			d.flips++
		case 1:
			clear(b[at:end])
		case 2:
			b = b[:at]
		}
		d.state = d.state || strings.HasPrefix(filepath.Base(path), stateName)
		d.what = append(d.what, fmt.Sprintf("%s of %s at %d to %d", []string{"flip", "zero", "cut"}[op], filepath.Base(path), at, end))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !only {
		d.flips = 0
	}
	return d
}

// A random history against a model: what was confirmed and not settled comes
// back, through clean stops and crashes, and nothing else does.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes * 4})
	live := make(map[string]bool)    // confirmed, not settled
	settled := make(map[string]bool) // may come back after a crash only
	ever := make(map[key]string)
	kinds := []string{"health", "count", "segment", "stay"}
	for step := range 120 {
		switch n := rng.IntN(20); {
		case n < 12:
			var recs []json.RawMessage
			for i := range 1 + rng.IntN(8) {
				recs = append(recs, record(kinds[rng.IntN(len(kinds))], step*100+i))
				live[string(recs[i])] = true
			}
			mustAppend(t, o, recs...)
		case n < 18:
			o.Rewind()
			b, err := o.Next(1+rng.IntN(20), floorwatch.MaxRecordBytes+1+rng.IntN(1000))
			if err != nil {
				t.Fatal(err)
			}
			if b.N > 0 {
				if err := o.Ack(b.Log, b.First, b.N); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range b.Records {
				delete(live, string(r))
				settled[string(r)] = true
			}
		default:
			crash := n == 18
			if crash {
				dir = crashCopy(t, dir)
			}
			_ = o.Close()
			o = open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes * 4})
			got := drain(t, o)
			for k, v := range got {
				if old, ok := ever[k]; ok && old != v {
					t.Fatalf("seed %d step %d: number %v used twice", seed, step, k)
				}
				ever[k] = v
				if !live[v] && !settled[v] {
					t.Fatalf("seed %d step %d: unknown record %.80s", seed, step, v)
				}
			}
			count := values(got)
			for v := range live {
				if count[v] != 1 {
					t.Fatalf("seed %d step %d: %d copies of %.80s", seed, step, count[v], v)
				}
			}
			if !crash && uint64(len(got)) != o.Stats().Records {
				t.Fatalf("seed %d step %d: %d records, stats say %d", seed, step, len(got), o.Stats().Records)
			}
		}
	}
}

// A full disk: first the reserve carries on, then the cheap classes go, booked;
// when there is space again, all is as before.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Logf("no file system of its own (%v): the full disk is injected", err)
		injectedDiskFull(t)
		return
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	box := filepath.Join(dir, "box")
	o := open(t, Settings{Dir: box, MaxBytes: 16 << 20})
	if n := o.reserve.left(); n != reserveFiles {
		t.Fatalf("%d reserve files, want %d", n, reserveFiles)
	}
	confirmed := make(map[string]bool)
	add := func(kind string, n int) (refused int) {
		for i := range n {
			r := json.RawMessage(fmt.Sprintf(`{"kind":%q,"id":"%d-%d","pad":%q}`, kind, len(confirmed), i, strings.Repeat("d", 3000)))
			if o.Append(encoded(r)...) == nil {
				confirmed[string(r)] = true
			} else {
				refused++
			}
		}
		return refused
	}
	if n := add("interval", 300); n > 0 {
		t.Fatalf("%d refused with space", n)
	}
	ballast(t, filepath.Join(dir, "ballast"))
	if n := add("wait", 500); n > 0 || o.reserve.left() == reserveFiles || o.Stats().Dropped > 0 {
		t.Errorf("on the reserve: %d refused, %d reserve files left, stats %+v", n, o.reserve.left(), o.Stats())
	}
	if n := add("wait", 400); n > 0 || o.Stats().Dropped == 0 {
		t.Errorf("behind the reserve: %d refused, stats %+v", n, o.Stats())
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	if n := add("stay", 10); n > 0 {
		t.Errorf("%d refused with space again", n)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, Settings{Dir: box, MaxBytes: 16 << 20})
	if n := o.reserve.left(); n != reserveFiles {
		t.Errorf("%d reserve files after there was space again, want %d", n, reserveFiles)
	}
	got := drain(t, o)
	back := values(got)
	missing, intervals, others := 0, 0, 0
	for r := range confirmed {
		if back[r] > 1 {
			t.Fatalf("%d copies of %.80s", back[r], r)
		}
		switch interval := strings.Contains(r, `"interval"`); {
		case back[r] == 0 && !interval:
			others++
			missing++
		case back[r] == 0:
			missing++
		case interval:
			intervals++
		}
	}
	if others > 0 && intervals > 0 {
		t.Errorf("%d dearer records dropped while %d intervals were kept", others, intervals)
	}
	if booked := gaps(t, got); len(booked) != missing || missing == 0 {
		t.Errorf("%d missing, %d booked", missing, len(booked))
	}
}

func ballast(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = f.Close()
}

// injectedDiskFull lets every file grow until the disk is said to be full.
func injectedDiskFull(t *testing.T) {
	full := false
	var mu sync.Mutex
	o := open(t, Settings{Dir: t.TempDir(), MaxBytes: MinMaxBytes, fault: func(op string) error {
		mu.Lock()
		defer mu.Unlock()
		if full && (op == "grow" || op == "create") {
			return syscall.ENOSPC
		}
		return nil
	}})
	set := func(v bool) { mu.Lock(); full = v; mu.Unlock() }
	big := json.RawMessage(`{"kind":"stay","pad":"` + strings.Repeat("d", 40_000) + `"}`)
	mustAppend(t, o, big)
	set(true)
	var err error
	for range 5 {
		err = errors.Join(err, o.Append(encoded(big)...))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("append to a full disk: %v", err)
	}
	set(false)
	mustAppend(t, o, big)
	if got := drain(t, o); values(got)[string(big)] < 2 {
		t.Errorf("%d records came back", len(got))
	}
}

func FuzzScan(f *testing.F) {
	const log = "00112233445566a1"
	two := appendEntry(appendEntry(nil, log, 1, 5, []byte(`{"kind":"a"}`)), log, 2, 6, []byte(`{}`))
	f.Add(two)
	f.Add(append(slices.Clone(two[3:]), make([]byte, 100)...))
	f.Add(append(slices.Clone(two[:30]), two...))
	f.Fuzz(func(t *testing.T, b []byte) {
		last := uint64(0)
		end := scan(b, log, 1, func(e entry) bool {
			if e.seq <= last || int64(len(b)) < e.off+e.size() {
				t.Fatalf("entry %d after %d at %d", e.seq, last, e.off)
			}
			last = e.seq
			if again := appendEntry(nil, log, e.seq, e.at, e.payload); string(again) != string(b[e.off:e.off+e.size()]) {
				t.Fatal("an entry that would not be written so")
			}
			return true
		})
		_ = torn(b, end)
	})
}

func FuzzOpen(f *testing.F) {
	const log = "00112233445566a1"
	st, err := encodeState(state{V: 1, Log: log[:15] + "0", Logs: []logState{{Log: log, Cursor: 1, Next: 4}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendEntry(nil, log, 1, 5, []byte(`{"kind":"a"}`)), st)
	f.Add([]byte("rubbish"), []byte("{}\n00000000\n"))
	f.Fuzz(func(t *testing.T, segment, state []byte) {
		dir := t.TempDir()
		for path, b := range map[string][]byte{segmentPath(dir, log, 1): segment, filepath.Join(dir, stateName): state} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := open(t, Settings{Dir: dir, MaxBytes: MinMaxBytes})
		for _, v := range drain(t, o) {
			if !json.Valid([]byte(v)) && !strings.Contains(string(segment), v) {
				t.Fatalf("returned %q", v)
			}
		}
		mustAppend(t, o, record("stay", 1))
	})
}

func TestOpenAmongRubbish(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x.seg", "00112233445566a1-zz.seg", "00112233445566a9-0000000000000001.seg", ".state.tmp-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"state", "00112233445566a1-0000000000000001.seg"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	o := open(t, Settings{Dir: dir})
	mustAppend(t, o, record("stay", 1))
	aside, err := os.ReadDir(filepath.Join(dir, quarantineName))
	if err != nil || len(aside) != 5 {
		t.Errorf("%d files put aside (%v), want 5", len(aside), err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			o := open(b, Settings{Dir: b.TempDir(), Commit: time.Nanosecond})
			r := json.RawMessage(`{"kind":"stay","pad":"` + strings.Repeat("x", 300) + `"}`)
			var wg sync.WaitGroup
			for g := range writers {
				wg.Go(func() {
					for i := g; i < b.N; i += writers {
						if err := o.Append(encoded(r)...); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(o.Stats().Bytes)/float64(b.N), "file-B/record")
		})
	}
}

func TestStateRoundTrip(t *testing.T) {
	st := state{V: 1, Log: "00112233445566a0", Clean: true, Logs: []logState{{Log: "00112233445566a1", Cursor: 3, Next: 9, Lost: ranges{{5, 7}}}}}
	b, err := encodeState(st)
	if err != nil {
		t.Fatal(err)
	}
	back, err := parseState(b)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(st) {
		t.Errorf("%v came back as %v, %v", st, back, err)
	}
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 1
		if _, err := parseState(bad); err == nil {
			t.Fatalf("byte %d changed and nobody noticed", i)
		}
	}
}
