package edge

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"floorwatch"
)

const eaterEnv = "FLOORWATCH_TEST_EATER"

// TestMain lets the test binary be a camera worker that eats memory.
func TestMain(m *testing.M) {
	if os.Getenv(eaterEnv) == "" {
		os.Exit(m.Run())
	}
	fmt.Println(`{"t":1,"event":"open"}`)
	held := bytes.Repeat([]byte{1}, 300<<20)
	<-time.After(time.Minute)
	fmt.Fprintln(os.Stderr, len(held))
}

func TestWorkerThatEatsMemoryIsEnded(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan floorwatch.Frame, 10)
	w := &worker{
		camera: "door", program: self, env: []string{eaterEnv + "=1"}, log: slog.New(slog.DiscardHandler), lines: lines, memory: 200 << 20,
		now: func() floorwatch.Time { return floorwatch.TimeOf(time.Now()) },
	}
	err = w.once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "MiB of memory, limit 200 MiB") {
		t.Errorf("it ended with %v", err)
	}
	if f := <-lines; f.Event != floorwatch.EventOpen {
		t.Errorf("its first line came as %+v", f)
	}
}
