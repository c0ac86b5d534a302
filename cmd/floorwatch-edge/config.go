package main

import (
	"errors"
	"fmt"

	"floorwatch/edge"
	"floorwatch/internal/access"
	"floorwatch/internal/config"
	"floorwatch/internal/program"
)

// boxConfig is the configuration of an edge box; deploy/edge.yaml documents
// every key.
type boxConfig struct {
	edge.Config
	Broker  access.Broker `yaml:"broker"`
	Metrics string        `yaml:"metrics"`
}

func defaultConfig() boxConfig {
	return boxConfig{Config: edge.DefaultConfig(), Metrics: "127.0.0.1:9105"}
}

// Check implements config.Checker.
func (c *boxConfig) Check(r *config.Report) {
	c.Config.Check(r, "")
	c.Broker.Check(r, "broker")
	if c.Metrics != "" && !access.Loopback(c.Metrics) {
		r.Problem("metrics", "want a loopback address such as 127.0.0.1:9105, or \"\" for none; whoever reaches it can read it")
	}
}

// load reads the file but not what it names.
func load(path string) (boxConfig, error) {
	c := defaultConfig()
	if err := config.Load(path, &c); err != nil {
		return c, fmt.Errorf("%w: the configuration is not right\n%w", program.ErrUsage, err)
	}
	return c, nil
}

// loadAll reads the file and the secrets that it names.
func loadAll(path string) (boxConfig, edge.Broker, error) {
	c, err := load(path)
	if err != nil {
		return c, edge.Broker{}, err
	}
	login, err := c.Broker.Open(c.Store + "/" + c.Edge)
	for i := range c.Cameras {
		if _, camErr := c.Cameras[i].Password.Read(); camErr != nil {
			err = errors.Join(err, fmt.Errorf("cameras[%d].password_file: %w", i, camErr))
		}
	}
	if err != nil {
		return c, edge.Broker{}, fmt.Errorf("%w: the configuration names what cannot be used\n%w", program.ErrUsage, err)
	}
	return c, edge.Broker(login), nil
}
