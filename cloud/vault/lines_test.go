package vault

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/site"
)

// linesVault is a vault that takes lines, with n pieces of footage that are here.
func linesVault(t *testing.T, n int) (*Uploads, *httptest.Server, *Archive, []floorwatch.Segment) {
	t.Helper()
	u, srv := newVault(t)
	lines, err := OpenLines(filepath.Dir(u.Dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lines.Close() })
	u.Lines = lines
	var segs []floorwatch.Segment
	for i := 1; i <= n; i++ {
		body := append(data(100), byte(i))
		seg := sealBytes(t, i, body)
		err := errors.Join(u.Index.PutSegment(t.Context(), "s1", "box", seg), u.Objects.Keep(t.Context(), seg.SHA256, seg.Bytes, bytes.NewReader(body)),
			u.Index.putObject(t.Context(), seg.SHA256, object{seg.Bytes, seg.End, stateHere}))
		if err != nil {
			t.Fatal(err)
		}
		segs = append(segs, seg)
	}
	return u, srv, &Archive{Index: u.Index, Objects: u.Objects, Lines: lines}, segs
}

// linesOver packs ten frames a second over [from, to), all of person id.
func linesOver(t *testing.T, from, to floorwatch.Time, id int64) []byte {
	t.Helper()
	var all []floorwatch.Frame
	for at := from; at < to; at += 100 {
		all = append(all, floorwatch.Frame{T: at, W: 640, H: 480, People: []floorwatch.Person{{ID: id, X: 1, Y: 2, W: 3, H: 4, Score: 1}}})
	}
	b, err := floorwatch.PackFrames(all, floorwatch.MaxUploadChunk)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func putLinesOf(t *testing.T, srv *httptest.Server, hash string, body []byte, change func(*http.Request)) int {
	t.Helper()
	res := request(t, srv, http.MethodPut, hash+floorwatch.UploadLines, 0, body, change)
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK && !bytes.Contains(text, []byte("error")) {
		t.Errorf("%d without a reason: %s", res.StatusCode, text)
	}
	return res.StatusCode
}

var hall = site.Source{Store: "s1", Edge: "box", Camera: "hall"}

// TestLinesTravelWithFootage: they come back for its span, whoever asks again gets
// the same, and what is missing is said.
func TestLinesTravelWithFootage(t *testing.T) {
	t.Parallel()
	u, srv, a, segs := linesVault(t, 3)
	ctx := t.Context()
	first, third := linesOver(t, segs[0].Start, segs[0].End, 1), linesOver(t, segs[2].Start, segs[2].End, 3)
	for range 2 { // the first answer may have been lost
		if got := putLinesOf(t, srv, segs[0].SHA256, first, nil); got != http.StatusOK {
			t.Fatalf("lines of the first piece: %d", got)
		}
	}
	if got := putLinesOf(t, srv, segs[2].SHA256, third, nil); got != http.StatusOK {
		t.Fatalf("lines of the third piece: %d", got)
	}
	frames, lo, hi, err := a.FramesOf(ctx, hall, segs[0].Start+30_000, segs[0].End)
	if err != nil || len(frames) != 300 || frames[0].T != segs[0].Start+30_000 || lo != hi {
		t.Errorf("half a minute: %d frames, %d to %d missing: %v", len(frames), lo, hi, err)
	}
	frames, lo, hi, err = a.FramesOf(ctx, hall, segs[0].Start, segs[2].End)
	if err != nil || len(frames) != 1200 || lo != segs[0].End || hi != segs[2].Start {
		t.Errorf("three minutes: %d frames, %d to %d missing, want the second minute: %v", len(frames), lo, hi, err)
	}
	if frames, lo, hi, err = a.FramesOf(ctx, hall, segs[2].End, segs[2].End+5000); err != nil || len(frames) != 0 || hi-lo != 5000 {
		t.Errorf("after the end: %d frames, %d to %d missing: %v", len(frames), lo, hi, err)
	}
	if other, _, _, err := a.FramesOf(ctx, site.Source{Store: "s1", Edge: "other", Camera: "hall"}, segs[0].Start, segs[0].End); err != nil || len(other) != 0 {
		t.Errorf("another box has them too: %d %v", len(other), err)
	}

	// The signature that came with them is kept, and is the box's.
	var sig, hash string
	var at int64
	if err := u.Index.db.QueryRow(`SELECT sha256, at, signature FROM lines WHERE segment = ?`, segs[0].SHA256).Scan(&hash, &at, &sig); err != nil {
		t.Fatal(err)
	}
	claim := floorwatch.UploadClaim{
		Method: http.MethodPut, Path: floorwatch.UploadPath + "s1/box/" + segs[0].SHA256 + floorwatch.UploadLines, Offset: -1, At: floorwatch.Time(at), Body: first,
	}
	if err := claim.Check(sig, claim.At, boxKey().Public().(ed25519.PublicKey)); err != nil {
		t.Error(err)
	}
	// Bytes that rotted are not shown.
	if err := u.Lines.Remove(ctx, hash); err != nil {
		t.Fatal(err)
	}
	if frames, lo, hi, err = a.FramesOf(ctx, hall, segs[0].Start, segs[0].End); err != nil || len(frames) != 0 || lo != segs[0].Start || hi != segs[0].End {
		t.Errorf("lines that are gone: %d, %d to %d missing: %v", len(frames), lo, hi, err)
	}
}

func TestLinesAreRefused(t *testing.T) {
	t.Parallel()
	u, srv, a, segs := linesVault(t, 2)
	good := linesOver(t, segs[0].Start, segs[0].End, 1)
	away := sealBytes(t, 3, append(data(100), 3)) // sealed, and its footage not here
	if err := u.Index.PutSegment(t.Context(), "s1", "box", away); err != nil {
		t.Fatal(err)
	}
	_, stranger, _ := ed25519.GenerateKey(nil)
	resign := func(r *http.Request) {
		c := floorwatch.UploadClaim{Method: r.Method, Path: r.URL.Path, Offset: -1, At: floorwatch.TimeOf(time.Now()), Body: good}
		r.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(c.At), 10))
		r.Header.Set(floorwatch.HeaderSignature, c.Sign(stranger))
	}
	for what, c := range map[string]struct {
		hash   string
		body   []byte
		change func(*http.Request)
		want   int
	}{
		"not signed":             {change: func(r *http.Request) { r.Header.Del(floorwatch.HeaderSignature) }, want: 401},
		"a stranger's":           {change: resign, want: 401},
		"of another box":         {change: func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/box/", "/other/", 1) }, want: 401},
		"by PATCH":               {change: func(r *http.Request) { r.Method = http.MethodPatch }, want: 405},
		"of no piece":            {hash: strings.Repeat("ab", 32), want: 404},
		"of a piece not here":    {hash: away.SHA256, body: linesOver(t, away.Start, away.End, 1), want: 422},
		"of another time":        {hash: segs[1].SHA256, want: 422},
		"of a time beyond it":    {body: linesOver(t, segs[0].Start, segs[0].End+200, 1), want: 422},
		"no lines":               {body: []byte("rubbish"), want: 422},
		"too many":               {body: data(floorwatch.MaxUploadChunk + 1), want: 413},
		"lines of lines":         {hash: segs[0].SHA256 + floorwatch.UploadLines, want: 404},
		"empty, and well packed": {body: linesOver(t, 5, 5, 1), want: 422},
	} {
		hash, body := segs[0].SHA256, good
		if c.hash != "" {
			hash = c.hash
		}
		if c.body != nil {
			body = c.body
		}
		if got := putLinesOf(t, srv, hash, body, c.change); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
	if got := putLinesOf(t, srv, segs[0].SHA256, good, nil); got != http.StatusOK {
		t.Errorf("the honest ones: %d", got)
	}
	if got := putLinesOf(t, srv, segs[0].SHA256, linesOver(t, segs[0].Start, segs[0].End, 2), nil); got != 422 {
		t.Errorf("others of the same piece: %d", got)
	}
	if frames, _, _, err := a.FramesOf(t.Context(), hall, segs[0].Start, segs[0].End); err != nil || len(frames) != 600 || frames[0].People[0].ID != 1 {
		t.Errorf("not the first: %d %v", len(frames), err)
	}
	if files, err := filepath.Glob(filepath.Join(filepath.Dir(u.Dir), "lines", "*", "*")); err != nil || len(files) != 1 {
		t.Errorf("what was refused lies about: %v %v", files, err)
	}
	u.Lines = nil
	if got := putLinesOf(t, srv, segs[0].SHA256, good, nil); got != 404 {
		t.Errorf("a vault that keeps none: %d", got)
	}
}

// TestLinesGoWithFootage: they are held with it, deleted with it, and lines that
// lie over two pieces stay for the second.
func TestLinesGoWithFootage(t *testing.T) {
	t.Parallel()
	u, srv, a, segs := linesVault(t, 3)
	ctx := t.Context()
	if err := u.Index.PutHold(ctx, Hold{ID: holdID, Store: "s1", Edge: "box", Camera: "hall", From: segs[1].Start + 5, To: segs[1].End - 5, Who: "anna", At: t0}); err != nil {
		t.Fatal(err)
	}
	for i, s := range segs {
		if got := putLinesOf(t, srv, s.SHA256, linesOver(t, s.Start, s.End, int64(i)), nil); got != http.StatusOK {
			t.Fatal(got)
		}
	}
	has := func() (out [3]bool) {
		for i, s := range segs {
			frames, _, _, err := a.FramesOf(ctx, hall, s.Start, s.End)
			if err != nil {
				t.Error(err)
			}
			hash, err := u.Index.linesOf(ctx, "s1", "box", s.SHA256)
			if out[i] = len(frames) > 0; err != nil || out[i] != (hash != "") {
				t.Errorf("piece %d: %d frames, row %q: %v", i, len(frames), hash, err)
			}
		}
		return out
	}
	r := &Retention{Index: u.Index, Objects: u.Objects, Lines: u.Lines, MaxAge: time.Hour, Now: func() time.Time { return segs[1].End.Add(time.Hour + time.Second).Time() }}
	if err := r.sweep(ctx); err != nil || has() != [3]bool{false, true, true} {
		t.Errorf("left: %v, want those of the held and of the young piece: %v", has(), err)
	}
	// A second piece that names the third's lines, as a copy of a chain would.
	hash, err := u.Index.linesOf(ctx, "s1", "box", segs[2].SHA256)
	if err == nil {
		err = u.Index.putLines(ctx, target{"s1", "other", segs[1].SHA256, true}, linesRow{hash, 1, 1, "x"})
	}
	if err := errors.Join(err, u.Index.Release(ctx, holdID, "anna", t0+1), r.sweep(ctx)); err != nil || has() != [3]bool{false, false, true} {
		t.Errorf("after the release: %v %v", has(), err)
	}
	r.Now = func() time.Time { return segs[2].End.Add(2 * time.Hour).Time() }
	if err := r.sweep(ctx); err != nil || has() != [3]bool{} {
		t.Errorf("after all of it: %v %v", has(), err)
	}
	if f, err := u.Lines.Open(ctx, hash); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stays: %v %v", f, err)
	}
}
