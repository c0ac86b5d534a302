// Package backup copies all that the cloud keeps while it works, and puts it back.
//
//	Backup:   T ─> SQLite files, dead letters first ─> InfluxDB, Postgres ─> objects of the vault ─> manifest
//	Restore:  every file as the manifest says ─> InfluxDB ─> objects ─> what may be missing is booked
//
// What was acknowledged to a box before T is in the backup, because each store is
// copied after T and a record is acknowledged when all stores have it. The order
// sees to the rest: a dead letter that is tried again moves to the other stores,
// which are copied after it; the index of footage is copied before the objects
// that it names. A box forgets what was acknowledged after T; Restore books it.
//
// docs/deploy.md has the commands.
package backup

import (
	"bufio"
	"cmp"
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
	"floorwatch/cloud/influx"
	"floorwatch/cloud/vault"
	"floorwatch/internal/durable"
	"floorwatch/internal/layout"
)

// How objects of the vault go into a backup.
const (
	List = "list" // only their names
	Link = "link" // hard links: no second disk, but no room needed
	Copy = "copy"
)

// Backup is one to be made. Fields are set before Run.
type Backup struct {
	Data    string // the cloud's folder
	Into    string // the backup's; absent or empty
	Objects string // List, Link, Copy
	First   string // name of the file of dead letters
	Skip    []string
	// Figures is the database at work, Keeps how long it keeps them.
	Figures          *influx.Client
	Database, Policy string
	Keeps            time.Duration
	// Dump copies InfluxDB into a folder; nil: Todo says how somebody else does.
	Dump     func(ctx context.Context, dir string) error
	Metadata string // file of the metadata, which may lie outside of Data; "": they are in Postgres
	// Postgres has the metadata, without password; "": they are in a file. DumpPostgres
	// copies it into a file; nil: Todo says how.
	Postgres     string
	DumpPostgres func(ctx context.Context, file string) error
	Todo         []string
	Tell         func(text string) // of progress, each two seconds; nil: nobody
}

// Bounds of what is copied without being known.
const (
	maxUnknown = 64 << 20 // bytes of a file
	// settles is how long before a box queues a record it may be over, beside its
	// interval: what is bridged, and what settles.
	settles = 15 * time.Minute
)

// Run makes the backup. After an error nothing of it is left.
func (b *Backup) Run(ctx context.Context) (m Manifest, err error) {
	if free, err := empty(b.Into); err != nil || !free {
		return m, errors.Join(err, fmt.Errorf("back up to %s: the folder is not empty; name a new one", b.Into))
	}
	part := filepath.Clean(b.Into) + unfinished
	if free, err := empty(part); err != nil || !free {
		return m, errors.Join(err, fmt.Errorf("back up to %s: a backup in %s is being made or was never finished; remove it, or name a new folder", b.Into, part))
	}
	if err := durable.MkdirAll(part, 0o700); err != nil {
		return m, fmt.Errorf("back up: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(part)
			err = fmt.Errorf("back up to %s: %w", b.Into, err)
		}
	}()
	files, leftOut, err := b.files()
	if err != nil {
		return m, err
	}
	if err := roomFor(part, b.needs(files)); err != nil {
		return m, err
	}
	m = Manifest{V: version, Version: floorwatch.BuildVersion, From: floorwatch.TimeOf(time.Now()), LeftOut: leftOut, Postgres: b.Postgres, Todo: b.Todo}
	p := startProgress(b.Tell)
	defer p.end()
	for _, step := range []func() error{
		func() error { return b.look(ctx, p, &m) },
		func() error { return b.copyFiles(ctx, p, files, part) },
		func() error { return b.dump(ctx, p, part) },
		func() error { return b.objects(ctx, p, part, &m) },
		func() error { return m.sum(p, part) },
	} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return m, err
		}
	}
	m.Finished = floorwatch.TimeOf(time.Now())
	if err := syncAll(part); err != nil {
		return m, err
	}
	if err := m.write(part); err != nil {
		return m, err
	}
	if err := os.Rename(part, b.Into); err != nil {
		return m, err
	}
	return m, durable.SyncDir(filepath.Dir(filepath.Clean(b.Into)))
}

