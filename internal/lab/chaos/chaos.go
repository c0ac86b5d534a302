// Package chaos is a TCP proxy into which faults are put, for tests and benches:
// it passes on to a target what comes to its own address, or does not.
package chaos

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"floorwatch/internal/lab/kit"
)

// Fault is what a proxy does to one direction of the traffic, or to new
// connections. The zero value passes everything.
type Fault struct {
	Hold   bool          // what is read goes nowhere; the connection stays open
	Stall  bool          // what is sent piles up with the sender
	Delay  time.Duration // before each piece
	Jitter time.Duration // up to this much more
	Rate   int           // bytes per second; 0: no limit
	Noise  bool          // every byte is random
	Flip   int           // one byte in so many changes; 0: none
	After  int           // the faults above begin after so many bytes of a connection
}

// Proxy is one line. Its faults may change at any time and hold for open
// connections too.
type Proxy struct {
	Addr string // where it listens

	there, back atomic.Pointer[Fault] // to the target, and its answers
	mute        atomic.Bool
	drop        atomic.Int64 // percent
	taken       atomic.Int64

	mu     sync.Mutex
	target string
	ln     net.Listener
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

// New returns a proxy on loopback that is down: connections to it are refused.
// Close must follow.
func New(target string) (*Proxy, error) { return At("127.0.0.1", target) }

// At is New on another address of this machine.
func At(ip, target string) (*Proxy, error) {
	address, err := kit.FreeAddressAt(ip)
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: address, target: target, conns: map[net.Conn]bool{}}
	p.Pass()
	return p, nil
}

// Start is New and Up.
func Start(target string) (*Proxy, error) {
	p, err := New(target)
	if err == nil {
		err = p.Up()
	}
	return p, err
}

// Up takes connections.
func (p *Proxy) Up() error {
	ln, err := net.Listen("tcp", p.Addr)
	if err != nil {
		return fmt.Errorf("bring a proxy up: %w", err)
	}
	p.mu.Lock()
	p.ln = ln
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // down
			}
			p.taken.Add(1)
			p.wg.Go(func() { p.pass(c) })
		}
	})
	return nil
}

// Down cuts every connection and refuses new ones.
func (p *Proxy) Down() {
	p.mu.Lock()
	if p.ln != nil {
		_ = p.ln.Close()
		p.ln = nil
	}
	p.mu.Unlock()
	p.Cut()
}

// Close is Down, and waits until nothing is left of the proxy.
func (p *Proxy) Close() {
	p.Down()
	p.wg.Wait()
}

// Cut ends every connection; new ones are taken.
func (p *Proxy) Cut() { p.each(func(c net.Conn) { _ = c.Close() }) }

// Reset ends every connection with RST, so that what is on its way is lost.
func (p *Proxy) Reset() {
	p.each(func(c net.Conn) {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
	})
}

func (p *Proxy) each(do func(net.Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		do(c)
	}
}

// Turn ends every connection; new ones lead to another target.
func (p *Proxy) Turn(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Cut()
}

// Taken counts the connections so far.
func (p *Proxy) Taken() int64 { return p.taken.Load() }

// Pass ends all faults. What was held is lost.
func (p *Proxy) Pass() { p.mute.Store(false); p.drop.Store(0); p.Set(Fault{}, Fault{}) }

// Set puts a fault into each direction: to the target, and back.
func (p *Proxy) Set(there, back Fault) { p.there.Store(&there); p.back.Store(&back) }

// Both puts a fault into both directions.
func (p *Proxy) Both(f Fault) { p.Set(f, f) }

// Blackhole lets nothing through either way, on open connections and new ones.
func (p *Proxy) Blackhole() { p.Mute(); p.Both(Fault{Hold: true}) }

// Mute has new connections taken and never answered.
func (p *Proxy) Mute() { p.mute.Store(true) }

// Drop has so many in a hundred pieces lost, and with each its connection, as
// TCP gives up.
func (p *Proxy) Drop(percent int) { p.drop.Store(int64(percent)) }

func (p *Proxy) pass(c net.Conn) {
	defer func() { _ = c.Close() }()
	if !p.keep(c) {
		return
	}
	defer p.forget(c)
	if p.mute.Load() {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	s, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	if !p.keep(s) {
		_ = s.Close()
		return
	}
	defer p.forget(s)
	var both sync.WaitGroup
	both.Go(func() { p.copy(s, c, &p.there) })
	both.Go(func() { p.copy(c, s, &p.back) })
	both.Wait()
}

// keep counts a connection among the open ones; false once the proxy is down.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln == nil {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) open(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ln != nil && p.conns[c]
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) copy(to, from net.Conn, fault *atomic.Pointer[Fault]) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for passed := 0; ; {
		n, err := from.Read(buf)
		for fault.Load().Stall && p.open(from) {
			<-time.After(5 * time.Millisecond)
		}
		if err != nil || rand.N(int64(100)) < p.drop.Load() {
			return
		}
		f := fault.Load()
		passed += n
		if passed > f.After && !f.apply(buf[:n]) {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// apply does to a piece what the fault says; false: it does not pass.
func (f *Fault) apply(b []byte) bool {
	wait := f.Delay
	if f.Jitter > 0 {
		wait += rand.N(f.Jitter)
	}
	if f.Rate > 0 {
		wait += time.Duration(len(b)) * time.Second / time.Duration(f.Rate)
	}
	if wait > 0 {
		<-time.After(wait)
	}
	for i := range b {
		if f.Noise || f.Flip > 0 && rand.N(f.Flip) == 0 {
			b[i] ^= byte(1 + rand.N(255))
		}
	}
	return !f.Hold
}
