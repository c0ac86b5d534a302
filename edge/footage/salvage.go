package footage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"floorwatch"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/layout"
)

// salvage seals what a run that did not end well left behind: open.mp4, or a
// file that got its final name but no seal. Torn tails are cut to the last
// whole fragment; a file without any is removed, and the time that it should
// have covered becomes part of the gap that is booked next. It reports whether
// there was something.
func (p *recording) salvage() (bool, error) {
	open := filepath.Join(p.dir, layout.OpenFile)
	orphans, err := p.orphans()
	if err != nil {
		return false, err
	}
	for _, path := range orphans {
		if sameFile(path, open) { // the crash came between its two names
			err = os.Remove(path)
		} else {
			err = os.Rename(path, open) // nothing else is open: the name was given last
		}
		if err != nil {
			return true, fmt.Errorf("salvage footage: %w", err)
		}
	}
	if _, err := os.Lstat(open); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("salvage footage: %w", err)
	}
	return true, p.salvageFile(open)
}

// orphans returns numbered files without a seal that are newer than the head.
// Older ones are not ours to explain: verify names them.
func (p *recording) orphans() ([]string, error) {
	days, err := layout.Days(p.dir)
	if err != nil || len(days) == 0 {
		return nil, err
	}
	dir := filepath.Join(p.dir, days[len(days)-1])
	d, err := listDay(dir)
	if err != nil || len(d.files) == 0 {
		return nil, err
	}
	newest := d.files[len(d.files)-1]
	if newest != d.used || slices.Contains(d.seals, newest) {
		return nil, nil
	}
	return []string{filepath.Join(dir, fileName(newest))}, nil
}

func sameFile(a, b string) bool {
	x, err := os.Lstat(a)
	if err != nil {
		return false
	}
	y, err := os.Lstat(b)
	return err == nil && os.SameFile(x, y)
}

func (p *recording) salvageFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("salvage footage: %w", err)
	}
	defer func() { _ = f.Close() }()
	found, whole, why := readParts(f)
	if found.ticks == 0 {
		p.log.Warn("a file without a whole fragment was removed", "file", path, "cause", why)
		return os.Remove(path)
	}
	if err := f.Truncate(whole); err != nil {
		return fmt.Errorf("salvage footage: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("salvage footage: %w", err)
	}
	p.log.Warn("a torn file was salvaged", "media_s", found.duration().Seconds(), "bytes", whole)
	return p.book(found.seal(p.clock.Now().Wall, true), path)
}

// readParts reads a file of ours up to its last whole fragment, or the limits
// of a seal. why says what ended it, nil for a clean end.
func readParts(f *os.File) (found parts, whole int64, why error) {
	begun := false
	in, whole, why := fmp4.Scan(f, func(in fmp4.Init, p fmp4.Piece) error {
		if !begun {
			found, begun = newParts(in), true
		}
		if len(found.list) >= floorwatch.MaxSealFragments {
			return errors.New("too many fragments")
		}
		found.whole.Write(fmp4.StampBox(p.Stamp))
		found.whole.Write(p.Moof)
		found.whole.Write(p.Mdat)
		found.add(p.Fragment, p.Size, p.SHA256)
		return nil
	})
	if !begun {
		found.in = in
	}
	return found, whole, why
}
