package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/command"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/fmp4"
)

// far is a camera whose footage lies on its box until it is fetched.
type far struct {
	memory
	mu    sync.Mutex
	here  bool
	holds []vault.Hold
	fetch func(ctx context.Context, progress func(done, total int64)) error
}

func (f *far) Clip(context.Context, account.Identity, site.Source, floorwatch.Time, floorwatch.Time) (fmp4.Clip, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.here {
		return fmp4.Clip{}, fmt.Errorf("2 of 3 pieces: %w", vault.ErrNotHere)
	}
	return fmp4.Clip{Start: t0, End: t0 + 1000, Data: []byte("film")}, nil
}

func (f *far) Fetch(ctx context.Context, _ account.Identity, _ site.Source, _, _ floorwatch.Time, progress func(done, total int64)) error {
	if err := f.fetch(ctx, progress); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.here = true
	return nil
}

func (f *far) Hold(_ context.Context, who account.Identity, c site.Source, from, to floorwatch.Time, why string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := fmt.Sprintf("%032x", len(f.holds)+1)
	f.holds = append(f.holds, vault.Hold{ID: id, Store: c.Store, Edge: c.Edge, Camera: c.Camera, From: from, To: to, Why: why, Who: string(who)})
	return id, nil
}

func (f *far) Release(_ context.Context, _ account.Identity, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, h := range f.holds {
		if h.ID == id {
			f.holds = append(f.holds[:i], f.holds[i+1:]...)
			return nil
		}
	}
	return fmt.Errorf("hold %s: %w", id, vault.ErrNoHold)
}

func (f *far) Holds(context.Context, site.Source, floorwatch.Time, floorwatch.Time) ([]vault.Hold, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]vault.Hold(nil), f.holds...), nil
}

func (f *far) handler(log io.Writer) http.Handler {
	return New(Settings{
		Sites:   shop("", site.Camera{Name: "cam"}),
		Figures: f, Footage: f, Archive: f, Log: slog.New(slog.NewTextHandler(log, nil)),
		Now: func() time.Time { return t0.Add(10 * time.Minute).Time() },
	})
}

const span10 = "from=1750000020000&to=1750000030000"

func TestClipThatIsElsewhereIsFetched(t *testing.T) {
	f := &far{fetch: func(_ context.Context, progress func(done, total int64)) error {
		progress(10, 30)
		progress(30, 30)
		return nil
	}}
	h := f.handler(io.Discard)
	for _, path := range []string{"/api/clip?", "/api/clip.mp4?"} {
		w := get(t, h, path+span10)
		var body struct {
			Error, Hint string
			Elsewhere   bool
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusConflict || !body.Elsewhere || body.Error == "" || body.Hint == "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	w := get(t, h, "/api/fetch?"+span10)
	said := w.Body.String()
	for _, want := range []string{`{"done":30,"total":30}`, "event: end\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing in\n%s", want, said)
		}
	}
	if w.Header().Get("Content-Type") != "text/event-stream; charset=utf-8" || strings.Index(said, "event: end") < strings.LastIndex(said, "event: progress") {
		t.Errorf("stream of %s:\n%s", w.Header().Get("Content-Type"), said)
	}
	if w := get(t, h, "/api/clip?"+span10); w.Code != 200 {
		t.Errorf("after the fetch: %d %s", w.Code, w.Body)
	}
}

func TestFetchSaysWhyItFails(t *testing.T) {
	for code, err := range map[string]error{
		"none": fmt.Errorf("a: %w", vault.ErrNoFootage), "away": fmt.Errorf("b: %w", command.ErrAway), "stalled": fmt.Errorf("c: %w", vault.ErrStalled),
		"broken": errors.New("password=secret"),
	} {
		var log strings.Builder
		f := &far{fetch: func(context.Context, func(done, total int64)) error { return err }}
		said := get(t, f.handler(&log), "/api/fetch?"+span10).Body.String()
		if !strings.Contains(said, "event: failed\n") || !strings.Contains(said, `"code":"`+code+`"`) || strings.Contains(said, "event: end") || strings.Contains(said, "secret") {
			t.Errorf("%s:\n%s", code, said)
		}
		if strings.Contains(log.String(), "secret") != (code == "broken") {
			t.Errorf("%s: log %q", code, log.String())
		}
	}
}

