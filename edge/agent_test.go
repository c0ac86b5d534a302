package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/health"
	"floorwatch/edge/outbox"
	"floorwatch/edge/trail"
	"floorwatch/internal/durable"
	"floorwatch/internal/layout"
	"floorwatch/internal/metrics"
)

// newRun returns an agent whose parts do not run: with a real outbox, and an
// uplink that is not connected.
func newRun(t *testing.T, read func() floorwatch.Stamp) (*run, *ledger) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Store, cfg.Edge, cfg.Data, cfg.Cameras = "s1", "box", t.TempDir(), []Camera{{Name: "door"}}
	cfg.Backup.URL = "http://127.0.0.1:1"
	var err error
	l := &ledger{}
	a := &Agent{Config: cfg, Broker: Broker{URL: "tcp://127.0.0.1:1"}, Ledger: l, Clock: read, Log: slog.New(slog.DiscardHandler)}
	r := &run{agent: a, cfg: &a.Config, log: a.Log, meters: health.NewMeters("door")}
	if err := durable.MkdirAll(r.footageDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	r.trail = &trail.Trail{Dir: r.footageDir()}
	if r.key, err = LoadKey(cfg.Data); err != nil {
		t.Fatal(err)
	}
	if r.standard, err = r.openStandard(); err != nil {
		t.Fatal(err)
	}
	if r.outbox, err = outbox.Open(outbox.Settings{Dir: filepath.Join(cfg.Data, outboxDir)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.outbox.Close() })
	if r.clock, err = r.newClock(); err != nil {
		t.Fatal(err)
	}
	if r.uploader, err = r.newUploader(); err != nil {
		t.Fatal(err)
	}
	if r.uplink, err = r.newUplink(); err != nil {
		t.Fatal(err)
	}
	return r, l
}

// ledger keeps what became durable.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *ledger) records(t *testing.T) (out []floorwatch.Record) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.b.Bytes()) {
		rec, err := floorwatch.ParseRecord(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// await waits until ok, however slow the machine is.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(3 * time.Minute)
	for tick := time.Tick(10 * time.Millisecond); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("not within 3 minutes: %s", what)
		case <-tick:
		}
	}
}

// TestBoxSendsItsFigures as the table of all figures has them, and shows them on
// /metrics.
func TestBoxSendsItsFigures(t *testing.T) {
	r, l := newRun(t, nil)
	report := r.newReport()
	report.AtOnce = true
	go func() { _ = report.Run(t.Context()) }()
	await(t, "health records", func() bool { return len(l.records(t)) >= 2 })
	box := l.records(t)[0].(*floorwatch.Health)
	for _, f := range floorwatch.Figures {
		if _, ok := box.Figure(f.Name); ok == f.Camera && f.Name != floorwatch.FigureClockOffset {
			t.Errorf("%s is in the box's record: %t", f.Name, ok)
		}
		delete(box.Figures, string(f.Name))
	}
	if len(box.Figures) > 0 {
		t.Errorf("not in floorwatch.Figures: %v", box.Figures)
	}
	w := httptest.NewRecorder()
	metrics.Handler(func() []metrics.Figure { return health.Metrics(report.Figures()) }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		"floorwatch_outbox_records 2\n", "floorwatch_uplink_connected 0\n", `floorwatch_camera_watching{camera="door"} 0`,
		`floorwatch_edge_info{edge="box",store="s1",version="` + floorwatch.BuildVersion + `"} 1`, "floorwatch_disk_free_bytes ",
		"# HELP floorwatch_outbox_records Records that the cloud has not acknowledged.\n", "floorwatch_upload_wanted_bytes 0\n",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d: no %q in\n%s", w.Code, want, w.Body)
		}
	}
}

// start runs a part until the test ends.
func start(t *testing.T, part interface{ Run(context.Context) error }) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := part.Run(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-done })
}

