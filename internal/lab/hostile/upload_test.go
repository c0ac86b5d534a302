package hostile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/internal/lab/kit"
)

// piece is a sealed file of the box, whose record is acknowledged.
type piece struct {
	bytes []byte
	path  string // of its upload
	key   ed25519.PrivateKey
}

func (w *world) piece(t *testing.T) piece {
	t.Helper()
	data := w.path("sources")
	key, err := edge.LoadKey(data)
	kit.Must(t, err)
	var names []string
	kit.Wait(t, "a sealed file", func() bool {
		names, err = filepath.Glob(filepath.Join(data, edge.FootageDir, "steady", "*", "*.seal"))
		kit.Must(t, err)
		return len(names) > 0
	})
	b, err := os.ReadFile(strings.TrimSuffix(names[0], ".seal") + ".mp4")
	kit.Must(t, err)
	sum := sha256.Sum256(b)
	return piece{b, floorwatch.UploadPath + "s1/sources/" + hex.EncodeToString(sum[:]), key}
}

// send uploads a part of a piece; change may spoil the request.
func (w *world) send(t *testing.T, p piece, offset int64, body []byte, change func(r *http.Request)) (status int, answer string, at http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://"+w.cloud.metrics+p.path, bytes.NewReader(body))
	kit.Must(t, err)
	claim := floorwatch.UploadClaim{Method: r.Method, Path: p.path, Offset: offset, At: floorwatch.TimeOf(time.Now()), Body: body}
	r.Header.Set(floorwatch.HeaderOffset, strconv.FormatInt(offset, 10))
	r.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(claim.At), 10))
	r.Header.Set(floorwatch.HeaderSignature, claim.Sign(p.key))
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	kit.Must(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	kit.Must(t, err)
	return resp.StatusCode, string(b), resp.Header
}

// cut sends half of what a request announces, and hangs up.
func (w *world) cut(t *testing.T, p piece) {
	t.Helper()
	c, err := net.Dial("tcp", w.cloud.metrics)
	kit.Must(t, err)
	body := p.bytes[:1000]
	claim := floorwatch.UploadClaim{Method: http.MethodPatch, Path: p.path, At: floorwatch.TimeOf(time.Now()), Body: body}
	_, err = io.WriteString(c, "PATCH "+p.path+" HTTP/1.1\r\nHost: "+w.cloud.metrics+"\r\nContent-Length: 1000\r\n"+
		floorwatch.HeaderOffset+": 0\r\n"+floorwatch.HeaderTime+": "+strconv.FormatInt(int64(claim.At), 10)+"\r\n"+
		floorwatch.HeaderSignature+": "+claim.Sign(p.key)+"\r\n\r\n"+string(body[:500]))
	kit.Must(t, err)
	kit.Must(t, c.Close())
}

// uploads sends footage as it must not come, and then as it must.
func (w *world) uploads(t *testing.T) {
	const refused, corrupt, received = "floorwatch_vault_refused_total", "floorwatch_vault_corrupt_total", "floorwatch_vault_received_total"
	p := w.piece(t)
	kit.Wait(t, "the seal to reach the vault", func() bool {
		status, _, _ := w.send(t, p, 0, nil, nil)
		return status == http.StatusOK
	})
	stranger := p
	_, stranger.key, _ = ed25519.GenerateKey(nil)
	other := func(path string) piece { return piece{p.bytes, path, p.key} }
	altered := bytes.Clone(p.bytes)
	altered[len(altered)/2] ^= 1
	escaped := func(path string) func(*http.Request) {
		return func(r *http.Request) { r.URL.Opaque = path }
	}
	for _, c := range []struct {
		name   string
		do     func() (int, string, http.Header)
		status int
		log    string
		figure string
	}{
		{"not signed", func() (int, string, http.Header) {
			return w.send(t, p, 0, p.bytes, func(r *http.Request) { r.Header.Del(floorwatch.HeaderSignature) })
		}, 401, "upload refused.*the request is not signed", refused},
		{"signed by a stranger", func() (int, string, http.Header) { return w.send(t, stranger, 0, p.bytes, nil) }, 401, "upload refused.*not that of the registered box", refused},
		{"signed long ago", func() (int, string, http.Header) {
			return w.send(t, p, 0, p.bytes, func(r *http.Request) { r.Header.Set(floorwatch.HeaderTime, "1000") })
		}, 401, "upload refused.*away from the cloud's clock", refused},
		{"of an unknown box", func() (int, string, http.Header) {
			return w.send(t, other(strings.Replace(p.path, "sources", "ghost", 1)), 0, p.bytes, nil)
		}, 403, "upload refused.*not registered", refused},
		{"with traversal", func() (int, string, http.Header) {
			return w.send(t, p, 0, p.bytes, escaped(floorwatch.UploadPath+"s1/%2e%2e%2fsources/"+p.path[len(p.path)-64:]))
		}, 404, "upload refused.*no such path", refused},
		{"with NUL", func() (int, string, http.Header) {
			return w.send(t, p, 0, p.bytes, escaped(floorwatch.UploadPath+"s1/sources/%00"))
		}, 404, "upload refused.*no such path", refused},
		{"in an unknown encoding", func() (int, string, http.Header) {
			return w.send(t, p, 0, p.bytes, escaped(floorwatch.UploadPath+"s1/%ff%fe/"+p.path[len(p.path)-64:]))
		}, 404, "upload refused.*no such path", refused},
		{"cut", func() (int, string, http.Header) { w.cut(t, p); return 0, "", nil }, 0, "upload refused.*the body was cut off", refused},
		{"longer than sealed", func() (int, string, http.Header) { return w.send(t, p, 0, append(bytes.Clone(p.bytes), 'x'), nil) }, 413, "upload refused.*the seal says", refused},
		{"altered", func() (int, string, http.Header) { return w.send(t, p, 0, altered, nil) }, 422, "upload refused.*the bytes are not those that were sealed", corrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			written, before := w.cloud.at(c.figure)
			if status, answer, _ := c.do(); status != c.status {
				t.Errorf("it answers %d %s, want %d", status, answer, c.status)
			}
			says := regexp.MustCompile(c.log)
			kit.Wait(t, "the log to say "+c.log, func() bool { return says.MatchString(w.cloud.Output()[written:]) })
			kit.Wait(t, c.figure+" to move", func() bool { return w.cloud.figure(c.figure) > before })
		})
	}
	before := w.cloud.figure(received)
	half := len(p.bytes) / 2
	if status, answer, _ := w.send(t, p, 0, p.bytes[:half], nil); status != http.StatusOK {
		t.Fatalf("the first half: %d %s", status, answer)
	}
	if status, answer, at := w.send(t, p, 0, p.bytes[:half], nil); status != http.StatusConflict || at.Get(floorwatch.HeaderOffset) != strconv.Itoa(half) {
		t.Errorf("the first half again: %d %s, offset %s; want 409 and %d", status, answer, at.Get(floorwatch.HeaderOffset), half)
	}
	for range 2 { // stored, and the reply was lost
		status, answer, _ := w.send(t, p, int64(half), p.bytes[half:], nil)
		if r, err := floorwatch.ParseReceipt([]byte(answer)); status != http.StatusOK || err != nil || r.Bytes != int64(len(p.bytes)) {
			t.Fatalf("the second half: %d %s (%v), want a receipt", status, answer, err)
		}
	}
	if now := w.cloud.figure(received); now != before+1 {
		t.Errorf("%s went from %g to %g, want one more", received, before, now)
	}
}
