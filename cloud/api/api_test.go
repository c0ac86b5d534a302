package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/figures"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/fmp4"
)

// memory is the caller's side: records in memory, with the query's bounds.
type memory struct {
	stays     []floorwatch.Stay
	waits     []floorwatch.Wait
	intervals []floorwatch.Interval
	counts    []floorwatch.Count
	asked     time.Duration // longest span of counts
	gaps      []floorwatch.Gap
	segments  []floorwatch.Segment
	clip      fmp4.Clip
	lines     []floorwatch.Frame
	err       error
	loads     int
}

func (m *memory) Stays(_ context.Context, q influx.Query) (out []floorwatch.Stay, err error) {
	for _, x := range m.stays {
		if figures.End(&x) >= q.From && figures.End(&x) < q.To && (q.Zone == "" || q.Zone == x.Zone) {
			out = append(out, x)
		}
	}
	return out, m.err
}

func (m *memory) Intervals(_ context.Context, q influx.Query) (out []floorwatch.Interval, err error) {
	for _, x := range m.intervals {
		if x.Start >= q.From && x.Start < q.To && (q.Zone == "" || q.Zone == x.Zone) {
			out = append(out, x)
		}
	}
	return out, m.err
}

func (m *memory) Waits(_ context.Context, q influx.Query) (out []floorwatch.Wait, err error) {
	for _, x := range m.waits {
		if figures.End(&x) >= q.From && figures.End(&x) < q.To && (q.Zone == "" || q.Zone == x.Zone) {
			out = append(out, x)
		}
	}
	return out, m.err
}

func (m *memory) Counts(_ context.Context, q influx.Query) (out []floorwatch.Count, err error) {
	m.asked = max(m.asked, q.To.Sub(q.From))
	for _, c := range m.counts {
		if c.End >= q.From && c.End < q.To && (q.Camera == "" || q.Camera == c.Camera) {
			out = append(out, c)
		}
	}
	return out, m.err
}

func (m *memory) Gaps(context.Context, influx.Query) ([]floorwatch.Gap, error) { return m.gaps, m.err }

func (m *memory) Segments(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]floorwatch.Segment, error) {
	return m.segments, nil
}

func (m *memory) Clip(context.Context, account.Identity, site.Source, floorwatch.Time, floorwatch.Time) (fmp4.Clip, error) {
	m.loads++
	if m.clip.Data == nil {
		return fmp4.Clip{}, vault.ErrNoFootage
	}
	return m.clip, nil
}

func (m *memory) Lines(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]floorwatch.Frame, error) {
	return m.lines, nil
}

func (m *memory) Still(context.Context, site.Source) ([]byte, floorwatch.Time, error) {
	return nil, 0, picture.ErrNone
}

const t0 floorwatch.Time = 1_750_000_020_000 // on a whole minute

// shop is a store s1 with one box.
func shop(timeZone string, cameras ...site.Camera) *site.Live {
	return site.Of(site.Registry{
		Stores: []site.Store{{ID: "s1", TimeZone: timeZone}},
		Edges:  []site.Edge{{Store: "s1", ID: "box", Cameras: cameras}},
	})
}

func camera(name string, scene floorwatch.Scene) site.Camera {
	return site.Camera{Name: name, Scene: scene}
}

func handler(m *memory) (http.Handler, *Hub, *fleet.Live) {
	live := fleet.NewLive()
	hub := NewHub(live)
	return New(Settings{
		Sites:   shop("", camera("cam", floorwatch.Scene{Zones: []floorwatch.Zone{{Name: "z", MinStay: time.Second}}})),
		Figures: m, Footage: m, Pictures: m, Hub: hub, Heartbeat: 20 * time.Millisecond,
		Now: func() time.Time { return t0.Add(10 * time.Minute).Time() },
	}), hub, live
}

