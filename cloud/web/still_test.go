package web_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/picture"
	"floorwatch/cloud/site"
	"floorwatch/cloud/web"
	"floorwatch/internal/lab/webtest"

	"github.com/chromedp/chromedp"
)

// fading is a shop whose camera and box come and go.
type fading struct {
	*shop
	mu  sync.Mutex
	age time.Duration // of the still; 0: there is none
	why error
}

func (f *fading) set(age time.Duration, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.age, f.why = age, why
}

func (f *fading) Still(context.Context, site.Source) ([]byte, floorwatch.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.age == 0 {
		return nil, 0, f.why
	}
	return f.still, floorwatch.TimeOf(time.Now().Add(-f.age)), f.why
}

func (f *fading) Lines(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]floorwatch.Frame, error) {
	return nil, picture.ErrAway
}

// TestStillSaysWhyItIsOld in both languages: first there is none, then one, then
// its box goes; and a clip says that its boxes are away.
func TestStillSaysWhyItIsOld(t *testing.T) {
	t.Parallel()
	f := &fading{shop: newShop(t), why: picture.ErrOutdated}
	boxes := fleet.NewLive()
	hub := api.NewHub(boxes)
	srv := httptest.NewServer(api.New(api.Settings{Sites: site.Of(f.registry()), Figures: f, Footage: f, Pictures: f, Hub: hub, Pages: web.Handler()}))
	t.Cleanup(srv.Close)
	t.Cleanup(hub.Close)
	ctx := webtest.Browser(t)
	webtest.Run(t, ctx, "open", chromedp.EmulateViewport(1440, 900), chromedp.Navigate(srv.URL+"/?lang=zh"))
	says := func(text string) {
		t.Helper()
		webtest.Until(t, ctx, `(() => { const e = document.querySelector('#still-empty'); return !e.hidden && e.innerText.includes("`+text+`"); })()`)
	}
	says("设备上的程序版本过旧")
	f.set(0, picture.ErrAway)
	says("设备离线或没有回应")
	webtest.Run(t, ctx, "English", chromedp.Click("#lang"))
	says("No picture: the box is offline or does not answer.")

	f.set(time.Second, nil) // it comes by itself
	webtest.Until(t, ctx, `!document.querySelector('#still-img').hidden && document.querySelector('#still-empty').hidden && !document.querySelector('#still.old')`)
	f.set(3*time.Minute, picture.ErrAway)
	says("Old picture, 3 min")
	says("The box is offline or does not answer.")
	webtest.Until(t, ctx, `document.querySelector('#still.old img:not([hidden])') !== null`)
	shot(t, ctx, "still-old-en", false)
	f.set(0, picture.ErrAway) // the cloud was started again and knows less than the page
	webtest.Run(t, ctx, "Chinese", chromedp.Click("#lang"))
	says("旧画面，3")
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844))
	shot(t, ctx, "still-old-zh-phone", false)

	webtest.Run(t, ctx, "play a clip", chromedp.Evaluate(`document.querySelector("#stays li[data-key] .play").click()`, nil))
	webtest.Until(t, ctx, `document.querySelector("#clip-note").innerText.includes("还在营业厅的设备上，而设备没有回应")`)
	webtest.Until(t, ctx, `document.querySelector("#video").currentTime > 0.3`)
	shot(t, ctx, "clip-missing-zh-phone", false)
}
