package ingest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// heard is one end of a pipe that notes when bytes come.
type heard struct {
	net.Conn
	at []time.Duration
	b  []byte
}

func (h *heard) listen(t *testing.T, n int) {
	t.Helper()
	began := time.Now()
	for len(h.b) < n {
		p := make([]byte, 1<<20)
		k, err := h.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		h.at, h.b = append(h.at, time.Since(began)), append(h.b, p[:k]...)
	}
}

func TestWritesAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, h := newConn(near, false), &heard{Conn: far}
		go func() {
			for i := range 10 {
				_, _ = c.Write([]byte{byte(i)})
			}
			time.Sleep(10 * time.Millisecond)
			_, _ = c.Write(make([]byte, writeBuffer))
			_, _ = c.Write([]byte("last"))
			_ = c.Close()
		}()
		h.listen(t, 10+writeBuffer+4)
		if len(h.at) != 3 || h.at[0] != gather || h.at[1] != 10*time.Millisecond || h.at[2] != h.at[1] {
			t.Errorf("written at %v, want after 1 ms, at once when full, and when closed", h.at)
		}
		if !bytes.HasPrefix(h.b, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) || !bytes.HasSuffix(h.b, []byte("last")) {
			t.Error("out of order")
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after Close: %v", err)
		}
	})
}

func TestReadsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newConn(near, true)
		go func() {
			for _, p := range [][]byte{{1, 2}, {3}, make([]byte, readBuffer), {4}} {
				_, _ = far.Write(p)
			}
			_ = far.Close()
		}()
		began := time.Now()
		var at []time.Duration
		read := func(n int) {
			if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(began))
		}
		read(1)
		read(1)
		read(1)
		read(readBuffer)
		read(1)
		if at[0] != 0 || at[1] != 0 || at[2] != pace || at[3] != 2*pace || at[4] != 2*pace {
			t.Errorf("read at %v, want the first at once, small ones 50 ms apart, and none to wait after a large one", at)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("read after the end")
		}
		_ = c.Close()
	})
}

func TestSilentAndStuckPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := net.Pipe()
		c := newConn(near, true)
		began := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != silence {
			t.Errorf("silent peer: %v after %s", err, time.Since(began))
		}
		_, _ = c.Write([]byte("nobody reads this"))
		time.Sleep(publishTimeout + 2*gather)
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stuck peer: %v", err)
		}
		_ = c.Close()
		near, _ = net.Pipe()
		c = newConn(near, true)
		_, _ = c.Write([]byte("nor this"))
		began = time.Now()
		_ = c.Close()
		if time.Since(began) != lastWords {
			t.Errorf("Close took %s", time.Since(began))
		}
	})
}