func get(t *testing.T, h http.Handler, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "127.0.0.1:8080"
	h.ServeHTTP(w, r)
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestHostileParameters(t *testing.T) {
	h, _, _ := handler(&memory{})
	for target, want := range map[string]int{
		"/api/stays": 200,
		"/api/stays?store=s1&edge=box&camera=cam&zone=z": 200,
		"/api/stays?store=S1":                            400,
		"/api/stays?store=s1'--":                         400,
		"/api/stays?store=..%2F..%2Fetc":                 400,
		"/api/stays?zone=%22%20or%20true":                400,
		"/api/stays?zone=" + strings.Repeat("a", 41):     400,
		"/api/stays?store=s1&store=s2":                   400,
		"/api/stays?store=other":                         404,
		"/api/stays?edge=other":                          404,
		"/api/still.jpg?camera=other":                    404,
		"/api/still.jpg":                                 404,
		"/api/stays?from=yesterday":                      400,
		"/api/stays?from=-1":                             400,
		"/api/stays?from=9223372036854775808":            400,
		"/api/stays?from=8000000000000":                  400,
		"/api/stays?from=2025-06-15T15:00:00Z":           200,
		"/api/stays?from=2&to=1":                         400,
		"/api/stays?from=1&to=1":                         400,
		"/api/stays?from=0":                              400, // 55 years
		"/api/stays?limit=0":                             400,
		"/api/stays?limit=1e9":                           400,
		"/api/stays?format=xml":                          400,
		"/api/series?step=7":                             400,
		"/api/series?step=15":                            400,
		"/api/series?step=10&from=1748000000000":         400,
		"/api/series?step=60":                            200,
		"/api/clip?tracks=1,x":                           400,
		"/api/clip?tracks=-1":                            400,
		"/api/clip?tracks=" + strings.Repeat("1,", 70):   400,
		"/api/clip?from=1749999000000&to=1750000000000":  400, // too long
		"/api/clip.mp4?from=1749999990000":               404, // within bounds, but no footage
		"/api/none":                                      404,
		"/":                                              404,
		"/api/stays?x=" + strings.Repeat("a", maxURL):    414,
		"/healthz":                         200,
		"/api/intervals?limit=5":           200,
		"/api/timeline?from=1749999990000": 200,
		"/api/sites":                       200,
		"/api/live":                        200,
	} {
		w := get(t, h, target)
		if target == "/api/clip.mp4?from=1749999990000" || target == "/api/clip.mp4" {
			w = get(t, h, "/api/clip.mp4?from="+ms(t0)+"&to="+ms(t0+1000))
		}
		if w.Code != want {
			t.Errorf("%.80s: %d, want %d: %s", target, w.Code, want, w.Body)
		}
		var f map[string]string
		if w.Code >= 400 && target != "/" && (json.Unmarshal(w.Body.Bytes(), &f) != nil || f["error"] == "" || f["hint"] == "") {
			t.Errorf("%.80s: error without words: %s", target, w.Body)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%.80s: security headers are missing", target)
		}
	}
}

func TestHostsMethodsAndSites(t *testing.T) {
	h, _, _ := handler(&memory{})
	for _, c := range []struct {
		method, host, site string
		want               int
	}{
		{"GET", "localhost:8080", "", 200},
		{"GET", "[::1]:8080", "", 200},
		{"GET", "127.0.0.9", "same-origin", 200},
		{"HEAD", "localhost", "", 200},
		{"OPTIONS", "localhost", "", 204},
		{"POST", "localhost", "", 405},
		{"DELETE", "localhost", "", 405},
		{"GET", "evil.example", "", 403},
		{"GET", "localhost.evil.example:8080", "", 403},
		{"GET", "192.168.1.4", "", 403},
		{"GET", "", "", 403},
		{"GET", "localhost", "cross-site", 403},
	} {
		r := httptest.NewRequest(c.method, "/api/sites", strings.NewReader("x"))
		r.Host = c.host
		r.Header.Set("Sec-Fetch-Site", c.site)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %s %s: %d, want %d", c.method, c.host, c.site, w.Code, c.want)
		}
		if w.Code == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("405 without Allow")
		}
	}
}

