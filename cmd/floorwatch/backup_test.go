package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/account"
	"floorwatch/cloud/broker"
	cloudcommand "floorwatch/cloud/command"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/edge/footage"
	"floorwatch/edge/outbox"
	"floorwatch/edge/relay"
	"floorwatch/edge/uplink"
	"floorwatch/edge/upload"
	"floorwatch/internal/access"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/layout"
	"floorwatch/internal/program"
)

// backup is a box that has recorded, a vault, and a broker between them.
type backup struct {
	t        *testing.T
	dir      string // the box's footage
	vaultDir string
	segments []floorwatch.Segment
	index    *vault.Index
	archive  *vault.Archive
	server   *httptest.Server
	uploads  *vault.Uploads
	claims   *upload.Claims
	broker   *broker.Broker
	requests atomic.Int32
}

// ServeHTTP loses every fifth request and every fifth reply.
func (b *backup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch b.requests.Add(1) % 5 {
	case 2:
		panic(http.ErrAbortHandler)
	case 4:
		b.uploads.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	b.uploads.ServeHTTP(w, r)
}

// background runs f until the test ends, or stop is called.
func background(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func within(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	defer func(began time.Time) { t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond)) }(time.Now())
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

// emit stands for the records' way to the cloud, which has tests of its own.
func (b *backup) emit(rec floorwatch.Record) error {
	ctx := context.Background()
	switch r := rec.(type) {
	case *floorwatch.Segment:
		b.segments = append(b.segments, *r)
		return b.index.PutSegment(ctx, "s1", "box", *r)
	case *floorwatch.Gap:
		return b.index.PutSeal(ctx, "s1", "box", r.Seal)
	case *floorwatch.Deleted:
		return b.index.PutSeal(ctx, "s1", "box", r.Seal)
	}
	return errors.New("a record of no kind")
}

// record films n pieces of two seconds, too noisy to be small.
func (b *backup) record(n int) {
	b.t.Helper()
	film := filepath.Join(b.t.TempDir(), "film.mp4")
	out, err := exec.Command(kit.Tool(b.t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x240:r=10:d=10,noise=alls=40:allf=t",
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p", film).CombinedOutput()
	if err != nil {
		b.t.Fatalf("encode film: %v: %s", err, out)
	}
	camera, err := relay.New(relay.Settings{Source: film})
	if err != nil {
		b.t.Fatal(err)
	}
	defer background(b.t, func(ctx context.Context) error { _ = camera.Run(ctx); return nil })()
	count := make(chan struct{}, 100)
	r := footage.Recorder{
		Dir: b.dir, Store: "s1", Edge: "box", Camera: "door", Source: camera.URL(), Every: 2 * time.Second, Key: boxKey(1),
		Emit: func(rec floorwatch.Record) error { count <- struct{}{}; return b.emit(rec) },
	}
	stop := background(b.t, r.Run)
	for range n {
		select {
		case <-count:
		case <-time.After(30 * time.Second):
			b.t.Fatal("no segment within 30 s")
		}
	}
	stop()
}

func newBackup(t *testing.T) *backup {
	t.Helper()
	b := &backup{t: t, dir: filepath.Join(t.TempDir(), "footage"), vaultDir: t.TempDir()}
	var err error
	if b.index, err = vault.OpenIndex(filepath.Join(b.vaultDir, layout.VaultIndex)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.index.Close() })
	objects, err := vault.OpenFolder(b.vaultDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	b.uploads = &vault.Uploads{
		Index: b.index, Objects: objects, Dir: filepath.Join(b.vaultDir, "incoming"),
		Key: func(store, edge string) (ed25519.PublicKey, bool) {
			return boxKey(1).Public().(ed25519.PublicKey), store == "s1" && edge == "box"
		},
	}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	if b.claims, err = upload.OpenClaims(filepath.Join(t.TempDir(), "claims.json")); err != nil {
		t.Fatal(err)
	}
	b.broker, err = broker.New(broker.Settings{Edges: map[string]string{"s1/box": "e"}, CloudPassword: "c"})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.broker.Run)
	commander := &cloudcommand.Commander{
		Broker: access.Login{URL: b.broker.URL(), Username: broker.CloudUser, Password: "c"},
		Sites:  site.Of(site.Registry{Stores: []site.Store{{ID: "s1"}}, Edges: []site.Edge{{Store: "s1", ID: "box"}}}),
	}
	background(t, commander.Run)
	b.archive = &vault.Archive{Index: b.index, Objects: objects, Boxes: commander, Uploads: b.uploads}
	background(t, b.archive.Run)
	return b
}

// run starts the box's uploader and its uplink.
func (b *backup) run(policy upload.Policy) (u *upload.Uploader, stop func()) {
	b.t.Helper()
	u = &upload.Uploader{
		Dir: b.dir, Store: "s1", Edge: "box", URL: b.server.URL, Key: boxKey(1), Policy: policy, BytesPerSec: 400_000,
		Claims: b.claims, Every: 200 * time.Millisecond, BackOff: 200 * time.Millisecond,
	}
	box, err := outbox.Open(outbox.Settings{Dir: b.t.TempDir(), Commit: time.Millisecond})
	if err != nil {
		b.t.Fatal(err)
	}
	up, err := uplink.New(uplink.Settings{
		Broker: b.broker.URL(), Username: "s1/box", Password: "e", Store: "s1", Edge: "box", Outbox: box, Changed: box.Changed(), Command: u.Command,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	stopUploads, stopUplink := background(b.t, u.Run), background(b.t, up.Run)
	return u, sync.OnceFunc(func() {
		stopUploads()
		stopUplink()
		if err := box.Close(); err != nil {
			b.t.Error(err)
		}
	})
}

// Who asks for the footage of which camera.
const auditor account.Identity = "auditor"

var door = site.Source{Store: "s1", Edge: "box", Camera: "door"}

func (b *backup) films() int {
	paths, err := filepath.Glob(filepath.Join(b.dir, "door", "*", "*.mp4"))
	if err != nil {
		b.t.Fatal(err)
	}
	return len(paths)
}

// TestBackup is the whole way of footage: recorded, fetched by command, held,
// uploaded over a line that breaks, freed on the box, shown from the vault and
// verified there.
func TestBackup(t *testing.T) {
	t.Parallel()
	b := newBackup(t)
	b.record(4)
	first, last := b.segments[0], b.segments[len(b.segments)-1]
	ctx := t.Context()

	u, stop := b.run(upload.None)
	if _, err := b.archive.Clip(ctx, auditor, door, first.Start, first.End); !errors.Is(err, vault.ErrNotHere) {
		t.Fatalf("a clip that is on the box only: %v", err)
	}
	var done, total int64
	err := b.archive.Fetch(ctx, auditor, door, first.Start, first.End, func(d, n int64) {
		if d < done {
			t.Errorf("progress ran back from %d to %d", done, d)
		}
		done, total = d, n
	})
	if err != nil || done != total || done < first.Bytes {
		t.Fatalf("fetch: %v, %d of %d bytes", err, done, total)
	}
	if got := u.Stats().Uploaded; got > 2 {
		t.Errorf("%d pieces were uploaded, asked for was one", got)
	}
	if err := b.archive.Fetch(ctx, auditor, door, 1000, 2000, nil); !errors.Is(err, vault.ErrNoFootage) {
		t.Errorf("fetch of what never was: %v", err)
	}
	fromVault, err := b.archive.Clip(ctx, auditor, door, first.Start, first.End-10)
	if err != nil {
		t.Fatal(err)
	}
	fromBox, err := (&footage.Library{Dir: b.dir}).Clip(ctx, "door", first.Start, first.End-10)
	if err != nil || !bytes.Equal(fromBox.Data, fromVault.Data) || fromBox.Start != fromVault.Start || fromBox.Codec != fromVault.Codec {
		t.Errorf("the vault's clip is not the box's: %v, %d and %d bytes", err, len(fromVault.Data), len(fromBox.Data))
	}

	hold, err := b.archive.Hold(ctx, auditor, door, last.Start+500, last.End-500, "inspection 7")
	if err != nil {
		t.Fatal(err)
	}
	held := func() bool { return b.claims.Held("door", last.Start+500, last.End-500) }
	within(t, "the box holds", 20*time.Second, held)
	stop()

	_, stop = b.run(upload.All)
	sent := func() int {
		paths, _ := filepath.Glob(filepath.Join(b.dir, "door", "*", "*.receipt"))
		return len(paths)
	}
	within(t, "everything has a receipt", 60*time.Second, func() bool { return sent() == len(b.segments) })
	b.retain(1)
	if n := b.films(); n != 1 || !held() {
		t.Errorf("%d files are left on the box, want the held one", n)
	}
	if err := b.archive.Release(ctx, auditor, hold); err != nil {
		t.Fatal(err)
	}
	within(t, "the box lets go", 20*time.Second, func() bool { return !held() })
	b.retain(0)
	stop()
	b.record(1) // emits the deletions' seals too
	clip, err := b.archive.Clip(ctx, auditor, door, first.Start, last.End)
	if err != nil || clip.End < last.End-100 {
		t.Errorf("clip of what the box has deleted: %v, ends %s", err, clip.End)
	}
	b.logged()
	b.verify(first)
	t.Logf("%d requests, %+v", b.requests.Load(), b.uploads.Stats())
}

// retain runs the box's retention until n files are left.
func (b *backup) retain(n int) {
	b.t.Helper()
	r := &footage.Retention{Dir: b.dir, Store: "s1", Edge: "box", Key: boxKey(1), MaxBytes: 1, Holds: b.claims, Every: 50 * time.Millisecond}
	defer background(b.t, r.Run)()
	within(b.t, "retention", 20*time.Second, func() bool { return b.films() <= n })
}

func (b *backup) logged() {
	b.t.Helper()
	log, err := b.index.AccessLog(b.t.Context(), 0)
	var did []string
	for _, a := range log {
		if a.Who != "auditor" {
			b.t.Errorf("%+v", a)
		}
		did = append(did, a.What)
	}
	if got := strings.Join(did, " "); err != nil || got != "fetch fetch watch hold release watch" {
		b.t.Errorf("the access log says %q: %v", got, err)
	}
}

// verify checks the vault sound, then altered, then short of a file.
func (b *backup) verify(first floorwatch.Segment) {
	b.t.Helper()
	v, err := runVerifier(b.t, "-key", pin(), b.vaultDir)
	if err != nil || len(v.Cameras) != 1 || v.Cameras[0].StoredS < 6 || v.Cameras[0].GapS == 0 {
		b.t.Fatalf("%v %+v", err, v)
	}
	path := filepath.Join(b.vaultDir, layout.ObjectPath(first.SHA256))
	whole, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	bad := bytes.Clone(whole)
	bad[len(bad)-100] ^= 1
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"was altered", func() error { return os.WriteFile(path, bad, 0o600) }},
		{"is missing", func() error { return os.Remove(path) }},
	} {
		if err := c.do(); err != nil {
			b.t.Fatal(err)
		}
		v, err := runVerifier(b.t, "-key", pin(), b.vaultDir)
		if !errors.Is(err, program.ErrTold) || len(v.Faults) != 1 || !strings.Contains(v.Faults[0].What, c.what) || v.Faults[0].From < first.Start {
			b.t.Errorf("%s: %v %+v", c.what, err, v.Faults)
		}
		if _, err := b.archive.Clip(b.t.Context(), auditor, door, first.Start, first.End); !errors.Is(err, vault.ErrAltered) {
			b.t.Errorf("%s: a clip of it: %v", c.what, err)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		b.t.Fatal(err)
	}
	stray := filepath.Join(filepath.Dir(path), strings.Repeat("ab", 32)+".mp4")
	if err := os.WriteFile(stray, whole, 0o600); err != nil {
		b.t.Fatal(err)
	}
	if v, err := runVerifier(b.t, b.vaultDir); !errors.Is(err, program.ErrTold) || len(v.Faults) != 1 || !strings.Contains(v.Faults[0].What, "no seal in the index names") {
		b.t.Errorf("a stray file: %v %+v", err, v.Faults)
	}
}
