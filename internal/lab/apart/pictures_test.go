package apart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/site"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"
	"floorwatch/internal/lab/webtest"

	"github.com/chromedp/chromedp"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// three are box, broker and cloud as three programs on one network, where the box
// uploads what it records.
type three struct {
	dir, page, programs string
	broker              *kit.Broker
	agent, cloud        *kit.Process
}

func newThree(t *testing.T) *three {
	t.Helper()
	for _, name := range []string{"influxd", "mosquitto", "ffmpeg"} {
		kit.Tool(t, name)
	}
	film := kit.Film(t)
	d := &three{dir: t.TempDir(), programs: kit.Build(t), broker: kit.Mosquitto(t, "")}
	address := fmt.Sprintf("127.0.0.1:%d", kit.FreePort(t))
	d.page = "http://" + address
	kit.Write(t, d.dir+"/password", "any\n")
	kit.Write(t, d.dir+"/edge.yaml", `
store: s1
edge: box
data: `+d.dir+`/box
metrics: ""
interval: 5s
broker: {url: "tcp://`+d.broker.Address+`", password_file: `+d.dir+`/password}
footage: {segment: 10s, max_bytes: 500MB}
backup: {url: "`+d.page+`", policy: all}
cameras:
  - name: film
    source: `+film+`
    detector: motion
    picture: {width: 768, height: 576}
    zones:
      - {name: crossing, bridge: 2s, polygon: [[300, 205], [560, 205], [560, 330], [300, 330]]}
      - {name: right-road, bridge: 2s, polygon: [[560, 180], [760, 180], [760, 330], [560, 330]]}
`)
	key, err := exec.Command(d.programs+"/floorwatch-edge", "key", "-config", d.dir+"/edge.yaml").Output()
	kit.Must(t, err)
	kit.Write(t, d.dir+"/cloud.yaml", `
data: `+d.dir+`/cloud
broker: {url: "tcp://`+d.broker.Address+`", password_file: `+d.dir+`/password}
influx: {child: true}
pages: {listen: "`+address+`"}
`)
	kit.Must(t, halls.Register(t.Context(), d.dir+"/cloud", halls.One("s1", map[string]site.Key{"box": halls.Key(key)})))
	return d
}

func (d *three) startCloud(t *testing.T) {
	t.Helper()
	d.cloud = kit.Run(t, kit.Program{Name: d.programs + "/floorwatch-cloud", Args: []string{"-config", d.dir + "/cloud.yaml"}})
	kit.Wait(t, "the page", func() bool { return kit.Answers(strings.TrimPrefix(d.page, "http://")) })
}

func (d *three) get(t *testing.T, path string) (*http.Response, []byte) {
	t.Helper()
	res, err := http.Get(d.page + path)
	kit.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	kit.Must(t, err)
	return res, b
}

// still returns the picture that the page shows, when it was taken, and why there
// is none that is newer.
func (d *three) still(t *testing.T) (jpeg []byte, taken time.Time, why string) {
	t.Helper()
	res, b := d.get(t, "/api/still.jpg")
	why = res.Header.Get("Floorwatch-Why")
	if res.StatusCode != http.StatusOK {
		return nil, taken, why
	}
	taken, err := time.Parse(time.RFC3339Nano, res.Header.Get("X-Capture-Time"))
	kit.Must(t, err)
	return b, taken, why
}

// stay returns one of the film's people that is long enough to be seen in a browser
// on a busy machine.
func (d *three) stay(t *testing.T) (s floorwatch.Stay) {
	t.Helper()
	kit.Wait(t, "a stay", func() bool {
		_, b := d.get(t, "/api/stays")
		var got struct{ Stays []floorwatch.Stay }
		if json.Unmarshal(b, &got) != nil {
			return false
		}
		i := slices.IndexFunc(got.Stays, func(x floorwatch.Stay) bool { return x.Exit.Sub(x.Enter) > 3*time.Second && x.Bridges == 0 })
		if i >= 0 {
			s = got.Stays[i]
		}
		return i >= 0
	})
	return s
}

