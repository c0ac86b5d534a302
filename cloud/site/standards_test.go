package site

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/internal/lab/kit"
)

func cloudKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(n)), ed25519.SeedSize)))
}

// standardSuite sets targets in a chain of two provinces with a hall each.
func standardSuite(t *testing.T, db *metadata.DB) {
	ctx, key := t.Context(), cloudKey(1)
	public := key.Public().(ed25519.PublicKey)
	mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
	now := when(t, "2026-03-01T10:00:00+08:00")
	later := now.Add(30 * 24 * time.Hour)
	issue := func(node string, from floorwatch.Time, within int64) (Issued, error) {
		s := floorwatch.Standard{Node: node, ValidFrom: from}
		if within > 0 {
			s.Wait = &floorwatch.Target{WithinS: within, Share: 0.95}
		}
		return Issue(ctx, db, s, now, key)
	}
	must := func(i Issued, err error) Issued { kit.Must(t, err); return i }
	for _, bad := range []struct {
		node string
		from floorwatch.Time
		s    int64
		want string
	}{
		{"nowhere", now, 600, "there is no such node"},
		{"acme", now - 1, 600, "which is past"},
		{"acme", now, 90_000, "a wait of 90000 s is no target"},
	} {
		if _, err := issue(bad.node, bad.from, bad.s); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%+v: %v", bad, err)
		}
	}

	target := func(hall string, at floorwatch.Time) string {
		w := snapshot(t, db).At(at).Target(hall)
		if w == nil {
			return "none"
		}
		return w.Node + " " + time.Duration(w.WithinS*1e9).String()
	}
	tell := func(s *Snapshot, hall string, at floorwatch.Time) HallTold {
		out, err := s.Tell(ctx, db, hall, at, 0, key)
		kit.Must(t, err)
		return out
	}
	nothing := tell(snapshot(t, db), "h1", now)
	if got := target("h1", now); got != "none" {
		t.Error(got)
	}
	must(issue("gd", now, 300))
	must(issue("h1", now, 60))
	if got := target("h1", now) + "," + target("h1", now-1) + "," + target("h2", now); got != "gd 5m0s,none,none" {
		t.Error(got)
	}
	first := tell(snapshot(t, db), "h1", now)
	if h, err := floorwatch.ParseHallStandard(first.Signed, public); err != nil || h.Serial <= int64(now) || len(h.Spans) != 1 ||
		h.Spans[0].Wait.WithinS != 300 || h.Spans[0].Opening[0].From != "09:00" || h.Spans[0].TimeZone != "Asia/Shanghai" {
		t.Errorf("%+v %v", h, err)
	}
	if first.Signed == nothing.Signed {
		t.Error("a target changed nothing")
	}

	// A chain's target wins over a province's; what is planned is told ahead.
	planned := must(issue("acme", later, 600))
	if planned.Serial != 1 {
		t.Errorf("serial %d", planned.Serial)
	}
	mustImport(t, db, "yaml", "halls:\n- {id: h1, label: {en: Renamed}}\n", "2026-03-02T00:00:00Z")
	s := snapshot(t, db)
	ahead := tell(s, "h1", now)
	h, err := floorwatch.ParseHallStandard(ahead.Signed, public)
	if kit.Must(t, err); len(h.Spans) != 2 || h.At(later-1).Wait.Node != "gd" || h.At(later).Wait.Node != "acme" || h.Spans[1].From != later {
		t.Errorf("%+v", h)
	}
	// The same bytes, whatever the hour, the day on which the plan comes true included,
	// and on the day after the last holiday.
	for _, at := range []floorwatch.Time{now + 5, later - 1, later, later + 1, when(t, "2026-11-01T00:00:00Z")} {
		if again := tell(s, "h1", at); again.Signed != ahead.Signed {
			t.Errorf("at %s: %+v", at, again)
		}
	}
	want := []floorwatch.TargetSpan{{From: now - 1}, {From: now, Wait: h.At(now).Wait}, {From: later, Wait: planned.Target()}}
	if got := s.Targets("h1", now-1, later+1); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := s.Targets("h1", now-1, later); len(got) != 2 {
		t.Errorf("%+v", got)
	}

	// A hall that moves at midnight: its new hours and target are told ahead, and
	// yesterday stays judged as it was.
	midnight := when(t, "2026-03-05T00:00:00+08:00")
	_, err = Move(ctx, db, "h1", "xj", midnight)
	kit.Must(t, err)
	moved := tell(snapshot(t, db), "h1", now)
	h, err = floorwatch.ParseHallStandard(moved.Signed, public)
	kit.Must(t, err)
	if a, b := h.At(midnight-1), h.At(midnight); a.Wait.Node != "gd" || b.Wait == nil || b.Wait.Node != "h1" || b.TimeZone != "Asia/Urumqi" || h.At(later).Wait.Node != "acme" {
		t.Errorf("%+v\n%+v", a, b)
	}

	// The next version takes the place of one that is not valid yet, and one that sets
	// nothing leaves it to those below.
	must(issue("acme", now, 0))
	if got := target("h1", now) + "," + target("h1", later); got != "gd 5m0s,h1 1m0s" {
		t.Error(got)
	}
	if got := len(snapshot(t, db).Issued("acme")); got != 2 {
		t.Errorf("%d versions", got)
	}
	try := snapshot(t, db).With(Issued{Standard: floorwatch.Standard{Node: "acme", Serial: 3, ValidFrom: now, Wait: &floorwatch.Target{WithinS: 5, Share: 1}}})
	if try.At(now).Target("h2").WithinS != 5 || target("h2", now) != "none" {
		t.Error("a trial is kept, or does not show")
	}

	// A box keeps what is newer than this store knows: it is told the same above that.
	before := tell(snapshot(t, db), "h1", now)
	known := before.Hall.Serial + 1_000_000
	above, err := snapshot(t, db).Tell(ctx, db, "h1", now, known, key)
	if kit.Must(t, err); above.Hall.Serial != known+1 || above.Signed == before.Signed || !reflect.DeepEqual(above.Hall.Spans, before.Hall.Spans) {
		t.Errorf("%+v", above.Hall)
	}
	if again := tell(snapshot(t, db), "h1", now); again.Signed != above.Signed {
		t.Error("told anew without need")
	}

	// With another key it is signed anew, and said so.
	got, err := snapshot(t, db).Tell(ctx, db, "h1", now, 0, cloudKey(2))
	if kit.Must(t, err); !got.OtherKey {
		t.Error("another key went unnoticed")
	}
	if _, err := floorwatch.ParseHallStandard(got.Signed, public); !errors.Is(err, floorwatch.ErrStandardSignature) {
		t.Error(err)
	}
	newer, err := floorwatch.ParseHallStandard(got.Signed, cloudKey(2).Public().(ed25519.PublicKey))
	if kit.Must(t, err); newer.Serial <= h.Serial {
		t.Errorf("serial %d after %d", newer.Serial, h.Serial)
	}
	if all := snapshot(t, db); all.StandardsVersion == 0 || len(all.Issued("h1")) != 1 {
		t.Errorf("%d", all.StandardsVersion)
	}
}

