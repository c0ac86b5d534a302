package floorwatch

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestCommandsThatCannotBeMeant(t *testing.T) {
	good := Command{V: 1, ID: strings.Repeat("a", 32), Do: DoSend, Expires: 1000, Camera: "hall", From: 1, To: 2}
	hold := good
	hold.Do, hold.Hold = DoHold, strings.Repeat("b", 16)
	for _, c := range []Command{
		good, hold,
		{V: 1, ID: good.ID, Do: DoRelease, Expires: 1, Hold: hold.Hold},
		{V: 1, ID: good.ID, Do: DoStill, Expires: 1, Camera: "hall"},
		{V: 1, ID: good.ID, Do: DoStill, Expires: 1, Camera: "hall", From: 5},
		{V: 1, ID: good.ID, Do: DoLines, Expires: 1, Camera: "hall", From: 1, To: 300_001},
	} {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseCommand(b); err != nil || got != c {
			t.Errorf("%s: %+v %v", b, got, err)
		}
	}
	for name, change := range map[string]func(*Command){
		"version": func(c *Command) { c.V = 2 }, "id": func(c *Command) { c.ID = "../" + good.ID }, "short id": func(c *Command) { c.ID = "ab" },
		"no expiry": func(c *Command) { c.Expires = 0 }, "far expiry": func(c *Command) { c.Expires = 1 << 60 }, "verb": func(c *Command) { c.Do = "format" },
		"camera": func(c *Command) { c.Camera = "ha\x00ll" }, "no span": func(c *Command) { c.To = c.From }, "negative": func(c *Command) { c.From = -5 },
		"long span": func(c *Command) { c.To = c.From.Add(MaxSendSpan + time.Second) }, "no hold": func(c *Command) { c.Do = DoHold },
		"overflow": func(c *Command) { c.From, c.To = 1, 1<<62 }, "still before time": func(c *Command) { c.Do, c.From = DoStill, -1 },
		"still of nobody": func(c *Command) { c.Do, c.Camera = DoStill, "" }, "lines of a day": func(c *Command) { c.Do, c.To = DoLines, 86400_000 },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"aaaaaaaaaaaaaaaa","do":"send","expires":5,"camera":"hall","from":1,"to":2}`))
	f.Add([]byte(`{"v":1,"id":"aaaaaaaaaaaaaaaa","state":"done","objects":["ab"],"bytes":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCommand(b); err == nil && c.Check() != nil {
			t.Error("taken and cannot be meant")
		}
		if r, err := ParseReply(b); err == nil && (r.Bytes < 0 || !ValidCommandID(r.ID)) {
			t.Errorf("%+v", r)
		}
		if r, err := ParseReceipt(b); err == nil && !ValidHash(r.SHA256) {
			t.Errorf("%+v", r)
		}
	})
}

func TestUploadClaims(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, ed25519.SeedSize))
	pub := key.Public().(ed25519.PublicKey)
	c := UploadClaim{Method: "PATCH", Path: UploadPath + "s1/box/x", Offset: 7, At: 1763755200000, Body: []byte("abc")}
	sig := c.Sign(key)
	if err := c.Check(sig, c.At.Add(-UploadFresh), pub); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*UploadClaim){
		"method": func(c *UploadClaim) { c.Method = "HEAD" }, "path": func(c *UploadClaim) { c.Path += "y" }, "offset": func(c *UploadClaim) { c.Offset++ },
		"time": func(c *UploadClaim) { c.At++ }, "body": func(c *UploadClaim) { c.Body = []byte("abd") }, "line": func(c *UploadClaim) { c.Method = "PATCH\n" },
		"stale": func(c *UploadClaim) { c.At -= 10 * 60_000 }, "never": func(c *UploadClaim) { c.At = -1 << 63 },
	} {
		x := c
		change(&x)
		if err := x.Check(sig, c.At, pub); err == nil {
			t.Errorf("%s may change", name)
		}
	}
	for _, bad := range []string{"", "zz", sig[:126], sig + "00"} {
		if err := c.Check(bad, c.At, pub); err == nil {
			t.Errorf("signature %q was taken", bad)
		}
	}
	if err := c.Check(sig, c.At, nil); err == nil {
		t.Error("no key was taken")
	}
}
