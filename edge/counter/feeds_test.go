package counter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/kit"
)

const token = "0123456789abcdef0123456789abcdef"

// shop runs feeds with one device for HTTP and MQTT.
type shop struct {
	*Feeds
	url string

	mu   sync.Mutex
	recs []floorwatch.Count
	now  floorwatch.Time // 0: the clock
	full bool            // Emit takes nothing
}

func (s *shop) in() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.recs {
		n += c.In
	}
	return n
}

func (s *shop) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = floorwatch.TimeOf(time.Now().Add(time.Hour))
}

func open(t *testing.T, change func(*Config)) (s *shop, stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Listen = "127.0.0.1:0"
	cfg.Devices = []Device{{
		Name: "dev", Token: config.Secret(file), Clock: ClockDevice, Topic: "shop/counter/dev",
		Series: []Series{{Name: "door", Kind: KindEvent, Door: true}},
	}}
	if change != nil {
		change(&cfg)
	}
	if cfg.MQTT.Broker == "" {
		cfg.Devices[0].Topic = ""
	}
	s = &shop{}
	s.Feeds = s.start(t, cfg, t.TempDir())
	if s.ln != nil {
		s.url = fmt.Sprintf("http://%s/counters/dev/%s", s.ln.Addr(), token)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func (s *shop) start(t *testing.T, cfg Config, dir string) *Feeds {
	t.Helper()
	f, err := New(Settings{
		Config: cfg, Dir: dir, Every: time.Second, ClientID: "test-" + filepath.Base(t.TempDir()),
		Now: func() floorwatch.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return max(s.now, floorwatch.TimeOf(time.Now()))
		},
		Emit: func(recs ...floorwatch.Record) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.full {
				return errors.New("no room")
			}
			for _, r := range recs {
				s.recs = append(s.recs, *r.(*floorwatch.Count))
			}
			return nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func post(t *testing.T, url string, body io.Reader) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func one(id string) string {
	return fmt.Sprintf(`{"counts":[{"series":"door","id":%q,"in":1}]}`, id)
}

// until polls; nothing here takes longer than a settled bucket.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(15 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

func TestPostBecomesARecord(t *testing.T) {
	t.Parallel()
	s, stop := open(t, nil)
	for i := range 3 {
		for range 2 { // each is sent twice
			if code, body := post(t, s.url, strings.NewReader(one(fmt.Sprint(i)))); code != 200 {
				t.Fatal(code, body)
			}
		}
	}
	if code, body := post(t, s.url, strings.NewReader("")); code != 200 || !strings.Contains(body, `"accepted":0`) {
		t.Errorf("connection test: %d %s", code, body)
	}
	s.settle()
	until(t, "3 people", func() bool { return s.in() == 3 })
	stop()
	if s.in() != 3 {
		t.Errorf("%d after the stop", s.in())
	}
}

// TestHostilePosts: each is answered with its status, costs nothing and counts
// nobody; after all of them a good post still counts.
func TestHostilePosts(t *testing.T) {
	t.Parallel()
	s, _ := open(t, nil)
	item := func(fields string) string { return `{"counts":[{"series":"door",` + fields + `}]}` }
	for name, tc := range map[string]struct {
		url, body string
		want      int
	}{
		"wrong token":         {strings.TrimSuffix(s.url, "f") + "0", one("x"), 404},
		"no token":            {strings.TrimSuffix(s.url, token), one("x"), 404},
		"other device":        {strings.Replace(s.url, "/dev/", "/other/", 1), one("x"), 404},
		"traversal":           {strings.Replace(s.url, "/dev/", "/..%2fdev/", 1), one("x"), 404},
		"NUL":                 {strings.Replace(s.url, "/dev/", "/dev%00/", 1), one("x"), 404},
		"oversize":            {s.url, `{"snapshot":"` + strings.Repeat("A", MaxBody) + `"}`, 413},
		"picture":             {s.url, `{"snapshot":"` + strings.Repeat("A", MaxBody-100) + `"}`, 200},
		"not JSON":            {s.url, `<Metrics SiteId="x"/>`, 400},
		"cut":                 {s.url, `{"counts":[{"series":"door","id":"x","in":1`, 400},
		"binary":              {s.url, "\x00\xff\xfe{", 400},
		"a list":              {s.url, `[1,2]`, 400},
		"deep":                {s.url, strings.Repeat("[", 100000), 400},
		"too many":            {s.url, `{"counts":[` + strings.Repeat(`{},`, 1000) + `{}]}`, 400},
		"NaN":                 {s.url, item(`"id":"x","in":NaN`), 400},
		"huge":                {s.url, item(`"id":"x","in":1e400`), 422},
		"beyond 64 bits":      {s.url, item(`"id":"x","in":99999999999999999999`), 422},
		"half a person":       {s.url, item(`"id":"x","in":0.5`), 422},
		"text":                {s.url, item(`"id":"x","in":"1"`), 422},
		"negative":            {s.url, item(`"id":"x","in":-1`), 422},
		"nobody":              {s.url, item(`"id":"x"`), 422},
		"a crowd in a moment": {s.url, item(`"id":"x","in":100000`), 422},
		"no id":               {s.url, item(`"in":1`), 422},
		"long id":             {s.url, item(`"id":"` + strings.Repeat("x", 101) + `","in":1`), 422},
		"other series":        {s.url, `{"counts":[{"series":"roof","id":"x","in":1}]}`, 422},
		"other kind":          {s.url, item(`"kind":"cumulative","at":1763755200000,"in":8000`), 200},
		"negative time":       {s.url, item(`"id":"x","in":1,"at":-5`), 422},
		"time in words":       {s.url, item(`"id":"x","in":1,"at":"now"`), 422},
		"year 9999":           {s.url, item(`"id":"x","in":1,"at":"9999-01-01T00:00:00Z"`), 422},
		"send time in words":  {s.url, `{"sent":"now","counts":[]}`, 400},
	} {
		code, body := post(t, tc.url, strings.NewReader(tc.body))
		if code != tc.want {
			t.Errorf("%s: %d %.200s, want %d", name, code, body, tc.want)
		}
		if strings.Contains(body, token) {
			t.Errorf("%s: the answer tells the token", name)
		}
	}
	resp, err := http.Get(s.url)
	if err != nil || resp.StatusCode != 405 {
		t.Errorf("GET: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	if code, body := post(t, s.url, strings.NewReader(one("good"))); code != 200 {
		t.Errorf("good: %d %s", code, body)
	}
	s.settle()
	until(t, "the good one alone", func() bool { return s.in() == 1 })
	if st := s.Stats()[0]; st.Items != 1 || st.Refused < 15 {
		t.Errorf("stats %+v", st)
	}
}

func TestFarFutureIsBookedNow(t *testing.T) {
	t.Parallel()
	s, _ := open(t, nil)
	post(t, s.url, strings.NewReader(`{"counts":[{"series":"door","id":"x","in":1,"at":"2150-01-01T00:00:00Z"}]}`))
	s.settle()
	until(t, "a record", func() bool { return s.in() == 1 })
	if s.recs[0].End > floorwatch.TimeOf(time.Now().Add(time.Minute)) || s.Stats()[0].ClockFaults != 1 {
		t.Errorf("%+v %+v", s.recs[0], s.Stats())
	}
}

func TestFloodAndAllowList(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	s, _ := open(t, nil)
	codes := map[int]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 60 {
				code, _ := post(t, s.url, strings.NewReader(one(fmt.Sprint(w, "-", i))))
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if codes[200] < burst || codes[200] > burst+200 || codes[429] == 0 || len(codes) != 2 {
		t.Errorf("answers %v", codes)
	}
	s.settle()
	until(t, "all that were answered", func() bool { return s.in() == int64(codes[200]) })

	far, _ := open(t, func(c *Config) { c.Devices[0].Allow = []string{"10.0.0.0/8", "192.168.1.5"} })
	if code, _ := post(t, far.url, strings.NewReader(one("x"))); code != 404 {
		t.Errorf("from outside the allow-list: %d", code)
	}
	near, _ := open(t, func(c *Config) { c.Devices[0].Allow = []string{"127.0.0.0/8"} })
	if code, _ := post(t, near.url, strings.NewReader(one("x"))); code != 200 {
		t.Errorf("from within the allow-list: %d", code)
	}
}

// TestDiskThatTakesNothing: a message that cannot be made durable is not
// answered as stored, and counts once when it is said again.
func TestDiskThatTakesNothing(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	s, _ := open(t, nil)
	s.Feeds.mu.Lock()
	good := s.set.Dir
	s.set.Dir = filepath.Join(good, "gone")
	s.Feeds.mu.Unlock()
	if code, body := post(t, s.url, strings.NewReader(one("x"))); code != 503 {
		t.Errorf("%d %s", code, body)
	}
	s.mu.Lock()
	s.full = true
	s.mu.Unlock()
	if err := os.Mkdir(filepath.Join(good, "gone"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, body := post(t, s.url, strings.NewReader(one("x"))); code != 200 || !strings.Contains(body, `"repeated":1`) {
		t.Errorf("%d %s", code, body)
	}
	s.settle()
	until(t, "a record that waits", func() bool { s.Feeds.mu.Lock(); defer s.Feeds.mu.Unlock(); return len(s.book.Pending) > 0 })
	s.mu.Lock()
	s.full = false
	s.mu.Unlock()
	until(t, "one person", func() bool { return s.in() == 1 })
}

func TestDamagedStateIsPutAside(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{"cut": `{"V":1,"Ser`, "empty": "", "other": `{"V":7}`, "nulls": `{"V":1,"Series":{"door":null}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := Default()
		cfg.Devices = []Device{{Name: "dev", Clock: ClockDevice, Series: []Series{{Name: "door", Kind: KindEvent}}}}
		f := new(shop).start(t, cfg, dir)
		if r, err := f.accept(f.devices["dev"], []byte(one("x")), func(error) {}); err != nil || r.Accepted != 1 {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"at least 16":  func(c *Config) { c.Devices[0].Token = config.Secret(short) },
		"no such file": func(c *Config) { c.Devices[0].Token = "/nowhere/token" },
		"listen for":   func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"tls_cert":     func(c *Config) { c.Listen, c.Cert, c.Key = "127.0.0.1:0", "/nowhere", "/nowhere" },
		"time_zone":    func(c *Config) { c.TimeZone = "Mars/Base" },
	} {
		cfg := Default()
		cfg.Devices = []Device{{Name: "dev", Clock: ClockDevice}}
		change(&cfg)
		if _, err := New(Settings{Config: cfg, Dir: t.TempDir(), Every: time.Minute}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the token: %v", err)
		}
	}
}

func publisher(t *testing.T, addr string) mqtt.Client {
	t.Helper()
	cl := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetProtocolVersion(4))
	if tok := cl.Connect(); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal("connect:", tok.Error())
	}
	t.Cleanup(func() { cl.Disconnect(100) })
	return cl
}

func publish(t *testing.T, cl mqtt.Client, retained bool, body string) {
	t.Helper()
	if tok := cl.Publish("shop/counter/dev", 1, retained, body); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal("publish:", tok.Error())
	}
}

// TestMQTT: over a real broker what is published counts once, also while the box
// is away and after the broker was restarted, and hostile messages count nobody
// and do not come again.
func TestMQTT(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := kit.Mosquitto(t, fmt.Sprintf("persistence true\npersistence_location %s/\nautosave_interval 1\n", dir))
	s, stop := open(t, func(c *Config) { c.MQTT.Broker = "tcp://" + m.Address })
	cl := publisher(t, m.Address)
	publish(t, cl, true, one("retained and old")) // comes before we subscribe, or as it is said: once or not
	until(t, "subscription", func() bool { publish(t, cl, false, ""); return s.Stats()[0].Messages > 1 })
	before := s.Stats()[0].Items
	for _, bad := range []string{`{`, "\x00\xff", `{"counts":[{"series":"door","id":"n","in":-1}]}`, strings.Repeat("x", MaxBody+1)} {
		publish(t, cl, false, bad)
	}
	publish(t, cl, true, "") // takes the retained one away
	for i := range 5 {
		publish(t, cl, false, one(fmt.Sprint(i)))
		publish(t, cl, false, one(fmt.Sprint(i)))
	}
	until(t, "5 people", func() bool { return s.Stats()[0].Items-before == 5 })
	if st := s.Stats()[0]; st.Refused != 4 {
		t.Errorf("stats %+v", st)
	}
	stop() // the box is away; its broker keeps what is said
	for i := range 5 {
		publish(t, cl, false, one(fmt.Sprint("away", i)))
	}
	again := s.start(t, s.set.Config, s.set.Dir)
	again.set.ClientID = s.set.ClientID
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- again.Run(ctx) }()
	until(t, "5 more", func() bool { return again.Stats()[0].Items == 5 })
	m.End()
	kit.Must(t, m.Start(context.Background()))
	cl = publisher(t, m.Address)
	publish(t, cl, false, one("after the broker"))
	until(t, "one more", func() bool { return again.Stats()[0].Items == 6 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOversizePacketDoesNotComeForEver: a packet that is not read costs what the
// broker kept, and no more.
func TestOversizePacketDoesNotComeForEver(t *testing.T) {
	t.Parallel()
	addr := kit.Mosquitto(t, "").Address
	s, _ := open(t, func(c *Config) { c.MQTT.Broker = "tcp://" + addr })
	cl := publisher(t, addr)
	until(t, "subscription", func() bool { publish(t, cl, false, ""); return s.Stats()[0].Messages > 0 })
	publish(t, cl, false, strings.Repeat("x", maxPacket+1))
	n := 0
	until(t, "one person", func() bool { n++; publish(t, cl, false, one(fmt.Sprint(n))); return s.Stats()[0].Items > 0 })
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		``, `{}`, one("a"), window(0, 60, 1, 2), register(5, 7, 8), `{"counts":[{"series":"s","value":-4}]}`,
		`{"sent":"2026-07-31T23:12:00-00:00","counts":[{"series":"door","kind":"interval","from":"2026-07-31 23:11:00","to":"2026-07-31T23:12:00Z","in":1}]}`,
		`{"sent":null,"counts":[null,{"series":"door","at":null,"id":"x","in":null,"out":1}]}`,
	} {
		f.Add([]byte(s), uint8(len(s)))
	}
	f.Fuzz(func(t *testing.T, data []byte, pick uint8) {
		kinds := []string{KindEvent, KindInterval, KindCumulative, KindState}
		policies := []string{ClockDevice, ClockWall, ClockReceive}
		b := newBench(t, policies[int(pick/4)%3], Series{Name: "door", Kind: kinds[pick%4], Door: true})
		first := b.say(at(61), string(data))
		if second := b.say(at(61), string(data)); strings.Trim(second, "arix") == "" && strings.Contains(second, "a") && kinds[pick%4] == KindEvent {
			t.Fatalf("an event counted twice: %s then %s", first, second)
		}
		b.told("")
		for _, c := range b.out {
			if c.In < 0 || c.Out < 0 || c.End < c.Start || c.Start <= 0 || c.Coverage < 0 || c.Coverage > 1 ||
				c.End > b.now.Add(maxSkew) || c.Occupancy != nil && *c.Occupancy < 0 {
				t.Fatalf("impossible record %+v", c)
			}
			if _, err := floorwatch.MarshalRecord(&c); err != nil {
				t.Fatal(err)
			}
		}
	})
}
