package floorwatch

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func standardKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

func hallStandard() HallStandard {
	return HallStandard{V: 1, Store: "hall-1", Serial: 5, Spans: []HallSpan{
		{From: 1000, Hours: Hours{TimeZone: "Asia/Shanghai", Opening: []Opening{{"mon-fri", "09:00", "17:30"}}}},
		{From: 2000, Wait: &SetTarget{Target{600, 0.95}, "acme", 3, 1500, strings.Repeat("a", 64)}, Hours: Hours{
			TimeZone: "Asia/Shanghai", Exceptions: [][]Exception{{{Dates: "2026-10-01..2026-10-07"}}, {{"2026-10-10", "09:00", "17:00"}}},
		}},
	}}
}

// The bytes below are kept by boxes and clouds: what is signed today is read by all
// that come later.
func TestStandardsKeepTheirForm(t *testing.T) {
	public := standardKey().Public().(ed25519.PublicKey)
	s := Standard{V: 1, Node: "acme", Serial: 3, ValidFrom: 1500, Wait: &Target{600, 0.95}}
	signed, err := SignStandard(s, standardKey())
	if want := `{"v":1,"node":"acme","serial":3,"valid_from":1500,"wait_target":{"within_s":600,"share":0.95}}`; err != nil || signed.Body != want {
		t.Errorf("%s %v\nwant %s", signed.Body, err, want)
	}
	if want := "aed2fc181e1277b50f339dbed276c0feb290f09afe5a149b96daa41072d2a615"; signed.Hash() != want || signed.Signature[:16] != "debcfb94678157d3" {
		t.Error(signed)
	}
	if got, err := ParseStandard(signed, public); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v %v", got, err)
	}
	told, err := SignHallStandard(hallStandard(), standardKey())
	if want := `{"v":1,"store":"hall-1","serial":5,"spans":[{"from":1000,"time_zone":"Asia/Shanghai","opening":[{"days":"mon-fri","from":"09:00","to":"17:30"}]},` +
		`{"from":2000,"wait_target":{"within_s":600,"share":0.95,"node":"acme","serial":3,"valid_from":1500,"hash":"` + strings.Repeat("a", 64) + `"},` +
		`"time_zone":"Asia/Shanghai","exceptions":[[{"dates":"2026-10-01..2026-10-07"}],[{"dates":"2026-10-10","from":"09:00","to":"17:00"}]]}]}`; err != nil || told.Body != want {
		t.Errorf("%s %v\nwant %s", told.Body, err, want)
	}
	h, err := ParseHallStandard(told, public)
	if err != nil || !reflect.DeepEqual(h, hallStandard()) {
		t.Errorf("%+v %v", h, err)
	}
	for at, want := range map[Time]Time{0: 1000, 1000: 1000, 1999: 1000, 2000: 2000, MaxTime: 2000} {
		if got := h.At(at).From; got != want {
			t.Errorf("at %d: the span of %d", at, got)
		}
	}

	// It arrives in a command as it was signed.
	b, err := json.Marshal(Command{V: 1, ID: strings.Repeat("a", 16), Do: DoStandard, Expires: 5, Standard: &told})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseCommand(b); err != nil || *c.Standard != told {
		t.Errorf("%+v %v", c, err)
	}
}

