package picture

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"floorwatch"
	"floorwatch/cloud/site"
)

func key(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed)
}

var door = site.Source{Store: "s1", Edge: "box", Camera: "door"}

const jpegHead = "\xff\xd8\xff\xe0"

// box answers as an edge box does, after a moment.
type box struct {
	mu     sync.Mutex
	asked  []floorwatch.Command
	answer func(c floorwatch.Command) floorwatch.Reply // nil: it is silent
	state  *floorwatch.State
	vault  func(from, to floorwatch.Time) ([]floorwatch.Frame, floorwatch.Time, floorwatch.Time)
}

func (b *box) Do(ctx context.Context, _, _ string, c floorwatch.Command) (floorwatch.Reply, error) {
	if err := c.Check(); err != nil {
		return floorwatch.Reply{}, err
	}
	b.mu.Lock()
	b.asked = append(b.asked, c)
	answer := b.answer
	b.mu.Unlock()
	after := time.After(50 * time.Millisecond)
	if answer == nil {
		after = nil
	}
	select {
	case <-after:
		return answer(c), nil
	case <-ctx.Done():
		return floorwatch.Reply{}, ctx.Err()
	}
}

func (b *box) FramesOf(_ context.Context, _ site.Source, from, to floorwatch.Time) (frames []floorwatch.Frame, lo, hi floorwatch.Time, err error) {
	if b.vault == nil {
		return nil, from, to, nil
	}
	frames, lo, hi = b.vault(from, to)
	return frames, lo, hi, nil
}

func (b *box) questions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.asked)
}

func (b *box) say(state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = &floorwatch.State{V: 1, State: state, Does: floorwatch.Commands()}
}

func (b *box) pictures() *Pictures {
	return &Pictures{
		Boxes: b, Vault: b,
		State: func(string, string) (floorwatch.State, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.state == nil {
				return floorwatch.State{}, false
			}
			return *b.state, true
		},
		Key: func(_, edge string) (ed25519.PublicKey, bool) {
			return key(1).Public().(ed25519.PublicKey), edge == "box"
		},
	}
}

// signed is a reply of the box with key 1.
func signed(c floorwatch.Command, at floorwatch.Time, data string) floorwatch.Reply {
	r := floorwatch.Reply{V: 1, ID: c.ID, State: floorwatch.ReplyDone, At: at, Data: []byte(data)}
	r.Sign("s1", "box", key(1))
	return r
}

// TestAThousandViewersAskOnce, and nobody asks when nobody looks.
func TestAThousandViewersAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := floorwatch.Time(0)
		b := &box{answer: func(c floorwatch.Command) floorwatch.Reply { n++; return signed(c, n, jpegHead) }}
		b.say(floorwatch.StateOnline)
		p := b.pictures()
		look := func() {
			var all sync.WaitGroup
			for range 1000 {
				all.Go(func() {
					if jpeg, at, err := p.Still(t.Context(), door); err != nil || string(jpeg) != jpegHead || at == 0 {
						t.Errorf("%q at %d: %v", jpeg, at, err)
					}
				})
			}
			all.Wait()
		}
		look()
		look()
		if got := b.questions(); got != 1 {
			t.Errorf("2000 viewers asked %d times", got)
		}
		time.Sleep(freshFor)
		look()
		if got := b.questions(); got != 2 || b.asked[1].From != 1 {
			t.Errorf("later they asked %d times, the second for what is newer than %d", got, b.asked[1].From)
		}
		time.Sleep(24 * time.Hour) // synctest would see any goroutine that is left
		if got := b.questions(); got != 2 {
			t.Errorf("nobody looked, and %d were asked", got-2)
		}
	})
}

