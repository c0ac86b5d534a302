package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit"

	"golang.org/x/sys/unix"
)

// The kernel asks this process itself what its own file operations shall return
// (seccomp's user notification), so that any of them can fail with EIO, in the
// product's own code with nothing built in for it.

// fileCalls are the operations that can fail on a disk.
var fileCalls = map[uint32]string{
	unix.SYS_OPENAT: "open", unix.SYS_READ: "read", unix.SYS_PREAD64: "read at", unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "write at",
	unix.SYS_FSYNC: "sync", unix.SYS_FDATASYNC: "sync data", unix.SYS_FTRUNCATE: "cut", unix.SYS_TRUNCATE: "cut by name", unix.SYS_FALLOCATE: "reserve",
	unix.SYS_RENAMEAT: "rename", unix.SYS_RENAMEAT2: "rename", unix.SYS_UNLINKAT: "remove", unix.SYS_MKDIRAT: "make folder",
	unix.SYS_GETDENTS64: "list", unix.SYS_FCHMOD: "set mode", unix.SYS_FLOCK: "lock", unix.SYS_STATFS: "free space",
}

// saboteur decides about every file operation below dir; the nth fails.
type saboteur struct {
	dir  string
	nth  int
	mu   sync.Mutex
	seen []string // what was asked for, and of which file
}

type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

const (
	notifyReceive  = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifySend     = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	retNotify      = 0x7fc00000
	retAllow       = 0x7fff0000
	filterFlags    = 1<<0 | 1<<3 | 1<<4 // all threads, listener, tell when a thread cannot
	answerContinue = 1
)

// lowFiles is the number below which files are not watched: the Go scheduler's
// own, which must not wait for an answer that needs the scheduler.
const lowFiles = 16

func takeLowFiles() error {
	if _, _, err := os.Pipe(); err != nil { // starts the scheduler's poller
		return fmt.Errorf("open a pipe: %w", err)
	}
	for {
		if fd, err := unix.Dup(0); err != nil || fd >= lowFiles {
			return err
		}
	}
}

// begin puts this process under the saboteur's eyes, for good.
func (s *saboteur) begin() error {
	if err := takeLowFiles(); err != nil {
		return err
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retAllow}
	program := []unix.SockFilter{load(0)} // the call's number
	for _, nr := range []uint32{unix.SYS_READ, unix.SYS_WRITE} {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 4, K: nr},
			load(16), // the file's number
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jt: 1, K: lowFiles},
			allow, load(0))
	}
	for nr := range fileCalls {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retNotify})
	}
	program = append(program, allow)
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("put file calls under watch: %w", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, 1, filterFlags, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("put file calls under watch (seccomp): %w", errno)
	}
	go s.decide(fd)
	return nil
}

// decide answers the kernel. It makes none of the watched calls itself.
func (s *saboteur) decide(fd uintptr) {
	runtime.LockOSThread()
	for {
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, notifyReceive, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // the caller was interrupted
		}
		a := answer{id: n.id, flags: answerContinue}
		if s.fails(n) {
			a.flags, a.err = 0, -int32(unix.EIO)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, notifySend, uintptr(unsafe.Pointer(&a)))
	}
}

func (s *saboteur) fails(n notification) bool {
	path := s.path(n)
	if !strings.HasPrefix(path, s.dir) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fileCalls[uint32(n.nr)]+" "+kindOfFile(strings.TrimPrefix(path, s.dir)))
	return len(s.seen) == s.nth
}

// path finds out which file a call is about.
func (s *saboteur) path(n notification) string {
	at := n.args[0]
	switch uint32(n.nr) {
	case unix.SYS_OPENAT, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		at = n.args[1]
	case unix.SYS_STATFS, unix.SYS_TRUNCATE:
	default:
		path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", int32(n.args[0])))
		if err != nil {
			return ""
		}
		return path
	}
	buf := make([]byte, 4096)
	local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	got, err := unix.ProcessVMReadv(os.Getpid(), local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(buf)}}, 0)
	if err != nil {
		return ""
	}
	path, _, _ := strings.Cut(string(buf[:got]), "\x00")
	return path
}

