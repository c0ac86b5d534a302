package backup

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
	"floorwatch/cloud/influx"
	"floorwatch/cloud/vault"
	"floorwatch/internal/durable"
	"floorwatch/internal/layout"
)

// marker lies in a data folder while it is put back. Who finds it must not work
// with that folder.
const marker = "restore.part"

// Whole tells that a data folder is not one that was put back by half.
func Whole(data string) error {
	if _, err := os.Stat(filepath.Join(data, marker)); err == nil {
		return fmt.Errorf("%s is being put back from a backup, or that was broken off; run floorwatch-cloud restore again, which begins anew", data)
	}
	return nil
}

// Restore is one to be done. Fields are set before Run.
type Restore struct {
	From    string // the backup's folder
	Data    string // the cloud's folder; absent or empty
	Objects string // a copy of the folder of objects that was made beside the backup; "": none
	// Child is the database that we run ourselves, in Data; nil: Figures is another's,
	// which has been put back already.
	Child            *influx.Server
	Figures          *influx.Client
	Database, Policy string
	Keeps            time.Duration
	Metadata         string // file of the metadata; "": they are in Postgres
	// Boxes lists those that the cloud expects, once its files are back; who is not in
	// the manifest had said nothing yet.
	Boxes func(ctx context.Context) ([]Box, error)
	Tell  func(text string)
}

// Result is what a restore found.
type Result struct {
	Manifest Manifest
	At       floorwatch.Time // until when what may be missing is booked
	Objects  int             // of the vault, here
	Missing  []string        // objects that are not: their boxes may have them
	Short    []string        // what the database should hold and does not, in words
	Booked   []Box
}

// Run puts the backup back. Before it changes anything it checks every file of the
// backup. What breaks it off leaves a folder that the cloud refuses, and that the
// next Run begins anew.
func (r *Restore) Run(ctx context.Context) (out Result, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore %s: %w", r.From, err)
		}
	}()
	if out.Manifest, err = ReadManifest(r.From); err != nil {
		return out, err
	}
	m := out.Manifest
	if f := m.Figures; f.Database != r.Database || f.Policy != r.Policy {
		return out, fmt.Errorf("the backup is of the database %s with policy %s, the configuration names %s and %s; make them the same", f.Database, f.Policy, r.Database, r.Policy)
	}
	if !m.Figures.Held && r.Child != nil {
		return out, errors.New("the backup has no figures, as they were in an InfluxDB of its own; name that in the configuration, with influx.child false")
	}
	if err := r.clear(m); err != nil {
		return out, err
	}
	p := startProgress(r.Tell)
	defer p.end()
	if err := r.verify(ctx, p, m); err != nil {
		return out, err
	}
	if err := durable.MkdirAll(r.Data, 0o700); err != nil {
		return out, err
	}
	if err := durable.WriteFile(filepath.Join(r.Data, marker), []byte(r.From+"\n"), 0o600); err != nil {
		return out, err
	}
	for _, step := range []func() error{
		func() error { return r.copyFiles(ctx, p, m) },
		func() error { return r.objects(ctx, p, &out) },
		func() error { out.At = floorwatch.TimeOf(time.Now()); return r.figures(ctx, p, &out) },
		func() error { return r.index(ctx, m, out) },
		func() error { return syncAll(r.Data) },
	} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return out, err
		}
	}
	return out, errors.Join(os.Remove(filepath.Join(r.Data, marker)), durable.SyncDir(r.Data))
}

