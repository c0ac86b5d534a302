package web_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/api"
	"floorwatch/cloud/command"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/cloud/web"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/lab/webtest"
)

// distant is a shop whose footage lies on its box until it is fetched, which
// fails at first, and whose holds can be kept.
type distant struct {
	*shop
	step chan func(progress func(done, total int64)) error // what a fetch does next

	mu    sync.Mutex
	here  bool
	holds []vault.Hold
}

func (d *distant) Clip(ctx context.Context, who account.Identity, c site.Source, from, to floorwatch.Time) (fmp4.Clip, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.here {
		return fmp4.Clip{}, fmt.Errorf("1 of 1 pieces: %w", vault.ErrNotHere)
	}
	return d.shop.Clip(ctx, who, c, from, to)
}

func (d *distant) Fetch(ctx context.Context, _ account.Identity, _ site.Source, _, _ floorwatch.Time, progress func(done, total int64)) error {
	for {
		select {
		case f := <-d.step:
			if f == nil {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.here = true
				return nil
			}
			if err := f(progress); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *distant) Hold(_ context.Context, who account.Identity, _ site.Source, from, to floorwatch.Time, why string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := vault.Hold{ID: strings.Repeat("ab", 16), From: from, To: to, Why: why, Who: string(who), At: floorwatch.TimeOf(time.Now())}
	d.holds = append(d.holds, h)
	return h.ID, nil
}

func (d *distant) Release(context.Context, account.Identity, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds = nil
	return nil
}

func (d *distant) Holds(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]vault.Hold, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]vault.Hold(nil), d.holds...), nil
}

func (d *distant) held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.holds)
}

// TestBoxesAndTheirFootage does with one browser; each takes seconds to start.
func TestBoxesAndTheirFootage(t *testing.T) {
	t.Parallel()
	ctx := webtest.Browser(t)
	checkBoxes(t, ctx)
	checkManyBoxes(t, ctx)
	checkFetch(t, ctx)
}

func checkFetch(t *testing.T, ctx context.Context) {
	t.Helper()
	d := &distant{shop: newShop(t), step: make(chan func(func(done, total int64)) error)}
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	srv := httptest.NewServer(api.New(api.Settings{
		Sites: site.Of(d.registry()), Figures: d, Footage: d, Archive: d, Pictures: d, Hub: hub, Pages: web.Handler(),
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	light := emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}})
	webtest.Run(t, ctx, "open", light, chromedp.EmulateViewport(1400, 900), chromedp.Navigate(srv.URL+"/?lang=en"))
	key := d.stays[0].Zone + "/" + d.stays[0].ID
	webtest.Until(t, ctx, `document.querySelector('[data-key="`+key+`"] .play') && document.querySelector('#timeline .has')`)
	webtest.Run(t, ctx, "open clip", chromedp.Click(`[data-key="`+key+`"] .play`))
	says := func(text string) {
		t.Helper()
		webtest.Until(t, ctx, fmt.Sprintf(`document.querySelector('#clip-say').innerText.includes(%q)`, text))
	}
	says("The footage is still on the box")
	shot(t, ctx, "elsewhere-en", false)
	webtest.Run(t, ctx, "fetch", chromedp.Click(`#fetch-start`))
	says("Asking the box to send")
	d.step <- func(func(done, total int64)) error { return fmt.Errorf("no answer: %w", command.ErrAway) }
	says("The box does not answer. Try again when it is online")
	webtest.Run(t, ctx, "fetch again", chromedp.Click(`#fetch-start`))
	d.step <- func(progress func(done, total int64)) error { progress(1_500_000, 6_000_000); return nil }
	says("Coming from the box: 1.5 of 6 MB")
	webtest.Until(t, ctx, `document.querySelector('#fetch-bar').value === 0.25 && document.querySelector('#fetch-start').hidden`)
	shot(t, ctx, "fetching-en", false)

	checkHold(t, ctx, d)

	d.step <- nil
	webtest.Until(t, ctx, `document.querySelector('#clip-empty').hidden && document.querySelector('#video').readyState >= 2`)
	webtest.Run(t, ctx, "close", chromedp.KeyEvent("\x1b"))
	checkRelease(t, ctx, d)
}

