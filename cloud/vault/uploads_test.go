package vault

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/layout"
)

func boxKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

// sealBytes returns a well-sealed record about data, the nth of its chain. Data
// need not be footage: the vault looks at hashes only.
func sealBytes(t testing.TB, n int, data []byte) floorwatch.Segment {
	t.Helper()
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	start := t0 + floorwatch.Time(n)*60_000
	seal := floorwatch.Seal{
		Kind: floorwatch.SealSegment, Store: "s1", Edge: "box", Camera: "hall", Chain: "00112233aabbccdd", Seq: uint64(n),
		At: start + 60_000, Start: start, End: start + 60_000, Boot: strings.Repeat("0a", 16),
		File: fmt.Sprintf("%08d.mp4", n), Codec: "unknown", Length: int64(len(data)), SHA256: sum(data),
		Fragments: []floorwatch.Fragment{{Length: 1, SHA256: sum(data[:1])}, {Length: int64(len(data)) - 1, Duration: 60_000, SHA256: sum(data[1:])}},
	}
	raw, err := floorwatch.SignSeal(seal, boxKey())
	if err != nil {
		t.Fatal(err)
	}
	return floorwatch.Segment{
		Header: floorwatch.Header{Kind: floorwatch.KindSegment, Camera: "hall", At: seal.At},
		File:   seal.File, Chain: seal.Chain, Seq: seal.Seq, Start: seal.Start, End: seal.End,
		Bytes: seal.Length, SHA256: seal.SHA256, Seal: string(raw),
	}
}

// newVault returns a vault that knows boxes s1/box and s1/other, both with the
// same key.
func newVault(t testing.TB) (*Uploads, *httptest.Server) {
	t.Helper()
	dir := t.TempDir()
	x, err := OpenIndex(filepath.Join(dir, layout.VaultIndex))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	objects, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	u := &Uploads{
		Index: x, Objects: objects, Dir: filepath.Join(dir, "incoming"),
		Key: func(store, edge string) (ed25519.PublicKey, bool) {
			return boxKey().Public().(ed25519.PublicKey), store == "s1" && (edge == "box" || edge == "other")
		},
	}
	srv := httptest.NewServer(u)
	t.Cleanup(srv.Close)
	return u, srv
}

// request signs as a box does; change may spoil it afterwards.
func request(t testing.TB, srv *httptest.Server, method, hash string, offset int64, body []byte, change func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+floorwatch.UploadPath+"s1/box/"+hash, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	c := floorwatch.UploadClaim{Method: method, Path: r.URL.Path, Offset: -1, At: floorwatch.TimeOf(time.Now()), Body: body}
	if method == http.MethodPatch {
		c.Offset = offset
		r.Header.Set(floorwatch.HeaderOffset, strconv.FormatInt(offset, 10))
	}
	r.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(c.At), 10))
	r.Header.Set(floorwatch.HeaderSignature, c.Sign(boxKey()))
	if change != nil {
		change(r)
	}
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	return b
}