// TestEndpointsAreDocumented: whoever asks for what there is not is sent to this
// page.
func TestEndpointsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("api.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\{"(?:GET|POST|DELETE) (/\S+)",`).FindAllSubmatch(code, -1)
	if len(found) < 20 {
		t.Fatalf("%d endpoints in api.go", len(found))
	}
	for _, m := range found {
		if !strings.Contains(string(page), "| `"+string(m[1])+"` |") {
			t.Errorf("docs/api.md does not list %s", m[1])
		}
	}
}

func TestErrorsOfOursStayOurs(t *testing.T) {
	h, _, _ := handler(&memory{err: errors.New("token=secret refused by influx")})
	w := get(t, h, "/api/stays")
	if w.Code != http.StatusBadGateway || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func stay(zone string, enter floorwatch.Time, seconds float64) floorwatch.Stay {
	end := enter + floorwatch.Time(seconds*1000)
	return floorwatch.Stay{Header: floorwatch.Header{Kind: "stay", Camera: "cam", Zone: zone, ID: "a", Rev: "r2"}, Enter: enter, Exit: &end, SeenS: seconds}
}

func interval(start floorwatch.Time, rev string, observed, person float64, stays ...float64) floorwatch.Interval {
	x := floorwatch.Interval{
		Header: floorwatch.Header{Kind: "interval", Camera: "cam", Zone: "z", Rev: rev}, Start: start, End: start.Add(10 * time.Second),
		ObservedS: observed, Coverage: observed / 10, PersonS: person, Arrived: int64(len(stays)), Appeared: 1,
	}
	if observed == 0 {
		x.Appeared = 0
	}
	for _, s := range stays {
		x.Stays.Add(s)
	}
	return x
}

func TestSeries(t *testing.T) {
	m := &memory{}
	m.intervals = []floorwatch.Interval{
		interval(t0.Add(-60*time.Second), "r1", 10, 90),        // before the zone was redrawn
		interval(t0, "r2", 10, 20, 2, 4),                       // two buckets of 30 s: fully,
		interval(t0.Add(10*time.Second), "r2", 5, 10, 6),       // half,
		interval(t0.Add(20*time.Second), "r2", 0, 0),           // and not observed
		interval(t0.Add(30*time.Second), "r2", 0, 0),           // nobody watched at all
		interval(t0.Add(60*time.Second), "r2", 10, 0),          // nobody was there
		interval(t0.Add(9*time.Minute), "r2", 10, 30, 1, 2, 3), // newest
	}
	for _, s := range []float64{2, 4, 6} {
		m.stays = append(m.stays, stay("z", t0, s))
	}
	h, _, _ := handler(m)
	q := "/api/series?step=30&from=" + ms(t0.Add(-time.Minute)) + "&to=" + ms(t0.Add(10*time.Minute))
	got := decode[figures.Series](t, get(t, h, q))
	if got.StepS != 30 || got.P90Method != "nearest-rank" || len(got.Zones) != 1 {
		t.Fatalf("%+v", got)
	}
	z := got.Zones[0]
	at := func(sec int) int { return (sec + 60) / 30 }
	check := func(what string, sec int, got, want *float64) {
		t.Helper()
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s at %d s: %s, want %s", what, sec, optional(got), optional(want))
		}
	}
	check("coverage before redrawing", -60, z.Coverage[at(-60)], nil)
	check("occupancy before redrawing", -60, z.Occupancy[at(-60)], nil)
	check("coverage", 0, z.Coverage[at(0)], new(0.5))
	check("occupancy", 0, z.Occupancy[at(0)], new(2.0))
	check("arrivals", 0, z.Arrivals[at(0)], new(5.0))
	check("mean", 0, z.Mean[at(0)], new(4.0))
	check("p90", 0, z.P90[at(0)], new(6.0))
	check("coverage, none", 30, z.Coverage[at(30)], new(0.0))
	check("occupancy, none", 30, z.Occupancy[at(30)], nil)
	check("arrivals, none", 30, z.Arrivals[at(30)], nil)
	check("occupancy, nobody there", 60, z.Occupancy[at(60)], new(0.0))
	check("mean, nobody there", 60, z.Mean[at(60)], nil)
	check("coverage of a hole", 300, z.Coverage[at(300)], new(0.0))
	if last := len(z.T) - 1; !z.Pending[last] || z.Coverage[last] != nil || z.Pending[at(300)] {
		t.Errorf("the newest bucket must be pending, an old hole not")
	}
	if z.Redrawn == nil || *z.Redrawn != t0.Add(-50*time.Second) {
		t.Errorf("redrawn %v", z.Redrawn)
	}
}