// checkHold holds what the player shows, in Chinese, while the footage is still
// on its way.
func checkHold(t *testing.T, ctx context.Context, d *distant) {
	t.Helper()
	webtest.Run(t, ctx, "hold form", chromedp.Click(`#hold-open`), chromedp.Click(`#hold-keep`))
	webtest.Until(t, ctx, `document.querySelector('#hold-said').innerText === 'Say why it is kept.' && document.activeElement.id === 'hold-why'`)
	webtest.Run(t, ctx, "reason", chromedp.SetValue(`#hold-span`, "300000"), chromedp.SendKeys(`#hold-why`, "顾客投诉"))
	webtest.Until(t, ctx, `document.querySelector('#hold-said').innerText === ''`)
	shot(t, ctx, "hold-form-en", false)
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844))
	webtest.Until(t, ctx, `document.querySelector('#player').scrollWidth <= 390 && document.querySelector('#hold-keep').getBoundingClientRect().right <= 390`)
	shot(t, ctx, "hold-form-phone", false)
	webtest.Run(t, ctx, "desktop", chromedp.EmulateViewport(1400, 900), chromedp.Focus(`#hold-why`))
	webtest.Run(t, ctx, "keep", chromedp.KeyEvent("\r"))
	webtest.Until(t, ctx, `document.querySelector('#hold-said').innerText.startsWith('Held from') && document.querySelector('#hold-form').hidden`)
	if d.held() != 1 {
		t.Fatalf("%d holds", d.held())
	}
	h := d.holds[0]
	enter, exit := d.stays[0].Enter, *d.stays[0].Exit
	if h.Why != "顾客投诉" || h.From != enter-3000-300_000 || h.To != exit+3000+300_000 {
		t.Errorf("held %+v for a stay from %d to %d", h, enter, exit)
	}
}

func checkRelease(t *testing.T, ctx context.Context, d *distant) {
	t.Helper()
	webtest.Until(t, ctx, `!document.querySelector('#player').open && document.querySelectorAll('#timeline .held').length === 1`)
	webtest.Run(t, ctx, "pick and switch", chromedp.Evaluate(`document.querySelector('#timeline .held').click()`, nil), chromedp.Click(`#lang`))
	webtest.Until(t, ctx, `['顾客投诉', '由 页面 于', '设备尚未确认'].every(s => document.querySelector('#hold-text').innerText.includes(s))`)
	shot(t, ctx, "held-zh", true)
	// By script: the page may still be moving under a mouse.
	release := chromedp.Evaluate(`document.querySelector('#hold-release').click()`, nil)
	webtest.Run(t, ctx, "release", release)
	webtest.Until(t, ctx, `document.querySelector('#hold-release').innerText.startsWith('确定解除')`)
	if d.held() != 1 {
		t.Error("one click released it")
	}
	webtest.Run(t, ctx, "sure", release)
	webtest.Until(t, ctx, `document.querySelector('#holdinfo').hidden && !document.querySelector('#timeline .held')`)
	if d.held() != 0 {
		t.Error("it is still held")
	}
}