// TestTheLastPictureStays when the box goes, with its time and the reason.
func TestTheLastPictureStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{answer: func(c floorwatch.Command) floorwatch.Reply { return signed(c, 1000, jpegHead) }}
		b.say(floorwatch.StateOnline)
		p := b.pictures()
		want := func(what string, at floorwatch.Time, why error) {
			t.Helper()
			jpeg, got, err := p.Still(t.Context(), door)
			if string(jpeg) != jpegHead || got != at || !errors.Is(err, why) {
				t.Errorf("%s: %q at %d, %v", what, jpeg, got, err)
			}
			time.Sleep(freshFor)
		}
		want("at first", 1000, nil)
		b.say(floorwatch.StateOffline)
		want("offline", 1000, ErrAway)
		asked := b.questions()
		want("offline still", 1000, ErrAway)
		if b.questions() != asked {
			t.Error("a box that is known to be away was asked")
		}
		b.say(floorwatch.StateOnline)
		b.answer = func(c floorwatch.Command) floorwatch.Reply { // the cloud has the newest
			return floorwatch.Reply{V: 1, ID: c.ID, State: floorwatch.ReplyDone, At: 1000}
		}
		want("no newer one", 1000, nil)
		b.answer = func(c floorwatch.Command) floorwatch.Reply {
			return floorwatch.Reply{V: 1, ID: c.ID, State: floorwatch.ReplyDone, At: 1000, Reason: "the camera is dark"}
		}
		want("a dead camera", 1000, ErrNone)
		b.answer = func(c floorwatch.Command) floorwatch.Reply { return signed(c, 9000, jpegHead) }
		want("it is back", 9000, nil)
	})
}

// TestWhyThereIsNoPicture: nothing is shown that its box did not sign, and each
// reason is told apart.
func TestWhyThereIsNoPicture(t *testing.T) {
	other := func(c floorwatch.Command) floorwatch.Reply {
		r := floorwatch.Reply{V: 1, ID: c.ID, State: floorwatch.ReplyDone, At: 1000, Data: []byte(jpegHead)}
		r.Sign("s1", "box", key(2))
		return r
	}
	earlier := signed(floorwatch.Command{ID: strings.Repeat("a", 32)}, 1000, jpegHead)
	for what, c := range map[string]struct {
		state  floorwatch.State
		answer func(floorwatch.Command) floorwatch.Reply
		why    error // nil: none of the known
		asked  int
	}{
		"offline":       {floorwatch.State{State: floorwatch.StateOffline}, other, ErrAway, 0},
		"stopped":       {floorwatch.State{State: floorwatch.StateStopped}, other, ErrAway, 0},
		"a box of old":  {floorwatch.State{State: floorwatch.StateOnline, Version: "0.9"}, other, ErrOutdated, 0},
		"unknown, mute": {floorwatch.State{}, nil, ErrAway, 1},
		"online, mute":  {floorwatch.State{State: floorwatch.StateOnline, Does: floorwatch.Commands()}, nil, ErrAway, 1},
		"refused": {floorwatch.State{}, func(c floorwatch.Command) floorwatch.Reply {
			return floorwatch.Reply{V: 1, ID: c.ID, State: floorwatch.ReplyRefused, Reason: "this box has no camera door"}
		}, ErrNone, 1},
		"signed by another": {floorwatch.State{}, other, nil, 1},
		"not signed": {floorwatch.State{}, func(c floorwatch.Command) floorwatch.Reply {
			return floorwatch.Reply{V: 1, ID: c.ID, State: floorwatch.ReplyDone, At: 1000, Data: []byte(jpegHead)}
		}, nil, 1},
		"of another question": {floorwatch.State{}, func(c floorwatch.Command) floorwatch.Reply { r := earlier; r.ID = c.ID; return r }, nil, 1},
		"no picture":          {floorwatch.State{}, func(c floorwatch.Command) floorwatch.Reply { return signed(c, 1000, "<script>") }, nil, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &box{answer: c.answer}
			if c.state.State != "" {
				b.state = &c.state
			}
			began := time.Now()
			jpeg, at, err := b.pictures().Still(t.Context(), door)
			known := errors.Is(err, ErrAway) || errors.Is(err, ErrOutdated) || errors.Is(err, ErrNone)
			if len(jpeg) > 0 || at != 0 || err == nil || c.why != nil && !errors.Is(err, c.why) || c.why == nil && known {
				t.Errorf("%s: %q at %d: %v", what, jpeg, at, err)
			}
			if got := b.questions(); got != c.asked || time.Since(began) > askLife {
				t.Errorf("%s: asked %d times, it took %s", what, got, time.Since(began))
			}
		})
	}
	b := &box{answer: other} // without a key in the registry the broker's word must do
	p := b.pictures()
	if jpeg, _, err := p.Still(t.Context(), site.Source{Store: "s1", Edge: "keyless", Camera: "door"}); err != nil || len(jpeg) == 0 {
		t.Errorf("a box without a key: %v", err)
	}
}

