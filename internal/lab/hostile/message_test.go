package hostile

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// stranger is a client that the broker lets say anything, as if its access list
// were missing.
type stranger struct {
	mqtt.Client
	mu   sync.Mutex
	acks []string
}

func (w *world) stranger(t *testing.T) *stranger {
	t.Helper()
	s := &stranger{}
	s.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", w.port)).
		SetUsername("s1/evil").SetPassword("right").SetProtocolVersion(4).SetAutoReconnect(false).
		SetClientID("evil-" + strings.ReplaceAll(t.Name(), "/", "-")))
	s.wait(t, s.Connect())
	t.Cleanup(func() { s.Disconnect(0) })
	s.wait(t, s.Subscribe(floorwatch.Topic("s1", "evil", floorwatch.LeafAck), 1, func(_ mqtt.Client, m mqtt.Message) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acks = append(s.acks, string(m.Payload()))
	}))
	return s
}

func (s *stranger) wait(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(kit.Patience) {
		t.Fatal("the broker does not answer")
	}
	kit.Must(t, token.Error())
}

func (s *stranger) acked(first int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.acks {
		var ack floorwatch.Ack
		if json.Unmarshal([]byte(a), &ack) == nil && int(ack.First) <= first && first < int(ack.First)+ack.N {
			return true
		}
	}
	return false
}

// badMessage is a batch with a good record and whatever change makes of it.
type badMessage struct {
	name   string
	change func(text string) string // of the batch
	topic  string                   // "": the stranger's own
	reason string
	whole  bool // refused as a whole; else the good record is stored
	silent bool // nobody can be told that it was refused
}

const evilLog = "00000000000000e5"

// evilStay is a record that is taken.
func evilStay(id string, now floorwatch.Time) string {
	return fmt.Sprintf(`{"kind":"stay","camera":"cam","zone":"zone","id":"%s","at":%d,"enter":%d,"exit":%d,"enter_seen":true,"exit_seen":true,"seen_s":8,"merged_s":0,"tracks":[1]}`,
		id, now, now-10000, now-1000)
}

// spoil replaces a part of the second record of a batch.
func spoil(old, with string) func(string) string {
	return func(text string) string {
		i := strings.LastIndex(text, `{"kind":`)
		return text[:i] + strings.Replace(text[i:], old, with, 1)
	}
}

// edit replaces a part of the envelope.
func edit(old, with string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, with, 1) }
}

