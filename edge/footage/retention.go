package footage

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/clock"
	"floorwatch/internal/durable"
	"floorwatch/internal/watchdog"
)

// Holds says what must stay. Held is asked before each deletion and may be
// called at any time.
type Holds interface {
	Held(camera string, from, to floorwatch.Time) bool
}

// Wanted says what is to be uploaded. What the vault has not confirmed yet goes
// last when room is needed.
type Wanted interface {
	Wanted(camera string, from, to floorwatch.Time) bool
}

// Retention deletes the oldest footage, of all cameras below Dir, when it is too
// old, too much, or the disk runs full. Each deletion is a seal in the camera's
// chain, written before the files go; seals are never deleted.
type Retention struct {
	Dir         string
	Store, Edge string
	Key         ed25519.PrivateKey
	MaxBytes    int64           // of footage and trails; 0 = no limit
	MaxAge      time.Duration   // 0 = no limit
	MinFree     float64         // share of the disk; 0 = DefaultMinFree
	Holds       Holds           // nil = nothing is held
	Wanted      Wanted          // nil = nothing is uploaded
	Clock       *clock.Clock    // nil = this machine's
	Every       time.Duration   // between two looks; 0 = 1 min
	Log         *slog.Logger    // nil = discard
	Pulse       *watchdog.Pulse // rests between two looks

	free     func(dir string) (float64, error) // tests fill the disk with it
	shelf    Shelf
	finished bool
}

// spareFree is the share of a disk of size bytes that is File free beyond
// MinFree, so that the recorder need not stop between two looks: 1 %, on a small
// disk up to 10 % so as to be 64 MB.
func spareFree(size int64) float64 {
	return min(max(0.01, 64e6/float64(max(1, size))), 0.1)
}

// Run looks every Every until ctx ends.
func (r *Retention) Run(ctx context.Context) error {
	if len(r.Key) != ed25519.PrivateKeySize {
		return errors.New("retain footage: no key; make one with floorwatch-edge key")
	}
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	every := r.Every
	if every == 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	r.shelf.Pulse = r.Pulse
	for {
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			log.Error("retention could not do its work; recording will stop when the disk is full", "error", err)
		}
		r.Pulse.Rest()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Reasons of a deletion.
const (
	reasonAge  = "older than the retention"
	reasonSize = "footage budget reached"
	reasonDisk = "disk reserve reached"
)

// sweep deletes what must go, oldest first.
func (r *Retention) sweep(ctx context.Context) error {
	r.shelf.Dir = r.Dir
	files, err := r.shelf.List(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range files {
		total += f.Bytes
	}
	if !r.finished {
		if err := r.finish(files); err != nil {
			return err
		}
		return r.sweep(ctx)
	}
	now := r.Clock.Now()
	missing, err := r.missing()
	if err != nil {
		return err
	}
	gone := map[string][]File{} // by camera and reason
	for _, f := range r.order(files) {
		reason := ""
		switch {
		case r.MaxAge > 0 && now.Wall.Sub(f.To) > r.MaxAge:
			reason = reasonAge
		case r.MaxBytes > 0 && total > r.MaxBytes:
			reason = reasonSize
		case missing > 0:
			reason = reasonDisk
		}
		if reason == "" || r.Holds != nil && r.Holds.Held(f.Camera, f.From, f.To) {
			continue
		}
		total, missing = total-f.Bytes, missing-f.Bytes
		key := f.Camera + "\n" + reason
		gone[key] = append(gone[key], f)
	}
	for key, list := range gone {
		camera, reason, _ := strings.Cut(key, "\n")
		for part := range slices.Chunk(list, floorwatch.MaxSealGone) {
			r.Pulse.Beat()
			if err := r.remove(camera, reason, now, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// missing returns how many bytes must go for the disk's reserve.
func (r *Retention) missing() (int64, error) {
	ask, limit := r.free, r.MinFree
	if ask == nil {
		ask = diskFree
	}
	if limit == 0 {
		limit = DefaultMinFree
	}
	free, err := ask(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	size, err := diskSize(r.Dir)
	return int64(max(0, limit+spareFree(size)-free) * float64(size)), err
}

// order puts what the vault has still to get behind all else.
func (r *Retention) order(files []File) []File {
	if r.Wanted == nil {
		return files
	}
	var first, last []File
	for _, f := range files {
		if f.Seal != "" && !f.Sent && r.Wanted.Wanted(f.Camera, f.From, f.To) {
			last = append(last, f)
			continue
		}
		first = append(first, f)
	}
	return append(first, last...)
}

// finish deletes, once, what the newest deletions name and a crash left.
func (r *Retention) finish(files []File) error {
	gone := map[string]bool{}
	for camera := range camerasOf(files) {
		dir := filepath.Join(r.Dir, camera)
		h, err := findHead(dir)
		if err != nil {
			return err
		}
		const recent = 5000 // far more seals than can follow an unfinished deletion
		err = eachSealAfter(dir, h.used-min(h.used, recent), func(s floorwatch.Seal, _ []byte) error {
			for _, hash := range s.Gone {
				gone[hash] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	left := slices.DeleteFunc(slices.Clone(files), func(f File) bool { return f.Seal == "" || !gone[f.Seal] })
	r.finished = true
	return removeAll(r.Dir, left, r.shelf.known)
}

func camerasOf(files []File) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		out[f.Camera] = true
	}
	return out
}

// remove books the deletion of one camera's files and then deletes them. A crash
// in between leaves files that finish deletes.
func (r *Retention) remove(camera, reason string, now floorwatch.Stamp, files []File) error {
	s := floorwatch.Seal{
		Kind: floorwatch.SealDeleted, At: now.Wall, Synced: now.Synced, Boot: now.Boot, Cause: reason,
	}
	for _, f := range files {
		if f.Seal == "" {
			continue
		}
		if s.Gone == nil || f.From < s.Start {
			s.Start = f.From
		}
		s.Gone, s.End = append(s.Gone, f.Seal), max(s.End, f.To)
	}
	if s.Gone != nil {
		c := chain{dir: filepath.Join(r.Dir, camera), store: r.Store, edge: r.Edge, camera: camera, key: r.Key}
		if err := c.append(s, ""); err != nil {
			return err
		}
	}
	return removeAll(r.Dir, files, r.shelf.known)
}

func removeAll(dir string, files []File, known map[string]File) error {
	dirs := map[string]bool{}
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete footage: %w", err)
		}
		delete(known, f.Path)
		dirs[filepath.Dir(path)] = true
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}
