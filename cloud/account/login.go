// Package account knows who asks. There are no accounts yet: whoever has the
// token is let in (Login) and acts as the page.
package account

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Identity names who asks, for the access log of footage.
type Identity string

// Page is whoever looks at the pages, or asks their interface.
const Page Identity = "page"

// Of returns who sends a request that was let in.
func Of(*http.Request) Identity { return Page }

// Login lets in who knows the token: people by a form that sets a cookie,
// programs by `Authorization: Bearer TOKEN`. There are no accounts.
//
// The cookie is EXPIRY.HMAC(token, EXPIRY), so it needs no memory, outlives a
// restart and ends with the token. Wrong tokens are counted by address.
type Login struct {
	token  string
	secure bool // the connection is TLS: the cookie never goes without
	next   http.Handler
	now    func() time.Time
	tries  tries
}

const (
	cookieName = "floorwatch"
	cookieLife = 30 * 24 * time.Hour // screens on a wall have nobody to sign in
	loginPath  = "/login"

	// MinToken is the shortest token that is taken, in bytes.
	MinToken = 16
	maxForm  = 4 << 10
)

// NewLogin guards next with a token; secure says that the connection is TLS.
func NewLogin(token string, secure bool, next http.Handler) *Login {
	return &Login{token: token, secure: secure, next: next, now: time.Now, tries: tries{now: time.Now}}
}

// ServeHTTP lets a request pass, shows the form, or refuses.
func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/healthz":
		l.next.ServeHTTP(w, r)
	case r.URL.Path == loginPath && r.Method == http.MethodPost:
		l.enter(w, r)
	case r.URL.Path == loginPath:
		page(w, http.StatusOK, "")
	case l.known(r):
		l.next.ServeHTTP(w, r)
	case r.Header.Get("Authorization") != "":
		l.bearer(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics":
		refuse(w, http.StatusUnauthorized, "this needs a token", "send Authorization: Bearer TOKEN, or sign in at "+loginPath)
	default:
		http.Redirect(w, r, loginPath, http.StatusSeeOther)
	}
}

// known tells whether the request carries a cookie of ours that still holds.
func (l *Login) known(r *http.Request) bool {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	until, _, _ := strings.Cut(c.Value, ".")
	if subtle.ConstantTimeCompare([]byte(c.Value), []byte(l.seal(until))) != 1 {
		return false
	}
	s, err := strconv.ParseInt(until, 10, 64)
	return err == nil && l.now().Unix() < s
}

func (l *Login) seal(until string) string {
	mac := hmac.New(sha256.New, []byte(l.token))
	mac.Write([]byte("floorwatch cookie 1 " + until))
	return until + "." + hex.EncodeToString(mac.Sum(nil))
}

// right compares in a time that does not depend on the token.
func (l *Login) right(token string) bool {
	want, got := sha256.Sum256([]byte(l.token)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// bearer serves a program that sends its token with each request.
func (l *Login) bearer(w http.ResponseWriter, r *http.Request) {
	wait, ok := l.tries.take(r.RemoteAddr)
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		tooMany(w, wait)
		refuse(w, http.StatusTooManyRequests, "too many wrong tokens from this address", "wait a minute")
	case bearer && l.right(token):
		l.tries.giveBack(r.RemoteAddr)
		l.next.ServeHTTP(w, r)
	default:
		refuse(w, http.StatusUnauthorized, "this token is not right", "send Authorization: Bearer TOKEN, with the token from token_file")
	}
}

// enter takes the form.
func (l *Login) enter(w http.ResponseWriter, r *http.Request) {
	wait, ok := l.tries.take(r.RemoteAddr)
	if !ok {
		tooMany(w, wait)
		page(w, http.StatusTooManyRequests, "输入错误次数过多，请一分钟后再试。 Too many wrong tokens from this address; wait a minute.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if site := r.Header.Get("Sec-Fetch-Site"); r.ParseForm() != nil || site != "" && site != "same-origin" && site != "none" {
		page(w, http.StatusBadRequest, "无法读取该表单。 This form cannot be read.")
		return
	}
	if !l.right(strings.TrimSpace(r.PostForm.Get("token"))) {
		page(w, http.StatusUnauthorized, "令牌不正确。 This token is not right.")
		return
	}
	l.tries.giveBack(r.RemoteAddr)
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: l.seal(strconv.FormatInt(l.now().Add(cookieLife).Unix(), 10)), Path: "/",
		MaxAge: int(cookieLife / time.Second), HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: l.secure,
	})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
}

func refuse(w http.ResponseWriter, status int, msg, hint string) {
	head(w, "application/json; charset=utf-8", "default-src 'none'; frame-ancestors 'none'")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="floorwatch"`)
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q,"hint":%q}`+"\n", msg, hint)
}

func head(w http.ResponseWriter, kind, policy string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
}

const style = `body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:22rem;padding:0 1rem;color:#1b2430;background:#f6f7f9}
h1{font-size:1.25rem}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;margin:.3rem 0;border:1px solid #8a94a3;border-radius:.4rem}
button{background:#1d5fd1;border-color:#1d5fd1;color:#fff}p.fault{color:#b3261e}`

// page shows the form. It needs no script and no file, as those need a token.
func page(w http.ResponseWriter, status int, fault string) {
	sum := sha256.Sum256([]byte(style))
	head(w, "text/html; charset=utf-8", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	if fault != "" {
		fault = `<p class="fault" role="alert">` + fault + `</p>`
	}
	fmt.Fprintf(w, `<!doctype html>
<html lang="zh"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>floorwatch</title><style>%s</style>
<h1>floorwatch</h1>%s
<form method="post" action="%s"><label for="token">访问令牌 <span lang="en">Access token</span></label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>进入 <span lang="en">Enter</span></button></form></html>
`, style, fault, loginPath)
}

// tries counts wrong tokens by address, so that nobody can try many.
type tries struct {
	now func() time.Time

	mu    sync.Mutex
	since time.Time // the window began
	count map[netip.Prefix]int
}

const (
	tryWindow  = time.Minute
	maxTries   = 10   // of an address in a window
	maxTracked = 4096 // addresses in a window; beyond that every new one waits
)

// take books a try before it is looked at, so that many at once are counted
// too; when there is none left it tells how long the address waits.
func (t *tries) take(remote string) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	age := t.now().Sub(t.since)
	if age < 0 || age >= tryWindow {
		t.since, t.count, age = t.now(), map[netip.Prefix]int{}, 0
	}
	p := prefixOf(remote)
	n, tracked := t.count[p]
	if n >= maxTries || !tracked && len(t.count) >= maxTracked {
		return tryWindow - age, false
	}
	t.count[p]++
	return 0, true
}

// giveBack takes a try off that had the right token.
func (t *tries) giveBack(remote string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := prefixOf(remote)
	if t.count[p]--; t.count[p] <= 0 {
		delete(t.count, p)
	}
}

// prefixOf returns the address, of IPv6 the /64 that a single visitor holds.
func prefixOf(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
