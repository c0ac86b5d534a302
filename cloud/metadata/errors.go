package metadata

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
)

// Primary result codes of SQLite, and states of SQL that Postgres tells.
const (
	sqliteBusy, sqliteLocked, sqliteReadOnly, sqliteIOErr = 5, 6, 8, 10
	sqliteCorrupt, sqliteFull, sqliteCantOpen, sqliteNotA = 11, 13, 14, 26

	stateSerialisation, stateDeadlock, stateLock = "40001", "40P01", "55P03"
	stateDiskFull, stateNoDatabase               = "53100", "3D000"
)

// Error is a fault of the store itself, and not of what was asked of it.
type Error struct {
	Did  string // open, read, write
	At   string // file or URL, without password
	Hint string // what to do next
	Err  error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s metadata %s: %v", e.Did, e.At, e.Err)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// codeOf returns SQLite's primary code, or Postgres' state.
func codeOf(err error) (code int, state string) {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() & 0xff, ""
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return 0, pg.Code
	}
	return 0, ""
}

// busy tells that the same transaction may succeed when it is tried again.
func busy(err error) bool {
	code, state := codeOf(err)
	return code == sqliteBusy || code == sqliteLocked ||
		state == stateSerialisation || state == stateDeadlock || state == stateLock
}

// explain wraps what the store itself said, with where and what to do next; what
// the caller's own function returned stays as it is.
func (db *DB) explain(did string, err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	hint, own := db.hint(err)
	if !own && did != "open" {
		return err
	}
	return &Error{did, db.name, hint, err}
}

// hint returns what to do next, and whether the store said this at all.
func (db *DB) hint(err error) (hint string, own bool) {
	code, state := codeOf(err)
	var dial *pgconn.ConnectError
	var network net.Error
	var path *fs.PathError
	switch {
	case code == sqliteFull || state == stateDiskFull || errors.Is(err, syscall.ENOSPC):
		return "the disk is full: free space there; nothing was changed", true
	case code == sqliteBusy || code == sqliteLocked:
		return "another process holds it: end a backup or a shell that has it open, and try again", true
	case code == sqliteCorrupt || code == sqliteNotA:
		return "the file is damaged: stop the cloud, move it away and put the last backup there", true
	case code == sqliteReadOnly || code == sqliteCantOpen || code == sqliteIOErr || errors.As(err, &path):
		return "check that the disk is there and that this user may write the file and its folder", true
	case state == stateNoDatabase:
		return "make the database first: createdb", true
	case strings.HasPrefix(state, "28"):
		return "check user and password in the URL, and pg_hba.conf", true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), code != 0:
		return "", code != 0
	case errors.As(err, &dial), errors.As(err, &network), strings.HasPrefix(state, "57P"), strings.HasPrefix(state, "08"),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE):
		return "Postgres does not answer: check that it runs and that this machine reaches it", true
	}
	return "", code != 0 || state != ""
}