func TestSeriesStepHoldsWholeIntervals(t *testing.T) {
	m := &memory{}
	x := interval(t0, "r", 10, 1)
	x.Start = t0.Floor(5 * time.Minute)
	x.End = x.Start.Add(5 * time.Minute)
	m.intervals = append(m.intervals, x)
	h, _, _ := handler(m)
	got := decode[figures.Series](t, get(t, h, "/api/series?from="+ms(t0.Add(-10*time.Minute))+"&to="+ms(t0.Add(10*time.Minute))))
	if got.StepS != 300 || got.From%300_000 != 0 {
		t.Errorf("step %v from %v: five-minute intervals need buckets of five minutes", got.StepS, got.From)
	}
}

func TestCSVIsSafeForSpreadsheets(t *testing.T) {
	x := stay("z", t0, 2.5)
	x.ID = `=HYPERLINK("x")`
	x.By = "@sum"
	h, _, _ := handler(&memory{stays: []floorwatch.Stay{x}})
	w := get(t, h, "/api/stays?format=csv&from="+ms(t0-1000))
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v %v", rows, err)
	}
	row := map[string]string{}
	for i, name := range rows[0] {
		row[name] = rows[1][i]
	}
	if row["id"] != `'=HYPERLINK("x")` || row["detector"] != "'@sum" || row["enter_utc"] != t0.String() || row["duration_s"] != "2.5" {
		t.Errorf("%q", row)
	}
	if d := w.Header().Get("Content-Disposition"); !strings.Contains(d, "floorwatch_stays_s1_") {
		t.Errorf("disposition %q", d)
	}
}

func TestStaysAreNewestFirst(t *testing.T) {
	m := &memory{stays: []floorwatch.Stay{stay("z", t0, 1), stay("z", t0, 9), stay("z", t0, 5)}}
	h, _, _ := handler(m)
	got := decode[struct {
		Stays []stayView
		Limit bool `json:"limit_reached"`
	}](t, get(t, h, "/api/stays?limit=2&from="+ms(t0-1000)))
	if len(got.Stays) != 2 || got.Stays[0].DurationS != 9 || got.Stays[1].DurationS != 5 || !got.Limit {
		t.Errorf("%+v", got)
	}
}

