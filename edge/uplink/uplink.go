// Package uplink carries the records of an outbox to the cloud over MQTT 3.1.1
// and settles them when the cloud has acknowledged them, never before: a
// broker's PUBACK says nothing about the database behind it.
//
// Make an Uplink with New and let Run do the rest. PublishLive may be called at
// any time and never waits for the network.
package uplink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/access"
	"floorwatch/internal/link"
	"floorwatch/internal/retry"
	"floorwatch/internal/watchdog"
)

// Outbox is the queue that an uplink empties. Next hands out durable records
// that were not handed out since Rewind, N = 0 when there are none; it leaves
// Store and Edge empty. Ack settles a range for good, in any order and more than
// once; its error means that the range is not the outbox's. All are safe for
// concurrent use, and an error of Next may pass.
type Outbox interface {
	Rewind()
	Next(maxRecords, maxBytes int) (floorwatch.Batch, error)
	Ack(log string, first uint64, n int) error
}

// Settings say where the broker is and who we are.
type Settings struct {
	Broker             string // tcp://host:1883 or tls://host:8883
	Username, Password string
	TLS                *tls.Config // for tls://; nil: the system's roots
	Store, Edge        string
	Version            string // of the program, told in the state
	Log                *slog.Logger

	Outbox   Outbox
	OutboxID func() string   // the current log, told in the state; nil: not told
	Standard func() string   // hash of what the hall was told, told in the state; nil: not told
	Changed  <-chan struct{} // a value says that Next may have more
	Pulse    *watchdog.Pulse // rests while the broker is waited for

	// Command does what the cloud asks for, each id once, several at a time; nil:
	// commands are not heard. Its ctx ends with the session.
	Command func(ctx context.Context, c floorwatch.Command) floorwatch.Reply
}

// timing holds the durations of the contract; tests shorten them.
type timing struct {
	connect   time.Duration // for dialling, each step of the greeting and each write
	keepAlive time.Duration // longest silence from us; from the broker twice that
	resend    time.Duration // an unacknowledged batch goes again after this, twice more after a third of it,
	jitter    time.Duration // each time plus up to this
	spread    time.Duration // in which a fleet that was cut off together comes back
	backOff   time.Duration // longest pause between attempts to reach a broker on this machine
	retry     time.Duration // after the outbox could not be read
}

var contract = timing{
	connect: 10 * time.Second, keepAlive: 10 * time.Second,
	resend: 30 * time.Second, jitter: 5 * time.Second, spread: 35 * time.Second, backOff: 30 * time.Second, retry: time.Second,
}

const (
	window = 4 // batches in flight that were sent once
	// maxFlight bounds all of them. One that the cloud cannot settle yet, as a scene
	// while its metadata is away, goes again and again and must not hold up the others.
	maxFlight   = 16
	maxAck      = 1 << 10  // bytes of an acknowledgement
	maxLive     = 1 << 10  // zones waiting to be published
	maxLiveSize = 64 << 10 // bytes of one live message
	steady      = time.Minute
)

// Uplink is the link of one edge box. Run may be called once at a time.
type Uplink struct {
	set  Settings
	host string // of the broker, with its port
	time timing

	acked chan struct{} // a batch left the window
	fresh chan struct{} // live has something

	mu     sync.Mutex
	flight map[flightKey]*flight // nil while there is no session
	sent   map[string]uint64     // by log, one past the highest number sent in this session
	live   map[string][]byte     // by zone, the newest
	stats  Stats
	cmds   commands
}

type flightKey struct {
	log   string
	first uint64
}

// flight is a batch that waits for its acknowledgement.
type flight struct {
	n       int
	payload []byte
	due     time.Time // when to send it again
	puback  <-chan struct{}
	tries   int // how often it was published
}

// Stats is what an uplink says of itself. Counts are since New.
type Stats struct {
	Since    time.Time // connected since; zero: not connected
	LastAck  time.Time
	InFlight int    // batches
	Batches  uint64 // sent for the first time in a session
	Resent   uint64 // batches sent again within a session
	Acked    uint64 // records
	Ignored  uint64 // acknowledgements that were not believed
	Connects uint64
	Refused  uint64    // records that the cloud refused, of those acknowledged
	Refusals []Refusal // of the last hour
}

