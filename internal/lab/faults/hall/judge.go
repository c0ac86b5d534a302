package hall

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"floorwatch"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/kit/influxdb"
)

// Judged compares the ledgers of all boxes with what the database holds.
type Judged struct {
	Records, Lost, Doubled, Wrong int
	Booked                        int // not there, and the cloud says so
}

func (v Judged) String() string {
	return fmt.Sprintf("%s lost, %s doubled, %s wrong of %s", bench.Number(v.Lost), bench.Number(v.Doubled), bench.Number(v.Wrong), bench.Number(v.Records))
}

// Clean tells that there were records, and that every one was there once, as it was.
func (v Judged) Clean() bool { return v.Records > 0 && v.Lost+v.Doubled+v.Wrong == 0 }

// Judge reads the ledgers in a folder and the whole measurement of stays.
func (h *Hall) Judge(ctx context.Context, ledgers string) (v Judged, err error) {
	return h.JudgeBut(ctx, ledgers, func(string, floorwatch.Time) bool { return false })
}

// JudgeBut is Judge where a record may be missing if the cloud has booked that, by
// the box and the record's end.
func (h *Hall) JudgeBut(ctx context.Context, ledgers string, booked func(box string, end floorwatch.Time) bool) (v Judged, err error) {
	at, err := h.Endpoint()
	if err != nil {
		return v, err
	}
	rows, err := influxdb.Query(ctx, at, `SELECT id, enter, exit, seen_s, edge FROM stay`)
	if err != nil {
		return v, err
	}
	points := make(map[string]map[string]string, len(rows))
	for _, r := range rows {
		if points[r["id"]] != nil {
			v.Doubled++
		}
		points[r["id"]] = r
	}
	files, err := filepath.Glob(filepath.Join(ledgers, "*"))
	if err != nil {
		return v, err
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			return v, err
		}
		for line := range strings.Lines(string(b)) {
			var s floorwatch.Stay
			if json.Unmarshal([]byte(line), &s) != nil {
				continue // cut off when its writer was killed
			}
			v.Records++
			p := points[s.ID]
			switch {
			case p == nil && booked(filepath.Base(path), *s.Exit):
				v.Booked++
			case p == nil:
				v.Lost++
			case p["enter"] != strconv.FormatInt(int64(s.Enter), 10) || p["exit"] != strconv.FormatInt(int64(*s.Exit), 10) ||
				p["seen_s"] != strconv.FormatFloat(s.SeenS, 'f', -1, 64) || p["edge"] != filepath.Base(path):
				v.Wrong++
			}
		}
	}
	return v, nil
}

// Add joins what another hall was judged for.
func (v *Judged) Add(w Judged) {
	v.Records += w.Records
	v.Lost += w.Lost
	v.Doubled += w.Doubled
	v.Wrong += w.Wrong
	v.Booked += w.Booked
}
