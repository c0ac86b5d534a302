package backup

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/vault"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/layout"
)

// cloudAt is a data folder with all that a cloud puts there, and its database at
// work.
type cloudAt struct {
	dir     string
	objects []string
	server  *influx.Server
	client  *influx.Client
}

func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)")
	kit.Must(t, err)
	for _, s := range statements {
		_, err := db.Exec(s)
		kit.Must(t, err)
	}
	kit.Must(t, db.Close())
}

func count(t *testing.T, path, what string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	kit.Must(t, err)
	defer func() { _ = db.Close() }()
	kit.Must(t, db.QueryRow(`SELECT count(*) FROM `+what).Scan(&n))
	return n
}

// run runs an influxd until the test ends.
func run(t *testing.T, s *influx.Server) {
	t.Helper()
	s.Bin = kit.Tool(t, "influxd")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); kit.Must(t, <-done) })
	ready, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	_, err := s.WaitReady(ready)
	kit.Must(t, err)
}

func newCloud(t *testing.T) *cloudAt {
	t.Helper()
	kit.Tool(t, "influxd")
	c := &cloudAt{dir: filepath.Join(t.TempDir(), "data")}
	c.server = &influx.Server{Dir: filepath.Join(c.dir, "influxdb")}
	c.client = &influx.Client{Endpoint: c.server.Endpoint}
	run(t, c.server)
	t.Cleanup(c.client.Close)
	kit.Must(t, os.MkdirAll(filepath.Join(c.dir, "incoming", "s1"), 0o700))
	kit.Write(t, filepath.Join(c.dir, "incoming", "s1", "half"), "half an upload")
	kit.Write(t, filepath.Join(c.dir, "cloud.key"), "a key")
	kit.Must(t, os.Mkdir(filepath.Join(c.dir, "more"), 0o700))
	kit.Write(t, filepath.Join(c.dir, "more", "note"), "a note")
	big, err := os.Create(filepath.Join(c.dir, "unknown.bin"))
	kit.Must(t, err)
	kit.Must(t, errors.Join(big.Truncate(maxUnknown+1), big.Close()))
	execute(t, filepath.Join(c.dir, "ingest.sqlite"), `CREATE TABLE letter (n)`, `INSERT INTO letter VALUES (1)`)
	execute(t, c.dir+".sqlite", `CREATE TABLE node (n)`, `INSERT INTO node VALUES (1)`)
	index, err := vault.OpenIndex(filepath.Join(c.dir, layout.VaultIndex))
	kit.Must(t, err)
	kit.Must(t, index.Close())
	for i := range 3 {
		text := fmt.Sprint("footage ", i)
		sum := sha256.Sum256([]byte(text))
		hash := hex.EncodeToString(sum[:])
		c.objects = append(c.objects, hash)
		path := filepath.Join(c.dir, layout.ObjectPath(hash))
		kit.Must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		kit.Write(t, path, text)
		execute(t, filepath.Join(c.dir, layout.VaultIndex), fmt.Sprintf(`INSERT INTO object VALUES ('%s', %d, 1, 'here')`, hash, len(text)))
	}
	c.write(t, 1, 100)
	kit.Must(t, c.client.Write(t.Context(), []influx.Point{{Store: "s1", Edge: "box1", Log: "00112233aabbccdd", Seq: 7000, Record: &floorwatch.Health{
		Header: floorwatch.Header{Kind: floorwatch.KindHealth, At: floorwatch.TimeOf(time.Now())}, Figures: map[string]float64{string(floorwatch.FigureBacklog): 3600},
	}}}))
	return c
}

// write stores stays with the numbers from first on.
func (c *cloudAt) write(t *testing.T, first, n int) {
	t.Helper()
	var points []influx.Point
	for i := first; i < first+n; i++ {
		end := floorwatch.TimeOf(time.Now().Add(-time.Duration(i) * time.Hour))
		points = append(points, influx.Point{Store: "s1", Edge: "box1", Log: "00112233aabbccdd", Seq: uint64(i), Record: &floorwatch.Stay{
			Header: floorwatch.Header{Kind: floorwatch.KindStay, Camera: "hall", Zone: "queue", ID: fmt.Sprint(i), At: end}, Enter: end - 1000, Exit: &end,
		}})
	}
	kit.Must(t, c.client.Write(t.Context(), points))
}

