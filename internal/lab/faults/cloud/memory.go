package cloud

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"floorwatch/internal/lab/kit"
)

const memoryLimit = 256 // MiB, of the aggregator

// highWater watches the largest memory in MiB of processes that come and go.
type highWater struct {
	peak atomic.Int64
	stop context.CancelFunc
	done chan struct{}
}

func watchMemory(ctx context.Context, pids func() []int) *highWater {
	ctx, stop := context.WithCancel(ctx)
	w := &highWater{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for kit.Pause(ctx, 100*time.Millisecond) == nil {
			for _, pid := range pids() {
				w.peak.Store(max(w.peak.Load(), residentMiB(pid)))
			}
		}
	}()
	return w
}

func (w *highWater) end() int64 { w.stop(); <-w.done; return w.peak.Load() }

// residentMiB reads the peak of a process's memory; 0 when it is gone.
func residentMiB(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	text, _, _ := strings.Cut(rest, "kB")
	kb, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return kb >> 10
}