// kindOfFile names a file of an outbox by what it is for.
func kindOfFile(name string) string {
	name = strings.TrimPrefix(name, "/")
	switch {
	case name == "":
		return "the folder"
	case strings.HasSuffix(name, ".seg"):
		return "a segment"
	case strings.HasPrefix(name, ".state"), strings.HasPrefix(name, "outbox/.state"):
		return "a new state"
	case strings.HasPrefix(name, "outbox/"):
		return kindOfFile(strings.TrimPrefix(name, "outbox/"))
	case strings.HasPrefix(name, "reserve"):
		return "the reserve"
	case strings.HasPrefix(name, "quarantine"):
		return "the quarantine"
	}
	return name
}

// brittle is what the process with the failing disk says.
type brittle struct {
	Calls     []string
	Confirmed []uint64
	Settled   []uint64
	Booked    int // lost records that the gaps among those name
	Refused   int // appends that failed even after three tries
	Errors    int // appends and openings that failed once
	Alarms    int // lines in the log from a warning up
	End       string
	Reopened  bool // an opening failed, and the next one did not
}

// alarms counts what an operator would see.
type alarms struct{ n atomic.Int64 }

func (*alarms) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (a *alarms) Handle(context.Context, slog.Record) error  { a.n.Add(1); return nil }
func (a *alarms) WithAttrs([]slog.Attr) slog.Handler         { return a }
func (a *alarms) WithGroup(string) slog.Handler              { return a }

// playBrittle leads an outbox through its life while the nth file call fails:
// role brittle DIR N. It ends without closing, as in a power cut.
func playBrittle(args []string) error {
	nth, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s := &saboteur{dir: args[0], nth: nth}
	if err := s.begin(); err != nil {
		return err
	}
	var r brittle
	seen := new(alarms)
	open := func() (*outbox.Outbox, error) {
		set := outbox.Settings{Dir: filepath.Join(s.dir, "outbox"), MaxBytes: outbox.MinMaxBytes, Commit: 1, Log: slog.New(seen)}
		o, err := outbox.Open(set)
		if err != nil {
			r.Errors++
			r.Reopened = true
			o, err = outbox.Open(set)
		}
		return o, err
	}
	next := uint64(0)
	for life := range 3 {
		o, err := open()
		if err != nil {
			return fmt.Errorf("open twice: %w", err)
		}
		for range 10 {
			r.append(o, &next)
		}
		if err := r.settle(o, life == 1); err != nil {
			r.Errors++
		}
		if life < 2 {
			if err := o.Close(); err != nil {
				r.Errors++
			}
		}
	}
	s.mu.Lock()
	r.Calls = s.seen
	s.mu.Unlock()
	r.Alarms = int(seen.n.Load())
	return json.NewEncoder(os.Stdout).Encode(r)
}

// append stores the next 60 records, trying three times as the agent does for
// ever.
func (r *brittle) append(o *outbox.Outbox, next *uint64) {
	var recs []floorwatch.Encoded
	var numbers []uint64
	for range 60 {
		recs, numbers = append(recs, numbered(*next)), append(numbers, *next)
		*next++
	}
	for range 3 {
		if o.Append(recs...) == nil {
			r.Confirmed = append(r.Confirmed, numbers...)
			return
		}
		r.Errors++
	}
	r.Refused++
}

// settle acknowledges one batch, or all.
func (r *brittle) settle(o *outbox.Outbox, all bool) error {
	o.Rewind()
	for {
		b, err := o.Next(100, floorwatch.MaxRecordBytes+1)
		if err != nil || b.N == 0 {
			return err
		}
		for _, rec := range b.Records {
			var g floorwatch.Gap
			if n, ok := numberOf(string(rec)); ok {
				r.Settled = append(r.Settled, n)
			} else if json.Unmarshal(rec, &g) == nil && g.Kind == floorwatch.KindGap {
				r.Booked += int(g.N)
			}
		}
		if err := o.Ack(b.Log, b.First, b.N); err != nil || !all {
			return err
		}
	}
}

