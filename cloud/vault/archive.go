package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/site"
	"floorwatch/internal/fmp4"
)

var (
	// ErrNoFootage says that no sealed footage of the span exists.
	ErrNoFootage = fmp4.ErrNoFootage
	// ErrNotHere says that some of the span is still on the box; Fetch brings it.
	ErrNotHere = errors.New("the footage is still on the box")
	// ErrStalled says that a box which agreed to send has stopped sending.
	ErrStalled = errors.New("nothing has come from the box")
	// ErrAltered says that stored bytes are no longer what was sealed.
	ErrAltered = fmp4.ErrAltered
)

// Boxes carries a command to a box and waits for its reply, at most until the
// command expires.
type Boxes interface {
	Do(ctx context.Context, store, edge string, c floorwatch.Command) (floorwatch.Reply, error)
}

// Clips cuts footage from where it lies; ErrNoFootage when nothing is there.
type Clips interface {
	Clip(ctx context.Context, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error)
}

// Archive shows footage from wherever it is: from the vault, or after Fetch has
// brought it from the box. Fields are set before use and not changed after.
type Archive struct {
	Index   *Index
	Objects Objects
	Lines   Objects          // camera lines over footage; nil: there are none
	Own     Clips            // of a box whose folder is on this machine; nil: clips come from the vault
	Boxes   Boxes            // nil: nothing can be fetched, no box is told of holds
	Uploads *Uploads         // for progress within a piece; nil: by whole pieces
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil discards

	once  sync.Once
	woken chan struct{}
}

// Bounds of a fetch.
const (
	commandLife = 30 * time.Second
	fetchLook   = 250 * time.Millisecond
	fetchStall  = 2 * time.Minute // without any progress
	tellEvery   = 30 * time.Second
	tellAgain   = 24 * time.Hour // all holds, for a box that lost its list
)

func (a *Archive) now() floorwatch.Time {
	if a.Now == nil {
		return floorwatch.TimeOf(time.Now())
	}
	return floorwatch.TimeOf(a.Now())
}

func (a *Archive) log() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}

// Segments returns the sealed pieces that overlap [from, to), by their start.
func (a *Archive) Segments(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Segment, error) {
	return a.Index.Segments(ctx, c.Store, c.Edge, c.Camera, from, to)
}

// Holds returns the holds that last and overlap [from, to).
func (a *Archive) Holds(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]Hold, error) {
	all, err := a.Index.Holds(ctx)
	return slices.DeleteFunc(all, func(h Hold) bool {
		return h.Store != c.Store || h.Edge != c.Edge || h.Camera != c.Camera || h.From >= to || h.To <= from
	}), err
}

// span is what the index knows of a span of time.
type span struct {
	here, missing []floorwatch.Segment
}

func (a *Archive) span(ctx context.Context, c site.Source, from, to floorwatch.Time) (span, error) {
	var s span
	if from >= to || to.Sub(from) > fmp4.MaxSpan {
		return s, fmt.Errorf("span of %v, want more than 0 and at most %v", to.Sub(from), fmp4.MaxSpan)
	}
	all, err := a.Segments(ctx, c, from, to)
	if err != nil {
		return s, err
	}
	for _, seg := range all {
		o, err := a.Index.object(ctx, seg.SHA256)
		if err != nil {
			return s, err
		}
		switch o.state {
		case stateHere:
			s.here = append(s.here, seg)
		case "":
			s.missing = append(s.missing, seg)
		}
	}
	return s, nil
}

