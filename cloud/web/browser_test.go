package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/web"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/webtest"
)

// shot writes a picture of the page where FLOORWATCH_SHOTS names a folder; the
// README's picture is made so.
func shot(t *testing.T, ctx context.Context, name string, full bool) {
	t.Helper()
	dir := os.Getenv("FLOORWATCH_SHOTS")
	if dir == "" {
		return
	}
	var png []byte
	action := chromedp.CaptureScreenshot(&png)
	if full {
		action = chromedp.FullScreenshot(&png, 100)
	}
	webtest.Run(t, ctx, "screenshot", action)
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPageInChromium(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	srv := httptest.NewServer(api.New(api.Settings{
		Sites: site.Of(s.registry()), Figures: s, Footage: s, Pictures: s, Hub: hub, Pages: web.Handler(),
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	show(t, boxes.PutState, "demo", "box1", floorwatch.State{V: 1, State: floorwatch.StateOnline})
	show(t, boxes.PutLive, "demo", "box1", s.live("crossing", 3))
	show(t, boxes.PutLive, "demo", "box1", s.live("right-road", 1))

	ctx := webtest.Browser(t)
	var bad webtest.Faults
	bad.Watch(ctx, strings.TrimPrefix(srv.URL, "http://"))
	webtest.Run(t, ctx, "open", clog.Enable(), network.Enable(), chromedp.EmulateViewport(1400, 900), chromedp.Navigate(srv.URL+"/?lang=en"))

	checkFigures(t, ctx, s, hub, boxes)
	shot(t, ctx, "desktop-en", false)
	shot(t, ctx, "desktop-en-full", true)
	checkDrawing(t, ctx)
	checkLanguages(t, ctx)
	shot(t, ctx, "desktop-zh", true)
	checkClip(t, ctx, s)
	checkKeyboardAndPhone(t, ctx)

	for _, f := range bad.All() {
		t.Error(f)
	}
}

func checkFigures(t *testing.T, ctx context.Context, s *shop, hub *api.Hub, boxes *fleet.Live) {
	t.Helper()
	webtest.Until(t, ctx, `document.querySelector('#conn.ok')?.innerText.includes('Live')`)
	webtest.Until(t, ctx, `[...document.querySelectorAll('.tile b')].map(e => e.innerText)[0] === '3'`)
	webtest.Until(t, ctx, `document.querySelectorAll('#overlay polygon').length === 4 && !document.querySelector('#still-img').hidden`)
	webtest.Until(t, ctx, `document.querySelectorAll('.plot canvas').length === 4 && document.querySelectorAll('#charts a.csv').length === 4`)
	webtest.Until(t, ctx, `document.querySelectorAll('#stays li').length > 0`)
	webtest.Until(t, ctx, `document.querySelectorAll('#timeline .has').length === 2 && document.querySelectorAll('#timeline .gap').length >= 2`)
	webtest.Until(t, ctx, `document.querySelector('#legend').innerText.includes('coverage')`)
	webtest.Until(t, ctx, `document.querySelector('#notice').innerText.includes('no counter')`)
	show(t, boxes.PutLive, "demo", "box1", s.live("crossing", 7))
	webtest.Until(t, ctx, `document.querySelector('.badge b').innerText === '7'`)
	fresh := s.stay("crossing", 9, 1, filmS+30)
	fresh.ID = "just-ended"
	hub.PublishStored("demo", "box1", []floorwatch.Record{&fresh})
	hub.PublishStored("demo", "box1", []floorwatch.Record{&fresh}) // delivered twice, shown once
	webtest.Until(t, ctx, `document.querySelector('#stays li').dataset.key === 'crossing/just-ended'`)
	webtest.Until(t, ctx, `document.querySelectorAll('[data-key="crossing/just-ended"]').length === 1`)
	webtest.Run(t, ctx, "gap", chromedp.Click(`#timeline .track:not(.thin) .gap:not(.open)`))
	webtest.Until(t, ctx, `document.querySelector('#gapinfo').innerText.includes('the camera stopped sending pictures')`)
	webtest.Run(t, ctx, "records", chromedp.Evaluate(`[...document.querySelectorAll('#timeline .lane')].find(e => e.innerText.includes('Records')).querySelector('.gap').click()`, nil))
	webtest.Until(t, ctx, `document.querySelector('#gapinfo').innerText.includes('put back from a backup')`)
	webtest.Run(t, ctx, "definition", chromedp.Click(`#chart-p90 .q`))
	webtest.Until(t, ctx, `document.querySelector('#defs').open && document.querySelector('#def-p90').classList.contains('here')`)
	webtest.Run(t, ctx, "close", chromedp.KeyEvent("\x1b"))
	webtest.Until(t, ctx, `!document.querySelector('#defs').open`)
}

func checkDrawing(t *testing.T, ctx context.Context) {
	t.Helper()
	const click = `(() => { const o = document.querySelector('#overlay'), b = o.getBoundingClientRect();
		for (const [x, y] of [[100, 100], [300, 100], [300, 250], [100, 100]])
			o.dispatchEvent(new PointerEvent('click', {bubbles: true, clientX: b.left + x / 768 * b.width, clientY: b.top + y / 576 * b.height}));
		return document.querySelector('#draw-yaml').textContent })()`
	var yaml string
	webtest.Run(t, ctx, "draw", chromedp.Click(`#draw`), chromedp.Evaluate(click, &yaml))
	// Clicks land on whole pixels of the screen, so a corner may be off by one.
	corners := regexp.MustCompile(`polygon: \[\[(99|10[01]), (99|10[01])\], \[(299|30[01]), (99|10[01])\], \[(299|30[01]), (249|25[01])\]\]`)
	if !corners.MatchString(yaml) || !strings.Contains(yaml, "picture: {width: 768, height: 576}") {
		t.Errorf("yaml of the drawn zone:\n%s", yaml)
	}
	// It is the file that a camera's scene_file names, with the zones that were there.
	file := filepath.Join(t.TempDir(), "scene.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	scene, err := config.LoadScene(file)
	if err != nil || len(scene.Zones) < 2 || scene.Zones[len(scene.Zones)-1].Role != floorwatch.RoleQueue {
		t.Errorf("what the page gives is no scene of a box: %d zones, %v\n%s", len(scene.Zones), err, yaml)
	}
	shot(t, ctx, "drawing", false)
	webtest.Run(t, ctx, "stop drawing", chromedp.Click(`#draw`))
}

func checkLanguages(t *testing.T, ctx context.Context) {
	t.Helper()
	webtest.Run(t, ctx, "switch", chromedp.Click(`#lang`))
	webtest.Until(t, ctx, `document.documentElement.lang === 'zh-CN' && document.querySelector('#h-stays').innerText === '已结束的停留'`)
	webtest.Until(t, ctx, `document.querySelector('.tile h3').innerText.includes('路口')`)
	checkChinese(t, ctx)
}

// checkChinese: on the Chinese page no English word may be left but names of
// formats and products.
func checkChinese(t *testing.T, ctx context.Context, names ...string) {
	t.Helper()
	const latin = `[...document.body.innerText.matchAll(/[A-Za-z]{3,}/g)].map(m => m[0])`
	var words []string
	webtest.Run(t, ctx, "read words", chromedp.Evaluate(latin, &words))
	known := append(names, "floorwatch", "English", "CSV", "YAML", "Asia", "Shanghai", "UTC", "zone", "Esc", "Shift")
	for _, w := range words {
		if !slices.Contains(known, w) {
			t.Errorf("English word on the Chinese page: %q", w)
		}
	}
}

// yellow tells whether the box of the wanted person is on the canvas; no other
// box has that colour.
const yellow = `(() => { const c = document.querySelector('#boxes'); if (!c.width) return false;
		const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
		for (let i = 0; i < d.length; i += 4) if (d[i] > 230 && d[i+1] > 180 && d[i+2] < 80 && d[i+3] > 200) n++;
		return n > 100 })()`

func checkClip(t *testing.T, ctx context.Context, s *shop) {
	t.Helper()
	key := s.stays[0].Zone + "/" + s.stays[0].ID
	webtest.Run(t, ctx, "open clip", chromedp.Click(`[data-key="`+key+`"] .play`))
	webtest.Until(t, ctx, `document.querySelector('#player').open && document.querySelector('#video').readyState >= 2`)
	var first float64
	webtest.Run(t, ctx, "time", chromedp.Evaluate(`document.querySelector('#video').currentTime`, &first))
	webtest.Until(t, ctx, fmt.Sprintf(`document.querySelector('#video').currentTime > %f`, first+1))
	webtest.Until(t, ctx, yellow)
	webtest.Until(t, ctx, `/^\d{4}.*\d\d:\d\d:\d\d$/.test(document.querySelector('#clock').textContent)`)
	shot(t, ctx, "clip-zh", false)
	webtest.Run(t, ctx, "close clip", chromedp.KeyEvent("\x1b"))
	webtest.Until(t, ctx, `!document.querySelector('#player').open && document.querySelector('#video').paused`)
	// A click on the timeline where there is no film says so instead of failing.
	webtest.Run(t, ctx, "play footage", chromedp.Evaluate(`document.querySelectorAll('#timeline .has')[1].dispatchEvent(new MouseEvent('click', {bubbles: true, detail: 1, clientX: document.querySelectorAll('#timeline .has')[1].getBoundingClientRect().right - 1}))`, nil))
	webtest.Until(t, ctx, `document.querySelector('#player').open && document.querySelector('#video').readyState >= 1`)
	webtest.Run(t, ctx, "close footage", chromedp.KeyEvent("\x1b"))
	webtest.Until(t, ctx, `!document.querySelector('#player').open`)
}

func checkKeyboardAndPhone(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, lang := range []string{"zh", "en"} {
		webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Evaluate(`scrollTo(0, 0)`, nil))
		webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390`)
		shot(t, ctx, "phone-"+lang, true)
		webtest.Run(t, ctx, "switch", chromedp.Click(`#lang`))
	}
	webtest.Run(t, ctx, "dark", chromedp.EmulateViewport(1400, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	webtest.Until(t, ctx, `matchMedia('(prefers-color-scheme: dark)').matches`)
	shot(t, ctx, "desktop-dark", true)
	const unnamed = `[...document.querySelectorAll('button, a[href], input, select')].filter(e => e.offsetParent &&
		!(e.getAttribute('aria-label') || e.innerText.trim() || e.closest('label'))).map(e => e.outerHTML)`
	var bare []string
	webtest.Run(t, ctx, "names", chromedp.Evaluate(unnamed, &bare))
	for _, e := range bare {
		t.Errorf("control without a name: %s", e)
	}
}

// nothing is a store that has measured nothing yet.
type nothing struct{}

func (nothing) Stays(context.Context, influx.Query) ([]floorwatch.Stay, error) { return nil, nil }
func (nothing) Intervals(context.Context, influx.Query) ([]floorwatch.Interval, error) {
	return nil, nil
}
func (nothing) Waits(context.Context, influx.Query) ([]floorwatch.Wait, error) { return nil, nil }

func (nothing) Counts(context.Context, influx.Query) ([]floorwatch.Count, error) { return nil, nil }

func (nothing) Heard(context.Context, floorwatch.Time, floorwatch.Time) ([]influx.Heard, error) {
	return nil, nil
}

func (nothing) LastHealth(context.Context, []site.Source, []floorwatch.Figure, floorwatch.Time, floorwatch.Time) ([]influx.Sent[floorwatch.Health], error) {
	return nil, nil
}

func (nothing) GapsOfAll(context.Context, floorwatch.Time, floorwatch.Time) ([]influx.Sent[floorwatch.Gap], error) {
	return nil, nil
}

func (nothing) Observed(context.Context, floorwatch.Time, floorwatch.Time) ([]influx.Observed, error) {
	return nil, nil
}

func (nothing) Gaps(context.Context, influx.Query) ([]floorwatch.Gap, error) { return nil, nil }

// TestEmptyPageExplainsItself opens the page on the first second of a new store,
// in a program that was built without the chart library.
func TestEmptyPageExplainsItself(t *testing.T) {
	t.Parallel()
	s := &shop{zones: []floorwatch.Zone{{Name: "all", Polygon: []floorwatch.Point{{X: 0, Y: 0}, {X: 640, Y: 0}, {X: 640, Y: 480}}}}}
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	pages := web.Handler()
	srv := httptest.NewServer(api.New(api.Settings{
		Sites: site.Of(s.registry()), Figures: nothing{}, Hub: hub,
		Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/vendor/") {
				http.NotFound(w, r)
				return
			}
			pages.ServeHTTP(w, r)
		}),
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	ctx := webtest.Browser(t)
	webtest.Run(t, ctx, "open", chromedp.EmulateViewport(1400, 900), chromedp.Navigate(srv.URL+"/?lang=en"))
	for _, want := range []string{
		"has given no picture yet", "no live figure yet", "No stay has ended yet", "The chart library is not built", "No footage in this range",
		"No settled figures in this range",
	} {
		webtest.Until(t, ctx, fmt.Sprintf(`document.body.innerText.includes(%q)`, want))
	}
	webtest.Until(t, ctx, `document.querySelectorAll('#charts .empty').length === 4 && document.querySelector('#trouble').hidden`)
	shot(t, ctx, "empty", true)
}
