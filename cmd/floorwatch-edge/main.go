// Command floorwatch-edge is the agent on a store's box: it runs a camera worker
// per camera, records, measures, and delivers to the cloud. Pure Go; OpenCV is
// in the workers.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/internal/durable"
	"floorwatch/internal/program"
)

func main() {
	program.Private()
	program.Main("floorwatch-edge", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

const help = `floorwatch-edge %s is the agent on a store's box.

Usage: floorwatch-edge [run|check|key|version] [-config FILE]
  run      records, measures and delivers until it is stopped (the default)
  check    reads the configuration and all that it names, and starts nothing
  key      prints the command that registers the box, with its public key, at the cloud; makes the key first if there is none
  version  prints the version

Exit codes: 0 stopped or in order, 1 it failed, 2 wrong command line or configuration (all problems are
listed, nothing was started).

`

// options are the command line behind the command.
type options struct {
	config, ledger string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	command := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	var o options
	fs := flag.NewFlagSet("floorwatch-edge", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.config, "config", "/etc/floorwatch/edge.yaml", "configuration file; deploy/edge.yaml documents every key")
	fs.StringVar(&o.ledger, "ledger", "", "run: also write each record that became durable to this file, as JSON lines;\nfor acceptance tests, it grows without bound")
	fs.Usage = func() { fmt.Fprintf(stderr, help, floorwatch.BuildVersion); fs.PrintDefaults() }
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%w: unexpected %.40q; -h explains", program.ErrUsage, fs.Arg(0))
	}
	switch command {
	case "run":
		return runAgent(ctx, o, stderr)
	case "check":
		return check(o, stdout)
	case "key":
		return printKey(o, stdout)
	case "version":
		fmt.Fprintln(stdout, floorwatch.BuildVersion)
		return nil
	}
	return fmt.Errorf("%w: unknown command %.40q; -h lists them", program.ErrUsage, command)
}

// check says that the box could start with this configuration.
func check(o options, stdout io.Writer) error {
	c, b, err := loadAll(o.config)
	if err != nil {
		return err
	}
	if _, err := program.Find(program.Camera); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is in order: %s/%s, %d camera(s), delivers to %s as %s\n",
		o.config, c.Store, c.Edge, len(c.Cameras), c.Broker.URL, b.Username)
	return nil
}

// printKey prints what the cloud's registry wants to know of this box. It needs
// no password: a box is enrolled before it gets one.
func printKey(o options, stdout io.Writer) error {
	c, err := load(o.config)
	if err != nil {
		return err
	}
	key, err := edge.LoadKey(c.Data)
	if err != nil {
		return err
	}
	public := key.Public().(ed25519.PublicKey)
	fmt.Fprintf(stdout, "floorwatch-cloud site add -box %s -key %s %s\n", c.Edge, base64.StdEncoding.EncodeToString(public), c.Store)
	return nil
}

func runAgent(ctx context.Context, o options, stderr io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	c, b, used, why, err := choose(o.config)
	if err != nil {
		return err
	}
	if why != "" {
		log.Error("the box does not run with the configuration given", "why", why)
	}
	camera, err := program.Find(program.Camera)
	if err != nil {
		return err
	}
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("find %s: %w; install it: apt-get install ffmpeg", name, err)
		}
	}
	if err := durable.MkdirAll(stateDir(c), 0o700); err != nil {
		return err
	}
	s := beginRun(stateDir(c), o.config, log)
	return keepRunning(ctx, s, used, log, func(ctx context.Context, safe bool, notes ...string) (err error) {
		if why != "" {
			notes = append(notes, why)
		}
		a := &edge.Agent{Config: c.Config, Broker: b, Program: camera, Metrics: c.Metrics, Safe: safe, Crashes: s.Crashes, Notes: notes, Log: log}
		if o.ledger != "" {
			f, err := os.OpenFile(o.ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("open ledger: %w", err)
			}
			defer func() { _ = f.Close() }()
			a.Ledger = f
		}
		log.Info("floorwatch-edge starts", "version", floorwatch.BuildVersion, "store", c.Store, "edge", c.Edge, "cameras", len(c.Cameras), "safe_mode", safe)
		return a.Run(ctx)
	})
}
