package apart

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/cloud/site"
	"floorwatch/cloud/vault"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"
	"floorwatch/internal/lab/kit/influxdb"
)

// networks are three: the box and the cloud each see the broker (10.77.1.1 and
// 10.77.2.1) and not each other.
type networks struct{ box, broker, cloud *kit.Network }

func newNetworks(t *testing.T) networks {
	t.Helper()
	kit.Superuser(t, "running the programs in networks of their own")
	var n networks
	for _, p := range []**kit.Network{&n.box, &n.broker, &n.cloud} {
		made, err := kit.NewNetwork(t.Context())
		if err != nil {
			kit.Missing(t, fmt.Sprintf("this machine lets us make no networks (CAP_SYS_ADMIN is needed), so the programs are not run apart: %v", err))
		}
		t.Cleanup(made.End)
		*p = made
	}
	kit.Must(t, n.box.Join(n.broker, "to-broker", "10.77.1.2/24", "to-box", "10.77.1.1/24"))
	kit.Must(t, n.cloud.Join(n.broker, "to-broker", "10.77.2.2/24", "to-cloud", "10.77.2.1/24"))
	return n
}

// deployment is box, broker and cloud, each in its network.
type deployment struct {
	net      networks
	dir      string
	film     string
	programs string
	broker   *kit.Process
	agent    *kit.Process
	cloud    *kit.Process
	box, hub *http.Client
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	for _, name := range []string{"influxd", "mosquitto", "mosquitto_passwd", "ffmpeg"} {
		kit.Tool(t, name)
	}
	d := &deployment{net: newNetworks(t), dir: t.TempDir(), film: kit.Film(t), programs: kit.Build(t)}
	d.box, d.hub = d.net.box.Client(), d.net.cloud.Client()
	d.configure(t)
	return d
}

// configure enrols the box as a store would: its key goes into the registry, its
// user into the broker's list.
func (d *deployment) configure(t *testing.T) {
	t.Helper()
	kit.Write(t, d.dir+"/edge-password", "edge\n")
	kit.Write(t, d.dir+"/cloud-password", "cloud\n")
	kit.Write(t, d.dir+"/edge.yaml", `
store: s1
edge: box
data: `+d.dir+`/box
interval: 5s
broker: {url: "tls://10.77.1.1:8883", ca: `+d.dir+`/ca.crt, password_file: `+d.dir+`/edge-password}
footage: {segment: 10s, max_bytes: 500MB}
cameras:
  - name: film
    source: `+d.film+`
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
broker: {url: "tls://10.77.2.1:8884", ca: `+d.dir+`/ca.crt, password_file: `+d.dir+`/cloud-password}
influx: {child: true}
`)
	kit.Must(t, halls.Register(t.Context(), d.dir+"/cloud", halls.One("s1", map[string]site.Key{"box": halls.Key(key)})))
	newAuthority(t, d.dir).issue(t, "server", "10.77.1.1", "10.77.2.1")
	brokerFolder(t, d.dir, registry("box"), map[string]string{"s1/box": "edge"},
		"persistence false", "persistence true\npersistence_location "+d.dir+"/mosquitto/\nautosave_interval 1")
}

func (d *deployment) startBroker(t *testing.T) {
	t.Helper()
	kit.Must(t, os.MkdirAll(d.dir+"/mosquitto", 0o700))
	d.broker = kit.Run(t, kit.Program{Network: d.net.broker, Name: kit.Tool(t, "mosquitto"), Args: []string{"-c", d.dir + "/mosquitto.conf"}})
}

func (d *deployment) startCloud(t *testing.T) {
	t.Helper()
	d.cloud = kit.Run(t, kit.Program{Network: d.net.cloud, Name: d.programs + "/floorwatch-cloud", Args: []string{"-config", d.dir + "/cloud.yaml"}})
}

func (d *deployment) startAgent(t *testing.T) {
	t.Helper()
	d.agent = kit.Run(t, kit.Program{Network: d.net.box, Name: d.programs + "/floorwatch-edge", Args: []string{"-config", d.dir + "/edge.yaml", "-ledger", d.dir + "/ledger"}})
}

// edgeFigure reads one of the box's figures, -1 while there is none.
func (d *deployment) edgeFigure(name string) float64 {
	all, _ := kit.ReadFigures(context.Background(), d.box, "127.0.0.1:9105")
	return all.Get(name)
}

// more waits until a figure of the box has grown by n.
func (d *deployment) more(t *testing.T, name string, n float64) {
	t.Helper()
	before := d.edgeFigure(name)
	kit.Wait(t, fmt.Sprintf("%s to grow by %g", name, n), func() bool { return d.edgeFigure(name) >= before+n })
}

// killCamera kills the agent's camera worker with -9.
func (d *deployment) killCamera(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	kit.Must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		var pid, parent int
		var comm, state string
		if _, err := fmt.Sscanf(string(b), "%d %s %s %d", &pid, &comm, &state, &parent); err == nil &&
			parent == d.agent.PID() && strings.HasPrefix(comm, "(floorwatch-cam") {
			kit.Must(t, unix.Kill(pid, unix.SIGKILL))
			return
		}
	}
	t.Fatal("the agent has no camera worker")
}

