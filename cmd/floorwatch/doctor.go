package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"floorwatch/edge"
	"floorwatch/edge/doctor"
	"floorwatch/internal/config"
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
	var all []doctor.Finding
	add := func(found ...doctor.Finding) {
		all = append(all, found...)
		if !*asJSON {
			printFindings(std, found)
		}
	}
	if d, fault := readDoctor(*path); d == nil {
		add(fault)
	} else {
		for _, p := range d.Parts() {
			add(examine(ctx, p, std)...)
		}
	}
	n := map[string]int{}
	for _, f := range all {
		n[f.Result]++
	}
	if *asJSON {
		e := json.NewEncoder(std.Out)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"config": *path, "checks": all, "failed": n[doctor.Fail]}); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		fmt.Fprintf(std.Out, "%d ok, %d to look at, %d failed\n", n[doctor.OK], n[doctor.Warn], n[doctor.Fail])
	}
	if n[doctor.Fail] > 0 {
		return program.ErrTold
	}
	return ctx.Err()
}

// examine tests one part; on what takes longer than two seconds it says that it
// is still at it.
func examine(ctx context.Context, p doctor.Part, std stdio) []doctor.Finding {
	done := make(chan []doctor.Finding)
	go func() { done <- p.Examine(ctx) }()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case found := <-done:
			return found
		case <-tick.C:
			fmt.Fprintf(std.Err, "  …   %s, %.0f s\n", p.Name, time.Since(began).Seconds())
		}
	}
}

func printFindings(std stdio, found []doctor.Finding) {
	for _, f := range found {
		fmt.Fprintf(std.Out, "%-4s  %-16s  %s\n", f.Result, f.Part, f.Found)
		if f.Next != "" {
			fmt.Fprintf(std.Out, "      %-16s  → %s\n", "", f.Next)
		}
	}
}

// wholeRE finds the configuration of floorwatch run by its box's key.
var wholeRE = regexp.MustCompile(`(?m)^edge:\s*(#.*)?$`)

// readDoctor reads the configuration, or returns what is wrong with it.
func readDoctor(path string) (d *doctor.Doctor, fault doctor.Finding) {
	fault = doctor.Finding{Part: "configuration", Result: doctor.Fail}
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
