package cloud

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"floorwatch/cloud/broker"
	"floorwatch/internal/config"
	"floorwatch/internal/finding"
	"floorwatch/internal/lab/kit"
)

// examined is what the doctor says of a configuration, a line for each finding.
func examined(t *testing.T, cfg Config) string {
	t.Helper()
	parts, err := cfg.Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	_ = finding.Tell(t.Context(), "cloud.yaml", parts, false, &out, &progress) // ErrTold, where something failed
	return out.String()
}

// wantLines compares with lines of the form "result part: found → next".
func wantLines(t *testing.T, what, said string, want ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(said), " ")
	for _, w := range want {
		if !strings.Contains(flat, w) {
			t.Errorf("%s: not told: %s\nin\n%s", what, w, said)
		}
	}
}

func TestDoctorOfTheCloud(t *testing.T) {
	kit.UseTools(t, "influxd")
	b, err := broker.New(broker.Settings{Edges: map[string]string{}, CloudPassword: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- b.Run(ctx) }()
	running := 1
	t.Cleanup(func() {
		stop()
		for range running {
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	})
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := other.Addr().String()
	go func() { // another program, which speaks no HTTP
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	dir := t.TempDir()
	password, wrong := file(t, dir, "password", []byte("secret\n")), file(t, dir, "wrong", []byte("guessed\n"))
	configured := func(data, password, influx, listen string) Config {
		cfg := DefaultConfig()
		text := "data: " + dir + data + "\nbroker: {url: '" + b.URL() + "', password_file: " + password + "}\ninflux: " + influx + "\npages: {listen: '" + listen + "'}\n"
		kit.Must(t, config.Parse("cloud.yaml", []byte(text), &cfg))
		return cfg
	}
	said := examined(t, configured("/bad", wrong, "{url: 'http://127.0.0.1:1'}", taken))
	wantLines(t, "nothing works", said, "the cloud is not running", "fail database http://127.0.0.1:1: ping influxdb", "→ check that it runs, and influx.url",
		"fail broker sign in as cloud: ", "→ check broker.username, broker.password_file", "fail pages "+taken, "→ change pages.listen, or stop the other program",
		"warn metadata no hall and no box is registered yet → floorwatch-cloud site add", "3 failed")
	kit.Must(t, other.Close())

	good := configured("/good", password, "{child: true}", taken)
	said = examined(t, good)
	wantLines(t, "before the start", said, "the cloud is not running", "ok broker signed in as cloud, and may hear the boxes", "ok pages "+taken+" is free", "ok database the cloud runs", "0 failed")

	s, err := Open(good, nil)
	kit.Must(t, err)
	ready := make(chan string, 1)
	running++
	go func() { done <- s.Run(ctx, func(a string) { ready <- a }) }()
	<-ready
	if _, err := s.child.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	kit.Wait(t, "the cloud to reach its broker", func() bool { return strings.Contains(examined(t, good), "0 failed") })
	said = examined(t, good)
	wantLines(t, "running", said, "the cloud is running", "answers, a child of the running cloud", "ok pages the running cloud answers on "+taken, "ok records 0 of 0 registered box(es) online")
}
