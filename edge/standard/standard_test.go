package standard

import (
	"bytes"
	"crypto/ed25519"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

func cloudKey(n byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return key, key.Public().(ed25519.PublicKey)
}

func told(t *testing.T, key ed25519.PrivateKey, store string, serial, within int64) floorwatch.Signed {
	t.Helper()
	s, err := floorwatch.SignHallStandard(floorwatch.HallStandard{V: 1, Store: store, Serial: serial, Spans: []floorwatch.HallSpan{
		{From: 1000}, {From: 2000, Wait: &floorwatch.SetTarget{Target: floorwatch.Target{WithinS: within, Share: 0.9}, Node: "acme", Serial: 1}},
	}}, key)
	kit.Must(t, err)
	return s
}

func TestWhatIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "standard.json")
	key, public := cloudKey(1)
	other, otherPublic := cloudKey(2)
	var said bytes.Buffer
	open := func(store string, key ed25519.PublicKey) *Keeper {
		return Open(path, store, key, slog.New(slog.NewTextHandler(&said, nil)))
	}
	k := open("hall-1", public)
	if _, known := k.At(1500); known || k.Hash() != "" || said.Len() > 0 {
		t.Errorf("an empty keeper knows %q, says %s", k.Hash(), said.String())
	}
	ten := told(t, key, "hall-1", 10, 600)
	for range 2 { // it may come twice
		if r := k.Take(ten); r.State != floorwatch.ReplyDone || k.Hash() != ten.Hash() {
			t.Fatalf("%+v", r)
		}
	}
	changed := told(t, key, "hall-1", 11, 900)
	changed.Body = strings.Replace(changed.Body, "900", "600", 1)
	for reason, s := range map[string]floorwatch.Signed{
		"its serial 9 is not above 10":             told(t, key, "hall-1", 9, 300),
		"its serial 10 is not above 10":            told(t, key, "hall-1", 10, 300),
		"it is of hall hall-2":                     told(t, key, "hall-2", 11, 300),
		"set cloud_key to what floorwatch-cloud":   told(t, other, "hall-1", 11, 300),
		"signature is not that of the cloud's key": changed,
	} {
		r := k.Take(s)
		if older := strings.HasPrefix(reason, "its serial"); (r.Serial == 10) != older {
			t.Errorf("%s: the box says that it keeps %d", reason, r.Serial)
		}
		if r.State != floorwatch.ReplyRefused || !strings.Contains(r.Reason, reason) || !strings.Contains(said.String(), reason) {
			t.Errorf("%s: %+v", reason, r)
		}
	}

	// After a restart, without an uplink, it holds, and what is planned comes true.
	k = open("hall-1", public)
	now, _ := k.At(1500)
	later, known := k.At(2000)
	if k.Hash() != ten.Hash() || !known || now.Wait != nil || later.Wait.WithinS != 600 {
		t.Errorf("%+v %+v", now, later)
	}
	if r := k.Take(told(t, key, "hall-1", 9, 300)); r.State != floorwatch.ReplyRefused {
		t.Errorf("an older one is taken after a restart: %+v", r)
	}

	// A box that does not know the key, stands in another hall, or knows another key
	// has none; then the new key's counts, whatever its serial.
	if k := open("hall-1", nil); k.Hash() != "" || !strings.Contains(k.Take(ten).Reason, "set cloud_key") {
		t.Error("taken without a key")
	}
	if k := open("hall-2", public); k.Hash() != "" {
		t.Error("another hall's counts")
	}
	k = open("hall-1", otherPublic)
	if r := k.Take(told(t, other, "hall-1", 1, 300)); k.Hash() == "" || r.State != floorwatch.ReplyDone {
		t.Errorf("%+v", r)
	}

	kit.Must(t, os.WriteFile(path, []byte("{"), 0o600))
	said.Reset()
	if k := open("hall-1", public); k.Hash() != "" || !strings.Contains(said.String(), "does not count") {
		t.Errorf("damaged: %q, says %s", k.Hash(), said.String())
	}
	kit.Must(t, os.Remove(path))
	kit.Must(t, os.Mkdir(path, 0o700)) // nothing can be written there
	k = open("hall-1", public)
	if r := k.Take(ten); r.State != floorwatch.ReplyFailed || k.Hash() != "" {
		t.Errorf("not durable, and yet %+v", r)
	}
}
