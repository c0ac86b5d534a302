package doctor

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/finding"

	"floorwatch"
	"floorwatch/internal/metrics"
)

// testBox is a doctor of a box that has a key.
func testBox(t *testing.T) (d *Doctor, key string) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	path := filepath.Join(t.TempDir(), "edge.key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d = &Doctor{Store: "shop", Edge: "box", KeyFile: path, Key: func() (ed25519.PrivateKey, error) { return private, nil }}
	return d, base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
}

func TestProbeIsNoWordOfTheBox(t *testing.T) {
	t.Parallel()
	d, key := testBox(t)
	raw, err := d.probe("0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	b, err := floorwatch.ParseBatch(raw)
	if err != nil || len(b.Records) != 1 {
		t.Fatalf("%v: %s", err, raw)
	}
	rec, err := floorwatch.ParseRecord(b.Records[0])
	if h, ok := rec.(*floorwatch.Health); err != nil || !ok || !h.Probe() || h.Key != key {
		t.Errorf("%v: %s", err, b.Records[0])
	}
}

// TestRunningBoxThatIsRefused tells it by the box's own figures.
func TestRunningBoxThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		age          float64
		result, next string
	}{
		"now":             {5, finding.Fail, "floorwatch-cloud site add -box box -key KEY shop"},
		"a while ago":     {1800, finding.Warn, "dead-letters retry"},
		"never":           {-1, finding.OK, ""},
		"at the boundary": {179, finding.Fail, "site add"},
	} {
		d, key := testBox(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- metrics.Serve(ctx, ln, func() []metrics.Figure {
				all := []metrics.Figure{{Name: "floorwatch_edge_info", Help: "The box.", Labels: []string{"edge"}, Samples: []metrics.Sample{{Value: 1, Labels: []string{"box"}}}}, metrics.Gauge("floorwatch_uplink_connected", "Up.", 1), metrics.Gauge("floorwatch_outbox_records", "Waiting.", 7)}
				if c.age >= 0 {
					all = append(all, metrics.Figure{Name: RefusedMetric, Help: "Refused.", Labels: []string{"reason"}, Samples: []metrics.Sample{{Value: c.age, Labels: []string{`no "key" of this box`}}}})
				}
				return all
			})
		}()
		d.Metrics = ln.Addr().String()
		f := d.link(t.Context())
		if f.Result != c.result || !strings.Contains(f.Next, strings.Replace(c.next, "KEY", key, 1)) || c.age >= 0 != strings.Contains(f.Found, `no "key" of this box`) {
			t.Errorf("%s: %+v", name, f)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
