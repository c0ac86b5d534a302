package house

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/layout"
	"floorwatch/internal/verify"
)

// kept unpacks what the version of 22 November 2026 (0a9a143) had left on a disk.
func kept(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	kit.Must(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	kit.Must(t, err)
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(dir, name)
		}
		kit.Must(t, err)
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			kit.Must(t, os.MkdirAll(path, 0o700))
			continue
		}
		b, err := io.ReadAll(r)
		kit.Must(t, err)
		kit.Must(t, os.WriteFile(path, b, 0o600))
	}
}

// An outbox of twelve records, one of them settled, gives the other eleven and
// goes on in the same logs.
func TestOutboxOfOldGoesOn(t *testing.T) {
	dir := kept(t, "outbox")
	for range 2 { // the second time it is ours
		o, err := outbox.Open(outbox.Settings{Dir: dir, MaxBytes: outbox.MinMaxBytes})
		kit.Must(t, err)
		if got := o.Stats().Records; got != 11 {
			t.Errorf("%d records wait, want 11", got)
		}
		if got := o.Log(); got != "9f2216ae7443b0d0" {
			t.Errorf("the log is %s, and was 9f2216ae7443b0d0", got)
		}
		kit.Must(t, o.Close())
	}
	o, err := outbox.Open(outbox.Settings{Dir: dir, MaxBytes: outbox.MinMaxBytes})
	kit.Must(t, err)
	defer func() { kit.Must(t, o.Close()) }()
	rec, err := floorwatch.MarshalRecord(&floorwatch.Stay{Header: floorwatch.Header{Kind: floorwatch.KindStay, ID: "new"}})
	kit.Must(t, err)
	kit.Must(t, o.Append(rec))
	ids := map[string]uint64{}
	for {
		b, err := o.Next(100, floorwatch.MaxRecordBytes+1)
		kit.Must(t, err)
		if b.N == 0 {
			break
		}
		for i, raw := range b.Records {
			r, err := floorwatch.ParseRecord(raw)
			kit.Must(t, err)
			ids[r.Head().ID] = b.First + uint64(i)
		}
		kit.Must(t, o.Ack(b.Log, b.First, b.N))
	}
	if len(ids) != 12 || ids["new"] != 4 || ids["r0"] != 1 || ids["r1"] != 0 {
		t.Errorf("records by number: %v; want r0 to r11 without r1, which was settled, and the new stay behind three", ids)
	}
}

// A vault's footage is sound, its hold holds, and it takes what is new.
func TestVaultOfOldGoesOn(t *testing.T) {
	dir := kept(t, "vault")
	index, err := vault.OpenIndex(filepath.Join(dir, layout.VaultIndex))
	kit.Must(t, err)
	segments, err := index.Segments(t.Context(), "s1", "box", "door", 0, floorwatch.MaxTime)
	kit.Must(t, err)
	holds, err := index.Holds(t.Context())
	kit.Must(t, err)
	if len(segments) != 4 || len(holds) != 1 || holds[0].Why != "kept copy" {
		t.Errorf("%d segments, holds %+v; want 4 and one", len(segments), holds)
	}
	kit.Must(t, index.PutSegment(t.Context(), "s1", "box", segments[0])) // the same one again
	seal, err := floorwatch.ParseSeal([]byte(segments[0].Seal))
	kit.Must(t, err)
	defer func() { kit.Must(t, index.Close()) }()
	for _, c := range []struct {
		key   ed25519.PublicKey
		sound bool
	}{{seal.Key, true}, {make(ed25519.PublicKey, ed25519.PublicKeySize), false}} {
		v := verify.Verifier{Key: c.key}
		report, err := v.Vault(t.Context(), dir, index)
		kit.Must(t, err)
		if report.Sound != c.sound {
			b, _ := json.Marshal(report)
			t.Errorf("sound is %v, want %v: %s", report.Sound, c.sound, b)
		}
	}
}

// An InfluxDB is started on its folder as it was, and its points are read.
func TestInfluxDBOfOldGoesOn(t *testing.T) {
	bin := kit.Tool(t, "influxd")
	ctx, cancel := context.WithCancel(t.Context())
	server := &influx.Server{
		Bin: bin, Dir: kept(t, "influxdb"),
		Retention: 100 * 366 * 24 * time.Hour, // the points are of 2026
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	defer func() { cancel(); kit.Must(t, <-done) }()
	_, err := server.WaitReady(ctx)
	kit.Must(t, err)
	c := &influx.Client{Endpoint: server.Endpoint}
	defer c.Close()
	day := floorwatch.TimeOf(time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC))
	q := influx.Query{Store: "demo", Edge: "box", From: day, To: day.Add(24 * time.Hour)}
	stays, err := c.Stays(ctx, q)
	kit.Must(t, err)
	intervals, err := c.Intervals(ctx, q)
	kit.Must(t, err)
	health, err := c.LastHealth(ctx, []site.Source{{Store: q.Store, Edge: q.Edge}}, []floorwatch.Figure{floorwatch.FigureUptime, floorwatch.FigureWatching}, q.From, q.To)
	kit.Must(t, err)
	gaps, err := c.Gaps(ctx, q)
	kit.Must(t, err)
	if len(stays) != 36 || len(intervals) != 10 || len(health) != 2 || len(gaps) != 0 {
		t.Errorf("%d stays, %d intervals, %d words of health, %d gaps; it holds 36, 10, 2 and 0", len(stays), len(intervals), len(health), len(gaps))
	}
	kit.Must(t, c.Write(ctx, []influx.Point{{Store: "demo", Edge: "box", Log: "9f2216ae7443b0d0", Seq: 1 << 40, Record: &stays[0]}}))
	again, err := c.Stays(ctx, q)
	kit.Must(t, err)
	if len(again) != len(stays)+1 {
		t.Errorf("%d stays after one more, want %d", len(again), len(stays)+1)
	}
}
