package footage

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/internal/durable"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/layout"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"
)

// DefaultEvery is the length of a file.
const DefaultEvery = time.Minute

// MaxGOP is the distance of key frames that cameras are to be set to at most.
const MaxGOP = 2 * time.Second

// Recorder keeps one camera's stream as sealed files below Dir. Several may
// share Dir, one per camera.
type Recorder struct {
	Dir                 string // footage of all cameras; the camera gets a folder in it
	Store, Edge, Camera string
	Source              string        // rtsp://…; credentials never reach a log
	Every               time.Duration // files end on multiples of it; 0 = DefaultEvery
	First               time.Duration // the first file of Run ends after so long, if not before; 0: as the others
	Key                 ed25519.PrivateKey
	FFmpeg              string       // program; "" = ffmpeg on PATH
	Clock               *clock.Clock // nil = this machine's
	MinFree             float64      // share of the disk left alone; 0 = DefaultMinFree
	// Emit appends a floorwatch.Segment, Gap or Deleted durably. What it refuses
	// is offered again after the next seal and after a restart, so a record may
	// come twice, with the same ID.
	Emit func(rec floorwatch.Record) error
	// GOP is told when the stream's key frames are found further apart than
	// MaxGOP, and 0 when they no longer are: a power cut takes that much footage
	// and a second. nil = nobody is told.
	GOP func(apart time.Duration)
	Log *slog.Logger // nil = discard

	// Pulse beats with each look of the recorder, at least once a second.
	Pulse *watchdog.Pulse

	free func(dir string) (float64, error) // tests fill the disk with it
}

const (
	firstWait   = 20 * time.Second // from the start of ffmpeg to the first fragment
	stallAfter  = 5 * time.Second  // beyond the longest fragment of the connection
	stopWait    = 2 * time.Second  // for ffmpeg to end when asked to
	tickEvery   = time.Second
	lookAgain   = 4 * time.Second // while the disk is full or does not answer
	backoffMin  = 750 * time.Millisecond
	backoffMax  = 6 * time.Second
	steadyAfter = 10 * time.Second // of media: the next back-off starts small
	gapPiece    = time.Minute      // a long outage is booked in pieces
	gapMargin   = 30 * time.Second // the next file may start up to so long before now
	maxFile     = 1 << 30          // bytes
	maxLag      = 2 * time.Second  // media behind the clock: time was lost unseen
	lagCount    = 3                // fragments in a row
	maxJump     = 200 * time.Millisecond
	gopSlack    = 200 * time.Millisecond // of arrival and rounding, over MaxGOP
	sealRoom    = 256 << 10              // for the seals and records that end a file
	gopCount    = 5                      // fragments after which a connection's GOP is known
)

func (r *Recorder) check() error {
	switch {
	case !floorwatch.ValidName(r.Store) || !floorwatch.ValidName(r.Edge) || !floorwatch.ValidName(r.Camera):
		return fmt.Errorf("record: store %q, edge %q, camera %q: a name is %s", r.Store, r.Edge, r.Camera, floorwatch.NameRule)
	case r.Source == "" || strings.HasPrefix(r.Source, "-"):
		return errors.New("record: no source; give the camera an rtsp:// address")
	case len(r.Key) != ed25519.PrivateKeySize:
		return errors.New("record: no key; make one with floorwatch-edge key")
	case r.Emit == nil:
		return errors.New("record: Emit is not set")
	}
	return nil
}

// recording is a Recorder at work.
type recording struct {
	*Recorder
	dir   string
	chain chain
	clock *clock.Clock
	log   *slog.Logger
	cause string // of the time since the last seal
	full  bool
	// sealed tells whether this run has closed a file.
	sealed bool
	need   int64         // bytes of the largest fragment of late, for which there must be room
	gop    time.Duration // as GOP was last told
}

