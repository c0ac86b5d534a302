package child

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestAChildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := Command(ctx, "sh", "-c", "trap '' TERM; exec sleep 71")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	alive, err := Alive()
	if err != nil || !strings.Contains(alive[cmd.Process.Pid], "sleep 71") {
		t.Errorf("the child is not listed: %v %v", alive, err)
	}
	began := time.Now()
	cancel()
	_ = cmd.Wait() // killed: it does not hear SIGTERM
	if took := time.Since(began); took > StopGrace+2*time.Second {
		t.Errorf("it took %s to end", took)
	}
	if alive, err = Alive(); err != nil || alive[cmd.Process.Pid] != "" {
		t.Errorf("still there: %v %v", alive, err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tail Tail
	for range 1000 {
		_, _ = tail.Write([]byte("line after line\n"))
	}
	_, _ = tail.Write([]byte("the reason"))
	if s := tail.String(); len(s) != tailBytes || !strings.HasSuffix(s, "the reason") {
		t.Errorf("%d bytes, ending in %q", len(s), s[len(s)-20:])
	}
}