// Refusal is a reason for which the cloud refused records.
type Refusal struct {
	Reason string
	Since  time.Time // it was logged
	Last   time.Time
}

// Refusals are told once an hour each; of more than these only their number.
const (
	maxRefusals  = 8
	refusalLasts = time.Hour
)

// New checks the settings. It opens nothing.
func New(set Settings) (*Uplink, error) {
	broker, err := access.BrokerURL(set.Broker)
	if err != nil {
		return nil, fmt.Errorf("broker address: %w", err)
	}
	for what, name := range map[string]string{"store": set.Store, "edge": set.Edge} {
		if !floorwatch.ValidName(name) {
			return nil, fmt.Errorf("%s name %.50q: a name is %s", what, name, floorwatch.NameRule)
		}
	}
	if set.Outbox == nil {
		return nil, fmt.Errorf("uplink has no outbox")
	}
	if set.Log == nil {
		set.Log = slog.New(slog.DiscardHandler)
	}
	return &Uplink{
		set: set, host: broker.Host, time: contract,
		acked: make(chan struct{}, 1), fresh: make(chan struct{}, 1),
		live: make(map[string][]byte),
	}, nil
}

// Run keeps the link up until ctx ends, and then says "stopped". It returns nil.
func (u *Uplink) Run(ctx context.Context) error {
	near := retry.Backoff{Min: min(time.Second, u.time.backOff), Max: u.time.backOff, Steady: steady, Full: true}
	first := true
	l := &link.Link{
		Login: func() (access.Login, error) {
			return access.Login{URL: u.set.Broker, Username: u.set.Username, Password: u.set.Password, TLS: u.set.TLS}, nil
		},
		ClientID: u.set.Store + "/" + u.set.Edge, Key: "broker",
		Will: func() (string, []byte) {
			return u.topic(floorwatch.LeafState), u.state(floorwatch.StateOffline, time.Time{})
		},
		Timeout: u.time.connect, KeepAlive: u.time.keepAlive,
		Work: u.work, Message: u.hear, Pulse: u.set.Pulse,
		Pause: func(up bool, lasted time.Duration) time.Duration {
			if access.Loopback(u.host) {
				return near.Next(lasted)
			}
			pause := u.pause(first, up, lasted)
			first = false
			return pause
		},
		Down: func(err error, _ bool, in time.Duration) {
			u.set.Log.Warn("uplink is down; records wait in the outbox", "broker", u.set.Broker, "error", err, "retry_in", in)
		},
	}
	return l.Run(ctx)
}

// pause is how long to wait after an attempt to connect that failed, or after a
// session (up) that ended, which took so long. After a session it is anything up
// to the spread, and from then on attempts keep that rhythm: so a fleet that was
// cut off together stays spread out evenly, whenever the broker returns, and no
// box needs longer than the spread. (Doubling pauses crowd right after the return,
// as most boxes are then on short ones; a rhythm kept over a session crowds with
// the boxes that drew anew.) Who was thrown out at once waits half a spread more,
// which is the rhythm again in the mean. A broker on this machine has no fleet;
// there it is a back-off.
func (u *Uplink) pause(first, up bool, took time.Duration) time.Duration {
	const least = 10 * time.Millisecond
	switch {
	case up && took < u.time.connect:
		return u.time.spread/2 + rand.N(u.time.spread)
	case up || first:
		return rand.N(u.time.spread) + least
	}
	return u.time.spread - took%u.time.spread + least
}

// Stats returns the figures of this moment.
func (u *Uplink) Stats() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forgetRefusals()
	st := u.stats
	st.InFlight, st.Refusals = len(u.flight), slices.Clone(u.stats.Refusals)
	return st
}

