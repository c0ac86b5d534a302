package web_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/cloud/web"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/webtest"
)

// standards is the hall below a chain, in a real store, and a key to sign with.
type standards struct {
	db    *metadata.DB
	sites *site.Live
	key   ed25519.PrivateKey
}

func (h *hall) standards(t *testing.T) *standards {
	t.Helper()
	db, err := metadata.Open(t.Context(), filepath.Join(t.TempDir(), "metadata.sqlite"))
	kit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = site.Import(t.Context(), db, "halls.yaml", "yaml", []byte(`
nodes:
  - id: acme
    level: chain
    label: {zh: 天成集团, en: Acme}
    opening: [{days: mon-fri, from: "09:00", to: "17:30"}, {days: "sat,sun", from: "10:00", to: "16:00"}]
  - {id: gd, level: province, label: {zh: 广东, en: Guangdong}, parent: acme}
halls:
  - {id: demo, label: {zh: 演示门店, en: Demo store}, parent: gd, time_zone: Asia/Shanghai, boxes: [{id: box1, label: {zh: 一号设备, en: Box 1}}]}
`), 1)
	kit.Must(t, err)
	var names []string
	put := func(r *floorwatch.CameraScene) {
		r.At = 1
		b, err := floorwatch.MarshalRecord(r)
		kit.Must(t, err)
		kit.Must(t, site.PutScenes(t.Context(), db, site.Told("demo", "box1", r, b.JSON)))
	}
	for _, c := range h.registry().Edges[0].Cameras {
		names = append(names, c.Name)
		r := floorwatch.TellScene(c.Name, c.Scene)
		r.Label, r.Stream = c.Label, c.Stream
		put(r)
	}
	put(floorwatch.TellBox(names, nil))
	sites, err := site.Open(t.Context(), db, slog.New(slog.DiscardHandler))
	kit.Must(t, err)
	return &standards{db, sites, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))}
}

// issue has a node ask for a wait of at most so many seconds, from a moment on; 0:
// for none.
func (s *standards) issue(t *testing.T, node string, from floorwatch.Time, within int64, share float64) {
	t.Helper()
	standard := floorwatch.Standard{Node: node, ValidFrom: from}
	if within > 0 {
		standard.Wait = &floorwatch.Target{WithinS: within, Share: share}
	}
	_, err := site.Issue(t.Context(), s.db, standard, from, s.key)
	kit.Must(t, err)
	kit.Must(t, s.sites.Refresh(t.Context()))
}

// TestStandardInChromium: the page judges by what a node of the chain has set, says
// who it was, and marks a number of the viewer's own.
func TestStandardInChromium(t *testing.T) {
	t.Parallel()
	h := newHall(t)
	s := h.standards(t)
	hub := api.NewHub(fleet.NewLive())
	srv := httptest.NewServer(api.New(api.Settings{Sites: s.sites, Figures: h, Footage: h, Pictures: h, Hub: hub, Pages: web.Handler()}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	ctx := webtest.Browser(t)
	var bad webtest.Faults
	bad.Watch(ctx, strings.TrimPrefix(srv.URL, "http://"))
	open := func(what string) {
		webtest.Run(t, ctx, what, chromedp.Navigate(srv.URL+"/?lang=en"), chromedp.WaitVisible(`#range [data-range="3600"]`), chromedp.Click(`#range [data-range="3600"]`))
	}
	see := func() {
		webtest.Run(t, ctx, "scroll", chromedp.Evaluate(`document.querySelector('#wait-standard').scrollIntoView({ block: "center" })`, nil))
	}
	webtest.Run(t, ctx, "size", clog.Enable(), network.Enable(), chromedp.EmulateViewport(1400, 900))

	open("nobody has set a target")
	line := `document.querySelector('#wait-standard').innerText`
	webtest.Until(t, ctx, line+`.includes('No target is set for this hall, so nothing is judged')`)
	webtest.Until(t, ctx, fig("target")+` === 'over the target – no target is set'`)
	webtest.Until(t, ctx, `document.querySelector('#wait-trial').hidden`)

	now := floorwatch.TimeOf(time.Now())
	s.issue(t, "gd", h.end.Add(-2*time.Hour), 300, 0.9)
	s.issue(t, "acme", now.Add(24*time.Hour), 120, 0.95)
	open("a province has, and a chain plans to")
	webtest.Until(t, ctx, `/Target: 90 % of waits within 5 min, set by Guangdong \(standard 1, in force since/.test(`+line+`)`)
	webtest.Until(t, ctx, `/From .* on: 95 % of waits within 2 min/.test(`+line+`)`)
	webtest.Until(t, ctx, `/Open Mon–Fri 09:00–17:30, Sat, Sun 10:00–16:00 · (open|closed) now/.test(`+line+`)`)
	webtest.Until(t, ctx, `/^over 5 min [\d.]+ % \d+ of \d+ · target (kept|missed): at most 10 %$/.test(`+fig("target")+`)`)
	see()
	shot(t, ctx, "standard-en", false)

	// The viewer's own number is a what-if, and nothing but.
	webtest.Run(t, ctx, "what if", pick("wait-target", "60"))
	webtest.Until(t, ctx, `document.querySelector('#wait-trial').innerText.startsWith('What if the target were 1 min? A trial on this page alone: it is not the standard')`)
	webtest.Until(t, ctx, `/^over 1 min [\d.]+ % \d+ of \d+ · what if, not the standard$/.test(`+fig("target")+`)`)
	webtest.Until(t, ctx, line+`.includes('within 5 min, set by Guangdong')`)
	see()
	shot(t, ctx, "standard-what-if-en", false)
	webtest.Run(t, ctx, "back", pick("wait-target", ""))
	webtest.Until(t, ctx, `document.querySelector('#wait-trial').hidden && `+fig("target")+`.startsWith('over 5 min ')`)

	// A target that changed within the hour: each wait by the one when it ended.
	s.issue(t, "acme", h.end.Add(-30*time.Minute), 60, 0.95)
	open("it has changed")
	webtest.Until(t, ctx, `/^over the target [\d.]+ % \d+ of \d+ · the target changed; each by/.test(`+fig("target")+`)`)
	webtest.Until(t, ctx, line+`.includes('within 1 min, set by Acme (standard 2') && !`+line+`.includes('From ')`)

	webtest.Run(t, ctx, "Chinese", chromedp.Click(`#lang`))
	webtest.Until(t, ctx, `/等候目标：95 % 的等候不超过 1 分，由天成集团规定（第 2 号标准，.* 起生效）/.test(`+line+`)`)
	webtest.Until(t, ctx, `/营业时间：周一–周五 09:00–17:30，周六、周日 10:00–16:00 · 现在(不)?营业/.test(`+line+`)`)
	webtest.Run(t, ctx, "what if", pick("wait-target", "600"))
	webtest.Until(t, ctx, `document.querySelector('#wait-trial').innerText.startsWith('假设目标是 10 分')`)
	see()
	shot(t, ctx, "standard-what-if-zh", false)
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390`)
	see()
	shot(t, ctx, "standard-phone-zh", false)
	for _, f := range bad.All() {
		t.Error(f)
	}
	noWay(t, ctx)
}

// noWay: nothing on the page or behind it changes a standard.
func noWay(t *testing.T, ctx context.Context) {
	t.Helper()
	webtest.Until(t, ctx, `Promise.all(['POST', 'PUT', 'PATCH', 'DELETE'].map((method) => fetch('/api/standard?store=demo', { method, headers: { 'X-Floorwatch': '1' } })))
		.then((all) => all.every((r) => r.status === 405))`)
}