func TestUploadsResumeAndEndWithAReceipt(t *testing.T) {
	u, srv := newVault(t)
	body := data(2500_000)
	seg := sealBytes(t, 1, body)
	if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
		t.Fatal(err)
	}
	for offset := 0; offset < len(body); {
		res := request(t, srv, http.MethodHead, seg.SHA256, 0, nil, nil)
		if got := res.Header.Get(floorwatch.HeaderOffset); res.StatusCode != 200 || got != strconv.Itoa(offset) {
			t.Fatalf("HEAD: %d, offset %s, want %d", res.StatusCode, got, offset)
		}
		end := min(offset+floorwatch.MaxUploadChunk, len(body))
		for range 2 { // each chunk twice: the first answer may have been lost
			res = request(t, srv, http.MethodPatch, seg.SHA256, int64(offset), body[offset:end], nil)
			if got := res.Header.Get(floorwatch.HeaderOffset); got != strconv.Itoa(end) {
				t.Fatalf("PATCH at %d: %d, offset %s, want %d", offset, res.StatusCode, got, end)
			}
		}
		offset = end
	}
	res := request(t, srv, http.MethodPatch, seg.SHA256, 0, body[:5], nil)
	raw, _ := io.ReadAll(res.Body)
	rec, err := floorwatch.ParseReceipt(raw)
	if err != nil || rec.SHA256 != seg.SHA256 || rec.Bytes != seg.Bytes || rec.Store != "s1" || rec.Edge != "box" {
		t.Errorf("no receipt for what is there: %d %q %v", res.StatusCode, raw, err)
	}
	stored(t, u, seg.SHA256, body)
	if st := u.Stats(); st.Received != 1 || st.Corrupt != 0 || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
	if left, err := filepath.Glob(filepath.Join(u.Dir, "*", "*", "*")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

func stored(t *testing.T, u *Uploads, hash string, want []byte) {
	t.Helper()
	r, err := u.Objects.Open(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes are stored, want %d: %v", len(got), len(want), err)
	}
}

func TestUploadsRefuse(t *testing.T) {
	u, srv := newVault(t)
	body := data(1000)
	seg := sealBytes(t, 1, body)
	if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
		t.Fatal(err)
	}
	path := func(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
	opaque := func(p string) func(*http.Request) {
		return func(r *http.Request) { r.URL.Opaque = "//" + r.URL.Host + p }
	}
	resign := func(at time.Time, key ed25519.PrivateKey) func(*http.Request) {
		return func(r *http.Request) {
			c := floorwatch.UploadClaim{Method: r.Method, Path: r.URL.Path, Offset: 0, At: floorwatch.TimeOf(at), Body: body}
			r.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(c.At), 10))
			r.Header.Set(floorwatch.HeaderSignature, c.Sign(key))
		}
	}
	_, stranger, _ := ed25519.GenerateKey(nil)
	up := floorwatch.UploadPath
	for name, c := range map[string]struct {
		method string
		hash   string
		offset int64
		body   []byte
		change func(*http.Request)
		want   int
	}{
		"not signed":        {change: func(r *http.Request) { r.Header.Del(floorwatch.HeaderSignature) }, want: 401},
		"no time":           {change: func(r *http.Request) { r.Header.Del(floorwatch.HeaderTime) }, want: 401},
		"signature garbled": {change: func(r *http.Request) { r.Header.Set(floorwatch.HeaderSignature, strings.Repeat("zz", 64)) }, want: 401},
		"a stranger's key":  {change: resign(time.Now(), stranger), want: 401},
		"signed long ago":   {change: resign(time.Now().Add(-6*time.Minute), boxKey()), want: 401},
		"signed tomorrow":   {change: resign(time.Now().Add(24*time.Hour), boxKey()), want: 401},
		"body altered": {change: func(r *http.Request) {
			bad := bytes.Clone(body)
			bad[7] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(bad))
		}, want: 401},
		"offset altered":    {change: func(r *http.Request) { r.Header.Set(floorwatch.HeaderOffset, "1") }, want: 401},
		"method altered":    {change: func(r *http.Request) { r.Method = http.MethodHead; r.Body = nil; r.ContentLength = 0 }, want: 401},
		"other box":         {change: path(up + "s1/other/" + seg.SHA256), want: 401},
		"unknown box":       {change: path(up + "s1/nobox/" + seg.SHA256), want: 403},
		"unknown store":     {change: path(up + "s9/box/" + seg.SHA256), want: 403},
		"seal unknown":      {hash: strings.Repeat("ab", 32), want: 404},
		"hash in capitals":  {hash: strings.ToUpper(seg.SHA256), want: 404},
		"hash cut":          {hash: seg.SHA256[:63], want: 404},
		"traversal":         {change: path(up + "s1/../" + seg.SHA256), want: 404},
		"traversal encoded": {change: opaque(up + "s1/%2e%2e/" + seg.SHA256), want: 404},
		"slash encoded":     {change: opaque(up + "s1/box%2F" + seg.SHA256), want: 404},
		"NUL encoded":       {change: opaque(up + "s1/bo%00/" + seg.SHA256), want: 404},
		"bad UTF-8":         {change: opaque(up + "s1/%ff%fe/" + seg.SHA256), want: 404},
		"query":             {change: func(r *http.Request) { r.URL.RawQuery = "a=1" }, want: 404},
		"another method":    {change: func(r *http.Request) { r.Method = http.MethodPut }, want: 405},
		"beyond the end":    {offset: 1, want: 409},
		"negative offset":   {offset: -1, want: 400},
		"too large a chunk": {body: data(floorwatch.MaxUploadChunk + 1), want: 413},
		"more than sealed":  {body: data(1001), want: 413},
		"length not told": {change: func(r *http.Request) {
			r.ContentLength = -1
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body)))
		}, want: 413},
		"other bytes":        {body: bytes.Repeat([]byte{9}, 1000), want: 422},
		"a huge number":      {change: func(r *http.Request) { r.Header.Set(floorwatch.HeaderOffset, "99999999999999999999") }, want: 400},
		"a time out of time": {change: func(r *http.Request) { r.Header.Set(floorwatch.HeaderTime, "-9223372036854775808") }, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			method, hash, b := http.MethodPatch, seg.SHA256, body
			if c.method != "" {
				method = c.method
			}
			if c.hash != "" {
				hash = c.hash
			}
			if c.body != nil {
				b = c.body
			}
			res := request(t, srv, method, hash, c.offset, b, c.change)
			text, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.want {
				t.Errorf("%d %s, want %d", res.StatusCode, text, c.want)
			}
			if r, err := u.Objects.Open(t.Context(), seg.SHA256); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was stored: %v %v", r, err)
			}
		})
	}
	if st := u.Stats(); st.Corrupt != 1 || st.Received != 0 {
		t.Errorf("%+v", st)
	}
	if res := request(t, srv, http.MethodPatch, seg.SHA256, 0, body, nil); res.StatusCode != 200 {
		t.Errorf("the honest upload afterwards: %d", res.StatusCode)
	}
	stored(t, u, seg.SHA256, body)
}

