// Package webtest drives the page in a real Chromium, for tests.
package webtest

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch/internal/lab/kit"

	clog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser starts a Chromium with a new profile that asks nothing of the outside.
func Browser(t *testing.T) context.Context {
	t.Helper()
	kit.Charts(t)
	dir := profile(t)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir), chromedp.ExecPath(kit.Tool(t, "chromium")),
		chromedp.Env("TMPDIR="+dir), // for the folders that it forgets there
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"), chromedp.Flag("lang", "en-GB"))
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(stop)
	ctx, stopAlloc := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(stopAlloc)
	ctx, stopTab := chromedp.NewContext(ctx, chromedp.WithErrorf(complain))
	t.Cleanup(stopTab)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // closes the browser and waits for it
			t.Logf("close browser: %v", err)
		}
	})
	return ctx
}

// profile makes a folder for the browser. Its helpers may write there for a
// moment after the browser has ended, so that t.TempDir would fail at times.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := kit.Folder("chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(5 * time.Second); ; <-tick.C {
			if err := os.RemoveAll(dir); err == nil || time.Now().After(end) {
				return
			}
		}
	})
	return dir
}

// Faults collects what must not happen: console errors, exceptions, violations
// of the content security policy, requests to any other address.
type Faults struct {
	mu   sync.Mutex
	list []string
}

func (f *Faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

// All returns what was seen so far.
func (f *Faults) All() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}

// Watch listens to the tab of ctx; host is the only one that may be asked.
func (f *Faults) Watch(ctx context.Context, host string) {
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

// Run does the actions or ends the test, saying what it was doing.
func Run(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Until waits for a JavaScript expression to become true.
func Until(t *testing.T, ctx context.Context, expr string) {
	t.Helper()
	err := chromedp.Run(ctx, chromedp.Poll(expr, nil, chromedp.WithPollingTimeout(kit.Patience), chromedp.WithPollingInterval(50*time.Millisecond)))
	if err != nil {
		var text string
		_ = chromedp.Run(ctx, chromedp.Evaluate(`document.body.innerText.slice(0, 2000)`, &text))
		t.Fatalf("never true: %s (%v); the page says:\n%s", expr, err, text)
	}
}

// complain passes on what chromedp says, less its remarks on events that its
// version does not know.
func complain(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !strings.Contains(s, "unhandled") {
		log.Print(s)
	}
}
