package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"

	"floorwatch/edge"
	"floorwatch/edge/doctor"
	"floorwatch/internal/config"
	"floorwatch/internal/finding"
	"floorwatch/internal/program"
)

// runDoctor tests all that a box needs and says of each what to do.
func runDoctor(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("doctor", flag.ContinueOnError)
	path := fs.String("config", "/etc/floorwatch/edge.yaml", "configuration of a box, or of floorwatch run")
	asJSON := fs.Bool("json", false, "print a JSON object instead of lines")
	fs.Usage = func() {
		fmt.Fprintln(std.Err, "Usage: floorwatch doctor [-config FILE] [-json]\n"+
			"Tests what a box needs: configuration, programs, model, clock, disk, ports, broker, vault and\n"+
			"each camera. A line for each: ok, warn or fail, what was measured, what to do next.\n"+
			"It may be run beside a working box. Exit codes: 0 nothing failed, 1 something did, 2 wrong command line.")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std, 0); err != nil {
		return err
	}
	parts := []finding.Part{}
	if d, fault := readDoctor(*path); d == nil {
		parts = append(parts, finding.Alone("configuration", func() []finding.Finding { return []finding.Finding{fault} }))
	} else {
		parts = d.Parts()
	}
	return finding.Tell(ctx, *path, parts, *asJSON, std.Out, std.Err)
}

// wholeRE finds the configuration of floorwatch run by its box's key.
var wholeRE = regexp.MustCompile(`(?m)^edge:\s*(#.*)?$`)

// readDoctor reads the configuration, or returns what is wrong with it.
func readDoctor(path string) (d *doctor.Doctor, fault finding.Finding) {
	fault = finding.Finding{Result: finding.Fail}
	b, err := os.ReadFile(path)
	if err != nil {
		fault.Found, fault.Next = err.Error(), "name the file with -config; deploy/edge.yaml documents every key"
		return nil, fault
	}
	if wholeRE.Match(b) {
		var c runConfig
		if c, err = loadRunConfig(path); err == nil {
			if c.Edge.Data, err = program.Home(c.Edge.Data); err == nil {
				return c.Edge.Doctor(), fault
			}
		}
	} else {
		c := edge.DefaultBoxConfig()
		if err = config.Load(path, &c); err == nil {
			if c.Data, err = program.Home(c.Data); err == nil {
				return c.Doctor(), fault
			}
		}
	}
	fault.Found, fault.Next = err.Error(), "correct it; floorwatch-edge check tests it alone"
	return nil, fault
}
