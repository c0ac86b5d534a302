package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/program"
	"floorwatch/internal/verify"
)

func boxKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func pin() string { return hex.EncodeToString(boxKey(1).Public().(ed25519.PublicKey)) }

// runVerifier runs the command and returns its exit as an error, and its report.
func runVerifier(t *testing.T, args ...string) (verify.Report, error) {
	t.Helper()
	out, err := runCommand(t, runVerify, "", append([]string{"-json"}, args...)...)
	var r verify.Report
	if out != "" {
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return r, err
}

func TestVerifyPrintsAReport(t *testing.T) {
	t.Parallel()
	door := verify.Camera{
		Store: "s1", Edge: "box", Camera: "door", From: 1763755200000, To: 1763755222000, Segments: 4,
		StoredS: 11, DeletedS: 4, GapS: 7, UnexplainedS: 0.25, Faults: 1, LastSeal: "5a85",
	}
	hall := verify.Camera{Store: "s1", Edge: "box", Camera: "hall", From: 1763755200000, To: 1763755222000, Segments: 12, LastSeal: "a780"}
	for want, r := range map[string]verify.Report{
		`       camera  segments  stored s  deleted s  gap s  unexplained s        verdict
  s1/box/door         4      11.0        4.0    7.0            0.2  NOT SOUND (1)
  s1/box/hall        12       0.0        0.0    0.0            0.0          sound
door: 2025-11-21T20:00:00.000Z to 2025-11-21T20:00:22.000Z, last seal 5a85
hall: 2025-11-21T20:00:00.000Z to 2025-11-21T20:00:22.000Z, last seal a780
note: the key is NOT PINNED
FAULT: door/2025-11-21/00000002.mp4: fragment 2 was altered (2025-11-21T20:00:05.000Z to 2025-11-21T20:00:06.000Z)
FAULT: holes between files add up to 4.0 s, more than 2.0
NOT SOUND: 2 fault(s)
`: {
			Cameras: []verify.Camera{door, hall}, Notes: []string{"the key is NOT PINNED"},
			Faults: []verify.Fault{
				{Camera: "door", Path: "door/2025-11-21/00000002.mp4", What: "fragment 2 was altered", From: 1763755205000, To: 1763755206000},
				{Camera: "door", What: "holes between files add up to 4.0 s, more than 2.0"},
			},
		},
		`       camera  segments  stored s  deleted s  gap s  unexplained s  verdict
  s1/box/hall        12       0.0        0.0    0.0            0.0    sound
hall: 2025-11-21T20:00:00.000Z to 2025-11-21T20:00:22.000Z, last seal a780
SOUND
`: {Sound: true, Cameras: []verify.Camera{hall}},
	} {
		var out strings.Builder
		if err := printReport(&out, r); err != nil || out.String() != want {
			t.Errorf("%v, printed\n%s\nwant\n%s", err, out.String(), want)
		}
	}
}

func TestVerifyCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "box.pub")
	if err := os.WriteFile(keyFile, []byte(pin()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {dir, dir}, {"-key", "xyz", dir}, {"-head", "xyz", dir}, {keyFile}} {
		if _, err := runVerifier(t, args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want exit code 2", args, err)
		}
	}
	if _, err := runVerifier(t, filepath.Join(dir, "absent")); err == nil || errors.Is(err, program.ErrUsage) {
		t.Errorf("an absent folder: %v", err)
	}
	if r, err := runVerifier(t, "-key", keyFile, dir); !errors.Is(err, program.ErrTold) || r.Sound || !r.Pinned {
		t.Errorf("an empty folder: %v %+v", err, r)
	}
}
