package doctor

import (
	"strings"
	"testing"

	"floorwatch/internal/finding"
)

func TestMountCheck(t *testing.T) {
	t.Parallel()
	const info = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 254:1 / /data rw,noatime shared:2 master:1 - ext4 /dev/vdb rw,commit=600
31 27 254:2 / /data/my\040disk rw,relatime - ext4 /dev/vdc rw,commit=5
32 27 254:3 / /flash rw,relatime - ext4 /dev/vdd rw
33 27 254:3 / /flash rw,relatime - f2fs /dev/vde rw
too short
34 27 254:3
`
	for _, c := range []struct{ dir, at, result, found string }{
		{"/var/lib/floorwatch-edge", "/", finding.Warn, "every 5 s"},
		{"/data", "/data", finding.OK, "every 600 s"},
		{"/data/box", "/data", finding.OK, "spares"},
		{"/database", "/", finding.Warn, "ext4"},
		{"/data/my disk/box", "/data/my disk", finding.Warn, "every 5 s"},
		{"/flash/box", "/flash", finding.OK, "f2fs"},
	} {
		m, ok := mountOf(info, c.dir)
		if got := m.finding(); !ok || m.at != c.at || got.Result != c.result || !strings.Contains(got.Found, c.found) {
			t.Errorf("%s: %+v, %+v, want at %s: %s %s", c.dir, m, got, c.at, c.result, c.found)
		}
	}
	if _, ok := mountOf("27 1 254:0 / /a rw - ext4 x rw\n", "/b"); ok {
		t.Error("a mount was found where there is none")
	}
}

func FuzzMountOf(f *testing.F) {
	f.Add("27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,commit=60\n", "/data")
	f.Add(" - ", "")
	f.Fuzz(func(t *testing.T, info, dir string) {
		if m, ok := mountOf(info, dir); ok {
			_ = m.finding()
		}
	})
}
