package upload

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/internal/layout"
)

const (
	shelfStart = 1763755200000 // 2025-11-21 20:00 UTC
	hourMS     = 3600_000
)

func insideKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
}

func fixedClock(wall floorwatch.Time) *clock.Clock {
	return clock.New(func() floorwatch.Stamp {
		return floorwatch.Stamp{Wall: wall, Mono: time.Hour, Boot: strings.Repeat("0", 32), Synced: true}
	})
}

// film adds one minute of 100 bytes of its own and returns their hash.
func film(t *testing.T, dir string, n int) string {
	t.Helper()
	body := bytes.Repeat([]byte{byte(n)}, 100)
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	from := floorwatch.Time(shelfStart + n*60_000)
	name := fmt.Sprintf("%08d", n+1)
	raw, err := floorwatch.SignSeal(floorwatch.Seal{
		Kind: floorwatch.SealSegment, Store: "s1", Edge: "box", Camera: "door", Chain: "0123456789abcdef", Seq: uint64(n) + 1, Prev: sum(nil),
		File: name + ".mp4", At: from + 60_000, Start: from, End: from + 60_000,
		Boot: strings.Repeat("0", 32), Codec: "unknown", Length: 100, SHA256: sum(body),
		Fragments: []floorwatch.Fragment{{Length: 40, SHA256: sum(body[:40])}, {Length: 60, Duration: 60_000, SHA256: sum(body[40:])}},
	}, insideKey())
	if err != nil {
		t.Fatal(err)
	}
	day := filepath.Join(dir, "door", layout.Day(from+60_000))
	err = os.MkdirAll(day, 0o700)
	for file, b := range map[string][]byte{name + ".mp4": body, name + ".seal": raw} {
		err = errors.Join(err, os.WriteFile(filepath.Join(day, file), b, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return sum(body)
}

// vaultStub answers as docs/vault.md says and keeps what came, in order; the
// real one is in the test of the whole way, in cmd/floorwatch.
type vaultStub struct {
	t *testing.T

	mu     sync.Mutex
	have   map[string][]byte
	order  []string
	refuse func(hash string, r *http.Request) int // 0: not
	asked  int
}

func (v *vaultStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	hash := filepath.Base(r.URL.Path)
	offset := int64(-1)
	if text := r.Header.Get(floorwatch.HeaderOffset); text != "" {
		offset, _ = strconv.ParseInt(text, 10, 64)
	}
	at, _ := strconv.ParseInt(r.Header.Get(floorwatch.HeaderTime), 10, 64)
	claim := floorwatch.UploadClaim{Method: r.Method, Path: r.URL.Path, Offset: offset, At: floorwatch.Time(at), Body: body}
	if err := claim.Check(r.Header.Get(floorwatch.HeaderSignature), claim.At, insideKey().Public().(ed25519.PublicKey)); err != nil {
		v.t.Error(err)
	}
	if v.refuse != nil {
		if status := v.refuse(hash, r); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if r.Method == http.MethodPatch {
		v.have[hash] = append(v.have[hash][:min(offset, int64(len(v.have[hash])))], body...)
	}
	size := len(v.have[hash])
	w.Header().Set(floorwatch.HeaderOffset, strconv.Itoa(size))
	if r.Method == http.MethodPatch && size == 100 {
		v.order = append(v.order, hash)
		w.Header().Set(floorwatch.HeaderComplete, "1")
		_ = json.NewEncoder(w).Encode(floorwatch.Receipt{V: 1, Store: "s1", Edge: "box", SHA256: hash, Bytes: 100, At: 5})
	}
}

func (v *vaultStub) arrived() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.order)
}

// startVault returns a stub and an uploader to it with n minutes of footage.
func startVault(t *testing.T, n int) (*vaultStub, *Uploader, []string) {
	t.Helper()
	v := &vaultStub{t: t, have: map[string][]byte{}}
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	var hashes []string
	for i := range n {
		hashes = append(hashes, film(t, dir, i))
	}
	claims, err := OpenClaims(filepath.Join(dir, "claims.json"))
	if err != nil {
		t.Fatal(err)
	}
	return v, &Uploader{
		Dir: dir, Store: "s1", Edge: "box", URL: srv.URL + "/", Key: insideKey(), Policy: All, Claims: claims,
		Clock: fixedClock(shelfStart + hourMS), Every: 20 * time.Millisecond, BackOff: 20 * time.Millisecond,
	}, hashes
}

// upload runs u until ok.
func upload(t *testing.T, u *Uploader, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	deadline := time.After(3 * time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("not in time: " + what)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func at(minute float64) floorwatch.Time {
	return floorwatch.Time(shelfStart + minute*60_000)
}

func TestMostWantedGoesFirst(t *testing.T) {
	t.Parallel()
	v, u, hashes := startVault(t, 6)
	if r := u.Command(t.Context(), floorwatch.Command{V: 1, ID: strings.Repeat("a", 16), Do: floorwatch.DoHold, Expires: 1, Camera: "door", From: at(3.1), To: at(3.9), Hold: strings.Repeat("b", 16)}); r.State != floorwatch.ReplyDone {
		t.Fatalf("%+v", r)
	}
	if err := u.Alert("door", at(4.5)); err != nil {
		t.Fatal(err)
	}
	r := u.Command(t.Context(), floorwatch.Command{V: 1, ID: strings.Repeat("c", 16), Do: floorwatch.DoSend, Expires: 1, Camera: "door", From: at(5.1), To: at(5.9)})
	if r.State != floorwatch.ReplyDone || len(r.Objects) != 1 || r.Objects[0] != hashes[5] || r.Bytes != 100 || r.Open {
		t.Fatalf("%+v", r)
	}
	upload(t, u, "six pieces", func() bool { return u.Stats().Uploaded == 6 })
	want := []string{hashes[5], hashes[3], hashes[4], hashes[0], hashes[1], hashes[2]}
	if got := v.arrived(); !slices.Equal(got, want) {
		t.Errorf("order %v, want %v of %v", got, want, hashes)
	}
	again := &Uploader{Dir: u.Dir, Store: "s1", Edge: "box", URL: u.URL, Key: u.Key, Policy: All, Claims: u.Claims, Clock: u.Clock}
	before := v.asked
	p := &uploading{Uploader: again, later: map[string]time.Time{}}
	if queue, err := p.queue(t.Context()); err != nil || len(queue) != 0 || v.asked != before {
		t.Errorf("after a restart %d pieces go again: %v", len(queue), err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	_, u, hashes := startVault(t, 4)
	if err := u.Alert("door", at(1.5)); err != nil {
		t.Fatal(err)
	}
	if err := u.Claims.add(claim{ID: "h", Kind: claimHold, Camera: "door", From: at(2.1), To: at(2.9)}); err != nil {
		t.Fatal(err)
	}
	for policy, want := range map[Policy][]string{
		None: nil, Alert: {hashes[2], hashes[1]}, All: {hashes[2], hashes[1], hashes[0], hashes[3]},
		Night: nil, // it is 21:00
	} {
		u.Policy, u.Night = policy, Hours{From: 22 * time.Hour, To: 6 * time.Hour}
		p := &uploading{Uploader: u, later: map[string]time.Time{}}
		queue, err := p.queue(t.Context())
		var got []string
		for _, f := range queue {
			got = append(got, f.SHA256)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v", policy, got, err, want)
		}
		if w := u.Wanted("door", at(0), at(1)); w != (policy == Night || policy == All) {
			t.Errorf("%s: wanted sometime: %v", policy, w)
		}
	}
	for hour, want := range map[int]bool{21: false, 22: true, 23: true, 0: true, 5: true, 6: false} {
		zone := time.FixedZone("", 8*3600)
		h := Hours{From: 22 * time.Hour, To: 6 * time.Hour, Zone: zone}
		if got := h.hold(floorwatch.TimeOf(time.Date(2025, 11, 21, hour, 0, 0, 0, zone))); got != want {
			t.Errorf("%d:00: %v", hour, got)
		}
	}
}

func TestOnePieceDoesNotBlockTheOthers(t *testing.T) {
	t.Parallel()
	v, u, hashes := startVault(t, 4)
	v.refuse = func(hash string, r *http.Request) int {
		switch {
		case hash == hashes[0]:
			return http.StatusNotFound // its seal is on the way
		case hash == hashes[1] && r.Method == http.MethodPatch:
			return http.StatusUnprocessableEntity
		}
		return 0
	}
	bad, err := filepath.Glob(filepath.Join(u.Dir, "door", "*", "00000002.mp4"))
	if err != nil || len(bad) != 1 {
		t.Fatal(bad, err)
	}
	if err := os.WriteFile(bad[0], make([]byte, 100), 0o600); err != nil { // the disk garbled it
		t.Fatal(err)
	}
	var log bytes.Buffer
	u.Log = slog.New(slog.NewTextHandler(&log, nil))
	upload(t, u, "the other two", func() bool { return u.Stats().Uploaded == 2 })
	if got := v.arrived(); !slices.Equal(got, hashes[2:]) {
		t.Errorf("%v", got)
	}
	if !strings.Contains(log.String(), "not what was sealed") {
		t.Errorf("the log does not tell of the damage: %s", log.String())
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	v, u, hashes := startVault(t, 4)
	u.BytesPerDay = 250
	upload(t, u, "two pieces", func() bool { return u.Stats().Uploaded == 2 })
	// A restart on the same day does not begin anew, the next day does.
	p := &uploading{Uploader: u, later: map[string]time.Time{}, spent: readBudget(filepath.Join(u.Dir, budgetFile))}
	if p.within(100) || !p.within(50) {
		t.Errorf("spent %+v", p.spent)
	}
	u.Clock = fixedClock(shelfStart + 24*hourMS)
	upload(t, u, "two more on the next day", func() bool { return len(v.arrived()) == 4 })
	if got := v.arrived(); !slices.Equal(got, hashes) {
		t.Errorf("%v", got)
	}

	p = &uploading{Uploader: &Uploader{BytesPerSec: 1000}}
	began := time.Now()
	for range 3 {
		if err := p.pace(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(began); d < 190*time.Millisecond {
		t.Errorf("200 bytes before the last took %v at 1000/s", d)
	}
	if p.chunkSize() != minChunk {
		t.Errorf("chunks of %d", p.chunkSize())
	}
}

func TestSendBringsWhatWasConfirmedAgain(t *testing.T) {
	t.Parallel()
	v, u, hashes := startVault(t, 2)
	upload(t, u, "both", func() bool { return u.Stats().Uploaded == 2 })
	v.mu.Lock()
	delete(v.have, hashes[1]) // the vault's disk is lost
	v.mu.Unlock()
	r := u.Command(t.Context(), floorwatch.Command{V: 1, ID: strings.Repeat("c", 16), Do: floorwatch.DoSend, Expires: 1, Camera: "door", From: at(1.5), To: at(9)})
	if r.State != floorwatch.ReplyDone || len(r.Objects) != 1 {
		t.Fatalf("%+v", r)
	}
	upload(t, u, "the second again", func() bool { return len(v.arrived()) == 3 })
	if got := v.arrived()[2]; got != hashes[1] {
		t.Error(got)
	}
	off := &Uploader{Claims: u.Claims, Dir: u.Dir}
	if r := off.Command(t.Context(), floorwatch.Command{V: 1, ID: strings.Repeat("d", 16), Do: floorwatch.DoSend, Expires: 1, Camera: "door", From: 1, To: 2}); r.State != floorwatch.ReplyRefused {
		t.Errorf("a box that does not upload: %+v", r)
	}
}

func TestWithoutAVaultNothingIsKeptForIt(t *testing.T) {
	if (&Uploader{Policy: All, Claims: &Claims{}}).Wanted("door", 0, 1<<50) {
		t.Error("a box that does not upload keeps footage for it")
	}
}

func TestClaimsSurvive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "claims.json")
	c, err := OpenClaims(path)
	if err != nil {
		t.Fatal(err)
	}
	hold := claim{ID: "h", Kind: claimHold, Camera: "door", From: 10, To: 20, Made: 5}
	for range 2 {
		if err := c.add(hold); err != nil {
			t.Fatal(err)
		}
	}
	other := hold
	other.To++
	if err := c.add(other); err == nil {
		t.Error("one id stands for two spans")
	}
	for _, from := range []floorwatch.Time{100, 150, 400} {
		if err := c.add(claim{Kind: claimAlert, Camera: "door", From: from, To: from + 60}); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = OpenClaims(path); err != nil || len(c.list) != 3 || c.list[1].From != 100 || c.list[1].To != 210 {
		t.Errorf("%+v %v", c.list, err)
	}
	if !c.Held("door", 19, 30) || c.Held("door", 20, 30) || c.Held("hall", 19, 30) {
		t.Error("held is not [from, to) of the camera")
	}
	if err := os.WriteFile(path, []byte(`[{"id`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = OpenClaims(path)
	if err == nil || c.Held("door", 0, 100) {
		t.Errorf("a damaged list: %v", err)
	}
	if err := c.add(hold); err != nil || !c.Held("door", 15, 16) {
		t.Errorf("and afterwards: %v", err)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

func TestRequestsAreSmallOnALineThatBreaks(t *testing.T) {
	p := &uploading{Uploader: &Uploader{}, calm: calmParts * floorwatch.MaxUploadChunk}
	if got := p.chunkSize(); got != floorwatch.MaxUploadChunk {
		t.Errorf("%d bytes on a line that never broke", got)
	}
	p.calm = 0
	if got := p.chunkSize(); got != minChunk {
		t.Errorf("%d bytes after a cut", got)
	}
	if p.calm = 6 << 20; p.chunkSize() != 6<<20/calmParts {
		t.Errorf("%d bytes when 6 MiB went through", p.chunkSize())
	}
}

// TestLinesGoBesideFootage: before the receipt is kept; a vault that knows none, or
// refuses some, does not hold the footage up, and one that asks for patience gets
// them later.
func TestLinesGoBesideFootage(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		answers []int // to lines, one after the other
		want    int   // requests with lines
	}{
		"taken":             {nil, 3},
		"a vault of before": {[]int{404}, 1},
		"refused":           {[]int{422, 422, 422}, 3},
		"not now":           {[]int{503, 500}, 5},
		"no such method":    {[]int{501, 405}, 3},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v, u, hashes := startVault(t, 3)
			asked, kept := 0, map[string]int{}
			u.Lines = func(_ context.Context, camera string, from, to floorwatch.Time) (out []floorwatch.Frame, err error) {
				for at := from; at < to; at += 1000 {
					out = append(out, floorwatch.Frame{T: at, People: []floorwatch.Person{}})
				}
				return out, nil
			}
			v.refuse = func(hash string, r *http.Request) int {
				if r.Method != http.MethodPut {
					return 0
				}
				if hash != "lines" {
					t.Errorf("lines at %s", r.URL.Path)
				}
				if asked++; asked <= len(c.answers) {
					return c.answers[asked-1]
				}
				kept[filepath.Base(filepath.Dir(r.URL.Path))]++
				return 0
			}
			upload(t, u, "three pieces", func() bool { return u.Stats().Uploaded == 3 })
			v.mu.Lock()
			defer v.mu.Unlock()
			if asked != c.want {
				t.Errorf("%d requests with lines, want %d", asked, c.want)
			}
			for _, h := range hashes {
				if n := kept[h]; what == "taken" && n != 1 || what == "not now" && n != 1 {
					t.Errorf("lines of %s came %d times", h, n)
				}
			}
			if what == "taken" && u.Stats().Bytes <= 300 {
				t.Errorf("%d bytes are booked, the lines are not among them", u.Stats().Bytes)
			}
		})
	}
}
