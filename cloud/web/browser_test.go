package web_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/web"
)

// browser starts a Chromium with a new profile that asks nothing of the outside.
func browser(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"), chromedp.Flag("lang", "en-GB"))
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(stop)
	ctx, stopAlloc := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(stopAlloc)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(stopTab)
	return ctx
}

// faults collects what must not happen: console errors, exceptions, violations
// of the content security policy, requests to any other address.
type faults struct {
	mu   sync.Mutex
	list []string
}

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

func (f *faults) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.list...)
}

func (f *faults) watch(ctx context.Context, host string) {
	chromedp.ListenTarget(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			f.add("exception: %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				f.add("console: %s", e.Args[0].Value)
			}
		case *clog.EventEntryAdded:
			if e.Entry.Level == clog.LevelError || e.Entry.Level == clog.LevelWarning {
				f.add("log: %s %s", e.Entry.Text, e.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			u, err := url.Parse(e.Request.URL)
			if err != nil || (u.Scheme != "blob" && u.Scheme != "data" && u.Host != host) {
				f.add("request to %s", e.Request.URL)
			}
		}
	})
}

func run(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// until waits for a JavaScript expression to become true.
func until(t *testing.T, ctx context.Context, expr string) {
	t.Helper()
	err := chromedp.Run(ctx, chromedp.Poll(expr, nil, chromedp.WithPollingTimeout(20*time.Second), chromedp.WithPollingInterval(50*time.Millisecond)))
	if err != nil {
		var text string
		_ = chromedp.Run(ctx, chromedp.Evaluate(`document.body.innerText.slice(0, 2000)`, &text))
		t.Fatalf("never true: %s (%v); the page says:\n%s", expr, err, text)
	}
}

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
	run(t, ctx, "screenshot", action)
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPageInChromium(t *testing.T) {
	if !web.ChartsBuilt() {
		t.Fatal("the chart library is not built: run make web")
	}
	s := newShop(t)
	hub := api.NewHub()
	srv := httptest.NewServer(api.New(api.Settings{
		Sites: s.sites(), Figures: s, Footage: s, Pictures: s, Hub: hub, Pages: web.Handler(),
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	hub.PublishState("demo", "box1", floorwatch.State{V: 1, State: floorwatch.StateOnline})
	hub.PublishLive("demo", "box1", s.live("crossing", 3))
	hub.PublishLive("demo", "box1", s.live("right-road", 1))

	ctx := browser(t)
	var bad faults
	bad.watch(ctx, strings.TrimPrefix(srv.URL, "http://"))
	run(t, ctx, "open", clog.Enable(), network.Enable(), chromedp.EmulateViewport(1400, 900), chromedp.Navigate(srv.URL+"/?lang=en"))

	checkFigures(t, ctx, s, hub)
	shot(t, ctx, "desktop-en", false)
	shot(t, ctx, "desktop-en-full", true)
	checkDrawing(t, ctx)
	checkLanguages(t, ctx)
	shot(t, ctx, "desktop-zh", true)
	checkClip(t, ctx, s)
	checkKeyboardAndPhone(t, ctx)

	for _, f := range bad.all() {
		t.Error(f)
	}
}

func checkFigures(t *testing.T, ctx context.Context, s *shop, hub *api.Hub) {
	t.Helper()
	until(t, ctx, `document.querySelector('#conn.ok')?.innerText.includes('Live')`)
	until(t, ctx, `[...document.querySelectorAll('.tile b')].map(e => e.innerText)[0] === '3'`)
	until(t, ctx, `document.querySelectorAll('#overlay polygon').length === 4 && !document.querySelector('#still-img').hidden`)
	until(t, ctx, `document.querySelectorAll('.plot canvas').length === 4 && document.querySelectorAll('#charts a.csv').length === 4`)
	until(t, ctx, `document.querySelectorAll('#stays li').length > 0`)
	until(t, ctx, `document.querySelectorAll('#timeline .has').length === 2 && document.querySelectorAll('#timeline .gap').length >= 2`)
	until(t, ctx, `document.querySelector('#legend').innerText.includes('coverage')`)
	until(t, ctx, `document.querySelector('#notice').innerText.includes('no counter')`)
	hub.PublishLive("demo", "box1", s.live("crossing", 7))
	until(t, ctx, `document.querySelector('.badge b').innerText === '7'`)
	fresh := s.stay("crossing", 9, 1, filmS+30)
	fresh.ID = "just-ended"
	hub.PublishStored("demo", "box1", []any{&fresh})
	hub.PublishStored("demo", "box1", []any{&fresh}) // delivered twice, shown once
	until(t, ctx, `document.querySelector('#stays li').dataset.key === 'crossing/just-ended'`)
	until(t, ctx, `document.querySelectorAll('[data-key="crossing/just-ended"]').length === 1`)
	run(t, ctx, "gap", chromedp.Click(`#timeline .track:not(.thin) .gap:not(.open)`))
	until(t, ctx, `document.querySelector('#gapinfo').innerText.includes('the camera stopped sending pictures')`)
	run(t, ctx, "definition", chromedp.Click(`#chart-p90 .q`))
	until(t, ctx, `document.querySelector('#defs').open && document.querySelector('#def-p90').classList.contains('here')`)
	run(t, ctx, "close", chromedp.KeyEvent("\x1b"))
	until(t, ctx, `!document.querySelector('#defs').open`)
}

func checkDrawing(t *testing.T, ctx context.Context) {
	t.Helper()
	const click = `(() => { const o = document.querySelector('#overlay'), b = o.getBoundingClientRect();
		for (const [x, y] of [[100, 100], [300, 100], [300, 250], [100, 100]])
			o.dispatchEvent(new PointerEvent('click', {bubbles: true, clientX: b.left + x / 768 * b.width, clientY: b.top + y / 576 * b.height}));
		return document.querySelector('#draw-yaml').textContent })()`
	var yaml string
	run(t, ctx, "draw", chromedp.Click(`#draw`), chromedp.Evaluate(click, &yaml))
	// Clicks land on whole pixels of the screen, so a corner may be off by one.
	corners := regexp.MustCompile(`polygon: \[\[(99|10[01]), (99|10[01])\], \[(299|30[01]), (99|10[01])\], \[(299|30[01]), (249|25[01])\]\]`)
	if !corners.MatchString(yaml) || !strings.Contains(yaml, "picture: {width: 768, height: 576}") {
		t.Errorf("yaml of the drawn zone:\n%s", yaml)
	}
	shot(t, ctx, "drawing", false)
	run(t, ctx, "stop drawing", chromedp.Click(`#draw`))
}

func checkLanguages(t *testing.T, ctx context.Context) {
	t.Helper()
	run(t, ctx, "switch", chromedp.Click(`#lang`))
	until(t, ctx, `document.documentElement.lang === 'zh-CN' && document.querySelector('#h-stays').innerText === '已结束的停留'`)
	until(t, ctx, `document.querySelector('.tile h3').innerText.includes('路口')`)
	// In Chinese no English word may be left but names of formats and products.
	const latin = `[...document.body.innerText.matchAll(/[A-Za-z]{3,}/g)].map(m => m[0])
		.filter(w => !['floorwatch', 'English', 'CSV', 'YAML', 'Asia', 'Shanghai', 'UTC', 'zone', 'Esc', 'Shift'].includes(w))`
	var words []string
	run(t, ctx, "read words", chromedp.Evaluate(latin, &words))
	if len(words) > 0 {
		t.Errorf("English words on the Chinese page: %q", words)
	}
}

func checkClip(t *testing.T, ctx context.Context, s *shop) {
	t.Helper()
	key := s.stays[0].Zone + "/" + s.stays[0].ID
	run(t, ctx, "open clip", chromedp.Click(`[data-key="`+key+`"] .play`))
	until(t, ctx, `document.querySelector('#player').open && document.querySelector('#video').readyState >= 2`)
	var first float64
	run(t, ctx, "time", chromedp.Evaluate(`document.querySelector('#video').currentTime`, &first))
	until(t, ctx, fmt.Sprintf(`document.querySelector('#video').currentTime > %f`, first+1))
	// Yellow is the wanted person alone.
	const yellow = `(() => { const c = document.querySelector('#boxes'); if (!c.width) return false;
		const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
		for (let i = 0; i < d.length; i += 4) if (d[i] > 230 && d[i+1] > 180 && d[i+2] < 80 && d[i+3] > 200) n++;
		return n > 100 })()`
	until(t, ctx, yellow)
	until(t, ctx, `/^\d{4}.*\d\d:\d\d:\d\d$/.test(document.querySelector('#clock').textContent)`)
	shot(t, ctx, "clip-zh", false)
	run(t, ctx, "close clip", chromedp.KeyEvent("\x1b"))
	until(t, ctx, `!document.querySelector('#player').open && document.querySelector('#video').paused`)
	// A click on the timeline where there is no film says so instead of failing.
	run(t, ctx, "play footage", chromedp.Evaluate(`document.querySelectorAll('#timeline .has')[1].dispatchEvent(new MouseEvent('click', {bubbles: true, detail: 1, clientX: document.querySelectorAll('#timeline .has')[1].getBoundingClientRect().right - 1}))`, nil))
	until(t, ctx, `document.querySelector('#player').open && document.querySelector('#video').readyState >= 1`)
	run(t, ctx, "close footage", chromedp.KeyEvent("\x1b"))
	until(t, ctx, `!document.querySelector('#player').open`)
}

func checkKeyboardAndPhone(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, lang := range []string{"zh", "en"} {
		run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Evaluate(`scrollTo(0, 0)`, nil))
		until(t, ctx, `document.documentElement.scrollWidth <= 390`)
		shot(t, ctx, "phone-"+lang, true)
		run(t, ctx, "switch", chromedp.Click(`#lang`))
	}
	run(t, ctx, "dark", chromedp.EmulateViewport(1400, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	until(t, ctx, `matchMedia('(prefers-color-scheme: dark)').matches`)
	shot(t, ctx, "desktop-dark", true)
	const unnamed = `[...document.querySelectorAll('button, a[href], input, select')].filter(e => e.offsetParent &&
		!(e.getAttribute('aria-label') || e.innerText.trim() || e.closest('label'))).map(e => e.outerHTML)`
	var bare []string
	run(t, ctx, "names", chromedp.Evaluate(unnamed, &bare))
	for _, e := range bare {
		t.Errorf("control without a name: %s", e)
	}
}
