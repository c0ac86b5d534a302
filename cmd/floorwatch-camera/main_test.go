//go:build cgo

package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/program"
)

func TestBadFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "source is empty"},
		{"-source a.mp4 b.mp4", "unexpected argument"},
		{"-source a.mp4 -pace slow", `-pace "slow" is not max or real`},
		{"-source a.mp4 -start yesterday", "is not RFC 3339"},
		{"-source a.mp4 -fps -1", "-fps -1 is not between 0 and 240"},
		{"-source a.mp4 -fps NaN", "-fps NaN is not between 0 and 240"},
		{"-source a.mp4 -detector yolo", `-detector "yolo" is not auto, motion, hog or nanodet`},
		{"-source a.mp4 -mask 1,2", "mask \"1,2\" has 1 corners"},
		{"-source a.mp4 -still-every 1ms", "-still-every is at least 100ms"},
		{"-wrong", "flag provided but not defined"},
	} {
		t.Setenv("FLOORWATCH_SOURCE", "")
		var out, errs bytes.Buffer
		err := run(t.Context(), strings.Fields(c.args), &out, &errs)
		if !errors.Is(err, program.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want usage and %q", c.args, err, c.want)
		}
		if out.Len() != 0 {
			t.Errorf("%q: something was started: %s", c.args, out.Bytes())
		}
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, &help, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "Exit codes") {
		t.Errorf("-h: %v, %s", err, help.String())
	}
}

// TestFilm runs the worker over a film without a model, so that auto is motion,
// and reads its lines as the agent does. Two runs print the same bytes.
func TestFilm(t *testing.T) {
	film := filepath.Join(t.TempDir(), "film.avi")
	if b, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=3",
		"-c:v", "mjpeg", film).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, b)
	}
	args := []string{"-source", film, "-models", t.TempDir(), "-start", "2025-11-21T20:00:00Z"}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(t.Context(), args, out, os.Stderr); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs over one film differ")
	}
	var raw bytes.Buffer
	if err := run(t.Context(), append(args, "-track=false"), &raw, os.Stderr); err != nil {
		t.Fatal(err)
	}
	if boxes := bytes.Count(raw.Bytes(), []byte(`{"id":`)); boxes == 0 || boxes != bytes.Count(raw.Bytes(), []byte(`{"id":0,`)) {
		t.Errorf("%d boxes that are not tracked, not all with id 0", boxes)
	}
	var all []floorwatch.Frame
	for s := bufio.NewScanner(&first); s.Scan(); {
		f, err := floorwatch.ParseFrame(s.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	if len(all) != 32 || all[0].By != "motion" || all[30].N != 30 || all[31].Event != floorwatch.EventClosed {
		t.Errorf("%d lines, first %+v, last %+v", len(all), all[0], all[len(all)-1])
	}
}

func TestNanoDetWithoutModelSaysWhatToDo(t *testing.T) {
	_, _, err := choose("nanodet", t.TempDir(), 0)
	if err == nil || !strings.Contains(err.Error(), "run floorwatch models") {
		t.Errorf("error %v", err)
	}
}
