package counter

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // a counter's clock and the night are local; a minimal Debian has no zones

	"floorwatch"
	"floorwatch/internal/durable"
	"floorwatch/internal/watchdog"

	"golang.org/x/sync/errgroup"
)

// Settings of the feeds. All fields but Log and Now are required.
type Settings struct {
	Config   Config
	Dir      string        // folder for the state; it exists
	Every    time.Duration // length of a bucket
	ClientID string        // at the MQTT broker
	// Emit stores records durably; nil says that it has taken all of them. It is
	// called by one goroutine.
	Emit func(recs ...floorwatch.Record) error
	Log  *slog.Logger
	// Pulse beats once a second.
	Pulse *watchdog.Pulse
	Now   func() floorwatch.Time // nil: the clock
}

// Feeds are the counters of a box.
type Feeds struct {
	set     Settings
	devices map[string]*device // by name
	topics  map[string]*device
	ln      net.Listener // nil: no HTTP
	wake    chan struct{}
	acks    sync.WaitGroup

	mu      sync.Mutex
	book    *book
	dirty   bool
	waiting []func(error)
}

// device is one counter and what it is allowed.
type device struct {
	cfg    Device
	token  [sha256.Size]byte // hash of it; none opens no path
	hasTok bool
	allow  []netip.Prefix
	clock  deviceClock
	names  []string
	stats  DeviceStats
	tokens float64 // messages that it may send now
	filled floorwatch.Time
	logged map[string]floorwatch.Time // when a complaint was last logged
}

// DeviceStats are the figures of one device since the start.
type DeviceStats struct {
	Device      string
	Messages    int64           // that could be read
	Items       int64           // that counted
	Repeated    int64           // items said before
	OtherKind   int64           // items of a kind that is not counted
	Refused     int64           // items and messages that cannot be true
	Limited     int64           // messages over the rate
	Resets      int64           // of registers
	ClockFaults int64           // messages whose stamps were not believed
	SkewS       float64         // our clock less the device's at the last message that tells, s
	Heard       floorwatch.Time // latest message; 0: none
}

const (
	stateFile = "counters.json"
	// A device may send perSecond messages on average and burst at once.
	perSecond, burst = 20, 200
	// commitAfter is how long a message waits for others to share its fsync.
	commitAfter = 100 * time.Millisecond
	minToken    = 16  // bytes
	emitAtOnce  = 500 // records
)

// errLimited says that a device sends too much, errDisk that what it said is not
// on disk, so that it should say it again.
var (
	errLimited = errors.New("too many messages")
	errDisk    = errors.New("state is not on disk")
)

// New reads the tokens and the state of the run before, and opens the listener,
// so that a wrong configuration fails here.
func New(set Settings) (f *Feeds, err error) {
	if set.Log == nil {
		set.Log = slog.New(slog.DiscardHandler)
	}
	if set.Now == nil {
		set.Now = func() floorwatch.Time { return floorwatch.TimeOf(time.Now()) }
	}
	f = &Feeds{set: set, devices: make(map[string]*device), topics: make(map[string]*device), wake: make(chan struct{}, 1)}
	p, err := f.plan()
	if err != nil {
		return nil, err
	}
	if err := f.load(p); err != nil {
		return nil, err
	}
	if set.Config.Listen == "" {
		return f, nil
	}
	if f.ln, err = net.Listen("tcp", set.Config.Listen); err != nil {
		return nil, fmt.Errorf("listen for counters: %w; change counters.listen", err)
	}
	if set.Config.Cert == "" {
		return f, nil
	}
	cert, err := tls.LoadX509KeyPair(set.Config.Cert, set.Config.Key)
	if err != nil {
		_ = f.ln.Close()
		return nil, fmt.Errorf("read counters.tls_cert and tls_key: %w", err)
	}
	f.ln = tls.NewListener(f.ln, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}})
	return f, nil
}

func (f *Feeds) plan() (plan, error) {
	c := f.set.Config
	zone, err := time.LoadLocation(c.TimeZone)
	if err != nil {
		return plan{}, fmt.Errorf("counters.time_zone: %w", err)
	}
	p := plan{every: f.set.Every, zone: zone, series: make(map[string]Series), by: make(map[string]string), balance: c.Occupancy}
	if p.rezero, err = rezero(c.Rezero); err != nil {
		return plan{}, fmt.Errorf("counters.rezero: %w", err)
	}
	for _, cfg := range c.Devices {
		d, err := newDevice(cfg, zone)
		if err != nil {
			return plan{}, fmt.Errorf("counter %s: %w", cfg.Name, err)
		}
		f.devices[cfg.Name] = d
		if cfg.Topic != "" {
			f.topics[cfg.Topic] = d
		}
		for _, s := range cfg.Series {
			s.Door = s.Door && s.Kind != KindState
			p.series[s.Name] = s
			p.by[s.Name] = "counter " + cfg.Name + " " + s.Kind
			d.names = append(d.names, s.Name)
		}
	}
	return p, nil
}

