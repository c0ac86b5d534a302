package footage_test

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"floorwatch/edge/footage"
)

// TestChromiumPlaysAndSeeksAClip cuts a clip with a gap inside, as a restart
// leaves it, and seeks behind the gap.
func TestChromiumPlaysAndSeeksAClip(t *testing.T) {
	url, _ := startCamera(t, makeFilm(t, "30", "5"))
	dir := t.TempDir()
	var got records
	for n := range 2 {
		stop := startRecorder(t, dir, url, got.emit)
		waitFor(t, "a file", func() bool { return len(got.segments()) > 2*n })
		stop()
	}
	segs := got.segments()
	lib := &footage.Library{Dir: dir}
	clip, err := lib.Clip(t.Context(), "door", segs[0].Start, segs[len(segs)-1].End)
	if err != nil {
		t.Fatal(err)
	}
	if gaps, err := lib.Gaps("door", clip.Start, clip.End); err != nil || len(gaps) == 0 {
		t.Fatalf("no gap in the clip: %v", err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/clip.mp4" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<video id=v muted src=clip.mp4></video>"))
			return
		}
		http.ServeContent(w, r, "clip.mp4", time.Time{}, bytes.NewReader(clip.Data))
	}))
	defer site.Close()
	alloc, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)...)
	defer cancel()
	ctx, cancel := chromedp.NewContext(alloc)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, patience)
	defer cancel()
	seconds := clip.End.Sub(clip.Start).Seconds()
	var seen []float64
	err = chromedp.Run(ctx, chromedp.Navigate(site.URL), chromedp.Evaluate(`(async () => {
		const v = document.getElementById('v'), on = e => new Promise((ok, no) => {
			v.addEventListener(e, ok, {once: true}); v.addEventListener('error', () => no(v.error.message), {once: true}) });
		if (v.readyState < 2) await on('loadeddata');
		const out = [v.duration, v.videoWidth];
		for (const at of [v.duration - 0.6, 0.5]) { const done = on('seeked'); v.currentTime = at; await done; out.push(v.currentTime); }
		await v.play(); await on('timeupdate');
		return out;
	})()`, &seen, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(seen[0]-seconds) > 0.3 || seen[1] != 320 || math.Abs(seen[2]-seen[0]+0.6) > 0.2 || math.Abs(seen[3]-0.5) > 0.2 {
		t.Errorf("Chromium says %v of a clip of %.2f s", seen, seconds)
	}
	t.Logf("clip of %.2f s: %v", seconds, seen)
}
