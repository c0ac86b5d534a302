package site

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/kit"
)

func when(t testing.TB, text string) floorwatch.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	kit.Must(t, err)
	return floorwatch.TimeOf(at)
}

func openStore(t testing.TB, at string) *metadata.DB {
	t.Helper()
	db, err := metadata.Open(t.Context(), at)
	kit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newStore(t testing.TB) *metadata.DB {
	return openStore(t, filepath.Join(t.TempDir(), "metadata.db"))
}

func importText(t testing.TB, db *metadata.DB, format, text, from string) (Changes, error) {
	t.Helper()
	return Import(t.Context(), db, "sites."+format, format, []byte(text), when(t, from))
}

func mustImport(t testing.TB, db *metadata.DB, format, text, from string) Changes {
	t.Helper()
	c, err := importText(t, db, format, text, from)
	kit.Must(t, err)
	return c
}

func snapshot(t testing.TB, db *metadata.DB) *Snapshot {
	t.Helper()
	s, err := read(t.Context(), db, nil)
	kit.Must(t, err)
	return s
}

// TestKeysOfExamplesAreRefused: whoever copied one would let anybody sign.
func TestKeysOfExamplesAreRefused(t *testing.T) {
	db := newStore(t)
	for _, k := range append(slices.Clone(published), "PASTE-WHAT-floorwatch-edge-key-PRINTS") {
		want := "want the one that floorwatch-edge key prints on the box"
		if _, err := k.Public(); err != nil {
			want = "want the key that floorwatch-edge key prints"
		} else if len(k) != 44 {
			t.Errorf("%s is no key", k)
		}
		if _, err := Add(t.Context(), db, Node{ID: "h1", Boxes: []Box{{ID: "box-1", Key: k}}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("add %s: %v", k, err)
		}
		for format, text := range map[string]string{"csv": "id,box,box_key\nh1,box-1," + string(k) + "\n", "yaml": "halls: [{id: h1, boxes: [{id: box-1, key: " + string(k) + "}]}]"} {
			if _, err := importText(t, db, format, text, "2026-01-01T00:00:00Z"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("import %s of %s: %v", format, k, err)
			}
		}
	}
	// The first is of RFC 8032, whose secret key this is.
	seed, err := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	kit.Must(t, err)
	if k := KeyOf(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)); k != published[0] {
		t.Errorf("%s is another key", k)
	}
}

// key is the public key of a box of the tests.
func key(n int) Key {
	seed := sha256.Sum256(fmt.Append(nil, n))
	return KeyOf(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

const chain = `
nodes:
  - id: acme
    level: chain
    label: {zh: 天成, en: Acme}
    time_zone: Asia/Shanghai
    opening: [{days: mon-fri, from: "09:00", to: "17:00"}]
    exceptions:
      - {dates: 2026-10-01..2026-10-07}
      - {dates: 2026-10-10, from: "09:00", to: "17:00"}
  - {id: gd, level: province, label: {zh: 广东}, parent: acme}
  - {id: xj, level: province, label: {zh: 新疆}, parent: acme, time_zone: Asia/Urumqi}
halls:
  - id: h1
    label: {zh: 一号厅, en: Hall 1}
    parent: gd
    lat: 23.1291
    lon: 113.2644
    boxes: [{id: box-1, key: KEY1}]
  - id: h2
    parent: xj
    opening: [{days: mon-sun, from: "10:00", to: "24:00"}]
`

func chainText() string { return strings.ReplaceAll(chain, "KEY1", string(key(1))) }

func TestOnSQLite(t *testing.T) {
	storeSuite(t, newStore)
}

func TestOnPostgres(t *testing.T) {
	server := kit.Postgres(t)
	storeSuite(t, func(t testing.TB) *metadata.DB { return openStore(t, server.Database(t)) })
	t.Run("gone for a while", func(t *testing.T) {
		db := openStore(t, server.Database(t))
		mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
		var said bytes.Buffer
		live, err := Open(t.Context(), db, slog.New(slog.NewTextHandler(&said, nil)))
		kit.Must(t, err)
		kit.Must(t, server.Stop())
		for range 2 {
			if err := live.Refresh(t.Context()); err == nil {
				t.Error("read from what is not there")
			}
		}
		if age, err := live.Age(); age <= 0 || err == nil || len(live.Snapshot().At(0).Halls("")) != 2 {
			t.Errorf("age %s, %v, halls %v", age, err, live.Snapshot().At(0).Halls(""))
		}
		if _, err := Close(t.Context(), db, "h1", 1000); err == nil || !strings.Contains(err.Error(), "Postgres does not answer") {
			t.Errorf("%v", err)
		}
		kit.Must(t, server.Start(context.Background()))
		kit.Must(t, live.Refresh(t.Context()))
		if _, err := live.Age(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "cannot be read"); n != 1 || !strings.Contains(said.String(), "can be read again") {
			t.Errorf("told %d times: %s", n, said.String())
		}
	})
}

// storeSuite is what the store must do, whichever it is.
func storeSuite(t *testing.T, fresh func(t testing.TB) *metadata.DB) {
	ctx := t.Context()

	t.Run("a hall that moves does not rewrite last year", func(t *testing.T) {
		db := fresh(t)
		mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
		midnight := when(t, "2026-03-01T00:00:00+06:00") // of its own zone then
		_, err := Move(ctx, db, "h2", "gd", midnight)
		kit.Must(t, err)
		s := snapshot(t, db)
		for at, want := range map[floorwatch.Time][]string{
			midnight - 1: {"acme", "xj", "h2"}, midnight: {"acme", "gd", "h2"}, 0: {"acme", "xj", "h2"},
		} {
			if got := s.At(at).Path("h2"); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", at, got, want)
			}
		}
		before, _ := s.At(midnight - 1).Store("h2")
		after, _ := s.At(midnight).Store("h2")
		if before.TimeZone != "Asia/Urumqi" || after.TimeZone != "Asia/Shanghai" {
			t.Errorf("zones %s, %s", before.TimeZone, after.TimeZone)
		}
		if got := s.At(midnight).Halls("gd"); !slices.Equal(got, []string{"h1", "h2"}) {
			t.Errorf("below gd %v", got)
		}
		if got := s.At(midnight - 1).Halls("gd"); !slices.Equal(got, []string{"h1"}) {
			t.Errorf("below gd before %v", got)
		}
	})

	t.Run("a closed hall keeps its past", func(t *testing.T) {
		db := fresh(t)
		mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
		end := when(t, "2026-06-01T00:00:00+08:00")
		_, err := Close(ctx, db, "h1", end)
		kit.Must(t, err)
		s := snapshot(t, db)
		if _, ok := s.At(end).Store("h1"); ok || len(s.At(end).Edges("h1")) > 0 {
			t.Error("open after its end")
		}
		if e, ok := s.At(end-1).Edge("h1", "box-1"); !ok || e.Key != key(1) {
			t.Error("its box is gone from its past")
		}
		if _, err := Move(ctx, db, "h1", "xj", end); err == nil || !strings.Contains(err.Error(), "is not there at") {
			t.Errorf("%v", err)
		}
		mustImport(t, db, "yaml", chainText(), "2026-08-01T00:00:00Z") // it opens again
		if s := snapshot(t, db); s.At(end).Path("h1") != nil || s.At(when(t, "2026-08-01T00:00:00Z")).Path("h1") == nil {
			t.Error("it did not open again, or was never closed")
		}
	})

	t.Run("faults change nothing", func(t *testing.T) {
		db := fresh(t)
		mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
		version, err := db.Version(ctx, Topic)
		kit.Must(t, err)
		for _, text := range []string{
			"halls:\n- {id: h3, parent: gd}\n- {id: h4, parent: nowhere}\n", "halls:\n- {id: h3, parent: [}",
		} {
			if _, err := importText(t, db, "yaml", text, "2026-01-01T00:00:00Z"); err == nil {
				t.Errorf("accepted: %s", text)
			}
		}
		if _, err := Move(ctx, db, "gd", "h1", 1000); err == nil || !strings.Contains(err.Error(), `"h1" is a hall`) {
			t.Errorf("%v", err)
		}
		if _, err := Close(ctx, db, "gd", 1000); err == nil || !strings.Contains(err.Error(), `h1.parent: "gd" is not there all that time`) {
			t.Errorf("%v", err)
		}
		if _, err := Add(ctx, db, Node{ID: "h1"}); err == nil || !strings.Contains(err.Error(), "site move") {
			t.Errorf("%v", err)
		}
		if c := mustImport(t, db, "yaml", chainText(), "2026-02-01T00:00:00Z"); c.New+c.Changed != 0 || c.Same != 5 {
			t.Errorf("the same file changed %s", c)
		}
		if now, err := db.Version(ctx, Topic); now != version || err != nil {
			t.Errorf("version %d, was %d, %v", now, version, err)
		}
	})

	t.Run("seen by others without a restart", func(t *testing.T) {
		db := fresh(t)
		live, err := Open(ctx, db, slog.New(slog.DiscardHandler))
		kit.Must(t, err)
		first := live.Snapshot()
		kit.Must(t, live.Refresh(ctx))
		if live.Snapshot() != first {
			t.Error("read again although nothing changed")
		}
		_, err = Add(ctx, db, Node{ID: "h9", Boxes: []Box{{ID: "box-1", Key: key(9)}}})
		kit.Must(t, err)
		kit.Must(t, live.Refresh(ctx))
		if r := live.Snapshot().At(5).Registry(); len(r.Stores) != 1 || len(r.Edges) != 1 || r.Edges[0].Key != key(9) {
			t.Errorf("%+v", r)
		}
	})

	t.Run("scenes", func(t *testing.T) { sceneSuite(t, fresh(t)) })
	t.Run("standards", func(t *testing.T) { standardSuite(t, fresh(t)) })
	t.Run("files", func(t *testing.T) { roundTrip(t, fresh) })
}

func sceneSuite(t *testing.T, db *metadata.DB) {
	ctx := t.Context()
	camera := Source{"h1", "box-1", "lobby"}
	put := func(rev string, at floorwatch.Time, record string) {
		t.Helper()
		kit.Must(t, PutScenes(ctx, db, SceneVersion{Source: camera, Rev: rev, First: at, Last: at, Record: []byte(record)}))
	}
	put("b", 200, `b`)
	live, err := Open(ctx, db, slog.New(slog.DiscardHandler))
	kit.Must(t, err)
	put("b", 300, `b`)
	if first := live.Snapshot(); live.Refresh(ctx) != nil || live.Snapshot() != first {
		t.Error("telling the same again is a change")
	}
	put("a", 100, `a`) // late
	put("b", 400, `b with a new label`)
	put("c", 350, `c`) // late, in the midst
	kit.Must(t, live.Refresh(ctx))
	s := live.Snapshot()
	var got []string
	for _, v := range s.Scenes(camera) {
		got = append(got, fmt.Sprintf("%s %d-%d", v.Rev, v.First, v.Last))
	}
	if want := []string{"a 100-100", "b 200-349", "c 350-350", "b 400-400"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for at, want := range map[floorwatch.Time]string{50: "a", 100: "a", 199: "a", 200: "b", 349: "b", 350: "c", 400: "b", 5000: "b"} {
		if v, ok := s.At(at).Scene(camera); !ok || v.Rev != want {
			t.Errorf("%d: %s, want %s", at, v.Rev, want)
		}
	}
	if v, _ := s.At(5000).Scene(camera); string(v.Record) != "b with a new label" {
		t.Errorf("record %s", v.Record)
	}
	old, _ := s.At(350).Scene(camera)
	if string(old.Record) != "c" {
		t.Errorf("record %s", old.Record)
	}
	if all := snapshot(t, db); !reflect.DeepEqual(all.scenes, s.scenes) {
		t.Errorf("read at once: %v\nbit by bit: %v", all.scenes, s.scenes)
	}
	if err := PutScenes(ctx, db, SceneVersion{Source: camera, First: 1}); err == nil {
		t.Error("a scene without rev is kept")
	}
}

// roundTrip: what is exported is imported to the same, into an empty store and into
// its own.
func roundTrip(t *testing.T, fresh func(t testing.TB) *metadata.DB) {
	seed := rand.Uint64()
	for n := range 6 {
		tree := randomTree(rand.New(rand.NewPCG(seed, uint64(n))))
		for _, format := range []string{"yaml", "csv"} {
			var file, again bytes.Buffer
			kit.Must(t, tree.Export(&file, format))
			db := fresh(t)
			c, err := Import(t.Context(), db, "f", format, file.Bytes(), 1)
			if err != nil || c.New != len(tree) {
				t.Fatalf("seed %d: %s %v\n%s", seed, c, err, file.String())
			}
			got, err := Load(t.Context(), db)
			if kit.Must(t, err); !reflect.DeepEqual(got, tree) {
				kit.Must(t, got.Export(&again, format))
				t.Fatalf("seed %d: was\n%s\nis\n%s", seed, file.String(), again.String())
			}
			c, err = Import(t.Context(), db, "f", format, append([]byte("\ufeff")[:3*(n%2)], file.Bytes()...), when(t, "2026-11-28T00:00:00Z"))
			if err != nil || c.Changed != 0 {
				t.Fatalf("seed %d: again %s %v\n%s", seed, c, err, file.String())
			}
		}
	}
}

// randomTree is a right tree with much of all that there can be.
func randomTree(r *rand.Rand) Tree {
	tree, keys := Tree{}, 0
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	label := func() floorwatch.Label {
		return floorwatch.Label{ZH: pick("", "厅", "a, \"b\"; c", "true"), EN: pick("", "Hall #1", "- x", "null", " 2026-01-01: y"[1:])}
	}
	span := func(since, until floorwatch.Time, parent string) Span {
		s := Span{Since: since, Until: until, Parent: parent, TimeZone: pick("", "Asia/Urumqi", "Europe/Berlin")}
		if r.IntN(2) == 0 {
			s.Opening = []floorwatch.Opening{{Days: "mon-fri", From: "09:00", To: "17:30"}, {Days: "sat,sun", From: "10:00", To: "24:00"}}[:1+r.IntN(2)]
			s.Exceptions = []floorwatch.Exception{{Dates: "2026-10-01..2026-10-07"}, {Dates: "2026-10-10", From: "09:00", To: "17:00"}}[r.IntN(2):]
		}
		return s
	}
	number := func() *float64 { x := r.Float64() * 80; return &x }
	parents := []string{""}
	for i := range 4 {
		id := fmt.Sprintf("n%d", i)
		tree[id] = &Node{ID: id, Level: pick("chain", "省", "no"), Label: label(), Spans: []Span{span(0, 0, parents[r.IntN(len(parents))])}}
		parents = append(parents, id)
	}
	for i := range 8 {
		n := &Node{ID: fmt.Sprintf("h%d", i), Label: label()}
		if r.IntN(2) == 0 {
			n.Lat, n.Lon = number(), number()
		}
		since := floorwatch.Time(r.IntN(2) * 1_700_000_000_123)
		for range 1 + r.IntN(3) {
			end := max(since, 1_600_000_000_000) + floorwatch.Time(1+r.IntN(10_000_000_000))
			n.Spans = append(n.Spans, span(since, end, parents[r.IntN(len(parents))]))
			since = end + floorwatch.Time(r.IntN(2)*1000)
		}
		if r.IntN(2) == 0 {
			n.Spans[len(n.Spans)-1].Until = 0
		}
		for b := range r.IntN(3) {
			for k := range 1 + r.IntN(2) {
				keys++
				n.Boxes = append(n.Boxes, Box{fmt.Sprintf("box-%d", b), floorwatch.Time(k) * 1_750_000_000_000, floorwatch.Time(1-k) * 1_750_000_000_000, label(), key(keys)})
			}
		}
		tree[n.ID] = n
	}
	return tree
}

func TestOpeningHours(t *testing.T) {
	db := newStore(t)
	mustImport(t, db, "yaml", chainText()+"    exceptions: [{dates: 2026-10-02, from: \"12:00\", to: \"13:00\"}]\n", "2026-01-01T00:00:00Z")
	s := snapshot(t, db)
	for _, c := range []struct {
		hall, at string
		open     bool
	}{
		{"h1", "2026-09-30T09:00:00+08:00", true},
		{"h1", "2026-09-30T08:59:59+08:00", false},
		{"h1", "2026-10-01T10:00:00+08:00", false}, // a holiday of the chain
		{"h1", "2026-10-07T10:00:00+08:00", false},
		{"h1", "2026-10-08T10:00:00+08:00", true},
		{"h1", "2026-10-10T10:00:00+08:00", true}, // a Saturday that is worked
		{"h1", "2026-10-11T10:00:00+08:00", false},
		{"h2", "2026-10-11T23:59:00+06:00", true}, // hours and zone of its own
		{"h2", "2026-10-01T12:30:00+06:00", false},
		{"h2", "2026-10-02T12:30:00+06:00", true}, // its own exception in the holiday
		{"h2", "2026-10-02T13:00:00+06:00", false},
		{"h9", "2026-10-02T13:00:00+06:00", false},
	} {
		if got := s.At(when(t, c.at)).Open(c.hall); got != c.open {
			t.Errorf("%s at %s: open %v", c.hall, c.at, got)
		}
	}
}

func TestTodaysFileKeepsLastYear(t *testing.T) {
	db := newStore(t)
	head := "id,level,parent,box,box_key\nacme,chain,,,\nbeta,chain,,,\n"
	mustImport(t, db, "csv", head+"h1,,acme,box-1,"+string(key(1))+"\n", "2026-01-01T00:00:00Z")
	now := "2026-06-01T00:00:00Z"
	if c := mustImport(t, db, "csv", head+"h1,,beta,box-1,"+string(key(2))+"\n", now); c.Changed != 1 || c.Same != 2 {
		t.Errorf("%s", c)
	}
	s, at := snapshot(t, db), when(t, now)
	for at, want := range map[floorwatch.Time]string{at - 1: "acme", at: "beta"} {
		if path := s.At(at).Path("h1"); path[0] != want {
			t.Errorf("%s: %v", at, path)
		}
	}
	before, _ := s.At(at-1).Edge("h1", "box-1")
	after, _ := s.At(at).Edge("h1", "box-1")
	if before.Key != key(1) || after.Key != key(2) {
		t.Error("the key of last year's seals is gone")
	}
	// A move that is planned, at the hall's own midnight.
	mustImport(t, db, "csv", "id,parent,since\nh1,acme,2027-01-01\n", now)
	s, at = snapshot(t, db), when(t, "2027-01-01T00:00:00+08:00")
	for at, want := range map[floorwatch.Time]string{1: "acme", at - 1: "beta", at: "acme"} {
		if path := s.At(at).Path("h1"); path[0] != want {
			t.Errorf("%s: %v", at, path)
		}
	}
}

func TestTodaysFileKeepsWhatIsPlanned(t *testing.T) {
	head := "id,level,parent,until\nacme,chain,,\nbeta,chain,,\ngamma,chain,,\n"
	now, later := "2026-06-01T00:00:00Z", when(t, "2027-01-01T00:00:00Z")
	for file, want := range map[string]string{
		"h1,,acme,\n":                     "acme 0-2027 beta 2027-0", // the move that is planned stays
		"h1,,gamma,\n":                    "acme 0-2026 gamma 2026-2027 beta 2027-0",
		"h1,,acme,2026-12-01T00:00:00Z\n": "acme 0-2026", // it is closed before
	} {
		db := newStore(t)
		mustImport(t, db, "csv", head+"h1,,acme,\n", "2026-01-01T00:00:00Z")
		_, err := Move(t.Context(), db, "h1", "beta", later)
		kit.Must(t, err)
		mustImport(t, db, "csv", head+file, now)
		tree, err := Load(t.Context(), db)
		kit.Must(t, err)
		year := func(t floorwatch.Time) int {
			if t == 0 {
				return 0
			}
			return t.Time().Year()
		}
		var got []string
		for _, s := range tree["h1"].Spans {
			got = append(got, fmt.Sprintf("%s %d-%d", s.Parent, year(s.Since), year(s.Until)))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestWhatAFileDoesNotSayStays(t *testing.T) {
	for format, text := range map[string]string{
		"csv": "id,box,box_key\nh1,box-1,\nh2,box-9," + string(key(9)) + "\n", "yaml": "halls: [{id: h1, boxes: [{id: box-1}]}, {id: h2, boxes: [{id: box-9, key: " + string(key(9)) + "}]}]",
	} {
		db := newStore(t)
		mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
		before, err := Load(t.Context(), db)
		kit.Must(t, err)
		c := mustImport(t, db, format, text, "2026-02-01T00:00:00Z")
		after, err := Load(t.Context(), db)
		kit.Must(t, err)
		if want := 1; format == "yaml" && (c.Changed != want || !reflect.DeepEqual(after["h1"], before["h1"])) {
			t.Errorf("%s: %s, %+v", format, c, after["h1"])
		}
		before["h2"].Boxes = []Box{{ID: "box-9", Key: key(9)}}
		if !reflect.DeepEqual(after["h2"], before["h2"]) || !reflect.DeepEqual(after["h1"].Spans, before["h1"].Spans) || after["h1"].Label != before["h1"].Label {
			t.Errorf("%s: %+v, want %+v", format, after["h2"], before["h2"])
		}
	}
	db := newStore(t) // a move that is planned leaves the time zone alone, an empty cell does not
	mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
	mustImport(t, db, "csv", "id,level,parent,since\nxj,province,,2027-01-01\n", "2026-02-01T00:00:00Z")
	mustImport(t, db, "csv", "id,opening\nh2,\n", "2026-02-01T00:00:00Z")
	tree, err := Load(t.Context(), db)
	kit.Must(t, err)
	if s := tree["h2"].Spans; len(s) != 2 || s[1].Opening != nil || s[1].Parent != "xj" || s[0].Opening == nil {
		t.Errorf("%+v", s)
	}
}

func TestWhoIsBelowIsCheckedToo(t *testing.T) {
	db := newStore(t)
	mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
	for format, text := range map[string]string{"yaml": "nodes:\n- {id: gd, level: province, parent: acme, until: 2026-03-01}\n", "csv": "id,level,parent,until\ngd,province,acme,2026-03-01\n"} {
		_, err := importText(t, db, format, text, "2026-02-01T00:00:00Z")
		if Faults(err) != 1 || !strings.Contains(err.Error(), `h1.parent: "gd" is not there all that time`) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestEveryFaultIsTold(t *testing.T) {
	const file = `nodes:
  - {id: Acme, level: chain}
  - {id: a, level: chain, parent: b}
  - {id: b, level: chain, parent: a}
  - {id: old, level: chain, until: 2020-01-01}
halls:
  - {id: h1, parent: a}
  - {id: h1, parent: b}
  - {id: h2, parent: nowhere, time_zone: Beijing}
  - id: h3
    spans:
      - {parent: old, until: 2019-01-01}
      - {parent: old, since: 2018-12-31}
  - id: h4
    parent: h2
    opening: [{days: someday, from: "9", to: "10:00"}]
    exceptions: [{dates: 2026-13-01}]
    boxes:
      - {id: Box, key: short}
      - {id: b, key: KEY}
      - {id: b}
  - {id: h5, lat: 100, lon: 5, since: yesterday, boxes: [{id: b, key: KEY}]}
  - {id: h6, colour: red, since: 2026-01-02, until: 2026-01-01}
`
	db := newStore(t)
	_, err := importText(t, db, "yaml", strings.ReplaceAll(file, "KEY", string(key(1))), "2026-01-01T00:00:00Z")
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, fmt.Sprintf("%d %s: %.30s", p.Line, p.Key, p.Want))
	}
	want := []string{
		"2 nodes[0].id: want a name of 1 to 40 of a-z,",
		"3 nodes[1].parent: the node would be below itself",
		"4 nodes[2].parent: the node would be below itself",
		"8 halls[1].id: is the id of halls[0] already;",
		`9 halls[2].parent: want the id of a node; there i`,
		"9 halls[2].time_zone: want an IANA time zone such as",
		`12 halls[3].spans[0].parent: `,
		"13 halls[3].spans[1].since: the span overlaps the one befo",
		`13 halls[3].spans[1].parent: "old" is not there all that ti`,
		`15 halls[4].parent: want the id of a node; "h2" is`,
		"16 halls[4].opening[0].days: want days of mon, tue, wed, th",
		"16 halls[4].opening[0]: want from before to, both like",
		"17 halls[4].exceptions[0].dates: want a day 2026-10-01 or days",
		"19 halls[4].boxes[0].id: want a name of 1 to 40 of a-z,",
		"19 halls[4].boxes[0].key: want the key that floorwatch-e",
		"20 halls[4].boxes[1].key: is also the key of box b in h5",
		"21 halls[4].boxes[2].id: two boxes of this hall have on",
		"22 halls[5].since: want a date 2026-03-01, which ",
		"22 halls[5].lat: want degrees: lat from -90 to ",
		"22 halls[5].boxes[0].key: is also the key of box b in h4",
		"23 halls[6].colour: is not a key here; known keys:",
		"23 halls[6].until: want a moment after since, 202",
	}
	for _, w := range want {
		if w[len(w)-2:] == ": " { // not one of them
			continue
		}
		i := slices.IndexFunc(got, func(g string) bool { return strings.HasPrefix(g, strings.TrimRight(w, " ")) })
		if i < 0 {
			t.Errorf("not told: %s", w)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 {
		t.Errorf("also told:\n%s", strings.Join(got, "\n"))
	}
	if tree, err := Load(t.Context(), db); len(tree) != 0 || err != nil {
		t.Errorf("%d are there, %v", len(tree), err)
	}
}

func TestTwoHundredFaults(t *testing.T) {
	var y, c strings.Builder
	y.WriteString("halls:\n")
	c.WriteString("id,parent,time_zone\n")
	for i := range 200 {
		fmt.Fprintf(&y, "  - {id: h%d, parent: nowhere}\n  - {id: g%d}\n", i, i)
		fmt.Fprintf(&c, "h%d,nowhere,\ng%d,,\n", i, i)
	}
	for format, text := range map[string]string{"yaml": y.String(), "csv": c.String()} {
		db := newStore(t)
		_, err := importText(t, db, format, text, "2026-01-01T00:00:00Z")
		if Faults(err) != 200 || strings.Count(err.Error(), "\n") != 199 {
			t.Errorf("%s: %d faults", format, Faults(err))
		}
		if !strings.HasPrefix(err.Error(), "sites."+format+":2: ") || !strings.Contains(err.Error(), "sites."+format+":400: ") ||
			!strings.Contains(err.Error(), `parent: "nowhere": want the id of a node`) {
			t.Errorf("%.300s", err)
		}
		if tree, err := Load(t.Context(), db); len(tree) != 0 || err != nil {
			t.Errorf("%d are there, %v", len(tree), err)
		}
	}
}

func TestFaultsOfATable(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "1: id: want a first line",
		"id;parent\nh1;\n":              "is not a column here",
		"id,id\nh1,h1\n":                "is a column twice",
		"id,zh\nh1,a\nh1,b\n":           `3: zh: "b": line 2 says another of this id`,
		"id,zh\nh1,a\nh1,a\n":           `3: id: "h1": is on line 2 already`,
		"id,parent\na,\nh1,\nh1,\n,x\n": `5: id: want a name`,
		"id,level,parent\na,x,\nb,x,\nh1,,a\nh1,,b\n": `5: since: the span overlaps the one before: a node is below one parent`,
		"id,opening\nh1,mon-fri 9-5\n":                `2: opening: "mon-fri 9-5": want from before to`,
		"id,exceptions\nh1,2026-10-01\n":              `2: exceptions: "2026-10-01": want from before`,
		"id,lat\nh1,north\n":                          `2: lat: "north": want degrees as a number`,
		"id,box,box_key\nh1,b,x\n":                    `2: box_key: "x": want the key`,
		"id,level,box\nn,chain,b\n":                   `2: box: "b": only a hall has boxes`,
		"id\nh1,2,3\n":                                `2: id: "h1": the row has 3 cells, the first line 1`,
		"id,since\nh1,1.3.2026\n":                     `2: since: "1.3.2026": want a date`,
		"id,zh\nh1,\xb9\xe3\n":                        `is not UTF-8; save it as "CSV UTF-8"`,
		"id\n\"h1\n":                                  "sites.csv: parse error on line 2",
	} {
		_, err := importText(t, newStore(t), "csv", text, "2026-01-01T00:00:00Z")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
}

func TestImportOntoAFullDisk(t *testing.T) {
	kit.Superuser(t, "a small disk")
	dir := t.TempDir()
	kit.Must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	db := openStore(t, filepath.Join(dir, "metadata.db"))
	mustImport(t, db, "yaml", chainText(), "2026-01-01T00:00:00Z")
	var many strings.Builder
	many.WriteString("id,zh\n")
	for i := range 10_000 {
		fmt.Fprintf(&many, "m%d,一个有很长名字的营业厅\n", i)
	}
	_, err := importText(t, db, "csv", many.String(), "2026-01-01T00:00:00Z")
	if err == nil || !strings.Contains(err.Error(), "the disk is full: free space there; nothing was changed") {
		t.Errorf("%v", err)
	}
	if tree, err := Load(t.Context(), db); len(tree) != 5 || err != nil {
		t.Errorf("%d are there, %v", len(tree), err)
	}
}

// fleet fills a store with halls of 2 cameras and 4 zones.
func fleet(t testing.TB, db *metadata.DB, halls int) {
	t.Helper()
	tree := Tree{"acme": {ID: "acme", Level: "chain", Spans: []Span{{TimeZone: "Asia/Shanghai", Opening: []floorwatch.Opening{{Days: "mon-fri", From: "09:00", To: "17:30"}, {Days: "sat,sun", From: "10:00", To: "16:00"}}}}}}
	for i := range 300 {
		id, parent := fmt.Sprintf("n%d", i), "acme"
		if i >= 30 {
			parent = fmt.Sprintf("n%d", i%30)
		}
		tree[id] = &Node{ID: id, Level: "city", Label: floorwatch.Label{ZH: "某市", EN: "City"}, Spans: []Span{{Parent: parent}}}
	}
	for i := range halls {
		id := fmt.Sprintf("hall-%05d", i)
		tree[id] = &Node{
			ID: id, Label: floorwatch.Label{ZH: "某某路营业厅", EN: "Hall"}, Spans: []Span{{Parent: fmt.Sprintf("n%d", 30+i%270)}},
			Boxes: []Box{{ID: "box-1", Label: floorwatch.Label{ZH: "盒", EN: "Box"}, Key: key(i)}},
		}
	}
	var file bytes.Buffer
	kit.Must(t, tree.Export(&file, "csv"))
	began := time.Now()
	_, err := Import(t.Context(), db, "fleet.csv", "csv", file.Bytes(), 1)
	kit.Must(t, err)
	t.Logf("%d halls: a file of %d kB imported in %s", halls, file.Len()>>10, time.Since(began).Round(time.Millisecond))
	var zones []floorwatch.Zone
	for _, name := range []string{"queue", "counter-1", "counter-2", "counter-3"} {
		z := floorwatch.NewZone(name, floorwatch.RoleQueue, floorwatch.Point{X: 300, Y: 400}, floorwatch.Point{X: 700, Y: 400}, floorwatch.Point{X: 700, Y: 700})
		z.Label = floorwatch.Label{ZH: "排队区", EN: "Queue"}
		zones = append(zones, z)
	}
	record, err := floorwatch.MarshalRecord(floorwatch.TellScene("lobby", floorwatch.Scene{Zones: zones}))
	kit.Must(t, err)
	kit.Must(t, db.Write(t.Context(), SceneTopic, func(tx *metadata.Tx) error {
		for i := range halls {
			for _, camera := range []string{"lobby", "counters"} {
				v := SceneVersion{Source{fmt.Sprintf("hall-%05d", i), "box-1", camera}, "0123456789ab", 1000, 2000, record.JSON, nil}
				if err := (scenePut{t.Context(), tx, v}).insert(v); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// BenchmarkTenThousandHalls measures what 10,000 halls cost: go test -bench Halls -run '^$' ./cloud/site
func BenchmarkTenThousandHalls(b *testing.B) {
	for name, open := range map[string]func() *metadata.DB{
		"SQLite":   func() *metadata.DB { return newStore(b) },
		"Postgres": func() *metadata.DB { return openStore(b, kit.Postgres(b).Database(b)) },
	} {
		b.Run(name, func(b *testing.B) {
			db := open()
			fleet(b, db, 10_000)
			live, err := Open(b.Context(), db, slog.New(slog.DiscardHandler))
			kit.Must(b, err)
			b.Run("load", func(b *testing.B) {
				for b.Loop() {
					_, err := read(b.Context(), db, nil)
					kit.Must(b, err)
				}
			})
			b.Run("poll", func(b *testing.B) {
				for b.Loop() {
					kit.Must(b, live.Refresh(b.Context()))
				}
			})
			b.Run("memory", func(b *testing.B) {
				var with, without runtime.MemStats
				var s *Snapshot
				for b.Loop() {
					s = nil
					runtime.GC()
					runtime.ReadMemStats(&without)
					s, err = read(b.Context(), db, nil)
					kit.Must(b, err)
					runtime.GC()
					runtime.ReadMemStats(&with)
				}
				b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/(1<<20), "MiB")
				runtime.KeepAlive(s)
			})
			at := live.Snapshot().At(floorwatch.TimeOf(time.Now()))
			b.Run("box", func(b *testing.B) {
				for b.Loop() {
					if _, ok := at.Edge("hall-05000", "box-1"); !ok {
						b.Fatal("no box")
					}
				}
			})
			b.Run("open", func(b *testing.B) {
				for b.Loop() {
					at.Open("hall-05000")
				}
			})
			b.Run("scope", func(b *testing.B) {
				for b.Loop() {
					if len(at.Halls("acme")) != 10_000 {
						b.Fatal("halls are missing")
					}
				}
			})
		})
	}
}

// TestFormerFileIsTakenOver: a cloud.yaml of the time when stores and boxes stood
// in it, with all that stands beside them.
func TestFormerFileIsTakenOver(t *testing.T) {
	db, err := metadata.Open(t.Context(), filepath.Join(t.TempDir(), "m.sqlite"))
	kit.Must(t, err)
	defer func() { kit.Must(t, db.Close()) }()
	former := `data: /var/lib/x
stores:
  - {id: s1, label: {zh: 店, en: Shop}, time_zone: Europe/Berlin, opening: [{days: mon-fri, from: "09:00", to: "17:30"}]}
  - {id: s2}
edges:
  - {store: s2, id: b, key: ` + string(key(2)) + `, cameras: [{name: lobby, zones: [{name: q, polygon: [[0, 0], [1, 0], [1, 1]]}]}]}
  - {store: s1, id: b, label: {en: Box}, key: ` + string(key(1)) + `}
broker: {url: "tls://x"}
`
	changes, err := Import(t.Context(), db, "cloud.yaml", "yaml", []byte(former), 1000)
	if err != nil || changes.New != 2 {
		t.Fatal(changes, err)
	}
	at := snapshot(t, db).At(5)
	s1, _ := at.Store("s1")
	b1, _ := at.Edge("s1", "b")
	b2, _ := at.Edge("s2", "b")
	if s1.TimeZone != "Europe/Berlin" || s1.Label.ZH != "店" || len(s1.Opening) != 1 || b1.Label.EN != "Box" || b1.Key != key(1) || b2.Key != key(2) {
		t.Errorf("%+v %+v %+v", s1, b1, b2)
	}
}

// TestOneMachineSetsItself: the list is what there is, whoever left keeps a past.
func TestOneMachineSetsItself(t *testing.T) {
	db, err := metadata.Open(t.Context(), filepath.Join(t.TempDir(), "m.sqlite"))
	kit.Must(t, err)
	defer func() { kit.Must(t, db.Close()) }()
	list := func(store, zone string, k Key) Registry {
		return Registry{Stores: []Store{{ID: store, TimeZone: zone}}, Edges: []Edge{{Store: store, ID: "box", Key: k}}}
	}
	kit.Must(t, Set(t.Context(), db, list("a", "UTC", key(1)), 1000))
	kit.Must(t, Set(t.Context(), db, list("a", "UTC", key(1)), 2000))
	if n := snapshot(t, db).Version; n != 1 {
		t.Errorf("the same again is change %d", n)
	}
	kit.Must(t, Set(t.Context(), db, list("a", "Asia/Shanghai", key(2)), 3000)) // another zone, another key
	kit.Must(t, Set(t.Context(), db, list("b", "UTC", key(3)), 4000))           // another name
	kit.Must(t, Set(t.Context(), db, list("a", "UTC", key(2)), 5000))           // and back
	s := snapshot(t, db)
	for at, want := range map[floorwatch.Time]string{
		500: "a UTC 1", 2999: "a UTC 1", 3000: "a Asia/Shanghai 2", 4000: "b UTC 3", 5000: "a UTC 2",
	} {
		r := s.At(at).Registry()
		if len(r.Stores) != 1 || len(r.Edges) != 1 {
			t.Errorf("at %d: %+v", at, r)
			continue
		}
		n := slices.Index([]Key{"", key(1), key(2), key(3)}, r.Edges[0].Key)
		if got := fmt.Sprint(r.Stores[0].ID, " ", r.Stores[0].TimeZone, " ", n); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
}
