package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/lab/kit"
	"floorwatch/internal/program"
)

const boxKey = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="

func TestSiteCommands(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "metadata.sqlite")
	table := kit.Write(t, filepath.Join(dir, "halls.csv"), "\ufeffid,level,zh,parent,box,box_key\nacme,chain,天成,,,\ngd,province,广东,acme,,\nh1,,一号厅,gd,box-1,"+boxKey+"\n")
	bad := kit.Write(t, filepath.Join(dir, "bad.yml"), "halls:\n- {id: H}\n- {id: h2, parent: x}\n")
	export := filepath.Join(dir, "out.csv")
	for _, c := range []struct {
		args []string
		want string
		fail bool
	}{
		{args: []string{"import", table}, want: "halls.csv: 3 new, 0 changed, 0 as they were; 0 others"},
		{args: []string{"import", bad}, want: "has 2 fault(s), nothing was changed\n" + bad + ":2: halls[0].id: \"H\": want a name", fail: true},
		{args: []string{"add", "-parent", "acme", "-level", "province", "-time-zone", "Asia/Urumqi", "xj"}, want: "added xj"},
		{args: []string{"add", "-parent", "xj", "-zh", "二号厅", "-en", "Hall 2", "-box", "box-1", "h2"}, want: "added h2"},
		{args: []string{"add", "-box", "box-2", "h2"}, want: "added h2"},
		{args: []string{"add", "-box", "box-3", "-parent", "gd", "h2"}, want: "nothing else can be said of it here", fail: true},
		{args: []string{"add", "h2"}, want: "is there already; site move", fail: true},
		{args: []string{"list", "-at", "2026-03-01"}, want: "h1    一号厅           acme/gd  Asia/Shanghai  open  box-1\n"},
		{args: []string{"list", "-below", "xj"}, want: "box-1,box-2\n1 hall(s), 2 box(es)"},
		{args: []string{"list", "-below", "nowhere"}, want: "there is no", fail: true},
		{args: []string{"move", "-at", "2026-03-01", "h2", "gd"}, want: "moved h2 below gd from 2026-02-28T18:00:00.000Z on"},
		{args: []string{"move", "-at", "2026-03-02", "h2", "gd"}, want: "nothing to change"},
		{args: []string{"move", "-at", "soon", "h2", "gd"}, want: "-at: ", fail: true},
		{args: []string{"close", "-at", "2026-06-01T00:00:00Z", "h1"}, want: "closed h1 at 2026-06-01T00:00:00.000Z"},
		{args: []string{"close", "acme"}, want: "nothing was changed", fail: true},
		{args: []string{"list", "-at", "2026-07-01"}, want: "1 hall(s), 2 box(es)"},
		{args: []string{"export", export}},
		{args: []string{"import", export}, want: "0 new, 0 changed, 5 as they were"},
		{args: []string{"export"}, want: "- id: h1\n    label: {zh: 一号厅}\n    until: \"2026-06-01T08:00:00+08:00\"\n    parent: gd\n"},
		{args: []string{"import", "-format", "xml", table}, want: "want yaml or csv", fail: true},
	} {
		args := append([]string{"site", c.args[0], "-metadata", at}, c.args[1:]...)
		out, _, err := call(t, args...)
		if err != nil {
			out = err.Error()
		}
		if (err != nil) != c.fail || !strings.Contains(out, c.want) {
			t.Errorf("%q: %s\nwant %s", c.args, out, c.want)
		}
	}
}

func TestSiteCommandLine(t *testing.T) {
	for _, args := range [][]string{{"site", "-h"}, {"site", "import", "-h"}} {
		if _, text, err := call(t, args...); !errors.Is(err, flag.ErrHelp) || !strings.Contains(text, "move ID PARENT") || !strings.Contains(text, "-metadata") {
			t.Errorf("%q: %v\n%s", args, err, text)
		}
	}
	for _, args := range [][]string{{"site"}, {"site", "burn"}, {"site", "import"}, {"site", "move", "h1"}, {"site", "list", "h1"}, {"site", "list", "-fast"}} {
		if _, _, err := call(t, args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want exit code 2", args, err)
		}
	}
}

func TestSitesLieInTheDataFolder(t *testing.T) {
	path, dir := shop(t)
	if _, _, err := call(t, "site", "add", "-config", path, "h1"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "data", "metadata.sqlite"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}