// chain publishes five boxes in different health.
func chain(t *testing.T, hub *api.Hub, live *fleet.Live) (r site.Registry) {
	now := floorwatch.TimeOf(time.Now())
	store := func(name, zh, en string, boxes ...string) {
		r.Stores = append(r.Stores, site.Store{ID: name, Label: floorwatch.Label{ZH: zh, EN: en}, TimeZone: "Asia/Shanghai"})
		for i, b := range boxes {
			r.Edges = append(r.Edges, site.Edge{
				Store: name, ID: b, Label: floorwatch.Label{ZH: fmt.Sprintf("%d 号设备", i+1), EN: fmt.Sprintf("Box %d", i+1)},
				Cameras: []site.Camera{{Name: "hall", Label: floorwatch.Label{ZH: "大厅", EN: "Hall"}}, {Name: "door", Label: floorwatch.Label{ZH: "门口", EN: "Door"}}},
			})
		}
	}
	report := func(store, edge, state string, ago time.Duration, box, hall map[string]float64) {
		show(t, live.PutState, store, edge, floorwatch.State{V: 1, State: state, T: now.Add(-26 * time.Hour), Version: "0.3.0"})
		rec := func(camera string, over, base map[string]float64) floorwatch.Record {
			h := &floorwatch.Health{Header: floorwatch.Header{Kind: floorwatch.KindHealth, Camera: camera, At: now.Add(-ago)}, Figures: base}
			for k, v := range over {
				base[k] = v
			}
			return h
		}
		camera := func() map[string]float64 {
			return map[string]float64{"watching": 1, "frame_age_s": 0.1, "coverage": 0.996}
		}
		hub.PublishStored(store, edge, []floorwatch.Record{
			rec("", box, map[string]float64{
				"backlog_records": 14, "backlog_s": 2, "dropped_records": 0, "lost_records": 0, "disk_free_bytes": 412e9, "disk_bytes": 960e9,
				"footage_bytes": 388e9, "clock_synced": 1, "clock_offset_s": 0.004, "uploads_waiting": 3, "uploads_waiting_bytes": 61e6,
			}),
			rec("hall", hall, camera()), rec("door", nil, camera()),
		})
	}
	report("bund", "box1", floorwatch.StateOnline, 20*time.Second, nil, nil)
	report("bund", "box2", floorwatch.StateOnline, 30*time.Second, map[string]float64{"backlog_records": 8120, "backlog_s": 940, "clock_synced": 0}, nil)
	report("jingan", "box1", floorwatch.StateOnline, 40*time.Second, map[string]float64{"disk_free_bytes": 21e9}, map[string]float64{"watching": 0, "frame_age_s": 812, "coverage": 0})
	report("jingan", "box2", floorwatch.StateOffline, 5*time.Hour, nil, nil)
	store("bund", "外滩店", "The Bund", "box1", "box2")
	store("jingan", "静安寺店", "Jing'an", "box1", "box2", "box3")
	return r
}

