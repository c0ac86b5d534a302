package web_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/api"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/web"
	"floorwatch/internal/config"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/lab/webtest"
)

// hall is a store in memory with a queue and two counters: a simulated hour of
// customers, of whom everything that the page shows is computed.
type hall struct {
	scene       floorwatch.Scene
	end         floorwatch.Time // of what has settled
	stays       []floorwatch.Stay
	waits       []floorwatch.Wait
	intervals   []floorwatch.Interval
	still, film []byte
	filmStart   floorwatch.Time
}

const hallMinutes = 70

// newHall simulates customers who come one by one, wait for the first of two
// counters that is free, and give up when it takes too long.
func newHall(t *testing.T) *hall {
	t.Helper()
	scene, err := config.LoadScene(filepath.Join("..", "..", "cmd", "floorwatch", "testdata", "hall.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{scene: scene, end: floorwatch.TimeOf(time.Now()).Floor(time.Minute)}
	rng := rand.New(rand.NewPCG(7, 7))
	start := h.end.Add(-hallMinutes * time.Minute)
	free := [2]floorwatch.Time{start, start}
	at := start
	for id := int64(1); ; id++ {
		at += floorwatch.Time(rng.ExpFloat64() * 62_000)
		if at >= h.end+60_000 {
			break
		}
		h.customer(rng, id, at, &free)
	}
	h.measure(start)
	h.kiosk()
	h.shoot(t)
	return h
}

func (h *hall) customer(rng *rand.Rand, id int64, at floorwatch.Time, free *[2]floorwatch.Time) {
	k := 0
	if free[1] < free[0] {
		k = 1
	}
	begin := max(at, free[k])
	counter := fmt.Sprintf("counter-%d", k+1)
	patience := at + floorwatch.Time(120_000+rng.ExpFloat64()*400_000)
	switch {
	case begin > at && rng.IntN(25) == 0: // lost in the queue
		h.join(id, at, at+(begin-at)/2, floorwatch.OutcomeUnknown, "")
		return
	case begin > patience:
		h.join(id, at, patience, floorwatch.OutcomeAbandoned, "")
		return
	case begin <= at:
		h.wait(id, at, at, floorwatch.OutcomeServed, counter).Direct = true
	default:
		begin += 1000
		h.join(id, at, begin, floorwatch.OutcomeServed, counter)
	}
	free[k] = begin + floorwatch.Time(40_000+rng.ExpFloat64()*65_000)
	h.stay(counter, id, begin, free[k], true)
}

// join is a stay in the queue and its wait.
func (h *hall) join(id int64, from, to floorwatch.Time, outcome, counter string) {
	out := to
	if counter != "" {
		out -= 1000 // the way to the counter
	}
	h.stay("counter-queue", id, from, max(out, from+500), outcome != floorwatch.OutcomeUnknown)
	h.wait(id, from, to, outcome, counter)
}

func (h *hall) wait(id int64, from, to floorwatch.Time, outcome, counter string) *floorwatch.Wait {
	h.waits = append(h.waits, floorwatch.Wait{
		Header: floorwatch.Header{Kind: floorwatch.KindWait, Camera: "hall", Zone: "counter-queue", ID: fmt.Sprintf("counter-queue-%d-%d", from, id), At: to, Rev: h.scene.Rev()},
		Enter:  from, End: &to, Outcome: outcome, ServiceZone: counter, EnterSeen: true,
	})
	return &h.waits[len(h.waits)-1]
}

func (h *hall) stay(zone string, id int64, from, to floorwatch.Time, seen bool) {
	h.stays = append(h.stays, floorwatch.Stay{
		Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "hall", Zone: zone, ID: fmt.Sprintf("%s-%d-%d", zone, from, id), At: to, Rev: h.scene.Rev()},
		Enter:  from, Exit: &to, EnterSeen: true, ExitSeen: seen, SeenS: floorwatch.Seconds(to.Sub(from)), Tracks: []int64{id},
	})
}

// kiosk adds a queue without a counter in view, in which six people stood.
func (h *hall) kiosk() {
	for i := range 6 {
		from := h.end.Add(-time.Duration(10+5*i) * time.Minute)
		h.waits = append(h.waits, floorwatch.Wait{
			Header: floorwatch.Header{Kind: floorwatch.KindWait, Camera: "kiosk", Zone: "tickets", ID: fmt.Sprintf("tickets-%d-%d", from, i), Rev: "k"},
			Enter:  from, End: new(from.Add(90 * time.Second)), Outcome: floorwatch.OutcomeLeft, EnterSeen: i > 0,
		})
		iv := floorwatch.Interval{Start: h.end.Add(-time.Duration(5+5*i) * time.Minute), ObservedS: 300, PersonS: 90, Departed: 1}
		iv.End, iv.Camera, iv.Zone, iv.Rev = iv.Start.Add(5*time.Minute), "kiosk", "tickets", "k"
		h.intervals = append(h.intervals, iv)
	}
}

// measure adds up minutes; nothing was watched for five of them.
func (h *hall) measure(start floorwatch.Time) {
	for at := start; at < h.end; at = at.Add(time.Minute) {
		for _, z := range h.scene.Zones {
			iv := floorwatch.Interval{
				Header: floorwatch.Header{Kind: floorwatch.KindInterval, Camera: "hall", Zone: z.Name, Rev: h.scene.Rev()},
				Start:  at, End: at.Add(time.Minute), Coverage: 1, ObservedS: 60,
			}
			if m := int(h.end.Sub(at).Minutes()); m > 20 && m <= 25 {
				iv.Coverage, iv.ObservedS = 0, 0
			} else {
				h.add(&iv)
			}
			h.intervals = append(h.intervals, iv)
		}
	}
	known := func(t floorwatch.Time) bool { return t < h.end }
	h.stays = slices.DeleteFunc(h.stays, func(x floorwatch.Stay) bool { return !known(*x.Exit) })
	h.waits = slices.DeleteFunc(h.waits, func(x floorwatch.Wait) bool { return !known(*x.End) })
}

func (h *hall) add(iv *floorwatch.Interval) {
	in := func(t floorwatch.Time) bool { return t >= iv.Start && t < iv.End }
	for _, x := range h.stays {
		if x.Zone != iv.Zone {
			continue
		}
		iv.PersonS += floorwatch.Seconds(max(0, min(*x.Exit, iv.End).Sub(max(x.Enter, iv.Start))))
		if in(x.Enter) {
			iv.Arrived++
		}
		if in(*x.Exit) {
			iv.Stays.Add(floorwatch.Seconds(x.Exit.Sub(x.Enter)))
			if x.ExitSeen {
				iv.Departed++
			} else {
				iv.Lost++
			}
		}
		if x.Enter < iv.End && *x.Exit >= iv.End {
			iv.Inside++
		}
	}
	iv.Occupancy = iv.PersonS / iv.ObservedS
	iv.Crossings, iv.Quality = iv.Stays, 1-0.02*float64(iv.Start/60_000%20)
}

// shoot draws a floor with two counters and a few people, and a short film of it
// in which one walks, about the newest wait that led to a counter.
func (h *hall) shoot(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	box := func(x, y, w, hh string, colour string) string {
		return fmt.Sprintf("drawbox=x=%s:y=%s:w=%s:h=%s:color=%s:t=fill", x, y, w, hh, colour)
	}
	floor := []string{
		box("0", "0", "768", "140", "0x5b6770"), box("110", "100", "210", "46", "0x8a6f4d"), box("420", "100", "210", "46", "0x8a6f4d"),
		box("150", "160", "30", "80", "0x274690"), box("490", "160", "30", "80", "0x7d2e4f"),
	}
	for i := range 4 {
		floor = append(floor, box(fmt.Sprint(200+90*i), fmt.Sprint(340+10*(i%2)), "30", "84", []string{"0x2f5d50", "0x6b4e71", "0x37506b", "0x80532b"}[i]))
	}
	film, still := filepath.Join(dir, "film.mp4"), filepath.Join(dir, "still.jpg")
	src := []string{"-f", "lavfi", "-i", "color=c=0xb9c2c6:size=768x576:rate=10"}
	ffmpeg(t, append(src, "-t", "20", "-vf", strings.Join(floor, ","), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
		"-g", "10", "-bf", "0", "-movflags", "frag_keyframe+empty_moov+default_base_moof", film)...)
	ffmpeg(t, "-i", film, "-frames:v", "1", "-q:v", "4", still)
	for name, to := range map[string]*[]byte{film: &h.film, still: &h.still} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		*to = b
	}
	h.filmStart = h.newest().Enter - 5000
}

