package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"floorwatch"
	"floorwatch/edge/queue"
	"floorwatch/edge/zone"
	"floorwatch/internal/config"
	"floorwatch/internal/program"
)

const staysHelp = `Usage: floorwatch stays -zones FILE.yaml [-camera NAME] < CAMERA-LINES

Reads the lines of floorwatch-camera and prints stay, wait, crossing and gap
records, one JSON object per line, as they settle. At the end of the input it prints those
that still run, with "exit" or "end" null. A gap is printed when it is noticed,
with "to" null, and again under the same id when it has ended.

`

// runStays turns camera lines into stays, waits, crossings and gaps.
func runStays(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("stays", flag.ContinueOnError)
	zones := fs.String("zones", "", "zones of the camera, a YAML `file`")
	camera := fs.String("camera", "camera", "`name` of the camera that the records carry")
	fs.Usage = func() { fmt.Fprint(std.Err, staysHelp); fs.PrintDefaults() }
	if err := parseFlags(fs, args, std, 0); err != nil {
		return err
	}
	scene, err := loadZones(*zones)
	if err != nil {
		return err
	}
	if !floorwatch.ValidName(*camera) {
		return fmt.Errorf("%w: -camera %.50q: a name is %s", program.ErrUsage, *camera, floorwatch.NameRule)
	}
	engine, err := zone.New(*camera, scene)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", program.ErrUsage, *zones, err)
	}
	stage, err := queue.NewStage(engine, scene, 0)
	if err != nil {
		return err
	}
	return stays(ctx, stage, std)
}

// loadZones reads the zones that a command was given.
func loadZones(path string) (floorwatch.Scene, error) {
	if path == "" {
		return floorwatch.Scene{}, fmt.Errorf("%w: name the file of the zones with -zones", program.ErrUsage)
	}
	scene, err := config.LoadScene(path)
	if err != nil {
		return scene, fmt.Errorf("%w: read zones: %w", program.ErrUsage, err)
	}
	return scene, nil
}

// stays feeds a stage from std.In to std.Out. What was good before a bad line is
// printed before the error is returned.
func stays(ctx context.Context, stage *queue.Stage, std stdio) error {
	out := bufio.NewWriter(std.Out)
	err := eachLine(ctx, std.In, floorwatch.MaxLine, func(line []byte) error {
		f, err := floorwatch.ParseFrame(line)
		if err != nil {
			return err
		}
		recs, err := stage.Feed(f)
		if err != nil {
			return err
		}
		return printRecords(out, recs)
	})
	if err != nil {
		return errors.Join(err, out.Flush())
	}
	recs, err := stage.Close()
	if err != nil {
		return err
	}
	return printRecords(out, recs)
}

// printRecords writes records as JSON lines and flushes, so that whoever reads
// the pipe has them when they settle.
func printRecords[R floorwatch.Record](w *bufio.Writer, recs []R) error {
	for _, r := range recs {
		b, err := floorwatch.MarshalRecord(r)
		if err != nil {
			return err
		}
		w.Write(b.JSON) // an error of the writer stays until Flush
		w.WriteByte('\n')
	}
	if len(recs) == 0 {
		return nil
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// eachLine calls do for every line that is not blank. Errors name the line,
// counted from 1. An end of ctx is an end of the input where the input can be
// closed, as a pipe can.
func eachLine(ctx context.Context, in io.Reader, limit int, do func(line []byte) error) error {
	if c, ok := in.(io.Closer); ok {
		stop := context.AfterFunc(ctx, func() { c.Close() })
		defer stop()
	}
	sc := bufio.NewScanner(in)
	sc.Buffer(make([]byte, 0, min(limit+1, 64<<10)), limit+1)
	n := 0
	for ctx.Err() == nil && sc.Scan() {
		n++
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: longer than the limit of %d bytes", n+1, limit)
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("read input after line %d: %w", n, err)
	}
	return nil
}