// breakCall runs a life in which the nth call fails, and then opens what it left
// on a sound disk.
func breakCall(ctx context.Context, dir string, nth int, sum *bench.Tally) (r brittle, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := kit.Self(ctx, "role", "brittle", dir, strconv.Itoa(nth))
	if err != nil {
		return r, err
	}
	defer p.End()
	if err := p.Next(&r); err != nil {
		if ctx.Err() != nil || nth == 0 {
			return r, err
		}
		sum.Add("died", 1)
		r.End = err.Error()
		return r, nil
	}
	p.End()
	o, err := outbox.Open(outbox.Settings{Dir: filepath.Join(dir, "outbox"), MaxBytes: outbox.MinMaxBytes})
	if err != nil {
		sum.Add("refused to open", 1)
		return r, nil
	}
	defer func() { _ = o.Close() }()
	back, booked := make(map[uint64]int), r.Booked
	err = found(o, func(_ string, _ uint64, rec json.RawMessage) {
		var g floorwatch.Gap
		if n, ok := numberOf(string(rec)); ok {
			back[n]++
		} else if json.Unmarshal(rec, &g) == nil && g.Kind == floorwatch.KindGap {
			booked += int(g.N)
		} else {
			sum.Add("spoilt", 1)
		}
	})
	for _, n := range r.Settled {
		back[n]++
	}
	missing := 0
	for _, n := range r.Confirmed {
		if back[n] == 0 {
			missing++
		}
	}
	sum.Add("confirmed", len(r.Confirmed))
	sum.Add("booked", min(missing, booked))
	sum.Add("lost", max(0, missing-booked))
	sum.Add("refused", r.Refused)
	if nth > 0 && r.Alarms+r.Errors == 0 {
		sum.Add("silent", 1)
	}
	if r.Reopened {
		sum.Add("reopened", 1)
	}
	return r, err
}

func brokenCalls(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	dir, end, err := b.Scratch()
	if err != nil {
		return bench.Finding{}, err
	}
	defer end()
	sum, sites := bench.NewTally(), bench.NewTally()
	sound, err := breakCall(ctx, filepath.Join(dir, "0"), 0, bench.NewTally())
	if err != nil {
		return bench.Finding{}, err
	}
	step := b.Rounds(1, 12)
	n := len(sound.Calls) / step
	err = bench.Each(ctx, n, 4, func(ctx context.Context, i int) error {
		nth := 1 + i*step
		before := sum.Of("lost") + sum.Of("died") + sum.Of("refused")
		r, err := breakCall(ctx, filepath.Join(dir, strconv.Itoa(nth)), nth, sum)
		if r.End != "" {
			b.Say("call %d: %s", nth, r.End)
		}
		if len(r.Calls) >= nth {
			sites.Add(r.Calls[nth-1], 1)
			if sum.Of("lost")+sum.Of("died")+sum.Of("refused") > before {
				b.Say("call %d, %s: %d lost, %d died, %d refused by now", nth, r.Calls[nth-1], sum.Of("lost"), sum.Of("died"), sum.Of("refused"))
			}
		}
		if errors.Is(err, syscall.ENOSYS) {
			return fmt.Errorf("%w: this kernel lets nobody watch file calls", err)
		}
		return err
	})
	bad := sum.Of("died") + sum.Of("refused to open") + sum.Of("spoilt") + sum.Of("lost") + sum.Of("refused")
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%d file calls of an outbox's life, of %d sorts (%d in all), each failed once with EIO: %d died, %d then failed to open, %s of %s acknowledged records lost without a word, "+
			"%s booked (what could not be read is put aside), %d spoilt, %d appends refused three times; %d openings failed and the next succeeded; %d failures changed nothing and were not told",
			n, len(sites.N), len(sound.Calls), sum.Of("died"), sum.Of("refused to open"), bench.Number(sum.Of("lost")), bench.Number(sum.Of("confirmed")),
			bench.Number(sum.Of("booked")), sum.Of("spoilt"), sum.Of("refused"), sum.Of("reopened"), sum.Of("silent")),
	},
		bench.That(bad == 0, "0 died, failed to open, lost without a word, spoilt or refused"),
		bench.That(sum.Of("confirmed") > 0, "acknowledged records"),
	), err
}
