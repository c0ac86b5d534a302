package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"floorwatch"
	"floorwatch/cloud"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/config"
	"floorwatch/internal/identity"
	"floorwatch/internal/program"
)

const standardHelp = `floorwatch-cloud standard keeps what is asked of the halls. docs/standard.md describes it.

Usage: floorwatch-cloud standard COMMAND [FLAGS] [ARGUMENTS]
  set NODE FILE      issues the node's next standard, for all halls below it, from a file:
                     wait_target: {within: 10m, share: 0.95}
  withdraw NODE      issues one that sets nothing: those of the nodes below it hold again
  list [NODE]        every version that was issued, and which is in force
  show HALL          what holds in a hall, now and as far as it is planned, and who set it

The highest node above a hall that sets something wins. A version is never changed;
the next one of its node takes its place. Flags stand before arguments.

`

// standardOptions are the flags behind a standard command.
type standardOptions struct {
	siteOptions
	keyFile string
	preview bool
}

type standardCommand struct {
	least, most int // arguments
	do          func(ctx context.Context, db *metadata.DB, o standardOptions, stdout io.Writer) error
}

var standardCommands = map[string]standardCommand{
	"set":      {2, 2, setStandard},
	"withdraw": {1, 1, setStandard},
	"list":     {0, 1, listStandards},
	"show":     {1, 1, showStandard},
}

func runStandard(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name := "-h"
	if len(args) > 0 {
		name = args[0]
	}
	c, known := standardCommands[name]
	if known {
		args = args[1:]
	}
	var o standardOptions
	fs := flag.NewFlagSet("floorwatch-cloud standard", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.config, "config", "/etc/floorwatch/cloud.yaml", "the cloud's configuration, in whose data folder metadata and key lie")
	fs.StringVar(&o.metadata, "metadata", "", "a file, or postgres://USER@HOST/DATABASE, in place of the configuration's")
	fs.StringVar(&o.keyFile, "key-file", "", "set, withdraw: the file of the cloud's key, in place of the data folder's")
	fs.StringVar(&o.at, "at", "", "set, withdraw: valid from; list, show: the moment. 2026-12-01 begins at the node's midnight, or\n2026-12-01T08:00:00+08:00; now if left out")
	fs.BoolVar(&o.preview, "preview", false, "set, withdraw: say what it would do, and do nothing")
	fs.Usage = func() { fmt.Fprint(stderr, standardHelp); fs.PrintDefaults() }
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if !known {
		if len(args) == 0 {
			fs.Usage()
		}
		return fmt.Errorf("%w: unknown command standard %.40q; standard -h lists them", program.ErrUsage, name)
	}
	if o.args = fs.Args(); len(o.args) < c.least || len(o.args) > c.most {
		return fmt.Errorf("%w: standard %s with %d arguments; standard -h explains, and flags stand before them", program.ErrUsage, name, len(o.args))
	}
	return withSites(ctx, o.siteOptions, func(db *metadata.DB) error { return c.do(ctx, db, o, stdout) })
}

// standardFile is what `standard set` reads.
type standardFile struct {
	Wait *struct {
		Within time.Duration `yaml:"within"`
		Share  float64       `yaml:"share"`
	} `yaml:"wait_target"`
}

// Check implements config.Checker.
func (f *standardFile) Check(r *config.Report) {
	if f.Wait == nil {
		r.Problem("wait_target", "is missing: wait_target: {within: 10m, share: 0.95}; a standard that sets nothing is issued by standard withdraw")
		return
	}
	config.CheckDuration(r, "wait_target.within", f.Wait.Within, time.Second, floorwatch.MaxTarget)
	if f.Wait.Within%time.Second != 0 {
		r.Problem("wait_target.within", "want whole seconds")
	}
	if !(f.Wait.Share > 0 && f.Wait.Share <= 1) {
		r.Problem("wait_target.share", "want the share of waits that are to last no longer: more than 0, up to 1, such as 0.95")
	}
}

// key reads the cloud's key.
func (o standardOptions) key() (ed25519.PrivateKey, error) {
	path := o.keyFile
	if path == "" {
		cfg, err := load(o.config)
		if err != nil {
			return nil, err
		}
		path = filepath.Join(cfg.Data, cloud.KeyFile)
	}
	return identity.Load(path)
}

// setStandard issues a standard: from a file, or without one that sets nothing.
func setStandard(ctx context.Context, db *metadata.DB, o standardOptions, stdout io.Writer) error {
	now := floorwatch.TimeOf(time.Now())
	s := floorwatch.Standard{Node: o.args[0], ValidFrom: now}
	if o.at != "" {
		var err error
		if s.ValidFrom, err = o.moment(ctx, db, s.Node); err != nil {
			return err
		}
	}
	if len(o.args) > 1 {
		var f standardFile
		if err := config.Load(o.args[1], &f); err != nil {
			return fmt.Errorf("%w: nothing was set\n%w", program.ErrUsage, err)
		}
		s.Wait = &floorwatch.Target{WithinS: int64(f.Wait.Within / time.Second), Share: f.Wait.Share}
	}
	key, err := o.key()
	if err != nil {
		return err
	}
	was, err := site.Read(ctx, db)
	if err != nil {
		return err
	}
	if all := was.Issued(s.Node); len(all) > 0 || s.Wait == nil {
		last := floorwatch.Standard{}
		if len(all) > 0 {
			last = all[len(all)-1].Standard
		}
		if last.ValidFrom <= s.ValidFrom && (last.Wait == s.Wait || last.Wait != nil && s.Wait != nil && *last.Wait == *s.Wait) {
			fmt.Fprintln(stdout, "nothing to change: it is so already")
			return nil
		}
	}
	if o.preview {
		s.Serial = int64(len(was.Issued(s.Node)) + 1)
		effect(stdout, was, site.Issued{Standard: s})
		fmt.Fprintln(stdout, "nothing was set; leave -preview out")
		return nil
	}
	issued, err := site.Issue(ctx, db, s, now, key)
	if err != nil {
		return err
	}
	effect(stdout, was, issued)
	return nil
}

