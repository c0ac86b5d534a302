// Package trail keeps the camera workers' lines on disk, beside the footage: what
// boxes over a picture are drawn from, and what a restart takes up again.
package trail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
	"floorwatch/internal/layout"
)

// Trail keeps the camera workers' lines beside the footage, one file an hour and
// camera. It is for showing boxes over a picture and is not evidence: a power
// cut may take the last second and more of it.
type Trail struct {
	Dir string

	mu    sync.Mutex
	open  map[string]*trailFile
	timer *time.Timer
	err   error // of the last flush
}

type trailFile struct {
	path string
	f    *os.File
	w    *bufio.Writer
}

// Limits of what Lines returns.
const (
	maxLinesSpan  = 6 * time.Hour
	maxLines      = 200_000
	maxLinesBytes = 64 << 20
	flushEvery    = time.Second
)

// fileLayout is how the file of an hour, UTC, is named.
const fileLayout = "trail-15.jsonl"

// Hour returns the beginning of the hour whose lines a file of a day's folder
// holds; false for another file.
func Hour(day, file string) (floorwatch.Time, bool) {
	t, err := time.Parse(time.DateOnly+"/"+fileLayout, day+"/"+file)
	return floorwatch.TimeOf(t), err == nil
}

func trailPath(dir, camera string, t floorwatch.Time) string {
	return filepath.Join(dir, camera, layout.Day(t), t.Time().Format(fileLayout))
}

// Append adds a camera's line. It is written within a second; an error of that
// writing comes with the next Append.
func (t *Trail) Append(camera string, f floorwatch.Frame) error {
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("append to trail: %w", err)
	}
	if !floorwatch.ValidName(camera) || len(line) > floorwatch.MaxLine {
		return fmt.Errorf("append to trail of %.50q: bad name, or a line of %d bytes", camera, len(line))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	file, err := t.file(camera, trailPath(t.Dir, camera, f.T))
	if err != nil {
		return err
	}
	_, _ = file.w.Write(append(line, '\n')) // bufio keeps the error for Flush
	if t.timer == nil {
		t.timer = time.AfterFunc(flushEvery, t.flushDue)
	}
	err, t.err = t.err, nil
	return err
}

// file returns the open file of the camera, changing it with the hour.
func (t *Trail) file(camera, path string) (*trailFile, error) {
	if f := t.open[camera]; f != nil {
		if f.path == path {
			return f, nil
		}
		delete(t.open, camera)
		if err := f.close(); err != nil {
			t.err = err
		}
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open trail: %w", err)
	}
	if err := endLine(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if t.open == nil {
		t.open = map[string]*trailFile{}
	}
	t.open[camera] = &trailFile{path, f, bufio.NewWriterSize(f, 64<<10)}
	return t.open[camera], nil
}

// endLine ends a line that a crash tore, so that the next one stays whole.
func endLine(f *os.File) error {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil {
		return fmt.Errorf("open trail: %w", err)
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.Write([]byte{'\n'})
	return err
}

func (f *trailFile) close() error { return errors.Join(f.w.Flush(), f.f.Close()) }

func (t *Trail) flushDue() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	t.flush()
}

// flush writes out what is buffered. A file that failed is dropped, so that the
// next line opens it anew.
func (t *Trail) flush() {
	for camera, f := range t.open {
		if err := f.w.Flush(); err != nil {
			t.err = fmt.Errorf("write trail: %w", err)
			_ = f.f.Close()
			delete(t.open, camera)
		}
	}
}

// Close writes out what is buffered and closes the files.
func (t *Trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	err := t.err
	for camera, f := range t.open {
		err = errors.Join(err, f.close())
		delete(t.open, camera)
	}
	t.err = nil
	return err
}

// Lines returns the frames of a camera in [from, to), at most six hours.
// Lines that are torn or damaged are left out.
func (t *Trail) Lines(ctx context.Context, camera string, from, to floorwatch.Time) ([]floorwatch.Frame, error) {
	if err := layout.CheckSpan(camera, from, to, maxLinesSpan); err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.flush()
	t.mu.Unlock()
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, fmt.Errorf("read trail: %w", err)
	}
	defer func() { _ = root.Close() }()
	l := lines{from: from, to: to}
	for hour := from.Floor(time.Hour); hour < to; hour = hour.Add(time.Hour) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := l.read(ctx, root, trailPath("", camera, hour)); err != nil {
			return nil, err
		}
	}
	return l.out, nil
}

// Last returns the stamp of a camera's last whole line, 0 when there is none.
func (t *Trail) Last(camera string) (floorwatch.Time, error) {
	if !floorwatch.ValidName(camera) {
		return 0, fmt.Errorf("camera %.50q: a name is %s", camera, floorwatch.NameRule)
	}
	t.mu.Lock()
	t.flush()
	t.mu.Unlock()
	days, err := layout.Days(filepath.Join(t.Dir, camera))
	if err != nil {
		return 0, err
	}
	for _, day := range slices.Backward(days) {
		hours, err := filepath.Glob(filepath.Join(t.Dir, camera, day, "trail-*.jsonl")) // sorted
		if err != nil {
			return 0, fmt.Errorf("list trail: %w", err)
		}
		for _, path := range slices.Backward(hours) {
			if last, err := lastStamp(path); err != nil || last != 0 {
				return last, err
			}
		}
	}
	return 0, nil
}

// lastStamp looks for the last whole line near the end of a file.
func lastStamp(path string) (floorwatch.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read trail: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read trail: %w", err)
	}
	const enough = 4 * floorwatch.MaxLine
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, st.Size()-enough), enough))
	if err != nil {
		return 0, fmt.Errorf("read trail: %w", err)
	}
	for _, line := range slices.Backward(bytes.Split(b, []byte("\n"))) {
		if fr, err := floorwatch.ParseFrame(line); err == nil {
			return fr.T, nil
		}
	}
	return 0, nil
}

type lines struct {
	from, to floorwatch.Time
	out      []floorwatch.Frame
	bytes    int
}

func (l *lines) read(ctx context.Context, root *os.Root, path string) error {
	f, err := root.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read trail: %w", err)
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 64<<10), floorwatch.MaxLine+1)
	for n := 0; sc.Scan(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		fr, err := floorwatch.ParseFrame(sc.Bytes())
		if err != nil || fr.T < l.from || fr.T >= l.to {
			continue
		}
		l.out = append(l.out, fr)
		if l.bytes += len(sc.Bytes()); len(l.out) > maxLines || l.bytes > maxLinesBytes {
			return fmt.Errorf("read trail: more than %d lines or %d MiB; ask for a shorter span", maxLines, maxLinesBytes>>20)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read trail: %w", err)
	}
	return nil
}