func badMessages(now floorwatch.Time) []badMessage {
	at := fmt.Sprintf(`"at":%d`, now)
	exit := fmt.Sprintf(`"exit":%d`, now-1000)
	camera, id := `"camera":"cam"`, `"id":"bad"`
	return []badMessage{
		{name: "oversized", change: edit(`"v":1`, `"v":1,"x":"`+strings.Repeat("x", 2<<20)+`"`), reason: `batch has \d+ bytes, limit`, whole: true, silent: true},
		{name: "oversized record", change: spoil(`"kind":"stay"`, `"kind":"stay","x":"`+strings.Repeat("x", 300<<10)+`"`), reason: `record has \d+ bytes, limit`},
		{name: "not JSON", change: func(string) string { return "\x00\xff<xml/>" }, reason: `parse batch`, whole: true, silent: true},
		{name: "empty", change: func(string) string { return "" }, reason: `parse batch`, whole: true, silent: true},
		{name: "cut", change: func(s string) string { return s[:len(s)/2] }, reason: `parse batch`, whole: true, silent: true},
		{name: "nested ten thousand deep", change: func(string) string { return strings.Repeat("[", 100_000) }, reason: `parse batch`, whole: true, silent: true},
		{name: "unknown version", change: edit(`"v":1`, `"v":7`), reason: `batch has version 7, this cloud speaks 1`, whole: true, silent: true},
		{name: "more records than it says", change: edit(`"n":2`, `"n":1`), reason: `batch says n=1 and holds 2 records`, whole: true, silent: true},
		{name: "unknown store", topic: floorwatch.Topic("nowhere", "evil", floorwatch.LeafUp), change: edit(`"store":"s1"`, `"store":"nowhere"`), reason: `box evil of store nowhere is not registered with the cloud: floorwatch-cloud site add`, whole: true, silent: true},
		{name: "unknown box", topic: floorwatch.Topic("s1", "ghost", floorwatch.LeafUp), change: edit(`"edge":"evil"`, `"edge":"ghost"`), reason: `box ghost of store s1 is not registered with the cloud: floorwatch-cloud site add`, whole: true, silent: true},
		{name: "another box's name", change: edit(`"edge":"evil"`, `"edge":"sources"`), reason: `batch from s1/sources came on the topic of s1/evil`, whole: true},
		{name: "traversal in the topic", topic: "floorwatch/v1/s1/../up", change: edit("", ""), reason: `topic .* is not floorwatch/v1`, whole: true, silent: true},
		{name: "unknown kind", change: spoil(`"kind":"stay"`, `"kind":"spell"`), reason: `unknown kind`},
		{name: "NaN", change: spoil(`"seen_s":8`, `"seen_s":NaN`), reason: `parse batch`, whole: true, silent: true},
		{name: "infinite", change: spoil(`"seen_s":8`, `"seen_s":1e999`), reason: `parse stay record`},
		{name: "negative", change: spoil(`"seen_s":8`, `"seen_s":-8`), reason: `seen_s is -8, want 0 to`},
		{name: "backwards", change: spoil(exit, `"exit":1000`), reason: `runs backwards`},
		{name: "far future", change: spoil(at, fmt.Sprintf(`"at":%d`, now.Add(time.Hour))), reason: `ahead of the clock`},
		{name: "far past", change: spoil(at, `"at":1000`), reason: `older than the retention`},
		{name: "beyond every clock", change: spoil(at, `"at":9223372036854775807`), reason: `ahead of the clock`},
		{name: "camera with traversal", change: spoil(camera, `"camera":"../../etc/passwd"`), reason: `camera .* a name is`},
		{name: "camera with NUL", change: spoil(camera, `"camera":"a\u0000b"`), reason: `camera .* a name is`},
		{name: "camera in capitals beyond ASCII", change: spoil(camera, `"camera":"ÇÄM"`), reason: `camera .* a name is`},
		{name: "id with NUL", change: spoil(id, `"id":"a\u0000b"`), reason: `id .* holds a control character, or bytes that are no UTF-8`},
		{name: "id with a line break", change: spoil(id, `"id":"a\nstay,store=s2 id=1"`), reason: `id .* holds a control character, or bytes that are no UTF-8`},
		{name: "id in an unknown encoding", change: spoil(id, "\"id\":\"\xe6\x8e\x92\xff\xfe\""), reason: `id .* holds a control character, or bytes that are no UTF-8`},
		{name: "id of half a character", change: spoil(id, `"id":"\ud800"`), reason: `id .* holds a control character, or bytes that are no UTF-8`},
		{name: "a point that InfluxDB refuses", change: func(s string) string {
			i := strings.LastIndex(s, `{"kind":`)
			return s[:i] + fmt.Sprintf(`{"kind":"health","id":"bad","at":%d,"figures":{"evil":1}}]}`, now)
		}, reason: `field type conflict`},
	}
}