// Run records until ctx ends, then seals the open file. It returns early only
// for settings that cannot work or a folder that it cannot use.
func (r *Recorder) Run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	defer r.Pulse.Rest()
	r.Pulse.Beat()
	p, err := r.prepare()
	if err != nil {
		return err
	}
	again := retry.Backoff{Min: backoffMin, Max: backoffMax, Steady: steadyAfter}
	for ctx.Err() == nil {
		r.Pulse.Beat()
		if !p.ready() {
			p.pause(ctx, lookAgain)
			continue
		}
		media, err := p.connect(ctx)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			p.log.Error("recording was interrupted", "error", err)
		}
		p.pause(ctx, again.Next(media))
	}
	return nil
}

// prepare salvages what the last run left and books the time since.
func (r *Recorder) prepare() (*recording, error) {
	p := &recording{Recorder: r, dir: filepath.Join(r.Dir, r.Camera), log: r.Log, cause: "recorder was stopped"}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("camera", r.Camera)
	p.chain = chain{dir: p.dir, store: r.Store, edge: r.Edge, camera: r.Camera, key: r.Key}
	if err := durable.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	h, err := findHead(p.dir)
	if err != nil {
		return nil, err
	}
	if p.clock = r.Clock; p.clock == nil {
		p.clock = clock.New(nil)
	}
	p.clock.NotBefore(max(h.until, h.seal.At))
	torn, err := p.salvage()
	if err != nil {
		return nil, err
	}
	if torn {
		p.cause = "recorder ended without closing its file (power cut or crash)"
	}
	p.bookGap(p.clock.Now().Wall)
	p.cause = "camera was not yet connected"
	p.emitPending()
	return p, nil
}

// ready says whether there is room and no torn file in the way.
func (p *recording) ready() bool {
	if p.noRoom() {
		return false
	}
	if _, err := p.salvage(); err != nil {
		p.log.Error("footage cannot be sealed; check the disk", "error", err)
		p.cause = "disk error"
		return false
	}
	return true
}

// noRoom tells whether the next fragment would take from the disk's reserve, and
// says so once.
func (p *recording) noRoom() bool {
	limit, ask := p.MinFree, p.free
	if limit == 0 {
		limit = DefaultMinFree
	}
	if ask == nil {
		ask = diskFree
	}
	if p.full { // a little more than the limit, or we would start and stop by turns
		limit += 0.002
	}
	free, err := ask(p.dir)
	size, sizeErr := diskSize(p.dir)
	if err := errors.Join(err, sizeErr); err != nil {
		p.log.Error("disk does not answer", "error", err)
		return false
	}
	// Never more than what retention frees beyond the reserve, or both would wait.
	need := min(float64(p.need+sealRoom)/float64(max(1, size)), spareFree(size)/2)
	if full := free-need < limit; full != p.full {
		p.full = full
		if full {
			p.log.Error("disk is full: recording stops; free space, release held footage or lower the retention", "free_percent", 100*free)
			p.cause = "disk full"
		} else {
			p.log.Info("disk has room again: recording goes on")
		}
	}
	return p.full
}

// pause waits for d and meanwhile books a long outage in pieces.
func (p *recording) pause(ctx context.Context, d time.Duration) {
	p.bookOutage()
	p.Pulse.Rest()
	retry.Pause(ctx, d)
}

// bookOutage books what is certainly lost once a piece of it has gathered.
func (p *recording) bookOutage() {
	h, err := findHead(p.dir)
	now := p.clock.Now().Wall
	if err == nil && h.until != 0 && now.Sub(h.until) >= gapPiece+gapMargin {
		p.bookGap(now.Add(-gapMargin))
		p.emitPending()
	}
}

// connection is one run of ffmpeg.
type connection struct {
	*recording
	in      fmp4.Init
	w       *writer
	carry   place // where the next file's media time 0 would be
	known   bool  // carry is
	expect  uint64
	lagging int
	longest time.Duration
	count   int // fragments
	media   time.Duration
}

