package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"floorwatch/cloud"
	"floorwatch/cloud/ingest"
	"floorwatch/internal/program"
)

// letterCommands are those that work on it.
var letterCommands = map[string]func(ctx context.Context, db *ingest.DB, o options, stdout io.Writer) error{
	"dead-letters list":  listLetters,
	"dead-letters show":  showLetter,
	"dead-letters retry": retryLetters,
	"dead-letters drop":  dropLetters,
}

func withLetters(o options, do func(*ingest.DB) error) (err error) {
	cfg, err := load(o.config)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Letters()); err != nil {
		return fmt.Errorf("open dead letters: %w; has the cloud run with this configuration, in this folder?", err)
	}
	db, err := cloud.OpenLetters(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

// listLetters prints a line per letter; the reason is quoted, as it may repeat
// what a stranger sent.
func listLetters(ctx context.Context, db *ingest.DB, o options, stdout io.Writer) error {
	if len(o.ids) > 0 || o.n < 1 {
		return fmt.Errorf("%w: dead-letters list takes -n above 0 and no IDs", program.ErrUsage)
	}
	found, err := db.List(ctx, 0, o.n)
	if err != nil {
		return err
	}
	totals, err := db.Totals(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tRECEIVED\tTIMES\tBYTES\tTOPIC\tRECORD\tREASON")
	for _, l := range found {
		what := fmt.Sprintf("%d", l.First)
		if l.Whole {
			what = "whole message"
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%q\t%s\t%q\n", l.ID, l.Received, l.Times, len(l.Bytes), l.Topic, what, l.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d of %d letters, %d bytes in all, %d had to leave unread\n", len(found), totals.Letters, totals.Bytes, totals.Evicted)
	return nil
}

func showLetter(ctx context.Context, db *ingest.DB, o options, stdout io.Writer) error {
	ids, err := parseIDs(o.ids)
	if err != nil || len(ids) != 1 {
		return fmt.Errorf("%w: dead-letters show takes one ID", program.ErrUsage)
	}
	found, err := db.List(ctx, ids[0]-1, 1)
	if err != nil {
		return err
	}
	if len(found) == 0 || found[0].ID != ids[0] {
		return fmt.Errorf("show dead letter %d: it is not there; dead-letters list names those that are", ids[0])
	}
	_, err = stdout.Write(found[0].Bytes)
	return err
}

func retryLetters(ctx context.Context, db *ingest.DB, o options, stdout io.Writer) error {
	ids, err := parseIDs(o.ids)
	if err != nil {
		return err
	}
	n, err := db.Retry(ctx, ids...)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d letters are tried again by the running cloud within seconds; those that are refused again stay, with the new reason\n", n)
	return nil
}

func dropLetters(ctx context.Context, db *ingest.DB, o options, stdout io.Writer) error {
	ids, err := parseIDs(o.ids)
	if err != nil {
		return err
	}
	if o.all == (len(ids) > 0) {
		return fmt.Errorf("%w: dead-letters drop takes either IDs or -all; what is dropped is gone", program.ErrUsage)
	}
	n, err := db.Drop(ctx, ids...)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d letters dropped\n", n)
	return nil
}

func parseIDs(args []string) ([]int64, error) {
	var ids []int64
	for _, a := range args {
		id, err := strconv.ParseInt(a, 10, 64)
		if err != nil || id < 1 {
			return nil, fmt.Errorf("%w: %.40q is no ID of a dead letter", program.ErrUsage, a)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
