package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/edge/queue"
	"floorwatch/internal/lab/kit"
)

// person is a row of a queue log, in whole seconds since its session's day began.
type person struct {
	id                 int64
	arrive, start, end int64
	served             bool
}

func (p person) wait() int64 { return p.start - p.arrive }

// readLog reads a log's sessions; it skips where the shared data is absent.
func readLog(t *testing.T, name string) map[string][]person {
	t.Helper()
	f, err := os.Open(kit.Shared(t, "data/queues/"+name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	sessions := map[string][]person{}
	for i, r := range rows[1:] {
		p := person{int64(i + 1), number(r[2]), number(r[3]), number(r[4]), r[6] == "1"}
		if !p.served && p.wait() == 0 {
			continue // hung up at once: never in any zone
		}
		sessions[r[0]] = append(sessions[r[0]], p)
	}
	return sessions
}

// logScene is a queue with one counter.
func logScene() floorwatch.Scene {
	zone := func(name string, role floorwatch.Role) floorwatch.Zone {
		return floorwatch.Zone{
			Name: name, Role: role, MinStay: time.Second, MergeGap: time.Second, Reach: 10 * time.Second,
			Polygon: []floorwatch.Point{{X: 0, Y: 0}, {X: 9, Y: 0}, {X: 0, Y: 9}},
		}
	}
	return floorwatch.Scene{Zones: []floorwatch.Zone{zone("line", floorwatch.RoleQueue), zone("till", floorwatch.RoleService)}}
}

// script is the source of a stage: one record per line.
type script struct {
	recs []floorwatch.Record
	now  floorwatch.Time
}

func (s *script) Feed(f floorwatch.Frame) (out []floorwatch.Record, err error) {
	if s.now = f.T; len(s.recs) > 0 {
		out, s.recs = s.recs[:1], s.recs[1:]
	}
	return out, nil
}
func (s *script) Close() []floorwatch.Record { return nil }
func (s *script) Now() floorwatch.Time       { return s.now }

// replay turns one session into records by way of the box's own stage.
func replay(t *testing.T, day floorwatch.Time, people []person, cuts map[int64][2]int64) (out []floorwatch.Record) {
	t.Helper()
	scene := logScene()
	recs := []floorwatch.Record{&floorwatch.Gap{
		Header: floorwatch.Header{Kind: floorwatch.KindGap, Camera: "cam", ID: "start", At: day, Rev: scene.Rev()},
		Of:     floorwatch.OfObservation, To: &day,
	}}
	at := func(s int64) floorwatch.Time { return day + floorwatch.Time(s)*1000 }
	stay := func(zone string, p person, from, to int64) {
		s := floorwatch.Stay{
			Header: floorwatch.Header{
				Kind: floorwatch.KindStay, Camera: "cam", Zone: zone, Rev: scene.Rev(),
				ID: fmt.Sprintf("%s-%d-%d", zone, at(from), p.id), At: at(from) + 1000,
			},
			Enter: at(from), EnterSeen: true, Tracks: []int64{p.id}, Person: p.id,
		}
		end := s
		end.Exit, end.ExitSeen, end.At, end.SeenS = new(at(to)), true, at(to)+1001, float64(to-from)
		recs = append(recs, &s, &end)
	}
	for _, p := range people {
		if cut, ok := cuts[p.id]; ok {
			stay("line", p, p.arrive, cut[0])
			recs[len(recs)-2].(*floorwatch.Stay).ExitSeen = false
			recs[len(recs)-1].(*floorwatch.Stay).ExitSeen = false
			p.id += 100_000
			stay("line", p, cut[1], p.start)
			recs[len(recs)-2].(*floorwatch.Stay).EnterSeen = false
			recs[len(recs)-1].(*floorwatch.Stay).EnterSeen = false
		} else if p.wait() > 0 {
			stay("line", p, p.arrive, p.start)
		}
		if p.served {
			stay("till", p, p.start, p.end)
		}
	}
	slices.SortStableFunc(recs, func(a, b floorwatch.Record) int { return int(a.Head().At - b.Head().At) })
	stage, err := queue.NewStage(&script{recs: recs}, scene, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	last := recs[len(recs)-1].Head().At + 10*60*1000
	for _, r := range append(recs, &floorwatch.Gap{Header: floorwatch.Header{At: last}}) {
		more, err := stage.Feed(floorwatch.Frame{T: r.Head().At})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, more...)
	}
	return out
}

// published answers queries from what a box had published by a moment.
type published struct {
	recs []floorwatch.Record
	by   floorwatch.Time
}

func pick[T any](p published, q influx.Query, zone func(*T) string, at func(*T) floorwatch.Time) (out []T) {
	for _, r := range p.recs {
		x, ok := any(r).(*T)
		if ok && r.Head().At <= p.by && at(x) >= q.From && at(x) < q.To && (q.Zone == "" || q.Zone == zone(x)) {
			out = append(out, *x)
		}
	}
	return out
}

func (p published) Stays(_ context.Context, q influx.Query) ([]floorwatch.Stay, error) {
	return pick(p, q, func(x *floorwatch.Stay) string { return x.Zone }, func(x *floorwatch.Stay) floorwatch.Time { return *x.Exit }), nil
}

func (p published) Waits(_ context.Context, q influx.Query) ([]floorwatch.Wait, error) {
	return pick(p, q, func(x *floorwatch.Wait) string { return x.Zone }, func(x *floorwatch.Wait) floorwatch.Time { return *x.End }), nil
}

func (p published) Intervals(_ context.Context, q influx.Query) ([]floorwatch.Interval, error) {
	return pick(p, q, func(x *floorwatch.Interval) string { return x.Zone }, func(x *floorwatch.Interval) floorwatch.Time { return x.Start }), nil
}

func (published) Counts(context.Context, influx.Query) ([]floorwatch.Count, error) { return nil, nil }

func (published) Gaps(context.Context, influx.Query) ([]floorwatch.Gap, error) { return nil, nil }

// ask queries the API as a program would, at the moment p.by.
func ask[T any](t *testing.T, p published, target string) (v T) {
	t.Helper()
	h := api.New(api.Settings{
		Sites:   site.Of(site.Registry{Stores: []site.Store{{ID: "s"}}, Edges: []site.Edge{{Store: "s", ID: "e", Cameras: []site.Camera{{Name: "cam", Scene: logScene()}}}}}),
		Figures: p, Now: func() time.Time { return p.by.Time() },
	})
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "localhost"
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// broken breaks a share of the queue's tracks: who is lost appears 0.5 to 20 s
// later as somebody else.
func broken(people []person, share float64, rng *rand.Rand) (cuts map[int64][2]int64) {
	cuts = map[int64][2]int64{}
	for _, p := range people {
		if p.wait() > 2 && rng.Float64() < share {
			at := 1 + rng.Int64N(p.wait()-1)
			cuts[p.id] = [2]int64{p.arrive + at, min(p.start-1, p.arrive+at+rng.Int64N(20))}
		}
	}
	return cuts
}

// TestWaitsWithoutIdentity: in windows of 5 minutes with three people and more the
// mean of an interval's crossings is within 4 % of the true mean wait, and within
// 5 % when a tenth of the tracks breaks.
func TestWaitsWithoutIdentity(t *testing.T) {
	for share, limit := range map[float64]float64{0: 0.04, 0.1: 0.05} {
		rng := rand.New(rand.NewPCG(1, 1))
		var off, mean float64
		for session, people := range readLog(t, "wellington.csv") {
			day := logDay(session)
			for _, r := range replay(t, day, people, broken(people, share, rng)) {
				iv, ok := r.(*floorwatch.Interval)
				if !ok || iv.Zone != "line" {
					continue
				}
				from := int64(iv.Start-day) / 1000
				want := truthOf(people, func(p person) bool { return p.start >= from && p.start < from+300 && p.wait() > 0 }, 0)
				if want.n >= 3 {
					off += math.Abs(iv.Crossings.Sum/float64(max(1, iv.Crossings.N)) - want.mean)
					mean += want.mean
				}
			}
		}
		t.Logf("%.0f %% broken: off by %.1f %%", 100*share, 100*off/mean)
		if mean == 0 || off/mean > limit {
			t.Errorf("%.0f %% broken: off by %.1f %% of the mean, want at most %.0f %%", 100*share, 100*off/mean, 100*limit)
		}
	}
}

// logDay gives each session a day of its own.
func logDay(session string) floorwatch.Time {
	if d, err := time.Parse("060102", session); err == nil {
		return floorwatch.TimeOf(d)
	}
	n, _ := strconv.Atoi(session)
	return floorwatch.TimeOf(time.Date(2022, 4, n, 0, 0, 0, 0, time.UTC))
}

// truth is what a log says of the waits that it selects, in seconds.
type truth struct {
	n, over, served, abandoned int
	mean, median, p90          float64
}

func truthOf(people []person, of func(person) bool, target int64) (x truth) {
	var all []int64
	var sum int64
	for _, p := range people {
		if !of(p) {
			continue
		}
		all = append(all, p.wait())
		sum += p.wait()
		if p.wait() > target {
			x.over++
		}
		if p.served {
			x.served++
		} else {
			x.abandoned++
		}
	}
	if x.n = len(all); x.n == 0 {
		return x
	}
	slices.Sort(all)
	x.mean = float64(sum) / float64(x.n)
	x.median, x.p90 = float64(all[(x.n+1)/2-1]), float64(all[(9*x.n+9)/10-1])
	return x
}

func got[T int | float64](v *T) (x T) {
	if v != nil {
		x = *v
	}
	return x
}

// TestWaitsOfRealQueues replays real queues as stays. Every wait that the log
// knows must come out as it was, and the queries must give the log's own figures.
func TestWaitsOfRealQueues(t *testing.T) {
	for _, name := range []string{"wellington.csv", "bank-feb-1999.csv"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			for session, people := range readLog(t, name) {
				day := logDay(session)
				recs := replay(t, day, people, nil)
				n += checkEveryWait(t, day, people, recs)
				checkWindows(t, day, people, recs, name == "wellington.csv")
			}
			t.Logf("%d waits as the log has them", n)
		})
	}
}

func checkEveryWait(t *testing.T, day floorwatch.Time, people []person, recs []floorwatch.Record) int {
	t.Helper()
	known := map[string]*floorwatch.Wait{}
	for _, r := range recs {
		if w, ok := r.(*floorwatch.Wait); ok {
			if known[w.ID] != nil {
				t.Errorf("wait %s comes twice", w.ID)
			}
			known[w.ID] = w
		}
	}
	for _, p := range people {
		from, to := day+floorwatch.Time(p.arrive)*1000, day+floorwatch.Time(p.start)*1000
		outcome, counter := floorwatch.OutcomeAbandoned, ""
		if p.served {
			outcome, counter = floorwatch.OutcomeServed, "till"
		}
		w := known[fmt.Sprintf("line-%d-%d", from, p.id)]
		if w == nil || w.End == nil || w.Enter != from || *w.End != to || w.Outcome != outcome || w.ServiceZone != counter ||
			!w.EnterSeen || w.Direct != (p.wait() == 0) || w.Zone != "line" {
			t.Errorf("%+v came out as %+v", p, w)
		}
	}
	if len(known) != len(people) {
		t.Errorf("%d waits for %d people", len(known), len(people))
	}
	return len(known)
}

// checkWindows compares windows of an hour, of the booths also of 5 minutes, and
// the whole day, in both cohorts.
func checkWindows(t *testing.T, day floorwatch.Time, people []person, recs []floorwatch.Record, booths bool) {
	t.Helper()
	all := published{recs, recs[len(recs)-1].Head().At}
	first, last := people[0].arrive, int64(0)
	for _, p := range people {
		first, last = min(first, p.arrive), max(last, p.end)
	}
	checkWindow(t, all, day, people, 0, 86400, 30)
	step := int64(3600)
	if booths {
		step = 300
	}
	for from := first / step * step; from <= last; from += step {
		checkWindow(t, all, day, people, from, from+step, 30)
	}
}

func checkWindow(t *testing.T, all published, day floorwatch.Time, people []person, from, to, target int64) {
	t.Helper()
	at := func(s int64) floorwatch.Time { return day + floorwatch.Time(s)*1000 }
	query := fmt.Sprintf("/api/waits/summary?zone=line&target=%d&from=%d&to=%d", target, at(from), at(to))
	s := ask[figures.WaitSummary](t, all, query)
	want := truthOf(people, func(p person) bool { return p.start >= from && p.start < to }, target)
	if s.Finished == nil {
		if want.n > 0 {
			t.Errorf("%s: no figures", query)
		}
		return
	}
	f := s.Finished
	have := truth{f.Waits.N, got(f.Waits.Over), f.Served, f.Abandoned, got(f.Waits.MeanS), got(f.Waits.MedianS), got(f.Waits.P90S)}
	if have != want || f.Unknown != 0 {
		t.Errorf("%s: %+v, want %+v", query, have, want)
	}
	if want.n > 0 && got(f.Waits.OverShare) != float64(want.over)/float64(want.n) {
		t.Errorf("%s: share %v", query, got(f.Waits.OverShare))
	}
	checkBegan(t, all, people, query, from, to, target)
	running := 0
	end := min(to, int64(s.SettledTo-day)/1000)
	for _, p := range people {
		if p.arrive < end && p.start >= end && p.wait() > 0 {
			running++
		}
	}
	if s.Running.N != running {
		t.Errorf("%s: %d run at the end, want %d", query, s.Running.N, running)
	}
}

// checkBegan: with nobody censored, survival is the plain figures of those who
// joined in the window.
func checkBegan(t *testing.T, all published, people []person, query string, from, to, target int64) {
	t.Helper()
	b := ask[figures.WaitSummary](t, all, query+"&cohort=began").Began
	want := truthOf(people, func(p person) bool { return p.arrive >= from && p.arrive < to }, target)
	if b == nil || b.N != want.n || b.Ended != want.n || b.LastCensored {
		t.Errorf("%s: began %+v, want %+v", query, b, want)
		return
	}
	if want.n == 0 {
		return
	}
	if math.Abs(got(b.RestrictedMeanS)-want.mean) > 1e-9 || got(b.MedianS) != want.median || got(b.P90S) != want.p90 ||
		math.Abs(got(b.OverShare)-float64(want.over)/float64(want.n)) > 1e-9 ||
		math.Abs(b.Outcomes[floorwatch.OutcomeServed]-float64(want.served)/float64(want.n)) > 1e-9 {
		t.Errorf("%s: began %+v, want %+v", query, b, want)
	}
}

// TestRunningWaitsAreCensored asks in the midst of the day: who still waits is in
// the cohort of those who joined, and no one's length is made up by it.
func TestRunningWaitsAreCensored(t *testing.T) {
	for session, people := range readLog(t, "bank-feb-1999.csv") {
		day := logDay(session)
		recs := replay(t, day, people, nil)
		for hour := int64(9); hour < 20; hour += 3 {
			now := day + floorwatch.Time(hour*3600+100)*1000
			s := ask[figures.WaitSummary](t, published{recs, now}, fmt.Sprintf("/api/waits/summary?cohort=began&from=%d&to=%d", day, now))
			if s.Began == nil {
				continue // before the session
			}
			asOf := int64(s.SettledTo-day) / 1000
			joined, running := 0, 0
			for _, p := range people {
				if p.arrive < asOf {
					joined++
					if p.start >= asOf && p.wait() > 0 {
						running++
					}
				}
			}
			if s.Began.N != joined || s.Began.Running != running || s.Running.N != running {
				t.Errorf("%s at %d h: %d joined, %d run (%+v), want %d and %d", session, hour, s.Began.N, s.Began.Running, s.Running, joined, running)
			}
		}
	}
}

// TestLittlesLawAtTheBooths: in windows of 5 minutes with three people and more
// the second measurement is within 6 % of the true mean wait, as the data's own
// description has it.
func TestLittlesLawAtTheBooths(t *testing.T) {
	var off, mean float64
	var n int
	for session, people := range readLog(t, "wellington.csv") {
		day := logDay(session)
		recs := replay(t, day, people, nil)
		s := ask[figures.WaitSeries](t, published{recs, recs[len(recs)-1].Head().At},
			fmt.Sprintf("/api/waits/series?step=300&from=%d&to=%d", day, day+86400_000))
		z := s.Zones[0]
		for i, from := range z.T {
			at := int64(from-day) / 1000
			want := truthOf(people, func(p person) bool { return p.start >= at && p.start < at+300 }, 0)
			if want.n < 3 || z.Little[i] == nil {
				continue
			}
			// The law is about those who stood in the queue; the truth counts all.
			share := *z.Departed[i] / float64(want.n)
			off += math.Abs(*z.Little[i]*share - want.mean)
			mean += want.mean
			n++
		}
	}
	if n < 10 || off/mean > 0.06 {
		t.Errorf("off by %.1f %% of the mean in %d windows, want at most 6 %%", 100*off/mean, n)
	}
	t.Logf("Little's law: %d windows, mean wait %.1f s, off by %.1f %%", n, mean/float64(n), 100*off/mean)
}