// connect runs ffmpeg once and returns how much media it gave. Any end of it
// leaves the file sealed and p.cause set, unless an error says otherwise.
func (p *recording) connect(ctx context.Context) (media time.Duration, err error) {
	path := p.FFmpeg
	if path == "" {
		path = "ffmpeg"
	}
	probe := 0.1
	if strings.HasPrefix(p.cause, causeNothing) { // perhaps the stream tells its size late
		probe = 3
	}
	kid := copier(path, p.Source, probe)
	out, err := kid.StdoutPipe()
	if err != nil {
		p.cause = "recorder could not start ffmpeg"
		return 0, err
	}
	wanted, stop := context.WithCancel(ctx)
	defer stop()
	if err := kid.Start(wanted); err != nil {
		if ctx.Err() != nil {
			p.cause = causeStop
			return 0, nil
		}
		p.cause = "recorder could not start ffmpeg"
		return 0, fmt.Errorf("%w; install ffmpeg or name it in the configuration", err)
	}
	quit := make(chan struct{})
	feed := &pump{to: make(chan arrival, 2)}
	go feed.run(out, p.clock.Now, quit)
	c := &connection{recording: p}
	why, err := c.follow(ctx, stop, feed.to)
	close(quit)
	_ = kid.Signal(syscall.SIGKILL)
	for range feed.to { // until the pump has gone
	}
	_ = kid.Wait()
	if why == "" {
		why = endCause(kid.LastLine(), feed.err, p.Source, c.media)
	}
	if err = errors.Join(err, c.closeFile()); err != nil && why == causeDisk {
		p.log.Error("footage cannot be written", "error", err)
		err = nil
	}
	if p.cause = why; ctx.Err() == nil {
		p.log.Warn("camera's stream ended", "cause", why, "media_s", c.media.Seconds())
	}
	return c.media, err
}

const (
	causeNothing = "camera gave no footage"
	causeStall   = "camera stalled"
	causeDisk    = "disk error"
	causeFull    = "disk full"
	causeStop    = "recorder was stopped"
)

// endCause says why ffmpeg ended by itself; its exit code says nothing, for a
// stall it is 0.
func endCause(line string, err error, source string, media time.Duration) string {
	cause := "stream ended"
	if media == 0 {
		cause = causeNothing
	}
	if line = cleanCause(redact(line, source)); line != "" {
		return cause + ": " + line
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return cause + ": " + cleanCause(err.Error())
	}
	return cause
}

// follow writes arrivals until the stream ends ("" as cause), stalls, ctx ends
// or the disk is full. stop has ffmpeg end the stream, as the end of ctx does.
func (c *connection) follow(ctx context.Context, stop func(), from <-chan arrival) (cause string, err error) {
	stall := time.NewTimer(firstWait)
	defer stall.Stop()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	done := ctx.Done()
	for {
		c.Pulse.Beat()
		select {
		case a, ok := <-from:
			if !ok {
				return cause, nil
			}
			if err := c.take(a); errors.Is(err, errNoRoom) {
				return causeFull, nil
			} else if err != nil {
				return causeDisk, err
			}
			if a.init == nil && cause == "" {
				stall.Reset(c.longest + stallAfter)
			}
		case <-tick.C:
			if c.w != nil {
				if err := c.w.sync(); err != nil {
					c.abandon()
					return causeDisk, err
				}
			}
			if cause == "" && c.noRoom() {
				cause = causeFull
				stop()
				stall.Stop() // it ends, or is ended
			}
		case <-stall.C:
			return causeStall, nil
		case <-done:
			done, cause = nil, causeStop
			stall.Stop()
		}
	}
}

// errNoRoom says that a fragment was not written to keep the disk's reserve.
var errNoRoom = errors.New("no room")