// PublishLive sends the present of a zone to displays, if the link is up. While
// one waits to be sent, a newer one of the same zone takes its place.
func (u *Uplink) PublishLive(l floorwatch.Live) {
	b, err := json.Marshal(l)
	if err != nil || len(b) > maxLiveSize || !floorwatch.ValidName(l.Zone) {
		u.set.Log.Warn("live figures not published", "zone", fmt.Sprintf("%.50q", l.Zone), "error", err, "bytes", len(b))
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, waits := u.live[l.Zone]; u.flight == nil || !waits && len(u.live) >= maxLive {
		return
	}
	u.live[l.Zone] = b
	signal(u.fresh)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// onAck settles the batches in flight that an acknowledgement covers: the cloud
// may name several that follow one another as one range. A batch that it covers
// in part is not settled, and a range that holds none, or goes beyond what was
// sent, is not believed. Numbers below that were settled before are no fault:
// what is sent again is acknowledged again.
func (u *Uplink) onAck(payload []byte, retained bool) {
	a, n, err := u.believe(payload, retained)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.stats.Ignored++
		u.set.Log.Info("acknowledgement ignored", "reason", err)
		return
	}
	u.stats.Acked += uint64(n)
	u.stats.LastAck = time.Now()
	if refused := min(a.Refused, n); refused > 0 {
		u.refused(refused, a.Reason)
	}
	signal(u.acked)
}

// refused books records that the cloud has refused; a reason is logged once an
// hour. The caller holds the mutex.
func (u *Uplink) refused(n int, reason string) {
	u.forgetRefusals()
	u.stats.Refused += uint64(n)
	now := time.Now()
	i := slices.IndexFunc(u.stats.Refusals, func(r Refusal) bool { return r.Reason == reason })
	if i >= 0 {
		u.stats.Refusals[i].Last = now
		return
	}
	if len(u.stats.Refusals) == maxRefusals {
		return
	}
	u.stats.Refusals = append(u.stats.Refusals, Refusal{reason, now, now})
	u.set.Log.Error("the cloud refuses records of this box and keeps them as dead letters; floorwatch doctor says what to do", "reason", reason, "records", n)
}

// forgetRefusals drops those that have been told for an hour, so that what goes on
// is told anew.
func (u *Uplink) forgetRefusals() {
	u.stats.Refusals = slices.DeleteFunc(u.stats.Refusals, func(r Refusal) bool { return time.Since(r.Since) >= refusalLasts })
}

func (u *Uplink) believe(payload []byte, retained bool) (a floorwatch.Ack, n int, err error) {
	if len(payload) > maxAck {
		return a, 0, fmt.Errorf("it has %d bytes, limit %d", len(payload), maxAck)
	}
	if retained {
		return a, 0, fmt.Errorf("it was retained by the broker, so it is old")
	}
	if err := json.Unmarshal(payload, &a); err != nil {
		return a, 0, fmt.Errorf("parse acknowledgement: %w", err)
	}
	if a.V != floorwatch.Version {
		return a, 0, fmt.Errorf("it has version %d, want %d", a.V, floorwatch.Version)
	}
	keys, n, err := u.covered(a)
	if err != nil {
		return a, 0, err
	}
	for _, k := range keys {
		if err := u.set.Outbox.Ack(k.log, k.first, k.n); err != nil {
			return a, n, err
		}
	}
	return a, n, nil
}

// settled is a batch that has left the window.
type settled struct {
	flightKey
	n int
}

// covered takes the batches that a covers out of the window; n is how many
// records they hold.
func (u *Uplink) covered(a floorwatch.Ack) (out []settled, n int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	end := a.First + uint64(max(a.N, 0))
	if a.N <= 0 || end < a.First || end > u.sent[a.Log] {
		return nil, 0, fmt.Errorf("it is for %d records from %d of log %.20q, which were not sent", a.N, a.First, a.Log)
	}
	for k, f := range u.flight {
		if k.log == a.Log && k.first >= a.First && k.first+uint64(f.n) <= end {
			out = append(out, settled{k, f.n})
			n += f.n
			delete(u.flight, k)
		}
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("no batch in %d records from %d of log %.20q is on its way", a.N, a.First, a.Log)
	}
	return out, n, nil
}

// encode writes the envelope around the records' own bytes: a JSON encoder
// would rewrite them, and what is sealed must arrive unaltered.
func (u *Uplink) encode(b floorwatch.Batch) []byte {
	size := 0
	for _, r := range b.Records {
		size += len(r) + 1
	}
	p := make([]byte, 0, size+256)
	p = fmt.Appendf(p, `{"v":%d,"store":%q,"edge":%q,"log":%q,"first":%d,"n":%d,"records":[`,
		floorwatch.Version, u.set.Store, u.set.Edge, b.Log, b.First, len(b.Records))
	for i, r := range b.Records {
		if i > 0 {
			p = append(p, ',')
		}
		p = append(p, r...)
	}
	return append(p, "]}"...)
}
