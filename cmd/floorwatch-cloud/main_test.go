package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/cloud"
	"floorwatch/cloud/influx"
	"floorwatch/internal/lab/kit/samples"
	"floorwatch/internal/program"
)

// sample is the shipped configuration, from this package.
const sample = "../../deploy/cloud.yaml"

func TestSampleHoldsTheDefaults(t *testing.T) {
	defaults := cloud.DefaultConfig()
	samples.Check(t, sample, &defaults, "broker.url", "broker.ca", "broker.password_file", "influx.url", "influx.token_file")
}

// shop writes the sample with edits, and the secrets that it names.
func shop(t *testing.T, edits ...string) (path, dir string) {
	t.Helper()
	b, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	edits = append([]string{
		"ca: /etc/floorwatch/ca.pem", "ca: \"\"",
		"/etc/floorwatch", dir,
		"\ndata: data\n", "\ndata: " + filepath.Join(dir, "data") + "\n",
	}, edits...)
	path = filepath.Join(dir, "cloud.yaml")
	for name, text := range map[string]string{
		"cloud.yaml": strings.NewReplacer(edits...).Replace(string(b)), "cloud-password": "secret\n", "influx-token": "user:pass\n", "short": "too short\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path, dir
}

func call(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), err
}

func TestCheck(t *testing.T) {
	path, dir := shop(t)
	out, _, err := call(t, "check", "-config", path)
	if err != nil || !strings.Contains(out, "is in order") || !strings.Contains(out, "no box is registered yet") {
		t.Errorf("%q %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !os.IsNotExist(err) {
		t.Errorf("something was started: %v", err)
	}
}

// TestCheckWithoutDatabase: a database of our own needs its program.
func TestCheckWithoutDatabase(t *testing.T) {
	if _, err := os.Stat(influx.Packaged); err == nil {
		t.Skip("left out: the package floorwatch-cloud is installed here")
	}
	t.Setenv("PATH", t.TempDir())
	path, _ := shop(t, "child: false", "child: true", "url: http://127.0.0.1:8086", `url: ""`, "token_file: /etc/floorwatch/influx-token", `token_file: ""`)
	for _, command := range []string{"check", "run"} {
		_, _, err := call(t, command, "-config", path)
		if !errors.Is(err, program.ErrUsage) || !strings.Contains(err.Error(), "influx.child: find influxd 1.8: it is neither /usr/lib/floorwatch/influxd") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestEveryProblemAtOnce(t *testing.T) {
	path, dir := shop(t,
		`metadata: ""`, "stores: [{id: shop-1}]\nedges: []",
		"child: false", "child: true",
		`flavour: "1.8"`, `flavour: "3"`,
		"listen: 127.0.0.1:8080", "listen: 0.0.0.0:8080",
		`cert: ""`, `cert: x.pem`,
		"hosts: []", "hosts: ['https://x']",
		"retention: 9600h", "retention: 400d")
	for _, command := range []string{"run", "check", "acl", "dead-letters list"} {
		_, _, err := call(t, append(strings.Fields(command), "-config", path)...)
		if !errors.Is(err, program.ErrUsage) {
			t.Fatalf("%s: %v", command, err)
		}
		for _, want := range []string{
			`stores: stands in the metadata now`, `edges: stands in the metadata now`, `floorwatch-cloud site import`, `influx.child: "true": is for a server that we start`,
			`influx.flavour: "3": want "1.8" or "2.7"`, `pages.listen: "0.0.0.0:8080": is open to a network`,
			`pages.cert: "x.pem": cert and key belong together`, `pages.hosts[0]: "https://x": want a name`,
			`retention: "400d": want a duration`, "not started",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: no %q in\n%v", command, want, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !os.IsNotExist(err) {
		t.Errorf("something was started: %v", err)
	}
}

func TestSecretsAreCheckedBeforeTheStart(t *testing.T) {
	for edit, want := range map[string][2]string{
		"pages.token_file: the token has 9 characters": {`token_file: ""`, "token_file: DIR/short"},
		"pages.cert: open":           {`cert: ""` + "\n" + `  key: ""`, "cert: DIR/x\n  key: DIR/y"},
		"broker.password_file: read": {"cloud-password", "absent"},
		"influx.token_file: read":    {"influx-token", "absent"},
	} {
		path, dir := shop(t)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(b), want[0], strings.ReplaceAll(want[1], "DIR", dir), 1)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := call(t, "run", "-config", path); !errors.Is(err, program.ErrUsage) || !strings.Contains(err.Error(), edit) {
			t.Errorf("want %q, got %v", edit, err)
		}
	}
}

func TestACL(t *testing.T) {
	path, _ := shop(t)
	if out, _, err := call(t, "site", "add", "-config", path, "-box", "box-1", "-key", strings.Repeat("A", 42)+"E=", "shop-1"); err != nil {
		t.Fatal(out, err)
	}
	out, _, err := call(t, "acl", "-config", path)
	if err != nil {
		t.Fatal(err)
	}
	named, _, err := call(t, "acl", "shop-1/box-1")
	if err != nil || named != out {
		t.Errorf("by name\n%s (%v), want\n%s", named, err, out)
	}
	for _, name := range []string{"shop-1", "shop-1/box-1/up", "Shop/box", "#/box", "shop/+"} {
		if _, _, err := call(t, "acl", name); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, rules, _ := strings.Cut(out, "\n\n")
	if want := `user shop-1/box-1
topic write floorwatch/v1/shop-1/box-1/up
topic write floorwatch/v1/shop-1/box-1/state
topic write floorwatch/v1/shop-1/box-1/reply
topic write floorwatch/v1/shop-1/box-1/live/+
topic read floorwatch/v1/shop-1/box-1/ack
topic read floorwatch/v1/shop-1/box-1/cmd
`; rules != want {
		t.Errorf("got\n%s\nwant\n%s", rules, want)
	}
}

func TestDeadLettersWithoutAny(t *testing.T) {
	path, _ := shop(t)
	_, _, err := call(t, "dead-letters", "list", "-config", path)
	if err == nil || errors.Is(err, program.ErrUsage) || !strings.Contains(err.Error(), "has the cloud run with this configuration") {
		t.Errorf("%v", err)
	}
}

func TestDeadLetterCommands(t *testing.T) {
	path, dir := shop(t)
	cfg := cloud.DefaultConfig()
	cfg.Data = filepath.Join(dir, "data")
	db, err := cloud.OpenLetters(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, c := range []struct {
		args string
		want string
		bad  bool // exit code 2
	}{
		{"list", "0 of 0 letters, 0 bytes in all", false},
		{"list -n 0", "", true},
		{"retry", "0 letters are tried again", false},
		{"retry x", "", true},
		{"drop", "", true},
		{"drop -all 7", "", true},
		{"drop -all", "0 letters dropped", false},
		{"drop 7", "0 letters dropped", false},
		{"show", "", true},
		{"burn", "", true},
	} {
		words := strings.Fields(c.args)
		args := append([]string{"dead-letters", words[0], "-config", path}, words[1:]...)
		out, _, err := call(t, args...)
		if errors.Is(err, program.ErrUsage) != c.bad || !c.bad && err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %q %v", c.args, out, err)
		}
	}
}

func TestCommandLine(t *testing.T) {
	if _, text, err := call(t, "-h"); !errors.Is(err, flag.ErrHelp) || !strings.Contains(text, "Exit codes") || !strings.Contains(text, "dead-letters retry") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, args := range [][]string{{"walk"}, {"run", "-fast"}, {"run", "now"}, {"check", "-config", "/absent/cloud.yaml"}} {
		if _, _, err := call(t, args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want exit code 2", args, err)
		}
	}
}
