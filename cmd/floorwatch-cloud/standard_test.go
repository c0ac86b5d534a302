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

func TestStandardCommands(t *testing.T) {
	dir := t.TempDir()
	at, key := filepath.Join(dir, "metadata.sqlite"), filepath.Join(dir, "cloud.key")
	table := kit.Write(t, filepath.Join(dir, "halls.csv"),
		"id,level,parent,opening\nacme,chain,,mon-fri 09:00-17:30\ngd,province,acme,\nh1,,gd,\nh2,,gd,\nh3,,acme,\n")
	if _, _, err := call(t, "site", "import", "-metadata", at, table); err != nil {
		t.Fatal(err)
	}
	ten := kit.Write(t, filepath.Join(dir, "ten.yaml"), "wait_target: {within: 10m, share: 0.95}\n")
	five := kit.Write(t, filepath.Join(dir, "five.yaml"), "wait_target: {within: 5m, share: 0.07}\n")
	bad := kit.Write(t, filepath.Join(dir, "bad.yaml"), "wait_target: {within: 10, share: 95, per: hall}\n")
	empty := kit.Write(t, filepath.Join(dir, "empty.yaml"), "{}\n")
	for _, c := range []struct {
		args string
		want string
		fail bool
	}{
		{args: "show h1", want: "h1 from "},
		{args: "show h1", want: "  no target: no node above sets one\n  open mon-fri 09:00-17:30 (Asia/Shanghai)\n"},
		{args: "show gd", want: "there is no such hall", fail: true},
		{args: "withdraw gd", want: "nothing to change"},
		{args: "set -preview gd " + five, want: "gd: standard 1, valid from "},
		{args: "set -preview gd " + five, want: ": 7 % of waits within 5m0s\n  2 hall(s) below gd, another target in 2: h1, h2\nnothing was set"},
		{args: "list", want: "NODE"},
		{args: "set gd " + five, want: "2 hall(s) below gd, another target in 2: h1, h2\n"},
		{args: "set gd " + five, want: "nothing to change"},
		{args: "set -at 2199-01-01 acme " + ten, want: "acme: standard 1, valid from 2198-12-31T16:00:00.000Z: 95 % of waits within 10m0s\n  3 hall(s) below acme, another target in 3: h1, h2, h3\n  in 2 of them it goes before what gd sets\n"},
		{args: "show h1", want: "7 % of waits within 5m0s, set by gd, standard 1, valid from "},
		{args: "show h1", want: "h1 from 2198-12-31T16:00:00.000Z\n  95 % of waits within 10m0s, set by acme"},
		{args: "set acme " + ten, want: "takes the place of standard 1, which was to hold from 2198-12-31T16:00:00.000Z\n"},
		{args: "set gd " + ten, want: "another target in 0: none\n  no effect in 2: acme above sets a target, and the highest node wins\n"},
		{args: "list acme", want: "2198-12-31T16:00:00.000Z  95 % of waits within 10m0s  "},
		{args: "list", want: "in force"},
		{args: "withdraw acme", want: "3 hall(s) below acme, another target in 1: h3\n"},
		{args: "show -at 2199-02-01 h3", want: "no target"},
		{args: "set -at 2020-01-01 acme " + ten, want: "which is past", fail: true},
		{args: "set nowhere " + ten, want: "there is no such node", fail: true},
		{args: "set acme " + bad, want: bad + ":1: wait_target.within: \"10\": want a duration with its unit", fail: true},
		{args: "set acme " + bad, want: "wait_target.share: \"95\": want the share", fail: true},
		{args: "set acme " + bad, want: "wait_target.per: is not a key here", fail: true},
		{args: "set acme " + empty, want: "wait_target: is missing", fail: true},
	} {
		words := strings.Fields(c.args)
		args := append([]string{"standard", words[0], "-metadata", at, "-key-file", key}, words[1:]...)
		if words[0] == "list" || words[0] == "show" {
			args = append([]string{"standard", words[0], "-metadata", at}, words[1:]...)
		}
		out, _, err := call(t, args...)
		if err != nil {
			out = err.Error()
		}
		if (err != nil) != c.fail || !strings.Contains(out, c.want) {
			t.Errorf("%q: %s\nwant %s", c.args, out, c.want)
		}
	}
}

func TestStandardCommandLine(t *testing.T) {
	if _, text, err := call(t, "standard", "-h"); !errors.Is(err, flag.ErrHelp) || !strings.Contains(text, "withdraw NODE") || !strings.Contains(text, "-preview") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, args := range [][]string{{"standard"}, {"standard", "burn"}, {"standard", "set", "acme"}, {"standard", "show"}, {"standard", "list", "a", "b"}} {
		if _, _, err := call(t, args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want exit code 2", args, err)
		}
	}
}

func TestKeyOfTheCloud(t *testing.T) {
	path, dir := shop(t)
	out, _, err := call(t, "key", "-config", path)
	if err != nil || !strings.Contains(out, "edge.yaml of every box") || strings.Count(out, "\n") != 3 {
		t.Fatalf("%s %v", out, err)
	}
	file := filepath.Join(dir, "data", "cloud.key")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if again, _, err := call(t, "key", "-config", path); err != nil || again != out {
		t.Errorf("another key: %s %v", again, err)
	}
	kit.Write(t, file, "rubbish")
	if _, _, err := call(t, "key", "-config", path); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("%v", err)
	}
}
