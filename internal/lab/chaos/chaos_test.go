package chaos

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"floorwatch/internal/lab/kit"
)

// echo answers what it is told.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}

// moment is how long silence is listened to.
const moment = 300 * time.Millisecond

// say sends text and returns what comes back in time.
func say(t *testing.T, c net.Conn, text string, patience time.Duration) string {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		return "error"
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, len(text))
	n, err := io.ReadFull(c, b)
	if err == io.EOF || n == 0 && err != nil && !err.(net.Error).Timeout() {
		return "closed"
	}
	return string(b[:n])
}

func TestFaults(t *testing.T) {
	p, err := Start(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	for name, row := range map[string]struct {
		put  func()
		want string
	}{
		"pass":       {func() {}, "hello"},
		"one way":    {func() { p.Set(Fault{Hold: true}, Fault{}) }, ""},
		"other way":  {func() { p.Set(Fault{}, Fault{Hold: true}) }, ""},
		"blackhole":  {p.Blackhole, ""},
		"late fault": {func() { p.Both(Fault{Hold: true, After: 1 << 20}) }, "hello"},
		"delay":      {func() { p.Both(Fault{Delay: time.Millisecond, Jitter: time.Millisecond, Rate: 10000}) }, "hello"},
	} {
		row.put()
		patience := kit.Patience
		if row.want == "" {
			patience = moment
		}
		if got := say(t, dial(), "hello", patience); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
		p.Pass()
	}
	p.Both(Fault{Noise: true})
	if got := say(t, dial(), "hello", kit.Patience); len(got) != 5 || got == "hello" {
		t.Errorf("noise: %q", got)
	}
	p.Set(Fault{}, Fault{Flip: 1000})
	long := string(bytes.Repeat([]byte("x"), 30000))
	if got := say(t, dial(), long, kit.Patience); len(got) != len(long) || got == long {
		t.Errorf("flip: %d bytes", len(got))
	}
	p.Pass()
	p.Mute()
	if got := say(t, dial(), "hello", moment); got != "" {
		t.Errorf("mute: %q", got)
	}
	p.Pass()
	for name, end := range map[string]func(){"cut": p.Cut, "reset": p.Reset, "drop": func() { p.Drop(100) }, "down": p.Down} {
		c := dial()
		if got := say(t, c, "hello", kit.Patience); got != "hello" {
			t.Fatalf("before %s: %q", name, got)
		}
		end()
		if got := say(t, c, "hello", kit.Patience); got != "closed" && got != "error" {
			t.Errorf("%s: %q", name, got)
		}
		p.Pass()
		if name == "down" {
			if _, err := net.Dial("tcp", p.Addr); err == nil {
				t.Error("a proxy that is down takes connections")
			}
			if err := p.Up(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
