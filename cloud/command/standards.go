package command

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/retry"

	"golang.org/x/sync/errgroup"
)

// Standards brings the halls' standards to their boxes. It goes by what each box
// says that it keeps, not by what was sent: whoever keeps something else than holds
// is told, as soon as it is online.
//
//	box ─ state: hash of what it keeps ─> PutState ─┐
//	sites, standards ─> what the hall is to hold ───┴─> other? ─ command ─> box
//
// Fields are set before Run and not changed after. Several may serve the same boxes.
type Standards struct {
	Sites *site.Live
	DB    *metadata.DB
	Key   ed25519.PrivateKey // of the cloud
	// Do carries a command to a box: Commander.Do.
	Do  func(ctx context.Context, store, edge string, c floorwatch.Command) (floorwatch.Reply, error)
	Log *slog.Logger // nil discards

	Every time.Duration // how often to look; 0 = 1 s
	Pause time.Duration // after the first failure; it doubles up to an hour; 0 = 10 s

	mu       sync.Mutex
	boxes    map[standardBox]*standardState
	told     map[string]toldHall // by hall, the last
	seen     [2]int64            // versions of sites and standards that were looked at
	round    int                 // grows when they change
	otherKey bool                // it was said
}

type standardBox struct{ store, edge string }

// toldHall is what a hall was told last, by its hash.
type toldHall struct {
	floorwatch.HallStandard
	hash string
}

// standardState is what is known of a box that knows of standards.
type standardState struct {
	keeps   string // hash
	online  bool
	settled int // the round for which nothing is left to do, until the box changes
	busy    bool
	fails   int
	next    time.Time // not before
}

const (
	standardsAtWork = 8 // boxes that are told at a time
	standardLife    = 15 * time.Second
	longestPause    = time.Hour
	maxStandardBox  = 20_000
)

// PutState takes a box's word. One that says nothing of standards is of before
// there were any, and is left alone.
func (s *Standards) PutState(store, edge string, st floorwatch.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes == nil {
		s.boxes = map[standardBox]*standardState{}
	}
	k := standardBox{store, edge}
	b := s.boxes[k]
	switch {
	case st.Standard == nil || st.State != floorwatch.StateOnline:
		if b != nil {
			b.online = false
		}
		return
	case b == nil && len(s.boxes) >= maxStandardBox:
		return
	case b == nil:
		b = &standardState{}
		s.boxes[k] = b
	}
	if b.keeps != *st.Standard || !b.online {
		b.settled, b.fails = 0, 0
	}
	b.keeps, b.online = *st.Standard, true
}

// Run works until ctx ends and returns when its goroutines are gone.
func (s *Standards) Run(ctx context.Context) error {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	every := s.Every
	if every <= 0 {
		every = time.Second
	}
	var group errgroup.Group
	group.SetLimit(standardsAtWork)
	for retry.Pause(ctx, every) {
		snapshot := s.Sites.Snapshot()
		due, round := s.due(snapshot)
		for _, k := range due {
			group.Go(func() error { s.tell(ctx, snapshot, round, k); return nil })
		}
	}
	return group.Wait()
}

// due returns the boxes to look at now.
func (s *Standards) due(now *site.Snapshot) (out []standardBox, round int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen := [2]int64{now.Version, now.StandardsVersion}; s.round == 0 || s.seen != seen {
		s.seen = seen
		s.round++
	}
	for k, b := range s.boxes {
		if b.online && b.settled != s.round && !b.busy && time.Now().After(b.next) && len(out) < 100*standardsAtWork {
			b.busy = true
			out = append(out, k)
		}
	}
	return out, s.round
}

// tell compares what a box keeps with what it is to keep, and sends that.
func (s *Standards) tell(ctx context.Context, now *site.Snapshot, round int, k standardBox) {
	reply, hash, err := s.send(ctx, now, k)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[k]
	b.busy = false
	pause := s.Pause
	if pause <= 0 {
		pause = 10 * time.Second
	}
	switch {
	case ctx.Err() != nil:
	case err != nil || reply.State == floorwatch.ReplyFailed || reply.State == floorwatch.ReplyExpired:
		b.next = time.Now().Add(min(pause<<min(b.fails, 10), longestPause))
		b.fails++
		s.Log.Warn("a box was not told its standard; it is tried again", "store", k.store, "edge", k.edge,
			"error", err, "state", reply.State, "reason", reply.Reason, "after", time.Until(b.next).Round(time.Second))
	case reply.State == floorwatch.ReplyRefused:
		b.settled, b.next = round, time.Now().Add(pause) // until it or the standards change
		s.Log.Warn("a box refuses its standard and goes on with what it keeps", "store", k.store, "edge", k.edge, "reason", reply.Reason)
	default:
		b.settled, b.fails = round, 0
		if reply.State == floorwatch.ReplyDone {
			b.keeps = hash
			s.Log.Info("a box keeps its standard", "store", k.store, "edge", k.edge, "hash", hash)
		}
	}
}

// send returns the hash of what the box is to keep; without a reply it keeps that.
func (s *Standards) send(ctx context.Context, now *site.Snapshot, k standardBox) (r floorwatch.Reply, hash string, err error) {
	s.mu.Lock()
	keeps, last := s.boxes[k].keeps, s.told[k.store]
	s.mu.Unlock()
	at := floorwatch.TimeOf(time.Now())
	if keeps != "" && keeps == last.hash && now.Holds(last.HallStandard, at) {
		return r, keeps, nil // mostly; the store need not be asked
	}
	if keeps == "" && !now.HallStandard(k.store, at).Says() {
		return r, "", nil // nothing was set, and nothing is kept
	}
	for above := int64(0); ; above = r.Serial {
		told, err := now.Tell(ctx, s.DB, k.store, at, above, s.Key)
		if err != nil {
			return r, "", err
		}
		hash = told.Signed.Hash()
		s.took(k.store, toldHall{told.Hall, hash}, told.OtherKey)
		if hash == keeps {
			return r, hash, nil
		}
		r, err = s.command(ctx, k, told.Signed)
		if err != nil || r.State != floorwatch.ReplyRefused || r.Serial < told.Hall.Serial || above > 0 {
			return r, hash, err
		}
		s.Log.Warn("a box keeps a newer standard than this cloud knows of, as after a restore; it is told anew", "store", k.store, "edge", k.edge)
	}
}

func (s *Standards) command(ctx context.Context, k standardBox, told floorwatch.Signed) (floorwatch.Reply, error) {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	return s.Do(ctx, k.store, k.edge, floorwatch.Command{
		V: floorwatch.Version, ID: hex.EncodeToString(id), Do: floorwatch.DoStandard, Standard: &told,
		Expires: floorwatch.TimeOf(time.Now().Add(standardLife)),
	})
}

// took remembers what a hall is told, and says once that the cloud has another key
// than before.
func (s *Standards) took(store string, hall toldHall, other bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = map[string]toldHall{}
	}
	s.told[store] = hall
	if other && !s.otherKey {
		s.otherKey = true
		s.Log.Error("halls were told their standards with another key of the cloud, and boxes refuse this one; " +
			"restore cloud.key from its backup, or where it is lost, set cloud_key of every box to what floorwatch-cloud key prints")
	}
}
