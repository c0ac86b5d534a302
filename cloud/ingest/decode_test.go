package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"floorwatch"
)

// same compares the decoder with encoding/json on one message: the envelope or
// its error, the bytes of each record, and what they say.
func same(t *testing.T, payload []byte) (quick int) {
	t.Helper()
	var d decoder
	got, recs, err := d.parse(payload)
	want, wantErr := floorwatch.ParseBatch(payload)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("%q: error %v, want %v", payload, err, wantErr)
	}
	if err != nil {
		return 0
	}
	raws := want.Records
	got.Records, want.Records = nil, nil
	if !reflect.DeepEqual(got, want) || len(recs) != len(raws) {
		t.Fatalf("%q: envelope %+v with %d records, want %+v with %d", payload, got, len(recs), want, len(raws))
	}
	for i, r := range recs {
		if !bytes.Equal(r.raw, raws[i]) {
			t.Fatalf("%q: record %d is %q, want %q", payload, i, r.raw, raws[i])
		}
		if r.rec == nil {
			continue
		}
		quick++
		rec, err := floorwatch.ParseRecord(raws[i])
		if err != nil || !reflect.DeepEqual(r.rec, rec) {
			t.Fatalf("%q: record\n%+v, want\n%+v, %v", r.raw, r.rec, rec, err)
		}
	}
	return quick
}

func envelope(recs ...string) []byte {
	return fmt.Appendf(nil, `{"v":1,"store":"s1","edge":"box","log":"00112233aabbccdd","first":7,"n":%d,"records":[%s]}`, len(recs), strings.Join(recs, ","))
}

// marshalled returns records as boxes write them.
func marshalled(t testing.TB) (out []string) {
	h := func(kind string) floorwatch.Header {
		return floorwatch.Header{
			Kind: kind, Camera: "hall", Zone: "table", ID: "排队区 7", At: t0, Rev: "aabbccddeeff", By: "motion",
			Clock: floorwatch.Clock{Boot: "c314aa13", Mono: 14247746, Unsynced: kind == "wait"},
		}
	}
	end := t0
	sum := floorwatch.Sum{N: 3, Sum: 12.345, Min: 0.001, Max: 12345678.5}
	for _, r := range []floorwatch.Record{
		&floorwatch.Stay{Header: h("stay"), Enter: t0 - 9000, Exit: &end, EnterSeen: true, SeenS: 8.12, MergedS: 1, BridgedS: 2.5, Bridges: 3, ErrorS: 0.29, Tracks: []int64{1, 22, 333}},
		&floorwatch.Stay{Header: h("stay"), Enter: t0 - 9000, Exit: &end, Tracks: []int64{}},
		&floorwatch.Stay{Header: h("stay"), Enter: t0 - 9000},
		&floorwatch.Wait{Header: h("wait"), Enter: t0 - 9000, End: &end, Outcome: "served", ServiceZone: "counter-1", Direct: true, BridgedS: 2.5, Bridges: 3, ErrorS: 0.29},
		&floorwatch.Interval{Header: h("interval"), Start: t0 - 300_000, End: t0, Coverage: 0.9999, ObservedS: 299.97, PersonS: math.Pi * 100, Stays: sum, Crossings: sum, Quality: 0.93},
		&floorwatch.Interval{Header: h("interval"), Start: t0, End: t0, Stays: sum, Waits: &sum, Served: 2, Abandoned: 1, Unknown: 4, Direct: 1},
		&floorwatch.Count{Header: h("count"), Line: "door", Start: t0 - 60_000, End: t0, In: 3, Out: 4},
		&floorwatch.Gap{Header: h("gap"), Of: "footage", From: t0 - 9000, To: &end, Cause: "stall \"x\""},
		&floorwatch.Health{Header: h("health"), Figures: map[string]float64{"a": 1.5e-7}, Notes: []string{"<&>"}},
	} {
		raw, err := floorwatch.MarshalRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(raw.JSON))
	}
	return out
}

func TestDecoderReadsWhatBoxesWrite(t *testing.T) {
	recs := marshalled(t)
	if n := same(t, envelope(recs...)); n != 6 { // the open stay, gap and health are left to encoding/json
		t.Errorf("%d of %d records were read quickly, want 6", n, len(recs))
	}
	spaced := strings.NewReplacer(`{`, "{\n ", `:`, " :\t", `,`, " ,\r\n").Replace(string(envelope(recs[3], recs[5])))
	same(t, []byte(spaced))
}