// Clip cuts [from, to), at most ten minutes, out of what the vault has, as
// footage.Library does on the box. Each fragment is checked against its seal
// before it is taken, and the access is in the log before Clip returns.
// ErrNotHere when the box has some of it still, ErrNoFootage when nothing is
// known of any.
func (a *Archive) Clip(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error) {
	if a.Own != nil {
		return a.ownClip(ctx, who, c, from, to)
	}
	s, err := a.span(ctx, c, from, to)
	if err != nil {
		return fmp4.Clip{}, err
	}
	switch {
	case len(s.missing) > 0:
		return fmp4.Clip{}, fmt.Errorf("%d of %d pieces: %w", len(s.missing), len(s.missing)+len(s.here), ErrNotHere)
	case len(s.here) == 0:
		return fmp4.Clip{}, ErrNoFootage
	}
	err = a.Index.LogAccess(ctx, Access{At: a.now(), Who: string(who), What: DidWatch, Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: from, To: to})
	if err != nil {
		return fmp4.Clip{}, err
	}
	cut := fmp4.Cutter{From: from, To: to}
	for _, seg := range s.here {
		err := a.add(ctx, &cut, seg)
		if errors.Is(err, fmp4.ErrEnd) {
			break
		}
		if err != nil {
			return fmp4.Clip{}, fmt.Errorf("cut clip from %s: %w", seg.SHA256, err)
		}
	}
	return cut.Clip()
}

// ownClip logs who watched before a byte is served, as Clip does.
func (a *Archive) ownClip(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error) {
	k, err := a.Own.Clip(ctx, c, from, to)
	if err != nil {
		return fmp4.Clip{}, err
	}
	return k, a.Index.LogAccess(ctx, Access{
		At: a.now(), Who: string(who), What: DidWatch, Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: k.Start, To: k.End,
	})
}

func (a *Archive) add(ctx context.Context, cut *fmp4.Cutter, seg floorwatch.Segment) error {
	seal, err := floorwatch.ParseSeal([]byte(seg.Seal))
	if err != nil {
		return err
	}
	r, err := a.Objects.Open(ctx, seg.SHA256)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the file is gone from the vault; floorwatch verify lists what is missing", ErrAltered)
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return cut.Add(ctx, r, seg.Start, seal.Fragments)
}

// Fetch has the box send what the vault lacks of the span and returns when it is
// here. Progress, if not nil, hears bytes: of done, never less than before, and
// of all that was asked for. ErrNoFootage says that the box has none of it.
func (a *Archive) Fetch(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time, progress func(done, total int64)) error {
	s, err := a.span(ctx, c, from, to)
	if err != nil {
		return err
	}
	if len(s.missing) == 0 && len(s.here) > 0 {
		return nil
	}
	if a.Boxes == nil {
		return fmt.Errorf("fetch footage: %w, and boxes cannot be asked here", ErrNotHere)
	}
	err = a.Index.LogAccess(ctx, Access{At: a.now(), Who: string(who), What: DidFetch, Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: from, To: to})
	if err != nil {
		return err
	}
	send := floorwatch.Command{V: floorwatch.Version, ID: floorwatch.NewCommandID(), Do: floorwatch.DoSend, Expires: a.now().Add(commandLife), Camera: c.Camera, From: from, To: to}
	r, err := a.do(ctx, c.Store, c.Edge, send)
	if err != nil {
		return err
	}
	for _, seg := range s.missing {
		if !slices.Contains(r.Objects, seg.SHA256) {
			if err := a.Index.putObject(ctx, seg.SHA256, object{seg.Bytes, 0, stateAbsent}); err != nil {
				return err
			}
		}
	}
	if len(r.Objects) == 0 {
		if r.Open {
			return fmt.Errorf("%w yet: it is being recorded, come back in a minute", ErrNoFootage)
		}
		return ErrNoFootage
	}
	return a.await(ctx, c.Store, c.Edge, r, progress)
}

// ErrRefused is what Fetch returns when the box does not do it, and repeating does
// not help.
var ErrRefused = errors.New("the box refuses")

