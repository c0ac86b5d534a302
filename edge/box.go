package edge

import (
	"errors"
	"fmt"

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

// Address returns a stream of the camera with its credentials; it must never be
// printed.
func (c *Camera) Address(stream string) (string, error) { return c.address(stream) }
