package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"floorwatch"
	"floorwatch/edge/track"
	"floorwatch/internal/program"
)

// runTrack joins detections in MOT text to tracks.
func runTrack(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("floorwatch track", flag.ContinueOnError)
	fps := fs.Float64("fps", 0, "frames per second of the numbered frames (required)")
	high := fs.Float64("high", 0, "score from which a box may find any track; 0 is the default of 0.6")
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "Usage: floorwatch track -fps N DETECTIONS")
		fmt.Fprintln(fs.Output(), "Reads detections in MOT text, lines of frame,-1,x,y,w,h,score in order of frames,")
		fmt.Fprintln(fs.Output(), "from a file or, with -, from standard input; prints the same with track ids.")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std, 1); err != nil {
		return err
	}
	if !(*fps >= 0.01 && *fps <= 1000) {
		return fmt.Errorf("%w: track needs -fps, the frames per second of the detections, from 0.01 to 1000", program.ErrUsage)
	}
	in, name := std.In, "standard input"
	if fs.Arg(0) != "-" {
		f, err := os.Open(fs.Arg(0))
		if err != nil {
			return fmt.Errorf("read detections: %w", err)
		}
		defer func() { _ = f.Close() }()
		in, name = f, fs.Arg(0)
	}
	out := bufio.NewWriter(std.Out)
	err := trackMOT(ctx, in, name, out, *fps, track.New(track.Options{High: *high}))
	return errors.Join(err, out.Flush())
}

// trackMOT runs the tracker over MOT text, one frame at a time.
func trackMOT(ctx context.Context, in io.Reader, name string, out io.Writer, fps float64, k *track.Tracker) error {
	var dets []floorwatch.Person
	current := 0
	flush := func() error {
		if current == 0 {
			return nil
		}
		t := floorwatch.Time(math.Round(float64(current-1) * 1000 / fps))
		for _, p := range k.Update(t, dets) {
			if _, err := fmt.Fprintf(out, "%d,%d,%.2f,%.2f,%.2f,%.2f,%.4f,-1,-1,-1\n", current, p.ID, p.X, p.Y, p.W, p.H, p.Score); err != nil {
				return fmt.Errorf("write tracks: %w", err)
			}
		}
		dets = dets[:0]
		return ctx.Err()
	}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		frame, det, err := parseMOT(text)
		if err == nil && frame < current {
			err = fmt.Errorf("frame %d comes after frame %d; sort the file by frame", frame, current)
		}
		if err == nil && len(dets) == floorwatch.MaxPeople && frame == current {
			err = fmt.Errorf("frame %d has more than %d boxes", frame, floorwatch.MaxPeople)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if frame != current {
			if err := flush(); err != nil {
				return err
			}
			current = frame
		}
		dets = append(dets, det)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return flush()
}

// parseMOT reads frame,id,x,y,w,h,score; further columns are ignored.
func parseMOT(line string) (frame int, p floorwatch.Person, err error) {
	cols := strings.Split(line, ",")
	if len(cols) < 7 {
		return 0, p, fmt.Errorf("%d columns, want frame,-1,x,y,w,h,score", len(cols))
	}
	var v [7]float64
	for i := range v {
		v[i], err = strconv.ParseFloat(strings.TrimSpace(cols[i]), 64)
		if err != nil || math.IsNaN(v[i]) || math.Abs(v[i]) > 1e9 {
			return 0, p, fmt.Errorf("column %d: %.40q is not a number in range", i+1, cols[i])
		}
	}
	if v[0] < 1 || v[0] != math.Trunc(v[0]) {
		return 0, p, fmt.Errorf("column 1: frame %.40q; frames count from 1", cols[0])
	}
	if v[4] <= 0 || v[5] <= 0 {
		return 0, p, fmt.Errorf("columns 5 and 6: a box of %g x %g has no size", v[4], v[5])
	}
	return int(v[0]), floorwatch.Person{X: v[2], Y: v[3], W: v[4], H: v[5], Score: v[6]}, nil
}
