package vault

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"floorwatch"
)

const t0 = floorwatch.Time(1763755200000)

// segment returns a sealed minute of footage, the nth of its chain.
func segment(t *testing.T, n int) floorwatch.Segment {
	t.Helper()
	sum := sha256.Sum256(fmt.Append(nil, n))
	hash := hex.EncodeToString(sum[:])
	start := t0 + floorwatch.Time(n)*60_000
	seal := floorwatch.Seal{
		Kind: floorwatch.SealSegment, Store: "s1", Edge: "box", Camera: "hall", Chain: "00112233aabbccdd", Seq: uint64(n),
		At: start + 60_000, Start: start, End: start + 60_000, Synced: true, Boot: strings.Repeat("0a", 16),
		MonoStart: 1000, MonoEnd: 61_000,
		File: fmt.Sprintf("%08d.mp4", n), Codec: "avc1.64001f", Length: 1000, SHA256: hash,
		Fragments: []floorwatch.Fragment{
			{Length: 100, SHA256: hash}, {Length: 900, Duration: 60_000, SHA256: hash},
		},
	}
	if n > 1 {
		seal.Prev = hash
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	raw, err := floorwatch.SignSeal(seal, key)
	if err != nil {
		t.Fatal(err)
	}
	return floorwatch.Segment{
		Header: floorwatch.Header{Kind: floorwatch.KindSegment, Camera: "hall", At: seal.At},
		File:   seal.File, Chain: seal.Chain, Seq: seal.Seq, Start: seal.Start, End: seal.End,
		Bytes: seal.Length, SHA256: hash, Seal: string(raw),
	}
}

func open(t *testing.T, path string) *Index {
	t.Helper()
	x, err := OpenIndex(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func TestIndexKeepsSegments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder?#%", "index.db")
	x, ctx := open(t, path), t.Context()
	var all []floorwatch.Segment
	for _, n := range []int{3, 1, 2} {
		for range 2 { // the same twice is success
			if err := x.PutSegment(ctx, "s1", "box", segment(t, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 1; n <= 3; n++ {
		all = append(all, segment(t, n))
	}
	_ = x.Close()
	x = open(t, path)
	for _, c := range []struct {
		from, to floorwatch.Time
		want     []floorwatch.Segment
	}{
		{0, 1 << 50, all},
		{t0 + 120_000, t0 + 180_000, all[1:2]}, // half-open on both sides
		{t0 + 119_999, t0 + 180_001, all},
		{0, t0 + 60_000, nil},
	} {
		got, err := x.Segments(ctx, "s1", "box", "hall", c.from, c.to)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("[%d, %d): %d pieces (%v), want %d, unchanged", c.from, c.to, len(got), err, len(c.want))
		}
	}
	if got, err := x.Segments(ctx, "s2", "box", "hall", 0, 1<<50); err != nil || got != nil {
		t.Errorf("another store: %v %v, want nothing", got, err)
	}
}

func TestIndexRefuses(t *testing.T) {
	x, ctx := open(t, filepath.Join(t.TempDir(), "index.db")), t.Context()
	if err := x.PutSegment(ctx, "s1", "box", segment(t, 1)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*floorwatch.Segment){
		"no seal":        func(s *floorwatch.Segment) { s.Seal = "" },
		"changed seal":   func(s *floorwatch.Segment) { s.Seal = strings.Replace(s.Seal, "hall", "hell", 1) },
		"other bytes":    func(s *floorwatch.Segment) { s.Bytes++ },
		"other hash":     func(s *floorwatch.Segment) { s.SHA256 = strings.Repeat("0", 64) },
		"other start":    func(s *floorwatch.Segment) { s.Start-- },
		"other end":      func(s *floorwatch.Segment) { s.End++ },
		"other camera":   func(s *floorwatch.Segment) { s.Camera = "yard" },
		"other chain":    func(s *floorwatch.Segment) { s.Chain = "ffffffffffffffff" },
		"other number":   func(s *floorwatch.Segment) { s.Seq = 9 },
		"other file":     func(s *floorwatch.Segment) { s.File = "9.mp4" },
		"second version": func(s *floorwatch.Segment) { *s = second(t, *s) },
	} {
		s := segment(t, 1)
		change(&s)
		err := x.PutSegment(ctx, "s1", "box", s)
		var refused interface{ Refused() bool }
		if !errors.As(err, &refused) || !refused.Refused() {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if err := x.PutSegment(ctx, "s2", "box", segment(t, 1)); err == nil {
		t.Error("a seal of store s1 was taken for store s2")
	}
	got, err := x.Segments(ctx, "s1", "box", "hall", 0, 1<<50)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], segment(t, 1)) {
		t.Errorf("after the refusals the index holds %d pieces (%v), want the first alone", len(got), err)
	}
}

// second is a validly signed other story about the same place of the chain.
func second(t *testing.T, s floorwatch.Segment) floorwatch.Segment {
	t.Helper()
	seal, err := floorwatch.ParseSeal([]byte(s.Seal))
	if err != nil {
		t.Fatal(err)
	}
	seal.At++
	raw, err := floorwatch.SignSeal(seal, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	s.Seal = string(raw)
	return s
}
