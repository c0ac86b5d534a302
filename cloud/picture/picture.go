// Package picture shows what a camera sees, from wherever it is: the newest still
// from its box, and the boxes of the people in a clip from the vault, or from the
// camera's box where the vault has none.
//
//	page ─> api ─> Pictures ─┬─ kept here, by capture time
//	                         ├─ lines over footage <─ vault
//	                         └─ cmd still, lines ─MQTT─> box ─ reply, signed ─┘
//
// Nothing is asked for while nobody looks: there is no loop here and no timer.
package picture

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/command"
	"floorwatch/cloud/site"

	"golang.org/x/sync/singleflight"
)

// Why there is no picture, or none that is newer. Any other error is ours, or says
// that a reply cannot be believed.
var (
	ErrAway     = command.ErrAway // the box is not online, or gives no answer
	ErrOutdated = errors.New("the box's program is too old to send pictures")
	ErrNone     = errors.New("the camera gives no picture")
)

// Boxes carries a command to a box and waits for its reply; command.Commander is one.
type Boxes interface {
	Do(ctx context.Context, store, edge string, c floorwatch.Command) (floorwatch.Reply, error)
}

// Vault has the camera lines that came with footage; vault.Archive is one. What
// lies between lo and hi may lack some.
type Vault interface {
	FramesOf(ctx context.Context, c site.Source, from, to floorwatch.Time) (frames []floorwatch.Frame, lo, hi floorwatch.Time, err error)
}

// Pictures has the pictures of all boxes. Boxes, State, Key and Vault are required.
// Fields are set before use and not changed after.
type Pictures struct {
	Boxes Boxes
	// State returns a box's last word on its presence.
	State func(store, edge string) (floorwatch.State, bool)
	// Key returns the public key of a box that has one. A reply of a box without a
	// key is believed on the broker's word alone.
	Key   func(store, edge string) (ed25519.PublicKey, bool)
	Vault Vault
	Log   *slog.Logger // nil discards

	flight singleflight.Group
	mu     sync.Mutex
	kept   cache
}

const (
	askLife = 6 * time.Second // for an answer
	// expiry is later by far: the box judges it by its own clock.
	expiry     = 10 * time.Minute
	freshFor   = 4 * time.Second // a still; a worker writes one every 5 s
	failureFor = time.Second
	// settled is how long ago lines must have been written to be all there.
	settled = 10 * time.Second
)

// Still returns the newest JPEG of a camera and when it was taken. An error beside
// a picture says why there is no newer one.
func (p *Pictures) Still(ctx context.Context, c site.Source) (jpeg []byte, t floorwatch.Time, err error) {
	e, err := p.get(ctx, "still/"+c.Store+"/"+c.Edge+"/"+c.Camera, func(ctx context.Context, old kept) (kept, error) {
		r, err := p.ask(ctx, c, floorwatch.Command{Do: floorwatch.DoStill, From: old.at})
		if err != nil {
			old.why, old.until = err, time.Now().Add(failureFor)
			return old, ctx.Err()
		}
		e := kept{data: r.Data, at: r.At, until: time.Now().Add(freshFor)}
		if len(r.Data) == 0 { // it has no newer one
			e.data, e.at = old.data, old.at
		}
		if r.Reason != "" {
			e.why = fmt.Errorf("%w: %s", ErrNone, r.Reason)
		}
		return e, nil
	})
	if err != nil {
		return nil, 0, err
	}
	return e.data, e.at, e.why
}

