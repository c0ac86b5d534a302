package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/footage"
	"floorwatch/edge/relay"
	"floorwatch/internal/lab/kit"
)

// TestVerifyAcceptsWhatTheRecorderKeeps records a live camera twice, with the
// time between, and verifies the folder.
func TestVerifyAcceptsWhatTheRecorderKeeps(t *testing.T) {
	film := filepath.Join(t.TempDir(), "film.mp4")
	out, err := exec.Command(kit.Tool(t, "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=160x120:r=10:d=20",
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p", film).CombinedOutput()
	if err != nil {
		t.Fatalf("encode film: %v: %s", err, out)
	}
	camera, err := relay.New(relay.Settings{Source: film})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- camera.Run(ctx) }()
	defer func() { cancel(); <-served }()

	dir := t.TempDir()
	for range 2 {
		segments := make(chan floorwatch.Segment, 100)
		r := footage.Recorder{
			Dir: dir, Store: "s1", Edge: "box", Camera: "door", Source: camera.URL(), Every: 2 * time.Second, Key: boxKey(1),
			Emit: func(rec floorwatch.Record) error {
				if s, ok := rec.(*floorwatch.Segment); ok {
					segments <- *s
				}
				return nil
			},
		}
		one, stop := context.WithTimeout(ctx, 30*time.Second)
		ended := make(chan error, 1)
		go func() { ended <- r.Run(one) }()
		for range 2 {
			select {
			case <-segments:
			case <-one.Done():
				t.Error("no segment within 30 s")
			}
		}
		if v, err := runVerifier(t, "-key", pin(), dir); err != nil { // while it is being recorded
			t.Errorf("%v %v", err, v.Faults)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	v, err := runVerifier(t, "-key", pin(), dir)
	if err != nil || len(v.Cameras) != 1 || v.Cameras[0].GapS == 0 || v.Cameras[0].Segments < 4 {
		t.Errorf("%v %+v", err, v)
	}
	t.Logf("%+v", v.Cameras)
}