// clear wants the data folder to be empty, but for what a restore left that was
// broken off.
func (r *Restore) clear(m Manifest) error {
	free, err := empty(r.Data)
	if err != nil {
		return err
	}
	if err := r.clearMetadata(m, free); err != nil {
		return err
	}
	if !free {
		if Whole(r.Data) == nil {
			return fmt.Errorf("%s is not empty; stop the cloud, and move it away", r.Data)
		}
		entries, err := os.ReadDir(r.Data)
		for _, e := range entries {
			if e.Name() != marker {
				err = errors.Join(err, os.RemoveAll(filepath.Join(r.Data, e.Name())))
			}
		}
		if err != nil {
			return err
		}
	}
	at := r.Data
	for {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	need := int64(0)
	for _, f := range m.Files {
		need += f.Bytes
	}
	return roomFor(at, need)
}

// clearMetadata does the same for metadata that lie somewhere else.
func (r *Restore) clearMetadata(m Manifest, fresh bool) error {
	if r.Metadata == "" || !slices.ContainsFunc(m.Files, func(f File) bool { return f.Path == metadataFile }) {
		return nil
	}
	switch _, err := os.Stat(r.Metadata); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fresh || Whole(r.Data) == nil:
		return fmt.Errorf("the metadata %s is there; stop the cloud, and move it away", r.Metadata)
	}
	for _, ending := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(r.Metadata + ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// verify compares every file of the backup with the manifest.
func (r *Restore) verify(ctx context.Context, p *progress, m Manifest) error {
	p.begin("checking the backup", 0)
	var all error
	for _, f := range m.Files {
		hash, bytes, err := hashFile(filepath.Join(r.From, f.Path), p)
		if err == nil && (hash != f.SHA256 || bytes != f.Bytes) {
			err = fmt.Errorf("%s is not what was backed up: it has %d bytes of %d, SHA-256 %s, want %s", f.Path, bytes, f.Bytes, hash, f.SHA256)
		}
		if all = errors.Join(all, err, ctx.Err()); ctx.Err() != nil {
			return all
		}
	}
	if all != nil {
		return fmt.Errorf("nothing was changed: %w", all)
	}
	return nil
}

func (r *Restore) copyFiles(ctx context.Context, p *progress, m Manifest) error {
	p.begin("copying", 0)
	for _, f := range m.Files {
		rel, err := filepath.Rel(dataDir, f.Path)
		to := filepath.Join(r.Data, rel)
		switch {
		case f.Path == metadataFile:
			if to = r.Metadata; to == "" {
				return errors.New("the backup has the metadata in a file, the configuration names a Postgres; make them the same")
			}
		case err != nil || !filepath.IsLocal(rel):
			continue // of InfluxDB, or a list
		}
		if _, err := copyFile(filepath.Join(r.From, f.Path), to, p); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// objects brings every object of the list from where it is, checked to the byte.
func (r *Restore) objects(ctx context.Context, p *progress, out *Result) error {
	p.begin("footage", out.Manifest.Objects.Bytes)
	return eachObject(r.From, func(hash string, _ int64, _ string) error {
		from := []string{filepath.Join(r.From, layout.ObjectPath(hash))}
		if r.Objects != "" {
			from = append(from, filepath.Join(r.Objects, hash[:2], hash+".mp4"))
		}
		for _, path := range from {
			ok, err := r.object(p, path, hash)
			if err != nil {
				return errors.Join(err, ctx.Err())
			}
			if ok {
				out.Objects++
				return ctx.Err()
			}
		}
		out.Missing = append(out.Missing, hash)
		return ctx.Err()
	})
}

// object takes one from a path: as a link where it can be, as nobody ever changes
// an object.
func (r *Restore) object(p *progress, from, hash string) (ok bool, err error) {
	if got, _, err := hashFile(from, p); errors.Is(err, fs.ErrNotExist) || err == nil && got != hash {
		return false, nil
	} else if err != nil {
		return false, err
	}
	to := filepath.Join(r.Data, layout.ObjectPath(hash))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return false, err
	}
	if os.Link(from, to) == nil {
		return true, nil
	}
	wrote, err := copyFile(from, to, p)
	if err == nil && wrote != hash {
		err = fmt.Errorf("%s changed while it was read", from)
	}
	return err == nil, err
}

// figures puts InfluxDB back where that is ours to do, counts, and books.
func (r *Restore) figures(ctx context.Context, p *progress, out *Result) error {
	if r.Child == nil {
		return r.book(ctx, p, r.Figures, out)
	}
	p.begin("InfluxDB", bytesBelow(filepath.Join(r.From, figuresDir)))
	p.watch(r.Child.Dir)
	r.Child.Seed = filepath.Join(r.From, figuresDir)
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Child.Run(ctx); err != nil {
			cancel(err)
		}
	}()
	defer func() { cancel(nil); <-done }()
	if _, err := r.Child.WaitReady(ctx); err != nil {
		return err
	}
	c := &influx.Client{Endpoint: r.Child.Endpoint, Database: r.Database, Policy: r.Policy}
	defer c.Close()
	return r.book(ctx, p, c, out)
}

// book counts what the database holds, and writes for each box the gap in which
// records may be missing that it has forgotten.
func (r *Restore) book(ctx context.Context, p *progress, c *influx.Client, out *Result) error {
	p.begin("counting records", 0)
	m := out.Manifest
	// What the database's retention has reached is no loss.
	kept := out.At.Add(-r.Keeps).Add(week)
	for _, want := range m.Figures.Count {
		if want.From < kept {
			continue
		}
		have, err := c.Census(ctx, want.From, want.To)
		if err != nil {
			return fmt.Errorf("%w; put the database back first", err)
		}
		for kind, n := range want.Records {
			if have[kind] < n {
				out.Short = append(out.Short, fmt.Sprintf("%d of %d %s records from %s to %s", n-have[kind], n, kind, want.From, want.To))
			}
		}
	}
	out.Booked = append(out.Booked, m.Boxes...)
	known := map[[2]string]bool{}
	for _, b := range m.Boxes {
		known[[2]string{b.Store, b.Edge}] = true
	}
	boxes, err := r.Boxes(ctx)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if !known[[2]string{b.Store, b.Edge}] {
			out.Booked = append(out.Booked, b)
		}
	}
	var points []influx.Point
	for _, b := range out.Booked {
		points = append(points, influx.Point{Store: b.Store, Edge: b.Edge, Record: &floorwatch.Gap{
			Header: floorwatch.Header{Kind: floorwatch.KindGap, ID: fmt.Sprintf("restored-%d", m.From), At: out.At},
			Of:     floorwatch.OfRecords, From: b.Since, To: &out.At, Cause: floorwatch.CauseRestored,
		}})
	}
	if err := c.Write(ctx, points); err != nil {
		return fmt.Errorf("book what may be missing: %w; put the database back first", err)
	}
	return nil
}

// index tells the index of footage which objects it no longer has.
func (r *Restore) index(ctx context.Context, m Manifest, out Result) (err error) {
	path := filepath.Join(r.Data, layout.VaultIndex)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	index, err := vault.OpenIndex(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	return index.Restored(ctx, m.From, out.At, out.Missing)
}
