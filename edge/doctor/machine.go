package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch/internal/durable"
	"floorwatch/internal/finding"
	"floorwatch/internal/program"
	"floorwatch/models"
)

func programs() []finding.Finding {
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
		return []finding.Finding{finding.Bad("install the floorwatch package, which brings them: apt-get install ./floorwatch_*.deb", "missing: %v", missing)}
	}
	return []finding.Finding{finding.Good("floorwatch-camera, ffmpeg and ffprobe are there")}
}

// model tests the weights that a camera's detector needs.
func (d *Doctor) model() []finding.Finding {
	wants := func(name string) bool {
		return slices.ContainsFunc(d.Cameras, func(c Camera) bool { return c.Detector == name })
	}
	if !wants("auto") && !wants("nanodet") {
		return []finding.Finding{finding.Good("no camera's detector needs one")}
	}
	var out []finding.Finding
	for _, m := range models.All() {
		path, err := models.Find(d.Models, m.Name)
		switch {
		case err == nil:
			out = append(out, finding.Good("%s, SHA-256 as it should be", path))
		case errors.Is(err, fs.ErrNotExist) && !wants("nanodet"):
			out = append(out, finding.Doubt("floorwatch models -dir "+d.Models+" fetches it", "%s is not there: cameras with detector auto see by motion, which is worse", m.File))
		default:
			out = append(out, finding.Bad("floorwatch models -dir "+d.Models+" fetches it", "%v", err))
		}
	}
	return out
}

const offLimit = time.Second

func clockSync() []finding.Finding { return []finding.Finding{clockState()} }

func clockState() finding.Finding {
	const next = "let a time server set it: apt-get install chrony, and check that UDP port 123 is open"
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return finding.Doubt("run it as the box's user on the box", "the clock cannot be read: %v", err)
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	offset := time.Duration(t.Offset) * unit
	now := time.Now().UTC().Format(time.RFC3339)
	switch {
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return finding.Doubt(next, "%s, not synchronised: what is recorded is marked so", now)
	case offset.Abs() > offLimit:
		return finding.Doubt(next, "%s, synchronised, off by %s", now, offset)
	}
	return finding.Good("%s, synchronised, off by %s, at most by %s", now, offset, (time.Duration(t.Maxerror) * time.Microsecond).Round(time.Millisecond))
}

// What a disk should give: the footage of eight cameras, and an outbox that
// commits several times a second.
const (
	slowDisk = 8e6 // bytes a second
	slowSync = 100 * time.Millisecond
)

func (d *Doctor) disk() []finding.Finding {
	dir := d.Data
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return []finding.Finding{finding.Bad("create the folder for the box's user, as the package does; a relative data starts in the folder where doctor was typed, the service's in /var/lib/floorwatch-edge", "%v", err)}
	}
	out := []finding.Finding{d.keyFile(), mountCheck(dir)}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return append(out, finding.Bad("check the disk", "%s does not answer: %v", dir, err))
	}
	free, size := float64(st.Bavail)*float64(st.Bsize), float64(st.Blocks)*float64(st.Bsize)
	want := float64(d.Budget)
	text := fmt.Sprintf("%s: %.1f of %.1f GB free", dir, free/1e9, size/1e9)
	switch {
	case free < 0.05*size:
		out = append(out, finding.Bad("free some space: recording stops below 5 %", "%s", text))
	case st.Files > 0 && float64(st.Ffree) < 0.05*float64(st.Files):
		out = append(out, finding.Bad("remove small files, or format the disk with more inodes", "%s, and %d of %d files", text, st.Ffree, st.Files))
	case size*0.95 < want:
		out = append(out, finding.Doubt("lower footage.max_bytes, or use a larger disk", "%s; the configuration allows itself %.1f GB", text, want/1e9))
	default:
		out = append(out, finding.Good("%s; the configuration allows itself %.1f GB", text, want/1e9))
	}
	speed, syncTime, err := diskSpeed(dir)
	text = fmt.Sprintf("writes %.0f MB/s to the disk itself, a small write takes %s", speed/1e6, syncTime.Round(100*time.Microsecond))
	switch {
	case err != nil:
		return append(out, finding.Bad("check permissions and the disk; run doctor as the box's user", "%v", err))
	case speed < slowDisk || syncTime > slowSync:
		return append(out, finding.Doubt("use an SSD or an endurance card; look for errors in dmesg", "%s", text))
	}
	return append(out, finding.Good("%s", text))
}

func (d *Doctor) keyFile() finding.Finding {
	info, err := os.Stat(d.KeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return finding.Doubt("floorwatch-edge key makes one and prints what the cloud's registry wants", "the box has no key yet")
	case err != nil:
		return finding.Bad("run doctor as the box's user", "%v", err)
	case info.Mode().Perm()&0o077 != 0:
		return finding.Bad("chmod 600 "+d.KeyFile, "others can read the box's key (%v)", info.Mode().Perm())
	}
	return finding.Good("the box has its key")
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
func (d *Doctor) ports() []finding.Finding {
	var out []finding.Finding
	for _, w := range [][2]string{{"metrics", d.Metrics}, {"counters.listen", d.Counters}} {
		key, address := w[0], w[1]
		if address == "" {
			continue
		}
		ln, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			_ = ln.Close()
			out = append(out, finding.Good("%s %s is free", key, address))
		case d.running() && errors.Is(err, syscall.EADDRINUSE):
			out = append(out, finding.Good("%s %s is in use, as the box is running", key, address))
		default:
			out = append(out, finding.Bad("change the key "+key+", or stop the other program: ss -ltnp shows it", "%s: %v", key, err))
		}
	}
	return out
}