// files lists what is copied of the data folder, in order: the dead letters first.
// Whatever nobody here knows is copied too, if it is small.
func (b *Backup) files() (files []string, leftOut []LeftOut, err error) {
	skip := append([]string{layout.ObjectsDir, marker}, b.Skip...)
	entries, err := os.ReadDir(b.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; has the cloud run with this configuration, in this folder?", err)
	}
	for _, e := range entries {
		if slices.Contains(skip, e.Name()) {
			continue
		}
		below := []string{""}
		if e.IsDir() {
			if below, err = filesBelow(filepath.Join(b.Data, e.Name())); err != nil {
				return nil, nil, err
			}
		}
		for _, name := range below {
			path := filepath.Join(e.Name(), name)
			info, err := os.Lstat(filepath.Join(b.Data, path))
			switch {
			case errors.Is(err, fs.ErrNotExist), hasAny(path, "-wal", "-shm", "-journal"), strings.Contains(filepath.Base(path), ".tmp"):
			case err != nil:
				return nil, nil, err
			case !info.Mode().IsRegular():
				leftOut = append(leftOut, LeftOut{path, "it is no file"})
			case info.Size() > maxUnknown && !isSQLite(filepath.Join(b.Data, path)):
				leftOut = append(leftOut, LeftOut{path, fmt.Sprintf("nobody knows what it is, and it has %d bytes", info.Size())})
			default:
				files = append(files, path)
			}
		}
	}
	first := func(path string) int { return map[bool]int{true: 0, false: 1}[path == b.First] }
	slices.SortStableFunc(files, func(a, c string) int { return cmp.Compare(first(a), first(c)) })
	return files, leftOut, nil
}

func hasAny(path string, endings ...string) bool {
	return slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(path, e) })
}

// outside tells that the file of the metadata is not in the data folder.
func (b *Backup) outside() bool {
	data, err1 := filepath.Abs(b.Data)
	at, err2 := filepath.Abs(b.Metadata)
	rel, err3 := filepath.Rel(data, at)
	return b.Metadata != "" && (errors.Join(err1, err2, err3) != nil || !filepath.IsLocal(rel))
}

// needs is how many bytes the backup may have.
func (b *Backup) needs(files []string) (sum int64) {
	for _, f := range files {
		for _, ending := range []string{"", "-wal"} {
			if info, err := os.Stat(filepath.Join(b.Data, f+ending)); err == nil {
				sum += info.Size()
			}
		}
	}
	if b.Dump != nil {
		sum += b.figuresSize()
	}
	if b.Objects == Copy {
		sum += bytesBelow(filepath.Join(b.Data, layout.ObjectsDir))
	}
	return sum
}

// figuresSize is the size of the folder of a database that we run ourselves, 0 of
// others: those lie somewhere else.
func (b *Backup) figuresSize() int64 { return bytesBelow(filepath.Join(b.Data, figuresDir)) }

// look asks the database, before anything is copied, what a restore has to find,
// and how far each box is.
func (b *Backup) look(ctx context.Context, p *progress, m *Manifest) error {
	p.begin("counting records", 0)
	m.Figures = Figures{Held: b.Dump != nil, Database: b.Database, Policy: b.Policy}
	settled, err := b.Figures.SettledOf(ctx)
	if err != nil {
		return err
	}
	for _, s := range settled {
		box := Box{Store: s.Store, Edge: s.Edge}
		if s.Until > 0 {
			box.Since = max(0, min(s.Until, m.From).Add(-settles)-s.Interval)
		}
		m.Boxes = append(m.Boxes, box)
	}
	m.Figures.Count, err = census(ctx, b.Figures, m.From.Add(-b.Keeps).Floor(week), m.From.Add(24*time.Hour))
	return err
}