func newDevice(cfg Device, zone *time.Location) (*device, error) {
	d := &device{
		cfg: cfg, clock: deviceClock{cfg.Clock, zone}, tokens: burst,
		stats: DeviceStats{Device: cfg.Name}, logged: make(map[string]floorwatch.Time),
	}
	for _, a := range cfg.Allow {
		n, err := network(a)
		if err != nil {
			return nil, fmt.Errorf("allow: %w", err)
		}
		d.allow = append(d.allow, n)
	}
	token, err := cfg.Token.Read()
	if err != nil {
		return nil, err
	}
	if cfg.Token != "" && len(token) < minToken {
		return nil, fmt.Errorf("token in %s has %d characters, want at least %d; openssl rand -hex 16 makes one", string(cfg.Token), len(token), minToken)
	}
	d.token, d.hasTok = sha256.Sum256([]byte(token)), token != ""
	return d, nil
}

// load reads the state. A damaged one is put aside: without it the registers
// start anew and a repetition may count twice, but the box starts.
func (f *Feeds) load(p plan) error {
	path := filepath.Join(f.set.Dir, stateFile)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read counter state: %w", err)
	}
	if f.book, err = newBook(data, p); err == nil {
		return nil
	}
	aside := fmt.Sprintf("%s.bad-%d", path, f.set.Now())
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("put damaged counter state aside: %w", err)
	}
	f.set.Log.Error("counter state is damaged: registers start anew, a repetition may count twice", "error", err, "kept_as", aside)
	f.book, err = newBook(nil, p)
	return err
}

// Run takes messages in until ctx ends, or the listener fails.
func (f *Feeds) Run(ctx context.Context) error {
	// What is stored last is what was taken in last.
	committing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var committed sync.WaitGroup
	committed.Go(func() { f.commits(committing) })
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { <-ctx.Done(); return nil })
	if f.ln != nil {
		group.Go(func() error { return f.serve(ctx) })
	}
	if len(f.topics) > 0 {
		group.Go(func() error { return f.subscribe(ctx) })
	}
	err := group.Wait()
	stop()
	committed.Wait()
	f.acks.Wait()
	return err
}

// Reply says what became of a message.
type Reply struct {
	Accepted int       `json:"accepted"`
	Repeated int       `json:"repeated"`
	Ignored  int       `json:"ignored"` // of a kind that is not counted
	Refused  []Refusal `json:"refused,omitempty"`
}

// accept takes one message of a device in. done is called once, when what was
// said is on disk, or cannot be: then nothing is lost by saying it again. It is
// not called when accept returns an error.
func (f *Feeds) accept(d *device, body []byte, done func(error)) (Reply, error) {
	m, parseErr := Parse(body)
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.set.Now()
	if !d.allowed(now) {
		d.stats.Limited++
		f.complain(d, now, "sends too many messages", nil)
		return Reply{}, errLimited
	}
	r, err := d.clock.reckon(m, now)
	if err = errors.Join(parseErr, err); err != nil {
		d.stats.Refused++
		f.complain(d, now, "sent what cannot be read", err)
		return Reply{}, err
	}
	d.stats.Messages++
	d.stats.Heard = now
	if r.sent {
		d.stats.SkewS = floorwatch.Seconds(r.skew)
	}
	f.book.alive(d.names, now)
	f.book.advance(now)
	reply := Reply{Refused: m.Bad}
	for _, it := range m.Items {
		f.item(d, &r, it, &reply)
	}
	slices.SortFunc(reply.Refused, func(a, b Refusal) int { return a.Item - b.Item })
	d.stats.Refused += int64(len(reply.Refused))
	if r.faulty {
		d.stats.ClockFaults++
		f.complain(d, now, "has a wrong clock; its numbers are booked by ours", fmt.Errorf("off by %s", r.skew))
	}
	if len(reply.Refused) > 0 {
		f.complain(d, now, "sent what cannot be true", errors.New(reply.Refused[0].Why))
	}
	f.changed(done)
	return reply, nil
}

func (f *Feeds) item(d *device, r *reckoning, it Item, reply *Reply) {
	reset, err := f.enter(d, r, it)
	if reset {
		d.stats.Resets++
	}
	switch {
	case err == nil:
		reply.Accepted++
		d.stats.Items++
	case errors.Is(err, errRepeated):
		reply.Repeated++
		d.stats.Repeated++
	case errors.Is(err, errOtherKind):
		reply.Ignored++
		d.stats.OtherKind++
	default:
		reply.Refused = append(reply.Refused, Refusal{it.Index, err.Error()})
	}
}

// enter books one item.
func (f *Feeds) enter(d *device, r *reckoning, it Item) (reset bool, err error) {
	s, err := d.find(it)
	if err != nil {
		return false, err
	}
	if err := it.check(s.Kind); err != nil {
		return false, err
	}
	from, to, err := r.window(it, s.Kind)
	if err != nil {
		return false, err
	}
	trusted := r.policy != ClockReceive && !r.faulty
	return f.book.take(s.Name, it, from, to, r.now, trusted)
}