// Lines returns the camera lines of [from, to), at most floorwatch.MaxLinesSpan, in
// order of time. An error beside lines says why some are missing.
func (p *Pictures) Lines(ctx context.Context, c site.Source, from, to floorwatch.Time) ([]floorwatch.Frame, error) {
	frames, lo, hi, err := p.Vault.FramesOf(ctx, c, from, to)
	if err != nil {
		p.tell("lines of "+c.Camera, nil, err)
		return nil, err
	}
	if lo >= hi {
		return frames, nil
	}
	e, err := p.get(ctx, fmt.Sprintf("lines/%s/%s/%s/%d/%d", c.Store, c.Edge, c.Camera, lo, hi), func(ctx context.Context, _ kept) (kept, error) {
		r, err := p.ask(ctx, c, floorwatch.Command{Do: floorwatch.DoLines, From: lo, To: hi})
		if err == nil {
			_, err = floorwatch.UnpackFrames(r.Data)
		}
		if err != nil {
			return kept{why: err, until: time.Now().Add(failureFor)}, ctx.Err()
		}
		e := kept{data: r.Data, until: time.Now().Add(freshFor)}
		if now := time.Now(); hi.Time().Before(now.Add(-settled)) {
			e.until = now.Add(time.Hour)
		}
		return e, nil
	})
	if err != nil || e.why != nil {
		return frames, errors.Join(err, e.why)
	}
	asked, err := floorwatch.UnpackFrames(e.data)
	frames = slices.DeleteFunc(frames, func(f floorwatch.Frame) bool { return f.T >= lo && f.T < hi })
	for _, f := range asked {
		if f.T >= lo && f.T < hi {
			frames = append(frames, f)
		}
	}
	slices.SortStableFunc(frames, func(a, b floorwatch.Frame) int { return cmp.Compare(a.T, b.T) })
	return frames, err
}

// get returns what is kept under key while it is good, and what ask says then. All
// who want the same thing at a time wait for one question. It is asked for the one
// who came first: when that one goes, the next of those who wait asks.
func (p *Pictures) get(ctx context.Context, key string, ask func(ctx context.Context, old kept) (kept, error)) (kept, error) {
	for {
		v, err, shared := p.flight.Do(key, func() (any, error) {
			p.mu.Lock()
			old := p.kept.get(key)
			p.mu.Unlock()
			if time.Now().Before(old.until) {
				return old, nil
			}
			e, err := ask(ctx, old)
			if err != nil {
				return kept{}, err // the one who asked has gone
			}
			p.tell(key, old.why, e.why)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.kept.put(key, e)
			return e, nil
		})
		if err != nil && shared && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return kept{}, err
		}
		return v.(kept), nil
	}
}

// tell logs what an operator has to look into, once.
func (p *Pictures) tell(key string, before, now error) {
	if p.Log == nil || now == nil || errors.Is(now, context.Canceled) || before != nil && before.Error() == now.Error() || errors.Is(now, ErrAway) || errors.Is(now, ErrOutdated) || errors.Is(now, ErrNone) {
		return
	}
	p.Log.Error("a picture cannot be had from its box", "of", key, "error", now)
}

// ask has the box answer one question, and believes only the box.
func (p *Pictures) ask(ctx context.Context, c site.Source, cmd floorwatch.Command) (floorwatch.Reply, error) {
	state, known := p.State(c.Store, c.Edge)
	switch {
	case known && state.State != floorwatch.StateOnline:
		return floorwatch.Reply{}, fmt.Errorf("%w: it is %s", ErrAway, state.State)
	case known && !slices.Contains(state.Does, cmd.Do):
		return floorwatch.Reply{}, fmt.Errorf("%w: it is version %.40q", ErrOutdated, state.Version)
	}
	cmd.V, cmd.ID, cmd.Camera = floorwatch.Version, floorwatch.NewCommandID(), c.Camera
	cmd.Expires = floorwatch.TimeOf(time.Now().Add(expiry))
	asking, cancel := context.WithTimeout(ctx, askLife)
	defer cancel()
	r, err := p.Boxes.Do(asking, c.Store, c.Edge, cmd)
	switch {
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return r, ErrAway
	case err != nil:
		return r, fmt.Errorf("ask box %s of store %s for %s: %w", c.Edge, c.Store, cmd.Do, err)
	case r.State != floorwatch.ReplyDone:
		return r, fmt.Errorf("%w: the box answers %.20q: %.300s", ErrNone, r.State, r.Reason)
	}
	if key, ok := p.Key(c.Store, c.Edge); ok && len(r.Data) > 0 {
		if err := r.CheckSignature(c.Store, c.Edge, key); err != nil {
			return r, fmt.Errorf("the answer of box %s of store %s is not believed: %w", c.Edge, c.Store, err)
		}
	}
	if cmd.Do == floorwatch.DoStill && len(r.Data) > 0 && !bytes.HasPrefix(r.Data, []byte("\xff\xd8\xff")) {
		return r, fmt.Errorf("the answer of box %s of store %s is no JPEG", c.Edge, c.Store)
	}
	return r, nil
}
