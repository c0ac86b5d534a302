package cloud

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/ingest"
	"floorwatch/internal/access"
	"floorwatch/internal/config"
)

// Config is the aggregator's configuration: what stands in its YAML file.
type Config struct {
	Data      string        `yaml:"data"`
	Retention time.Duration `yaml:"retention"`
	Footage   time.Duration `yaml:"footage_retention"`
	Metadata  string        `yaml:"metadata"`
	Broker    access.Broker `yaml:"broker"`
	Influx    Influx        `yaml:"influx"`
	Pages     Pages         `yaml:"pages"`
}

// Influx is where the figures are kept: a server of its own, or a child.
type Influx struct {
	Child    bool          `yaml:"child"`
	URL      string        `yaml:"url"`
	Token    config.Secret `yaml:"token_file"`
	Flavour  string        `yaml:"flavour"`
	Org      string        `yaml:"org"`
	Database string        `yaml:"database"`
	Policy   string        `yaml:"policy"`
}

// Pages is where people and programs look.
type Pages struct {
	Listen string        `yaml:"listen"`
	Token  config.Secret `yaml:"token_file"`
	Hosts  []string      `yaml:"hosts"`
	Cert   string        `yaml:"cert"`
	Key    string        `yaml:"key"`
}

// DefaultConfig returns the defaults of every key.
func DefaultConfig() Config {
	return Config{
		Data:      "data",
		Retention: influx.DefaultRetention,
		Footage:   90 * 24 * time.Hour,
		Influx:    Influx{Flavour: influx.Flavour18, Database: influx.DefaultDatabase, Policy: influx.DefaultPolicy},
		Pages:     Pages{Listen: "127.0.0.1:8080"},
	}
}

// Check implements config.Checker.
func (c *Config) Check(r *config.Report) {
	if c.Data == "" {
		r.Problem("data", "want the folder for dead letters and the index of footage")
	}
	config.CheckDuration(r, "retention", c.Retention, time.Hour, 100*365*24*time.Hour)
	config.CheckDuration(r, "footage_retention", c.Footage, 0, 100*365*24*time.Hour)
	c.Broker.Check(r, "broker")
	c.Influx.check(r)
	c.Pages.check(r)
}

func (i *Influx) check(r *config.Report) {
	u, err := url.Parse(i.URL)
	switch {
	case i.Child && (i.URL != "" || i.Token != ""):
		r.Problem("influx.child", "is for a server that we start ourselves; leave url and token_file out, or set child: false")
	case i.Child:
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		r.Hide("influx.url")
		r.Problem("influx.url", "want http://HOST:8086 or https://…, without user or password; or child: true")
	}
	if i.Flavour != influx.Flavour18 && i.Flavour != influx.Flavour27 {
		r.Problem("influx.flavour", "want \"1.8\" or \"2.7\", in quotes")
	}
	if i.Flavour == influx.Flavour27 && (i.Org == "" || i.Token == "" || i.Child) {
		r.Problem("influx.flavour", "2.7 is a server of its own: child: false, org and token_file")
	}
	for key, name := range map[string]string{"influx.database": i.Database, "influx.policy": i.Policy} {
		if !floorwatch.ValidName(name) {
			r.Problem(key, "want a name of %s", floorwatch.NameRule)
		}
	}
}

func (p *Pages) check(r *config.Report) {
	if _, port, err := net.SplitHostPort(p.Listen); err != nil || port == "" {
		r.Problem("pages.listen", "want an address and a port such as 127.0.0.1:8080, or :8443 for every address")
	} else if !access.Loopback(p.Listen) && p.Token == "" {
		r.Problem("pages.listen", "is open to a network; name a file with a token that visitors must know: token_file")
	}
	if (p.Cert == "") != (p.Key == "") {
		r.Problem("pages.cert", "cert and key belong together: the PEM files of one certificate")
	}
	for i, h := range p.Hosts {
		if h == "" || strings.ContainsAny(h, ":/ ") || h != strings.ToLower(h) {
			r.Problem(fmt.Sprintf("pages.hosts[%d]", i), "want a name as it stands in the browser, in small letters, without port: floorwatch.example.com")
		}
	}
}

// Retired implements config.Retired.
func (*Config) Retired() map[string]string {
	const moved = "stands in the metadata now, which is changed while the cloud runs: " +
		"take this file over with floorwatch-cloud site import, then delete stores and edges here (docs/upgrade.md)"
	return map[string]string{"stores": moved, "edges": moved}
}

// MetadataFile lies below the data folder, unless the configuration says another.
const MetadataFile = "metadata.sqlite"

// MetadataAt is where the metadata lies: a file, or postgres://…
func (c *Config) MetadataAt() string {
	return cmp.Or(c.Metadata, filepath.Join(c.Data, MetadataFile))
}

// Letters is the path of the file that holds the dead letters.
func (c *Config) Letters() string { return filepath.Join(c.Data, ingestFile) }

// OpenLetters opens the dead letters, also beside a running aggregator.
func OpenLetters(c Config) (*ingest.DB, error) { return ingest.OpenDB(c.Letters()) }