// messages sends each, and wants it refused with its reason, counted, settled
// where anybody can be told, and the good record beside it stored.
func (w *world) messages(t *testing.T) {
	const letters = "floorwatch_ingest_dead_letters_total"
	now := floorwatch.TimeOf(time.Now())
	// The field exists already, as a text.
	w.write(t, fmt.Sprintf(`health,store=s1,edge=evil f_evil="text" %d000000`, now))
	s := w.stranger(t)
	good := []string{"../../../etc/passwd"} // an id is no path, so it is one like others
	s.wait(t, s.Publish(floorwatch.Topic("s1", "evil", floorwatch.LeafUp), 1, false, fmt.Sprintf(
		`{"v":1,"store":"s1","edge":"evil","log":"%s","first":1001,"n":1,"records":[%s]}`, evilLog, evilStay(good[0], now))))
	for i, m := range badMessages(now) {
		first := 1 + 2*i
		id := fmt.Sprintf("good-%d", i)
		text := fmt.Sprintf(`{"v":1,"store":"s1","edge":"evil","log":"%s","first":%d,"n":2,"records":[%s,%s]}`,
			evilLog, first, evilStay(id, now), evilStay("bad", now))
		topic := m.topic
		if topic == "" {
			topic = floorwatch.Topic("s1", "evil", floorwatch.LeafUp)
		}
		if !m.whole {
			good = append(good, id)
		}
		t.Run(m.name, func(t *testing.T) {
			written, before := w.cloud.at(letters)
			s.wait(t, s.Publish(topic, 1, false, m.change(text)))
			says := regexp.MustCompile(`records refused; floorwatch-cloud dead-letters list shows them.*` + m.reason)
			kit.Wait(t, "the log to say "+says.String(), func() bool { return says.MatchString(w.cloud.Output()[written:]) })
			kit.Wait(t, letters+" to move", func() bool { return w.cloud.figure(letters) > before })
			if !m.silent {
				kit.Wait(t, "the acknowledgement", func() bool { return s.acked(first) })
			}
		})
	}
	w.watched(t, s)
	kept := influxdb.Stored(t, w.database)
	for _, id := range good {
		if n := kept[fmt.Sprintf("stay cam/zone %s %d", id, now)]; n != 1 {
			t.Errorf("the good record %s beside a bad one is %d times in InfluxDB, want once", id, n)
		}
	}
}

// watched sends states and live figures that cannot be shown. They are told
// together.
func (w *world) watched(t *testing.T, s *stranger) {
	const ignored = "floorwatch_watch_ignored_total"
	evil := func(leaf ...string) string { return floorwatch.Topic("s1", "evil", leaf...) }
	all := [][2]string{
		{evil("state"), "\x00"},
		{evil("state"), `{"v":9,"state":"online","t":1}`},
		{evil("state"), strings.Repeat("x", 5<<10)},
		{floorwatch.Topic("s2", "evil", "state"), `{"v":1,"state":"online","t":1}`},
		{evil("live", "zone"), `{"v":1,"camera":"../x","zone":"zone"}`},
		{evil("live", "zone"), `{"v":1,"camera":"cam","zone":"other"}`},
		{evil("live", "zone"), `{"v":1,"camera":"cam","zone":"zone","t":1e400}`},
	}
	before := max(w.cloud.figure(ignored), 0)
	for _, m := range all {
		s.wait(t, s.Publish(m[0], 1, false, m[1]))
	}
	kit.Wait(t, "all to be counted", func() bool { return w.cloud.figure(ignored) >= before+float64(len(all)) })
	if says := "a state or live message is not shown; check the box that sent it"; !strings.Contains(w.cloud.Output(), says) {
		t.Errorf("the log does not say %q", says)
	}
}

// acknowledgements sends a box what the cloud never would.
func (w *world) acknowledgements(t *testing.T) {
	const ignored = "floorwatch_uplink_ignored_acks_total"
	s := w.stranger(t)
	topic := floorwatch.Topic("s1", "sources", floorwatch.LeafAck)
	for _, m := range [][2]string{
		{"\x00\xff", `parse acknowledgement`},
		{`{"v":9,"log":"00000000000000e5","first":1,"n":1}`, `version 9, want 1`},
		{`{"v":1,"log":"00000000000000e5","first":1,"n":1000000}`, `which were not sent`},
		{`{"v":1,"log":"../../x","first":1,"n":-5}`, `which were not sent`},
		{`{"v":1,"log":"00000000000000e5","first":18446744073709551615,"n":5}`, `which were not sent`},
		{strings.Repeat("x", 2<<10), `it has 2048 bytes, limit`},
	} {
		written, before := w.sources.at(ignored)
		s.wait(t, s.Publish(topic, 1, false, m[0]))
		says := regexp.MustCompile(`acknowledgement ignored.*` + m[1])
		kit.Wait(t, says.String(), func() bool { return says.MatchString(w.sources.Output()[written:]) })
		kit.Wait(t, ignored, func() bool { return w.sources.figure(ignored) > before })
	}
	good := w.sources.figure(acked)
	kit.Wait(t, acked+" to grow", func() bool { return w.sources.figure(acked) > good })
}