// newest is the wait that ended last.
func (h *hall) newest() floorwatch.Wait {
	return slices.MaxFunc(h.waits, func(a, b floorwatch.Wait) int { return int(*a.End - *b.End) })
}

func (h *hall) Waits(_ context.Context, q influx.Query) ([]floorwatch.Wait, error) {
	return choose(h.waits, q, func(x floorwatch.Wait) (floorwatch.Header, floorwatch.Time) { return x.Header, *x.End }), nil
}

func (h *hall) Stays(_ context.Context, q influx.Query) ([]floorwatch.Stay, error) {
	return choose(h.stays, q, func(x floorwatch.Stay) (floorwatch.Header, floorwatch.Time) { return x.Header, *x.Exit }), nil
}

func (h *hall) Intervals(_ context.Context, q influx.Query) ([]floorwatch.Interval, error) {
	return choose(h.intervals, q, func(x floorwatch.Interval) (floorwatch.Header, floorwatch.Time) { return x.Header, x.Start }), nil
}

func (*hall) Counts(context.Context, influx.Query) ([]floorwatch.Count, error) { return nil, nil }

func (h *hall) Gaps(context.Context, influx.Query) ([]floorwatch.Gap, error) { return nil, nil }

func choose[T any](all []T, q influx.Query, key func(T) (floorwatch.Header, floorwatch.Time)) (out []T) {
	for _, x := range all {
		h, at := key(x)
		if (q.Camera == "" || q.Camera == h.Camera) && (q.Zone == "" || q.Zone == h.Zone) && at >= q.From && at < q.To {
			out = append(out, x)
		}
	}
	return out
}

