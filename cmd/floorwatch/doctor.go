package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch/edge"
	"floorwatch/internal/config"
	"floorwatch/internal/durable"
	"floorwatch/internal/program"
	"floorwatch/models"
)

// Verdicts of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn" // it works, and will not for long, or not as well as it could
	checkFail = "fail"
)

// check is one line of the doctor's: what was looked at, what was found, and
// what to do next where something is to be done.
type check struct {
	Name   string `json:"check"`
	Result string `json:"result"`
	Found  string `json:"found"`
	Next   string `json:"next,omitempty"`
}

// doctor examines a box, part by part.
type doctor struct {
	std    stdio
	json   bool
	config edge.Config
	box    *edge.BoxConfig // nil: the configuration of floorwatch run, without a broker of its own
	busy   bool            // an agent works with the data folder right now
	checks []check
}

// runDoctor tests all that a box needs and says of each what to do.
func runDoctor(ctx context.Context, args []string, std stdio) error {
	fs := flag.NewFlagSet("doctor", flag.ContinueOnError)
	path := fs.String("config", "/etc/floorwatch/edge.yaml", "configuration of a box, or of floorwatch run")
	d := &doctor{std: std}
	fs.BoolVar(&d.json, "json", false, "print a JSON object instead of lines")
	fs.Usage = func() {
		fmt.Fprintln(std.Err, "Usage: floorwatch doctor [-config FILE] [-json]\n"+
			"Tests what a box needs: configuration, programs, model, clock, disk, ports, broker, vault and\n"+
			"each camera. A line for each: ok, warn or fail, what was measured, what to do next.\n"+
			"It may be run beside a working box. Exit codes: 0 nothing failed, 1 something did, 2 wrong command line.")
		fs.PrintDefaults()
	}
	if err := parseFlags(fs, args, std, 0); err != nil {
		return err
	}
	d.examine(ctx, *path)
	if d.json {
		e := json.NewEncoder(std.Out)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"config": *path, "checks": d.checks, "failed": d.count(checkFail)}); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		fmt.Fprintf(std.Out, "%d ok, %d to look at, %d failed\n", d.count(checkOK), d.count(checkWarn), d.count(checkFail))
	}
	if d.count(checkFail) > 0 {
		return program.ErrTold
	}
	return ctx.Err()
}

func (d *doctor) count(result string) int {
	n := 0
	for _, c := range d.checks {
		if c.Result == result {
			n++
		}
	}
	return n
}

func (d *doctor) examine(ctx context.Context, path string) {
	if !d.readConfig(path) {
		return
	}
	d.step("programs", func() []check { return d.programs() })
	d.step("model", func() []check { return d.model() })
	d.step("clock", func() []check { return []check{clockCheck()} })
	d.step("disk", func() []check { return d.disk() })
	d.step("ports", func() []check { return d.ports() })
	if d.box != nil {
		d.step("broker", func() []check { return d.brokerChecks(ctx) })
	}
	if d.config.Backup.URL != "" {
		d.step("vault", func() []check { return d.vault(ctx) })
	}
	for i := range d.config.Cameras {
		c := &d.config.Cameras[i]
		d.step("camera "+c.Name, func() []check { return d.camera(ctx, c) })
	}
}

// step runs checks and shows their lines; on what takes longer than two seconds
// it says that it is still at it.
func (d *doctor) step(name string, run func() []check) {
	done := make(chan []check)
	go func() { done <- run() }()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case found := <-done:
			d.add(name, found...)
			return
		case <-tick.C:
			fmt.Fprintf(d.std.Err, "  …   %s, %.0f s\n", name, time.Since(began).Seconds())
		}
	}
}

func (d *doctor) add(name string, found ...check) {
	for _, c := range found {
		if c.Name == "" {
			c.Name = name
		}
		d.checks = append(d.checks, c)
		if d.json {
			continue
		}
		fmt.Fprintf(d.std.Out, "%-4s  %-16s  %s\n", c.Result, c.Name, c.Found)
		if c.Next != "" {
			fmt.Fprintf(d.std.Out, "      %-16s  → %s\n", "", c.Next)
		}
	}
}

