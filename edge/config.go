package edge

import (
	"fmt"
	"net/url"
	"time"

	"floorwatch"
	"floorwatch/edge/counter"
	"floorwatch/edge/relay"
	"floorwatch/edge/upload"
	"floorwatch/internal/config"
	"floorwatch/internal/identity"
)

// Config is an edge box's configuration: what stands in its YAML file.
type Config struct {
	Store    string        `yaml:"store"`
	Edge     string        `yaml:"edge"`
	CloudKey string        `yaml:"cloud_key"` // as floorwatch-cloud key prints it; "": not known
	Data     string        `yaml:"data"`
	Models   string        `yaml:"models"`
	Interval time.Duration `yaml:"interval"`
	// WorkerMemory is what a camera worker may keep resident before it is
	// started again.
	WorkerMemory config.Bytes `yaml:"worker_memory"`
	Cameras      []Camera     `yaml:"cameras"`
	Footage      Footage      `yaml:"footage"`
	Outbox       Outbox       `yaml:"outbox"`
	Backup       Backup       `yaml:"backup"`
	// Counters are the people counters of other makers.
	Counters counter.Config `yaml:"counters"`
}

// Camera is one source of pictures and what is measured on them.
type Camera struct {
	Name     string           `yaml:"name"`
	Label    floorwatch.Label `yaml:"label"`
	Notice   floorwatch.Label `yaml:"notice"`
	Source   string           `yaml:"source"`
	Main     string           `yaml:"main_source"` // what is recorded; "": Source
	Username string           `yaml:"username"`
	Password config.Secret    `yaml:"password_file"`
	Detector string           `yaml:"detector"`
	FPS      float64          `yaml:"fps"`
	Record   bool             `yaml:"record"`
	Masks    Masks            `yaml:"masks"`
	// SceneFile holds zones, lines and picture, in place of the keys here.
	SceneFile string `yaml:"scene_file"`
	config.SceneKeys
}

// Masks are the privacy masks of a camera: polygons that are blackened before
// anything looks at the picture, in pixels of the stream. InCamera says that
// the camera itself masks, so that its stream may be recorded as it is.
type Masks struct {
	InCamera bool                 `yaml:"in_camera"`
	Polygons [][]floorwatch.Point `yaml:"polygons"`
}

// Footage says how much recording a box keeps.
type Footage struct {
	Segment  time.Duration `yaml:"segment"`
	MaxBytes config.Bytes  `yaml:"max_bytes"`
	MaxAge   time.Duration `yaml:"max_age"`
}

// Outbox bounds what waits for the cloud.
type Outbox struct {
	MaxBytes config.Bytes  `yaml:"max_bytes"`
	Commit   time.Duration `yaml:"commit"`
}

// Backup says which footage goes to the vault, and how much of the line it may
// take. Without a URL none does, and holds are kept all the same.
type Backup struct {
	URL         string        `yaml:"url"`
	CA          string        `yaml:"ca"`
	Policy      string        `yaml:"policy"`
	NightFrom   string        `yaml:"night_from"`
	NightTo     string        `yaml:"night_to"`
	TimeZone    string        `yaml:"time_zone"`
	Lead        time.Duration `yaml:"lead"`
	Tail        time.Duration `yaml:"tail"`
	BytesPerSec config.Bytes  `yaml:"bytes_per_second"`
	BytesPerDay config.Bytes  `yaml:"bytes_per_day"`
}

// DefaultConfig returns the defaults of every key.
func DefaultConfig() Config {
	return Config{
		Data:         "data",
		Models:       "models",
		Interval:     5 * time.Minute,
		WorkerMemory: 1 << 30,
		Footage:      Footage{Segment: time.Minute, MaxBytes: 20e9, MaxAge: 30 * 24 * time.Hour},
		Outbox:       Outbox{MaxBytes: 256 << 20, Commit: 200 * time.Millisecond},
		Backup: Backup{
			Policy: string(upload.Alert), NightFrom: "22:00", NightTo: "06:00", TimeZone: "Asia/Shanghai",
			Lead: 5 * time.Minute, Tail: 5 * time.Minute,
		},
		Counters: counter.Default(),
	}
}

// SetDefaults implements config.Defaulter.
func (c *Camera) SetDefaults() {
	c.Detector = "auto"
	c.FPS = 10
	c.Record = true
}

// Check reports what cannot run; key is where the configuration stands in its
// file, "" for the whole file.
func (c *Config) Check(r *config.Report, key string) {
	at := func(name string) string {
		if key == "" {
			return name
		}
		return key + "." + name
	}
	config.CheckName(r, at("store"), c.Store, map[string]string{})
	config.CheckName(r, at("edge"), c.Edge, map[string]string{})
	if _, err := identity.Parse(c.CloudKey); err != nil {
		r.Problem(at("cloud_key"), "want the key that floorwatch-cloud key prints: 44 characters of base64")
	}
	if c.Data == "" {
		r.Problem(at("data"), "want the folder for records and footage")
	}
	config.CheckDuration(r, at("interval"), c.Interval, time.Second, 24*time.Hour)
	if c.Interval > 0 && (24*time.Hour)%c.Interval != 0 {
		r.Problem(at("interval"), "a day must hold a whole number of intervals: 10s, 1m, 5m, 15m, 1h …")
	}
	config.CheckDuration(r, at("footage.segment"), c.Footage.Segment, 2*time.Second, time.Hour)
	config.CheckDuration(r, at("footage.max_age"), c.Footage.MaxAge, time.Minute, 10*365*24*time.Hour)
	checkBytes(r, at("footage.max_bytes"), c.Footage.MaxBytes, 50e6)
	checkBytes(r, at("worker_memory"), c.WorkerMemory, 128<<20)
	checkBytes(r, at("outbox.max_bytes"), c.Outbox.MaxBytes, 1<<20)
	config.CheckDuration(r, at("outbox.commit"), c.Outbox.Commit, 10*time.Millisecond, 10*time.Second)
	if len(c.Cameras) == 0 {
		r.Problem(at("cameras"), "want at least one camera")
	}
	cameras, zones := map[string]string{}, map[string]string{}
	for i := range c.Cameras {
		c.Cameras[i].check(r, fmt.Sprintf("%s[%d]", at("cameras"), i), cameras, zones)
	}
	c.Counters.Check(r, at("counters"), zones)
	c.Backup.check(r, at("backup"))
}

