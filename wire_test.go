package floorwatch

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func batch(change func(*Batch)) []byte {
	m := Batch{V: Version, Store: "s1", Edge: "box", Log: "0123456789abcdef", First: 1, N: 1, Records: []json.RawMessage{[]byte(`{"kind":"gap"}`)}}
	change(&m)
	b, err := m.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseBatch(t *testing.T) {
	if _, err := ParseBatch(batch(func(*Batch) {})); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Batch)
		want   string
	}{
		"version":       {func(m *Batch) { m.V = 2 }, "version 2"},
		"store":         {func(m *Batch) { m.Store = "../x" }, "a name is"},
		"edge":          {func(m *Batch) { m.Edge = "" }, "a name is"},
		"log":           {func(m *Batch) { m.Log = "0123456789ABCDEF" }, "16 hex digits"},
		"count":         {func(m *Batch) { m.N = 2 }, "n=2 and holds 1"},
		"empty":         {func(m *Batch) { m.N, m.Records = 0, nil }, "n=0"},
		"first is zero": {func(m *Batch) { m.First = 0 }, "count from 1"},
		"first is huge": {func(m *Batch) { m.First = 1 << 63 }, "count from 1"},
	} {
		if _, err := ParseBatch(batch(c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, raw := range []string{"", "{", "null", `{"v":1,"n":-1}`, strings.Repeat("x", MaxPacket+1)} {
		if _, err := ParseBatch([]byte(raw)); err == nil {
			t.Errorf("%.20q was taken for a batch", raw)
		}
	}
}

func TestTopics(t *testing.T) {
	store, edge, leaf, err := ParseTopic(Topic("s1", "box", LeafLive, "table"))
	if err != nil || store != "s1" || edge != "box" || strings.Join(leaf, "/") != "live/table" {
		t.Errorf("%q %q %q %v", store, edge, leaf, err)
	}
	for _, topic := range []string{"", "floorwatch/v1/s1/box", "floorwatch/v2/s1/box/up", "floorwatch/v1/S1/box/up", "floorwatch/v1/+/box/up", "floorwatch/v1//box/up"} {
		if _, _, _, err := ParseTopic(topic); err == nil {
			t.Errorf("%q was taken for a topic", topic)
		}
	}
}

func TestParseFrameRefusesWhatCannotBe(t *testing.T) {
	for line, want := range map[string]string{
		`{"t":1,"people":[{"id":1,"x":1,"y":1,"w":0,"h":5}]}`:   "has no size",
		`{"t":1,"people":[{"id":1,"x":1e9,"y":1,"w":1,"h":5}]}`: "outside any picture",
		`{"t":-1,"people":[]}`:                                  "not Unix milliseconds",
		`{"t":9e18,"people":[]}`:                                "parse camera line",
		`{"t":1}`:                                               "neither people nor event",
		`{"t":1,"w":99999,"people":[]}`:                         "picture of",
		`{"t":1,"people":[` + strings.Repeat(`{"w":1,"h":1},`, 1000) + `{"w":1,"h":1}]}`: "limit 1000",
		strings.Repeat(" ", MaxLine+1): "bytes, limit",
	} {
		if _, err := ParseFrame([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", line, err, want)
		}
	}
}

func TestFrameLines(t *testing.T) {
	for want, f := range map[string]Frame{
		`{"t":5,"frame":1,"w":2,"h":3,"people":[]}`:      {T: 5, N: 1, W: 2, H: 3},
		`{"t":6,"event":"closed","cause":"end of file"}`: {T: 6, Event: EventClosed, Cause: "end of file"},
		`{"t":7,"w":2,"h":3,"event":"size"}`:             {T: 7, W: 2, H: 3, Event: EventSize},
	} {
		b, err := json.Marshal(f)
		if err != nil || string(b) != want {
			t.Errorf("%s %v\nwant %s", b, err, want)
		}
		if _, err := ParseFrame(b); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestFloor(t *testing.T) {
	for _, c := range [][3]int64{{65_000, 60_000, 60_000}, {60_000, 60_000, 60_000}, {-1, 60_000, -60_000}, {0, 1000, 0}} {
		if got := Time(c[0]).Floor(time.Duration(c[1]) * time.Millisecond); int64(got) != c[2] {
			t.Errorf("floor of %d by %d ms is %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(batch(func(*Batch) {}))
	f.Add([]byte(`{"t":1,"people":[{"id":1,"x":1,"y":1,"w":1,"h":5}]}`))
	f.Add([]byte(`{"kind":"stay","enter":1,"exit":2,"tracks":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseBatch(b); err == nil {
			if _, err := m.Encode(); err != nil {
				t.Errorf("parsed but not encoded: %v", err)
			}
		}
		if fr, err := ParseFrame(b); err == nil {
			if _, err := json.Marshal(fr); err != nil {
				t.Errorf("parsed but not encoded: %v", err)
			}
		}
		if r, err := ParseRecord(b); err == nil {
			if _, err := MarshalRecord(r); err != nil && len(b) < MaxRecordBytes/8 {
				t.Errorf("parsed but not encoded: %v", err)
			}
		}
	})
}
