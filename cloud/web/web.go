// Package web holds the pages for people: hand-written ES modules and CSS,
// embedded, in Simplified Chinese and English. The chart library lies under
// static/vendor once `npm ci && npm run vendor` has run; without it the program
// builds all the same, and the page says that its charts are missing.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static
var files embed.FS

// policy lets the page use what we serve and nothing else. The still is a blob:,
// because its capture time comes in a header; nothing inline runs.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; " +
	"connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types maps suffixes to media types, so that the machine's own table, which
// differs between systems, has no say.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8",
}

// Static returns the files of the page, index.html at the root.
func Static() fs.FS {
	sub, err := fs.Sub(files, "static")
	if err != nil { // only for an invalid name, and this one is valid
		return files
	}
	return sub
}

// Handler serves the page and its assets. Each answer carries a strict content
// security policy and an ETag; browsers revalidate, so that a new version of
// the program never meets modules of the old one.
func Handler() http.Handler {
	static := Static()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		switch name {
		case "":
			name = "index.html"
		case "boxes":
			name = "boxes.html"
		}
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		kind, known := types[path.Ext(name)]
		b, err := fs.ReadFile(static, name)
		if err != nil || !known {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(b)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:12])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
}
