// Package upload brings sealed footage to the vault: what the cloud holds or asks
// for, and what the policy wants, within the line's budgets.
//
//	commands ─> Claims ─┐
//	           policy ──┴─> Uploader <─ footage.Shelf
//	                            └─ pieces ─HTTPS─> vault ─ receipts ─> beside the seals
//
// With each piece go the camera lines of its span, so that the people in it can
// be shown when the box is long gone.
//
// What stays compatible: the requests (docs/vault.md), claims.json, uploaded.json
// and the receipts.
package upload

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/footage"
	"floorwatch/internal/layout"
	"floorwatch/internal/watchdog"
)

// Policy says which footage is uploaded without being asked for.
type Policy string

// The policies. What a command asks for is uploaded under each of them.
const (
	None  Policy = "none"  // only on command
	Alert Policy = "alert" // what is held, and around alerts
	Night Policy = "night" // all, in the hours of Night
	All   Policy = "all"
)

// Hours is a daily span of local time, [From, To) since midnight; From > To
// spans midnight, From = To is the whole day.
type Hours struct {
	From, To time.Duration
	Zone     *time.Location // nil = UTC
}

func (h Hours) hold(t floorwatch.Time) bool {
	zone := h.Zone
	if zone == nil {
		zone = time.UTC
	}
	at := t.Time().In(zone)
	day := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
	if h.From < h.To {
		return h.From <= day && day < h.To
	}
	return day >= h.From || day < h.To
}

// Uploader sends sealed footage below Dir to the vault, most wanted first, and
// keeps the vault's receipt beside each seal (00000042.receipt). Every piece
// goes on where it was cut. Fields are set before use and not changed after.
type Uploader struct {
	Dir         string
	Store, Edge string
	URL         string // of the cloud, https://…; "" = nothing is uploaded
	Key         ed25519.PrivateKey
	Policy      Policy // "" = Alert
	Night       Hours  // of Night
	// How much is uploaded before and after the moment of an alert.
	Lead, Tail  time.Duration
	BytesPerSec int64 // 0 = no limit
	BytesPerDay int64 // 0 = no limit; local days of Night.Zone
	Claims      *Claims
	// Lines returns the camera lines of a span, which go to the vault beside its
	// footage; nil: none do.
	Lines   func(ctx context.Context, camera string, from, to floorwatch.Time) ([]floorwatch.Frame, error)
	Client  *http.Client    // nil = one that trusts the system's roots
	Clock   *clock.Clock    // nil = this machine's
	Log     *slog.Logger    // nil = discard
	Every   time.Duration   // between two looks when idle; 0 = 15 s
	BackOff time.Duration   // longest pause after a fault; 0 = 5 min
	Pulse   *watchdog.Pulse // rests while the vault or the line is waited for

	mu     sync.Mutex
	shelf  footage.Shelf
	kicked chan struct{}
	fig    Stats
}

// Stats is what an uploader says of itself.
type Stats struct {
	Wanted      int   // pieces that the policy or a command wants and the vault has not confirmed
	WantedBytes int64 // of those
	Uploaded    int64 // pieces since the start
	Bytes       int64 // sent since the start
	Today       int64 // bytes of the day's budget that are spent
	Faults      int64
	LastReceipt floorwatch.Time
}

// Stats returns the figures of the last look.
func (u *Uploader) Stats() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.fig
}

func (u *Uploader) count(f func(*Stats)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.fig)
}

// Wanted implements footage.Wanted: it says what is to be uploaded sometime.
func (u *Uploader) Wanted(camera string, from, to floorwatch.Time) bool {
	return u.URL != "" && u.class(camera, from, to) <= classRest
}

// Classes of want, most wanted first.
const (
	classSend = iota
	classHold
	classAlert
	classRest
	classNone
)

func (u *Uploader) class(camera string, from, to floorwatch.Time) int {
	rest := classNone
	if u.Policy == All || u.Policy == Night {
		rest = classRest
	}
	if u.Claims.any(claimSend, camera, from, to) {
		return classSend
	}
	if u.Policy == None {
		return rest
	}
	if u.Claims.any(claimHold, camera, from, to) {
		return classHold
	}
	if u.Claims.any(claimAlert, camera, from, to) {
		return classAlert
	}
	return rest
}

// Alert wants the footage around an alert, if the policy does.
func (u *Uploader) Alert(camera string, at floorwatch.Time) error {
	if u.URL == "" || u.Policy == None {
		return nil
	}
	defer u.kick()
	return u.Claims.add(claim{Kind: claimAlert, Camera: camera, From: at.Add(-u.Lead), To: at.Add(u.Tail + time.Second), Made: u.Clock.Time()})
}

