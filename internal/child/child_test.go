package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAProcessEndsWithItsContext(t *testing.T) {
	t.Parallel()
	why := errors.New("no longer wanted")
	for name, c := range map[string]struct {
		script string
		stop   syscall.Signal
		grace  time.Duration
	}{
		"that listens":   {script: "exec sleep 71"},
		"that does not":  {script: "trap '' TERM; echo deaf; sleep 71; sleep 71", grace: 300 * time.Millisecond},
		"killed at once": {script: "trap '' TERM; echo deaf; sleep 71; sleep 71", stop: syscall.SIGKILL, grace: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			p := &Process{Path: "sh", Args: []string{"-c", c.script}, Stop: c.stop, Grace: c.grace}
			out, err := p.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(c.script, "deaf") {
				_, _ = out.Read(make([]byte, 5))
			}
			alive, err := Alive()
			if err != nil || !strings.Contains(alive[p.PID()], "sleep 71") {
				t.Errorf("it is not listed: %v %v", alive, err)
			}
			began := time.Now()
			cancel(why)
			if err := p.Wait(); !errors.Is(err, why) {
				t.Errorf("it ended with %v", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s to end", took)
			}
			if err := p.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("a signal after its end: %v", err)
			}
			empty(t, p.PID())
		})
	}
}

// empty wants a process group without members, but for what init has not reaped.
func empty(t *testing.T, group int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		left := ""
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, path := range stats {
			stat, _ := os.ReadFile(path)
			_, rest, _ := strings.Cut(string(stat), ") ")
			if f := strings.Fields(rest); len(f) > 2 && f[0] != "Z" && f[0] != "X" && f[2] == fmt.Sprint(group) {
				left = string(stat)
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still there: " + left)
		}
	}
}

// TestNothingStaysBehind ends a process by itself that leaves another behind.
func TestNothingStaysBehind(t *testing.T) {
	t.Parallel()
	p := &Process{Path: "sh", Args: []string{"-c", "trap '' HUP TERM; (trap '' HUP TERM; sleep 72; sleep 72) & echo word; echo reason >&2; exit 3"}}
	out, err := p.Output(t.Context())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != "word\n" || p.LastLine() != "reason" {
		t.Errorf("it ended with %v, printed %q and said %q", err, out, p.Tail())
	}
	empty(t, p.PID())
}

func TestPipes(t *testing.T) {
	t.Parallel()
	p := &Process{Path: "sh", Args: []string{"-c", "cat; echo $WORD"}, Env: []string{"WORD=environment"}, Expendable: true}
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID()))
	if err != nil || string(score) != killFirst+"\n" {
		t.Errorf("memory score %q, %v", score, err)
	}
	_, _ = io.WriteString(in, "input\n")
	_ = in.Close()
	<-p.Done() // what it printed can be read all the same
	b, err := io.ReadAll(out)
	if err != nil || string(b) != "input\nenvironment\n" {
		t.Errorf("it printed %q, %v", b, err)
	}
	if err := errors.Join(p.Wait(), p.Wait()); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatEatsMemoryIsEnded(t *testing.T) {
	t.Parallel()
	p := &Process{Path: "sh", Args: []string{"-c", `x=$(head -c 60000000 /dev/zero | tr '\0' x); sleep 60`}, Memory: 32 << 20}
	if err := p.Run(t.Context()); !errors.Is(err, ErrMemory) || !strings.HasSuffix(err.Error(), "limit 32 MiB") {
		t.Errorf("it ended with %v", err)
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	p := &Process{Path: "/nowhere/ffmpeg"}
	if _, err := p.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "start ffmpeg: ") {
		t.Errorf("start of nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Process{Path: "true"}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("start after the end: %v", err)
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
