package influx

import (
	"context"
	"reflect"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// elsewhere are the fields that are no columns, and where they are instead.
var elsewhere = map[string]string{
	"Stay.Person":   "inside a box only",
	"Stay.Appeared": "inside a box only",
	"Gap.Seal":      "the vault's index",
}

// TestEachFieldOfEachRecordComesBack: through line protocol, the real database and
// its answer.
func TestEachFieldOfEachRecordComesBack(t *testing.T) {
	c := client(t)
	read := map[string]func(context.Context, Query) (any, error){}
	reader(read, floorwatch.KindStay, stays.read, c)
	reader(read, floorwatch.KindWait, waits.read, c)
	reader(read, floorwatch.KindInterval, intervals.read, c)
	reader(read, floorwatch.KindCount, counts.read, c)
	reader(read, floorwatch.KindGap, gaps.read, c)
	reader(read, floorwatch.KindAlert, alerts.read, c)
	reader(read, floorwatch.KindHealth, health.read, c)
	if len(read) != len(tables) {
		t.Errorf("%d kinds are read here, and %d are points", len(read), len(tables))
	}
	for _, rec := range kit.Records(t0) {
		kind := rec.Head().Kind
		if tables[kind] == nil {
			continue
		}
		if err := c.Write(t.Context(), points("walk", rec)); err != nil {
			t.Fatal(err)
		}
		got, err := read[kind](t.Context(), Query{Store: "walk", Edge: "box", From: t0, To: t0.Add(24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		want := reflect.ValueOf(rec).Elem()
		for i := range want.NumField() {
			name := want.Type().Name() + "." + want.Type().Field(i).Name
			if elsewhere[name] != "" {
				want.Field(i).SetZero()
			}
		}
		if !reflect.DeepEqual(got, want.Interface()) {
			t.Errorf("%s: a field is missing, or another, on its way through InfluxDB\ngot  %+v\nwant %+v", kind, got, want)
		}
	}
}

func reader[T any](into map[string]func(context.Context, Query) (any, error), kind string, decode func(*cursor, string) T, c *Client) {
	into[kind] = func(ctx context.Context, q Query) (any, error) {
		all, err := selectRows(ctx, c, q, kind, q.within(), decode)
		if err != nil || len(all) != 1 {
			return all, err
		}
		return all[0], nil
	}
}
