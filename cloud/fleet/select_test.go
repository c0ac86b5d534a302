package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
)

// TestWordsThatOthersStoredAreAskedFor: what this aggregator heard itself is not
// asked for; a box whose word went to another one is, by name, and is not silent.
func TestWordsThatOthersStoredAreAskedFor(t *testing.T) {
	live, now := NewLive(), boxNow
	c := &chain{}
	f := c.fleet(live, &now, "ours", "theirs", "gone", "never")
	for _, e := range []string{"ours", "theirs"} {
		state(t, live, e, floorwatch.State{V: 1, State: floorwatch.StateOnline, T: now.Add(-time.Hour)})
	}
	state(t, live, "gone", floorwatch.State{V: 1, State: floorwatch.StateOffline, T: now.Add(-time.Hour)})
	f.ask(t.Context())
	if len(c.asked) != 1 || c.asked[0] != nil {
		t.Fatalf("at the start asked of %v, want once of all", c.asked)
	}
	for range 10 {
		now = now.Add(20 * time.Second)
		live.PutHealth("s1", "ours", word("", now, "disk_bytes", 7.0))
		c.stored = map[string][]floorwatch.Health{"theirs": {word("", now.Add(-time.Second), "disk_bytes", 8.0)}}
		f.ask(t.Context())
	}
	for _, asked := range c.asked[1:] {
		if !slices.Equal(asked, []site.Source{{Store: "s1", Edge: "theirs"}}) {
			t.Errorf("asked of %v, want theirs alone", asked)
		}
	}
	if n := len(c.asked); n < 3 || n > 6 {
		t.Errorf("asked %d times in 200 s, want once for each word that is overdue", n)
	}
	for _, b := range f.Boxes() {
		if b.Edge == "theirs" && len(b.Troubles) > 0 {
			t.Errorf("theirs has %q", b.names())
		}
	}
}

// TestARecordIsASignOfLife: a sender that says nothing of its state is not one that
// was never heard of, neither before nor after a restart of the cloud.
func TestARecordIsASignOfLife(t *testing.T) {
	live, now := NewLive(), boxNow
	c := &chain{err: errors.New("no connection")}
	f := c.fleet(live, &now, "e0")
	see := func() string { b := f.Boxes()[0]; return fmt.Sprint(b.names(), " ", int64(b.Seen)) }
	if got := see(); got != "[] 0" {
		t.Errorf("before the database was read: %s; nobody knows yet", got)
	}
	f.ask(t.Context())
	if got := see(); got != "[never] 0" {
		t.Errorf("nothing is stored: %s", got)
	}
	live.Heard("s1", "e0", now)
	if got := see(); got != fmt.Sprint("[silent] ", int64(now)) {
		t.Errorf("its records come, without a word about itself: %s", got)
	}
	live.PutHealth("s1", "e0", word("", now, "disk_bytes", 7.0))
	if got := see(); got != fmt.Sprint("[] ", int64(now)) {
		t.Errorf("and with one: %s", got)
	}
	said := now
	now = now.Add(time.Hour)
	if got := see(); got != fmt.Sprint("[offline] ", int64(said)) {
		t.Errorf("an hour later: %s", got)
	}
	c.heard = []influx.Heard{{Store: "s1", Edge: "e0", At: said}, {Store: "s1", Edge: "unregistered", At: said}}
	f = c.fleet(NewLive(), &now, "e0")
	if f.ask(t.Context()); len(f.Live.boxes) != 1 {
		t.Errorf("%d boxes are kept; one is registered", len(f.Live.boxes))
	}
	if got := see(); got != fmt.Sprint("[offline] ", int64(said)) {
		t.Errorf("after a restart: %s", got)
	}
}

// TestWhatCameLateIsFound: of a span that moves on only the end is read each time,
// nothing twice, and what was written into the rest is there after ten minutes.
func TestWhatCameLateIsFound(t *testing.T) {
	start := boxNow.Floor(time.Hour)
	stored := map[floorwatch.Time]bool{}
	read := 0
	ask := func(_ context.Context, from, to floorwatch.Time) (out []floorwatch.Time, err error) {
		for at := range stored {
			if at >= from && at < to {
				out = append(out, at)
			}
		}
		read += len(out)
		return out, nil
	}
	var w window[floorwatch.Time]
	late := start.Add(-40 * time.Minute)
	seenLate := 0
	for minute := range 60 {
		now := start.Add(time.Duration(minute) * time.Minute)
		if minute > 0 {
			stored[now-1] = true
		}
		if minute == 15 {
			stored[late] = true
		}
		parts, err := w.read(t.Context(), start.Add(-time.Hour), now, ask)
		if err != nil {
			t.Fatal(err)
		}
		all := slices.Concat(parts[0], parts[1])
		if slices.Contains(all, late) && seenLate == 0 {
			seenLate = minute
		}
		slices.Sort(all)
		if n := len(all); n != len(slices.Compact(all)) || n < minute {
			t.Fatalf("minute %d: %d read", minute, n)
		}
	}
	if seenLate < 15 || seenLate > 25 {
		t.Errorf("what came late in minute 15 was found in minute %d", seenLate)
	}
	if whole := 60 * 61 / 2; read > whole*3/4 {
		t.Errorf("%d rows were read, of %d all the time", read, whole)
	}
}

