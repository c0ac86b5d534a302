package fmp4

import (
	"bytes"
	"testing"

	"floorwatch"
)

func FuzzScan(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08ftyp\x00\x00\x00\x08moov"))
	f.Add(StampBox(floorwatch.Stamp{Wall: 5, Boot: "00"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, whole, err := Scan(bytes.NewReader(b), func(Init, Piece) error { return nil })
		if err == nil && (whole < 16 || whole > int64(len(b))) {
			t.Errorf("%d whole bytes of %d", whole, len(b))
		}
	})
}
