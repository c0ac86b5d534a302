package counter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
)

// bench books messages of one device by a clock of its own.
type bench struct {
	t   *testing.T
	f   *Feeds
	d   *device
	now floorwatch.Time
	out []floorwatch.Count
}

// start is on the border of every bucket.
const start floorwatch.Time = 1763755200000

func at(seconds int) floorwatch.Time { return start + floorwatch.Time(seconds)*1000 }

func newBench(t *testing.T, clock string, series ...Series) *bench {
	t.Helper()
	b := &bench{t: t, now: start}
	cfg := Default()
	cfg.TimeZone, cfg.Occupancy = "Asia/Shanghai", "store"
	cfg.Devices = []Device{{Name: "dev", Clock: clock, Series: series}}
	var err error
	b.f, err = New(Settings{
		Config: cfg, Dir: t.TempDir(), Every: time.Minute, Now: func() floorwatch.Time { return b.now },
		Emit: func(recs ...floorwatch.Record) error {
			for _, r := range recs {
				b.out = append(b.out, *r.(*floorwatch.Count))
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.d = b.f.devices["dev"]
	return b
}

// say sends a message and returns what became of its items: a for accepted, r
// repeated, i ignored, x refused.
func (b *bench) say(now floorwatch.Time, msg string) string {
	b.t.Helper()
	b.now = max(b.now, now)
	reply, err := b.f.accept(b.d, []byte(msg), func(error) {})
	if err != nil {
		return err.Error()
	}
	return strings.Repeat("a", reply.Accepted) + strings.Repeat("r", reply.Repeated) +
		strings.Repeat("i", reply.Ignored) + strings.Repeat("x", len(reply.Refused))
}

// told settles everything and prints the records of one line as
// start+length in/out coverage.
func (b *bench) told(line string) string {
	b.t.Helper()
	b.now = b.now.Add(time.Hour)
	b.f.commit()
	var s []string
	for _, c := range b.out {
		if c.Line != line {
			continue
		}
		what := fmt.Sprintf("%g+%g %d/%d %.2g", float64(c.Start-start)/1000, float64(c.End-c.Start)/1000, c.In, c.Out, c.Coverage)
		if c.Occupancy != nil {
			what = fmt.Sprintf("%g =%d", float64(c.Start-start)/1000, *c.Occupancy)
		}
		if c.Drift != nil {
			what += fmt.Sprintf(" drift %d", *c.Drift)
		}
		s = append(s, what)
	}
	return strings.Join(s, ", ")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func window(from, to, in, out int) string {
	return fmt.Sprintf(`{"counts":[{"series":"door","from":%d,"to":%d,"in":%d,"out":%d}]}`, at(from), at(to), in, out)
}

func register(t, in, out int) string {
	return fmt.Sprintf(`{"counts":[{"series":"door","at":%d,"in":%d,"out":%d}]}`, at(t), in, out)
}

func TestInterval(t *testing.T) {
	b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindInterval, Door: true})
	expect(t, "first", b.say(at(61), window(0, 60, 3, 1)), "a")
	expect(t, "retransmission", b.say(at(62), window(0, 60, 3, 1)), "r")
	expect(t, "zero", b.say(at(121), window(60, 120, 0, 0)), "a")
	expect(t, "half of a bucket", b.say(at(151), window(120, 150, 1, 0)), "a")
	expect(t, "the hour beside its minutes", b.say(at(200), window(-3600, 120, 3, 1)), "x")
	expect(t, "empty", b.say(at(200), window(120, 120, 3, 1)), "x")
	expect(t, "backwards", b.say(at(200), window(180, 120, 3, 1)), "x")
	expect(t, "no end", b.say(at(200), `{"counts":[{"series":"door","from":1763755200000,"in":3}]}`), "x")
	expect(t, "more than can pass", b.say(at(200), window(240, 250, 5000, 0)), "x")
	expect(t, "records", b.told("door"), "0+60 3/1 1, 60+60 0/0 1, 120+60 1/0 0.5")
	expect(t, "late", b.say(b.now, window(180, 240, 2, 2)), "a")
	expect(t, "late and again", b.say(b.now, window(180, 240, 2, 2)), "r")
	b.out = nil
	expect(t, "late record", b.told("door"), "180+60 2/2 1")
}

func TestCumulative(t *testing.T) {
	b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindCumulative, Door: true})
	expect(t, "first reading", b.say(at(0), register(0, 1000, 900)), "a")
	expect(t, "next", b.say(at(60), register(60, 1003, 901)), "a")
	expect(t, "the same again", b.say(at(61), register(60, 1003, 901)), "r")
	expect(t, "late", b.say(at(62), register(30, 1001, 900)), "r")
	expect(t, "reset at midnight", b.say(at(120), register(120, 2, 0)), "a")
	expect(t, "after it", b.say(at(180), register(180, 4, 1)), "a")
	expect(t, "records", b.told("door"), "0+60 3/1 1, 60+60 2/0 1, 120+60 2/1 1")
	if b.d.stats.Resets != 1 {
		t.Errorf("%d resets", b.d.stats.Resets)
	}
	b.out = nil
	expect(t, "after an outage", b.say(at(1000), register(1000, 14, 5)), "a")
	expect(t, "one record over the outage", b.told("door"), "180+820 10/4 1")
}

func TestCumulativeGlitch(t *testing.T) {
	for name, tc := range map[string]struct{ reads, want string }{
		"an old reading comes late":   {"8000 8001 7000 8003", "0+60 1/0 1, 60+120 2/0 1"},
		"set by hand":                 {"8000 8001 7000 7002", "0+60 1/0 1, 120+60 2/0 1"},
		"a dip to nothing":            {"8000 8001 0 8003", "0+60 1/0 1, 60+60 0/0 1"},
		"two resets":                  {"8000 8001 5 3", "0+60 1/0 1, 60+60 5/0 1, 120+60 3/0 1"},
		"leaps further than can be":   {"8000 8001 99999 100001", "0+60 1/0 1, 120+60 2/0 1"},
		"stands still while it rests": {"8000 8000 8000 8000", "0+60 0/0 1, 60+60 0/0 1, 120+60 0/0 1"},
	} {
		b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindCumulative, Door: true})
		for i, n := range strings.Fields(tc.reads) {
			var v int
			_, _ = fmt.Sscan(n, &v)
			b.say(at(60*i), register(60*i, v, 0))
		}
		expect(t, name, b.told("door"), tc.want)
	}
}