// TestFetchEndsWithItsCaller: a page that is closed leaves nothing running, and
// while nothing comes the stream is kept open.
func TestFetchEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		f := &far{fetch: func(ctx context.Context, progress func(done, total int64)) error {
			for i := int64(0); ctx.Err() == nil; i++ {
				progress(i, 1000)
				select {
				case <-ctx.Done():
				case <-time.After(time.Minute):
				}
			}
			ended = true
			return ctx.Err()
		}}
		ctx, leave := context.WithTimeout(t.Context(), 85*time.Second)
		defer leave()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/fetch?"+span10, nil)
		r.Host = "localhost"
		f.handler(io.Discard).ServeHTTP(w, r)
		said := w.Body.String()
		if !ended || strings.Count(said, "event: ping") != 9 || strings.Count(said, "event: progress") != 2 || strings.Contains(said, "failed") {
			t.Errorf("ended %v:\n%s", ended, said)
		}
	})
}

func TestFetchesAreBounded(t *testing.T) {
	running, enough := make(chan struct{}), make(chan struct{})
	f := &far{fetch: func(context.Context, func(done, total int64)) error {
		running <- struct{}{}
		<-enough
		return nil
	}}
	h := f.handler(io.Discard)
	var all sync.WaitGroup
	for range maxFetches {
		all.Go(func() { get(t, h, "/api/fetch?"+span10) })
		<-running
	}
	if w := get(t, h, "/api/fetch?"+span10); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one more: %d %s", w.Code, w.Body)
	}
	close(enough)
	all.Wait()
	for _, c := range []struct {
		method, query, site string
		want                int
	}{
		{"GET", span10, "cross-site", 403},
		{"GET", span10, "same-site", 403},
		{"HEAD", span10, "", 200},
		{"POST", span10, "", 405},
		{"GET", "from=1750000020000&to=1750001030000", "", 400},
		{"GET", span10 + "&camera=other", "", 404},
	} {
		r := httptest.NewRequest(c.method, "/api/fetch?"+c.query, nil)
		r.Host = "localhost"
		r.Header.Set("Sec-Fetch-Site", c.site)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %s %s: %d, want %d", c.method, c.query, c.site, w.Code, c.want)
		}
	}
}

