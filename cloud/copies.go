package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/cloud/backup"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
)

// Copying is what of a backup stands in no configuration.
type Copying struct {
	Folder  string // of the backup
	Objects string // of Backup: backup.List and so on; of Restore: a folder of objects
	// InfluxRPC is where a 1.8 of one's own answers its own protocol, such as
	// localhost:8088; "": the operator copies it.
	InfluxRPC string
	Tell      func(text string) // of progress
}

// Backup prepares one of a cloud at work.
func (c Config) Backup(s Copying) (*backup.Backup, error) {
	client, child, err := c.figures(nil)
	if err != nil {
		return nil, err
	}
	b := &backup.Backup{
		Data: c.Data, Into: s.Folder, Objects: s.Objects, First: ingestFile, Skip: []string{incomingDir, InfluxDir},
		Figures: client, Database: c.Influx.Database, Policy: c.Influx.Policy, Keeps: c.Retention, Tell: s.Tell,
	}
	rpc := s.InfluxRPC
	if child != nil {
		at, own, err := child.Running()
		if err != nil {
			return nil, err
		}
		client.Endpoint, rpc = influx.At(at.URL, at.Token), own
	}
	switch {
	case rpc != "":
		b.Dump = func(ctx context.Context, dir string) error { return influx.Dump(ctx, "", rpc, c.Influx.Database, dir) }
	case c.Influx.Flavour == influx.Flavour27:
		b.Todo = append(b.Todo, "influx backup --host "+c.Influx.URL+" --bucket "+c.Influx.Database+"/"+c.Influx.Policy+" --token … FOLDER")
	default:
		b.Todo = append(b.Todo, "influxd "+strings.Join(influx.DumpArgs("HOST:8088", c.Influx.Database, "FOLDER"), " "))
	}
	at := c.MetadataAt()
	if metadata.IsPostgres(at) {
		b.Postgres = metadata.Redact(at)
		tool, err := exec.LookPath("pg_dump")
		if err != nil {
			b.Todo = append(b.Todo, fmt.Sprintf("pg_dump --format=custom --file=FILE '%s'", b.Postgres))
			return b, nil
		}
		b.DumpPostgres = func(ctx context.Context, file string) error { return dumpPostgres(ctx, tool, at, file) }
	} else {
		b.Metadata = metadata.Redact(at)
	}
	return b, nil
}

// dumpPostgres runs pg_dump. The password goes by the environment: arguments are
// everybody's to read.
func dumpPostgres(ctx context.Context, tool, at, file string) error {
	u, err := url.Parse(at)
	if err != nil {
		return fmt.Errorf("pg_dump: %s is no address of a Postgres", metadata.Redact(at))
	}
	password, ok := u.User.Password()
	if !ok {
		password = u.Query().Get("password")
	}
	cmd := exec.CommandContext(ctx, tool, "--format=custom", "--file="+file, "--dbname="+metadata.Redact(at))
	if password != "" {
		cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_dump of %s: %w: %s", metadata.Redact(at), err, strings.TrimSpace(string(out)))
	}
	return os.Chmod(file, 0o600)
}

// Restore prepares one into the data folder, which must be empty.
func (c Config) Restore(s Copying) (*backup.Restore, error) {
	client, child, err := c.figures(nil)
	if err != nil {
		return nil, err
	}
	r := &backup.Restore{
		From: s.Folder, Data: c.Data, Objects: s.Objects, Child: child, Figures: client,
		Database: c.Influx.Database, Policy: c.Influx.Policy, Keeps: c.Retention, Boxes: c.boxes, Tell: s.Tell,
	}
	if !metadata.IsPostgres(c.MetadataAt()) {
		r.Metadata = metadata.Redact(c.MetadataAt())
	}
	return r, nil
}

// boxes lists those of the metadata.
func (c Config) boxes(ctx context.Context) (all []backup.Box, err error) {
	db, err := metadata.Open(ctx, c.MetadataAt())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	sites, err := site.Read(ctx, db)
	if err != nil {
		return nil, err
	}
	now := sites.At(floorwatch.TimeOf(time.Now()))
	for _, hall := range now.Halls("") {
		for _, e := range now.Edges(hall) {
			all = append(all, backup.Box{Store: hall, Edge: e.ID})
		}
	}
	return all, nil
}