func TestEventsAndInvertedLines(t *testing.T) {
	b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindEvent, Invert: true, Door: true})
	event := func(id string, t, in, out int) string {
		return fmt.Sprintf(`{"counts":[{"series":"door","id":%q,"at":%d,"in":%d,"out":%d}]}`, id, at(t), in, out)
	}
	expect(t, "heartbeat", b.say(at(0), ``), "")
	expect(t, "one", b.say(at(10), event("a", 10, 1, 0)), "a")
	expect(t, "the same", b.say(at(11), event("a", 10, 1, 0)), "r")
	expect(t, "another at that moment", b.say(at(11), event("b", 10, 1, 0)), "a")
	expect(t, "no id", b.say(at(11), event("", 10, 1, 0)), "x")
	expect(t, "heartbeat", b.say(at(120), `{"connection_test":1}`), "")
	expect(t, "late", b.say(at(400), event("c", 10, 0, 1)), "a")
	expect(t, "late too", b.say(at(400), event("d", 10, 0, 1)), "a")
	got := b.told("door")
	if !strings.Contains(got, "0+60 0/2 1, 60+60 0/0 1") || strings.Count(got, "10+0.001 1/0") != 2 {
		t.Errorf("records %q", got)
	}
	ids := map[string]bool{}
	for _, c := range b.out {
		if ids[c.ID] {
			t.Errorf("id %s twice", c.ID)
		}
		ids[c.ID] = true
	}
}

func TestOneKindCounts(t *testing.T) {
	b := newBench(t, ClockDevice, Series{Name: "door", ID: "1", Kind: KindInterval, Door: true}, Series{Name: "inside", ID: "1", Kind: KindState})
	msg := fmt.Sprintf(`{"snapshot":"%s","counts":[
		{"series":"1","kind":"interval","from":%d,"to":%d,"in":3,"out":2},
		{"series":"1","kind":"event","id":"e","at":%[3]d,"in":1},
		{"series":"1","kind":"cumulative","at":%[3]d,"in":8442,"out":15583},
		{"series":"1","kind":"state","at":%[3]d,"value":-7141},
		{"series":"2","kind":"interval","from":%[2]d,"to":%[3]d,"in":3}]}`, strings.Repeat("A", 100000), at(0), at(60))
	expect(t, "all at once", b.say(at(61), msg), "aaiix")
	if data, err := json.Marshal(b.f.book); err != nil || len(data) > 2000 {
		t.Errorf("%d bytes kept, %v", len(data), err)
	}
	expect(t, "line", b.told("door"), "0+60 3/2 1")
	if l := b.f.Live(); len(l) != 2 || l[0].Zone != "inside" || l[0].People != 0 {
		t.Errorf("below 0 nobody is there: %+v", l)
	}
}

