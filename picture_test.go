package floorwatch

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// TestSignedReplyIsGoodForItsQuestion: whatever else is made of it is refused.
func TestSignedReplyIsGoodForItsQuestion(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	good := Reply{V: 1, ID: NewCommandID(), State: ReplyDone, At: 1000, Data: []byte("a picture")}
	good.Sign("s1", "box", key)
	pub := key.Public().(ed25519.PublicKey)
	if err := good.CheckSignature("s1", "box", pub); err != nil {
		t.Fatal(err)
	}
	for what, forge := range map[string]func(r *Reply) (store, edge string, key ed25519.PublicKey){
		"another box's name": func(*Reply) (string, string, ed25519.PublicKey) { return "s1", "other", pub },
		"another store's":    func(*Reply) (string, string, ed25519.PublicKey) { return "s2", "box", pub },
		"another box's key": func(*Reply) (string, string, ed25519.PublicKey) {
			return "s1", "box", other.Public().(ed25519.PublicKey)
		},
		"another question": func(r *Reply) (string, string, ed25519.PublicKey) { r.ID = NewCommandID(); return "s1", "box", pub },
		"another time":     func(r *Reply) (string, string, ed25519.PublicKey) { r.At++; return "s1", "box", pub },
		"another picture": func(r *Reply) (string, string, ed25519.PublicKey) {
			r.Data = []byte("b picture")
			return "s1", "box", pub
		},
		"signed by another": func(r *Reply) (string, string, ed25519.PublicKey) {
			r.Sign("s1", "box", other)
			return "s1", "box", pub
		},
		"not signed": func(r *Reply) (string, string, ed25519.PublicKey) { r.Signature = ""; return "s1", "box", pub },
		"signed with nothing": func(r *Reply) (string, string, ed25519.PublicKey) {
			r.Signature = strings.Repeat("0", 128)
			return "s1", "box", pub
		},
		"no key": func(*Reply) (string, string, ed25519.PublicKey) { return "s1", "box", nil },
	} {
		r := good
		store, edge, with := forge(&r)
		if r.CheckSignature(store, edge, with) == nil {
			t.Errorf("%s: it is believed", what)
		}
	}
}

// crowd is n frames of people who are everywhere, with an event at either end.
func crowd(n, people int) []Frame {
	all := []Frame{{T: 1000, W: 1920, H: 1080, Event: EventOpen, By: "motion"}}
	for i := range n {
		f := Frame{T: Time(1100 + 100*i), N: int64(i + 1), W: 1920, H: 1080, People: []Person{}}
		for id := range people {
			f.People = append(f.People, Person{ID: int64(id), X: rand.Float64() * 1800, Y: rand.Float64() * 1000, W: 50, H: 120, Score: 0.9})
		}
		all = append(all, f)
	}
	return append(all, Frame{T: Time(1100 + 100*n), Event: EventClosed, Cause: "end"})
}

func TestLinesArePacked(t *testing.T) {
	few := crowd(50, 3)
	b, err := PackFrames(few, MaxReplyData)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := UnpackFrames(b); err != nil || !reflect.DeepEqual(got, few) {
		t.Errorf("what comes out is not what went in: %v", err)
	}
	if got, err := UnpackFrames(nil); err == nil {
		t.Errorf("nothing is unpacked to %v", got)
	}
	none, err := PackFrames(nil, MaxReplyData)
	if got, unpackErr := UnpackFrames(none); err != nil || unpackErr != nil || len(got) != 0 {
		t.Errorf("no lines: %v %v %v", got, err, unpackErr)
	}
	many := crowd(600, 40)
	b, err = PackFrames(many, MaxReplyData)
	if err != nil || len(b) > MaxReplyData {
		t.Fatalf("%d bytes, limit %d: %v", len(b), MaxReplyData, err)
	}
	got, err := UnpackFrames(b)
	if err != nil || len(got) < 50 || got[0].Event != EventOpen || got[len(got)-1].Event != EventClosed {
		t.Fatalf("%d of %d lines are left: %v", len(got), len(many), err)
	}
	far := Time(0)
	for i, f := range got[2 : len(got)-1] {
		far = max(far, f.T-got[i+1].T)
	}
	t.Logf("%d lines of %d people: %d go into %d bytes, %d ms apart", len(many), 40, len(got), len(b), far)
	// Whoever stands still packs well, and is unpacked all the same.
	idle := crowd(1, 900)
	for i := range 400 {
		f := idle[1]
		f.T += Time(100 * i)
		idle = append(idle, f)
	}
	b, err = PackFrames(idle, 1<<20)
	if got, unpackErr := UnpackFrames(b); err != nil || unpackErr != nil || len(got) < 20 {
		t.Errorf("an idle crowd: %d lines of %d in %d bytes: %v %v", len(got), len(idle), len(b), err, unpackErr)
	}
	if _, err := PackFrames(crowd(1, 40), 10); err == nil {
		t.Error("a line fits into 10 bytes")
	}
}

func TestPackedLinesAreNotBelievedBlindly(t *testing.T) {
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
		return out.Bytes()
	}
	line := []byte(`{"t":1,"people":[]}` + "\n")
	for what, b := range map[string][]byte{
		"no gzip":       line,
		"no lines":      zip([]byte("rubbish\n")),
		"cut off":       zip(line)[:20],
		"a long line":   zip(bytes.Repeat([]byte("x"), MaxLine+2)),
		"many lines":    zip(bytes.Repeat(line, maxPackedLines+1)),
		"many bytes":    zip(bytes.Repeat([]byte(`{"t":1,"people":[],"pad":"`+strings.Repeat("x", 200_000)+`"}`+"\n"), maxUnpacked/200_000+2)),
		"an odd person": zip([]byte(`{"t":1,"people":[{"id":1,"x":0,"y":0,"w":-5,"h":1}]}`)),
	} {
		if got, err := UnpackFrames(b); err == nil {
			t.Errorf("%s: %d lines", what, len(got))
		}
	}
}
