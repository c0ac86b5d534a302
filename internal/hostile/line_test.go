package hostile

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"floorwatch/internal/programtest"
)

// line is a TCP connection that faults can be put into: it passes on to target
// what comes to addr.
type line struct {
	addr  string
	hold  atomic.Bool  // nothing passes
	noise atomic.Bool  // answers become random bytes
	delay atomic.Int64 // ns, before each piece of an answer

	mu     sync.Mutex
	target string
	ln     net.Listener
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

// newLine returns a line that is down: connections to it are refused.
func newLine(t *testing.T, target string) *line {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	programtest.Must(t, err)
	programtest.Must(t, ln.Close())
	l := &line{addr: ln.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.down(); l.wg.Wait() })
	return l
}

func (l *line) up(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", l.addr)
	programtest.Must(t, err)
	l.mu.Lock()
	l.ln = ln
	l.mu.Unlock()
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // down
			}
			l.wg.Go(func() { l.pass(c) })
		}
	})
}

// down cuts every connection and refuses new ones.
func (l *line) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln != nil {
		_ = l.ln.Close()
		l.ln = nil
	}
	for c := range l.conns {
		_ = c.Close()
	}
}

// cut ends every connection; new ones are taken.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// turn ends every connection; new ones lead to another target.
func (l *line) turn(target string) {
	l.mu.Lock()
	l.target = target
	l.mu.Unlock()
	l.cut()
}

func (l *line) pass(c net.Conn) {
	l.mu.Lock()
	target := l.target
	l.mu.Unlock()
	s, err := net.Dial("tcp", target)
	if err != nil {
		_ = c.Close()
		return
	}
	l.mu.Lock()
	if l.ln == nil {
		_, _ = c.Close(), s.Close()
	}
	l.conns[c], l.conns[s] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.copy(s, c, false) })
	both.Go(func() { l.copy(c, s, true) })
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	delete(l.conns, s)
}

func (l *line) copy(to, from net.Conn, answer bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if answer && !l.spoil(buf[:n]) {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// spoil does to an answer what is asked for; false: it does not pass.
func (l *line) spoil(b []byte) bool {
	if d := time.Duration(l.delay.Load()); d > 0 {
		<-time.After(d)
	}
	if l.noise.Load() {
		for i := range b {
			b[i] = byte(rand.N(256))
		}
	}
	return !l.hold.Load()
}
