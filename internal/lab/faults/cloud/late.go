package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit/influxdb"
)

// lateAndShuffled sends the same month from two boxes, from one in order and from
// the other as chance has it, and compares all that a query can tell of them.
func lateAndShuffled(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	h, err := hall.New(ctx, b, b.Dir, 2)
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	link, err := h.Sender()
	if err != nil {
		return bench.Finding{}, err
	}
	defer link.Disconnect(100)
	n := b.Rounds(20_000, 3000)
	now := time.Now().Truncate(time.Second)
	step := 30 * 24 * time.Hour / time.Duration(n)
	for box := range 2 {
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		if box == 1 {
			b.Rand.Shuffle(n, func(i, k int) { order[i], order[k] = order[k], order[i] })
		}
		recs := make([]json.RawMessage, n)
		for i, k := range order {
			recs[i] = hall.StayOf(0, uint64(k+1), floorwatch.TimeOf(now.Add(-time.Duration(n-k)*step))).JSON
		}
		if err := link.Batches(ctx, box, recs); err != nil {
			return bench.Finding{}, err
		}
	}
	at, err := h.Database.Endpoint()
	if err != nil {
		return bench.Finding{}, err
	}
	differ, rows := 0, 0
	for _, q := range []string{
		`SELECT id, enter, exit, seen_s, merged_s, stay_s FROM stay WHERE edge = '%s'`,
		`SELECT count(stay_s), sum(stay_s), min(stay_s), max(stay_s), sum(seen_s) FROM stay WHERE edge = '%s' AND time > now() - 31d GROUP BY time(1h) fill(none)`,
		`SELECT percentile(seen_s, 50), percentile(seen_s, 90), mean(seen_s) FROM stay WHERE edge = '%s' AND time > now() - 31d GROUP BY time(1d) fill(none)`,
	} {
		var seen [2]map[string]int
		for box := range 2 {
			got, err := influxdb.Query(ctx, at, fmt.Sprintf(q, hall.BoxName(box)))
			if err != nil {
				return bench.Finding{}, err
			}
			seen[box] = map[string]int{}
			for _, r := range got {
				if r["id"] != "" {
					delete(r, "time") // its nanoseconds hold the sequence number
				}
				seen[box][fmt.Sprint(r)]++
			}
		}
		rows += len(seen[0])
		differ += difference(seen[0], seen[1]) + difference(seen[1], seen[0])
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("%s records of 30 days in order and shuffled: %d of %s rows differ (records, hourly sums, daily quantiles)",
			bench.Number(n), differ, bench.Number(rows)),
	},
		bench.That(differ == 0 && rows > n, "rows, 0 of them differing"),
	), nil
}

// difference counts what is in a and not in b.
func difference(a, b map[string]int) (n int) {
	for k, v := range a {
		n += max(0, v-b[k])
	}
	return n
}
