package worker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"floorwatch"
)

// roleEnv makes the test binary a camera worker.
const roleEnv = "FLOORWATCH_TEST_WORKER"

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	fmt.Println(`{"t":1,"event":"open"}`)
	switch role {
	case "eats":
		held := bytes.Repeat([]byte{1}, 300<<20)
		<-time.After(time.Hour)
		fmt.Fprintln(os.Stderr, len(held))
	case "hangs":
		<-time.After(time.Hour)
	case "babbles":
		fmt.Println("no line of a camera")
		<-time.After(time.Hour)
	case "ends":
		fmt.Fprintln(os.Stderr, "first this\nthe camera does not answer")
		os.Exit(1)
	case "crashes":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		<-time.After(time.Hour)
	}
}

// newWorker returns a worker in a role, with limits that no machine is too slow
// for, and where its lines come.
func newWorker(t *testing.T, role string) (*Worker, <-chan floorwatch.Frame) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan floorwatch.Frame, 10)
	return &Worker{
		Camera: "door", Program: self, Env: []string{roleEnv + "=" + role}, Lines: lines, open: time.Hour, silence: time.Hour,
		Now: func() floorwatch.Time { return floorwatch.TimeOf(time.Now()) },
	}, lines
}

func TestWorkerThatEatsMemoryIsEnded(t *testing.T) {
	w, lines := newWorker(t, "eats")
	w.Memory = 200 << 20
	err := w.once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "MiB of memory, limit 200 MiB") {
		t.Errorf("it ended with %v", err)
	}
	if f := <-lines; f.Event != floorwatch.EventOpen {
		t.Errorf("its first line came as %+v", f)
	}
}

func TestWhyAWorkerEnded(t *testing.T) {
	for role, want := range map[string]string{
		"ends":    "the camera does not answer",
		"crashes": "it crashed",
		"babbles": "printed an invalid line",
		"nothing": "exited without an error message",
	} {
		t.Run(role, func(t *testing.T) {
			w, _ := newWorker(t, role)
			if err := w.once(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it ended with %v, want %q", err, want)
			}
		})
	}
	t.Run("hangs", func(t *testing.T) {
		w, _ := newWorker(t, "hangs")
		w.silence = time.Second
		if err := w.once(t.Context()); err == nil || !strings.Contains(err.Error(), "printed nothing for 1s, or for 1h0m0s after its start") {
			t.Errorf("it ended with %v", err)
		}
	})
}

// TestWorkerIsStartedAgain and each end of it is told.
func TestWorkerIsStartedAgain(t *testing.T) {
	w, lines := newWorker(t, "ends")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for range 2 {
		if f := <-lines; f.Event != floorwatch.EventOpen {
			t.Errorf("it began with %+v", f)
		}
		if f := <-lines; f.Event != floorwatch.EventClosed || f.Cause != "camera worker: the camera does not answer" || f.T == 0 {
			t.Errorf("its end was told as %+v", f)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