func (c *cloudAt) backup(into string) *Backup {
	return &Backup{
		Data: c.dir, Into: into, Objects: List, First: "ingest.sqlite", Skip: []string{"incoming", "influxdb"},
		Figures: c.client, Metadata: c.dir + ".sqlite", Database: influx.DefaultDatabase, Policy: influx.DefaultPolicy, Keeps: influx.DefaultRetention,
		Dump: func(ctx context.Context, dir string) error {
			_, rpc, err := c.server.Running()
			if err != nil {
				return err
			}
			return influx.Dump(ctx, c.server.Bin, rpc, influx.DefaultDatabase, dir)
		},
	}
}

func (c *cloudAt) restore(from, data string) *Restore {
	return &Restore{
		From: from, Data: data, Child: &influx.Server{Bin: c.server.Bin, Dir: filepath.Join(data, "influxdb")},
		Database: influx.DefaultDatabase, Policy: influx.DefaultPolicy, Keeps: influx.DefaultRetention,
		Metadata: filepath.Join(filepath.Dir(data), "elsewhere.sqlite"),
		Boxes: func(context.Context) ([]Box, error) {
			return []Box{{Store: "s1", Edge: "box1"}, {Store: "s1", Edge: "mute"}}, nil
		},
	}
}

func TestBackupAndRestore(t *testing.T) {
	c := newCloud(t)
	into := filepath.Join(t.TempDir(), "new", "copy")
	b := c.backup(into)
	b.Objects = Copy
	kit.Must(t, os.Remove(filepath.Join(c.dir, layout.ObjectPath(c.objects[1])))) // as by retention, meanwhile
	kit.Write(t, filepath.Join(c.dir, layout.ObjectPath(c.objects[2])), "FOOTAGE 2")
	before := floorwatch.TimeOf(time.Now())
	m, err := b.Run(t.Context())
	kit.Must(t, err)
	if (m.Objects != Objects{Copy, 3, 27, 1, 1, 1}) || m.From < before || len(m.Boxes) != 1 || len(m.LeftOut) != 1 || m.LeftOut[0].Path != "unknown.bin" {
		t.Errorf("%+v", m)
	}
	if since := time.Duration(before-m.Boxes[0].Since) * time.Millisecond; since < time.Hour+settles-time.Minute || since > time.Hour+settles+time.Minute {
		t.Errorf("what the box had not handed over is booked %s before the backup", since)
	}
	if read, err := ReadManifest(into); err != nil || !reflect.DeepEqual(read, m) {
		t.Errorf("read %+v, %v\nwant %+v", read, err, m)
	}
	c.write(t, 101, 50) // after it
	if _, err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("over a backup: %v", err)
	}

	data := filepath.Join(t.TempDir(), "data")
	out, err := c.restore(into, data).Run(t.Context())
	kit.Must(t, err)
	if out.Objects != 1 || !slices.Equal(out.Missing, sorted(c.objects[1:])) || out.Short != nil {
		t.Errorf("%+v", out)
	}
	for path, want := range map[string]string{"cloud.key": "a key", "more/note": "a note", layout.ObjectPath(c.objects[0]): "footage 0"} {
		if got, err := os.ReadFile(filepath.Join(data, path)); string(got) != want || err != nil {
			t.Errorf("%s has %q, %v", path, got, err)
		}
	}
	for path, what := range map[string]string{"ingest.sqlite": "letter", "../elsewhere.sqlite": "node"} {
		if n := count(t, filepath.Join(data, path), what); n != 1 {
			t.Errorf("%s has %d rows", path, n)
		}
	}
	if n := count(t, filepath.Join(data, layout.VaultIndex), `object WHERE state = 'here'`); n != 1 {
		t.Errorf("the index names %d objects as here", n)
	}
	if n := count(t, filepath.Join(data, layout.VaultIndex), fmt.Sprintf(`access WHERE who = 'restore' AND start = %d AND "end" = %d`, m.From, out.At)); n != 1 {
		t.Errorf("%d lines in the access log", n)
	}
	for _, gone := range []string{"incoming", "unknown.bin", marker} {
		if _, err := os.Stat(filepath.Join(data, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
	}
	kit.Must(t, Whole(data))
	again := &influx.Server{Dir: filepath.Join(data, "influxdb")}
	run(t, again)
	client := &influx.Client{Endpoint: again.Endpoint}
	t.Cleanup(client.Close)
	q := influx.Query{Store: "s1", Edge: "box1", To: floorwatch.TimeOf(time.Now()).Add(time.Hour)}
	stays, err := client.Stays(t.Context(), q)
	if len(stays) != 100 || err != nil {
		t.Errorf("%d stays, %v", len(stays), err)
	}
	for edge, since := range map[string]floorwatch.Time{"box1": m.Boxes[0].Since, "mute": 0} {
		q.Edge = edge
		gaps, err := client.Gaps(t.Context(), q)
		if err != nil || len(gaps) != 1 || gaps[0].Of != floorwatch.OfRecords || gaps[0].Cause != floorwatch.CauseRestored || gaps[0].From != since || *gaps[0].To != out.At {
			t.Errorf("%s: booked %+v, %v", edge, gaps, err)
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestRestoreRefuses(t *testing.T) {
	c := newCloud(t)
	from := filepath.Join(t.TempDir(), "copy")
	m, err := c.backup(from).Run(t.Context())
	kit.Must(t, err)
	data := filepath.Join(t.TempDir(), "data")
	refused := func(why string) {
		t.Helper()
		if _, err := c.restore(from, data).Run(t.Context()); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v; want %s", err, why)
		}
	}
	for _, f := range m.Files { // one byte of each
		path := filepath.Join(from, f.Path)
		whole, err := os.ReadFile(path)
		kit.Must(t, err)
		if len(whole) == 0 {
			continue
		}
		bad := slices.Clone(whole)
		bad[len(bad)/2] ^= 1
		kit.Write(t, path, string(bad))
		refused(f.Path + " is not what was backed up")
		kit.Write(t, path, string(whole))
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused restore left a folder: %v", err)
	}
	kit.Must(t, os.Mkdir(data, 0o700))
	kit.Write(t, filepath.Join(data, "mine"), "")
	refused("is not empty")

	elsewhere := filepath.Join(filepath.Dir(data), "elsewhere.sqlite")
	kit.Must(t, os.Remove(filepath.Join(data, "mine")))
	kit.Write(t, elsewhere, "precious")
	refused("elsewhere.sqlite is there; stop the cloud")
	kit.Write(t, filepath.Join(data, "mine"), "")

	// What was broken off is refused by the cloud, and begun anew.
	kit.Write(t, filepath.Join(data, marker), "")
	if err := Whole(data); err == nil {
		t.Error("half a folder is taken for a whole one")
	}
	// More was there than the database gives back: the manifest tells.
	m.Figures.Count[len(m.Figures.Count)-1].Records[floorwatch.KindStay] += 7
	kit.Must(t, m.write(from))
	out, err := c.restore(from, data).Run(t.Context())
	if err != nil || len(out.Short) != 1 || !strings.HasPrefix(out.Short[0], "7 of ") {
		t.Errorf("%q, %v", out.Short, err)
	}
	if _, err := os.Stat(filepath.Join(data, "mine")); !errors.Is(err, fs.ErrNotExist) || Whole(data) != nil {
		t.Errorf("begun anew, but the old is there: %v, %v", err, Whole(data))
	}
	if n := count(t, elsewhere, "node"); n != 1 {
		t.Errorf("the metadata have %d rows", n)
	}
}

func TestBackupRefuses(t *testing.T) {
	c := newCloud(t)
	into := filepath.Join(t.TempDir(), "copy")
	b := c.backup(into)
	b.Dump = func(context.Context, string) error { return errors.New("the database went away") }
	if _, err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "went away") {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(into + "*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	kit.Must(t, os.Mkdir(into+unfinished, 0o700))
	kit.Write(t, filepath.Join(into+unfinished, "half"), "")
	if _, err := c.backup(into).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "never finished") {
		t.Errorf("%v", err)
	}
	if _, err := ReadManifest(into + unfinished); err == nil || !strings.Contains(err.Error(), "never finished") {
		t.Errorf("%v", err)
	}
	if err := roomFor(c.dir, 1<<60); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("%v", err)
	}
}

// TestLinesMayGoMeanwhile: camera lines are copied as files, and retention may
// delete some between the listing and the copying; no other file may be missing.
func TestLinesMayGoMeanwhile(t *testing.T) {
	t.Parallel()
	dir, part := t.TempDir(), t.TempDir()
	here, gone := layout.LinesPath(strings.Repeat("ab", 32)), layout.LinesPath(strings.Repeat("cd", 32))
	for _, path := range []string{here, gone} {
		kit.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700))
		kit.Write(t, filepath.Join(dir, path), "lines")
	}
	b := &Backup{Data: dir}
	files, leftOut, err := b.files()
	if err != nil || len(files) != 2 || len(leftOut) != 0 {
		t.Fatalf("%v %v %v", files, leftOut, err)
	}
	kit.Must(t, os.Remove(filepath.Join(dir, gone)))
	if err := b.copyFiles(t.Context(), &progress{}, files, part); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(part, dataDir, here)); err != nil || string(got) != "lines" {
		t.Errorf("%q %v", got, err)
	}
	if err := b.copyFiles(t.Context(), &progress{}, []string{"letters"}, part); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another file is missing: %v", err)
	}
}
