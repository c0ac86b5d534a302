package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"floorwatch"
	"floorwatch/cloud"
	"floorwatch/cloud/backup"
	"floorwatch/cloud/influx"
	"floorwatch/internal/program"
)

const backupHelp = `floorwatch-cloud backup copies all that the cloud keeps, while it works; restore puts it back. docs/deploy.md says when.

Usage: floorwatch-cloud backup [FLAGS] DIR     DIR is made, or empty
       floorwatch-cloud restore [FLAGS] DIR    into the data folder of the configuration, which is not there or empty

A backup holds what was acknowledged to the boxes before it began: the SQLite files and small
files of the data folder, InfluxDB where it is a child, Postgres where pg_dump is installed, and a list of the
objects of footage. What it does not hold it names, with the command that copies it. While it is made
its folder ends in .part. Run both as the cloud's own user.

A restore checks every file first. Boxes have forgotten what they handed over after the backup: for each
box a gap "restored" is booked, from when records of it may be missing until now; the timeline shows it. Footage
that did not come with the backup is fetched from the boxes that still have it. Exit code 0: all of the
manifest is there; 1: it failed, or something is missing, which is named.

`

// copyOptions are the flags behind both commands.
type copyOptions struct {
	config string
	cloud.Copying
}

func runBackup(ctx context.Context, name string, args []string, stdout, stderr io.Writer) error {
	var o copyOptions
	fs := flag.NewFlagSet("floorwatch-cloud "+name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.config, "config", "/etc/floorwatch/cloud.yaml", "the cloud's configuration")
	if name == "backup" {
		fs.StringVar(&o.Objects, "objects", backup.List, "footage: list (names only; copy the files with rsync), link (hard links, on the same disk), copy")
		fs.StringVar(&o.InfluxRPC, "influx-rpc", "", "HOST:8088 of an InfluxDB 1.8 of one's own, which influxd here then copies; left out: the command is told")
	} else {
		fs.StringVar(&o.Objects, "objects", "", "folder of footage that was copied beside the backup: the copy of data/objects")
	}
	fs.Usage = func() { fmt.Fprint(stderr, backupHelp); fs.PrintDefaults() }
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if fs.NArg() != 1 {
		return fmt.Errorf("%w: %s with %d arguments, want the folder of the backup; flags stand before it, -h explains", program.ErrUsage, name, fs.NArg())
	}
	if how := []string{backup.List, backup.Link, backup.Copy}; name == "backup" && !slices.Contains(how, o.Objects) {
		return fmt.Errorf("%w: -objects %.40q, want %s", program.ErrUsage, o.Objects, strings.Join(how, ", "))
	}
	cfg, err := load(o.config)
	if err != nil {
		return err
	}
	o.Folder, o.Tell = fs.Arg(0), func(text string) { fmt.Fprintln(stderr, text) }
	if name == "backup" {
		return makeBackup(ctx, cfg, o, stdout)
	}
	return restoreBackup(ctx, cfg, o, stdout)
}

func makeBackup(ctx context.Context, cfg cloud.Config, o copyOptions, stdout io.Writer) error {
	b, err := cfg.Backup(o.Copying)
	if err != nil {
		return err
	}
	m, err := b.Run(ctx)
	if err != nil {
		return err
	}
	records, bytes := int64(0), int64(0)
	for _, c := range m.Figures.Count {
		for _, n := range c.Records {
			records += n
		}
	}
	for _, f := range m.Files {
		bytes += f.Bytes
	}
	fmt.Fprintf(stdout, "%s holds what was acknowledged until %s: %d file(s) of %d MB, %d records of %d box(es)\n", o.Folder, m.From, len(m.Files), bytes>>20, records, len(m.Boxes))
	fmt.Fprintf(stdout, "footage: %d object(s) of %d MB, %d of them in it, %d deleted by retention meanwhile, %d damaged\n",
		m.Objects.Here, m.Objects.Bytes>>20, m.Objects.Copied, m.Objects.Gone, m.Objects.Damaged)
	for _, l := range m.LeftOut {
		fmt.Fprintf(stdout, "not in it: %s, because %s\n", l.Path, l.Why)
	}
	if m.Objects.Copied+m.Objects.Gone < m.Objects.Here {
		fmt.Fprintf(stdout, "still to copy: footage, which never changes: rsync -a %s/ FOLDER/\n", filepath.Join(cfg.Data, "objects"))
	}
	for _, command := range m.Todo {
		fmt.Fprintf(stdout, "still to copy: %s\n", command)
	}
	return nil
}

// maxNamed bounds a list for people.
const maxNamed = 20

func restoreBackup(ctx context.Context, cfg cloud.Config, o copyOptions, stdout io.Writer) error {
	r, err := cfg.Restore(o.Copying)
	if err != nil {
		return err
	}
	res, err := r.Run(ctx)
	m := res.Manifest
	if err != nil {
		if m.Figures.Held && r.Child == nil {
			err = fmt.Errorf("%w\nInfluxDB is put back by: influxd %s", err, strings.Join(influx.LoadArgs("HOST:8088", m.Figures.Database, filepath.Join(o.Folder, "influxdb")), " "))
		}
		return err
	}
	fmt.Fprintf(stdout, "%s is as it was at %s, %d file(s) as the manifest says\n", cfg.Data, m.From, len(m.Files))
	if m.Postgres != "" {
		fmt.Fprintf(stdout, "if that was not done before: pg_restore --clean --if-exists --dbname='%s' %s; then restore again, so that boxes that had said nothing yet are booked too\n", m.Postgres, filepath.Join(o.Folder, "metadata.dump"))
	}
	since := map[floorwatch.Time]int{}
	for _, b := range res.Booked {
		since[b.Since]++
	}
	fmt.Fprintf(stdout, "booked as gaps until %s, in which records may be missing: %d box(es)", res.At, len(res.Booked))
	if n := since[0]; n > 0 {
		fmt.Fprintf(stdout, ", %d of them from ever, as they had not told how far they were", n)
	}
	fmt.Fprintf(stdout, "\nfootage: %d object(s) are here, %d are not and are fetched from their boxes where asked for\n", res.Objects, len(res.Missing))
	for i, hash := range res.Missing {
		if i == maxNamed {
			fmt.Fprintf(stdout, "missing: %d more; objects.txt of the backup names all\n", len(res.Missing)-i)
			break
		}
		fmt.Fprintf(stdout, "missing: object %s\n", hash)
	}
	for i, text := range res.Short {
		if i == maxNamed {
			fmt.Fprintf(stdout, "missing: %d more\n", len(res.Short)-i)
			break
		}
		fmt.Fprintf(stdout, "missing: %s\n", text)
	}
	if len(res.Short) > 0 {
		return fmt.Errorf("the database has fewer records than the manifest says; the folder may be used, what is missing is named above")
	}
	return nil
}
