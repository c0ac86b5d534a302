package web_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/web"
	"floorwatch/internal/lab/webtest"
)

// doors is a store with a line on its camera, a counter of another maker and the
// occupancy that it gives: fourteen minutes that have settled.
type doors struct {
	*hall
	counts []floorwatch.Count
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	d := &doors{hall: newHall(t)}
	inside := int64(0)
	for m := range 14 {
		start := d.end.Add(time.Duration(m-16) * time.Minute)
		add := func(camera, line string, in, out int64, coverage float64) *floorwatch.Count {
			d.counts = append(d.counts, floorwatch.Count{
				Header: floorwatch.Header{Kind: floorwatch.KindCount, Camera: camera, ID: fmt.Sprintf("%s-%d-60000", line, start), At: start},
				Line:   line, Start: start, End: start.Add(time.Minute), In: in, Out: out, Coverage: coverage,
			})
			return &d.counts[len(d.counts)-1]
		}
		in, out := int64(m%4), int64(m%3)
		inside = max(0, inside+in-out)
		if m == 6 || m == 7 {
			add("hall", "door", 0, 0, 0)
		} else {
			add("hall", "door", in, out, 1)
		}
		add("", "side-door", out, in, 1)
		store := add("", "store", 0, 0, 1)
		store.Occupancy = new(inside)
		if m == 2 {
			store.Drift = new(int64(-2))
		}
	}
	return d
}

func (d *doors) Counts(_ context.Context, q influx.Query) (out []floorwatch.Count, err error) {
	for _, c := range d.counts {
		if c.End >= q.From && c.End < q.To && (q.Camera == "" || q.Camera == c.Camera) {
			out = append(out, c)
		}
	}
	return out, nil
}

// TestCountsInChromium opens the page of a store that counts who comes and goes.
func TestCountsInChromium(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	registry := d.registry()
	box := &registry.Edges[0]
	box.Cameras = box.Cameras[1:] // the camera without a queue
	box.Cameras[0].Name = "hall"
	box.Cameras[0].Scene.Lines = []floorwatch.Line{{Name: "door", From: floorwatch.Point{X: 100, Y: 300}, To: floorwatch.Point{X: 400, Y: 350}}}
	srv := httptest.NewServer(api.New(api.Settings{Sites: site.Of(registry), Figures: d, Footage: d, Pictures: d, Hub: hub, Pages: web.Handler()}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	show(t, boxes.PutState, "demo", "box1", floorwatch.State{V: 1, State: floorwatch.StateOnline})

	ctx := webtest.Browser(t)
	var bad webtest.Faults
	bad.Watch(ctx, strings.TrimPrefix(srv.URL, "http://"))
	webtest.Run(t, ctx, "open", clog.Enable(), network.Enable(), chromedp.EmulateViewport(1400, 900), chromedp.Navigate(srv.URL+"/?lang=en"))
	webtest.Until(t, ctx, `!document.querySelector('#counts').hidden && document.querySelectorAll('#counts-charts .plot canvas').length === 3`)
	webtest.Until(t, ctx, `document.querySelectorAll('#overlay .gate').length === 1`)
	inside := d.counts[len(d.counts)-1]
	webtest.Until(t, ctx, fmt.Sprintf(`%s.includes('store: inside now %d as of') && %[1]s.includes('-2 left over')`, fig("inside"), *inside.Occupancy))
	webtest.Until(t, ctx, fig("entries")+`.includes('door: entries today') && `+fig("entries")+`.includes('side-door: exits today')`)
	live := d.live("store", 23, 0, 0)
	live.Camera = "counter"
	show(t, boxes.PutLive, "demo", "box1", live)
	webtest.Until(t, ctx, fig("inside")+`.startsWith('store: inside now 23 ')`)
	live.Coverage, live.T = 0, live.T+1
	show(t, boxes.PutLive, "demo", "box1", live)
	webtest.Until(t, ctx, fig("inside")+`.startsWith('store: inside now – no word from the counters')`)
	webtest.Until(t, ctx, `document.querySelector('#chart-line-0 .read').innerText.includes('coverage 100 %')`)
	webtest.Run(t, ctx, "definition", chromedp.Click(`#chart-line-0 .q`))
	webtest.Until(t, ctx, `document.querySelector('#defs').open && document.querySelector('#def-entries').classList.contains('here')`)
	webtest.Run(t, ctx, "close", chromedp.KeyEvent("\x1b"))
	webtest.Until(t, ctx, `[...document.querySelectorAll('[data-def]')].filter(e => !e.closest('#waits')).every(e => document.getElementById('def-' + e.dataset.def))`)
	webtest.Until(t, ctx, `document.querySelector('#counts-csv').href.includes('format=csv')`)
	shot(t, ctx, "counts-en", true)
	webtest.Run(t, ctx, "switch", chromedp.Click(`#lang`))
	webtest.Until(t, ctx, `document.querySelector('#h-counts').innerText === '进出人数'`)
	var words []string
	webtest.Run(t, ctx, "words", chromedp.Evaluate(`[...document.querySelector('#counts').innerText.matchAll(/[A-Za-z]{3,}/g)].map(m => m[0]).filter(w => !['CSV', 'door', 'side', 'store'].includes(w))`, &words))
	if len(words) > 0 {
		t.Errorf("English words on the Chinese page: %q", words)
	}
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390`)
	shot(t, ctx, "counts-phone-zh", true)
	for _, f := range bad.All() {
		t.Error(f)
	}
}
