package main

import (
	"context"
	"flag"
	"fmt"

	"floorwatch/models"
)

// runModels brings the detector models in and checks them.
func runModels(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("floorwatch models", flag.ContinueOnError)
	dir := fs.String("dir", "models", "folder that holds the models")
	mirror := fs.String("mirror", "", "folder to copy them from instead of downloading")
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "Usage: floorwatch models [-dir FOLDER] [-mirror FOLDER]")
		fmt.Fprintln(fs.Output(), "Brings the detector models into a folder and checks each by its SHA-256.")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std, 0); err != nil {
		return err
	}
	for _, m := range models.All() {
		fmt.Fprintf(std.Out, "%s  %s  %.1f MB  %s\n  from %s\n", m.Name, m.File, float64(m.Size)/1e6, m.Licence, m.URL)
		if err := models.Fetch(ctx, *dir, *mirror, m.Name, printTenths(std)); err != nil {
			return fmt.Errorf("%w; download the file by hand into a folder and name it with -mirror, or use -detector motion, which needs no model", err)
		}
		path, err := models.Find(*dir, m.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(std.Out, "  ready: %s, SHA-256 %s as it should be\n", path, m.SHA256)
	}
	return nil
}

// printTenths reports a transfer at each tenth.
func printTenths(std stdio) models.Progress {
	next := int64(0)
	return func(done, total int64) {
		if tenth := done * 10 / total; tenth >= next {
			next = tenth + 1
			fmt.Fprintf(std.Err, "  %d %%\n", done*100/total)
		}
	}
}
