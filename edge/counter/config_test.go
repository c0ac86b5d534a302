package counter

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"floorwatch/internal/config"
)

// file is a configuration that holds counters.
type file struct {
	Counters Config `yaml:"counters"`
}

func (f *file) Check(r *config.Report) {
	f.Counters.Check(r, "counters", map[string]string{"hall": "cameras[0].zones[0]"})
}

func parse(text string) (Config, error) {
	f := file{Counters: Default()}
	err := config.Parse("box.yaml", []byte(text), &f)
	return f.Counters, err
}

// TestDocumentation: the configuration that the documentation shows is good, and
// each message that it shows counts with it.
func TestDocumentation(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "counters.md"))
	if err != nil {
		t.Fatal(err)
	}
	yaml := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(doc)
	cfg, err := parse(string(yaml[1]))
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("x", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Devices[0].Token = "", config.Secret(token)
	f := new(shop).start(t, cfg, t.TempDir())
	messages := regexp.MustCompile(`(?m)^(curl|mosquitto_pub).* -[dm] '(.*)'`).FindAllSubmatch(doc, -1)
	if len(messages) != 5 {
		t.Fatalf("%d messages in the documentation", len(messages))
	}
	for _, m := range messages {
		d := f.devices[map[string]string{"curl": "side-door", "mosquitto_pub": "beam"}[string(m[1])]]
		r, err := f.accept(d, m[2], func(error) {})
		if err != nil || len(r.Refused) > 0 || r.Ignored > 0 || r.Accepted != min(1, len(m[2])) {
			t.Errorf("%s: %+v %v", m[2], r, err)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	const good = `counters:
  listen: 127.0.0.1:8070
  devices:
    - name: dev
      token_file: /token
      series: [{name: door, kind: interval}]
`
	if c, err := parse(good); err != nil || !c.Devices[0].Series[0].Door || c.Devices[0].Clock != ClockDevice || c.Rezero != "04:00" {
		t.Fatalf("%+v %v", c, err)
	}
	if c, err := parse("{}"); err != nil || c.Enabled() {
		t.Fatalf("nothing configured: %+v %v", c, err)
	}
	change := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for want, text := range map[string]string{
		"counters.listen: want host:port for HTTP":            change("  listen: 127.0.0.1:8070\n", ""),
		`counters.listen: "8070": want host:port`:             change("127.0.0.1:8070", "8070"),
		"want tls_cert and tls_key":                           change("  devices", "  tls_cert: a.pem\n  devices"),
		`counters.time_zone: "Mars"`:                          change("  devices", "  time_zone: Mars\n  devices"),
		`counters.rezero: "4"`:                                change("  devices", "  rezero: \"4\"\n  devices"),
		"is already the name of cameras[0].zones[0]":          change("name: door", "name: hall"),
		"counters.occupancy":                                  change("  devices", "  occupancy: hall\n  devices"),
		"want the file of a token":                            change("      token_file: /token\n", ""),
		"needs mqtt.broker":                                   change("token_file: /token", "topic: a/b"),
		"one topic without wildcards":                         change("token_file: /token", "topic: a/#"),
		"want device, device_wallclock_in_site_tz or receive": change("token_file: /token", "token_file: /token\n      clock_policy: ntp"),
		"want an address or a network":                        change("token_file: /token", "token_file: /token\n      allow: [door.local]"),
		"want event, interval, cumulative or state":           change("kind: interval", "kind: total"),
		"door counts the same people already":                 change("kind: interval}", "kind: interval}, {name: d2, id: door, kind: event}"),
		"want at least one series":                            change("[{name: door, kind: interval}]", "[]"),
		"holds a password":                                    change("  devices", "  mqtt: {broker: \"tcp://u:hunter2@h:1\"}\n  devices"),
		"want tcp://HOST:PORT":                                change("  devices", "  mqtt: {broker: \"http://h:1\"}\n  devices"),
		"is not a key here":                                   change("  devices", "  lissten: x\n  devices"),
	} {
		_, err := parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the message shows a password: %v", err)
		}
	}
}