// unusual are forms on which two readers of JSON could differ.
func unusual(t testing.TB) (out [][]byte) {
	stay := marshalled(t)[0]
	for _, change := range [][2]string{
		{`"seen_s":8.12`, `"seen_s":-0`},
		{`"seen_s":8.12`, `"seen_s":08`},
		{`"seen_s":8.12`, `"seen_s":8.`},
		{`"seen_s":8.12`, `"seen_s":.5`},
		{`"seen_s":8.12`, `"seen_s":1e400`},
		{`"seen_s":8.12`, `"seen_s":1E2`},
		{`"seen_s":8.12`, `"seen_s":+1`},
		{`"seen_s":8.12`, `"seen_s":NaN`},
		{`"seen_s":8.12`, `"seen_s":0.1000000000000000055511151231257827`},
		{`"seen_s":8.12`, `"seen_s":123456789012345678.5`},
		{`"seen_s":8.12`, `"seen_s":9007199254740993`},
		{`"seen_s":8.12`, `"seen_s":0.00000000000000000000000000001`},
		{`"seen_s":8.12`, `"seen_s":99999999999999999999`},
		{`"seen_s":8.12`, `"seen_s":"8"`},
		{`"seen_s":8.12`, `"seen_s":null`},
		{`"seen_s":8.12`, `"seen_s":8.12,"seen_s":9`},
		{`"seen_s":8.12`, `"Seen_S":8.12`},
		{`"seen_s":8.12`, `"seen_s":8.12,"new":[{"a":[1,-2.5e+3,"\u00e9\"",null,true]}]`},
		{`"enter":`, `"enter":1.0,"x":`},
		{`"enter":`, `"enter":1e3,"x":`},
		{`"enter":`, `"enter":9223372036854775808,"x":`},
		{`"enter":`, `"enter":-9223372036854775808,"x":`},
		{`"kind":"stay"`, `"kind":"stay","kind":"wait"`},
		{`"kind":"stay",`, ``},
		{`"kind":"stay"`, `"KIND":"stay"`},
		{`"kind":"stay"`, `"kind":"st\u0061y"`},
		{`"kind":"stay"`, `"kind":7`},
		{`"tracks":[1,22,333]`, `"tracks":null`},
		{`"tracks":[1,22,333]`, `"tracks":[1,]`},
		{`"tracks":[1,22,333]`, `"tracks":[1,"2"]`},
		{`"tracks":[1,22,333]`, `"tracks":[ ]`},
		{`排`, "\xff"},
		{`排`, "\x00"},
		{`排`, `\n`},
		{`排`, `\ud800`},
		{`排`, `\x`},
		{`排`, "\u2028"},
		{`"enter_seen":true`, `"enter_seen":True`},
		{`"enter_seen":true`, `"enter_seen":tru`},
		{`"enter_seen":true`, `"enter_seen":1`},
		{stay, `null`},
		{stay, `[]`},
		{stay, `{}`},
		{stay, `7`},
		{stay, strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100)},
		{stay, strings.Repeat(`[`, 20000)},
		{stay, stay + `,`},
		{stay, stay + stay},
		{stay, stay[:len(stay)-1]},
		{stay, ``},
		{stay, stay + `]`},
	} {
		out = append(out, envelope(strings.Replace(stay, change[0], change[1], 1)))
	}
	whole := string(envelope(stay))
	for _, change := range [][2]string{
		{`"v":1`, `"v":2`},
		{`"v":1`, `"v":1.0`},
		{`"v":1,`, ``},
		{`"v":1`, `"V":1`},
		{`"v":1`, `"v":1,"v":1`},
		{`"v":1`, `"v":1,"later":{}`},
		{`"n":1`, `"n":2`},
		{`"n":1`, `"n":-1`},
		{`"n":1`, `"n":99999999999`},
		{`"first":7`, `"first":0`},
		{`"first":7`, `"first":-7`},
		{`"first":7`, `"first":18446744073709551615`},
		{`"first":7`, `"first":9223372036854774807`},
		{`"first":7`, `"first":9223372036854774808`},
		{`"s1"`, `"S1"`},
		{`"s1"`, `""`},
		{`"s1"`, `null`},
		{`"00112233aabbccdd"`, `"00112233AABBCCDD"`},
		{`"records":[`, `"records":null,"x":[`},
		{`"records":[`, `"records":{`},
		{`}]}`, `}]}x`},
		{`}]}`, `}]} `},
		{`}]}`, `}]`},
	} {
		out = append(out, []byte(strings.Replace(whole, change[0], change[1], 1)))
	}
	return append(out, nil, []byte("\xef\xbb\xbf"+whole), bytes.Repeat([]byte(" "), floorwatch.MaxPacket+1))
}

