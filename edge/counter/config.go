package counter

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/access"
	"floorwatch/internal/config"
)

// Config are the people counters of a box. Without devices nothing runs.
type Config struct {
	Listen    string   `yaml:"listen"`   // host:port for HTTP POST; "": none
	Cert      string   `yaml:"tls_cert"` // PEM file; "": plain HTTP
	Key       string   `yaml:"tls_key"`
	MQTT      MQTT     `yaml:"mqtt"`
	TimeZone  string   `yaml:"time_zone"` // IANA name; of the nightly setting to 0, and of wall clocks
	Occupancy string   `yaml:"occupancy"` // name of entries minus exits of all doors; "": not wanted
	Rezero    string   `yaml:"rezero"`    // HH:MM, local: when nobody is in the store
	Devices   []Device `yaml:"devices"`
}

// MQTT is the local broker that devices publish to.
type MQTT struct {
	Broker   string        `yaml:"broker"` // tcp://HOST:1883 or tls://HOST:8883; "": none
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password_file"`
}

// Device is one counter.
type Device struct {
	Name   string           `yaml:"name"`
	Label  floorwatch.Label `yaml:"label"`
	Token  config.Secret    `yaml:"token_file"` // last part of the path that it posts to
	Topic  string           `yaml:"topic"`      // that it publishes to
	Allow  []string         `yaml:"allow"`      // addresses or networks that may post; none: all
	Clock  string           `yaml:"clock_policy"`
	Series []Series         `yaml:"series"`
}

// Series is one line or area of a device, and which of its numbers count.
type Series struct {
	Name   string           `yaml:"name"` // `line` of the records
	ID     string           `yaml:"id"`   // what the device calls it; "": the same
	Label  floorwatch.Label `yaml:"label"`
	Kind   string           `yaml:"kind"`
	Invert bool             `yaml:"invert"` // mounted the wrong way round: in is out
	Door   bool             `yaml:"door"`   // whoever passes enters or leaves the store
}

// Default returns the defaults of every key.
func Default() Config { return Config{TimeZone: "UTC", Rezero: "04:00"} }

// SetDefaults implements config.Defaulter.
func (d *Device) SetDefaults() { d.Clock = ClockDevice }

// SetDefaults implements config.Defaulter.
func (s *Series) SetDefaults() { s.Door = true }

// Enabled tells whether there is anything to run.
func (c *Config) Enabled() bool { return len(c.Devices) > 0 }

// Check reports what cannot run; key is where the configuration stands in its
// file. taken maps the names of zones and lines of the box to where they stand,
// because a series is named beside them.
func (c *Config) Check(r *config.Report, key string, taken map[string]string) {
	if !c.Enabled() {
		return
	}
	at := func(name string) string { return key + "." + name }
	if c.Listen == "" && c.MQTT.Broker == "" {
		r.Problem(at("listen"), "want host:port for HTTP, or mqtt.broker, or both")
	}
	if _, _, err := net.SplitHostPort(c.Listen); c.Listen != "" && err != nil {
		r.Problem(at("listen"), "want host:port, such as 192.168.1.10:8070")
	}
	if (c.Cert == "") != (c.Key == "") {
		r.Problem(at("tls_cert"), "want tls_cert and tls_key, both or none")
	}
	if _, err := time.LoadLocation(c.TimeZone); err != nil || c.TimeZone == "Local" {
		r.Problem(at("time_zone"), "want an IANA name, such as Asia/Shanghai")
	}
	if _, err := rezero(c.Rezero); err != nil {
		r.Problem(at("rezero"), "want HH:MM, such as 04:00")
	}
	if c.Occupancy != "" {
		config.CheckName(r, at("occupancy"), c.Occupancy, taken)
	}
	c.MQTT.check(r, at("mqtt"))
	c.checkDevices(r, at("devices"), taken)
}

func (m *MQTT) check(r *config.Report, key string) {
	if m.Broker == "" {
		return
	}
	if _, err := access.BrokerURL(m.Broker); err != nil {
		r.Hide(key + ".broker")
		r.Problem(key+".broker", "%v", err)
	}
}

func (c *Config) checkDevices(r *config.Report, key string, taken map[string]string) {
	names, topics := map[string]string{}, map[string]bool{}
	for i, d := range c.Devices {
		sub := fmt.Sprintf("%s[%d]", key, i)
		config.CheckName(r, sub+".name", d.Name, names)
		if d.Token == "" && d.Topic == "" {
			r.Problem(sub+".token_file", "want the file of a token for HTTP, or a topic for MQTT, or both")
		}
		if d.Token != "" && c.Listen == "" {
			r.Problem(sub+".token_file", "needs listen, which is missing")
		}
		if d.Topic != "" && c.MQTT.Broker == "" {
			r.Problem(sub+".topic", "needs mqtt.broker, which is missing")
		}
		if strings.ContainsAny(d.Topic, "+#\x00") || len(d.Topic) > 500 {
			r.Problem(sub+".topic", "want one topic without wildcards")
		}
		if d.Topic != "" && topics[d.Topic] {
			r.Problem(sub+".topic", "is the topic of another device; give each its own")
		}
		topics[d.Topic] = true
		if d.Clock != ClockDevice && d.Clock != ClockWall && d.Clock != ClockReceive {
			r.Problem(sub+".clock_policy", "want %s, %s or %s", ClockDevice, ClockWall, ClockReceive)
		}
		for j, a := range d.Allow {
			if _, err := network(a); err != nil {
				r.Problem(fmt.Sprintf("%s.allow[%d]", sub, j), "want an address or a network, such as 192.168.1.51 or 192.168.1.0/24")
			}
		}
		d.checkSeries(r, sub+".series", taken)
	}
}

func (d *Device) checkSeries(r *config.Report, key string, taken map[string]string) {
	if len(d.Series) == 0 {
		r.Problem(key, "want at least one series")
	}
	counted := map[string]string{}
	for i, s := range d.Series {
		sub := fmt.Sprintf("%s[%d]", key, i)
		config.CheckName(r, sub+".name", s.Name, taken)
		if len(s.ID) > maxText {
			r.Problem(sub+".id", "want at most %d bytes", maxText)
		}
		group := "count"
		switch s.Kind {
		case KindEvent, KindInterval, KindCumulative:
		case KindState:
			group = "state"
		default:
			r.Problem(sub+".kind", "want %s, %s, %s or %s: what the numbers of this series mean", KindEvent, KindInterval, KindCumulative, KindState)
			continue
		}
		if first, twice := counted[group+s.id()]; twice {
			r.Problem(sub+".kind", "%s counts the same people already: count from one kind only", first)
		}
		counted[group+s.id()] = s.Name
	}
}

// id is what the device calls the series.
func (s *Series) id() string {
	if s.ID == "" {
		return s.Name
	}
	return s.ID
}

// rezero reads HH:MM.
func rezero(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, err
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// network reads an address or a network.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}