// TestUploadsCutOff sends half a body and closes the connection.
func TestUploadsCutOff(t *testing.T) {
	u, srv := newVault(t)
	body := data(100_000)
	seg := sealBytes(t, 1, body)
	if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
		t.Fatal(err)
	}
	path := floorwatch.UploadPath + "s1/box/" + seg.SHA256
	c := floorwatch.UploadClaim{Method: http.MethodPatch, Path: path, At: floorwatch.TimeOf(time.Now()), Body: body}
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s: 0\r\n%s: %d\r\n%s: %s\r\n\r\n", path, len(body),
		floorwatch.HeaderOffset, floorwatch.HeaderTime, c.At, floorwatch.HeaderSignature, c.Sign(boxKey()))
	if _, err := conn.Write(body[:60_000]); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(conn)
	_ = conn.Close()
	res := request(t, srv, http.MethodHead, seg.SHA256, 0, nil, nil)
	if got := res.Header.Get(floorwatch.HeaderOffset); got != "0" {
		t.Errorf("half a chunk was taken: offset %s", got)
	}
	if res := request(t, srv, http.MethodPatch, seg.SHA256, 0, body, nil); res.StatusCode != 200 {
		t.Errorf("the upload afterwards: %d", res.StatusCode)
	}
	stored(t, u, seg.SHA256, body)
}

// failing stores, but the reply or the power is lost.
type failing struct {
	Objects
	times int
	after bool
}

func (f *failing) Keep(ctx context.Context, hash string, size int64, r io.Reader) error {
	if f.times--; f.times < 0 {
		return f.Objects.Keep(ctx, hash, size, r)
	}
	if f.after {
		_ = f.Objects.Keep(ctx, hash, size, r)
	}
	return errors.New("power cut")
}

