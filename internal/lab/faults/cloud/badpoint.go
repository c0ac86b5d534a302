package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit/influxdb"
)

// badClass is a way in which one record can be bad. The database learns of it
// first; what comes of it is a record of the hall's box.
type badClass struct {
	name   string
	record func(now time.Time) json.RawMessage
}

func badClasses() []badClass {
	stay := func(id string, enter, exit int64, more string) json.RawMessage {
		return fmt.Appendf(nil, `{"kind":"stay","camera":"hall","zone":"queue","id":%q,"at":%d,"rev":"aabbccddeeff","enter":%d,"exit":%d,"enter_seen":true,"exit_seen":true,"seen_s":1,"merged_s":0,"tracks":[1]%s}`,
			id, exit, enter, exit, more)
	}
	return []badClass{
		{"field of another type in the database", func(now time.Time) json.RawMessage {
			ms := now.Add(-time.Minute).UnixMilli()
			return fmt.Appendf(nil, `{"kind":"alert","camera":"hall","zone":"queue","id":"bad-type","at":%d,"level":"high","since":%d,"value":5,"limit":3}`, ms, ms)
		}},
		{"older than the database keeps", func(now time.Time) json.RawMessage {
			ms := now.Add(-90 * time.Hour).UnixMilli()
			return stay("bad-old", ms-5000, ms, "")
		}},
		{"ends before it begins", func(now time.Time) json.RawMessage {
			ms := now.Add(-time.Minute).UnixMilli()
			return stay("bad-order", ms+5000, ms, "")
		}},
		{"of an unknown kind", func(time.Time) json.RawMessage { return json.RawMessage(`{"kind":"poem","id":"bad-kind","at":1}`) }},
		{"no JSON object", func(time.Time) json.RawMessage { return json.RawMessage(`["bad-json"]`) }},
	}
}

// badPoint puts one bad record into the midst of 5,000 good ones, for each class.
func badPoint(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	classes := badClasses()
	h, err := hall.New(ctx, b, b.Dir, len(classes))
	if err != nil {
		return bench.Finding{}, err
	}
	defer h.End()
	at, err := h.Database.Endpoint()
	if err != nil {
		return bench.Finding{}, err
	}
	if _, err := influxdb.Query(ctx, at, `ALTER RETENTION POLICY raw ON floorwatch DURATION 72h SHARD DURATION 24h`); err != nil {
		return bench.Finding{}, err
	}
	if err := hall.Write(ctx, at, fmt.Sprintf(`alert,store=other value="a word" %d`, time.Now().UnixNano())); err != nil {
		return bench.Finding{}, err
	}
	link, err := h.Sender()
	if err != nil {
		return bench.Finding{}, err
	}
	defer link.Disconnect(100)
	good := b.Rounds(5000, 5000)
	for box, class := range classes {
		recs := make([]json.RawMessage, 0, good+1)
		now := time.Now()
		for i := range good {
			recs = append(recs, hall.StayOf(box, uint64(i+1), hall.Tick(now, i)).JSON)
		}
		recs = append(recs[:good/2], append([]json.RawMessage{class.record(now)}, recs[good/2:]...)...)
		if err := link.Batches(ctx, box, recs); err != nil {
			return bench.Finding{}, fmt.Errorf("%s: %w", class.name, err)
		}
	}
	rows, err := influxdb.Query(ctx, at, `SELECT count(seen_s) FROM stay GROUP BY edge`)
	if err != nil {
		return bench.Finding{}, err
	}
	written, lost := 0, len(classes)*good
	for _, r := range rows {
		n, _ := strconv.Atoi(r["count"])
		written += n
	}
	lost -= written
	letters, err := h.DeadLetters(ctx)
	if err != nil {
		return bench.Finding{}, err
	}
	unnamed := 0
	for _, id := range []string{"bad-type", "bad-old", "bad-order", "bad-kind", "bad-json"} {
		if !strings.Contains(letters, id) {
			unnamed++
		}
	}
	n := int(h.Figure("floorwatch_ingest_dead_letters_total"))
	var names []string
	for _, c := range classes {
		names = append(names, c.name)
	}
	return b.Judge(bench.Finding{
		Figure: fmt.Sprintf("one bad record among %s good ones, %d classes (%s): %s good ones lost, %d dead letters, %d bad records without one",
			bench.Number(good), len(classes), strings.Join(names, "; "), bench.Number(lost), n, unnamed),
	},
		bench.That(lost == 0, "0 good ones lost"),
		bench.That(n == len(classes) && unnamed == 0, "a dead letter for each bad record and no other"),
	), nil
}