func send(h http.Handler, method, target, body string, head map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost:8080"
	for k, v := range head {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const goodHold = `{"store":"s1","edge":"box","camera":"cam","from":1750000020000,"to":1750000030000,"why":" 顾客投诉 "}`

func TestHoldIsListedAndReleased(t *testing.T) {
	f := &far{}
	h := f.handler(io.Discard)
	head := map[string]string{change: "1", "Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8080"}
	id := decode[map[string]string](t, send(h, "POST", "/api/hold", goodHold, head))["id"]
	list := decode[struct{ Holds []holdView }](t, get(t, h, "/api/timeline?"+span10)).Holds
	if len(list) != 1 || list[0].ID != id || list[0].Why != "顾客投诉" || list[0].From != t0 || list[0].Who != "page" {
		t.Fatalf("holds %+v", list)
	}
	if w := send(h, "DELETE", "/api/hold"+"?id="+id, "", head); w.Code != 200 || len(f.holds) != 0 {
		t.Errorf("release: %d %s", w.Code, w.Body)
	}
	if w := send(h, "DELETE", "/api/hold"+"?id="+id, "", head); w.Code != 404 {
		t.Errorf("release of none: %d %s", w.Code, w.Body)
	}
	plain, _, _ := handler(&memory{})
	if w := send(plain, "POST", "/api/hold", goodHold, head); w.Code != 404 {
		t.Errorf("hold without a vault: %d %s", w.Code, w.Body)
	}
	if got := get(t, plain, "/api/timeline?"+span10).Body.String(); !strings.Contains(got, `"holds":null`) {
		t.Errorf("timeline without a vault: %s", got)
	}
}

func TestHostileHolds(t *testing.T) {
	f := &far{}
	h := f.handler(io.Discard)
	with := func(k, v string) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(goodHold), &m); err != nil {
			t.Fatal(err)
		}
		m[k] = json.RawMessage(v)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		method, target, body string
		head                 map[string]string
		want                 int
	}{
		{"POST", "/api/hold", goodHold, map[string]string{change: ""}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Sec-Fetch-Site": "none"}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Origin": "http://evil.example"}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Origin": "null"}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Origin": "http://localhost:8081"}, 403},
		{"POST", "/api/hold", goodHold, map[string]string{"Content-Type": "text/plain"}, 415},
		{"POST", "/api/hold", goodHold, map[string]string{"Content-Type": ""}, 415},
		{"PUT", "/api/hold", goodHold, nil, 405},
		{"GET", "/api/hold", "", nil, 405},
		{"POST", "/api/sites", goodHold, nil, 405},
		{"DELETE", "/api/timeline", "", nil, 405},
		{"POST", "/api/hold", "", nil, 400},
		{"POST", "/api/hold", goodHold + "{}", nil, 400},
		{"POST", "/api/hold", "[1]", nil, 400},
		{"POST", "/api/hold", with("extra", "1"), nil, 400},
		{"POST", "/api/hold", with("camera", `"../x"`), nil, 400},
		{"POST", "/api/hold", with("camera", `"other"`), nil, 404},
		{"POST", "/api/hold", with("from", "0"), nil, 400},
		{"POST", "/api/hold", with("from", "1750000030000"), nil, 400},
		{"POST", "/api/hold", with("from", `"2025"`), nil, 400},
		{"POST", "/api/hold", with("to", "9e18"), nil, 400},
		{"POST", "/api/hold", with("to", "1760000030000"), nil, 400},
		{"POST", "/api/hold", with("why", `"  "`), nil, 400},
		{"POST", "/api/hold", with("why", `"a\u0000b"`), nil, 400},
		{"POST", "/api/hold", with("why", `"`+strings.Repeat("a", maxWhy+1)+`"`), nil, 400},
		{"POST", "/api/hold", with("why", `"`+strings.Repeat("a", 5000)+`"`), nil, 400},
		{"DELETE", "/api/hold", "", nil, 400},
		{"DELETE", "/api/hold" + "?id=../../etc", "", nil, 400},
		{"DELETE", "/api/hold" + "?id=" + strings.Repeat("a", 32) + "&id=" + strings.Repeat("b", 32), "", nil, 400},
	} {
		head := map[string]string{change: "1", "Content-Type": "application/json"}
		for k, v := range c.head {
			head[k] = v
		}
		w := send(h, c.method, c.target, c.body, head)
		if w.Code != c.want || len(f.holds) != 0 {
			t.Errorf("%s %s %.90s %v: %d, want %d: %s", c.method, c.target, c.body, c.head, w.Code, c.want, w.Body)
		}
		if w.Code == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: 405 without Allow", c.method, c.target)
		}
	}
}

func FuzzHold(f *testing.F) {
	f.Add(goodHold)
	f.Add(`{"from":1,"to":2,"why":"x"}`)
	f.Add(`{"why":"\ud800"}`)
	f.Fuzz(func(t *testing.T, body string) {
		store := &far{}
		w := send(store.handler(io.Discard), "POST", "/api/hold", body, map[string]string{change: "1", "Content-Type": "application/json"})
		if (w.Code == 200) != (len(store.holds) == 1) || w.Code >= 500 {
			t.Fatalf("%d with %d holds", w.Code, len(store.holds))
		}
		for _, h := range store.holds {
			if h.From <= 0 || h.From >= h.To || h.To.Sub(h.From) > floorwatch.MaxHoldSpan || h.Why == "" || len(h.Why) > maxWhy {
				t.Fatalf("held %+v", h)
			}
		}
	})
}
