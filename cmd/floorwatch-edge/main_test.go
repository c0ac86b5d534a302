package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"floorwatch/edge"
	"floorwatch/internal/lab/kit/samples"
	"floorwatch/internal/program"
)

// sample is the shipped configuration, from this package.
const sample = "../../deploy/edge.yaml"

func TestSampleHoldsTheDefaults(t *testing.T) {
	defaults := edge.DefaultBoxConfig()
	samples.Check(t, sample, &defaults, "store", "edge", "broker.url", "broker.ca", "broker.password_file",
		"cameras[].name", "cameras[].label", "cameras[].source", "cameras[].username", "cameras[].password_file", "cameras[].picture",
		"cameras[].zones[].name", "cameras[].zones[].label", "cameras[].zones[].role", "cameras[].zones[].responsible", "cameras[].zones[].duty", "cameras[].zones[].polygon", "cameras[].lines[]")
}

// box writes the sample with edits, and the password that it names.
func box(t *testing.T, edits ...string) (path, dir string) {
	t.Helper()
	b, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	edits = append([]string{
		"/etc/floorwatch/broker-password", filepath.Join(dir, "password"),
		"ca: /etc/floorwatch/ca.pem", "ca: \"\"",
		"\ndata: data\n", "\ndata: " + filepath.Join(dir, "data") + "\n",
	}, edits...)
	path = filepath.Join(dir, "edge.yaml")
	for name, text := range map[string]string{path: strings.NewReplacer(edits...).Replace(string(b)), filepath.Join(dir, "password"): "secret\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
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

func TestKeyIsMadeOnceAndPrinted(t *testing.T) {
	path, dir := box(t)
	if err := os.Remove(filepath.Join(dir, "password")); err != nil { // a box is enrolled before it has one
		t.Fatal(err)
	}
	first, _, err := call(t, "key", "-config", path)
	if err != nil || !regexp.MustCompile(`^floorwatch-cloud site add -box box-1 -key [A-Za-z0-9+/]{43}= shop-1\n$`).MatchString(first) {
		t.Fatalf("%q %v", first, err)
	}
	again, _, err := call(t, "key", "-config", path)
	if err != nil || again != first {
		t.Errorf("the key changed: %q, then %q, %v", first, again, err)
	}
	info, err := os.Stat(filepath.Join(dir, "data", "edge.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
}

func TestEveryProblemAtOnce(t *testing.T) {
	path, dir := box(t,
		"store: shop-1", "stroe: shop-1",
		"url: tls://broker.example.com:8883", "url: tcp://broker.example.com:1883",
		"metrics: 127.0.0.1:9105", "metrics: :9105",
		"interval: 5m", "interval: 7m",
		"fps: 10", "fps: ten",
		"min_stay: 1s", "min_stay: 1")
	for _, command := range []string{"run", "check", "key"} {
		out, _, err := call(t, command, "-config", path)
		if !errors.Is(err, program.ErrUsage) || out != "" {
			t.Fatalf("%s: %q %v", command, out, err)
		}
		for _, want := range []string{
			`stroe: is not a key here; did you mean store?`, `store: want a name of`,
			`broker.url: "tcp://broker.example.com:1883": want tls://HOST:8883`, `metrics: ":9105": want a loopback address`,
			`interval: "7m": a day must hold a whole number`, `cameras[0].fps: "ten": want a number`,
			`cameras[0].zones[0].min_stay: "1": want a duration`, "not started",
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
	path, dir := box(t)
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := call(t, "-config", path)
	if !errors.Is(err, program.ErrUsage) || !strings.Contains(err.Error(), "broker.password_file: ") || !strings.Contains(err.Error(), "cameras[0].password_file: ") {
		t.Errorf("%v", err)
	}
}

func TestCommandLine(t *testing.T) {
	if _, text, err := call(t, "-h"); !errors.Is(err, flag.ErrHelp) || !strings.Contains(text, "Exit codes") || !strings.Contains(text, "-config") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, args := range [][]string{{"walk"}, {"run", "-fast"}, {"run", "now"}, {"check", "-config", "/absent/edge.yaml"}} {
		if _, _, err := call(t, args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want exit code 2", args, err)
		}
	}
}
