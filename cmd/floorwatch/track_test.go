package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/program"
)

func TestTrackCommand(t *testing.T) {
	in := "1,-1,10,10,20,50,0.9\n2,-1,12,10,20,50,0.9,-1,-1,-1\n\n# a comment\n3,-1,14,10,20,50,0.3\n"
	var out bytes.Buffer
	err := runTrack(t.Context(), []string{"-fps", "10", "-"}, stdio{strings.NewReader(in), &out, os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "1,1,10.00,10.00,20.00,50.00,0.9000") || !strings.HasPrefix(lines[2], "3,1,") {
		t.Errorf("got %q", lines)
	}
}

func TestTrackCommandErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"1,-1,10,10,20,50\n", "dets.txt:1: 6 columns, want frame,-1,x,y,w,h,score"},
		{"1,-1,10,10,20,50,0.9\n1,-1,x,10,20,50,1\n", `dets.txt:2: column 3: "x" is not a number in range`},
		{"0,-1,10,10,20,50,0.9\n", `dets.txt:1: column 1: frame "0"; frames count from 1`},
		{"1,-1,10,10,0,50,0.9\n", "dets.txt:1: columns 5 and 6: a box of 0 x 50 has no size"},
		{"2,-1,1,1,1,1,1\n1,-1,1,1,1,1,1\n", "dets.txt:2: frame 1 comes after frame 2; sort the file by frame"},
		{"1,-1,NaN,10,20,50,0.9\n", "not a number in range"},
		{strings.Repeat("1,-1,1,1,1,1,1\n", 1001), "dets.txt:1001: frame 1 has more than 1000 boxes"},
	} {
		file := filepath.Join(t.TempDir(), "dets.txt")
		if err := os.WriteFile(file, []byte(c.in), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := runTrack(t.Context(), []string{"-fps", "10", file}, stdio{nil, &out, &out})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: error %v, want %q", c.in, err, c.want)
		}
	}
	for _, args := range [][]string{{"x"}, {"-fps", "0", "x"}, {"-fps", "10"}, {"-fps", "NaN", "x"}, {"-wrong"}} {
		var out bytes.Buffer
		if err := runTrack(t.Context(), args, stdio{nil, &out, &out}); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%v: error %v, want a usage error", args, err)
		}
	}
}

func FuzzParseMOT(f *testing.F) {
	f.Add("1,-1,10,10,20,50,0.9")
	f.Add("1,2,3")
	f.Add("1e9,-1,-1e9,+5,1,1,NaN")
	f.Fuzz(func(t *testing.T, line string) {
		if frame, p, err := parseMOT(line); err == nil && (frame < 1 || !(p.W > 0) || !(p.H > 0)) {
			t.Errorf("%q: frame %d, %+v", line, frame, p)
		}
	})
}