// TestSelect asks for a few boxes of a chain.
func TestSelect(t *testing.T) {
	live, now := NewLive(), boxNow
	f := &Fleet{Sites: chainOf(t), Records: &chain{}, Live: live, Now: func() time.Time { return now.Time() }}
	for i, e := range []string{"fine", "full", "clock", "gone"} {
		st := floorwatch.StateOnline
		if e == "gone" {
			st = floorwatch.StateOffline
		}
		state(t, live, e, floorwatch.State{V: 1, State: st, T: now.Add(-time.Hour)})
		synced, free := 1.0, 50e9-float64(i)
		if e == "clock" {
			synced = 0
		}
		if e == "full" {
			free = 1e9
		}
		live.PutHealth("s1", e, word("", now.Add(-time.Duration(i)*time.Second), "clock_synced", synced, "disk_free_bytes", free, "disk_bytes", 100e9, "backlog_s", float64(i)))
	}
	f.ask(t.Context())
	for _, c := range []struct {
		q    Question
		want string
		n    int
	}{
		{Question{}, "new-box far gone full clock fine", 6},
		{Question{Limit: 2, Offset: 1}, "far gone", 6},
		{Question{Limit: 9, Offset: 9}, "", 6},
		{Question{Scope: "s2"}, "far", 1},
		{Question{Scope: "sh"}, "new-box gone full clock fine", 5},
		{Question{Scope: "acme"}, "new-box far gone full clock fine", 6},
		{Question{Text: "新疆"}, "far", 1},
		{Question{Text: "bund"}, "new-box gone full clock fine", 5},
		{Question{Text: "外滩 second"}, "full", 1},
		{Question{Text: "外滩 third"}, "", 0},
		{Question{State: floorwatch.StateOffline}, "gone", 1},
		{Question{State: StateUnknown}, "new-box far", 2},
		{Question{Trouble: "disk"}, "full", 1},
		{Question{Trouble: TroubleNone}, "fine", 1},
		{Question{Trouble: TroubleAny}, "new-box far gone full clock", 5},
		{Question{Trouble: levelWarn}, "clock", 1},
		{Question{Sort: "name"}, "clock fine full gone new-box far", 6},
		{Question{Sort: "disk"}, "full gone clock fine new-box far", 6},
		{Question{Sort: "backlog"}, "gone clock full new-box far fine", 6},
		{Question{Sort: "seen"}, "new-box far gone clock full fine", 6},
	} {
		if c.q.Limit == 0 {
			c.q.Limit = 100
		}
		s, err := f.Select(c.q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range s.Boxes {
			got = append(got, b.Edge)
		}
		if strings.Join(got, " ") != c.want || s.Found != c.n {
			t.Errorf("%+v: %q, %d in all; want %q, %d", c.q, got, s.Found, c.want, c.n)
		}
	}
	s, err := f.Select(Question{Text: "bund", State: floorwatch.StateOffline, Trouble: "disk"})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Counts; c.All != 5 || c.Healthy != 1 || c.States["online"] != 3 || c.States["offline"] != 1 || c.States["stopped"] != 0 || c.States["unknown"] != 1 ||
		c.Troubles["any"] != 4 || c.Troubles["bad"] != 3 || c.Troubles["warn"] != 1 || c.Troubles["disk"] != 1 {
		t.Errorf("counts do not look at state and trouble: %+v", c)
	}
	if p := s.Scope; len(p.Path) != 0 || len(p.Below) != 1 || p.Below[0].ID != "acme" || p.Below[0].Boxes != 5 || p.Below[0].Troubled != 4 {
		t.Errorf("the top of the tree, with the text: %+v", p)
	}
	if s, err = f.Select(Question{Scope: "acme", Limit: 1}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Scope); got != "{[{acme {天成 }}] [{{sh {上海 }} 5 4} {{xj {新疆 Xinjiang}} 1 1}]}" {
		t.Errorf("below the chain: %s", got)
	}
	if got := fmt.Sprint(s.Boxes[0].Path); got != "[{acme {天成 }} {sh {上海 }}]" {
		t.Errorf("the way to a box: %s", got)
	}
	var unknown *site.NameError
	if _, err := f.Select(Question{Scope: "elsewhere"}); !errors.As(err, &unknown) || unknown.What != "scope" {
		t.Errorf("an unknown scope: %v", err)
	}
}

// chainOf is a chain of two halls in two provinces.
func chainOf(t *testing.T) *site.Live {
	t.Helper()
	db, err := metadata.Open(t.Context(), filepath.Join(t.TempDir(), "metadata.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	_, err = site.Import(t.Context(), db, "sites.yaml", "yaml", []byte(`
nodes:
  - {id: acme, level: chain, label: {zh: 天成}}
  - {id: sh, level: province, label: {zh: 上海}, parent: acme}
  - {id: xj, level: province, label: {zh: 新疆, en: Xinjiang}, parent: acme, time_zone: Asia/Urumqi}
halls:
  - {id: s1, label: {zh: 外滩厅, en: The Bund}, parent: sh, boxes: [{id: fine}, {id: full, label: {zh: 二号设备, en: Second box}}, {id: clock}, {id: gone}, {id: new-box}]}
  - {id: s2, parent: xj, boxes: [{id: far}]}
`), 1)
	if err != nil {
		t.Fatal(err)
	}
	sites, err := site.Open(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return sites
}