func TestTimelineExplainsAllTime(t *testing.T) {
	min := func(n int) floorwatch.Time { return t0.Add(time.Duration(n) * time.Minute) }
	m := &memory{
		segments: []floorwatch.Segment{
			{Start: min(1), End: min(2)}, {Start: min(2) + 400, End: min(3)}, // one span
			{Start: min(5), End: min(6)}, {Start: min(7), End: min(9)},
		},
		gaps: []floorwatch.Gap{
			{Header: floorwatch.Header{Camera: "cam"}, Of: "footage", From: min(3), To: new(min(5)), Cause: "stall"},
			{Header: floorwatch.Header{Camera: "other"}, Of: "footage", From: min(3), To: new(min(5)), Cause: "no"},
			{Of: "observation", From: min(4), Cause: "down"},
			{Of: "records", From: 0, To: new(min(2)), Cause: floorwatch.CauseRestored},
		},
	}
	h, _, _ := handler(m)
	got := decode[struct {
		Footage     []spanView `json:"footage"`
		Gaps        []spanView `json:"footage_gaps"`
		Observation []spanView `json:"observation_gaps"`
		Records     []spanView `json:"record_gaps"`
	}](t, get(t, h, "/api/timeline?from="+ms(t0)+"&to="+ms(min(10))))
	want := []spanView{{min(3), min(5), "stall"}, {min(6), min(7), causeUnexplained}, {min(9), min(10), causeOpen}}
	if len(got.Records) != 1 || (got.Records[0] != spanView{t0, min(2), floorwatch.CauseRestored}) {
		t.Errorf("records that may be missing: %+v", got.Records)
	}
	if len(got.Footage) != 3 || len(got.Gaps) != 3 || len(got.Observation) != 1 || got.Observation[0].End != min(10) {
		t.Fatalf("%+v", got)
	}
	for i, g := range got.Gaps {
		if g != want[i] {
			t.Errorf("gap %d: %+v, want %+v", i, g, want[i])
		}
	}
}

func TestClipMarksTheWantedOnlyInTheirRun(t *testing.T) {
	person := []floorwatch.Person{{ID: 5, X: 1, Y: 2, W: 3, H: 4}, {ID: 6, W: 1, H: 1}}
	m := &memory{
		clip: fmp4.Clip{Start: t0, End: t0 + 5000, Data: bytes.Repeat([]byte("x"), 1000), Codec: "avc1.42c01f"},
		lines: []floorwatch.Frame{
			{T: t0 + 100, W: 8, H: 6, People: person},
			{T: t0 + 200, Event: floorwatch.EventOpen},
			{T: t0 + 300, W: 8, H: 6, People: person},
			{T: t0 + 400, Event: floorwatch.EventStall},
			{T: t0 + 500, Event: floorwatch.EventOpen},
			{T: t0 + 600, W: 8, H: 6, People: person},
		},
	}
	h, _, _ := handler(m)
	got := decode[struct {
		URL    string
		Start  floorwatch.Time
		Frames []frameView
	}](t, get(t, h, "/api/clip?tracks=5,7&at="+ms(t0+350)+"&from="+ms(t0)+"&to="+ms(t0+5000)))
	var marked []floorwatch.Time
	for _, f := range got.Frames {
		if f.People[0].Wanted {
			marked = append(marked, f.T)
		}
		if f.People[1].Wanted {
			t.Error("a person who was not asked for is marked")
		}
	}
	if len(got.Frames) != 3 || len(marked) != 1 || marked[0] != t0+300 {
		t.Errorf("marked %v of %+v", marked, got.Frames)
	}
	r := httptest.NewRequest("GET", got.URL, nil)
	r.Host = "localhost"
	r.Header.Set("Range", "bytes=10-19")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusPartialContent || w.Body.Len() != 10 || w.Header().Get("Content-Range") != "bytes 10-19/1000" {
		t.Errorf("range: %d %v", w.Code, w.Header())
	}
	if m.loads != 1 {
		t.Errorf("the clip was built %d times, want once", m.loads)
	}
}

// lines of an event stream, as they come.
func stream(t *testing.T, h http.Handler) *bufio.Scanner {
	t.Helper()
	srv := httptest.NewServer(h)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(srv.Close)
	t.Cleanup(stop)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return bufio.NewScanner(resp.Body)
}

func wantLine(t *testing.T, sc *bufio.Scanner, part string) {
	t.Helper()
	for sc.Scan() {
		if strings.Contains(sc.Text(), part) {
			return
		}
	}
	t.Fatalf("the stream ended before %q", part)
}

