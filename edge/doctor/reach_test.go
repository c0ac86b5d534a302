package doctor

import (
	"testing"

	"floorwatch"
)

func TestProbeIsNoWordOfTheBox(t *testing.T) {
	t.Parallel()
	raw, err := probe("shop", "box", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	b, err := floorwatch.ParseBatch(raw)
	if err != nil || len(b.Records) != 1 {
		t.Fatalf("%v: %s", err, raw)
	}
	rec, err := floorwatch.ParseRecord(b.Records[0])
	if h, ok := rec.(*floorwatch.Health); err != nil || !ok || !h.Probe() {
		t.Errorf("%v: %s", err, b.Records[0])
	}
}