func TestStandardsThatAreRefused(t *testing.T) {
	public := standardKey().Public().(ed25519.PublicKey)
	node, err := SignStandard(Standard{V: 1, Node: "acme", Serial: 1, ValidFrom: 1, Wait: &Target{600, 1}}, standardKey())
	if err != nil {
		t.Fatal(err)
	}
	hall, err := SignHallStandard(hallStandard(), standardKey())
	if err != nil {
		t.Fatal(err)
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	forged, _ := SignHallStandard(hallStandard(), other)
	changed := hall
	changed.Body = strings.Replace(changed.Body, `"within_s":600`, `"within_s":900`, 1)
	for name, s := range map[string]Signed{"of a node": node, "another key's": forged, "changed": changed, "spaced": {hall.Body + " ", hall.Signature}} {
		if _, err := ParseHallStandard(s, public); !errors.Is(err, ErrStandardSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseStandard(hall, public); !errors.Is(err, ErrStandardSignature) {
		t.Errorf("a hall's is taken for a node's: %v", err)
	}
	if _, err := ParseHallStandard(hall, nil); !errors.Is(err, ErrStandardSignature) {
		t.Errorf("without a key: %v", err)
	}
	for name, s := range map[string]*Signed{"none": nil, "empty": {}, "no signature": {Body: "{}"}, "large": {strings.Repeat(" ", MaxStandardBytes+1), hall.Signature}} {
		if err := (Command{V: 1, ID: strings.Repeat("a", 16), Do: DoStandard, Expires: 5, Standard: s}).Check(); err == nil {
			t.Errorf("command with %s: taken", name)
		}
	}
	for name, change := range map[string]func(*HallStandard){
		"version": func(h *HallStandard) { h.V = 2 }, "hall": func(h *HallStandard) { h.Store = "../x" }, "serial": func(h *HallStandard) { h.Serial = 0 },
		"nothing": func(h *HallStandard) { h.Spans = nil }, "order": func(h *HallStandard) { h.Spans[1].From = 1000 },
		"zone": func(h *HallStandard) { h.Spans[0].TimeZone = "Mars/Base" }, "days": func(h *HallStandard) { h.Spans[0].Opening[0].Days = "holidays" },
		"hours": func(h *HallStandard) { h.Spans[0].Opening[0].To = "08:00" }, "dates": func(h *HallStandard) { h.Spans[1].Exceptions[0][0].Dates = "2026-02-31" },
		"target": func(h *HallStandard) { h.Spans[1].Wait.WithinS = 0 }, "share": func(h *HallStandard) { h.Spans[1].Wait.Share = 95 },
	} {
		h := hallStandard()
		change(&h)
		if _, err := SignHallStandard(h, standardKey()); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	long := hallStandard()
	for range 300 {
		long.Spans[1].Exceptions[0] = append(long.Spans[1].Exceptions[0], Exception{"2026-10-10", "09:00", "17:00"})
	}
	if _, err := SignHallStandard(long, standardKey()); err == nil || !strings.Contains(err.Error(), "take exceptions out that are over") {
		t.Error(err)
	}
	plain, _ := json.Marshal(Command{V: 1, ID: strings.Repeat("a", 16), Do: DoSend, Expires: 5, Camera: "hall", From: 1, To: 2})
	padded := append(plain[:len(plain)-1:len(plain)-1], `,"x":"`+strings.Repeat("x", MaxCommandBytes)+`"}`...)
	if _, err := ParseCommand(padded); err == nil {
		t.Error("a command of another kind may be as long as a standard")
	}
}

func TestHoursHaveExceptions(t *testing.T) {
	h := Hours{
		Opening: []Opening{{"mon-fri", "09:00", "17:30"}},
		Exceptions: [][]Exception{
			{{"2026-10-03", "10:00", "12:00"}, {"2026-10-03", "14:00", "24:00"}},
			{{Dates: "2026-10-01..2026-10-07"}, {"2026-10-10", "09:00", "17:00"}},
		},
	}
	for at, want := range map[string]bool{
		"2026-09-30 09:00": true, "2026-09-30 08:59": false, "2026-09-30 17:30": false, "2026-10-02 10:00": false, "2026-10-03 11:00": true,
		"2026-10-03 13:00": false, "2026-10-03 23:59": true, "2026-10-10 09:00": true, "2026-10-11 09:00": false,
	} {
		local, err := time.Parse("2006-01-02 15:04", at)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Open(local); got != want {
			t.Errorf("%s: %v", at, got)
		}
	}
	if !(Hours{}).Open(time.Time{}) {
		t.Error("a hall whose hours are not known is closed")
	}
}

func FuzzParseHallStandard(f *testing.F) {
	s, _ := SignHallStandard(hallStandard(), standardKey())
	f.Add(s.Body)
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) == 0 || len(body) > MaxStandardBytes {
			return
		}
		key := standardKey()
		h, err := ParseHallStandard(Signed{body, hex.EncodeToString(ed25519.Sign(key, append([]byte(hallStandardHead), body...)))}, key.Public().(ed25519.PublicKey))
		if err == nil && h.Check() != nil {
			t.Error("taken and cannot be meant")
		}
		if err == nil {
			h.At(1500).Open(time.Unix(0, 0))
		}
	})
}
