package link

import (
	"net"
	"sync/atomic"
	"time"
)

// boundConn fails when the other side is silent or takes nothing for too long,
// however the link died.
type boundConn struct {
	net.Conn
	silence, write time.Duration
}

func (c *boundConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if err != nil {
		_ = c.Close() // or paho waits for a write that the dead link holds up
	}
	return n, err
}

func (c *boundConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// packetConn reads MQTT packets and fails at one that is too large.
type packetConn struct {
	net.Conn
	max      int
	oversize *atomic.Bool
	left     int  // bytes of the packet still to come
	header   bool // its length is being read
	length   int
	shift    uint
}

func (c *packetConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.follow(b[:n]) {
		c.oversize.Store(true)
		return 0, ErrPacket
	}
	return n, err
}

// follow keeps track of where packets begin: a type byte, then the length in 7
// bits a byte, the lowest first (MQTT 3.1.1, 2.2.3). It tells whether all are of a
// size that is taken.
func (c *packetConn) follow(b []byte) bool {
	for len(b) > 0 {
		switch {
		case c.left > 0:
			n := min(c.left, len(b))
			c.left -= n
			b = b[n:]
			continue
		case !c.header:
			c.header, c.length, c.shift = true, 0, 0
		default:
			c.length |= int(b[0]&0x7f) << c.shift
			c.shift += 7
			if c.length > c.max || c.shift > 28 {
				return false
			}
			if b[0]&0x80 == 0 {
				c.header, c.left = false, c.length
			}
		}
		b = b[1:]
	}
	return true
}
