package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFiveCrashesInARow(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	config := filepath.Join(dir, "edge.yaml")
	if err := os.WriteFile(config, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := func() *starts { return beginRun(dir, config, log) }
	for n := range crashLimit {
		if s := begin(); s.safe() || s.Crashes != n {
			t.Fatalf("start %d: %+v", n, s)
		}
	}
	s := begin()
	if !s.safe() || s.Bad != hashOf(config) || s.pause() != safeFor {
		t.Errorf("after %d crashes: %+v", crashLimit, s)
	}
	s.Safe = 20
	if s.pause() != safeAtMost {
		t.Errorf("it waits for %s", s.pause())
	}
	s.steady(config, log)
	if s = begin(); s.Crashes != 1 || !s.isGood([]byte("new")) {
		t.Errorf("a steady run ends the row: %+v", s)
	}
	s.Boot, s.Running = "another", true
	s.save(log)
	if s = begin(); s.Crashes != 1 {
		t.Errorf("a power cut is no crash: %+v", s)
	}
	s.end(log)
	if s = begin(); s.Crashes != 0 || s.Bad != "" {
		t.Errorf("a clean stop begins anew: %+v", s)
	}
	if err := os.WriteFile(filepath.Join(dir, startsFile), []byte("\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s = begin(); s.Crashes != 0 {
		t.Errorf("an account that a power cut spoilt: %+v", s)
	}
}

func TestTheLastGoodConfiguration(t *testing.T) {
	path, dir := box(t, "ca: /etc/floorwatch/ca.pem", "ca: \"\"", "password_file: /etc/floorwatch/camera-lobby", "password_file: \"\"", "username: floorwatch", "username: \"\"")
	t.Setenv("STATE_DIRECTORY", dir)
	_, _, used, why, err := choose(path)
	if err != nil || used != path || why != "" {
		t.Fatalf("a sound one is used: %s %q %v", used, why, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, goodFile)
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "")
	if _, _, _, _, err = choose(path); err == nil {
		t.Error("an empty one was used")
	}
	write(good, string(text))
	c, _, used, why, err := choose(path)
	if err != nil || used != good || !strings.Contains(why, "cannot be used") || c.Edge != "box-1" {
		t.Errorf("the last good one instead of an empty one: %s %q %v", used, why, err)
	}
	write(path, strings.Replace(string(text), "fps: 10", "fps: 20", 1))
	write(filepath.Join(dir, startsFile), `{"bad":"`+hashOf(path)+`"}`)
	if _, _, used, why, err = choose(path); err != nil || used != good || !strings.Contains(why, "crashed 5 times") {
		t.Errorf("instead of one that crashed: %s %q %v", used, why, err)
	}
	write(path, strings.Replace(string(text), "fps: 10", "fps: 15", 1))
	if _, _, used, _, err = choose(path); err != nil || used != path {
		t.Errorf("one that was corrected: %s %v", used, err)
	}
}
