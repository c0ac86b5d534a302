package floorwatch

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the test vectors anew")

func vectorKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func sampleSeal(kind string) Seal {
	s := Seal{
		Kind: kind, Store: "s1", Edge: "box", Camera: "door", Chain: "00112233aabbccdd", Seq: 42, Prev: hashOf("prev"),
		At: 1763755262000, Start: 1763755200123, End: 1763755202163, Synced: true,
		Boot: "00112233445566778899aabbccddeeff", MonoStart: 5000, MonoEnd: 7040,
	}
	switch kind {
	case SealSegment:
		s.File, s.Codec, s.Length, s.SHA256 = "00000042.mp4", "avc1.64001f", 2781, hashOf("whole")
		s.Fragments = []Fragment{
			{781, 0, 0, hashOf("init")},
			{1000, 0, 1000, hashOf("one")},
			{1000, 1000, 1040, hashOf("two")},
		}
	case SealGap:
		s.Cause = "camera stalled"
	case SealDeleted:
		s.Cause, s.Gone = "older than the retention", []string{hashOf("a"), hashOf("b")}
	}
	return s
}

// vectors returns the test vectors by file name.
func vectors(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	sign := func(s Seal) []byte {
		raw, err := SignSeal(s, vectorKey())
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, kind := range []string{SealSegment, SealGap, SealDeleted} {
		out["good-"+kind] = sign(sampleSeal(kind))
	}
	first := sampleSeal(SealGap)
	first.Prev, first.Seq, first.Synced, first.MonoStart, first.MonoEnd = "", 1, false, 0, 0
	out["good-first"] = sign(first)
	lost := sampleSeal(SealSegment)
	lost.Lost, lost.Partial = true, true
	out["good-lost-partial"] = sign(lost)

	good := string(out["good-segment"])
	// Those of FORM are signed rightly after the change: only the form is wrong.
	form := func(name, old, new string) {
		body, _, _ := strings.Cut(strings.Replace(good, old, new, 1), "sig ")
		if strings.Replace(good, old, new, 1) == good {
			t.Fatalf("vector %s changes nothing", name)
		}
		out["bad-FORM-"+name] = []byte(body + "sig " + hex.EncodeToString(ed25519.Sign(vectorKey(), []byte(body))) + "\n")
	}
	form("version", "seal v1", "seal v2")
	form("kind", "kind segment", "kind picture")
	form("order", "store s1\nedge box\n", "edge box\nstore s1\n")
	form("twice", "store s1\n", "store s1\nstore s1\n")
	form("missing", "codec avc1.64001f\n", "")
	form("two-spaces", "seq 42", "seq  42")
	form("space-at-end", "seq 42", "seq 42 ")
	form("tab", "seq 42", "seq\t42")
	form("leading-zero", "seq 42", "seq 042")
	form("plus", "seq 42", "seq +42")
	form("minus-zero", "mono 5000", "mono -0")
	form("seq-zero", "seq 42", "seq 0")
	form("huge-number", "seq 42", "seq 18446744073709551658")
	form("upper-hex", hashOf("one"), strings.ToUpper(hashOf("one")))
	form("short-hash", hashOf("one"), hashOf("one")[1:])
	form("crlf", "seq 42\n", "seq 42\r\n")
	form("empty-line", "seq 42\n", "seq 42\n\n")
	form("name", "camera door", "camera Door")
	form("path", "file 00000042.mp4", "file ../00000042.mp4")
	form("clock", "clock synced", "clock maybe")
	form("span-empty", "span 1763755200123 1763755202163", "span 1763755202163 1763755202163")
	form("year-2300", "at 1763755262000", "at 10413792000000")
	form("mono-back", "mono 5000 7040", "mono 7040 5000")
	form("prev-word", "prev "+hashOf("prev"), "prev nothing")
	form("lost-none", "prev "+hashOf("prev"), "prev lost none")
	form("fragment-more", "fragments 3", "fragments 2")
	form("fragment-none", "fragments 3", "fragments 0")
	form("fragment-many", "fragments 3", "fragments 1501")
	form("fragment-length", "fragment 1000 1000", "fragment 999 1000")
	form("fragment-hole", "fragment 1000 1000 1040", "fragment 1000 1010 1030")
	form("fragment-duration", "fragment 1000 1000 1040", "fragment 1000 1000 1041")
	form("init-lasts", "fragment 781 0 0", "fragment 781 0 5")
	form("fifth-number", "fragment 781 0 0 ", "fragment 781 0 0 0 ")
	form("key-short", "key "+hex.EncodeToString(vectorKey().Public().(ed25519.PublicKey))[:2], "key ")
	out["bad-FORM-no-final-newline"] = []byte(good[:len(good)-1])
	out["bad-FORM-trailing-newline"] = []byte(good + "\n")
	out["bad-FORM-trailing-seal"] = []byte(good + good)
	out["bad-FORM-empty"] = []byte{}
	out["bad-FORM-no-signature"] = []byte(good[:strings.Index(good, "sig ")])
	out["bad-FORM-upper-signature"] = []byte(good[:strings.Index(good, "sig ")+4] + strings.ToUpper(good[strings.Index(good, "sig ")+4:]))
	out["bad-SIGNATURE-store"] = []byte(strings.Replace(good, "store s1", "store s2", 1))
	out["bad-SIGNATURE-hash"] = []byte(strings.Replace(good, hashOf("one"), hashOf("two"), 1))
	out["bad-SIGNATURE-zero"] = []byte(good[:strings.Index(good, "sig ")] + "sig " + strings.Repeat("0", 128) + "\n")
	_, other, _ := ed25519.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	body := good[:strings.Index(good, "sig ")]
	out["bad-SIGNATURE-other-key"] = []byte(body + "sig " + hex.EncodeToString(ed25519.Sign(other, []byte(body))) + "\n")
	return out
}

func TestSealVectors(t *testing.T) {
	want := vectors(t)
	if *update {
		for name, raw := range want {
			if err := os.WriteFile(filepath.Join("testdata", "seal-"+name+".seal"), raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	paths, err := filepath.Glob("testdata/seal-*.seal")
	if err != nil || len(paths) != len(want) {
		t.Fatalf("%d vectors on disk, %d here: %v", len(paths), len(want), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "seal-"), ".seal")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(raw, want[name]) {
			t.Errorf("%s: the format wrote other bytes than it did", name)
		}
		s, err := ParseSeal(raw)
		switch {
		case strings.HasPrefix(name, "good-"):
			if again, signErr := SignSeal(s, vectorKey()); err != nil || signErr != nil || !bytes.Equal(again, raw) {
				t.Errorf("%s: %v, %v, or not the same bytes again", name, err, signErr)
			}
		case strings.HasPrefix(name, "bad-FORM-") && !errors.Is(err, ErrSealForm),
			strings.HasPrefix(name, "bad-SIGNATURE-") && !errors.Is(err, ErrSealSignature):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealRefusesEveryFlippedBit(t *testing.T) {
	raw := vectors(t)["good-segment"]
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if _, err := ParseSeal(bad); err == nil {
				t.Fatalf("bit %d of byte %d may change", bit, i)
			}
		}
	}
}

func TestLargestSealFitsARecord(t *testing.T) {
	s := sampleSeal(SealSegment)
	s.Fragments = []Fragment{{1, 0, 0, hashOf("x")}}
	s.Length = 1
	for i := range MaxSealFragments - 1 {
		s.Fragments = append(s.Fragments, Fragment{33554432, int64(i) * 3600000, 3600000, hashOf("x")})
		s.Length += 33554432
	}
	s.End = s.Start + Time(MaxSealFragments-1)*3600000
	raw, err := SignSeal(s, vectorKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MarshalRecord(&Segment{Header: Header{Kind: KindSegment}, Seal: string(raw)}); err != nil {
		t.Error(err)
	}
	s.Fragments = append(s.Fragments, s.Fragments[1])
	if _, err := SignSeal(s, vectorKey()); err == nil {
		t.Error("one fragment too many was sealed")
	}
	s = sampleSeal(SealDeleted)
	for range MaxSealGone - len(s.Gone) {
		s.Gone = append(s.Gone, hashOf("g"))
	}
	if raw, err = SignSeal(s, vectorKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSeal(raw); err != nil {
		t.Error(err)
	}
}

func FuzzParseSeal(f *testing.F) {
	paths, _ := filepath.Glob("testdata/seal-*.seal")
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSeal(raw)
		if err != nil {
			if !errors.Is(err, ErrSealForm) && !errors.Is(err, ErrSealSignature) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if !bytes.HasPrefix(raw, s.encode()) {
			t.Fatal("read and written differ")
		}
	})
}