func TestDecoderLeavesTheUnusual(t *testing.T) {
	for _, p := range unusual(t) {
		same(t, p)
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range marshalled(f) {
		f.Add(envelope(r))
	}
	f.Add(envelope(marshalled(f)...))
	for _, p := range unusual(f) {
		if len(p) < 4096 {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) { same(t, payload) })
}

func BenchmarkDecode(b *testing.B) {
	stay := marshalled(b)[0]
	for _, n := range []int{1, 100} {
		payload := envelope(strings.Split(strings.Repeat(stay+"\n", n)[:n*(len(stay)+1)-1], "\n")...)
		b.Run(fmt.Sprint("quick/batch=", n), func(b *testing.B) {
			var d decoder
			b.ReportAllocs()
			for range b.N {
				if _, recs, err := d.parse(payload); err != nil || recs[0].rec == nil {
					b.Fatal("not read quickly")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
		b.Run(fmt.Sprint("json/batch=", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				m, err := floorwatch.ParseBatch(payload)
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range m.Records {
					if _, err := floorwatch.ParseRecord(r); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

func TestAcknowledgementsJoinWhatFollows(t *testing.T) {
	at := func(edge, log string, first uint64, n int) *job {
		return &job{store: "s", edge: edge, log: log, first: first, n: n}
	}
	got := runs([]*job{at("a", "1", 1, 2), at("b", "1", 3, 1), at("a", "1", 3, 5), at("a", "", 0, 0), at("a", "2", 8, 1), at("a", "1", 9, 1), at("a", "1", 10, 1), at("a", "1", 1, 2)})
	var text []string
	for _, r := range got {
		raw, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, r.edge+string(raw))
	}
	want := []string{
		`a{"v":1,"log":"1","first":1,"n":7}`, `b{"v":1,"log":"1","first":3,"n":1}`, `a{"v":1,"log":"2","first":8,"n":1}`,
		`a{"v":1,"log":"1","first":9,"n":2}`, `a{"v":1,"log":"1","first":1,"n":2}`,
	}
	if !reflect.DeepEqual(text, want) {
		t.Errorf("acknowledged\n%s, want\n%s", strings.Join(text, "\n"), strings.Join(want, "\n"))
	}
}

// TestAcknowledgementsTellWhatWasRefused in a form that fits what a box reads.
func TestAcknowledgementsTellWhatWasRefused(t *testing.T) {
	refused := func(n int, reason string) []Letter { return []Letter{{N: n, Reason: reason}} }
	long := strings.Repeat("厅\x00\"", 500)
	got := runs([]*job{
		{store: "s", edge: "a", log: "1", first: 1, n: 2},
		{store: "s", edge: "a", log: "1", first: 3, n: 5, letters: refused(5, "no such <box>")},
		{store: "s", edge: "a", log: "1", first: 8, n: 5, letters: refused(1, "another")},
		{store: "s", edge: "b", log: "2", first: 1, n: 1, letters: refused(1, long)},
	})
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	raw, err := got[0].Encode()
	if want := `{"v":1,"log":"1","first":1,"n":12,"refused":6,"reason":"no such <box>"}`; err != nil || string(raw) != want {
		t.Errorf("%s %v, want %s", raw, err, want)
	}
	raw, err = got[1].Encode()
	var back floorwatch.Ack
	if err != nil || len(raw) > 1<<10 || json.Unmarshal(raw, &back) != nil || back.Refused != 1 || !strings.HasPrefix(back.Reason, `厅?"厅`) {
		t.Errorf("%d bytes: %s %v", len(raw), raw, err)
	}
}
