package metrics

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, ln, func() []Figure {
			return []Figure{
				Gauge("floorwatch_flag", "A flag.", Flag(true)),
				Counter("floorwatch_things_total", "Things.", 3),
				{Name: "floorwatch_camera_frames_total", Help: "Frames.", Counter: true, Labels: []string{"camera"}, Samples: []Sample{{7, []string{"door"}}, {8, []string{`a"b`}}}},
			}
		})
	}()
	resp, err := http.Get("http://" + ln.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %v\n%s", resp.Status, err, b)
	}
	for _, want := range []string{
		"# TYPE floorwatch_flag gauge\nfloorwatch_flag 1\n",
		"# TYPE floorwatch_things_total counter\nfloorwatch_things_total 3\n",
		`floorwatch_camera_frames_total{camera="door"} 7`,
		`floorwatch_camera_frames_total{camera="a\"b"} 8`,
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWrongLabelsFailTheScrape(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, ln, func() []Figure {
			return []Figure{{Name: "floorwatch_x", Help: "X.", Labels: []string{"camera"}, Samples: []Sample{{1, nil}}}}
		})
	}()
	resp, err := http.Get("http://" + ln.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("answered %s, want 500", resp.Status)
	}
	stop()
	<-done
}

// TestTakenPort: figures wait for their port and are served once it is free.
func TestTakenPort(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := other.Addr().String()
	said := make(chan string, 16)
	log := slog.New(slog.NewTextHandler(lines(said), nil))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Keep(ctx, address, log, func() []Figure { return []Figure{Gauge("floorwatch_flag", "A flag.", 1)} })
	}()
	if line := <-said; !strings.Contains(line, "figures are not served") || !strings.Contains(line, "address already in use") {
		t.Errorf("said %s", line)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if line := <-said; !strings.Contains(line, "figures are served") {
		t.Errorf("said %s", line)
	}
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("answered %s", resp.Status)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTakenPortUntilTheEnd: the end does not wait for the port.
func TestTakenPortUntilTheEnd(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	said := make(chan string, 16)
	done := make(chan error, 1)
	go func() {
		done <- Keep(ctx, other.Addr().String(), slog.New(slog.NewTextHandler(lines(said), nil)), func() []Figure { return nil })
	}()
	<-said
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lines passes on what is written.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
