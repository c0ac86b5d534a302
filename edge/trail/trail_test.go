package trail_test

import (
	"os"
	"path/filepath"
	"testing"

	"floorwatch"
	"floorwatch/edge/trail"
)

func TestTrailGivesBackWhatItGot(t *testing.T) {
	dir := t.TempDir()
	tr := &trail.Trail{Dir: dir}
	const hour = 3600_000
	first := floorwatch.Time(1763755200000) + hour - 500 // three lines, two in the next hour
	for i := range floorwatch.Time(3) {
		if err := tr.Append("door", floorwatch.Frame{T: first + 400*i, N: int64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tr.Lines(t.Context(), "door", first, first+hour)
	if err != nil || len(got) != 3 || got[2].N != 3 {
		t.Fatalf("%d lines, %v", len(got), err)
	}
	if got, err = tr.Lines(t.Context(), "door", first+1, first+800); err != nil || len(got) != 1 {
		t.Errorf("%d lines in a span that holds one, %v", len(got), err)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}

	files, _ := filepath.Glob(filepath.Join(dir, "door", "*", "trail-*.jsonl"))
	if len(files) != 2 {
		t.Fatalf("%d files for two hours", len(files))
	}
	f, err := os.OpenFile(files[1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"t":17637552`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := &trail.Trail{Dir: dir}
	if last, err := again.Last("door"); err != nil || last != first+800 {
		t.Errorf("last stamp %d, %v, want %d", last, err, first+800)
	}
	if err := again.Append("door", floorwatch.Frame{T: first + 900}); err != nil {
		t.Fatal(err)
	}
	if got, err = again.Lines(t.Context(), "door", first, first+hour); err != nil || len(got) != 4 {
		t.Errorf("%d lines after a torn one, %v", len(got), err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if last, err := again.Last("other"); err != nil || last != 0 {
		t.Errorf("a camera without lines: %d, %v", last, err)
	}
}

func TestTrailRefusesNamesAndSpansFromOutside(t *testing.T) {
	tr := &trail.Trail{Dir: t.TempDir()}
	for _, name := range []string{"", "..", "../x", "a/b", "A"} {
		if err := tr.Append(name, floorwatch.Frame{T: 1}); err == nil {
			t.Errorf("append to %q", name)
		}
		if _, err := tr.Lines(t.Context(), name, 1, 2); err == nil {
			t.Errorf("lines of %q", name)
		}
	}
	for _, span := range [][2]floorwatch.Time{{2, 1}, {-5, 5}, {0, 1 << 60}, {-1 << 63, 1<<63 - 1}} {
		if _, err := tr.Lines(t.Context(), "door", span[0], span[1]); err == nil {
			t.Errorf("span %v", span)
		}
	}
}
