package backup

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
)

// What lies in a backup's folder.
const (
	manifestFile = "manifest.json"   // written last
	dataDir      = "data"            // files of the data folder
	figuresDir   = "influxdb"        // what influxd backup wrote
	metadataFile = "metadata.sqlite" // that lies outside of the data folder
	metadataDump = "metadata.dump"   // of a Postgres, by pg_dump
	objectsFile  = "objects.txt"     // of the vault: SHA-256, bytes, state, one a line
	unfinished   = ".part"           // the folder's ending while it is being made
)

// version of a backup's folder.
const version = 1

// Manifest says what is in a backup.
type Manifest struct {
	V       int    `json:"v"`
	Version string `json:"version"` // of the program that made it
	// From is the moment T: whatever was acknowledged to a box before is in the
	// backup. What came until Finished may be in it, in part.
	From     floorwatch.Time `json:"from"`
	Finished floorwatch.Time `json:"finished"`
	Files    []File          `json:"files"`
	LeftOut  []LeftOut       `json:"left_out,omitempty"`
	Figures  Figures         `json:"figures"`
	// Postgres, of the metadata, without its password; "": they are in a file.
	Postgres string  `json:"postgres,omitempty"`
	Objects  Objects `json:"objects"`
	Boxes    []Box   `json:"boxes"`
	// Todo are the commands that copy what this backup does not hold.
	Todo []string `json:"todo,omitempty"`
}

// File is a file of the backup by its path in the folder.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// LeftOut is a file of the data folder that was not copied.
type LeftOut struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Figures is what InfluxDB held at From.
type Figures struct {
	Held     bool    `json:"held"` // the backup has a copy of it
	Database string  `json:"database"`
	Policy   string  `json:"policy"`
	Count    []Count `json:"count"`
}

// Count is how many records of each kind were stored, by when their points are.
type Count struct {
	From    floorwatch.Time  `json:"from"`
	To      floorwatch.Time  `json:"to"`
	Records map[string]int64 `json:"records"`
}

// Objects counts the footage that the vault had.
type Objects struct {
	How     string `json:"how"` // list, link, copy
	Here    int    `json:"here"`
	Bytes   int64  `json:"bytes"`
	Copied  int    `json:"copied"`
	Gone    int    `json:"gone"`    // deleted by retention while the backup was made
	Damaged int    `json:"damaged"` // on the disk they are not what they were
}

// Box is how far the cloud had, at From, what a box had to say.
type Box struct {
	Store string `json:"store"`
	Edge  string `json:"edge"`
	// Since is the moment from which records of it may have been acknowledged
	// after From; 0: not known.
	Since floorwatch.Time `json:"since"`
}

// ReadManifest reads what a finished backup says of itself.
func ReadManifest(dir string) (m Manifest, err error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(filepath.Clean(dir), unfinished):
		return m, fmt.Errorf("read backup %s: it was never finished; take another one", dir)
	case err != nil:
		return m, fmt.Errorf("read backup: %w; name the folder that floorwatch-cloud backup made", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read backup %s: %w", filepath.Join(dir, manifestFile), err)
	}
	if m.V != version {
		return m, fmt.Errorf("read backup %s: it has form %d, known here is %d; use the floorwatch-cloud %s that made it", dir, m.V, version, m.Version)
	}
	return m, nil
}

func (m Manifest) write(dir string) error {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return durable.WriteFile(filepath.Join(dir, manifestFile), append(b, '\n'), 0o600)
}

// States of an object in the list.
const (
	stateCopied  = "copied"
	stateListed  = "listed"
	stateGone    = "gone"
	stateDamaged = "damaged"
)

// eachObject calls do for every line of the list.
func eachObject(dir string, do func(hash string, bytes int64, state string) error) error {
	f, err := os.Open(filepath.Join(dir, objectsFile))
	if err != nil {
		return fmt.Errorf("read list of objects: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var hash, state string
		var bytes int64
		if _, err := fmt.Sscan(lines.Text(), &hash, &bytes, &state); err != nil || !floorwatch.ValidHash(hash) {
			return fmt.Errorf("read list of objects: %s has the line %.100q", f.Name(), lines.Text())
		}
		if err := do(hash, bytes, state); err != nil {
			return err
		}
	}
	return lines.Err()
}

// week is the span of a count: short enough for one query of a large database.
const week = 7 * 24 * time.Hour