// take writes one arrival, in a new file where one begins.
func (c *connection) take(a arrival) error {
	if a.init != nil {
		c.in = *a.init
		return nil
	}
	f := a.frag
	if f.Ticks == 0 {
		return nil
	}
	c.need = max(int64(len(f.Moof)+len(f.Mdat)), c.need-c.need/100) // forgets a large one
	if c.noRoom() {
		return errNoRoom
	}
	c.tellGOP(f.Duration)
	if c.w != nil && (c.jumped(f) || c.lags(f)) {
		if err := c.closeFile(); err != nil {
			return err
		}
		c.known, c.cause = false, "camera's time jumped"
	}
	if c.w != nil && c.fileEnds(f) {
		if err := c.closeFile(); err != nil {
			return err
		}
	}
	if c.w == nil {
		w, err := createOpen(c.dir, c.in)
		if err != nil {
			return err
		}
		if c.w = w; c.known {
			w.place = c.carry
		}
	}
	c.expect = f.Start + f.Ticks
	c.longest, c.media = max(c.longest, f.Duration), c.media+f.Duration
	if err := c.w.write(f); err != nil {
		c.abandon()
		return err
	}
	return nil
}

// tellGOP passes on that key frames are too far apart, or no longer are.
func (c *connection) tellGOP(apart time.Duration) {
	c.count++
	switch {
	case c.GOP == nil:
	case apart > MaxGOP+gopSlack && apart > c.gop+gopSlack:
		c.gop = apart
		c.log.Warn("key frames are far apart: a power cut takes that much footage; set the camera's I-frame interval to 2 s at most", "apart_s", apart.Seconds())
		c.GOP(apart)
	case c.gop > 0 && c.count == gopCount && max(apart, c.longest) <= MaxGOP+gopSlack:
		c.gop = 0
		c.GOP(0)
	}
}

// abandon leaves a suspect file to salvage.
func (c *connection) abandon() {
	_ = c.w.f.Close()
	c.w = nil
}

// jumped tells whether f does not follow the fragment before it.
func (c *connection) jumped(f fmp4.Fragment) bool {
	d := max(f.Start, c.expect) - min(f.Start, c.expect)
	return d > c.in.Ticks(maxJump)
}

// lags tells whether the media has fallen behind the clock for good: the camera
// left time out without saying so.
func (c *connection) lags(f fmp4.Fragment) bool {
	end := c.in.Duration(c.w.ticks + f.Ticks)
	if c.w.place.any && f.Stamp.Mono-end > c.w.place.zero+maxLag {
		c.lagging++
	} else {
		c.lagging = 0
	}
	if c.lagging < lagCount {
		return false
	}
	c.lagging = 0
	return true
}

// fileEnds tells whether f belongs to the next file.
func (c *connection) fileEnds(f fmp4.Fragment) bool {
	every := c.Every
	if every == 0 {
		every = DefaultEvery
	}
	from := f.Stamp.Wall.Add(-f.Duration)
	if c.First > 0 && !c.sealed && from.Sub(c.w.first) >= c.First {
		return true
	}
	return from.Floor(every) > c.w.first.Floor(every) || len(c.w.list) >= floorwatch.MaxSealFragments ||
		c.w.bytes > maxFile
}

// closeFile seals the open file, if there is one, and emits its record.
func (c *connection) closeFile() error {
	w := c.w
	if w == nil {
		return nil
	}
	c.sealed = true
	c.w = nil
	c.carry, c.known = w.place.carry(w.duration()), true
	s, some, err := w.close(c.clock.Now().Wall)
	if err != nil || !some {
		return err
	}
	if err := c.book(s, w.path); err != nil {
		return err
	}
	c.cause = ""
	c.emitPending()
	return nil
}

// Borders of what counts as one file following another, in place of a gap or an
// overlap: arrival times are known to some tens of milliseconds.
const (
	snap       = 100 * time.Millisecond
	maxOverlap = 400 * time.Millisecond
)

// book seals a segment, and before it the gap that lies between.
func (p *recording) book(s floorwatch.Seal, from string) error {
	h, err := findHead(p.dir)
	if err != nil {
		return err
	}
	if h.until != 0 {
		d := s.Start.Sub(h.until)
		switch {
		case d > snap:
			p.bookGap(s.Start)
		case d >= -snap:
			s = moved(s, h.until)
		case d < -maxOverlap:
			s = moved(s, h.until.Add(-maxOverlap))
		}
	}
	return p.chain.append(s, from)
}