// BenchmarkTell works out, signs and keeps what 10,000 halls are told, and then finds
// that nothing has changed.
func BenchmarkTell(b *testing.B) {
	db, key := newStore(b), cloudKey(1)
	var table strings.Builder
	table.WriteString("id,level,parent,opening,exceptions\nacme,chain,,mon-fri 09:00-17:30,2026-10-01..2026-10-07 closed\ngd,province,acme,,\nsz,city,gd,,\n")
	const halls = 10_000
	for i := range halls {
		fmt.Fprintf(&table, "h%d,,sz,,\n", i)
	}
	mustImport(b, db, "csv", table.String(), "2026-01-01T00:00:00Z")
	now := when(b, "2026-03-01T00:00:00Z")
	_, err := Issue(b.Context(), db, floorwatch.Standard{Node: "acme", ValidFrom: now, Wait: &floorwatch.Target{WithinS: 600, Share: 0.95}}, now, key)
	kit.Must(b, err)
	s := snapshot(b, db)
	b.Run("in memory", func(b *testing.B) {
		told := s.HallStandard("h1", now)
		for b.Loop() {
			if !s.Holds(told, now) {
				b.Fatal("it does not hold")
			}
		}
	})
	for _, name := range []string{"anew", "as it was"} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				_, err := s.Tell(b.Context(), db, fmt.Sprintf("h%d", i%halls), now, 0, key)
				kit.Must(b, err)
			}
		})
	}
}
