package footage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/layout"
)

// Library reads the footage below Dir, also while it is recorded. The zero
// value with Dir set is ready; it may be used by many at a time.
type Library struct {
	Dir string

	mu    sync.Mutex
	seals map[string]floorwatch.Seal // by path below Dir, without fragments; seals never change
}

// Limits of one question.
const (
	MaxListSpan  = 32 * 24 * time.Hour
	MaxClipSpan  = fmp4.MaxSpan
	MaxClipBytes = fmp4.MaxBytes
	maxCached    = 200_000 // seals, some 400 bytes each
)

// ErrNoFootage says that nothing on disk overlaps the span: a gap, deleted, or
// not recorded yet.
var ErrNoFootage = fmp4.ErrNoFootage

// Span is one piece of a camera's time on disk. Live marks the file that is
// still being written.
type Span struct {
	floorwatch.Seal
	Live bool

	path string // below Dir
}

// Segments returns the footage of a camera that overlaps [from, to) and is still
// on disk, in order of time, without fragments; the open file last.
func (l *Library) Segments(camera string, from, to floorwatch.Time) ([]Span, error) {
	root, spans, err := l.spans(camera, from, to, floorwatch.SealSegment)
	if err != nil || root == nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	var out []Span
	for _, s := range spans {
		if _, err := root.Lstat(s.path); err == nil { // else deleted by retention
			out = append(out, s)
		}
	}
	if live, err := openSpan(root, camera); err == nil && live.Start < to && live.End > from {
		out = append(out, live)
	}
	return out, nil
}

// Gaps returns the spans of a camera that overlap [from, to) and have no
// footage, with their causes, in order of time. Adjoining gaps of one cause are
// joined. Footage that retention deleted is not a gap.
func (l *Library) Gaps(camera string, from, to floorwatch.Time) ([]floorwatch.Gap, error) {
	root, spans, err := l.spans(camera, from, to, floorwatch.SealGap)
	if err != nil || root == nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	var out []floorwatch.Gap
	for _, s := range spans {
		if n := len(out); n > 0 && *out[n-1].To == s.Start && out[n-1].Cause == s.Cause {
			end := s.End
			out[n-1].To = &end
			continue
		}
		out = append(out, *recordOf(s.Seal, nil).(*floorwatch.Gap))
	}
	return out, nil
}

// spans opens Dir and lists the seals of one kind that overlap [from, to). The
// root is nil when there is no such camera.
func (l *Library) spans(camera string, from, to floorwatch.Time, kind string) (*os.Root, []Span, error) {
	if err := layout.CheckSpan(camera, from, to, MaxListSpan); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open footage: %w", err)
	}
	days, err := layout.Days(filepath.Join(l.Dir, camera))
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	var out []Span
	for _, d := range daysFor(days, from, to) {
		found, err := l.day(root, filepath.Join(camera, d))
		if err != nil {
			return nil, nil, errors.Join(err, root.Close())
		}
		for _, s := range found {
			if s.Kind == kind && s.Start < to && s.End > from {
				out = append(out, s)
			}
		}
	}
	return root, out, nil
}

// daysFor picks the folders whose seals may overlap [from, to). Seals lie on the
// day of sealing, which is never before the span; a span that reaches beyond to
// was sealed at the latest in the first folder after it.
func daysFor(days []string, from, to floorwatch.Time) []string {
	first, last := layout.Day(from), layout.Day(to)
	var out []string
	for _, d := range days {
		if d >= first {
			out = append(out, d)
		}
		if d > last {
			break
		}
	}
	return out
}

// day reads the seals of a day folder, below Dir, through the cache.
func (l *Library) day(root *os.Root, dir string) ([]Span, error) {
	d, err := listDay(filepath.Join(root.Name(), dir))
	if err != nil {
		return nil, err
	}
	var out []Span
	for _, seq := range d.seals {
		if s, ok := l.seal(filepath.Join(dir, sealName(seq))); ok {
			out = append(out, Span{Seal: s, path: filepath.Join(dir, s.File)})
		}
	}
	return out, nil
}

// seal reads one seal; a damaged one is for verify to tell of.
func (l *Library) seal(path string) (floorwatch.Seal, bool) {
	l.mu.Lock()
	s, ok := l.seals[path]
	l.mu.Unlock()
	if ok {
		return s, true
	}
	s, _, err := readSeal(filepath.Join(l.Dir, path))
	if err != nil {
		return s, false
	}
	s.Fragments, s.Gone = nil, nil
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seals == nil || len(l.seals) >= maxCached {
		l.seals = map[string]floorwatch.Seal{}
	}
	l.seals[path] = s
	return s, true
}

// openSpan describes the file that is being written, up to its last whole
// fragment.
func openSpan(root *os.Root, camera string) (Span, error) {
	path := filepath.Join(camera, layout.OpenFile)
	f, err := root.Open(path)
	if err != nil {
		return Span{}, fmt.Errorf("read open footage: %w", err)
	}
	defer func() { _ = f.Close() }()
	found, _, _ := readParts(f)
	if found.ticks == 0 {
		return Span{}, ErrNoFootage
	}
	s := found.seal(found.place.last.Wall, false)
	s.Camera, s.Fragments = camera, nil
	return Span{Seal: s, Live: true, path: path}, nil
}

// Clip cuts [from, to) out of a camera's footage, at fragment borders: it begins
// up to one fragment before from and ends up to one after to. The media is
// copied, never changed. Gaps inside stay as jumps of the decode time, so that
// capture time = Start + media time everywhere. It ends early where the
// picture's format changes. ErrNoFootage when there is nothing.
func (l *Library) Clip(ctx context.Context, camera string, from, to floorwatch.Time) (fmp4.Clip, error) {
	if err := layout.CheckSpan(camera, from, to, MaxClipSpan); err != nil {
		return fmp4.Clip{}, err
	}
	for range 3 {
		c := fmp4.Cutter{From: from, To: to}
		err := l.cut(ctx, camera, &c)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return fmp4.Clip{}, err
		}
		return c.Clip()
	}
	return fmp4.Clip{}, fmt.Errorf("cut clip: %w", errMoved)
}

// cut feeds c with the files of its span.
func (l *Library) cut(ctx context.Context, camera string, c *fmp4.Cutter) error {
	spans, err := l.Segments(camera, c.From, c.To)
	if err != nil || len(spans) == 0 {
		return errors.Join(err, ErrNoFootage)
	}
	root, err := os.OpenRoot(l.Dir)
	if err != nil {
		return fmt.Errorf("open footage: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, s := range spans {
		err := addFile(ctx, c, root, s)
		if errors.Is(err, fmp4.ErrEnd) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cut clip from %s: %w", s.path, err)
		}
	}
	return nil
}

var errMoved = errors.New("the file was closed meanwhile")

// addFile takes the fragments of one file. errMoved says that the open file was
// closed and named since it was listed.
func addFile(ctx context.Context, c *fmp4.Cutter, root *os.Root, s Span) error {
	f, err := root.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		if s.Live {
			return errMoved
		}
		return nil // retention came between
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	start := s.Start
	if s.Live { // each fragment tells the file's start better
		found, _, _ := readParts(f)
		if start = found.place.start(); found.ticks == 0 || start > s.End {
			return errMoved
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	return c.Add(ctx, f, start, nil)
}