func good(format string, args ...any) check {
	return check{Result: checkOK, Found: fmt.Sprintf(format, args...)}
}

func doubt(next, format string, args ...any) check {
	return check{Result: checkWarn, Found: fmt.Sprintf(format, args...), Next: next}
}

func bad(next, format string, args ...any) check {
	return check{Result: checkFail, Found: fmt.Sprintf(format, args...), Next: next}
}

// wholeRE finds the configuration of floorwatch run by its box's key.
var wholeRE = regexp.MustCompile(`(?m)^edge:\s*(#.*)?$`)

// readConfig tells whether there is a configuration to go on with.
func (d *doctor) readConfig(path string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		d.add("configuration", bad("name the file with -config; deploy/edge.yaml documents every key", "%v", err))
		return false
	}
	if wholeRE.Match(b) {
		var c runConfig
		if c, err = loadRunConfig(path); err == nil {
			d.config = c.Edge
		}
	} else {
		c := edge.DefaultBoxConfig()
		if err = config.Load(path, &c); err == nil {
			d.box, d.config = &c, c.Config
		}
	}
	if err != nil {
		d.add("configuration", bad("correct it; floorwatch-edge check tests it alone", "%v", err))
		return false
	}
	d.busy = locked(filepath.Join(d.config.Data, "outbox", "lock"))
	state := "the box is not running"
	if d.busy {
		state = "the box is running"
	}
	d.add("configuration", good("%s/%s, %d camera(s); %s", d.config.Store, d.config.Edge, len(d.config.Cameras), state))
	return true
}

// locked tells whether another process holds a lock file.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func (d *doctor) programs() []check {
	var missing []string
	if _, err := program.Find(program.Camera); err != nil {
		missing = append(missing, program.Camera)
	}
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return []check{bad("install the floorwatch package, which brings them: apt-get install ./floorwatch_*.deb", "missing: %v", missing)}
	}
	return []check{good("floorwatch-camera, ffmpeg and ffprobe are there")}
}

// model tests the weights that a camera's detector needs.
func (d *doctor) model() []check {
	wants := func(name string) bool {
		return slices.ContainsFunc(d.config.Cameras, func(c edge.Camera) bool { return c.Detector == name })
	}
	if !wants("auto") && !wants("nanodet") {
		return []check{good("no camera's detector needs one")}
	}
	var out []check
	for _, m := range models.All() {
		path, err := models.Find(d.config.Models, m.Name)
		switch {
		case err == nil:
			out = append(out, good("%s, SHA-256 as it should be", path))
		case errors.Is(err, fs.ErrNotExist) && !wants("nanodet"):
			out = append(out, doubt("floorwatch models -dir "+d.config.Models+" fetches it", "%s is not there: cameras with detector auto see by motion, which is worse", m.File))
		default:
			out = append(out, bad("floorwatch models -dir "+d.config.Models+" fetches it", "%v", err))
		}
	}
	return out
}

const offLimit = time.Second

func clockCheck() check {
	const next = "let a time server set it: apt-get install chrony, and check that UDP port 123 is open"
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return doubt("run it as the box's user on the box", "the clock cannot be read: %v", err)
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	offset := time.Duration(t.Offset) * unit
	now := time.Now().UTC().Format(time.RFC3339)
	switch {
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return doubt(next, "%s, not synchronised: what is recorded is marked so", now)
	case offset.Abs() > offLimit:
		return doubt(next, "%s, synchronised, off by %s", now, offset)
	}
	return good("%s, synchronised, off by %s, at most by %s", now, offset, (time.Duration(t.Maxerror) * time.Microsecond).Round(time.Millisecond))
}

// What a disk should give: the footage of eight cameras, and an outbox that
// commits several times a second.
const (
	slowDisk = 8e6 // bytes a second
	slowSync = 100 * time.Millisecond
)

