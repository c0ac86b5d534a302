// Command floorwatch is the program for people: it runs the whole product on
// one machine and runs each stage alone on a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"floorwatch/internal/program"
)

// stdio is what a command talks to, so that tests can stand in for a terminal.
type stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, std stdio) error
}

// commands returns the subcommands in the order in which a newcomer meets them.
func commands() []command {
	return []command{
		{"run", "runs the whole product on this machine", runRun},
		{"models", "fetches and checks the weights of detectors", runModels},
		{"simulate", "plays a hall: camera lines, the truth, a film", runSimulate},
		{"track", "gives detections (MOT text) the ids of tracks", runTrack},
		{"stays", "turns camera lines into stays, waits and gaps", runStays},
		{"intervals", "turns those records into interval figures", runIntervals},
		{"doctor", "tests what a box needs, and says what to do", runDoctor},
		{"verify", "checks recorded footage against its seals", runVerify},
	}
}

func main() {
	program.Main("floorwatch", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr})
	})
}

func run(ctx context.Context, args []string, std stdio) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		usage(std.Out)
		if len(args) == 0 {
			return fmt.Errorf("%w: name a command", program.ErrUsage)
		}
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:], std)
		}
	}
	return fmt.Errorf("%w: unknown command %q; floorwatch -h lists them", program.ErrUsage, args[0])
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "floorwatch measures how long people wait, from cameras, and keeps the footage behind each figure.")
	fmt.Fprintln(w, "\nUsage: floorwatch COMMAND [flags]; floorwatch COMMAND -h explains one.")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
	}
}

// parseFlags parses args and turns a bad flag or a missing argument into a
// usage error. want is the number of positional arguments, -1 for any.
func parseFlags(fs *flag.FlagSet, args []string, std stdio, want int) error {
	fs.SetOutput(std.Err)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if want >= 0 && fs.NArg() != want {
		return fmt.Errorf("%w: %s takes %d argument(s), got %d; -h explains", program.ErrUsage, fs.Name(), want, fs.NArg())
	}
	return nil
}