// moved returns s with its span beginning at start.
func moved(s floorwatch.Seal, start floorwatch.Time) floorwatch.Seal {
	s.Start, s.End = start, start+s.End-s.Start
	return s
}

// bookGap seals the span from the last seal to to as a gap, if there is any. A
// gap that cannot be sealed now is found again before the next seal.
func (p *recording) bookGap(to floorwatch.Time) {
	h, err := findHead(p.dir)
	if err == nil && h.until != 0 && to > h.until {
		now := p.clock.Now()
		cause := p.cause
		if cause == "" {
			cause = "no footage arrived"
		}
		err = p.chain.append(floorwatch.Seal{
			Kind: floorwatch.SealGap, At: now.Wall, Start: h.until, End: to,
			Synced: now.Synced, Boot: now.Boot, Cause: cause,
		}, "")
	}
	if err != nil {
		p.log.Error("gap cannot be booked; check the disk", "error", err)
	}
}

const emittedName = "emitted"

// emitPending emits the records of all seals since the last that was emitted.
func (p *recording) emitPending() {
	path := filepath.Join(p.dir, emittedName)
	var done uint64
	if b, err := os.ReadFile(path); err == nil {
		done, _ = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64) // unreadable: emit all again
	}
	last := done
	err := eachSealAfter(p.dir, done, func(s floorwatch.Seal, raw []byte) error {
		if err := p.Emit(recordOf(s, raw)); err != nil {
			return fmt.Errorf("emit record of seal %d: %w", s.Seq, err)
		}
		last = s.Seq
		return nil
	})
	if last > done {
		err = errors.Join(err, durable.WriteFile(path, []byte(strconv.FormatUint(last, 10)+"\n"), 0o600))
	}
	if err != nil {
		p.log.Error("footage records wait for the next try", "error", err)
	}
}

// eachSealAfter calls do for every readable seal above seq, in order.
func eachSealAfter(dir string, seq uint64, do func(floorwatch.Seal, []byte) error) error {
	days, err := layout.Days(dir)
	if err != nil {
		return err
	}
	first := len(days) // of the days that may hold some
	for first > 0 {
		first--
		d, err := listDay(filepath.Join(dir, days[first]))
		if err != nil {
			return err
		}
		if len(d.seals) > 0 && d.seals[0] <= seq {
			break
		}
	}
	for _, name := range days[first:] {
		d, err := listDay(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		for _, n := range d.seals {
			if n <= seq {
				continue
			}
			s, raw, err := readSeal(filepath.Join(dir, name, sealName(n)))
			if err != nil {
				continue // verify tells of it; it must not block those after it
			}
			if err := do(s, raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordOf returns the wire record of a seal.
func recordOf(s floorwatch.Seal, raw []byte) floorwatch.Record {
	h := floorwatch.Header{
		Camera: s.Camera, ID: s.Chain + "-" + strconv.FormatUint(s.Seq, 10), At: s.At,
		Clock: floorwatch.Clock{Boot: s.Boot[:8], Mono: s.MonoEnd, Unsynced: !s.Synced},
	}
	switch s.Kind {
	case floorwatch.SealSegment:
		h.Kind = floorwatch.KindSegment
		return &floorwatch.Segment{
			Header: h, File: s.File, Chain: s.Chain, Seq: s.Seq, Start: s.Start, End: s.End,
			Bytes: s.Length, SHA256: s.SHA256, Seal: string(raw),
		}
	case floorwatch.SealGap:
		h.Kind = floorwatch.KindGap
		return &floorwatch.Gap{Header: h, Of: floorwatch.OfFootage, From: s.Start, To: &s.End, Cause: s.Cause, Seal: string(raw)}
	}
	h.Kind = floorwatch.KindDeleted
	return &floorwatch.Deleted{
		Header: h, Chain: s.Chain, Seq: s.Seq, Start: s.Start, End: s.End, Cause: s.Cause, N: len(s.Gone), Seal: string(raw),
	}
}
