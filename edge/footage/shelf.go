package footage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/edge/trail"
	"floorwatch/internal/layout"
	"floorwatch/internal/watchdog"
)

// shelf lists what lies in the folder of all cameras, for those who delete and
// for those who upload. Each has one of its own.
type shelf struct {
	dir   string
	known map[string]kept // footage by path: seals never change
	pulse *watchdog.Pulse
}

// kept is one file that may be deleted: footage or a trail.
type kept struct {
	camera, path string // path below Dir
	bytes        int64
	from, to     floorwatch.Time
	seal         string // hash, of footage
	sha256       string // of the file, of footage
	sent         bool   // the vault has confirmed it
}

// list returns the files below dir, oldest first.
func (s *shelf) list(ctx context.Context) (files []kept, err error) {
	cameras, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list footage: %w", err)
	}
	for _, c := range cameras {
		if !c.IsDir() || !floorwatch.ValidName(c.Name()) {
			continue
		}
		found, err := s.listCamera(ctx, c.Name())
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	s.known = map[string]kept{} // without what was deleted meanwhile
	for _, f := range files {
		if f.seal != "" {
			s.known[f.path] = f
		}
	}
	slices.SortFunc(files, func(a, b kept) int { return int(min(1, max(-1, a.to-b.to))) })
	return files, nil
}

func (s *shelf) listCamera(ctx context.Context, camera string) ([]kept, error) {
	dir := filepath.Join(s.dir, camera)
	days, err := layout.Days(dir)
	if err != nil {
		return nil, err
	}
	var out []kept
	for _, name := range days {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := listDay(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for _, seq := range d.files {
			if f, ok := s.segment(camera, filepath.Join(name, fileName(seq)), filepath.Join(dir, name, sealName(seq))); ok {
				f.sent = d.sent[seq]
				out = append(out, f)
			}
		}
		out = append(out, s.trails(camera, name)...)
	}
	return out, nil
}

// segment describes a sealed file. One without a readable seal is left alone:
// nobody could say afterwards what was deleted.
func (s *shelf) segment(camera, path, seal string) (kept, bool) {
	s.pulse.Beat()
	if f, ok := s.known[filepath.Join(camera, path)]; ok {
		return f, true
	}
	found, raw, err := readSeal(seal)
	if err != nil || found.Kind != floorwatch.SealSegment {
		return kept{}, false
	}
	if s.known == nil {
		s.known = map[string]kept{}
	}
	f := kept{
		camera: camera, path: filepath.Join(camera, path), bytes: found.Length, from: found.Start, to: found.End,
		seal: floorwatch.SealHash(raw), sha256: found.SHA256,
	}
	s.known[f.path] = f
	return f, true
}

// trails lists the hours of camera lines of one day.
func (s *shelf) trails(camera, day string) []kept {
	entries, _ := os.ReadDir(filepath.Join(s.dir, camera, day))
	var out []kept
	for _, e := range entries {
		from, ok := trail.Hour(day, e.Name())
		if !ok {
			continue
		}
		if st, err := e.Info(); err == nil {
			out = append(out, kept{camera: camera, path: filepath.Join(camera, day, e.Name()), bytes: st.Size(), from: from, to: from.Add(time.Hour)})
		}
	}
	return out
}
