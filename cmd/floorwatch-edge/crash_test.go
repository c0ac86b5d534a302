package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/edge/queue"
	"floorwatch/edge/zone"
	"floorwatch/internal/child"
	"floorwatch/internal/lab/kit"
)

// role makes the test binary the agent, or a camera worker.
const role = "FLOORWATCH_EDGE_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "agent":
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "worker":
		if err := visitors(); err != nil {
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// visitors prints what a camera sees on which one person stays for ever and
// another comes every second and leaves after two.
func visitors() error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(floorwatch.Frame{T: floorwatch.TimeOf(time.Now()), Event: floorwatch.EventOpen, By: "test"}); err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		now := int64(floorwatch.TimeOf(time.Now()))
		f := floorwatch.Frame{T: floorwatch.Time(now), N: n, W: 640, H: 480, People: []floorwatch.Person{{ID: 1, X: 300, Y: 200, W: 30, H: 80}}}
		for k := now / 1000; now-1000*k < 2000; k-- {
			f.People = append(f.People, floorwatch.Person{ID: k, X: float64(100 + k%5*100), Y: 100, W: 30, H: 80})
		}
		if err := out.Encode(f); err != nil {
			return err
		}
		<-time.After(100 * time.Millisecond)
	}
}

const crashConfig = `store: shop
edge: box
data: %s
metrics: ""
interval: 2s
broker: {url: "tcp://127.0.0.1:9", password_file: %s}
cameras:
  - name: lobby
    label: {zh: 大厅, en: Lobby}
    source: rtsp://127.0.0.1:9/none
    record: false
    zones:
      - name: queue
        label: {zh: 排队区, en: Queue}
        role: queue
        polygon: [[0, 0], [640, 0], [640, 480], [0, 480]]
`

// TestKilledAgain and again, the agent has in the end stored each stay and each
// wait that its trail tells of exactly once.
func TestKilledAgain(t *testing.T) {
	t.Parallel()
	kit.UseTools(t, "ffmpeg", "ffprobe")
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := fmt.Sprintf("#!/bin/sh\nexec env %s=worker %s\n", role, self)
	for name, text := range map[string]string{
		"floorwatch-camera": worker, "password": "none\n",
		"edge.yaml": fmt.Sprintf(crashConfig, filepath.Join(dir, "data"), filepath.Join(dir, "password")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		runAndKill(t, self, dir)
	}
	told := trailRecords(t, filepath.Join(dir, "data"))
	kept := outboxRecords(t, filepath.Join(dir, "data"))
	open := 0
	for key, rec := range told {
		if len(kept[key]) != 1 {
			t.Errorf("%s is stored %d times", key, len(kept[key]))
		}
		if s, ok := rec.(*floorwatch.Stay); ok && slices.Equal(s.Tracks, []int64{1}) && !s.ExitSeen {
			open++
		}
	}
	for key := range kept {
		if told[key] == nil {
			t.Errorf("%s is stored, and the trail does not tell of it", key)
		}
	}
	// The last run was killed, too, and nobody has recovered it.
	if t.Logf("%d records, %d of the one who never left", len(told), open); open < 3 {
		t.Errorf("%d stays of the one who never left, want one a run", open)
	}
}

// runAndKill starts the agent, waits for stays to end, and kills it.
func runAndKill(t *testing.T, self, dir string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log bytes.Buffer
	agent := &child.Process{
		Path: self, Args: []string{"run", "-config", filepath.Join(dir, "edge.yaml")},
		Env: []string{role + "=agent", "PATH=" + dir + ":" + os.Getenv("PATH")}, Stdout: &log, Stderr: &log,
	}
	if err := agent.Start(ctx); err != nil {
		t.Fatal(err)
	}
	// Some seconds into the camera's lines, however long the start took.
	late := time.After(3 * time.Minute)
	for enough := trailLines(t, dir) + 25; trailLines(t, dir) < enough; {
		select {
		case <-agent.Done():
			_ = agent.Wait()
			t.Fatalf("it ended before it was killed\n%s", log.String())
		case <-late:
			t.Fatalf("no 25 lines of the camera within 3 minutes\n%s", log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	<-time.After(rand.N(time.Second)) // it is the moment of the crash that is chosen, nothing is waited for
	if err := agent.Signal(syscall.SIGKILL); err != nil {
		_ = agent.Wait()
		t.Fatalf("it was gone before it was killed\n%s", log.String())
	}
	_ = agent.Wait()
}

// trailLines counts what the agent has written of the camera's lines.
func trailLines(t *testing.T, dir string) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "data/footage/lobby/*/trail-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n += bytes.Count(b, []byte("\n"))
	}
	return n
}

// final returns what an exact account is kept of.
func final(rec floorwatch.Record) (key string, ok bool) {
	switch r := rec.(type) {
	case *floorwatch.Stay:
		return "stay " + r.ID, r.Exit != nil
	case *floorwatch.Wait:
		return "wait " + r.ID, r.End != nil
	}
	return "", false
}

// trailRecords returns the stays and waits of the trail, but for those of the
// last run that were still to be told when it was killed.
func trailRecords(t *testing.T, data string) map[string]any {
	t.Helper()
	c, err := load(filepath.Join(filepath.Dir(data), "edge.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	scene := c.Cameras[0].Scene()
	engine, err := zone.New("lobby", scene)
	if err != nil {
		t.Fatal(err)
	}
	stage, err := queue.NewStage(engine, scene, 0)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(data, "footage/lobby/*/trail-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no trail: %v", err)
	}
	out := map[string]any{}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			f, err := floorwatch.ParseFrame(lines.Bytes())
			if err != nil {
				continue // torn
			}
			recs, err := stage.Feed(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range recs {
				if key, ok := final(rec); ok {
					out[key] = rec
				}
			}
		}
	}
	return out
}

// outboxRecords returns what the outbox holds, by its key.
func outboxRecords(t *testing.T, data string) map[string][]floorwatch.Record {
	t.Helper()
	o, err := outbox.Open(outbox.Settings{Dir: filepath.Join(data, "outbox")})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	out := map[string][]floorwatch.Record{}
	for {
		b, err := o.Next(floorwatch.MaxBatchRecords, floorwatch.MaxRecordBytes)
		if err != nil {
			t.Fatal(err)
		}
		if b.N == 0 {
			return out
		}
		for _, raw := range b.Records {
			rec, err := floorwatch.ParseRecord(raw)
			if err != nil {
				t.Fatal(err)
			}
			if key, ok := final(rec); ok {
				out[key] = append(out[key], rec)
			}
		}
	}
}
