package metrics

import (
	"context"
	"io"
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
