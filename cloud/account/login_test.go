package account

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const token = "0123456789abcdef"

// guarded is a login before a site that says yes to all.
func guarded(secure bool) *Login {
	return NewLogin(token, secure, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }))
}

func ask(l *Login, method, path string, change func(*http.Request)) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w.Result()
}

// form posts a token as the page does.
func form(l *Login, text string, change func(*http.Request)) *http.Response {
	body := url.Values{"token": {text}}.Encode()
	return ask(l, http.MethodPost, loginPath, func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if change != nil {
			change(r)
		}
	})
}

func TestLoginLetsNobodyInWithoutToken(t *testing.T) {
	l := guarded(false)
	for _, c := range []struct {
		path   string
		status int
	}{
		{"/", http.StatusSeeOther},
		{"/js/app.js", http.StatusSeeOther},
		{"/api/sites", http.StatusUnauthorized},
		{"/metrics", http.StatusUnauthorized},
		{"/login", http.StatusOK},
		{"/healthz", http.StatusOK},
		{"/login/../", http.StatusSeeOther},
		{"//login", http.StatusSeeOther},
	} {
		resp := ask(l, http.MethodGet, "http://floorwatch.example.com"+c.path, nil)
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || c.path != "/healthz" && strings.Contains(string(b), "inside") {
			t.Errorf("%s: %s %.60q", c.path, resp.Status, b)
		}
	}
	for _, value := range []string{"", ".", "99999999999.", "99999999999." + strings.Repeat("0", 64), token} {
		resp := ask(l, http.MethodGet, "/", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: value}) })
		if resp.StatusCode != http.StatusSeeOther {
			t.Errorf("cookie %q: %s", value, resp.Status)
		}
	}
}

func TestLoginByForm(t *testing.T) {
	l := guarded(true)
	now := time.Unix(1_800_000_000, 0)
	l.now = func() time.Time { return now }
	resp := form(l, " "+token+"\n", nil)
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("%s %v", resp.Status, cookies)
	}
	c := cookies[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || strings.Contains(c.Value, token) {
		t.Errorf("cookie %+v", c)
	}
	open := func(l *Login) int {
		return ask(l, http.MethodGet, "/api/sites", func(r *http.Request) { r.AddCookie(c) }).StatusCode
	}
	if got := open(l); got != http.StatusOK {
		t.Errorf("with the cookie: %d", got)
	}
	other := guarded(true)
	other.token, other.now = "another-token-altogether", l.now
	if got := open(other); got != http.StatusUnauthorized {
		t.Errorf("the cookie outlives its token: %d", got)
	}
	now = now.Add(cookieLife + time.Second)
	if got := open(l); got != http.StatusUnauthorized {
		t.Errorf("the cookie outlives its time: %d", got)
	}
}

func TestLoginRefusesForms(t *testing.T) {
	l := guarded(false)
	for what, resp := range map[string]*http.Response{
		"wrong":      form(l, token+"x", nil),
		"empty":      form(l, "", nil),
		"cross-site": form(l, token, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }),
		"too long":   form(l, strings.Repeat("x", maxForm), nil),
		"in the address": ask(l, http.MethodPost, loginPath+"?token="+token, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}),
	} {
		if resp.StatusCode/100 != 4 || len(resp.Cookies()) > 0 {
			t.Errorf("%s: %s %v", what, resp.Status, resp.Cookies())
		}
	}
}

func TestLoginByHeader(t *testing.T) {
	l := guarded(false)
	for header, want := range map[string]int{
		"Bearer " + token:       http.StatusOK,
		"Bearer " + token + "x": http.StatusUnauthorized,
		"Basic " + token:        http.StatusUnauthorized,
		"Bearer ":               http.StatusUnauthorized,
	} {
		resp := ask(l, http.MethodGet, "/metrics", func(r *http.Request) { r.Header.Set("Authorization", header) })
		if resp.StatusCode != want {
			t.Errorf("%q: %s, want %d", header, resp.Status, want)
		}
	}
}

func TestLoginSlowsGuessing(t *testing.T) {
	l := guarded(false)
	now := time.Unix(1_800_000_000, 0)
	l.tries.now = func() time.Time { return now }
	from := func(address string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr = address }
	}
	for i := range maxTries {
		if resp := form(l, fmt.Sprint(i), from("[2001:db8::1]:1000")); resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("try %d: %s", i, resp.Status)
		}
	}
	resp := form(l, token, from("[2001:db8::2]:1001"))
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || len(resp.Cookies()) > 0 {
		t.Errorf("another address of the same /64: %s", resp.Status)
	}
	for range 2 * maxTries { // right tokens use no tries up
		if resp := form(l, token, from("192.0.2.7:1000")); resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("another address: %s", resp.Status)
		}
	}
	now = now.Add(tryWindow)
	if resp := form(l, token, from("[2001:db8::2]:1001")); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a minute later: %s", resp.Status)
	}
	for i := range maxTracked {
		form(l, "x", from(fmt.Sprintf("10.0.%d.%d:1", i>>8, i&255)))
	}
	if len(l.tries.count) > maxTracked {
		t.Errorf("%d addresses are tracked", len(l.tries.count))
	}
}

func FuzzCookie(f *testing.F) {
	l := guarded(false)
	f.Add("1800000000.00")
	f.Add(".")
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", cookieName+"="+value)
		if l.known(r) {
			t.Errorf("%q is taken for a cookie of ours", value)
		}
	})
}