// census counts what is in a database, week by week.
func census(ctx context.Context, c *influx.Client, from, to floorwatch.Time) (all []Count, err error) {
	for t := max(from, 0); t < to; t = t.Add(week) {
		n := Count{From: t, To: min(t.Add(week), to)}
		if n.Records, err = c.Census(ctx, n.From, n.To); err != nil {
			return nil, err
		}
		if len(n.Records) > 0 {
			all = append(all, n)
		}
	}
	return all, nil
}

func (b *Backup) copyFiles(ctx context.Context, p *progress, files []string, part string) error {
	for _, f := range files {
		from, to := filepath.Join(b.Data, f), filepath.Join(part, dataDir, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		p.begin("copying "+f, 0)
		p.watch(to)
		var err error
		if isSQLite(from) {
			err = copySQLite(ctx, from, to)
		} else {
			_, err = copyFile(from, to, p)
		}
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(f, layout.LinesDir+"/") {
			continue // the vault's retention came between
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Backup) dump(ctx context.Context, p *progress, part string) error {
	if b.outside() {
		p.begin("copying "+b.Metadata, 0)
		p.watch(filepath.Join(part, metadataFile))
		if err := copySQLite(ctx, b.Metadata, filepath.Join(part, metadataFile)); err != nil {
			return err
		}
	}
	if b.DumpPostgres != nil {
		p.begin("copying "+b.Postgres, 0)
		p.watch(filepath.Join(part, metadataDump))
		if err := b.DumpPostgres(ctx, filepath.Join(part, metadataDump)); err != nil {
			return err
		}
	}
	if b.Dump == nil {
		return nil
	}
	dir := filepath.Join(part, figuresDir)
	p.begin("copying InfluxDB", b.figuresSize())
	p.watch(dir)
	return b.Dump(ctx, dir)
}

// objects lists what the copied index names, and copies it where that is asked for.
func (b *Backup) objects(ctx context.Context, p *progress, part string, m *Manifest) (err error) {
	m.Objects.How = b.Objects
	list, err := os.OpenFile(filepath.Join(part, objectsFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(list)
	defer func() { err = errors.Join(err, w.Flush(), list.Close()) }()
	copied := filepath.Join(part, dataDir, layout.VaultIndex)
	if _, err := os.Stat(copied); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	index, err := vault.ReadIndex(copied)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	p.begin("footage", 0)
	return index.EachHere(ctx, func(hash string, bytes int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		state, err := b.object(p, part, hash, bytes)
		m.Objects.Here++
		m.Objects.Bytes += bytes
		switch state {
		case stateCopied:
			m.Objects.Copied++
		case stateGone:
			m.Objects.Gone++
		case stateDamaged:
			m.Objects.Damaged++
		}
		fmt.Fprintln(w, hash, bytes, state)
		return err
	})
}

func (b *Backup) object(p *progress, part, hash string, bytes int64) (state string, err error) {
	from, to := filepath.Join(b.Data, layout.ObjectPath(hash)), filepath.Join(part, layout.ObjectPath(hash))
	info, err := os.Stat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stateGone, nil
	case err != nil:
		return "", err
	case info.Size() != bytes:
		return stateDamaged, nil
	}
	switch b.Objects {
	case Link:
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return "", err
		}
		if err := os.Link(from, to); err != nil {
			return "", fmt.Errorf("%w; a link needs the same disk: use -objects copy", err)
		}
	case Copy:
		wrote, err := copyFile(from, to, p)
		if err != nil {
			return "", err
		}
		if wrote != hash {
			return stateDamaged, os.Remove(to)
		}
	default:
		return stateListed, nil
	}
	return stateCopied, nil
}

// sum lists all files of the backup but the objects, which bear their hash.
func (m *Manifest) sum(p *progress, part string) error {
	paths, err := filesBelow(part)
	if err != nil {
		return err
	}
	p.begin("reading what was copied", 0)
	for _, path := range paths {
		if strings.HasPrefix(path, layout.ObjectsDir+"/") {
			continue
		}
		hash, bytes, err := hashFile(filepath.Join(part, path), p)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, File{path, bytes, hash})
	}
	return nil
}