// do sends one command and turns every answer but "done" into an error.
func (a *Archive) do(ctx context.Context, store, edge string, c floorwatch.Command) (floorwatch.Reply, error) {
	r, err := a.Boxes.Do(ctx, store, edge, c)
	if err == nil && r.State != floorwatch.ReplyDone {
		err = fmt.Errorf("the box answers %.20q: %.300s", r.State, r.Reason)
		if r.State == floorwatch.ReplyRefused {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if err != nil {
		return r, fmt.Errorf("ask box %s of store %s to %s footage: %w", edge, store, c.Do, err)
	}
	return r, nil
}

// await looks until all objects of r are here.
func (a *Archive) await(ctx context.Context, store, edge string, r floorwatch.Reply, progress func(done, total int64)) error {
	tick := time.NewTicker(fetchLook)
	defer tick.Stop()
	moved := time.Now()
	for most := int64(-1); ; {
		done, left, err := a.arrived(ctx, store, edge, r.Objects)
		if err != nil {
			return err
		}
		if done = min(done, r.Bytes); done > most {
			if most, moved = done, time.Now(); progress != nil {
				progress(done, r.Bytes)
			}
		}
		if left == 0 {
			return nil
		}
		if time.Since(moved) > fetchStall {
			return fmt.Errorf("fetch footage: %w for %v, %d pieces are left; it goes on when the line or the day's upload budget allows", ErrStalled, fetchStall, left)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// arrived returns the bytes of the objects that are here, and how many are not.
func (a *Archive) arrived(ctx context.Context, store, edge string, hashes []string) (done int64, left int, err error) {
	for _, hash := range hashes {
		o, err := a.Index.object(ctx, hash)
		if err != nil {
			return 0, 0, err
		}
		if o.state == stateHere {
			done += o.bytes
			continue
		}
		left++
		if a.Uploads != nil {
			done += a.Uploads.Have(store, edge, hash)
		}
	}
	return done, left, nil
}

// Hold keeps a span, here at once and on the box as soon as it hears of it, and
// returns the hold's id.
func (a *Archive) Hold(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time, why string) (id string, err error) {
	h := Hold{ID: floorwatch.NewCommandID(), Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: from, To: to, Who: string(who), Why: why, At: a.now()}
	if err := a.Index.PutHold(ctx, h); err != nil {
		return "", err
	}
	a.wake()
	return h.ID, nil
}

// Release ends a hold; one that has ended is success, one that never was is
// ErrNoHold.
func (a *Archive) Release(ctx context.Context, who account.Identity, id string) error {
	if err := a.Index.Release(ctx, id, string(who), a.now()); err != nil {
		return err
	}
	a.wake()
	return nil
}

func (a *Archive) waking() chan struct{} {
	a.once.Do(func() { a.woken = make(chan struct{}, 1) })
	return a.woken
}

func (a *Archive) wake() {
	select {
	case a.waking() <- struct{}{}:
	default:
	}
}

// Run tells boxes of holds and releases until they confirm, and of all holds
// once a day, until ctx ends.
func (a *Archive) Run(ctx context.Context) error {
	if a.Boxes == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	all := time.Now()
	for {
		list := a.Index.untold
		if time.Since(all) > tellAgain {
			all, list = time.Now(), a.Index.Holds
		}
		if err := a.tell(ctx, list); err != nil && ctx.Err() == nil {
			a.log().Warn("a box does not know of a hold yet; it is told again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.waking():
		case <-tick.C:
		}
	}
}

// tell gives each box that answers its list; one that does not answer is asked
// only once.
func (a *Archive) tell(ctx context.Context, list func(context.Context) ([]Hold, error)) error {
	holds, err := list(ctx)
	if err != nil {
		return err
	}
	silent := map[[2]string]error{}
	for _, h := range holds {
		box := [2]string{h.Store, h.Edge}
		if silent[box] != nil {
			continue
		}
		_, err := a.do(ctx, h.Store, h.Edge, h.command(floorwatch.NewCommandID(), a.now().Add(tellEvery/3)))
		if err == nil {
			err = a.Index.told(ctx, h)
		}
		if err != nil {
			silent[box] = err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	var errs []error
	for _, err := range silent {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
