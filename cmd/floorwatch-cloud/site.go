package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"floorwatch"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/durable"
	"floorwatch/internal/program"
)

const siteHelp = `floorwatch-cloud site keeps the halls, their boxes and the org tree. docs/sites.md describes the files.

Usage: floorwatch-cloud site COMMAND [FLAGS] [ARGUMENTS]
  import FILE        merges a file .yaml or .csv into what is there: all of it, or with a fault nothing
  export [FILE]      writes all that is there, with its past; to standard output, as YAML, without a FILE
  list               the halls at a moment, of a scope
  add ID             adds a hall; with -level a node above halls; with -box a box, also to a hall that is there
  move ID PARENT     puts a hall or a node below another one, from a moment on
  close ID           ends a hall with its boxes, or a node, at a moment; its past stays

A running cloud sees a change within a second; nothing restarts, nobody else is disturbed.
A cloud.yaml of the time when stores and boxes stood in it can be imported too. Flags stand before arguments.

`

// siteOptions are the flags behind a site command.
type siteOptions struct {
	config, metadata, format string
	at, below                string
	node                     site.Node
	parent, zone, box, key   string
	args                     []string
}

type siteCommand struct {
	least, most int // arguments
	do          func(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error
}

var siteCommands = map[string]siteCommand{
	"import": {1, 1, importSites},
	"export": {0, 1, exportSites},
	"list":   {0, 0, listSites},
	"add":    {1, 1, addSite},
	"move":   {2, 2, moveSite},
	"close":  {1, 1, closeSite},
}

func runSite(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name := "-h"
	if len(args) > 0 {
		name = args[0]
	}
	c, known := siteCommands[name]
	if known {
		args = args[1:]
	}
	var o siteOptions
	fs := flag.NewFlagSet("floorwatch-cloud site", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.config, "config", "/etc/floorwatch/cloud.yaml", "the cloud's configuration, in whose data folder the metadata lies")
	fs.StringVar(&o.metadata, "metadata", "", "a file, or postgres://USER@HOST/DATABASE, in place of the configuration's")
	fs.StringVar(&o.format, "format", "", "import, export: yaml or csv; by the file's name if left out")
	fs.StringVar(&o.at, "at", "", "the moment: 2026-03-01 begins at the hall's midnight, or 2026-03-01T08:00:00+08:00; now if left out")
	fs.StringVar(&o.below, "below", "", "list: of this node's scope alone")
	fs.StringVar(&o.node.Level, "level", "", "add: the level of a node above halls, such as province")
	fs.StringVar(&o.node.Label.ZH, "zh", "", "add: its label in Chinese")
	fs.StringVar(&o.node.Label.EN, "en", "", "add: its label in English")
	fs.StringVar(&o.parent, "parent", "", "add: the node that it is below")
	fs.StringVar(&o.zone, "time-zone", "", "add: IANA time zone; the parent's if left out")
	fs.StringVar(&o.box, "box", "", "add: a box in the hall")
	fs.StringVar(&o.key, "key", "", "add: that box's key, as floorwatch-edge key prints it")
	fs.Usage = func() { fmt.Fprint(stderr, siteHelp); fs.PrintDefaults() }
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if !known {
		if len(args) == 0 {
			fs.Usage()
		}
		return fmt.Errorf("%w: unknown command site %.40q; site -h lists them", program.ErrUsage, name)
	}
	if o.args = fs.Args(); len(o.args) < c.least || len(o.args) > c.most {
		return fmt.Errorf("%w: site %s with %d arguments; site -h explains, and flags stand before them", program.ErrUsage, name, len(o.args))
	}
	return withSites(ctx, o, func(db *metadata.DB) error { return c.do(ctx, db, o, stdout) })
}

// withSites opens the metadata.
func withSites(ctx context.Context, o siteOptions, do func(*metadata.DB) error) (err error) {
	at := o.metadata
	if at == "" {
		cfg, err := load(o.config)
		if err != nil {
			return err
		}
		at = cfg.MetadataAt()
	}
	db, err := metadata.Open(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

// moment is what -at says, by the zone of a node.
func (o siteOptions) moment(ctx context.Context, db *metadata.DB, id string) (floorwatch.Time, error) {
	if o.at == "" {
		return floorwatch.TimeOf(time.Now()), nil
	}
	tree, err := site.Load(ctx, db)
	if err != nil {
		return 0, err
	}
	t, err := tree.Moment(id, o.at)
	if err != nil {
		return 0, fmt.Errorf("%w: -at: %w", program.ErrUsage, err)
	}
	return t, nil
}

// form is the form of a file, by the flag or by its name.
func (o siteOptions) form(path string) string {
	ending := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
	if ending == "yml" {
		ending = "yaml"
	}
	return cmp.Or(o.format, ending, "yaml")
}

func importSites(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error {
	path := o.args[0]
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("import sites: %w", err)
	}
	if info.Size() > site.MaxFile {
		return fmt.Errorf("import sites: %s has more than %d bytes, which is all that is read", path, site.MaxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("import sites: %w", err)
	}
	from, err := o.moment(ctx, db, "")
	if err != nil {
		return err
	}
	changes, err := site.Import(ctx, db, path, o.form(path), b, from)
	if n := site.Faults(err); n > 0 {
		return fmt.Errorf("%w: %s has %d fault(s), nothing was changed\n%w", program.ErrUsage, path, n, err)
	} else if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %s\n", path, changes)
	return nil
}

func exportSites(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error {
	if len(o.args) == 0 {
		return site.Export(ctx, db, stdout, o.form(""))
	}
	var b bytes.Buffer
	if err := site.Export(ctx, db, &b, o.form(o.args[0])); err != nil {
		return err
	}
	return durable.WriteFile(o.args[0], b.Bytes(), 0o600)
}

func listSites(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error {
	t, err := o.moment(ctx, db, o.below)
	if err != nil {
		return err
	}
	s, err := site.Read(ctx, db)
	if err != nil {
		return err
	}
	at := s.At(t)
	if _, ok := at.Node(o.below); o.below != "" && !ok {
		return fmt.Errorf("list sites: there is no %.40q at %s", o.below, t)
	}
	w, halls, boxes := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0), at.Halls(o.below), 0
	fmt.Fprintln(w, "HALL\tLABEL\tBELOW\tTIME ZONE\tOPEN\tBOXES")
	for _, id := range halls {
		store, _ := at.Store(id)
		var names []string
		for _, e := range at.Edges(id) {
			names = append(names, e.ID)
		}
		boxes += len(names)
		path := at.Path(id)
		label := strings.Trim(store.Label.ZH+" / "+store.Label.EN, " /")
		open := map[bool]string{true: "open", false: "closed"}[at.Open(id)]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", id, label, strings.Join(path[:len(path)-1], "/"), store.TimeZone, open, strings.Join(names, ","))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d hall(s), %d box(es) at %s\n", len(halls), boxes, t)
	return nil
}

func addSite(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error {
	n := o.node
	n.ID = o.args[0]
	span := site.Span{Parent: o.parent, TimeZone: o.zone}
	if o.at != "" {
		var err error
		if span.Since, err = o.moment(ctx, db, cmp.Or(o.parent, n.ID)); err != nil {
			return err
		}
	}
	n.Spans = []site.Span{span}
	if o.key != "" && o.box == "" {
		return fmt.Errorf("%w: -key is of a box; name it with -box", program.ErrUsage)
	}
	if o.box != "" {
		n.Boxes = []site.Box{{ID: o.box, Key: site.Key(o.key), Since: span.Since}}
	}
	return told(stdout, "added "+n.ID)(site.Add(ctx, db, n))
}

func moveSite(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error {
	t, err := o.moment(ctx, db, o.args[0])
	if err != nil {
		return err
	}
	return told(stdout, fmt.Sprintf("moved %s below %s from %s on", o.args[0], o.args[1], t))(site.Move(ctx, db, o.args[0], o.args[1], t))
}

func closeSite(ctx context.Context, db *metadata.DB, o siteOptions, stdout io.Writer) error {
	t, err := o.moment(ctx, db, o.args[0])
	if err != nil {
		return err
	}
	return told(stdout, fmt.Sprintf("closed %s at %s", o.args[0], t))(site.Close(ctx, db, o.args[0], t))
}

// told prints what was done, or that it was so already.
func told(stdout io.Writer, did string) func(site.Changes, error) error {
	return func(c site.Changes, err error) error {
		if err != nil {
			return err
		}
		if c.New+c.Changed == 0 {
			did = "nothing to change: it is so already"
		}
		fmt.Fprintln(stdout, did)
		return nil
	}
}
