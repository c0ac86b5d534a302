package ingest

import (
	"net"
	"sync"
	"time"
)

const (
	readBuffer  = 64 << 10
	calm        = readBuffer / 4         // bytes; who sends more in one read is not kept waiting
	pace        = 50 * time.Millisecond  // between two reads while little comes
	writeBuffer = 32 << 10               // bytes that are written at once
	gather      = time.Millisecond       // longest time for which less waits
	lastWords   = 100 * time.Millisecond // for what is unsent when the connection closes
	silence     = 2 * keepAlive          // after this without a byte, the link is dead
)

// conn is a TCP connection that talks to the kernel in large pieces. paho reads
// a message in three reads, or more, and writes each acknowledgement by itself,
// and those calls, each waking a goroutine, are most of what a message costs
// (measured in docs/performance.md).
//
// Reads come out of a buffer. With paced set, a read that finds little is not
// followed by the next one for 50 ms, as a network card holds back interrupts;
// the first byte after a pause is always read at once. That must not be combined
// with a broker that waits for acknowledgements. Writes are gathered for 1 ms.
type conn struct {
	net.Conn
	paced bool

	in   []byte // read and not yet taken, part of buf
	buf  []byte
	next time.Time // when to read again

	mu    sync.Mutex
	out   []byte
	timer *time.Timer
	err   error // of a write; all later ones give it too

	once sync.Once
	done chan struct{}
}

func newConn(c net.Conn, paced bool) *conn {
	n := &conn{Conn: c, paced: paced, buf: make([]byte, readBuffer), done: make(chan struct{})}
	n.timer = time.AfterFunc(time.Hour, n.flush)
	n.timer.Stop()
	return n
}

// Read is called by one goroutine only.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *conn) fill() error {
	if wait := time.Until(c.next); wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.done: // the read below says so
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	n, err := c.Conn.Read(c.buf)
	c.in = c.buf[:n]
	if c.paced && n < calm {
		c.next = time.Now().Add(pace)
	}
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// Write takes p and sends it soon. An error is told by a later call, and to the
// reader, as the connection is closed.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if len(c.out) == 0 {
		c.timer.Reset(gather)
	}
	c.out = append(c.out, p...)
	if len(c.out) >= writeBuffer {
		c.send(publishTimeout)
	}
	return len(p), c.err
}

func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.send(publishTimeout)
}

// send writes what is there; mu is held.
func (c *conn) send(limit time.Duration) {
	if len(c.out) == 0 || c.err != nil {
		return
	}
	if c.err = c.Conn.SetWriteDeadline(time.Now().Add(limit)); c.err == nil {
		_, c.err = c.Conn.Write(c.out)
	}
	if c.out = c.out[:0]; c.err != nil {
		_ = c.Conn.Close()
	}
}

// Close sends what is left, if the other side takes it, and closes.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.done)
		c.timer.Stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.send(lastWords)
		if c.err == nil {
			c.err = net.ErrClosed
		}
		err = c.Conn.Close()
	})
	return err
}

// SetWriteDeadline does nothing: paho sets one for every packet, and every write
// has one already.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