func (d *doctor) disk() []check {
	dir := d.config.Data
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return []check{bad("create the folder for the box's user, as the package does", "%v", err)}
	}
	out := []check{d.keyFile(), mountCheck(dir)}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return append(out, bad("check the disk", "%s does not answer: %v", dir, err))
	}
	free, size := float64(st.Bavail)*float64(st.Bsize), float64(st.Blocks)*float64(st.Bsize)
	want := float64(d.config.Footage.MaxBytes) + float64(d.config.Outbox.MaxBytes)
	text := fmt.Sprintf("%s: %.1f of %.1f GB free", dir, free/1e9, size/1e9)
	switch {
	case free < 0.05*size:
		out = append(out, bad("free some space: recording stops below 5 %%", "%s", text))
	case st.Files > 0 && float64(st.Ffree) < 0.05*float64(st.Files):
		out = append(out, bad("remove small files, or format the disk with more inodes", "%s, and %d of %d files", text, st.Ffree, st.Files))
	case size*0.95 < want:
		out = append(out, doubt("lower footage.max_bytes, or use a larger disk", "%s; the configuration allows itself %.1f GB", text, want/1e9))
	default:
		out = append(out, good("%s; the configuration allows itself %.1f GB", text, want/1e9))
	}
	speed, syncTime, err := diskSpeed(dir)
	text = fmt.Sprintf("writes %.0f MB/s to the disk itself, a small write takes %s", speed/1e6, syncTime.Round(100*time.Microsecond))
	switch {
	case err != nil:
		return append(out, bad("check permissions and the disk; run doctor as the box's user", "%v", err))
	case speed < slowDisk || syncTime > slowSync:
		return append(out, doubt("use an SSD or an endurance card; look for errors in dmesg", "%s", text))
	}
	return append(out, good("%s", text))
}

func (d *doctor) keyFile() check {
	path := filepath.Join(d.config.Data, edge.KeyFile)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return doubt("floorwatch-edge key makes one and prints what the cloud's registry wants", "the box has no key yet")
	case err != nil:
		return bad("run doctor as the box's user", "%v", err)
	case info.Mode().Perm()&0o077 != 0:
		return bad("chmod 600 "+path, "others can read the box's key (%v)", info.Mode().Perm())
	}
	return good("the box has its key")
}

// diskSpeed measures how fast 16 MiB reach the disk, and the median of small
// writes of their own.
func diskSpeed(dir string) (bytesPerSec float64, small time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return 0, 0, fmt.Errorf("write to the data folder: %w", err)
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * i >> 3) // not zeros, which some disks do not write
	}
	const blocks = 16
	began := time.Now()
	for range blocks {
		if _, err := f.Write(block); err != nil {
			return 0, 0, fmt.Errorf("write to the data folder: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return 0, 0, fmt.Errorf("write to the data folder: %w", err)
	}
	took := time.Since(began)
	var each []time.Duration
	for range 9 {
		began := time.Now()
		if _, err := f.Write(block[:512]); err != nil {
			return 0, 0, fmt.Errorf("write to the data folder: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, 0, fmt.Errorf("write to the data folder: %w", err)
		}
		each = append(each, time.Since(began))
	}
	slices.Sort(each)
	return blocks * float64(len(block)) / took.Seconds(), each[len(each)/2], nil
}

// ports tests what the box listens on.
func (d *doctor) ports() []check {
	wanted := map[string]string{}
	if d.box != nil && d.box.Metrics != "" {
		wanted["metrics"] = d.box.Metrics
	}
	if d.config.Counters.Listen != "" {
		wanted["counters.listen"] = d.config.Counters.Listen
	}
	var out []check
	for key, address := range wanted {
		ln, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			_ = ln.Close()
			out = append(out, good("%s %s is free", key, address))
		case d.busy && errors.Is(err, syscall.EADDRINUSE):
			out = append(out, good("%s %s is in use, as the box is running", key, address))
		default:
			out = append(out, bad("change the key "+key+", or stop the other program: ss -ltnp shows it", "%s: %v", key, err))
		}
	}
	return out
}
