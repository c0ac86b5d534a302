package kit

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// parentEnv makes the test binary start a child and wait.
const parentEnv = "KIT_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		p, err := Start(context.Background(), "sleep", "600")
		if err != nil {
			panic(err)
		}
		println(p.PID())
		select {}
	}
	os.Exit(m.Run())
}

func TestFiguresAreReadWithTheirLabels(t *testing.T) {
	t.Parallel()
	got, err := parseFigures(strings.NewReader(`# TYPE a gauge
a{zone="z",camera="hall"} 1.5
# TYPE b_total counter
b_total 7
plain 3
# TYPE q gauge
q{quantile="1"} 2
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="+Inf"} 2
h_sum 4
h_count 2
`))
	Must(t, err)
	for name, want := range map[string]float64{
		`a{camera="hall",zone="z"}`: 1.5, "b_total": 7, "plain": 3, `q{quantile="1"}`: 2, "h_sum": 4, "h_count": 2, "none": -1,
	} {
		if v := got.Get(name); v != want {
			t.Errorf("%s is %g, want %g", name, v, want)
		}
	}
}

func TestProcessSaysItsLines(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), "sh", "-c", `echo '{"n":1}'; echo oops >&2; cat >/dev/null; exit 3`)
	Must(t, err)
	var v struct{ N int }
	Must(t, p.Next(&v))
	_ = p.In.Close()
	if err := p.Next(&v); v.N != 1 || err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("read %+v, then %v; want the end with its last words", v, err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("kill what has ended: %v", err)
	}
}

// A program that the kit started dies with whoever started it, however that
// ends.
func TestProcessDoesNotOutliveUs(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	Must(t, err)
	parent, err := Program{Name: self, Env: []string{parentEnv + "=1"}}.Start(t.Context())
	Must(t, err)
	defer parent.End()
	Wait(t, "the child's number", func() bool { return strings.HasSuffix(parent.Output(), "\n") })
	stat := "/proc/" + strings.TrimSpace(parent.Output()) + "/stat"
	if !exists(stat) {
		t.Fatalf("no child: %s", parent.Output())
	}
	Must(t, syscall.Kill(parent.PID(), syscall.SIGKILL))
	Wait(t, "the child to end", func() bool { return !exists(stat) })
}

func TestNetworkIsOneOfItsOwn(t *testing.T) {
	t.Parallel()
	Superuser(t, "making networks")
	n, err := NewNetwork(t.Context())
	if err != nil {
		Missing(t, err.Error())
	}
	out, err := exec.Command("nsenter", "--net="+n.path(), "ip", "-o", "link").CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	n.End()
	if exists(n.path()) {
		t.Error("the network is still there")
	}
}

func TestFoldersOfTheKilledAreSweptAway(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old, err := os.MkdirTemp("", "floorwatch-x-999999999-")
	Must(t, err)
	dir, err := Folder("x")
	Must(t, err)
	if exists(old) || !exists(dir) {
		t.Errorf("old %t, new %t", exists(old), exists(dir))
	}
}