// film puts ten seconds of footage that end at end on the disk.
func film(t *testing.T, r *run, end floorwatch.Time) {
	t.Helper()
	body := []byte("no film")
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	raw, err := floorwatch.SignSeal(floorwatch.Seal{
		Kind: floorwatch.SealSegment, Store: "s1", Edge: "box", Camera: "door", Chain: "0123456789abcdef", Seq: 1,
		File: "00000001.mp4", At: end, Start: end - 10_000, End: end, Boot: strings.Repeat("0", 32), Codec: "unknown",
		Length: int64(len(body)), SHA256: hash,
		Fragments: []floorwatch.Fragment{{Length: 4, SHA256: hash}, {Length: 3, Duration: 10_000, SHA256: hash}},
	}, r.key)
	if err != nil {
		t.Fatal(err)
	}
	day := filepath.Join(r.footageDir(), "door", layout.Day(end))
	err = os.MkdirAll(day, 0o700)
	for name, b := range map[string][]byte{"00000001.mp4": body, "00000001.seal": raw} {
		err = errors.Join(err, os.WriteFile(filepath.Join(day, name), b, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAllPartsFollowOneClock sets the wall clock back by an hour, after which
// recorder, retention, uploads and records go on together from where they were.
func TestAllPartsFollowOneClock(t *testing.T) {
	const now = floorwatch.Time(1763755200000)
	wall := now
	r, l := newRun(t, func() floorwatch.Stamp {
		return floorwatch.Stamp{Wall: wall, Mono: time.Hour, Boot: strings.Repeat("0", 32), Synced: true}
	})
	if at := r.clock.Time(); at != now {
		t.Fatalf("it is %s", at)
	}
	film(t, r, now-60_000)
	wall -= 3600_000 // nothing runs yet

	r.cfg.Footage.MaxBytes = 1
	start(t, r.newRetention())
	await(t, "footage to be deleted", func() bool {
		left, err := filepath.Glob(filepath.Join(r.footageDir(), "door", "*", "*.mp4"))
		return err == nil && len(left) == 0
	})
	recorder := r.newRecorder(&Camera{Name: "door"}, "rtsp://127.0.0.1:1/none")
	recorder.FFmpeg = "/nonexistent"
	start(t, recorder)
	at := map[string]floorwatch.Time{}
	await(t, "the deletion and the gap after it to be told", func() bool {
		for _, rec := range l.records(t) {
			at[rec.Head().Kind] = rec.Head().At
		}
		return at[floorwatch.KindDeleted] > 0 && at[floorwatch.KindGap] > 0
	})
	if err := r.store(r.meters.Camera("door").Record(r.clock.Time())); err != nil {
		t.Fatal(err)
	}
	for _, rec := range l.records(t) {
		at[rec.Head().Kind] = rec.Head().At
	}
	for _, kind := range []string{floorwatch.KindDeleted, floorwatch.KindGap, floorwatch.KindHealth} {
		if at[kind] != now {
			t.Errorf("the %s is of %s, want %s", kind, at[kind], now)
		}
	}
	reply := r.uploader.Command(t.Context(), floorwatch.Command{
		V: 1, ID: strings.Repeat("a", 16), Do: floorwatch.DoHold, Expires: 1, Camera: "door", From: 1, To: 2, Hold: strings.Repeat("b", 16),
	})
	if made := claims(t, r); reply.State != floorwatch.ReplyDone || len(made) != 1 || made[0].Made != now {
		t.Errorf("the hold is %+v: %+v", made, reply)
	}
}

type claim struct {
	Kind, Camera   string
	From, To, Made floorwatch.Time
}

// claims returns what is held and asked for.
func claims(t *testing.T, r *run) (out []claim) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.cfg.Data, claimsFile))
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFootageAroundAnAlertIsUploaded as soon as its record is stored.
func TestFootageAroundAnAlertIsUploaded(t *testing.T) {
	r, _ := newRun(t, nil)
	const at = 1763755200000
	if err := r.store(&floorwatch.Alert{Header: floorwatch.Header{Kind: floorwatch.KindAlert, Camera: "door", At: at}}); err != nil {
		t.Fatal(err)
	}
	made := claims(t, r)
	if len(made) != 1 || made[0].Kind != "alert" || made[0].From != at-300_000 || made[0].To != at+301_000 {
		t.Errorf("claims %+v", made)
	}
}
