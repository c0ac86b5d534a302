package influxdb

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/internal/lab/kit"
)

// recordKey names a record by what it says of itself.
func recordKey(kind, camera, zone, id string, at int64) string {
	return fmt.Sprintf("%s %s/%s %s %d", kind, camera, zone, id, at)
}

// ReadLedger returns how often each record stands in it, and the hashes of the
// segments, which are kept elsewhere.
func ReadLedger(t testing.TB, path string) (records map[string]int, segments []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	kit.Must(t, err)
	records = map[string]int{}
	for line := range strings.Lines(string(b)) {
		var h struct {
			floorwatch.Header
			SHA256 string `json:"sha256"`
		}
		kit.Must(t, json.Unmarshal([]byte(line), &h))
		if h.Kind == floorwatch.KindScene { // is in the metadata
			continue
		}
		if h.Kind == floorwatch.KindSegment {
			segments = append(segments, h.SHA256)
			continue
		}
		records[recordKey(h.Kind, h.Camera, h.Zone, h.ID, int64(h.At))]++
	}
	return records, segments
}

// StoredBelow opens the database that a cloud left in dir and returns how often
// each record is there.
func StoredBelow(t testing.TB, dir string) map[string]int {
	t.Helper()
	db := &Database{Server: &influx.Server{Dir: dir}}
	kit.Must(t, db.Start(context.Background()))
	defer db.End()
	at, err := db.Endpoint()
	kit.Must(t, err)
	return Stored(t, at)
}

// Stored returns how often each record is in a running database, by the keys of
// ReadLedger.
func Stored(t testing.TB, at influx.Endpoint) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, kind := range []string{
		floorwatch.KindInterval, floorwatch.KindStay, floorwatch.KindWait, floorwatch.KindGap,
		floorwatch.KindCount, floorwatch.KindAlert, floorwatch.KindHealth,
	} {
		rows, err := Query(context.Background(), at, `SELECT "id","at","camera","zone" FROM `+influx.DefaultPolicy+"."+kind)
		kit.Must(t, err)
		for _, row := range rows {
			at, err := strconv.ParseInt(row["at"], 10, 64)
			kit.Must(t, err)
			found[recordKey(kind, row["camera"], row["zone"], row["id"], at)]++
		}
	}
	return found
}
