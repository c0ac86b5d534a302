package backup

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// every is how often progress is told.
const every = 2 * time.Second

// progress tells how far a step is, so that who waits sees that it goes on.
type progress struct {
	mu    sync.Mutex
	what  string
	done  int64
	of    int64  // 0: not known
	path  string // whose size is told in place of done
	stop  chan struct{}
	ended chan struct{}
}

func startProgress(tell func(string)) *progress {
	p := &progress{stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if tell != nil {
					tell(p.String())
				}
			case <-p.stop:
				return
			}
		}
	}()
	return p
}

func (p *progress) end() { close(p.stop); <-p.ended }

// begin names the next step, of so many bytes.
func (p *progress) begin(what string, of int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.of, p.done, p.path = what, of, 0, ""
}

// watch tells the size of what somebody else writes.
func (p *progress) watch(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path = path
}

// Write counts bytes.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(len(b))
	return len(b), nil
}

func (p *progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := p.done
	if info, err := os.Stat(p.path); err == nil && !info.IsDir() {
		done = info.Size()
	} else if err == nil {
		done = bytesBelow(p.path)
	}
	if p.of > 0 {
		return fmt.Sprintf("%s: %d MB, of at most about %d", p.what, done>>20, p.of>>20)
	}
	return fmt.Sprintf("%s: %d MB", p.what, done>>20)
}