func TestState(t *testing.T) {
	b := newBench(t, ClockDevice, Series{Name: "inside", Kind: KindState})
	level := func(t, n int) string {
		return fmt.Sprintf(`{"counts":[{"series":"inside","at":%d,"value":%d}]}`, at(t), n)
	}
	expect(t, "level", b.say(at(10), level(10, 4)), "a")
	expect(t, "level", b.say(at(50), level(50, 6)), "a")
	expect(t, "late", b.say(at(51), level(20, 9)), "r")
	expect(t, "two buckets on", b.say(at(130), level(130, 2)), "a")
	expect(t, "records", b.told("inside"), "0 =6, 60 =6, 120 =2, 180 =2, 240 =2, 300 =2, 360 =2, 420 =2") // heard for five minutes more
}

func TestOccupancyIsClampedAndZeroedAtNight(t *testing.T) {
	b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindInterval, Door: true}, Series{Name: "aisle", Kind: KindInterval})
	// 04:00 in Shanghai is 20:00 UTC, 44 minutes after start less 4 hours.
	night := int((b.f.book.zero(start+86400000) - start) / 1000)
	b.say(at(night-121), window(night-180, night-120, 5, 7)) // nobody is there before: -2 is 0
	b.say(at(night-61), window(night-120, night-60, 6, 1))
	b.say(at(night-60), `{"counts":[{"series":"aisle","from":"2025-11-21T20:00:00Z","to":"2025-11-21T20:01:00Z","in":50}]}`)
	if l := b.f.Live(); len(l) != 1 || l[0].People != 5 || l[0].Zone != "store" {
		t.Errorf("live %+v", l)
	}
	b.say(at(night), window(night-60, night, 0, 1))
	b.say(at(night+61), window(night, night+60, 2, 0))
	b.say(at(night+200), window(night-600, night-540, 9, 0)) // late, and of yesterday
	got := b.told("store")
	want := fmt.Sprintf("%d =0, %d =5, %d =4, %d =2 drift 2", night-180, night-120, night-60, night)
	expect(t, "occupancy", got, want)
}

func TestClockPolicies(t *testing.T) {
	text := func(sent, from, to string) string {
		return fmt.Sprintf(`{"sent":%q,"counts":[{"series":"door","from":%q,"to":%q,"in":1}]}`, sent, from, to)
	}
	const utc, local, wrong = "2025-11-21T20:01:02Z", "2025-11-22 04:01:02", "2025-11-22T04:01:02+01:00"
	for name, tc := range map[string]struct{ clock, msg, reply, want string }{
		"device":           {ClockDevice, text(utc, "2025-11-21T20:00:00Z", "2025-11-21T20:01:00Z"), "a", "0+60 1/0 1"},
		"no offset":        {ClockDevice, text(utc, "2025-11-22 04:00:00", local), "x", ""},
		"wall clock":       {ClockWall, text(wrong, "2025-11-22T04:00:00+01:00", "2025-11-22T04:01:00+01:00"), "a", "0+60 1/0 1"},
		"wall, no offset":  {ClockWall, text(local, "2025-11-22 04:00:00", "2025-11-22 04:01:00"), "a", "0+60 1/0 1"},
		"wall, as numbers": {ClockWall, fmt.Sprintf(`{"counts":[{"series":"door","from":%d,"to":%d,"in":1}]}`, at(0), at(60)), "x", ""},
		"receive":          {ClockReceive, text("2001-01-01T00:01:02Z", "2001-01-01T00:00:00Z", "2001-01-01T00:01:00Z"), "a", "0+60 1/0 1"},
		"a year ahead":     {ClockDevice, text("2026-11-21T20:01:02Z", "2026-11-21T20:00:00Z", "2026-11-21T20:01:00Z"), "a", "0+60 1/0 1"},
		"froze":            {ClockDevice, text("2025-11-01T20:01:02Z", "2025-11-01T20:00:00Z", "2025-11-01T20:01:00Z"), "a", "0+60 1/0 1"},
		"ahead, not sent":  {ClockDevice, window(86400, 86460, 1, 0), "a", "2+60 1/0 1"},
	} {
		b := newBench(t, tc.clock, Series{Name: "door", Kind: KindInterval, Door: true})
		b.now = at(62)
		expect(t, name, b.say(at(62), tc.msg), tc.reply)
		if got := b.told("door"); name != "ahead, not sent" && got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindInterval, Door: true})
	for i := range 5 { // a frozen clock says the same window for ever; nobody is lost
		expect(t, "frozen", b.say(at(60*i+62), text("2025-11-01T20:01:02Z", "2025-11-01T20:00:00Z", "2025-11-01T20:01:00Z")), "a")
	}
	b.told("door")
	var in int64
	for _, c := range b.out {
		in += c.In
	}
	if in != 5 {
		t.Errorf("%d of 5 counted", in)
	}
	if b.d.stats.ClockFaults != 5 || b.d.stats.SkewS < 86400 {
		t.Errorf("stats %+v", b.d.stats)
	}
}