func (b *Backup) check(r *config.Report, key string) {
	if u, err := url.Parse(b.URL); b.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		r.Problem(key+".url", "want the cloud's address, https://HOST or https://HOST:PORT")
	}
	switch upload.Policy(b.Policy) {
	case upload.None, upload.Alert, upload.Night, upload.All:
	default:
		r.Problem(key+".policy", "want none, alert, night or all")
	}
	for name, value := range map[string]string{".night_from": b.NightFrom, ".night_to": b.NightTo} {
		if _, err := sinceMidnight(value); err != nil {
			r.Problem(key+name, "want a time of day such as 22:00")
		}
	}
	if _, err := time.LoadLocation(b.TimeZone); err != nil || b.TimeZone == "" {
		r.Problem(key+".time_zone", "want an IANA time zone such as Asia/Shanghai")
	}
	config.CheckDuration(r, key+".lead", b.Lead, 0, time.Hour)
	config.CheckDuration(r, key+".tail", b.Tail, 0, time.Hour)
}

// sinceMidnight reads HH:MM.
func sinceMidnight(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time of day: %w", s, err)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// hours returns the night's hours. The configuration is checked.
func (b *Backup) hours() (upload.Hours, error) {
	from, err := sinceMidnight(b.NightFrom)
	if err != nil {
		return upload.Hours{}, err
	}
	to, err := sinceMidnight(b.NightTo)
	if err != nil {
		return upload.Hours{}, err
	}
	zone, err := time.LoadLocation(b.TimeZone)
	return upload.Hours{From: from, To: to, Zone: zone}, err
}

func checkBytes(r *config.Report, key string, b, low config.Bytes) {
	if b < low {
		r.Problem(key, "want at least %d bytes", low)
	}
}

func (c *Camera) check(r *config.Report, key string, cameras, zones map[string]string) {
	config.CheckName(r, key+".name", c.Name, cameras)
	switch c.Detector {
	case "auto", "motion", "hog", "nanodet":
	default:
		r.Problem(key+".detector", "want auto, motion, hog or nanodet")
	}
	if c.FPS < 1 || c.FPS > 60 {
		r.Problem(key+".fps", "want 1 to 60 analysed frames a second")
	}
	c.checkSource(r, key)
	if len(c.Masks.Polygons) > 0 && c.Record && !c.Masks.InCamera {
		r.Problem(key+".masks", "footage would show what the masks hide: set record: false, or let the camera mask and set in_camera: true")
	}
	for i, p := range c.Masks.Polygons {
		if len(p) < 3 {
			r.Problem(fmt.Sprintf("%s.masks.polygons[%d]", key, i), "want at least 3 points [x, y]")
		}
	}
	if c.SceneFile != "" {
		c.loadScene(r, key)
	}
	c.CheckScene(r, key, zones)
}

// loadScene takes the scene from a file of its own.
func (c *Camera) loadScene(r *config.Report, key string) {
	if len(c.Zones)+len(c.Lines) > 0 || c.Picture != (floorwatch.Size{}) {
		r.Problem(key+".scene_file", "holds zones, lines and picture; leave these keys out here")
		return
	}
	scene, err := config.LoadScene(c.SceneFile)
	if err != nil {
		r.Problem(key+".scene_file", "%v", err)
		return
	}
	c.SceneKeys = config.KeysOf(scene)
}

func (c *Camera) checkSource(r *config.Report, key string) {
	if c.Source == "" {
		r.Problem(key+".source", "want rtsp://HOST/PATH, the path of a video file, or a video device: 0 or /dev/video0")
		return
	}
	if u, err := url.Parse(c.Source); err == nil && u.User != nil {
		r.Hide(key + ".source")
		r.Problem(key+".source", "holds a password; write it to a file and name it: username and password_file")
	}
	if c.Main != "" && (relay.Needed(c.Main) || relay.Needed(c.Source)) {
		r.Problem(key+".main_source", "main and sub stream are of one RTSP camera: want rtsp://HOST/PATH here and in source")
	}
	if u, err := url.Parse(c.Main); err == nil && u.User != nil {
		r.Hide(key + ".main_source")
		r.Problem(key+".main_source", "holds a password; write it to a file and name it: username and password_file")
	}
	if c.Username == "" && c.Password != "" {
		r.Problem(key+".username", "is missing; password_file needs it")
	}
}

// address returns a stream of the camera with its credentials, for a worker's
// environment; it is never logged.
func (c *Camera) address(stream string) (string, error) {
	if c.Username == "" {
		return stream, nil
	}
	password, err := c.Password.Read()
	if err != nil {
		return "", fmt.Errorf("camera %s: %w", c.Name, err)
	}
	u, err := url.Parse(stream)
	if err != nil {
		return "", fmt.Errorf("camera %s: source is not an address", c.Name)
	}
	u.User = url.UserPassword(c.Username, password)
	return u.String(), nil
}
