package main

import (
	"bytes"
	"strings"
	"testing"

	"floorwatch"
)

// What the bench publishes is what ingest takes, and its sums are right.
func TestRecordsAreOnesThatBoxesWrite(t *testing.T) {
	for _, kind := range []string{floorwatch.KindCount, floorwatch.KindStay} {
		src := newSource(kind)
		var got total
		for i := range 3 {
			payload, first := src.batch(7, 4)
			m, err := floorwatch.ParseBatch(payload)
			if err != nil || m.First != first || first != uint64(4*i+1) || storeOf(m.Log) != 7 || m.Store != storeName(7) {
				t.Fatalf("%s: batch %+v from %d: %v", kind, m, first, err)
			}
			for k, raw := range m.Records {
				rec, err := floorwatch.ParseRecord(raw)
				if err != nil {
					t.Fatal(err)
				}
				got.N++
				got.Seq += int64(first) + int64(k)
				switch r := rec.(type) {
				case *floorwatch.Count:
					got.Seen += r.In
				case *floorwatch.Stay:
					got.Seen += int64(r.SeenS)
				}
				if line := string(src.appendLine(nil, 7, first+uint64(k))); !strings.HasPrefix(line, kind+",camera=hall,edge=box,store=s7,zone=z") {
					t.Errorf("point %q", line)
				}
			}
		}
		if want := src.total(); got != want {
			t.Errorf("%s: the records add up to %+v, the source says %+v", kind, got, want)
		}
	}
	if storeOf("b0b0b0b0000000c8") != -1 || storeOf("x") != -1 {
		t.Error("a log of no store was found")
	}
}

func TestMediansAndRatios(t *testing.T) {
	var r report
	for _, rate := range []float64{30, 10, 20} {
		r.add("reader", figures{Rate: rate, CPU: rate / 2, Records: 5})
	}
	r.add("drain-1", figures{Rate: 40, Records: 7, Lost: 2})
	r.add("drain-1", figures{Rate: 60, Records: 7})
	var b bytes.Buffer
	r.table(&b)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	for i, want := range []string{"reader 3 20 10.0 - - - - - - 5 0 1.00 1.00", "drain-1 2 50 - - - - - - - 7 2 2.50 -"} {
		if got := strings.Join(strings.Fields(lines[len(lines)-2+i]), " "); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}

func TestRefusesWhatItCannotMeasure(t *testing.T) {
	var out bytes.Buffer
	for _, args := range [][]string{{"-kind", "alert"}, {"-nonsense"}, {roleArg, "nobody", "{}"}} {
		if run(t.Context(), args, &out, &out) == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