func (h *hall) Segments(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]floorwatch.Segment, error) {
	return []floorwatch.Segment{{Start: h.end.Add(-50 * time.Minute), End: h.end}}, nil
}

func (h *hall) Clip(context.Context, account.Identity, site.Source, floorwatch.Time, floorwatch.Time) (fmp4.Clip, error) {
	return fmp4.Clip{Start: h.filmStart, End: h.filmStart + 20_000, Data: h.film, Codec: "avc1.42c01f"}, nil
}

// Lines has the customer of the newest wait stand at one place.
func (h *hall) Lines(_ context.Context, _ site.Source, from, to floorwatch.Time) (out []floorwatch.Frame, err error) {
	var id int64
	newest := h.newest()
	if _, err := fmt.Sscanf(newest.ID[strings.LastIndex(newest.ID, "-"):], "-%d", &id); err != nil {
		return nil, err
	}
	for at := h.filmStart; at < h.filmStart+20_000; at += 100 {
		if at >= from && at < to {
			out = append(out, floorwatch.Frame{T: at, W: 768, H: 576, People: []floorwatch.Person{{ID: id, X: 200, Y: 340, W: 30, H: 84, Score: 1}}})
		}
	}
	return out, nil
}

func (h *hall) Still(context.Context, site.Source) ([]byte, floorwatch.Time, error) {
	return h.still, floorwatch.TimeOf(time.Now()) - 1000, nil
}

func (h *hall) live(zone string, people, queue int, longest float64) floorwatch.Live {
	return floorwatch.Live{
		V: floorwatch.Version, Camera: "hall", Zone: zone, T: floorwatch.TimeOf(time.Now()), ValidS: 60,
		Coverage: 1, People: people, Queue: queue, LongestS: longest,
	}
}

