// Package program is what all our programs have around their work: signals end
// it, and the exit code says how it ended.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// ErrUsage marks an error of the command line or the configuration: exit code
// 2, nothing was started.
var ErrUsage = errors.New("not started")

// ErrTold ends a program with exit code 1 after it has said why itself.
var ErrTold = errors.New("already told")

// Private keeps the files that this process and its children make from other
// users of the machine: footage, records and keys lie in them. Call it before
// anything is written.
func Private() { syscall.Umask(0o077) }

// Main runs a program until it ends or SIGINT or SIGTERM comes, and exits: 0 for
// no error and for -h, 2 for ErrUsage, 1 for all else.
func Main(name string, run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case !errors.Is(err, ErrTold):
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	if errors.Is(err, ErrUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}
