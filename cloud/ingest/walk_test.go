package ingest

import (
	"reflect"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// TestEachFieldOfEachRecordIsRead: as JSON, by the quick reader and by the slow
// one. What boxes send often must be known to the quick one, field by field.
func TestEachFieldOfEachRecordIsRead(t *testing.T) {
	quick := map[string]bool{floorwatch.KindStay: true, floorwatch.KindWait: true, floorwatch.KindInterval: true, floorwatch.KindCount: true}
	for _, want := range kit.Records(t0) {
		raw, err := floorwatch.MarshalRecord(want)
		kit.Must(t, err)
		if stay, ok := want.(*floorwatch.Stay); ok { // these two stay inside a box
			stay.Person, stay.Appeared = 0, 0
		}
		slow, err := floorwatch.ParseRecord(raw.JSON)
		kit.Must(t, err)
		if !reflect.DeepEqual(slow, want) {
			t.Errorf("%s: JSON gives\n%+v, want\n%+v", raw.Kind, slow, want)
		}
		var d decoder
		_, recs, err := d.parse(envelope(string(raw.JSON)))
		kit.Must(t, err)
		if quick[raw.Kind] && !reflect.DeepEqual(recs[0].rec, want) {
			t.Errorf("%s: the quick reader gives %+v, want %+v; give decode.go the new field", raw.Kind, recs[0].rec, want)
		}
	}
}