func (h *hall) registry() site.Registry {
	kiosk := []floorwatch.Zone{{Name: "tickets", Label: floorwatch.Label{ZH: "取票", EN: "Tickets"}, Role: floorwatch.RoleQueue, Polygon: []floorwatch.Point{{X: 9, Y: 9}, {X: 99, Y: 9}, {X: 9, Y: 99}}}}
	yard := []floorwatch.Zone{{Name: "yard", Label: floorwatch.Label{ZH: "门口", EN: "Entrance"}, Polygon: []floorwatch.Point{{X: 9, Y: 9}, {X: 99, Y: 9}, {X: 9, Y: 99}}}}
	return site.Registry{
		Stores: []site.Store{{ID: "demo", Label: floorwatch.Label{ZH: "演示门店", EN: "Demo store"}, TimeZone: "Asia/Shanghai"}},
		Edges: []site.Edge{{Store: "demo", ID: "box1", Label: floorwatch.Label{ZH: "一号设备", EN: "Box 1"}, Cameras: []site.Camera{
			{Name: "hall", Label: floorwatch.Label{ZH: "大厅", EN: "Hall"}, Scene: h.scene, Stream: h.scene.Picture},
			{Name: "kiosk", Label: floorwatch.Label{ZH: "取票机", EN: "Kiosk"}, Scene: floorwatch.Scene{Zones: kiosk}, Stream: h.scene.Picture},
			{Name: "yard", Label: floorwatch.Label{ZH: "院子", EN: "Yard"}, Scene: floorwatch.Scene{Zones: yard}, Stream: h.scene.Picture},
		}}},
	}
}

