package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/cloud/broker"
	"floorwatch/edge/relay"
	"floorwatch/internal/finding"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/program"
)

const doctorConfig = `store: shop
edge: box
data: %[1]s/data
models: %[1]s
metrics: ""
broker: {url: %[2]q, password_file: %[1]s/password}
footage: {max_bytes: 1GB}
cameras:
  - name: lobby
    label: {zh: 大厅, en: Lobby}
    source: %[3]q
    detector: motion
    picture: {width: 320, height: 240}
    zones:
      - {name: queue, role: queue, label: {zh: 排队区, en: Queue}, polygon: [[0, 0], [320, 0], [320, 240]]}
  - name: gone
    label: {zh: 门, en: Door}
    source: rtsp://127.0.0.1:9/none
    username: admin
    password_file: %[1]s/camera
    detector: motion
    zones:
      - {name: door, label: {zh: 门, en: Door}, polygon: [[0, 0], [320, 0], [320, 240]]}
`

// doctorBox writes a box's configuration and returns its path. Its cloud is a
// client that acknowledges what comes.
func doctorBox(t *testing.T) string {
	t.Helper()
	kit.UseTools(t, "ffmpeg", "ffprobe", "floorwatch-camera")
	dir := t.TempDir()
	film := filepath.Join(dir, "film.mp4")
	cmd := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10", "-t", "30", "-c:v", "libx264", "-g", "30", "-sc_threshold", "0", "-bf", "0", "-pix_fmt", "yuv420p", film)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make a film: %v %s", err, out)
	}
	rel, err := relay.New(relay.Settings{Source: film})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Settings{Edges: map[string]string{"shop/box": "secret of the box"}, CloudPassword: "cloud"})
	if err != nil {
		t.Fatal(err)
	}
	background(t, rel.Run)
	background(t, b.Run)
	for name, text := range map[string]string{
		"password": "secret of the box\n", "camera": "secret of the camera\n", "edge.yaml": fmt.Sprintf(doctorConfig, dir, b.URL(), rel.URL()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	acknowledge(t, b.URL())
	select {
	case <-rel.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the camera gave no stream within 30 s")
	}
	return filepath.Join(dir, "edge.yaml")
}

func acknowledge(t *testing.T, url string) {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("cloud").SetUsername(broker.CloudUser).SetPassword("cloud").SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("connect as the cloud: %v", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	tok := c.Subscribe(floorwatch.Topic("shop", "box", floorwatch.LeafUp), 1, func(c mqtt.Client, m mqtt.Message) {
		b, err := floorwatch.ParseBatch(m.Payload())
		if err != nil {
			t.Errorf("the doctor delivered %s: %v", m.Payload(), err)
			return
		}
		ack, _ := json.Marshal(floorwatch.Ack{V: floorwatch.Version, Log: b.Log, First: b.First, N: b.N})
		c.Publish(floorwatch.Topic("shop", "box", floorwatch.LeafAck), 1, false, ack)
	})
	if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("subscribe as the cloud: %v", tok.Error())
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	path := doctorBox(t)
	var out, errs bytes.Buffer
	err := run(t.Context(), []string{"doctor", "-config", path, "-json"}, stdio{nil, &out, &errs})
	if !errors.Is(err, program.ErrTold) {
		t.Errorf("a camera is missing: %v", err)
	}
	var said struct {
		Checks []finding.Finding
		Failed int
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []struct{ part, result, found, next string }{
		{"configuration", finding.OK, "shop/box, 2 camera(s)", ""},
		{"programs", finding.OK, "are there", ""},
		{"disk", finding.Warn, "the box has no key yet", "floorwatch-edge key"},
		{"disk", finding.OK, "MB/s", ""},
		{"broker", finding.OK, "signed in as shop/box", ""},
		{"broker", finding.OK, "stored and acknowledged a record", ""},
		{"camera lobby", finding.OK, "320 x 240", ""},
		{"camera lobby", finding.OK, "1 zone(s) lie in the picture", ""},
		{"camera lobby", finding.Warn, "key frames ", "GOP"},
		{"camera gone", finding.Fail, "no picture", "user and password"},
	} {
		found := false
		for _, c := range said.Checks {
			found = found || c.Part == want.part && c.Result == want.result && strings.Contains(c.Found, want.found) && strings.Contains(c.Next, want.next)
		}
		if !found {
			t.Errorf("not told: %+v", want)
		}
	}
	if said.Failed != 1 {
		t.Errorf("%d failed, want 1", said.Failed)
	}
	if all := out.String() + errs.String(); strings.Contains(all, "secret of") {
		t.Errorf("it told a secret")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestDoctorWithoutConfiguration(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := run(t.Context(), []string{"doctor", "-config", filepath.Join(t.TempDir(), "none.yaml")}, stdio{nil, &out, &out})
	if !errors.Is(err, program.ErrTold) || !strings.Contains(out.String(), "fail  configuration") || !strings.Contains(out.String(), "→ name the file with -config") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