func (u *Uploader) kick() {
	u.mu.Lock()
	if u.kicked == nil {
		u.kicked = make(chan struct{}, 1)
	}
	c := u.kicked
	u.mu.Unlock()
	select {
	case c <- struct{}{}:
	default:
	}
}

func (u *Uploader) check() error {
	base, err := url.Parse(u.URL)
	switch {
	case u.Claims == nil:
		return errors.New("upload footage: no list of holds")
	case !floorwatch.ValidName(u.Store) || !floorwatch.ValidName(u.Edge):
		return fmt.Errorf("upload footage: store %q, edge %q: a name is %s", u.Store, u.Edge, floorwatch.NameRule)
	case len(u.Key) != ed25519.PrivateKeySize:
		return errors.New("upload footage: no key; make one with floorwatch-edge key")
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return fmt.Errorf("upload footage: vault address %.100q: write it like https://cloud.example.com", u.URL)
	}
	return nil
}

// uploading is an Uploader at work.
type uploading struct {
	*Uploader
	log    *slog.Logger
	client *http.Client
	base   string
	skew   time.Duration        // of the cloud's clock against ours
	later  map[string]time.Time // pieces that wait, by hash
	spent  dayBudget
	free   time.Time // when the next byte may go
	calm   int64     // bytes sent since the last fault
	blunt  time.Time // until when the vault is taken for one that knows no lines
}