// clip asks for a stay, a little more of it each time, so that nothing comes from
// what was asked before; wanted counts the boxes of the stay's own people.
func (d *three) clip(t *testing.T, s floorwatch.Stay, more time.Duration) (status, wanted int, missing string) {
	t.Helper()
	var ids []string
	for _, id := range s.Tracks {
		ids = append(ids, fmt.Sprint(id))
	}
	q := url.Values{
		"from": {fmt.Sprint(int64(s.Enter.Add(-more)))}, "to": {fmt.Sprint(int64(*s.Exit))}, "at": {fmt.Sprint(int64(s.Enter))}, "tracks": {strings.Join(ids, ",")},
	}
	res, b := d.get(t, "/api/clip?"+q.Encode())
	var got struct {
		Missing string
		Frames  []struct{ People []struct{ Wanted bool } }
	}
	if res.StatusCode == http.StatusOK {
		kit.Must(t, json.Unmarshal(b, &got))
	}
	for _, f := range got.Frames {
		for _, p := range f.People {
			if p.Wanted {
				wanted++
			}
		}
	}
	return res.StatusCode, wanted, got.Missing
}

// counter counts what goes over the broker about pictures.
type counter struct{ commands, replies, bytes atomic.Int64 }

func (d *three) count(t *testing.T) *counter {
	t.Helper()
	n := &counter{}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + d.broker.Address).SetProtocolVersion(4).SetClientID("counter"))
	if token := c.Connect(); !token.WaitTimeout(kit.Patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	heard := c.SubscribeMultiple(map[string]byte{floorwatch.TopicRoot + "/+/+/cmd": 0, floorwatch.TopicRoot + "/+/+/reply": 0}, func(_ mqtt.Client, m mqtt.Message) {
		n.bytes.Add(int64(len(m.Payload())))
		if strings.HasSuffix(m.Topic(), "/cmd") {
			n.commands.Add(1)
		} else {
			n.replies.Add(1)
		}
	})
	if !heard.WaitTimeout(kit.Patience) || heard.Error() != nil {
		t.Fatal(heard.Error())
	}
	return n
}

// TestPicturesOfABoxElsewhere: the still comes from the box when somebody looks,
// and nothing goes over the line when nobody does; when the box has gone its last
// picture stays and says so, and a clip still has its people's boxes, also after
// the cloud was started again.
func TestPicturesOfABoxElsewhere(t *testing.T) {
	d := newThree(t)
	d.startCloud(t)
	d.agent = kit.Run(t, kit.Program{Name: d.programs + "/floorwatch-edge", Args: []string{"-config", d.dir + "/edge.yaml"}})
	file := filepath.Join(d.dir, "box/stills/film.jpg")
	kit.Wait(t, "the box's first picture", func() bool { _, err := os.Stat(file); return err == nil })
	began := time.Now()
	kit.Wait(t, "the still", func() bool { jpeg, _, _ := d.still(t); return jpeg != nil })
	t.Logf("the still is on the page %d ms after it was on the box", time.Since(began).Milliseconds())
	jpeg, taken, why := d.still(t)
	if !bytes.HasPrefix(jpeg, []byte("\xff\xd8\xff")) || time.Since(taken).Abs() > time.Minute || why != "" {
		t.Errorf("%d bytes of %s, %q", len(jpeg), taken, why)
	}

	s := d.stay(t)
	d.checkViewers(t)
	kit.Wait(t, "the stay's footage in the vault", func() bool { status, _, _ := d.clip(t, s, 0); return status == http.StatusOK })
	if _, wanted, missing := d.clip(t, s, time.Second); wanted == 0 || missing != "" {
		t.Errorf("the stay has %d boxes, missing: %q", wanted, missing)
	}
	kit.Wait(t, "lines in the vault", func() bool { all, _ := filepath.Glob(d.dir + "/cloud/lines/*/*"); return len(all) > 0 })
	d.look(t, s, "online", "")

	kit.Must(t, d.agent.Quit(kit.Patience))
	kit.Wait(t, "the still to be old", func() bool { _, _, why := d.still(t); return why == "away" })
	jpeg, taken, _ = d.still(t)
	<-time.After(1500 * time.Millisecond) // longer than a failure is kept
	if again, then, why := d.still(t); len(jpeg) == 0 || !bytes.Equal(again, jpeg) || !then.Equal(taken) || why != "away" {
		t.Errorf("the last picture changes while its box is away: %s, then %s, %q", taken, then, why)
	}
	if status, wanted, missing := d.clip(t, s, 500*time.Millisecond); status != http.StatusOK || wanted == 0 || missing != "" {
		t.Errorf("without the box: %d, %d boxes, missing %q", status, wanted, missing)
	}
	d.look(t, s, "away", "!document.querySelector('#still-empty').hidden && document.querySelector('#still.old') !== null")

	kit.Must(t, d.cloud.Quit(kit.Patience))
	d.startCloud(t)
	kit.Wait(t, "the cloud to know its stays", func() bool { res, _ := d.get(t, "/api/stays"); return res.StatusCode == http.StatusOK })
	if status, wanted, missing := d.clip(t, s, 250*time.Millisecond); status != http.StatusOK || wanted == 0 || missing != "" {
		t.Errorf("after a new start: %d, %d boxes, missing %q", status, wanted, missing)
	}
	kit.Wait(t, "the cloud to hear of the box", func() bool { jpeg, _, why := d.still(t); return jpeg == nil && why == "away" })
}

