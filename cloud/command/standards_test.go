package command

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/lab/kit"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// hallBoxes are boxes that keep what they are told, or do not.
type hallBoxes struct {
	mu    sync.Mutex
	told  map[string][]floorwatch.Signed // by box, each time
	reply func(edge string) (floorwatch.Reply, error)
}

func (b *hallBoxes) do(_ context.Context, _, edge string, c floorwatch.Command) (floorwatch.Reply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := c.Check(); err != nil {
		return floorwatch.Reply{}, err
	}
	b.told[edge] = append(b.told[edge], *c.Standard)
	return b.reply(edge)
}

func (b *hallBoxes) times(edge string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.told[edge])
}

func TestBoxesAreToldWhatHolds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	db, err := metadata.Open(ctx, filepath.Join(t.TempDir(), "metadata.sqlite"))
	kit.Must(t, err)
	defer func() { _ = db.Close() }()
	halls := "nodes:\n- {id: acme, level: chain}\nhalls:\n- id: h1\n  parent: acme\n  boxes: [{id: good}, {id: old}, {id: silent}, {id: stubborn}, {id: away}]\n"
	_, err = site.Import(ctx, db, "halls.yaml", "yaml", []byte(halls), 1)
	kit.Must(t, err)
	live, err := site.Open(ctx, db, slog.New(slog.DiscardHandler))
	kit.Must(t, err)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	boxes := &hallBoxes{told: map[string][]floorwatch.Signed{}}
	boxes.reply = func(edge string) (floorwatch.Reply, error) {
		switch edge {
		case "silent":
			return floorwatch.Reply{}, errors.New("away")
		case "stubborn":
			return floorwatch.Reply{State: floorwatch.ReplyRefused, Reason: "no key"}, nil
		}
		return floorwatch.Reply{State: floorwatch.ReplyDone}, nil
	}
	var said lines
	s := &Standards{
		Sites: live, DB: db, Key: key, Do: boxes.do, Every: 5 * time.Millisecond, Pause: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&said, nil)),
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); kit.Must(t, <-done) }()
	online := func(edge, keeps string) {
		s.PutState("h1", edge, floorwatch.State{V: 1, State: floorwatch.StateOnline, Standard: &keeps})
	}
	for _, edge := range []string{"good", "silent", "stubborn"} {
		online(edge, "")
	}
	s.PutState("h1", "old", floorwatch.State{V: 1, State: floorwatch.StateOnline}) // knows of no standards
	time.Sleep(50 * time.Millisecond)
	if n := boxes.times("good"); n != 0 {
		t.Errorf("told %d times that nothing is set", n)
	}

	issue := func(within int64) {
		now := floorwatch.TimeOf(time.Now())
		_, err := site.Issue(ctx, db, floorwatch.Standard{Node: "acme", ValidFrom: now, Wait: &floorwatch.Target{WithinS: within, Share: 0.95}}, now, key)
		kit.Must(t, err)
		kit.Must(t, live.Refresh(ctx))
	}
	issue(600)
	kit.Wait(t, "good is told, silent is tried again", func() bool { return boxes.times("good") == 1 && boxes.times("silent") > 2 })
	if n, m := boxes.times("old"), boxes.times("stubborn"); n != 0 || m != 1 {
		t.Errorf("an old box is told %d times, one that refuses %d", n, m)
	}
	first := boxes.told["good"][0]
	if h, err := floorwatch.ParseHallStandard(first, key.Public().(ed25519.PublicKey)); err != nil || h.Store != "h1" || h.Spans[0].Wait.WithinS != 600 {
		t.Errorf("%+v %v", h, err)
	}
	if !strings.Contains(said.String(), "a box refuses its standard") || strings.Count(said.String(), "refuses") != 1 {
		t.Errorf("said:\n%s", said.String())
	}

	// One that comes back with it is left alone; with another, or with none, it is told.
	online("good", first.Hash())
	online("away", first.Hash())
	time.Sleep(50 * time.Millisecond)
	if n, m := boxes.times("good"), boxes.times("away"); n != 1 || m != 0 {
		t.Errorf("told again: %d, %d", n, m)
	}
	s.PutState("h1", "away", floorwatch.State{V: 1, State: floorwatch.StateOffline, Standard: new("")})
	online("good", "")
	kit.Wait(t, "told after it lost it", func() bool { return boxes.times("good") == 2 })
	if again := boxes.told["good"][1]; again != first {
		t.Error("what did not change has other bytes")
	}
	issue(300)
	kit.Wait(t, "told what is new", func() bool { return boxes.times("good") == 3 && boxes.times("stubborn") == 2 })
	if boxes.times("away") != 0 {
		t.Error("a box that is away is told")
	}
	online("away", first.Hash())
	kit.Wait(t, "told when it is back", func() bool { return boxes.times("away") == 1 })
}
