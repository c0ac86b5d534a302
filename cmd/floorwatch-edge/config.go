package main

import (
	"fmt"

	"floorwatch/edge"
	"floorwatch/internal/config"
	"floorwatch/internal/program"
)

// load reads the file but not what it names.
func load(path string) (edge.BoxConfig, error) {
	c := edge.DefaultBoxConfig()
	if err := config.Load(path, &c); err != nil {
		return c, fmt.Errorf("%w: the configuration is not right\n%w", program.ErrUsage, err)
	}
	var err error
	c.Data, err = program.Home(c.Data)
	return c, err
}

// loadAll reads the file and the secrets that it names.
func loadAll(path string) (edge.BoxConfig, edge.Broker, error) {
	c, err := load(path)
	if err != nil {
		return c, edge.Broker{}, err
	}
	b, err := c.Open()
	if err != nil {
		return c, edge.Broker{}, fmt.Errorf("%w: the configuration names what cannot be used\n%w", program.ErrUsage, err)
	}
	return c, b, nil
}