// TestAViewerWhoLeavesTakesNothingAway: the next of those who wait asks.
func TestAViewerWhoLeavesTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{answer: func(c floorwatch.Command) floorwatch.Reply { return signed(c, 1000, jpegHead) }}
		p := b.pictures()
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var seen atomic.Int32
		all.Go(func() {
			if _, _, err := p.Still(ctx, door); !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() {
				if jpeg, _, err := p.Still(t.Context(), door); err == nil && len(jpeg) > 0 {
					seen.Add(1)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if seen.Load() != 10 || b.questions() != 2 {
			t.Errorf("%d of 10 saw it, %d commands", seen.Load(), b.questions())
		}
	})
}

func frames(from, to floorwatch.Time, id int64) (out []floorwatch.Frame) {
	for at := from; at < to; at += 100 {
		out = append(out, floorwatch.Frame{T: at, W: 9, H: 9, People: []floorwatch.Person{{ID: id, W: 1, H: 1}}})
	}
	return out
}

// TestLinesComeFromTheVaultAndTheBox: the vault's first, the box's for the rest,
// once; and what cannot be had is said beside what can.
func TestLinesComeFromTheVaultAndTheBox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := floorwatch.TimeOf(time.Now().Add(-time.Hour))
		b := &box{vault: func(from, to floorwatch.Time) ([]floorwatch.Frame, floorwatch.Time, floorwatch.Time) {
			return frames(from, from+2000, 1), from + 2000, to
		}}
		b.answer = func(c floorwatch.Command) floorwatch.Reply {
			packed, err := floorwatch.PackFrames(frames(c.From-500, c.To+500, 2), floorwatch.MaxReplyData)
			if err != nil {
				t.Error(err)
			}
			return signed(c, 0, string(packed))
		}
		p := b.pictures()
		for range 3 {
			got, err := p.Lines(t.Context(), door, from, from+5000)
			if err != nil || len(got) != 50 || got[19].People[0].ID != 1 || got[20].People[0].ID != 2 || got[49].T != from+4900 {
				t.Fatalf("%d lines: %v", len(got), err)
			}
			time.Sleep(10 * time.Minute)
		}
		if b.questions() != 1 || b.asked[0].From != from+2000 || b.asked[0].To != from+5000 {
			t.Errorf("asked: %+v", b.asked)
		}
		b.say(floorwatch.StateOffline)
		if got, err := p.Lines(t.Context(), door, from+100, from+5000); !errors.Is(err, ErrAway) || len(got) != 20 {
			t.Errorf("without the box: %d lines, %v", len(got), err)
		}
		b.say(floorwatch.StateOnline)
		b.answer = func(c floorwatch.Command) floorwatch.Reply { return signed(c, 0, "rubbish") }
		time.Sleep(failureFor)
		if got, err := p.Lines(t.Context(), door, from+100, from+5000); err == nil || errors.Is(err, ErrAway) || len(got) != 20 {
			t.Errorf("rubbish: %d lines, %v", len(got), err)
		}
		b.vault = func(from, to floorwatch.Time) ([]floorwatch.Frame, floorwatch.Time, floorwatch.Time) {
			return frames(from, to, 1), 0, 0
		}
		asked := b.questions()
		if got, err := p.Lines(t.Context(), door, from, from+5000); err != nil || len(got) != 50 || b.questions() != asked {
			t.Errorf("all is in the vault: %d lines, %v", len(got), err)
		}
	})
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	var c cache
	data := make([]byte, floorwatch.MaxReplyData)
	for i := range 1000 {
		c.put(fmt.Sprint(i), kept{data: data})
		c.get("0") // somebody looks at this one
	}
	if c.bytes > maxKept || len(c.byKey) != c.order.Len() || c.bytes != c.order.Len()*(len(data)+overhead) {
		t.Errorf("%d bytes of %d answers, %d in the list", c.bytes, len(c.byKey), c.order.Len())
	}
	if c.get("0").data == nil || c.get("999").data == nil || c.get("500").data != nil {
		t.Error("it is not the one that was looked at longest ago that goes")
	}
	c.put("0", kept{})
	if c.bytes > maxKept || c.get("0").data != nil {
		t.Error("the newer answer does not take the place of the older")
	}
}
