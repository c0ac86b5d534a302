// Command floorwatch-cloud is the aggregator: it takes what the boxes deliver,
// stores it, acknowledges it, and serves the pages. Pure Go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
	_ "time/tzdata" // stores name their time zones; a minimal Debian has none

	"floorwatch"
	"floorwatch/cloud"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/config"
	"floorwatch/internal/durable"
	"floorwatch/internal/finding"
	"floorwatch/internal/program"
)

func main() {
	program.Private()
	program.Main("floorwatch-cloud", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

const help = `floorwatch-cloud %s takes what the boxes deliver, stores it, and serves the pages.

Usage: floorwatch-cloud [run|check|doctor|acl|key|site|standard|dead-letters|backup|restore|version] [-config FILE]
  run                            works until it is stopped (the default)
  check                          reads the configuration and all that it names, and starts nothing
  doctor                         tests data folder, database, broker, pages: a line for each, and what to do next
  acl [STORE/BOX…]               prints Mosquitto's access list for these boxes, or for all registered ones
  key                            prints the cloud's public key, for the boxes; makes the key first if there is none
  site import|export|list|add|move|close  halls, their boxes and the org tree; site -h explains
  standard set|withdraw|list|show         how long people may wait, by node; standard -h explains
  dead-letters list [-n N]       what was refused and why, oldest first
  dead-letters show ID           the bytes of one, as they came
  dead-letters retry [ID…]       gives these (or all) to the running cloud again, as after a store was registered late
  dead-letters drop ID…|-all     removes them for good
  backup DIR                     copies all that the cloud keeps, while it works; backup -h explains
  restore DIR                    puts that back into an empty data folder
  version                        prints the version

Flags stand before IDs. Exit codes: 0 stopped or in order, 1 it failed, 2 wrong command line or
configuration (all problems are listed, nothing was started).

`

// options are the command line behind the command.
type options struct {
	config string
	n      int
	all    bool
	ids    []string
}

// parse splits the command line; the command's words come first.
func parse(args []string, stderr io.Writer) (command string, o options, err error) {
	command = "run"
	word := func() bool { return len(args) > 0 && args[0] != "" && args[0][0] != '-' }
	if word() {
		command, args = args[0], args[1:]
	}
	if command == "dead-letters" && word() {
		command, args = command+" "+args[0], args[1:]
	}
	fs := flag.NewFlagSet("floorwatch-cloud", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.config, "config", "/etc/floorwatch/cloud.yaml", "configuration file; deploy/cloud.yaml documents every key")
	fs.IntVar(&o.n, "n", 50, "dead-letters list: how many")
	fs.BoolVar(&o.all, "all", false, "dead-letters drop: all of them")
	fs.Usage = func() { fmt.Fprintf(stderr, help, floorwatch.BuildVersion); fs.PrintDefaults() }
	if err := fs.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			err = fmt.Errorf("%w: %w", program.ErrUsage, err)
		}
		return command, o, err
	}
	o.ids = fs.Args()
	return command, o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "site" {
		return runSite(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && (args[0] == "backup" || args[0] == "restore") {
		return runBackup(ctx, args[0], args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "standard" {
		return runStandard(ctx, args[1:], stdout, stderr)
	}
	command, o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if do, ok := letterCommands[command]; ok {
		return withLetters(o, func(l *ingest.DB) error { return do(ctx, l, o, stdout) })
	}
	if command == "acl" && len(o.ids) > 0 {
		return printACL(o.ids, stdout)
	}
	if len(o.ids) > 0 {
		return fmt.Errorf("%w: unexpected %.40q; -h explains", program.ErrUsage, o.ids[0])
	}
	switch command {
	case "run":
		return runCloud(ctx, o, stderr)
	case "check":
		return check(ctx, o, stdout)
	case "doctor":
		return runDoctor(ctx, o, stdout, stderr)
	case "acl":
		return withSites(ctx, siteOptions{config: o.config}, func(db *metadata.DB) error {
			sites, err := site.Read(ctx, db)
			if err != nil {
				return err
			}
			_, err = io.WriteString(stdout, sites.At(floorwatch.TimeOf(time.Now())).ACL())
			return err
		})
	case "key":
		return printKey(o, stdout)
	case "version":
		fmt.Fprintln(stdout, floorwatch.BuildVersion)
		return nil
	}
	return fmt.Errorf("%w: unknown command %.40q; -h lists them", program.ErrUsage, command)
}

// printACL prints the access list of the boxes named STORE/EDGE.
func printACL(names []string, stdout io.Writer) error {
	var boxes []site.Source
	for _, name := range names {
		box, err := site.ParseBox(name)
		if err != nil {
			return fmt.Errorf("%w: %w", program.ErrUsage, err)
		}
		boxes = append(boxes, box)
	}
	_, err := io.WriteString(stdout, site.ACL(boxes))
	return err
}

// load reads the file but not what it names.
func load(path string) (cloud.Config, error) {
	c := cloud.DefaultConfig()
	if err := config.Load(path, &c); err != nil {
		return c, fmt.Errorf("%w: the configuration is not right\n%w", program.ErrUsage, err)
	}
	var err error
	c.Data, err = program.Home(c.Data)
	return c, err
}

// open reads the file and what it names.
func open(o options, log *slog.Logger) (*cloud.Service, cloud.Config, error) {
	cfg, err := load(o.config)
	if err != nil {
		return nil, cfg, err
	}
	s, err := cloud.Open(cfg, log)
	if err != nil {
		return nil, cfg, fmt.Errorf("%w: the configuration names what cannot be used\n%w", program.ErrUsage, err)
	}
	return s, cfg, nil
}

func check(ctx context.Context, o options, stdout io.Writer) error {
	_, cfg, err := open(o, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is in order: broker %s, pages on %s\n", o.config, cfg.Broker.URL, cfg.Pages.Listen)
	if _, err := os.Stat(cfg.MetadataAt()); !metadata.IsPostgres(cfg.MetadataAt()) && errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(stdout, noHalls)
		return nil
	}
	return withSites(ctx, siteOptions{config: o.config}, func(db *metadata.DB) error {
		sites, err := site.Read(ctx, db)
		if err != nil {
			return err
		}
		r := sites.At(floorwatch.TimeOf(time.Now())).Registry()
		if len(r.Edges) == 0 {
			fmt.Fprintln(stdout, noHalls)
			return nil
		}
		fmt.Fprintf(stdout, "%d hall(s), %d box(es) in %s\n", len(r.Stores), len(r.Edges), db)
		return nil
	})
}

// noHalls is said where no box is registered.
const noHalls = "no box is registered yet: floorwatch-cloud site add -box BOX -key KEY HALL, also while the cloud runs"

// runDoctor tests the installed cloud, also beside a running one.
func runDoctor(ctx context.Context, o options, stdout, stderr io.Writer) error {
	cfg, err := load(o.config)
	if err != nil {
		return err
	}
	parts, err := cfg.Doctor(ctx)
	if err != nil {
		return fmt.Errorf("%w: the configuration names what cannot be used\n%w", program.ErrUsage, err)
	}
	return finding.Tell(ctx, o.config, parts, false, stdout, stderr)
}

func runCloud(ctx context.Context, o options, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	s, cfg, err := open(o, log)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(cfg.Data, 0o700); err != nil {
		return err
	}
	return s.Run(ctx, func(address string) {
		log.Info("floorwatch-cloud starts", "version", floorwatch.BuildVersion, "pages", address, "metadata", metadata.Redact(cfg.MetadataAt()))
		if cfg.Pages.Token != "" && cfg.Pages.Cert == "" {
			log.Warn("the pages' token travels in the clear; set pages.cert and pages.key, or put a TLS proxy before them")
		}
	})
}