// checkViewers has 200 look at once, and then nobody.
func (d *three) checkViewers(t *testing.T) {
	t.Helper()
	<-time.After(5 * time.Second) // what was asked for before is no longer fresh
	n := d.count(t)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			res, err := http.Get(d.page + "/api/still.jpg")
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("a viewer sees %s", res.Status)
			}
		})
	}
	began := time.Now()
	all.Wait()
	most := 1 + int64(time.Since(began)/(4*time.Second)) // a slow machine takes longer than a still is fresh
	if got := n.commands.Load(); got < 1 || got > most {
		t.Errorf("200 viewers in %s are %d commands, want 1 to %d", time.Since(began), got, most)
	}
	kit.Wait(t, "the reply", func() bool { return n.replies.Load() > 0 })
	t.Logf("200 viewers: %d command(s), %d bytes over the broker", n.commands.Load(), n.bytes.Load())
	before := n.bytes.Load()
	<-time.After(12 * time.Second)
	if got := n.bytes.Load() - before; got != 0 {
		t.Errorf("nobody looks, and %d bytes go over the broker in 12 s", got)
	}
}

// look opens the page as people do, plays a clip with the boxes of its people, and
// takes pictures of it where FLOORWATCH_SHOTS names a folder.
func (d *three) look(t *testing.T, s floorwatch.Stay, name, also string) {
	t.Helper()
	ctx := webtest.Browser(t)
	shot := func(what string) {
		dir := os.Getenv("FLOORWATCH_SHOTS")
		if dir == "" {
			return
		}
		var png []byte
		webtest.Run(t, ctx, "screenshot", chromedp.CaptureScreenshot(&png))
		kit.Must(t, os.WriteFile(filepath.Join(dir, name+"-"+what+".png"), png, 0o600))
	}
	webtest.Run(t, ctx, "open the page", chromedp.EmulateViewport(1440, 900), chromedp.Navigate(d.page+"/?lang=zh"))
	webtest.Until(t, ctx, `!document.querySelector("#still-img").hidden && document.querySelectorAll("#overlay polygon").length === 4`)
	if also != "" {
		webtest.Until(t, ctx, also)
	}
	item := fmt.Sprintf(`document.querySelector("#stays li[data-key='%s/%s'] .play")`, s.Zone, s.ID)
	webtest.Until(t, ctx, item+` !== null`)
	shot("zh-1440")
	webtest.Run(t, ctx, "English", chromedp.Click("#lang"))
	shot("en-1440")
	webtest.Run(t, ctx, "play the stay", chromedp.Evaluate(item+`.click()`, nil))
	webtest.Until(t, ctx, `document.querySelector("#video").currentTime > 0.5`)
	webtest.Run(t, ctx, "slowly", chromedp.Evaluate(`document.querySelector("#video").playbackRate = 0.25`, nil))
	webtest.Until(t, ctx, `(() => { const c = document.querySelector("#boxes");
		if (!c.width || !c.height) return false;
		const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		for (let i = 0; i < d.length; i += 4) if (d[i] > 240 && d[i + 1] > 190 && d[i + 2] < 60 && d[i + 3] > 240) return true;
		return false; })()`) // the yellow of the wanted person
	shot("clip-en-1440")
	webtest.Run(t, ctx, "phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	shot("clip-en-390")
	webtest.Run(t, ctx, "close", chromedp.KeyEvent("\x1b"), chromedp.Evaluate(`document.querySelector("#lang").click()`, nil))
	webtest.Until(t, ctx, `document.documentElement.scrollWidth <= 390`)
	shot("zh-390")
}
