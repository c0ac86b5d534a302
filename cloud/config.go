package cloud

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/api"
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
	Stores    []Store       `yaml:"stores"`
	Edges     []Edge        `yaml:"edges"`
	Broker    access.Broker `yaml:"broker"`
	Influx    Influx        `yaml:"influx"`
	Pages     Pages         `yaml:"pages"`
}

// Store is a shop or hall. Opening hours are of its own time zone.
type Store struct {
	ID       string           `yaml:"id"`
	Label    floorwatch.Label `yaml:"label"`
	TimeZone string           `yaml:"time_zone"`
	Opening  []Opening        `yaml:"opening"`
}

// Opening is a span in which a store is open on some days of the week.
type Opening struct {
	Days string `yaml:"days"` // mon-fri, sat, or mon,wed,fri
	From string `yaml:"from"` // 09:00
	To   string `yaml:"to"`   // 17:30; 24:00 is midnight
}

// Edge is a box, enrolled with the key that `floorwatch-edge key` prints.
// Cameras repeat what the box's configuration says of them, for the pages.
type Edge struct {
	Store   string           `yaml:"store"`
	ID      string           `yaml:"id"`
	Label   floorwatch.Label `yaml:"label"`
	Key     string           `yaml:"key"` // Ed25519, standard base64
	Cameras []Camera         `yaml:"cameras"`
}

// Camera is what the pages show of a camera.
type Camera struct {
	Name   string           `yaml:"name"`
	Label  floorwatch.Label `yaml:"label"`
	Notice floorwatch.Label `yaml:"notice"`
	config.SceneKeys
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

// SetDefaults implements config.Defaulter.
func (s *Store) SetDefaults() { s.TimeZone = "Asia/Shanghai" }

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
	stores := map[string]string{}
	for i := range c.Stores {
		c.Stores[i].check(r, fmt.Sprintf("stores[%d]", i), stores)
	}
	if len(c.Stores) == 0 {
		r.Problem("stores", "want at least one store")
	}
	edges := map[string]map[string]string{} // names taken, by store
	for i := range c.Edges {
		e, key := &c.Edges[i], fmt.Sprintf("edges[%d]", i)
		if stores[e.Store] == "" {
			r.Problem(key+".store", "want the id of a store that is listed under stores")
		}
		if edges[e.Store] == nil {
			edges[e.Store] = map[string]string{}
		}
		config.CheckName(r, key+".id", e.ID, edges[e.Store])
		e.check(r, key)
	}
}

var (
	weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	clockRE  = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$`)
)

func (s *Store) check(r *config.Report, key string, taken map[string]string) {
	config.CheckName(r, key+".id", s.ID, taken)
	if _, err := time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "" || s.TimeZone == "Local" {
		r.Problem(key+".time_zone", "want an IANA time zone such as Asia/Shanghai or Europe/Berlin")
	}
	for i, o := range s.Opening {
		at := fmt.Sprintf("%s.opening[%d]", key, i)
		if !validDays(o.Days) {
			r.Problem(at+".days", "want days of mon, tue, wed, thu, fri, sat, sun: a span mon-fri or a list sat,sun")
		}
		if !clockRE.MatchString(o.From) || !clockRE.MatchString(o.To) || o.From >= o.To {
			r.Problem(at, "want from before to, both like \"09:00\"; over midnight takes two entries")
		}
	}
}

func validDays(s string) bool {
	if first, last, span := strings.Cut(s, "-"); span {
		i, j := slices.Index(weekdays, first), slices.Index(weekdays, last)
		return i >= 0 && i <= j
	}
	for d := range strings.SplitSeq(s, ",") {
		if !slices.Contains(weekdays, strings.TrimSpace(d)) {
			return false
		}
	}
	return true
}

func (e *Edge) check(r *config.Report, key string) {
	if _, err := e.publicKey(); err != nil {
		r.Problem(key+".key", "want the key that floorwatch-edge key prints: 44 characters of base64")
	}
	cameras, zones := map[string]string{}, map[string]string{}
	for i, c := range e.Cameras {
		at := fmt.Sprintf("%s.cameras[%d]", key, i)
		config.CheckName(r, at+".name", c.Name, cameras)
		c.CheckScene(r, at, zones)
	}
}

func (e *Edge) publicKey() (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(e.Key)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	if len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key has %d bytes, want %d", len(b), ed25519.PublicKeySize)
	}
	return b, nil
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

// registry returns who may send. The configuration was checked.
func (c *Config) registry() (ingest.Registry, error) {
	var r ingest.Registry
	for _, s := range c.Stores {
		r.Stores = append(r.Stores, ingest.Store{ID: s.ID, Label: s.Label, TimeZone: s.TimeZone})
	}
	for _, e := range c.Edges {
		key, err := e.publicKey()
		if err != nil {
			return r, fmt.Errorf("edge %s/%s: %w", e.Store, e.ID, err)
		}
		r.Edges = append(r.Edges, ingest.Edge{Store: e.Store, ID: e.ID, Key: key})
	}
	return r, nil
}

// sites returns the same for the pages.
func (c *Config) sites() []api.Site {
	var sites []api.Site
	for _, s := range c.Stores {
		site := api.Site{Name: s.ID, Label: s.Label, TimeZone: s.TimeZone, Open: s.openAt()}
		for _, e := range c.Edges {
			if e.Store == s.ID {
				site.Edges = append(site.Edges, e.view())
			}
		}
		sites = append(sites, site)
	}
	return sites
}

func (e *Edge) view() api.Edge {
	v := api.Edge{Name: e.ID, Label: e.Label}
	for _, c := range e.Cameras {
		v.Cameras = append(v.Cameras, api.Camera{Name: c.Name, Label: c.Label, Scene: c.Scene(), Notice: c.Notice})
	}
	return v
}

// Letters is the path of the file that holds the dead letters.
func (c *Config) Letters() string { return filepath.Join(c.Data, ingestFile) }

// OpenLetters opens the dead letters, also beside a running aggregator.
func OpenLetters(c Config) (*ingest.DB, error) { return ingest.OpenDB(c.Letters()) }
