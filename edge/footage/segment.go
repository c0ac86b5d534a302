package footage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
	"floorwatch/internal/fmp4"
	"floorwatch/internal/layout"
)

// place finds when a file's media time 0 was. A fragment is never early: its
// delay on the way only adds. So the least of (arrival - end in the file) is
// nearest to the truth, whatever the first fragments after a connect did.
type place struct {
	zero     time.Duration // monotonic time of media time 0
	any      bool
	unsynced bool // some stamp was
	last     floorwatch.Stamp
}

func (p *place) observe(s floorwatch.Stamp, end time.Duration) {
	if at := s.Mono - end; !p.any || at < p.zero {
		p.zero = at
	}
	p.unsynced = p.unsynced || !s.Synced
	p.any, p.last = true, s
}

// carry seeds the place of the next file of the same connection, d of media
// later. The camera's clock may run 0.1 % slow against ours.
func (p place) carry(d time.Duration) place {
	return place{zero: p.zero + d + d/1000, any: true}
}

func (p place) start() floorwatch.Time { return p.last.Wall.Add(p.zero - p.last.Mono) }

// parts sums up the fragments of a file as its seal lists them.
type parts struct {
	in    fmp4.Init
	list  []floorwatch.Fragment
	ticks uint64 // media so far
	bytes int64
	whole hash.Hash
	place place
}

func newParts(in fmp4.Init) parts {
	p := parts{in: in, whole: sha256.New()}
	sum := sha256.Sum256(in.Raw)
	p.whole.Write(in.Raw)
	p.bytes = int64(len(in.Raw))
	p.list = []floorwatch.Fragment{{Length: p.bytes, SHA256: hex.EncodeToString(sum[:])}}
	return p
}

// add books one fragment of size bytes; the caller has fed whole.
func (p *parts) add(f fmp4.Fragment, size int64, sha string) {
	from := p.in.Duration(p.ticks).Milliseconds()
	p.ticks += f.Ticks
	end := p.in.Duration(p.ticks)
	p.list = append(p.list, floorwatch.Fragment{Length: size, Offset: from, Duration: end.Milliseconds() - from, SHA256: sha})
	p.bytes += size
	p.place.observe(f.Stamp, end)
}

func (p parts) duration() time.Duration { return p.in.Duration(p.ticks) }

// seal describes the file, as yet without its place in a chain.
func (p parts) seal(now floorwatch.Time, partial bool) floorwatch.Seal {
	start, d := p.place.start(), p.duration()
	mono := max(0, p.place.zero.Milliseconds())
	return floorwatch.Seal{
		Kind: floorwatch.SealSegment, At: now, Start: start, End: start.Add(d),
		Synced: !p.place.unsynced, Boot: p.place.last.Boot, MonoStart: mono, MonoEnd: mono + d.Milliseconds(),
		Partial: partial, Codec: p.in.Codec, Length: p.bytes,
		SHA256: hex.EncodeToString(p.whole.Sum(nil)), Fragments: p.list,
	}
}

// syncEvery bounds what a power cut takes beside the unfinished fragment.
const syncEvery = time.Second

// writer is the file that is being written.
type writer struct {
	parts
	f      *os.File
	path   string
	first  floorwatch.Time // start of the first fragment, as seen on its arrival
	dirty  bool
	synced time.Time
}

// createOpen starts dir/open.mp4; it fails when there is one.
func createOpen(dir string, in fmp4.Init) (*writer, error) {
	path := filepath.Join(dir, layout.OpenFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start footage: %w", err)
	}
	w := &writer{parts: newParts(in), f: f, path: path}
	if _, err := f.Write(in.Raw); err != nil {
		return nil, errors.Join(fmt.Errorf("write footage: %w", err), f.Close())
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// write appends f at the file's media time and syncs when that is due.
func (w *writer) write(f fmp4.Fragment) error {
	moof, err := fmp4.Retime(f.Moof, w.ticks)
	if err != nil {
		return err
	}
	sum := sha256.New()
	size := int64(0)
	for _, b := range [][]byte{fmp4.StampBox(f.Stamp), moof, f.Mdat} {
		if _, err := w.f.Write(b); err != nil {
			return fmt.Errorf("write footage: %w", err)
		}
		size += int64(len(b))
		sum.Write(b)
		w.whole.Write(b)
	}
	if w.first == 0 {
		w.first = f.Stamp.Wall.Add(-f.Duration)
	}
	w.add(f, size, hex.EncodeToString(sum.Sum(nil)))
	w.dirty = true
	if time.Since(w.synced) >= syncEvery {
		return w.sync()
	}
	return nil
}

// sync makes what was written durable. After an error the file is suspect and
// is left to salvage.
func (w *writer) sync() error {
	if !w.dirty {
		return nil
	}
	w.dirty, w.synced = false, time.Now()
	if err := fdatasync(w.f); err != nil {
		return fmt.Errorf("sync footage: %w", err)
	}
	return nil
}

// close makes the file durable and returns its seal; a file without media is
// removed and gives no seal.
func (w *writer) close(now floorwatch.Time) (floorwatch.Seal, bool, error) {
	if w.ticks == 0 {
		return floorwatch.Seal{}, false, errors.Join(w.f.Close(), os.Remove(w.path))
	}
	w.dirty = true
	if err := errors.Join(w.sync(), w.f.Close()); err != nil {
		return floorwatch.Seal{}, false, err
	}
	return w.seal(now, false), true, nil
}
