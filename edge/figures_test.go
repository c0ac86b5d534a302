package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/edge/outbox"
	"floorwatch/edge/trail"
	"floorwatch/edge/upload"
	"floorwatch/internal/metrics"
)

func TestMetersCountLinesAndRecords(t *testing.T) {
	m := newMeters([]Camera{{Name: "door"}, {Name: "hall"}})
	trail := meteredTrail{&trail.Trail{Dir: t.TempDir()}, m}
	defer func() { _ = trail.Close() }()
	at := floorwatch.Time(1_800_000_000_000)
	for i, f := range []floorwatch.Frame{
		{Event: floorwatch.EventOpen, By: "motion"},
		{N: 1, W: 10, H: 10},
		{N: 2, W: 10, H: 10},
		{Event: floorwatch.EventClosed, Cause: "gone"},
		{Event: floorwatch.EventOpen},
		{N: 3, W: 10, H: 10},
	} {
		f.T = at + floorwatch.Time(i)
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := trail.Append("door", f.T, line); err != nil {
			t.Fatal(err)
		}
	}
	end := at.Add(2500_000_000)
	m.stored([]floorwatch.Record{
		&floorwatch.Gap{Header: floorwatch.Header{Camera: "door"}, Of: floorwatch.OfObservation, From: at, To: &end},
		&floorwatch.Gap{Header: floorwatch.Header{Camera: "door"}, Of: floorwatch.OfFootage, From: at, To: &end},
		&floorwatch.Gap{Header: floorwatch.Header{Camera: "elsewhere"}, Of: floorwatch.OfFootage, From: at, To: &end},
		&floorwatch.Segment{Header: floorwatch.Header{Camera: "door"}, Bytes: 7},
		&floorwatch.Interval{Header: floorwatch.Header{Camera: "hall"}, Coverage: 0.25},
	})
	want := map[string]float64{
		"floorwatch_camera_watching door": 1, "floorwatch_camera_watching hall": 0,
		"floorwatch_camera_frames_total door": 3, "floorwatch_camera_opens_total door": 2, "floorwatch_camera_closes_total door": 1,
		"floorwatch_camera_coverage hall": 0.25, "floorwatch_segments_total door": 1, "floorwatch_segment_bytes_total door": 7,
		"floorwatch_gaps_total door observation": 1, "floorwatch_gap_seconds_total door footage": 2.5, "floorwatch_gaps_total hall footage": 0,
	}
	got := map[string]float64{}
	for _, f := range m.figures() {
		for _, s := range f.Samples {
			key := f.Name
			for _, l := range s.Labels {
				key += " " + l
			}
			got[key] = s.Value
		}
	}
	for key, v := range want {
		if g, ok := got[key]; !ok || g != v {
			t.Errorf("%s is %g (there: %t), want %g", key, g, ok, v)
		}
	}
}

func TestFootageOnDiskIsCounted(t *testing.T) {
	dir := t.TempDir()
	for name, bytes := range map[string]int{"a/1.mp4": 10, "b/c/2.mp4": 5, "a/1.seal": 100} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := countFootage(context.Background(), dir, nil); got != 15 {
		t.Errorf("%d bytes, want 15", got)
	}
	if free, size := diskSpace(dir); free <= 0 || size < free {
		t.Errorf("disk: %g free of %g", free, size)
	}
	if free, size := diskSpace(filepath.Join(dir, "absent")); free != 0 || size != 0 {
		t.Errorf("a disk that is not there: %g free of %g", free, size)
	}
}

// TestHealthAndScrape reads a box that has just started, with a real outbox and
// an uplink that is not connected.
func TestHealthAndScrape(t *testing.T) {
	out, err := outbox.Open(outbox.Settings{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cfg := DefaultConfig()
	cfg.Store, cfg.Edge, cfg.Data, cfg.Cameras = "s1", "box", t.TempDir(), []Camera{{Name: "door"}}
	var ledger bytes.Buffer
	r := &run{
		Agent:    &Agent{Config: cfg, Broker: Broker{URL: "tcp://127.0.0.1:1"}, Ledger: &ledger, Log: slog.New(slog.DiscardHandler)},
		uploader: &upload.Uploader{}, outbox: out, meters: newMeters(cfg.Cameras),
		clock: clock.New(nil),
	}
	if r.uplink, err = r.newUplink(); err != nil {
		t.Fatal(err)
	}
	recs := r.health()
	if err := r.append(recs...); err != nil {
		t.Fatal(err)
	}
	if len(recs) != 2 || strings.Count(ledger.String(), "\n") != 2 {
		t.Fatalf("%d records, ledger %q", len(recs), ledger.String())
	}
	for _, rec := range recs {
		for name := range rec.(*floorwatch.Health).Figures {
			if !floorwatch.ValidName(name) {
				t.Errorf("the cloud would refuse the figure %q", name)
			}
		}
	}
	w := httptest.NewRecorder()
	metrics.Handler(r.figures).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		"floorwatch_outbox_records 2\n", "floorwatch_uplink_connected 0\n", `floorwatch_camera_watching{camera="door"} 0`,
		`floorwatch_edge_info{edge="box",store="s1",version="` + floorwatch.BuildVersion + `"} 1`, "floorwatch_disk_free_bytes ",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d: no %q in\n%s", w.Code, want, w.Body)
		}
	}
}