// TestWaitsInChromium opens the page of a camera with a queue and two counters.
func TestWaitsInChromium(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	checkHall(t, h)
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	rules := h.standards(t)
	rules.issue(t, "acme", h.end.Add(-2*time.Hour), 300, 0.9)
	srv := httptest.NewServer(api.New(api.Settings{
		Sites: rules.sites, Figures: h, Footage: h, Pictures: h, Hub: hub, Pages: web.Handler(),
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	show(t, boxes.PutState, "demo", "box1", floorwatch.State{V: 1, State: floorwatch.StateOnline})
	show(t, boxes.PutLive, "demo", "box1", h.live("counter-queue", 4, 3, 95.4))
	show(t, boxes.PutLive, "demo", "box1", h.live("counter-1", 1, 0, 40))
	show(t, boxes.PutLive, "demo", "box1", h.live("counter-2", 1, 0, 12))

	ctx := webtest.Browser(t)
	var bad webtest.Faults
	bad.Watch(ctx, strings.TrimPrefix(srv.URL, "http://"))
	webtest.Run(t, ctx, "open", clog.Enable(), network.Enable(), chromedp.EmulateViewport(1400, 900), chromedp.Navigate(srv.URL+"/?lang=en"))
	checkWaits(t, ctx, h, hub, boxes)
	checkTrust(t, ctx)
	checkCompare(t, ctx)
	shot(t, ctx, "waits-en", true)
	checkBegan(t, ctx)
	checkWaitClip(t, ctx, h)
	webtest.Run(t, ctx, "switch", chromedp.Click(`#lang`))
	webtest.Until(t, ctx, `document.querySelector('#h-waits').innerText === '等候' && document.querySelector('.queue h3').innerText === '排队区'`)
	checkChinese(t, ctx)
	webtest.Until(t, ctx, `import('/js/net.js').then((m) => m.explain(new m.Failure(413, 'too many', 'ask for less')) === '这段时间的数据太多。请选更短的时间。')`)
	shot(t, ctx, "waits-zh", true)
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390`)
	shot(t, ctx, "waits-phone-zh", true)
	webtest.Run(t, ctx, "queue without counter", look("1"))
	webtest.Until(t, ctx, fig("left")+`.startsWith('离开队伍 6') && `+fig("waitmean")+`.includes('1 分 30 秒') && !`+fig("served")+` && !`+fig("service"))
	webtest.Until(t, ctx, `document.querySelectorAll('#queues .plot canvas').length === 2 && document.querySelector('.now b').innerText === '–'`)
	shot(t, ctx, "waits-kiosk-phone-zh", true)
	// A camera without a queue keeps its page.
	webtest.Run(t, ctx, "other camera", look("2"))
	webtest.Until(t, ctx, `document.querySelector('#waits').hidden && !document.querySelector('#def-wait') && document.title.includes('院子')`)
	for _, f := range bad.All() {
		t.Error(f)
	}
}

// look chooses a camera by its place in the list.
func look(i string) chromedp.Action {
	return chromedp.Evaluate(`(() => { const s = document.querySelector('#where select'); s.value = '`+i+`'; s.dispatchEvent(new Event('change')); })()`, nil)
}

// fig is the text of a tile, found by its definition.
func fig(def string) string {
	return `[...document.querySelectorAll('.fig')].filter(e => e.querySelector('[data-def="` + def + `"]')).map(e => e.innerText.replace(/\s+/g, ' ').trim()).join(' | ')`
}

func checkWaits(t *testing.T, ctx context.Context, h *hall, hub *api.Hub, boxes *fleet.Live) {
	t.Helper()
	webtest.Until(t, ctx, `!document.querySelector('#waits').hidden && document.querySelectorAll('#queues .plot canvas').length === 2`)
	webtest.Run(t, ctx, "an hour", chromedp.Click(`#range [data-range="3600"]`))
	webtest.Until(t, ctx, `document.querySelector('#waits-range').innerText === '1 h' && document.querySelectorAll('#queues .plot canvas').length === 2`)
	webtest.Until(t, ctx, fig("queue")+`.startsWith('in the queue now 3 ')`)
	webtest.Until(t, ctx, fig("longestwait")+`.includes('1 min 35 s')`)
	for _, def := range []string{"waitmean", "target", "served", "abandoned", "unknown", "running", "crossing", "little", "service", "throughput"} {
		webtest.Until(t, ctx, fig(def)+`.length > 0 && !/–/.test(`+fig(def)+`)`)
	}
	webtest.Until(t, ctx, `/true mean \(95 %\) .*\d+ .* – .*most likely .* people/.test(`+fig("realised")+`)`)
	webtest.Until(t, ctx, `/Waits that ended from .* coverage 9\d %/.test(document.querySelector('.queue .note').innerText)`)
	webtest.Until(t, ctx, `document.querySelectorAll('#queues a.csv').length === 2 && document.querySelector('#waits-csv').href.includes('/api/waits?')`)
	webtest.Until(t, ctx, `document.querySelectorAll('#waitlist li').length > 20 && document.querySelectorAll('#waitlist .abandoned').length > 0`)
	webtest.Until(t, ctx, `/n = \d+/.test(document.querySelector('#chart-wait-counter-queue .read').innerText) && document.querySelector('#chart-wait-counter-queue .read').innerText.includes('coverage')`)
	show(t, boxes.PutLive, "demo", "box1", h.live("counter-queue", 6, 5, 101))
	webtest.Until(t, ctx, fig("queue")+`.startsWith('in the queue now 5 ')`)
	fresh := h.newest()
	fresh.ID, fresh.End = "just-ended", new(*fresh.End+1)
	hub.PublishStored("demo", "box1", []floorwatch.Record{&fresh})
	hub.PublishStored("demo", "box1", []floorwatch.Record{&fresh}) // delivered twice, shown once
	webtest.Until(t, ctx, `document.querySelector('#waitlist li').dataset.key === 'counter-queue/just-ended' && document.querySelectorAll('[data-key="counter-queue/just-ended"]').length === 1`)
	webtest.Run(t, ctx, "definition", chromedp.Click(`.fig [data-def="little"]`))
	webtest.Until(t, ctx, `document.querySelector('#defs').open && document.querySelector('#def-little').classList.contains('here')`)
	webtest.Run(t, ctx, "close", chromedp.KeyEvent("\x1b"))
}

// pick chooses a value of a list.
func pick(id, value string) chromedp.Action {
	return chromedp.Evaluate(fmt.Sprintf(`(() => { const s = document.querySelector('#%s'); s.value = '%s'; s.dispatchEvent(new Event('change')); })()`, id, value), nil)
}

// checkTrust leaves out what was measured badly: every figure says how much.
func checkTrust(t *testing.T, ctx context.Context) {
	t.Helper()
	webtest.Until(t, ctx, `/quality \d\d %/.test(document.querySelector('.queue .note').innerText)`)
	webtest.Run(t, ctx, "good ones only", pick("quality", "0.9"))
	webtest.Until(t, ctx, `/left out for quality below 90 %: [1-9]\d* waits/.test(document.querySelector('.queue .note').innerText)`)
	webtest.Until(t, ctx, `['stays-left', 'waits-left'].every((id) => /^[1-9]\d* left out/.test(document.getElementById(id).innerText))`)
	webtest.Until(t, ctx, `/Queue: mean quality \d\d %; \d\d % of the time left out/.test(document.querySelector('#charts-note').innerText)`)
	webtest.Until(t, ctx, `document.querySelector('#waits-csv').href.includes('min_quality=0.9')`)
	shot(t, ctx, "waits-quality-en", true)
	webtest.Run(t, ctx, "all of them", pick("quality", "0"))
	webtest.Until(t, ctx, `document.querySelector('#waits-left').innerText === '' && document.querySelectorAll('#waitlist li').length > 20`)
}

// checkCompare compares today with itself: there is no difference, or too little
// of the day.
func checkCompare(t *testing.T, ctx context.Context) {
	t.Helper()
	webtest.Run(t, ctx, "compare", chromedp.Evaluate(`(() => {
		document.querySelector('#compare-a-day').value = document.querySelector('#compare-b-day').value;
		document.querySelector('#compare-go').click();
	})()`, nil))
	webtest.Until(t, ctx, `document.querySelectorAll('#compare-out .fig').length === 3 && /No difference can be told|two hours/.test(document.querySelector('#compare-out').innerText)`)
	webtest.Until(t, ctx, `/A: \d+ waits, mean .* coverage .* quality/.test(document.querySelector('#compare-out').innerText)`)
}

// checkBegan asks for the other cohort; every term that is marked has its
// definition.
func checkBegan(t *testing.T, ctx context.Context) {
	t.Helper()
	webtest.Run(t, ctx, "target", pick("wait-target", "60"))
	webtest.Until(t, ctx, fig("target")+`.startsWith('over 1 min ')`)
	webtest.Run(t, ctx, "cohort", pick("wait-cohort", "began"))
	webtest.Until(t, ctx, fig("began")+`.startsWith('mean wait (restricted)')`)
	webtest.Until(t, ctx, `[...document.querySelectorAll('[data-def]')].filter(e => e.offsetParent).every(e => document.getElementById('def-' + e.dataset.def))`)
	shot(t, ctx, "waits-began-en", true)
	webtest.Run(t, ctx, "cohort", pick("wait-cohort", "finished"))
	webtest.Until(t, ctx, fig("waitmean")+`.startsWith('mean wait')`)
}

// checkWaitClip plays the newest wait: its person is marked.
func checkWaitClip(t *testing.T, ctx context.Context, h *hall) {
	t.Helper()
	key := "counter-queue/" + h.newest().ID
	webtest.Run(t, ctx, "open clip", chromedp.Click(`#waitlist [data-key="`+key+`"] .play`))
	webtest.Until(t, ctx, `document.querySelector('#player').open && document.querySelector('#video').readyState >= 2 && document.querySelector('#h-player').innerText.includes('wait from')`)
	webtest.Until(t, ctx, yellow)
	webtest.Run(t, ctx, "close clip", chromedp.KeyEvent("\x1b"))
	webtest.Until(t, ctx, `!document.querySelector('#player').open`)
}

// checkHall: the simulated hour holds every outcome, or the page shows nothing.
func checkHall(t *testing.T, h *hall) {
	t.Helper()
	outcomes := map[string]int{}
	for _, w := range h.waits {
		outcomes[w.Outcome]++
	}
	if outcomes[floorwatch.OutcomeServed] < 30 || outcomes[floorwatch.OutcomeAbandoned] == 0 || outcomes[floorwatch.OutcomeUnknown] == 0 {
		t.Fatalf("the simulated hour holds %v", outcomes)
	}
}
