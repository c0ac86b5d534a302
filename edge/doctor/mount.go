package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"floorwatch/internal/finding"
)

// sparing is how a data disk with ext4 is best mounted: the journal is then
// written for what is synced, and not every 5 s for the time of a file's last
// change. Nothing that is synced depends on it.
const sparing = "noatime,commit=600"

// mount is one line of /proc/self/mountinfo.
type mount struct {
	at, kind string
	options  []string // of the mount and of its file system
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mountOf finds where a folder, named by its real path, is mounted: the longest
// mount point above it, the last of several at one place.
func mountOf(mountinfo, dir string) (m mount, ok bool) {
	for line := range strings.Lines(mountinfo) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 6 || len(r) < 3 {
			continue
		}
		at := unescapeMount.Replace(l[4])
		below := dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")
		if below && len(at) >= len(m.at) {
			m = mount{at, r[0], append(strings.Split(l[5], ","), strings.Split(r[2], ",")...)}
		}
	}
	return m, m.at != ""
}

// finding tells whether a file system writes its journal as seldom as sparing asks
// for. Only ext4 is known to gain by it.
func (m mount) finding() finding.Finding {
	if m.kind != "ext4" {
		return finding.Good("%s is %s", m.at, m.kind)
	}
	every := 5 // s, when ext4 is not told
	for _, o := range m.options {
		if text, ok := strings.CutPrefix(o, "commit="); ok {
			every, _ = strconv.Atoi(text)
		}
	}
	if every < 60 {
		return finding.Doubt("on flash, mount the data's own partition with "+sparing+" in /etc/fstab (docs/deploy.md): records wear it by a third less, and nothing that is synced is lost by it",
			"%s is ext4 that writes its journal every %d s", m.at, every)
	}
	return finding.Good("%s is ext4 that writes its journal every %d s, which spares the flash", m.at, every)
}

func mountCheck(dir string) finding.Finding {
	const next = "look at mount | grep ext4 yourself"
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return finding.Doubt(next, "where the data lies is not known: %v", err)
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return finding.Doubt(next, "the mounts cannot be read: %v", err)
	}
	m, ok := mountOf(string(b), real)
	if !ok {
		return finding.Doubt(next, "no mount point is listed for %s", real)
	}
	return m.finding()
}