// effect says which halls a version touches.
func effect(w io.Writer, was *site.Snapshot, i site.Issued) {
	before, after := was.At(i.ValidFrom), was.With(i).At(i.ValidFrom)
	halls := before.Halls(i.Node)
	fmt.Fprintf(w, "%s: standard %d, valid from %s: %s\n", i.Node, i.Serial, i.ValidFrom, targetText(i.Wait))
	for _, old := range was.Issued(i.Node) {
		if old.ValidFrom > i.ValidFrom {
			fmt.Fprintf(w, "  takes the place of standard %d, which was to hold from %s\n", old.Serial, old.ValidFrom)
		}
	}
	var changed, bound []string
	replaced, above := map[string]int{}, ""
	for _, hall := range halls {
		a, b := before.Target(hall), after.Target(hall)
		switch {
		case b != nil && b.Node != i.Node && i.Wait != nil:
			bound, above = append(bound, hall), b.Node
		case (a == nil) != (b == nil) || a != nil && a.Target != b.Target:
			changed = append(changed, hall)
			if a != nil && a.Node != i.Node {
				replaced[a.Node]++
			}
		}
	}
	fmt.Fprintf(w, "  %d hall(s) below %s, another target in %d: %s\n", len(halls), i.Node, len(changed), some(changed))
	for _, node := range slices.Sorted(maps.Keys(replaced)) {
		fmt.Fprintf(w, "  in %d of them it goes before what %s sets\n", replaced[node], node)
	}
	if len(bound) > 0 {
		fmt.Fprintf(w, "  no effect in %d: %s above sets a target, and the highest node wins\n", len(bound), above)
	}
}

// some lists the first names of many.
func some(names []string) string {
	const most = 8
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func targetText(t *floorwatch.Target) string {
	if t == nil {
		return "no target"
	}
	return fmt.Sprintf("%.4g %% of waits within %v", t.Share*100, time.Duration(t.WithinS)*time.Second)
}

func listStandards(ctx context.Context, db *metadata.DB, o standardOptions, stdout io.Writer) error {
	t, err := o.moment(ctx, db, "")
	if err != nil {
		return err
	}
	s, err := site.Read(ctx, db)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSERIAL\tVALID FROM\tSETS\tHASH\t")
	for _, node := range s.Nodes() {
		if len(o.args) > 0 && node != o.args[0] {
			continue
		}
		in, ok := s.At(t).Standard(node)
		for _, i := range s.Issued(node) {
			note := ""
			if ok && i.Serial == in.Serial {
				note = "in force"
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%.12s\t%s\n", node, i.Serial, i.ValidFrom, targetText(i.Wait), i.Signed.Hash(), note)
		}
	}
	return w.Flush()
}

func showStandard(ctx context.Context, db *metadata.DB, o standardOptions, stdout io.Writer) error {
	hall := o.args[0]
	t, err := o.moment(ctx, db, hall)
	if err != nil {
		return err
	}
	s, err := site.Read(ctx, db)
	if err != nil {
		return err
	}
	if _, ok := s.At(t).Store(hall); !ok {
		return fmt.Errorf("show the standard of %.40q: there is no such hall at %s; floorwatch-cloud site list shows them", hall, t)
	}
	for _, span := range s.HallStandard(hall, t).Spans {
		fmt.Fprintf(stdout, "%s from %s\n", hall, span.From)
		if w := span.Wait; w != nil {
			fmt.Fprintf(stdout, "  %s, set by %s, standard %d, valid from %s\n", targetText(&w.Target), w.Node, w.Serial, w.ValidFrom)
		} else {
			fmt.Fprintln(stdout, "  no target: no node above sets one")
		}
		fmt.Fprintf(stdout, "  open %s (%s)\n", cmp.Or(join(span.Opening), "at all times, or its hours are not known"), span.TimeZone)
		for _, list := range span.Exceptions {
			fmt.Fprintf(stdout, "  but %s\n", join(list))
		}
	}
	return nil
}

func join[T fmt.Stringer](all []T) string {
	var texts []string
	for _, x := range all {
		texts = append(texts, x.String())
	}
	return strings.Join(texts, "; ")
}

// printKey prints what the boxes are to know of this cloud.
func printKey(o options, stdout io.Writer) error {
	cfg, err := load(o.config)
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.Data, cloud.KeyFile)
	key, err := identity.Load(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "# For edge.yaml of every box of this cloud; restart the box after it. The private key lies in\n"+
		"# %s: back it up. Aggregators that share one Postgres share this file too.\ncloud_key: %s\n",
		path, identity.Text(key.Public().(ed25519.PublicKey)))
	return nil
}
