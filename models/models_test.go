package models

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/lab/kit"
)

// known is a manifest of our own bytes, served from url.
func known(content []byte, url string) Manifest {
	sum := sha256.Sum256(content)
	return Manifest{Name: "test", File: "test.onnx", URL: url, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestManifest(t *testing.T) {
	for _, m := range All() {
		if b, err := hex.DecodeString(m.SHA256); err != nil || len(b) != sha256.Size {
			t.Errorf("%s: SHA-256 %q", m.Name, m.SHA256)
		}
		if m.Size <= 0 || m.Licence == "" || m.Input == "" || !strings.HasPrefix(m.URL, "https://") || filepath.Base(m.File) != m.File {
			t.Errorf("incomplete manifest: %+v", m)
		}
	}
	if _, err := Lookup("yolo"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Lookup(yolo): %v, want ErrUnknown", err)
	}
}

func TestDownload(t *testing.T) {
	content := bytes.Repeat([]byte("net"), 50_000)
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string // in the error; empty: success
	}{
		"good":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }, ""},
		"missing": {http.NotFound, "404"},
		"other":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append([]byte("X"), content[1:]...)) }, "hash differs"},
		"short":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content[:1000]) }, "hash differs"},
		"long":    {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(content, content...)) }, "longer than"},
		"torn": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "150000")
			_, _ = w.Write(content[:10])
		}, "unexpected EOF"},
		"html page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>log in</html>")) }, "hash differs"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.serve)
			defer srv.Close()
			m, dir := known(content, srv.URL), t.TempDir()
			body, err := m.download(t.Context())
			var last int64
			if err == nil {
				err = m.store(t.Context(), dir, body, func(done, _ int64) { last = done })
				_ = body.Close()
			}
			if c.want == "" {
				if err != nil || last != m.Size || m.check(filepath.Join(dir, m.File)) != nil {
					t.Fatalf("error %v, progress %d of %d", err, last, m.Size)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			empty(t, dir)
		})
	}
}

func TestDownloadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("first"))
		w.(http.Flusher).Flush()
		<-release
	}))
	defer srv.Close()
	defer close(release)
	m, dir := known(make([]byte, 1000), srv.URL), t.TempDir()
	body, err := m.download(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	if err := m.store(ctx, dir, body, func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context canceled", err)
	}
	empty(t, dir)
}

func TestMirrorAndFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir, NanoDet); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("empty folder: %v", err)
	}
	if err := Fetch(t.Context(), dir, t.TempDir(), NanoDet, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("empty mirror: %v", err)
	}
	bad := t.TempDir()
	m, _ := Lookup(NanoDet)
	if err := os.WriteFile(filepath.Join(bad, m.File), []byte("no net"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Fetch(t.Context(), dir, bad, NanoDet, nil); !errors.Is(err, ErrHash) {
		t.Fatalf("bad mirror: %v", err)
	}
	if _, err := Find(bad, NanoDet); !errors.Is(err, ErrHash) {
		t.Fatalf("bad file: %v", err)
	}
	empty(t, dir)
}

func TestRealModel(t *testing.T) {
	mirror := kit.Shared(t, "models")
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for range 2 { // the second finds it there
		if err := Fetch(t.Context(), dir, mirror, NanoDet, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Find(dir, NanoDet); err != nil {
		t.Fatal(err)
	}
}