func TestEvents(t *testing.T) {
	h, hub, live := handler(&memory{})
	_ = live.PutLive("s1", "box", floorwatch.Live{Zone: "z", T: 2, People: 4})
	_ = live.PutLive("s1", "box", floorwatch.Live{Zone: "z", T: 1, People: 9}) // late: not newer
	_ = live.PutState("s1", "box", floorwatch.State{State: floorwatch.StateOnline})
	sc := stream(t, h)
	wantLine(t, sc, "event: state")
	wantLine(t, sc, `"occupancy":4`)
	wantLine(t, sc, "event: ping")
	x := stay("z", t0, 2)
	hub.PublishStored("s1", "box", []floorwatch.Record{&x, &floorwatch.Deleted{}})
	wantLine(t, sc, "event: stay")
	wantLine(t, sc, `"duration_s":2`)
	hub.Close()
	for sc.Scan() {
	}
	if hub.Clients() != 0 {
		t.Errorf("%d clients after Close", hub.Clients())
	}
}

// TestEventsOfOneStore: a page of one of thousands of halls hears nothing of the others.
func TestEventsOfOneStore(t *testing.T) {
	h, hub, live := handler(&memory{})
	put := func(store string, people int) {
		_ = live.PutLive(store, "box", floorwatch.Live{Zone: "z", T: floorwatch.Time(people), People: people})
	}
	put("s1", 1)
	put("s2", 2)
	if _, _, c, ok := hub.join("s1"); !ok {
		t.Fatal("join")
	} else {
		x := stay("z", t0, 2)
		for _, store := range []string{"s1", "s2"} {
			put(store, 3)
			hub.PublishStored(store, "box", []floorwatch.Record{&x})
		}
		hub.Close()
		for e := range c {
			if !strings.Contains(string(e.data), `"store":"s1"`) {
				t.Errorf("heard %s %s", e.name, e.data)
			}
		}
	}
	for target, want := range map[string]int{"/api/live": 2, "/api/live?store=s1": 1, "/api/live?store=s3": 0} {
		if got := decode[struct{ Zones []any }](t, get(t, h, target)); len(got.Zones) != want {
			t.Errorf("%s has %d zones, want %d", target, len(got.Zones), want)
		}
	}
	if w := get(t, h, "/api/events?store=S%2F1"); w.Code != http.StatusBadRequest {
		t.Errorf("no name of a store: %d", w.Code)
	}
}

func TestHubDropsTheSlowAndBoundsTheMany(t *testing.T) {
	live := fleet.NewLive()
	hub := NewHub(live)
	_, _, slow, ok := hub.join("")
	if !ok {
		t.Fatal("join")
	}
	for i := range clientRoom + 1 {
		_ = live.PutLive("s", "e", floorwatch.Live{Zone: "z", T: floorwatch.Time(i)})
	}
	if hub.Clients() != 0 {
		t.Error("a client that reads nothing stays")
	}
	n := 0
	for range slow {
		n++
	}
	if n != clientRoom {
		t.Errorf("%d events, want %d", n, clientRoom)
	}
	hub.leave(slow) // after it was dropped: nothing to close twice
	for range maxClients {
		if _, _, _, ok := hub.join(""); !ok {
			t.Fatal("refused below the bound")
		}
	}
	h := New(Settings{Figures: &memory{}, Hub: hub})
	if w := get(t, h, "/api/events"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d beyond the bound", w.Code)
	}
}

func FuzzParameters(f *testing.F) {
	for _, s := range []string{"store=s1&from=1&to=2", "tracks=1,2&at=9", "from=2025-06-15T15:00:00Z", "zone=%00&limit=-1", "step=10;x", "a=%zz", "cohort=began&target=1e9"} {
		f.Add(s)
	}
	h, _, _ := handler(&memory{clip: fmp4.Clip{Start: t0, End: t0 + 1, Data: []byte("x")}})
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/api/stays", "/api/series", "/api/clip", "/api/timeline", "/api/waits/summary", "/api/waits/series"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host, r.URL.RawQuery = "localhost", query
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s?%s: %d", path, query, w.Code)
			}
			if _, err := io.Copy(io.Discard, w.Body); err != nil {
				t.Error(err)
			}
		}
	})
}
