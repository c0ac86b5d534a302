package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"floorwatch/edge"
	"floorwatch/edge/clock"
	"floorwatch/internal/durable"
)

// A box whose program crashes again and again goes on in safe mode: it opens no
// camera, and reports why. Crashes are counted on disk without looking at the
// clock, which may be anywhere after a power cut: a start after a run that never
// said that it ended is one, unless the machine itself was restarted in between.
const (
	crashLimit = 5                // in a row, for safe mode
	steadyRun  = 10 * time.Minute // a run of this length ends the row
	safeFor    = 5 * time.Minute  // doubles with each time in a row,
	safeAtMost = time.Hour        // up to this
)

// Files of the state folder.
const (
	startsFile = "starts.json"
	goodFile   = "edge.good.yaml"
	crashFile  = "crash.txt"
	lastCrash  = "crash-before.txt"
)

// starts is the account of the runs before this one.
type starts struct {
	Boot    string `json:"boot"`
	Running bool   `json:"running"`
	Crashes int    `json:"crashes"`
	Safe    int    `json:"safe"`          // times in safe mode since the last steady run
	Bad     string `json:"bad,omitempty"` // hash of the configuration that crashed crashLimit times

	dir string
	why string // the run before crashed for
}

// beginRun books the start. An account that cannot be read counts as none.
func beginRun(dir, config string, log *slog.Logger) *starts {
	s := &starts{dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, startsFile))
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("account of earlier runs is not readable; it begins anew", "error", err)
		*s = starts{dir: dir}
	}
	boot := clock.System().Boot
	if s.Running && s.Boot == boot {
		s.Crashes++
		s.why = crashReason(filepath.Join(dir, crashFile))
		log.Error("the run before this one crashed", "why", s.why, "in_a_row", s.Crashes)
	}
	if s.Crashes >= crashLimit {
		s.Bad = hashOf(config)
	}
	s.Boot, s.Running = boot, true
	s.save(log)
	return s
}

// save writes the account; a disk that does not take it must not keep the box down.
func (s *starts) save(log *slog.Logger) {
	b, err := json.Marshal(s)
	if err == nil {
		err = durable.WriteFile(filepath.Join(s.dir, startsFile), append(b, '\n'), 0o600)
	}
	if err != nil {
		log.Error("account of runs not written; check the disk", "error", err)
	}
}

func (s *starts) safe() bool { return s.Crashes >= crashLimit }

// steady ends the row of crashes and keeps the configuration as a good one.
func (s *starts) steady(config string, log *slog.Logger) {
	s.Crashes, s.Safe = 0, 0
	s.save(log)
	b, err := os.ReadFile(config)
	if err == nil && !s.isGood(b) {
		err = durable.WriteFile(filepath.Join(s.dir, goodFile), b, 0o600)
	}
	if err != nil {
		log.Error("configuration not kept as a good one", "error", err)
	}
}

func (s *starts) isGood(config []byte) bool {
	b, err := os.ReadFile(filepath.Join(s.dir, goodFile))
	return err == nil && bytes.Equal(b, config)
}

// end books a clean stop: whoever starts the box again has seen to it.
func (s *starts) end(log *slog.Logger) {
	s.Running, s.Crashes, s.Safe, s.Bad = false, 0, 0, ""
	s.save(log)
}

// pause is how long safe mode lasts.
func (s *starts) pause() time.Duration { return min(safeFor<<min(s.Safe, 8), safeAtMost) }

func hashOf(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// stateDir is where a box keeps what it must know before its configuration can
// be read: systemd's StateDirectory, or else the data folder, if that is known.
func stateDir(c edge.BoxConfig) string { return cmp.Or(os.Getenv("STATE_DIRECTORY"), c.Data) }

// choose returns the configuration to run with, and why it is not the one asked
// for: the last good one where that one cannot be used or kept crashing.
func choose(path string) (c edge.BoxConfig, b edge.Broker, used, why string, err error) {
	c, b, err = loadAll(path)
	good := filepath.Join(stateDir(c), goodFile)
	if err != nil && os.Getenv("STATE_DIRECTORY") == "" {
		return c, b, path, "", err // the data folder may be the wrong one, too
	}
	var s starts
	if raw, readErr := os.ReadFile(filepath.Join(stateDir(c), startsFile)); readErr == nil {
		_ = json.Unmarshal(raw, &s) // unreadable: no configuration is bad
	}
	switch {
	case err != nil:
		why = "its configuration cannot be used: " + strings.Join(strings.Fields(err.Error()), " ")
	case s.Bad != "" && s.Bad == hashOf(path) && hashOf(good) != s.Bad:
		why = fmt.Sprintf("it crashed %d times in a row with its configuration", crashLimit)
	default:
		return c, b, path, "", nil
	}
	fine, fb, goodErr := loadAll(good)
	if goodErr != nil {
		return c, b, path, "", err // nothing better is known
	}
	return fine, fb, good, why + "; it runs with the last good one: correct the file and restart the service", nil
}

// catchCrashes makes the Go runtime write the reason of a crash to a file, and
// puts that of the run before aside.
func catchCrashes(dir string, log *slog.Logger) {
	path := filepath.Join(dir, crashFile)
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		_ = os.Rename(path, filepath.Join(dir, lastCrash))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		err = debug.SetCrashOutput(f, debug.CrashOptions{})
		_ = f.Close() // the runtime has its own copy
	}
	if err != nil {
		log.Warn("reasons of crashes will be in the journal only", "error", err)
	}
}

// crashReason finds the line that says why.
func crashReason(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			return fmt.Sprintf("%.200s", text)
		}
	}
	return "killed, or ended with an error: the journal says more"
}

// keepRunning runs the box until ctx ends, in safe mode first where the runs
// before crashed. agent runs it with the notes given.
func keepRunning(ctx context.Context, s *starts, used string, log *slog.Logger, agent func(ctx context.Context, safe bool, notes ...string) error) error {
	catchCrashes(s.dir, log)
	if s.safe() {
		note := fmt.Sprintf("safe mode, cameras are off: %d runs in a row crashed, the last one: %s; tries again every %s", s.Crashes, s.why, s.pause())
		log.Error(note)
		safe, stop := context.WithTimeout(ctx, s.pause())
		err := agent(safe, true, note)
		stop()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			s.end(log)
			return nil
		}
		s.Crashes, s.Safe = crashLimit-1, s.Safe+1 // one more, and it is back here
		s.save(log)
		log.Warn("safe mode ends, the cameras are tried again")
	}
	booked := make(chan struct{})
	timer := time.AfterFunc(steadyRun, func() { defer close(booked); s.steady(used, log) })
	err := agent(ctx, false)
	if !timer.Stop() {
		<-booked
	}
	if err == nil {
		s.end(log)
	}
	return err
}