// TestProgramsApart kills the camera worker, the cloud, and the broker with its
// disk, one after the other while people are counted, and then finds every
// record of the box's ledger in InfluxDB and the index of footage, once.
func TestProgramsApart(t *testing.T) {
	d := deploy(t)
	d.startBroker(t)
	d.startCloud(t)
	d.startAgent(t)
	const acked, appended = "floorwatch_uplink_acked_records_total", "floorwatch_outbox_appended_total"
	kit.Wait(t, "the first records to be acknowledged", func() bool { return d.edgeFigure(acked) >= 3 })

	d.killCamera(t)
	d.more(t, `floorwatch_camera_opens_total{camera="film"}`, 1)

	kit.Must(t, d.cloud.Kill())
	d.more(t, appended, 2) // the broker takes them, and nobody is there to hear
	kit.Must(t, d.broker.Kill())
	kit.Must(t, os.RemoveAll(d.dir+"/mosquitto"))
	kit.Wait(t, "the box to see that its broker is gone", func() bool { return d.edgeFigure("floorwatch_uplink_connected") == 0 })
	d.more(t, appended, 2) // and now not even a broker
	d.startCloud(t)
	d.startBroker(t)
	kit.Wait(t, "what waited to be acknowledged", func() bool { return d.edgeFigure("floorwatch_outbox_records") == 0 })
	d.more(t, acked, 1)
	d.checkFigures(t)

	kit.Must(t, d.agent.Quit(kit.Patience))
	d.checkStopped(t)
	kit.Must(t, d.cloud.Quit(kit.Patience))
	d.compare(t)
}

func (d *deployment) checkFigures(t *testing.T) {
	t.Helper()
	box, err := kit.ReadFigures(t.Context(), d.box, "127.0.0.1:9105")
	kit.Must(t, err)
	cloud, err := kit.ReadFigures(t.Context(), d.hub, "127.0.0.1:8080")
	kit.Must(t, err)
	for name, want := range map[string]float64{
		"floorwatch_uplink_connected": 1, `floorwatch_camera_watching{camera="film"}`: 1,
		"floorwatch_outbox_dropped_total": 0, "floorwatch_outbox_lost_total": 0, "floorwatch_uplink_connects_total": 2,
	} {
		if got, ok := box[name]; !ok || got != want {
			t.Errorf("box: %s is %g (there: %t), want %g", name, got, ok, want)
		}
	}
	for name, want := range map[string]float64{
		"floorwatch_boxes": 1, "floorwatch_boxes_online": 1, `floorwatch_box_online{edge="box",store="s1"}`: 1,
		"floorwatch_influx_up": 1, "floorwatch_dead_letters": 0,
	} {
		if got, ok := cloud[name]; !ok || got != want {
			t.Errorf("cloud: %s is %g (there: %t), want %g", name, got, ok, want)
		}
	}
}

// checkStopped: a box that was stopped is known to have stopped.
func (d *deployment) checkStopped(t *testing.T) {
	t.Helper()
	kit.Wait(t, "the cloud to hear that the box stopped", func() bool {
		all, _ := kit.ReadFigures(t.Context(), d.hub, "127.0.0.1:8080")
		return all.Get("floorwatch_boxes_online") == 0
	})
}

// compare holds the box's ledger against what is stored.
func (d *deployment) compare(t *testing.T) {
	t.Helper()
	ledger, segments := influxdb.ReadLedger(t, d.dir+"/ledger")
	stored := influxdb.StoredBelow(t, d.dir+"/cloud/influxdb")
	kinds := map[string]int{}
	for key, n := range ledger {
		kind, _, _ := strings.Cut(key, " ")
		kinds[kind]++
		if n != 1 || stored[key] != 1 {
			t.Errorf("%s: %d times in the ledger, %d times in InfluxDB, want once", key, n, stored[key])
		}
	}
	for key := range stored {
		if ledger[key] == 0 {
			t.Errorf("%s is in InfluxDB and not in the ledger", key)
		}
	}
	for _, kind := range []string{floorwatch.KindInterval, floorwatch.KindStay, floorwatch.KindGap, floorwatch.KindHealth} {
		if kinds[kind] == 0 {
			t.Errorf("the run gave no %s record, so it shows nothing for them", kind)
		}
	}
	index, err := vault.OpenIndex(d.dir + "/cloud/vault.sqlite")
	kit.Must(t, err)
	defer func() { kit.Must(t, index.Close()) }()
	now := floorwatch.TimeOf(time.Now())
	found, err := index.Segments(t.Context(), "s1", "box", "film", now.Add(-time.Hour), now.Add(time.Hour))
	kit.Must(t, err)
	var names []string
	for _, s := range found {
		names = append(names, s.SHA256)
	}
	slices.Sort(names)
	slices.Sort(segments)
	if len(segments) == 0 || !slices.Equal(names, segments) {
		t.Errorf("%d segments in the ledger, %d in the index", len(segments), len(names))
	}
	t.Logf("once each: %v, %d segments", kinds, len(segments))
}