// find returns the series that an item belongs to.
func (d *device) find(it Item) (Series, error) {
	known := false
	for _, s := range d.cfg.Series {
		if s.id() != it.Series {
			continue
		}
		if it.Kind == s.Kind || it.Kind == "" && (it.Value != nil) == (s.Kind == KindState) {
			return s, nil
		}
		known = true
	}
	if known {
		return Series{}, errOtherKind
	}
	return Series{}, fmt.Errorf("series %q is not configured for %s", it.Series, d.cfg.Name)
}

// allowed takes one message off the device's allowance.
func (d *device) allowed(now floorwatch.Time) bool {
	if now > d.filled {
		d.tokens = min(burst, d.tokens+perSecond*now.Sub(d.filled).Seconds())
		d.filled = now
	}
	if d.tokens < 1 {
		return false
	}
	d.tokens--
	return true
}

func (d *device) opens(token string) bool {
	hash := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(hash[:], d.token[:]) == 1 && d.hasTok
}

func (d *device) from(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return len(d.allow) == 0 || slices.ContainsFunc(d.allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// complain logs what is wrong with a device, each thing once in ten minutes.
func (f *Feeds) complain(d *device, now floorwatch.Time, what string, err error) {
	if last, ok := d.logged[what]; ok && now.Sub(last) < 10*time.Minute {
		return
	}
	d.logged[what] = now
	f.set.Log.Warn("counter "+what, "device", d.cfg.Name, "error", err)
}

// changed asks for a commit; the caller holds the lock.
func (f *Feeds) changed(done func(error)) {
	f.dirty = true
	f.waiting = append(f.waiting, done)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// commits writes the state and emits records until ctx ends, and then once more.
func (f *Feeds) commits(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer f.set.Pulse.Rest()
	for {
		f.set.Pulse.Beat()
		select {
		case <-ctx.Done():
			f.commit()
			return
		case <-tick.C:
		case <-f.wake:
			select {
			case <-time.After(commitAfter):
			case <-ctx.Done():
			}
		}
		f.commit()
	}
}

// commit settles what is due, makes the state durable, answers those who wait
// for that, and only then emits: a record that was emitted is never built again
// with other numbers. What was taken is then struck off, durably too.
func (f *Feeds) commit() {
	pending, err := f.store()
	if err == nil && f.emit(pending) {
		_, err = f.store()
	}
	if err != nil {
		f.set.Log.Error("counter state not stored; devices are asked to repeat", "error", err)
	}
}

// store makes the state durable and returns the records to emit.
func (f *Feeds) store() ([]*floorwatch.Count, error) {
	f.mu.Lock()
	dirty := f.book.advance(f.set.Now()) || f.dirty
	var data []byte
	var err error
	if dirty {
		data, err = json.Marshal(f.book)
	}
	pending := slices.Clone(f.book.Pending[:min(len(f.book.Pending), emitAtOnce)])
	waiting, dropped := f.waiting, f.book.dropped
	f.waiting, f.dirty, f.book.dropped = nil, false, 0
	f.mu.Unlock()
	if dropped > 0 {
		f.set.Log.Error("count records given up, they were not taken for too long", "records", dropped)
	}
	if dirty && err == nil {
		err = durable.WriteFile(filepath.Join(f.set.Dir, stateFile), data, 0o600)
	}
	for _, done := range waiting {
		done(err)
	}
	if err != nil {
		f.mu.Lock()
		f.dirty = true
		f.mu.Unlock()
	}
	return pending, err
}

// emit tells whether records were taken.
func (f *Feeds) emit(pending []*floorwatch.Count) bool {
	if len(pending) == 0 {
		return false
	}
	recs := make([]floorwatch.Record, len(pending))
	for i, c := range pending {
		recs[i] = c
	}
	if err := f.set.Emit(recs...); err != nil {
		f.set.Log.Error("count records wait, they are not taken", "records", len(recs), "error", err)
		return false
	}
	last := pending[len(pending)-1]
	f.mu.Lock()
	defer f.mu.Unlock()
	// What was given up meanwhile is no longer at the front.
	if i := slices.Index(f.book.Pending, last); i >= 0 {
		f.book.Pending = slices.Delete(f.book.Pending, 0, i+1)
	}
	f.dirty = true
	return true
}

// Stats returns the figures of every device, by name.
func (f *Feeds) Stats() []DeviceStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []DeviceStats
	for _, d := range f.devices {
		out = append(out, d.stats)
	}
	slices.SortFunc(out, func(a, b DeviceStats) int {
		if a.Device < b.Device {
			return -1
		}
		return 1
	})
	return out
}

// Live returns the present of all that holds people, to be published: the
// occupancy of the store, and states that devices tell. Coverage is 1 while the
// counters behind it are heard, else 0.
func (f *Feeds) Live() []floorwatch.Live {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.set.Now()
	var out []floorwatch.Live
	for _, l := range f.book.levels(now) {
		live := floorwatch.Live{V: floorwatch.Version, Camera: liveCamera, Zone: l.name, T: now, ValidS: liveValidS, People: int(l.people)}
		if l.heard {
			live.Coverage = 1
		}
		out = append(out, live)
	}
	return out
}

// liveCamera stands where a zone's figure names its camera.
const liveCamera = "counter"

// liveValidS is how long a live figure may be shown, in seconds.
const liveValidS = 10