func TestUploadsGoOnAfterAFault(t *testing.T) {
	for _, after := range []bool{false, true} {
		u, srv := newVault(t)
		body := data(1000)
		seg := sealBytes(t, 1, body)
		if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
			t.Fatal(err)
		}
		u.Objects = &failing{u.Objects, 1, after}
		if res := request(t, srv, http.MethodPatch, seg.SHA256, 0, body, nil); res.StatusCode != 500 {
			t.Fatalf("%d, want 500", res.StatusCode)
		}
		res := request(t, srv, http.MethodHead, seg.SHA256, 0, nil, nil)
		if got := res.Header.Get(floorwatch.HeaderOffset); got != "1000" || res.Header.Get(floorwatch.HeaderComplete) != "" {
			t.Fatalf("offset %s, want all and no receipt", got)
		}
		if res := request(t, srv, http.MethodPatch, seg.SHA256, 1000, nil, nil); res.StatusCode != 200 || res.Header.Get(floorwatch.HeaderComplete) != "1" {
			t.Errorf("an empty last chunk finishes: %d", res.StatusCode)
		}
		stored(t, u, seg.SHA256, body)
	}
}

// TestUploadsGarbledByAPowerCut: what lies in the folder is not what was sent.
func TestUploadsGarbledByAPowerCut(t *testing.T) {
	u, srv := newVault(t)
	body := data(1000)
	seg := sealBytes(t, 1, body)
	if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(u.Dir, "s1", "box")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, seg.SHA256), make([]byte, 600), 0o600)); err != nil {
		t.Fatal(err)
	}
	res := request(t, srv, http.MethodPatch, seg.SHA256, 600, body[600:], nil)
	if res.StatusCode != 422 || res.Header.Get(floorwatch.HeaderOffset) != "0" {
		t.Fatalf("%d, want 422 and a new beginning", res.StatusCode)
	}
	if res := request(t, srv, http.MethodPatch, seg.SHA256, 0, body, nil); res.StatusCode != 200 {
		t.Errorf("the second time: %d", res.StatusCode)
	}
	stored(t, u, seg.SHA256, body)
}

func TestUnfinishedUploadsOfABoxAreBounded(t *testing.T) {
	u, srv := newVault(t)
	var last string
	for n := 1; n <= maxUnfinished+3; n++ {
		body := append(data(1000), byte(n))
		seg := sealBytes(t, n, body)
		if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
			t.Fatal(err)
		}
		if res := request(t, srv, http.MethodPatch, seg.SHA256, 0, body[:10], nil); res.StatusCode != 200 {
			t.Fatalf("%d", res.StatusCode)
		}
		last = seg.SHA256
		old := time.Now().Add(time.Duration(n-100) * time.Hour)
		if err := os.Chtimes(filepath.Join(u.Dir, "s1", "box", last), old, old); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(u.Dir, "s1", "box"))
	if err != nil || len(left) != maxUnfinished || !slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name() == last }) {
		t.Errorf("%d unfinished uploads (%v), want the newest %d", len(left), err, maxUnfinished)
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("s1/box/" + strings.Repeat("ab", 32))
	f.Add("../../" + strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, p string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/", nil)
		r.URL.Path = floorwatch.UploadPath + p
		if got, ok := parseTarget(r); ok && (got.path() != p || !filepath.IsLocal(got.path())) {
			t.Errorf("%q became %q", p, got.path())
		}
	})
}

// BenchmarkUpload sends a minute of footage, 8 MB, in chunks.
func BenchmarkUpload(b *testing.B) {
	u, srv := newVault(b)
	body := data(8 << 20)
	b.SetBytes(int64(len(body)))
	n := 0
	for b.Loop() {
		n++
		body[0], body[1], body[2] = byte(n), byte(n>>8), byte(n>>16)
		seg := sealBytes(b, n, body)
		if err := u.Index.PutSegment(b.Context(), "s1", "box", seg); err != nil {
			b.Fatal(err)
		}
		for at := 0; at < len(body); at += floorwatch.MaxUploadChunk {
			if res := request(b, srv, http.MethodPatch, seg.SHA256, int64(at), body[at:at+floorwatch.MaxUploadChunk], nil); res.StatusCode != 200 {
				b.Fatal(res.StatusCode)
			}
		}
	}
}
