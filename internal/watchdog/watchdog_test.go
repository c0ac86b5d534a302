package watchdog

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"floorwatch/internal/lab/kit"
)

func TestALoopThatStandsStillIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dog{Patience: 5 * time.Second}
		works, rests, hangs := d.Pulse("works"), d.Pulse("rests"), d.Pulse("hangs")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.Run(ctx); close(done) }()
		rests.Beat()
		rests.Rest()
		hangs.Beat()
		for range 12 {
			works.Beat()
			time.Sleep(500 * time.Millisecond)
		}
		synctest.Wait()
		if got := strings.Join(d.Stuck(), " "); got != "hangs" {
			t.Errorf("after 6 s: stuck are %q", got)
		}
		hangs.Beat()
		works.Rest()
		time.Sleep(1500 * time.Millisecond)
		if got := d.Stuck(); len(got) != 0 {
			t.Errorf("it went on: %q", got)
		}
		cancel()
		<-done
	})
}

// TestTheManagerHears is against a real socket, so in real time.
func TestTheManagerHears(t *testing.T) {
	kit.Long(t)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "4000000")
	d := &Dog{Patience: 2 * time.Second}
	p := d.Pulse("outbox")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	hear := func() string {
		b := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if got := hear(); got != "READY=1\nSTATUS=working" {
		t.Errorf("first word %q", got)
	}
	if got := hear(); got != "WATCHDOG=1" {
		t.Errorf("then %q", got)
	}
	p.Beat()
	for {
		got := hear()
		if got == "WATCHDOG=1" {
			continue
		}
		if got != "STATUS=stands still: outbox\nWATCHDOG=trigger" {
			t.Errorf("stuck: %q", got)
		}
		break
	}
	cancel()
	<-done
}