// thousands is a chain of 3,000 halls in three provinces with a box each, of which
// every tenth is gone and every hundredth was never there.
func thousands(t *testing.T, live *fleet.Live) *site.Live {
	t.Helper()
	var table strings.Builder
	table.WriteString("id,level,zh,en,parent,time_zone,box\nacme,chain,天成,Acme,,Asia/Shanghai,\n")
	for i, name := range []string{"广东,Guangdong", "上海,Shanghai", "新疆,Xinjiang"} {
		fmt.Fprintf(&table, "p%d,province,%s,acme,,\n", i, name)
	}
	now := floorwatch.TimeOf(time.Now())
	for i := range 3000 {
		id := fmt.Sprintf("hall-%04d", i)
		fmt.Fprintf(&table, "%s,,第%d营业厅,Hall %d,p%d,,box\n", id, i, i, i%3)
		if i%100 == 99 {
			continue
		}
		state := floorwatch.StateOnline
		if i%10 == 3 {
			state = floorwatch.StateOffline
		}
		show(t, live.PutState, id, "box", floorwatch.State{V: 1, State: state, T: now.Add(-time.Hour), Version: "0.4.0"})
		live.PutHealth(id, "box", floorwatch.Health{Header: floorwatch.Header{Kind: floorwatch.KindHealth, At: now.Add(-20 * time.Second)}, Figures: map[string]float64{
			"backlog_records": 14, "backlog_s": 2, "disk_free_bytes": 412e9, "disk_bytes": 960e9, "clock_synced": 1,
		}})
	}
	db, err := metadata.Open(t.Context(), filepath.Join(t.TempDir(), "metadata.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := site.Import(t.Context(), db, "chain.csv", "csv", []byte(table.String()), 1); err != nil {
		t.Fatal(err)
	}
	sites, err := site.Open(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return sites
}

// watched is a fleet that asks a database which holds nothing.
func watched(t *testing.T, sites *site.Live, live *fleet.Live) *fleet.Fleet {
	t.Helper()
	f := &fleet.Fleet{Sites: sites, Records: nothing{}, Live: live}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return f
}

// checkManyBoxes: the page has one part of many boxes, finds among all of them, and
// its address says what was asked for.
func checkManyBoxes(t *testing.T, ctx context.Context) {
	t.Helper()
	live := fleet.NewLive()
	hub := api.NewHub(live)
	sites := thousands(t, live)
	watch := watched(t, sites, live)
	srv := httptest.NewServer(api.New(api.Settings{Sites: sites, Figures: nothing{}, Hub: hub, Fleet: watch, Pages: web.Handler()}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	light := emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}})
	webtest.Run(t, ctx, "open", light, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(srv.URL+"/boxes?lang=en"))
	webtest.Until(t, ctx, `document.querySelectorAll('.box').length === 30 && document.body.innerText.includes('3,000 in all, 2,670 online, 330 unhealthy.')`)
	webtest.Until(t, ctx, `document.querySelector('#place').innerText === '1 to 30 of 3,000' && document.querySelector('#prev').disabled`)
	webtest.Until(t, ctx, `document.querySelector('.box h2 a').getAttribute('href') === '/?store=hall-0099&edge=box'`)
	shot(t, ctx, "boxes-3000-en", false)
	webtest.Run(t, ctx, "further", chromedp.Click(`#next`))
	webtest.Until(t, ctx, `document.querySelector('#place').innerText === '31 to 60 of 3,000' && document.querySelector('.box').dataset.box === 'hall-0003/box'`)
	webtest.Run(t, ctx, "offline", chromedp.SetValue(`#state`, "offline"))
	webtest.Until(t, ctx, `document.querySelector('#summary').innerText.includes('300 of them match.') && location.search === '?lang=en&state=offline' && document.querySelector('#place').innerText === '1 to 30 of 300'`)
	webtest.Run(t, ctx, "search", chromedp.SendKeys(`#q`, "第1203"))
	webtest.Until(t, ctx, `document.querySelectorAll('.box').length === 1 && document.querySelector('.box').dataset.box === 'hall-1203/box' && document.querySelector('#pager').hidden`)
	webtest.Run(t, ctx, "again", chromedp.Reload())
	webtest.Until(t, ctx, `document.querySelectorAll('.box').length === 1 && document.querySelector('#q').value === '第1203' && document.querySelector('#state').value === 'offline'`)
	webtest.Run(t, ctx, "nothing", chromedp.SendKeys(`#q`, "x"))
	webtest.Until(t, ctx, `document.querySelector('#summary').innerText.includes('No box matches.')`)
	webtest.Run(t, ctx, "clear", chromedp.Click(`#clear`))
	webtest.Until(t, ctx, `document.querySelectorAll('.box').length === 30 && location.search === '?lang=en' && document.querySelector('#clear').hidden`)
	webtest.Run(t, ctx, "down", chromedp.Focus(`#scope select`), chromedp.SetValue(`#scope select`, "acme"))
	webtest.Until(t, ctx, `[...document.querySelectorAll('#scope option')].map(o => o.innerText).includes('Xinjiang (1,000, 110 unhealthy)')`)
	webtest.Run(t, ctx, "further down", chromedp.Focus(`#scope select`), chromedp.SetValue(`#scope select`, "p2"))
	webtest.Until(t, ctx, `[...document.querySelectorAll('#scope button')].map(b => b.innerText).join() === 'Everywhere,Acme,Xinjiang' && document.querySelector('#summary').innerText.startsWith('1,000 in all') && location.search === '?lang=en&scope=p2' && document.querySelector('.box .ids').innerText.startsWith('Acme › Xinjiang')`)
	shot(t, ctx, "boxes-3000-scope-en", false)
	webtest.Run(t, ctx, "up", chromedp.Click(`#scope button`))
	webtest.Until(t, ctx, `location.search === '?lang=en' && document.querySelector('#summary').innerText.startsWith('3,000 in all')`)
	webtest.Run(t, ctx, "phone", chromedp.Click(`#lang`), chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390 && document.body.innerText.includes('共 3,000 台')`)
	shot(t, ctx, "boxes-3000-phone-zh", false)
	webtest.Run(t, ctx, "desktop", chromedp.EmulateViewport(1440, 900))
	shot(t, ctx, "boxes-3000-zh", false)
}

func checkBoxes(t *testing.T, ctx context.Context) {
	t.Helper()
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	registry := chain(t, hub, boxes)
	srv := httptest.NewServer(api.New(api.Settings{Sites: site.Of(registry), Figures: nothing{}, Hub: hub, Fleet: watched(t, site.Of(registry), boxes), Pages: web.Handler()}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	var bad webtest.Faults
	bad.Watch(ctx, strings.TrimPrefix(srv.URL, "http://"))
	webtest.Run(t, ctx, "open", clog.Enable(), network.Enable(), chromedp.EmulateViewport(1400, 1000), chromedp.Navigate(srv.URL+"/boxes?lang=en"))
	webtest.Until(t, ctx, `[...document.querySelectorAll('.box')].map(b => b.dataset.box).join() === 'jingan/box3,jingan/box2,jingan/box1,bund/box2,bund/box1'`)
	var text string
	webtest.Run(t, ctx, "read", chromedp.Evaluate(`document.body.innerText`, &text))
	for _, want := range []string{
		"5 in all, 3 online, 4 unhealthy.", "It has never connected.", "Its connection broke.", "A camera gives no pictures.", "no picture for 13 min 32 s",
		"Less than 5 % of the disk is free", "21 GB of 960 GB (2 %); footage has 388 GB", "8,120, the oldest for 15 min 40 s", "not synchronised", "off by 4 ms",
		"online since", "UTC+08:00 (1 d 2 h)", "the time zone of this screen", "3 pieces, 61 MB", "0.3.0", "it does not tell of now", "newest frame 0.1 s old when reported, coverage 99 %",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page:\n%s", want, text)
		}
	}
	webtest.Until(t, ctx, `document.querySelectorAll('.box.bad').length === 3 && document.querySelectorAll('.box.warn').length === 1`)
	shot(t, ctx, "boxes-en", true)
	webtest.Run(t, ctx, "switch", chromedp.Click(`#lang`))
	webtest.Until(t, ctx, `document.documentElement.lang === 'zh-CN' && document.body.innerText.includes('共 5 台，在线 3 台，有问题 4 台。')`)
	checkChinese(t, ctx, "NTP", "outbox", "edge", "UTC", "bund", "jingan", "box")
	shot(t, ctx, "boxes-zh", true)
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390`)
	shot(t, ctx, "boxes-phone-zh", true)
	webtest.Run(t, ctx, "dark", chromedp.EmulateViewport(1400, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	shot(t, ctx, "boxes-dark-zh", true)

	show(t, boxes.PutState, "jingan", "box2", floorwatch.State{V: 1, State: floorwatch.StateOnline, T: floorwatch.TimeOf(time.Now()), Version: "0.3.1"})
	webtest.Until(t, ctx, `document.querySelector('[data-box="jingan/box2"] .pill.ok') !== null`) // without a reload
	for _, f := range bad.All() {
		t.Error(f)
	}
	webtest.Run(t, ctx, "back", chromedp.Click(`.right a[href="/"]`), chromedp.WaitVisible(`#to-boxes`))
}
