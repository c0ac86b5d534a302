package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/internal/access"
	"floorwatch/internal/config"
	"floorwatch/internal/program"
)

// runConfig is the configuration of `floorwatch run`; deploy/floorwatch.yaml
// documents every key.
type runConfig struct {
	Page       string           `yaml:"page"`
	StoreLabel floorwatch.Label `yaml:"store_label"`
	TimeZone   string           `yaml:"time_zone"`
	Retention  time.Duration    `yaml:"retention"`
	Edge       edge.Config      `yaml:"edge"`
	film       *hallFilm        `yaml:"-"` // of a simulated hall, to be made before the start
}

func defaultRunConfig() runConfig {
	return runConfig{
		Page: "127.0.0.1:8080", TimeZone: "Asia/Shanghai", Retention: 9600 * time.Hour, Edge: edge.DefaultConfig(),
		StoreLabel: floorwatch.Label{ZH: "演示门店", EN: "Demonstration store"},
	}
}

// Check implements config.Checker.
func (c *runConfig) Check(r *config.Report) {
	if !access.Loopback(c.Page) {
		r.Problem("page", "want a loopback address such as 127.0.0.1:8080; pages have no accounts yet")
	}
	if _, err := time.LoadLocation(c.TimeZone); err != nil || c.TimeZone == "" {
		r.Problem("time_zone", "want an IANA time zone such as Asia/Shanghai or Europe/Berlin")
	}
	config.CheckDuration(r, "retention", c.Retention, time.Hour, 100*365*24*time.Hour)
	c.Edge.Check(r, "edge")
}

// loadRunConfig reads the file and applies FLOORWATCH_SOURCE, by which
// `make run SOURCE=…` shows a camera of one's own.
func loadRunConfig(path string) (runConfig, error) {
	c := defaultRunConfig()
	if err := config.Load(path, &c); err != nil {
		return c, fmt.Errorf("%w: the configuration is not right\n%w", program.ErrUsage, err)
	}
	source := os.Getenv("FLOORWATCH_SOURCE")
	if kind, hall, _ := strings.Cut(source, ":"); kind == simulatedSource {
		return c, c.useHall(hall)
	}
	if source != "" {
		c.useSource(source)
	}
	return c, nil
}

// ownCamera names the camera of `make run SOURCE=…`.
const ownCamera = "camera"

// useSource replaces the cameras by one source with one zone that covers its
// picture, until zones are drawn. The picture's size is not known yet, so the
// zone is drawn on one of 100 x 100 and reaches a little beyond it: the ground
// point of a person who is cut by the lower edge lies on the edge itself.
func (c *runConfig) useSource(source string) {
	cam := edge.Camera{Name: ownCamera, Label: floorwatch.Label{ZH: "我的摄像机", EN: "My camera"}, Source: source}
	cam.SetDefaults()
	cam.Picture = floorwatch.Size{Width: 100, Height: 100}
	all := floorwatch.NewZone("all", floorwatch.RoleArea,
		floorwatch.Point{X: -1, Y: -1}, floorwatch.Point{X: 101, Y: -1}, floorwatch.Point{X: 101, Y: 101}, floorwatch.Point{X: -1, Y: 101})
	all.Label = floorwatch.Label{ZH: "全画面", EN: "Whole picture"}
	cam.AddZone(all)
	cam.Notice = floorwatch.Label{
		ZH: "尚未划区：整个画面算作一个区域。在静态画面上点击即可画出区域，复制为 YAML 后写入配置。",
		EN: "No zones yet: the whole picture counts as one. Click on the still to draw a zone, and copy it as YAML into the configuration.",
	}
	c.Edge.Cameras = []edge.Camera{cam}
}
