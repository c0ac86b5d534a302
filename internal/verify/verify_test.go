package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
)

func boxKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// shelf writes sealed footage of one camera. Its bytes are noise: verify looks
// at hashes, not into pictures.
type shelf struct {
	t           *testing.T
	dir, camera string
	seq         uint64
	prev        string
	at          floorwatch.Time
	noise       *rand.Rand
}

const shelfStart = 1763755200000

func newShelf(t *testing.T, root, camera string) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: filepath.Join(root, camera, "2025-11-21"), camera: camera, at: shelfStart, noise: rand.New(rand.NewPCG(1, uint64(camera[0])))}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// put seals x with the next place in the chain.
func (s *shelf) put(x floorwatch.Seal, ms floorwatch.Time) {
	s.t.Helper()
	s.seq++
	x.Store, x.Edge, x.Camera, x.Chain, x.Seq, x.Prev = "s1", "box", s.camera, "00112233aabbccdd", s.seq, s.prev
	x.Boot = strings.Repeat("0", 32)
	if x.Start == 0 {
		x.Start, x.End = s.at, s.at+ms
		s.at = x.End
	}
	x.At = s.at
	if x.Kind == floorwatch.SealSegment {
		x.File = fmt.Sprintf("%08d.mp4", s.seq)
	}
	raw, err := floorwatch.SignSeal(x, boxKey(1))
	if err != nil {
		s.t.Fatal(err)
	}
	s.prev = floorwatch.SealHash(raw)
	s.write(fmt.Sprintf("%08d.seal", s.seq), raw)
}

func (s *shelf) write(name string, b []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), b, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

const perFragment = 200 // bytes

// segment adds a file of an init segment and n fragments of a second.
func (s *shelf) segment(n int) {
	var whole []byte
	x := floorwatch.Seal{Kind: floorwatch.SealSegment, Codec: "avc1.64001f", Synced: true}
	for i := range n + 1 {
		part := make([]byte, perFragment)
		for j := range part {
			part[j] = byte(s.noise.Uint32())
		}
		sum := sha256.Sum256(part)
		x.Fragments = append(x.Fragments, floorwatch.Fragment{
			Length: perFragment, Offset: int64(max(0, i-1)) * 1000, Duration: int64(min(i, 1)) * 1000, SHA256: hex.EncodeToString(sum[:]),
		})
		whole = append(whole, part...)
	}
	sum := sha256.Sum256(whole)
	x.Length, x.SHA256 = int64(len(whole)), hex.EncodeToString(sum[:])
	s.write(fmt.Sprintf("%08d.mp4", s.seq+1), whole)
	s.put(x, floorwatch.Time(n)*1000)
}

