package main

import (
	"os"
	"strings"
	"testing"

	"floorwatch/internal/lab/kit"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "role" {
		if err := play(os.Args[2], os.Args[3:]); err != nil {
			println("faults role", os.Args[2]+":", err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestShortForms runs the short form of every row that has one.
func TestShortForms(t *testing.T) {
	kit.Superuser(t, "the fault bench, which mounts disks and cuts networks,")
	for _, name := range []string{"influxd", "mosquitto", "ffmpeg", "ffprobe"} {
		kit.Tool(t, name)
	}
	bin := kit.Build(t)
	for _, r := range rows() {
		t.Run(r.ID, func(t *testing.T) {
			if r.Long != "" {
				t.Skip("no short form: " + r.Long)
			}
			t.Parallel() // most of a row is waiting
			found, err := r.Measure(t.Context(), bin, true, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(found.Figure)
			if !found.Reached {
				t.Errorf("%s: %s; missed: %s; goal: %s", r.Property, found.Figure, strings.Join(found.Missed, "; "), r.Goal)
			}
		})
	}
}
