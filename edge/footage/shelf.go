package footage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/trail"
	"floorwatch/internal/layout"
	"floorwatch/internal/watchdog"
)

// Shelf lists what lies in the folder of all cameras, for those who delete and
// for those who upload. Each has one of its own, and asks it one at a time.
type Shelf struct {
	Dir   string
	Pulse *watchdog.Pulse // beats with each file

	known map[string]File // footage by path: seals never change
}

// File is one file that may go: footage or a trail.
type File struct {
	Camera, Path string // path below the shelf's Dir
	Bytes        int64
	From, To     floorwatch.Time
	Seal         string // hash of its seal; "" of a trail
	SHA256       string // of the file, of footage
	Sent         bool   // the vault has confirmed it
}

// Receipt is where the vault's receipt lies, below the shelf's Dir, beside the
// seal of footage.
func (f File) Receipt() string { return strings.TrimSuffix(f.Path, ".mp4") + ".receipt" }

// List returns the files below dir, oldest first.
func (s *Shelf) List(ctx context.Context) (files []File, err error) {
	cameras, err := os.ReadDir(s.Dir)
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
	s.known = map[string]File{} // without what was deleted meanwhile
	for _, f := range files {
		if f.Seal != "" {
			s.known[f.Path] = f
		}
	}
	slices.SortFunc(files, func(a, b File) int { return int(min(1, max(-1, a.To-b.To))) })
	return files, nil
}

func (s *Shelf) listCamera(ctx context.Context, camera string) ([]File, error) {
	dir := filepath.Join(s.Dir, camera)
	days, err := layout.Days(dir)
	if err != nil {
		return nil, err
	}
	var out []File
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
				f.Sent = d.sent[seq]
				out = append(out, f)
			}
		}
		out = append(out, s.trails(camera, name)...)
	}
	return out, nil
}

// segment describes a sealed file. One without a readable seal is left alone:
// nobody could say afterwards what was deleted.
func (s *Shelf) segment(camera, path, seal string) (File, bool) {
	s.Pulse.Beat()
	if f, ok := s.known[filepath.Join(camera, path)]; ok {
		return f, true
	}
	found, raw, err := readSeal(seal)
	if err != nil || found.Kind != floorwatch.SealSegment {
		return File{}, false
	}
	if s.known == nil {
		s.known = map[string]File{}
	}
	f := File{
		Camera: camera, Path: filepath.Join(camera, path), Bytes: found.Length, From: found.Start, To: found.End,
		Seal: floorwatch.SealHash(raw), SHA256: found.SHA256,
	}
	s.known[f.Path] = f
	return f, true
}

// trails lists the hours of camera lines of one day.
func (s *Shelf) trails(camera, day string) []File {
	entries, _ := os.ReadDir(filepath.Join(s.Dir, camera, day))
	var out []File
	for _, e := range entries {
		from, ok := trail.Hour(day, e.Name())
		if !ok {
			continue
		}
		if st, err := e.Info(); err == nil {
			out = append(out, File{Camera: camera, Path: filepath.Join(camera, day, e.Name()), Bytes: st.Size(), From: from, To: from.Add(time.Hour)})
		}
	}
	return out
}
