package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/kit"
)

// wire is as much of an MQTT 3.1.1 client as a load generator needs, so that it
// costs little beside what it loads: paho publishes for 18 CPU-s per million
// messages, this for about 2.
type wire struct {
	conn  net.Conn
	w     *bufio.Writer
	r     *bufio.Reader
	acked atomic.Int64 // PUBACKs
	id    uint16
}

// MQTT control packets, with the flags that are used here.
const (
	connect          = 0x10
	connack          = 0x20
	publish1         = 0x32 // QoS 1
	publish0Retained = 0x31
	puback           = 0x40
	subscribe        = 0x82
	suback           = 0x90
	disconnect       = 0xe0
)

// dialWire connects; the broker keeps a session only if clean is false.
func dialWire(ctx context.Context, address, id string, clean bool) (*wire, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("reach the broker: %w", err)
	}
	c := &wire{conn: conn, w: bufio.NewWriterSize(conn, 64<<10), r: bufio.NewReaderSize(conn, 64<<10)}
	flags := byte(0)
	if clean {
		flags = 2
	}
	body := append(text(nil, "MQTT"), 4, flags, 0, 0) // version 3.1.1, no keep-alive
	err = c.packet(connect, text(body, id), nil)
	if err == nil {
		err = c.expect(connack)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	return c, nil
}

func text(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// packet writes one, its body in two parts.
func (c *wire) packet(kind byte, head, rest []byte) error {
	n := len(head) + len(rest)
	b := []byte{kind}
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	b = append(b, byte(n))
	for _, part := range [][]byte{b, head, rest} {
		if _, err := c.w.Write(part); err != nil {
			return err
		}
	}
	if kind == publish1 || kind == publish0Retained {
		return nil // the caller flushes
	}
	return c.w.Flush()
}

func (c *wire) publish(topic string, payload []byte) error {
	if c.id++; c.id == 0 {
		c.id = 1
	}
	return c.packet(publish1, binary.BigEndian.AppendUint16(text(nil, topic), c.id), payload)
}

func (c *wire) subscribe(filter string, qos byte) error {
	if err := c.packet(subscribe, append(text([]byte{0, 1}, filter), qos), nil); err != nil {
		return err
	}
	return c.expect(suback)
}

func (c *wire) expect(kind byte) error {
	got, _, err := c.read(nil)
	if err == nil && got != kind {
		err = fmt.Errorf("the broker sends packet %#x, want %#x", got, kind)
	}
	return err
}

// read returns the next packet, its body in memory of buf.
func (c *wire) read(buf []byte) (kind byte, body []byte, err error) {
	if kind, err = c.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r) // the same form as MQTT's length
	if err != nil {
		return 0, nil, err
	}
	if n > floorwatch.MaxPacket {
		return 0, nil, fmt.Errorf("a packet of %d bytes", n)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(c.r, buf)
	return kind, buf, err
}

// listen counts PUBACKs and gives messages to on until the connection ends.
func (c *wire) listen(on func(payload []byte)) error {
	var buf []byte
	for {
		kind, body, err := c.read(buf)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		buf = body
		switch {
		case kind == puback:
			c.acked.Add(1)
		case kind>>4 == publish1>>4 && len(body) >= 2:
			if n := 2 + int(binary.BigEndian.Uint16(body)); n <= len(body) && on != nil {
				on(body[n:])
			}
		}
	}
}

// settle waits until the broker has acknowledged n messages.
func (c *wire) settle(ctx context.Context, n int64) error {
	for deadline := time.Now().Add(time.Minute); c.acked.Load() < n; {
		if err := kit.Pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the broker acknowledged %d of %d messages", c.acked.Load(), n)
		}
	}
	return nil
}

func (c *wire) close() {
	_ = c.packet(disconnect, nil, nil)
	_ = c.conn.Close()
}