// makeFootage fills root with two cameras: files 1 2 4 5, a gap 3; file 1 of
// "door" was deleted by 6.
func makeFootage(t *testing.T, root string) {
	t.Helper()
	for _, camera := range []string{"door", "hall"} {
		s := newShelf(t, root, camera)
		s.segment(4)
		gone := s.prev
		s.segment(4)
		s.put(floorwatch.Seal{Kind: floorwatch.SealGap, Cause: "camera stalled"}, 7000)
		s.segment(4)
		s.segment(3)
		if camera == "door" {
			s.put(floorwatch.Seal{Kind: floorwatch.SealDeleted, Cause: "older than the retention", Gone: []string{gone}, Start: shelfStart, End: shelfStart + 4000}, 0)
			if err := os.Remove(filepath.Join(s.dir, "00000001.mp4")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// check checks a folder, or one file, with the box's key pinned.
func check(t *testing.T, path string) Report {
	t.Helper()
	return checkWith(t, Verifier{Key: public(1)}, path)
}

func checkWith(t *testing.T, v Verifier, path string) Report {
	t.Helper()
	of := v.Folder
	if filepath.Ext(path) == ".mp4" {
		of = v.File
	}
	r, err := of(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func public(n byte) ed25519.PublicKey { return boxKey(n).Public().(ed25519.PublicKey) }

func TestSoundFolder(t *testing.T) {
	dir := t.TempDir()
	makeFootage(t, dir)
	r := check(t, dir)
	if !r.Sound || !r.Pinned || len(r.Cameras) != 2 || len(r.Notes) != 0 {
		t.Fatalf("%+v", r)
	}
	door := r.Cameras[0]
	if door.Segments != 4 || door.StoredS != 11 || door.DeletedS != 4 || door.GapS != 7 || door.UnexplainedS != 0 || door.To-door.From != 22000 {
		t.Errorf("%+v", door)
	}
	if r := checkWith(t, Verifier{Key: public(1), Head: door.LastSeal}, dir); !r.Sound {
		t.Errorf("its own head: %v", r.Faults)
	}
	if r := check(t, filepath.Join(dir, "door", "2025-11-21", "00000002.mp4")); !r.Sound {
		t.Errorf("one file: %v", r.Faults)
	}
	if r := checkWith(t, Verifier{}, dir); !r.Sound || r.Pinned || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "NOT PINNED") {
		t.Errorf("without a key: %+v", r)
	}
}

// TestFindsEveryChange flips one byte of each fragment and of each line of
// a seal: all are found, media to its fragment.
func TestFindsEveryChange(t *testing.T) {
	dir := t.TempDir()
	makeFootage(t, dir)
	day := filepath.Join(dir, "door", "2025-11-21")
	film := filepath.Join(day, "00000002.mp4")
	for i := range 5 * perFragment {
		if i%7 != 0 {
			continue
		}
		flip(t, film, i)
		r := check(t, dir)
		if r.Sound || len(r.Faults) != 1 {
			t.Fatalf("byte %d: %+v", i, r.Faults)
		}
		f, k := r.Faults[0], i/perFragment
		from, to := floorwatch.Time(shelfStart+4000+1000*(k-1)), floorwatch.Time(shelfStart+4000+1000*k)
		if k == 0 {
			from, to = shelfStart+4000, shelfStart+8000
		}
		if f.From != from || f.To != to || f.Path != "door/2025-11-21/00000002.mp4" {
			t.Fatalf("byte %d of fragment %d: %v", i, k, f)
		}
		flip(t, film, i)
	}
	seal := filepath.Join(day, "00000002.seal")
	st, err := os.Stat(seal)
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(0); i < st.Size(); i += 11 {
		flip(t, seal, int(i))
		if check(t, dir).Sound {
			t.Fatalf("byte %d of a seal may change", i)
		}
		flip(t, seal, int(i))
	}
	if r := check(t, dir); !r.Sound {
		t.Fatalf("put right again: %v", r.Faults)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x20
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindsWhatWasMoved(t *testing.T) {
	at := func(dir, name string) string {
		camera, file, _ := strings.Cut(name, "/")
		return filepath.Join(dir, camera, "2025-11-21", file)
	}
	move := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Rename(at(dir, from), at(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, n := range names {
				if err := os.Remove(at(dir, n)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	copyTo := func(from string, to ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(at(dir, from))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range to {
				if err := os.WriteFile(at(dir, n), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cut := func(name string, n int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Truncate(at(dir, name), n); err != nil {
				t.Fatal(err)
			}
		}
	}
	both := func(a, b func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, string)
		want   string // in some fault
	}{
		{"file deleted", remove("door/00000002.mp4"), "missing and no deletion names it"},
		{"file and seal deleted", remove("door/00000002.mp4", "door/00000002.seal"), "seals 2 to 2 are missing"},
		{"seal deleted", remove("door/00000002.seal"), "has no seal"},
		{"gap deleted", remove("door/00000003.seal"), "seals 3 to 3 are missing"},
		{"deletion deleted", remove("door/00000006.seal"), "missing and no deletion names it"},
		{"oldest deleted", remove("door/00000001.seal"), "earlier seals are missing"},
		{"all seals stripped", func(t *testing.T, dir string) {
			paths, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*.seal"))
			for _, p := range paths {
				if err := os.Remove(p); err != nil {
					t.Fatal(err)
				}
			}
		}, "nothing here is proven"},
		{"files swapped", both(move("door/00000002.mp4", "door/x.tmp"), both(move("door/00000004.mp4", "door/00000002.mp4"), move("door/x.tmp", "door/00000004.mp4"))), "holds the footage that belongs in door/2025-11-21/00000004.mp4"},
		{"file repeated in place of another", copyTo("door/00000002.mp4", "door/00000004.mp4"), "holds the footage that belongs in door/2025-11-21/00000002.mp4"},
		{"file repeated", copyTo("door/00000002.mp4", "door/00000009.mp4"), "repeats door/2025-11-21/00000002.mp4"},
		{"file and seal repeated", both(copyTo("door/00000002.mp4", "door/00000009.mp4"), copyTo("door/00000002.seal", "door/00000009.seal")), "comes twice"},
		{"file of the other camera", copyTo("hall/00000002.mp4", "door/00000002.mp4"), "holds the footage that belongs in hall/2025-11-21/00000002.mp4"},
		{"file and seal of the other camera", both(copyTo("hall/00000002.mp4", "door/00000002.mp4"), copyTo("hall/00000002.seal", "door/00000002.seal")), "comes twice"},
		{"strange file", copyTo("door/00000001.seal", "door/00000008.mp4"), "has no seal"},
		{"strange seal", copyTo("door/00000002.mp4", "door/00000008.seal"), "not a canonical seal"},
		{"tail cut", cut("door/00000005.mp4", 3*perFragment+10), "cut off in fragment 3"},
		{"tail cut at a border", cut("door/00000005.mp4", 3*perFragment), "cut off in fragment 3"},
		{"emptied", cut("door/00000005.mp4", 0), "cut off in fragment 0"},
		{"bytes added", cut("door/00000005.mp4", 4*perFragment+1), "1 bytes were added"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			makeFootage(t, dir)
			c.change(t, dir)
			r := check(t, dir)
			if r.Sound {
				t.Fatal("not found")
			}
			if s := fmt.Sprint(r.Faults); !strings.Contains(s, c.want) {
				t.Errorf("no %q in %s", c.want, s)
			}
		})
	}
}

func TestFindsForgedChains(t *testing.T) {
	dir := t.TempDir()
	makeFootage(t, dir)
	if checkWith(t, Verifier{Key: public(2)}, dir).Sound {
		t.Error("another key")
	}
	if checkWith(t, Verifier{Key: public(1), Head: strings.Repeat("ab", 32)}, dir).Sound {
		t.Error("another head")
	}
	// A hole in time that the box itself signed, and a seal put in by its key.
	for name, build := range map[string]func(*shelf){
		"neither footage nor gap": func(s *shelf) { s.segment(2); s.at += 1500; s.segment(2) },
		"add up to": func(s *shelf) {
			for range 9 {
				s.segment(1)
				s.at += 900
			}
			s.segment(1)
		},
		"before the end of": func(s *shelf) { s.segment(2); s.at -= 600; s.segment(2) },
		"does not follow":   func(s *shelf) { s.segment(2); s.prev = strings.Repeat("00", 32); s.segment(2) },
		"whose seal is not here": func(s *shelf) {
			s.segment(2)
			s.put(floorwatch.Seal{Kind: floorwatch.SealDeleted, Cause: "age", Gone: []string{strings.Repeat("00", 32)}, Start: 5, End: 6}, 0)
		},
	} {
		dir := t.TempDir()
		build(newShelf(t, dir, "door"))
		if r := check(t, dir); !strings.Contains(fmt.Sprint(r.Faults), name) {
			t.Errorf("%s: %v", name, r.Faults)
		}
	}
}

func TestNothingIsNotSound(t *testing.T) {
	dir := t.TempDir()
	if _, err := (Verifier{}).Folder(t.Context(), filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent folder was checked")
	}
	if check(t, dir).Sound {
		t.Error("an empty folder is sound")
	}
}