// TestRestartGoesOn: a box that is restarted between any two messages, with
// retransmissions, gives the records of one that never stopped.
func TestRestartGoesOn(t *testing.T) {
	series := []Series{{Name: "door", Kind: KindInterval, Door: true}, {Name: "gate", Kind: KindCumulative, Door: true}, {Name: "beam", Kind: KindEvent, Door: true}, {Name: "inside", Kind: KindState}}
	run := func(restart bool) string {
		b := newBench(t, ClockDevice, series...)
		for i := range 30 {
			from := 20 * i
			msg := fmt.Sprintf(`{"counts":[{"series":"door","from":%d,"to":%d,"in":%d,"out":1},{"series":"gate","at":%[2]d,"in":%d,"out":0},
				{"series":"beam","id":"n%d","at":%[2]d,"out":1},{"series":"inside","at":%[2]d,"value":%[3]d}]}`,
				at(from), at(from+20), i%3, 2*i%20, i)
			b.say(at(from+21), msg)
			b.f.commit()
			if restart {
				again, err := New(b.f.set)
				if err != nil {
					t.Fatal(err)
				}
				b.f, b.d = again, again.devices["dev"]
				if got := b.say(at(from+21), msg); got != "rrra" && got != "rrrr" {
					t.Fatalf("retransmission after a restart: %s", got)
				}
			}
		}
		b.told("")
		out := make([]string, 0, len(b.out))
		for _, c := range b.out {
			out = append(out, fmt.Sprintf("%s %d %d/%d %v", c.ID, c.End, c.In, c.Out, c.Occupancy == nil || *c.Occupancy >= 0))
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	if a, b := run(false), run(true); a != b {
		t.Errorf("without\n%s\nwith\n%s", a, b)
	}
}

// TestNothingIsLostOrInvented: whatever the order in which windows come, and how
// often, the records add up to each of them once.
func TestNothingIsLostOrInvented(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		b := newBench(t, ClockDevice, Series{Name: "door", Kind: KindInterval, Door: true})
		var want int64
		var later []string
		for i := range 200 {
			n := rng.IntN(20)
			want += int64(n)
			msg := window(30*i, 30*i+30, n, 0)
			if later = append(later, msg); rng.IntN(4) > 0 {
				for _, m := range later {
					b.say(at(30*i+31), m)
					if rng.IntN(3) == 0 {
						b.say(at(30*i+32), m)
					}
				}
				later = later[:0]
			}
			if rng.IntN(10) == 0 {
				b.f.commit()
			}
			if rng.IntN(30) == 0 {
				b.now = b.now.Add(10 * time.Minute) // all that comes is late
			}
		}
		for _, m := range later {
			b.say(at(6001), m)
		}
		b.told("")
		var got int64
		for _, c := range b.out {
			if c.Coverage < 0 || c.Coverage > 1 || c.In < 0 || c.Out < 0 {
				t.Fatalf("impossible %+v", c)
			}
			got += c.In
		}
		if got != want {
			t.Fatalf("seed %d: %d counted of %d", seed, got, want)
		}
	}
}
