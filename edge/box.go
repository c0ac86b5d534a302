package edge

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"

	"floorwatch/edge/doctor"
	"floorwatch/edge/outbox"
	"floorwatch/edge/relay"
	"floorwatch/internal/access"
	"floorwatch/internal/config"
)

// BoxConfig is the configuration file of a box with a service of its own;
// deploy/edge.yaml documents every key.
type BoxConfig struct {
	Config
	Broker  access.Broker `yaml:"broker"`
	Metrics string        `yaml:"metrics"`
}

// DefaultBoxConfig returns the defaults of every key.
func DefaultBoxConfig() BoxConfig {
	return BoxConfig{Config: DefaultConfig(), Metrics: "127.0.0.1:9105"}
}

// Check implements config.Checker.
func (c *BoxConfig) Check(r *config.Report) {
	c.Config.Check(r, "")
	c.Broker.Check(r, "broker")
	if c.Metrics != "" && !access.Loopback(c.Metrics) {
		r.Problem("metrics", "want a loopback address such as 127.0.0.1:9105, or \"\" for none; whoever reaches it can read it")
	}
}

// Open reads the secrets that the configuration names, and reports all that
// cannot be used.
func (c *BoxConfig) Open() (Broker, error) {
	login, err := c.Broker.Open(c.Store + "/" + c.Edge)
	for i := range c.Cameras {
		if _, camErr := c.Cameras[i].Password.Read(); camErr != nil {
			err = errors.Join(err, fmt.Errorf("cameras[%d].password_file: %w", i, camErr))
		}
	}
	return Broker(login), err
}

// Doctor returns the tests of a box with this configuration.
func (c *BoxConfig) Doctor() *doctor.Doctor {
	d := c.Config.Doctor()
	d.Metrics = c.Metrics
	d.Login = func() (access.Login, error) {
		b, err := c.Open()
		return access.Login(b), err
	}
	return d
}

// Doctor returns the tests of a box with this configuration, without a broker.
func (c *Config) Doctor() *doctor.Doctor {
	d := &doctor.Doctor{
		Store: c.Store, Edge: c.Edge, Data: c.Data, Lock: filepath.Join(c.Data, outboxDir, outbox.LockFile),
		KeyFile: filepath.Join(c.Data, KeyFile), Key: func() (ed25519.PrivateKey, error) { return LoadKey(c.Data) },
		Budget: int64(c.Footage.MaxBytes + c.Outbox.MaxBytes), Models: c.Models, Counters: c.Counters.Listen,
		VaultURL: c.Backup.URL, VaultCA: c.Backup.CA,
	}
	for i := range c.Cameras {
		cam := &c.Cameras[i]
		to := doctor.Camera{
			Name: cam.Name, Source: cam.Source, Detector: cam.Detector, FPS: cam.FPS, Scene: cam.Scene(), Address: cam.address,
		}
		if cam.Record && !relay.Needed(cam.Source) {
			to.Recorded = cmp.Or(cam.Main, cam.Source)
		}
		d.Cameras = append(d.Cameras, to)
	}
	return d
}