// Run uploads until ctx ends. It returns early only for settings that cannot
// work; without a URL there is nothing to do.
func (u *Uploader) Run(ctx context.Context) error {
	if u.URL == "" {
		<-ctx.Done()
		return nil
	}
	if err := u.check(); err != nil {
		return err
	}
	u.kick() // makes the channel
	p := &uploading{
		Uploader: u, log: u.Log, client: u.Client, base: strings.TrimSuffix(u.URL, "/"), later: map[string]time.Time{},
		spent: readBudget(filepath.Join(u.Dir, budgetFile)), calm: calmParts * floorwatch.MaxUploadChunk,
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.client == nil {
		p.client = new(http.Client)
	}
	p.run(ctx)
	return nil
}

// run looks for work, does it, and looks again: at once after a command or an
// alert, after a while otherwise.
func (p *uploading) run(ctx context.Context) {
	every, longest := p.Every, p.BackOff
	if every == 0 {
		every = 15 * time.Second
	}
	if longest == 0 {
		longest = 5 * time.Minute
	}
	faults := 0
	for ctx.Err() == nil {
		pause := every
		if err := p.pass(ctx, every); err != nil && ctx.Err() == nil {
			if faults++; faults == 1 {
				p.log.Warn("footage cannot be uploaded; it waits on this box", "error", err)
			}
			p.count(func(f *Stats) { f.Faults++ })
			pause = rand.N(min(longest, time.Second<<min(faults, 12))) + 10*time.Millisecond // full jitter
		} else if err == nil && faults > 0 {
			p.log.Info("footage is uploaded again", "faults", faults)
			faults = 0
		}
		kicked := p.kicked
		if faults > 0 {
			kicked = nil // a command does not mend the line
		}
		select {
		case <-ctx.Done():
		case <-kicked:
		case <-time.After(pause):
		}
	}
}

// pass uploads what is wanted now, for about as long as limit before it looks
// again. Without an error there is nothing left that can be done now, or the
// time is over.
func (p *uploading) pass(ctx context.Context, limit time.Duration) error {
	p.Pulse.Beat()
	queue, err := p.queue(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	defer p.Pulse.Rest()
	for _, f := range queue {
		p.Pulse.Beat()
		if len(p.kicked) > 0 || time.Since(began) > limit {
			p.kick()
			return nil
		}
		if !p.within(f.Bytes) {
			return nil
		}
		err := p.upload(ctx, f)
		var wait waitError
		switch {
		case errors.As(err, &wait):
			p.later[f.SHA256] = time.Now().Add(wait.after)
			if wait.tell {
				p.log.Error("a piece of footage is not uploaded", "camera", f.Camera, "file", f.Path, "error", err)
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// queue lists what may go now, most wanted first, the oldest of a class first.
func (p *uploading) queue(ctx context.Context) ([]footage.File, error) {
	p.mu.Lock()
	p.shelf.Dir = p.Dir
	p.shelf.Pulse = p.Pulse // others list beside us, and do not beat for us
	files, err := p.shelf.List(ctx)
	p.shelf.Pulse = nil
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	now := p.Clock.Time()
	night := p.Policy != Night || p.Night.hold(now)
	type wanted struct {
		footage.File
		class int
	}
	var all []wanted
	sum, n := int64(0), 0
	for _, f := range files {
		if f.Seal == "" || f.Sent {
			continue
		}
		class := p.class(f.Camera, f.From, f.To)
		if class == classNone {
			continue
		}
		sum, n = sum+f.Bytes, n+1
		if time.Now().After(p.later[f.SHA256]) && (class == classSend || night) {
			all = append(all, wanted{f, class})
		}
	}
	slices.SortStableFunc(all, func(a, b wanted) int { return a.class - b.class })
	out := make([]footage.File, len(all))
	for i, w := range all {
		out[i] = w.File
	}
	p.count(func(f *Stats) { f.Wanted, f.WantedBytes = n, sum })
	return out, p.forget(files, now)
}

// forget drops requests that are fulfilled, and waits that are over.
func (p *uploading) forget(files []footage.File, now floorwatch.Time) error {
	for hash, t := range p.later {
		if time.Now().After(t) {
			delete(p.later, hash)
		}
	}
	return p.Claims.remove(func(c claim) bool {
		if c.Kind == claimHold {
			return false
		}
		if now.Sub(c.Made) > claimLife && now.Sub(c.To) > claimLife {
			return true
		}
		open := slices.ContainsFunc(files, func(f footage.File) bool { return f.Seal != "" && !f.Sent && c.covers(f.Camera, f.From, f.To) })
		return !open && now.Sub(c.To) > 2*time.Hour // by then it is sealed
	})
}

// Command does what the cloud asks for: it holds, releases, or sends.
func (u *Uploader) Command(ctx context.Context, c floorwatch.Command) floorwatch.Reply {
	r := floorwatch.Reply{V: floorwatch.Version, ID: c.ID, State: floorwatch.ReplyDone}
	if err := c.Check(); err != nil {
		r.State, r.Reason = floorwatch.ReplyRefused, err.Error()
		return r
	}
	var err error
	now := u.Clock.Time()
	switch c.Do {
	case floorwatch.DoHold:
		err = u.Claims.add(claim{c.Hold, claimHold, c.Camera, c.From, c.To, now})
	case floorwatch.DoRelease:
		err = u.Claims.remove(func(x claim) bool { return x.Kind == claimHold && x.ID == c.Hold })
	case floorwatch.DoSend:
		if u.URL == "" {
			r.State, r.Reason = floorwatch.ReplyRefused, "this box does not upload; set backup.url in its configuration"
			return r
		}
		err = u.send(ctx, c, now, &r)
	default:
		r.State, r.Reason = floorwatch.ReplyRefused, fmt.Sprintf("this box does not do %s", c.Do)
		return r
	}
	if err != nil {
		r.State, r.Reason = floorwatch.ReplyFailed, err.Error()
		r.Objects = nil
	}
	u.kick()
	return r
}

// send queues a span. Whatever the vault has confirmed of it goes again: the
// cloud would not ask if it still had it, and says so at once if it has.
func (u *Uploader) send(ctx context.Context, c floorwatch.Command, now floorwatch.Time, r *floorwatch.Reply) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shelf.Dir = u.Dir
	files, err := u.shelf.List(ctx)
	if err != nil {
		return err
	}
	last := c.From
	var sent []string
	for _, f := range files {
		if f.Seal == "" || f.Camera != c.Camera || f.From >= c.To || f.To <= c.From {
			continue
		}
		if len(r.Objects) == floorwatch.MaxReplyObjects {
			return fmt.Errorf("more than %d pieces; ask for a shorter span", floorwatch.MaxReplyObjects)
		}
		r.Objects, r.Bytes, last = append(r.Objects, f.SHA256), r.Bytes+f.Bytes, max(last, f.To)
		if f.Sent {
			sent = append(sent, filepath.Join(u.Dir, f.Receipt()))
		}
	}
	if last < c.To {
		_, err := os.Lstat(filepath.Join(u.Dir, c.Camera, layout.OpenFile))
		r.Open = err == nil && now < c.To.Add(time.Hour)
	}
	if err := u.Claims.add(claim{c.ID, claimSend, c.Camera, c.From, c.To, now}); err != nil {
		return err
	}
	for _, path := range sent {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("queue footage again: %w", err)
		}
	}
	return nil
}
