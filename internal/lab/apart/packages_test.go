package apart

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"floorwatch/cloud"
	"floorwatch/edge"
	"floorwatch/internal/access"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/kit"
)

// manifest is what the test looks at of a package's nfpm.yaml.
type manifest struct {
	Name     string
	Contents []struct {
		Src, Dst, Type string
		Info           struct{ Mode fs.FileMode } `yaml:"file_info"`
	}
	Scripts map[string]string
}

// TestPackages: what they hold is there, with modes by which a box and a cloud can
// share a host; nothing of it makes an upgrade ask; the configurations that they
// install can be used from any folder, and the cloud's brings its database.
func TestPackages(t *testing.T) {
	t.Parallel()
	kit.UseTools(t, "influxd")
	staged := t.TempDir()
	stage := exec.Command(kit.Repository(t, "deploy/deb/stage.sh"), staged)
	if out, err := stage.CombinedOutput(); err != nil {
		t.Fatalf("stage: %v\n%s", err, out)
	}
	for _, name := range []string{"box", "cloud"} {
		b, err := os.ReadFile(kit.Repository(t, "deploy/deb/"+name+"/nfpm.yaml"))
		kit.Must(t, err)
		var m manifest
		kit.Must(t, yaml.Unmarshal(b, &m))
		etc := 0
		for _, c := range m.Contents {
			switch rest, ours := strings.CutPrefix(c.Src, "bin/deb/"); {
			case strings.HasPrefix(c.Dst, "/etc/"):
				if etc++; c.Dst != "/etc/floorwatch" || c.Type != "dir" || c.Info.Mode != 0o755 {
					t.Errorf("%s: %s is %s of mode %o; want the folder /etc/floorwatch, open to both services, and nothing else below /etc", m.Name, c.Dst, c.Type, c.Info.Mode)
				}
			case ours:
				_, err = os.Stat(filepath.Join(staged, rest))
			case !strings.HasPrefix(c.Src, "bin/"):
				var found []string
				if found, err = filepath.Glob(filepath.Join(kit.Repository(t, "."), c.Src)); len(found) == 0 {
					err = fmt.Errorf("nothing is there under %s", c.Src)
				}
			}
			if err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
		}
		if etc != 1 || len(m.Scripts) != 3 {
			t.Errorf("%s has %d entries below /etc and the scripts %v", m.Name, etc, m.Scripts)
		}
		for _, script := range m.Scripts {
			if out, err := exec.Command("sh", "-n", kit.Repository(t, script)).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", script, err, out)
			}
		}
	}
	box, clouds := edge.DefaultBoxConfig(), cloud.DefaultConfig()
	kit.Must(t, config.Load(filepath.Join(staged, "edge.yaml"), &box))
	kit.Must(t, config.Load(filepath.Join(staged, "cloud.yaml"), &clouds))
	for _, path := range []string{box.Data, box.Models, clouds.Data} {
		if !strings.HasPrefix(path, "/var/lib/floorwatch-") {
			t.Errorf("%s depends on where a command is typed", path)
		}
	}
	if !clouds.Influx.Child {
		t.Error("the cloud's package brings a database and its configuration does not use it")
	}
	if string(box.Broker.Password) == string(clouds.Broker.Password) {
		t.Errorf("box and cloud on one host would share the password in %s", string(box.Broker.Password))
	}
	licence, err := os.ReadFile(filepath.Join(staged, "influxd.licence"))
	kit.Must(t, err)
	if !strings.Contains(string(licence), "The MIT License (MIT)") || len(licence) < 4000 {
		t.Errorf("the database's licence is not there:\n%.200s", licence)
	}
	unit, err := os.ReadFile(filepath.Join(staged, "floorwatch-cloud.service"))
	kit.Must(t, err)
	if !strings.Contains(string(unit), "ExecStart=/usr/bin/floorwatch-cloud ") {
		t.Error("the package's unit starts another program than the package's")
	}
}

// TestBrokerTool: what floorwatch-broker makes lets a real Mosquitto run as shipped,
// its boxes and its cloud in, and those out who were removed.
func TestBrokerTool(t *testing.T) {
	t.Parallel()
	kit.Tool(t, "mosquitto_passwd")
	kit.Tool(t, "openssl")
	programs := t.TempDir()
	build := exec.Command("go", "build", "-o", programs, "floorwatch/cmd/floorwatch-cloud")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "broker")
	tool := func(args ...string) (stdout string, err error) {
		cmd := exec.Command(kit.Repository(t, "deploy/mosquitto/floorwatch-broker"), append([]string{"-d", dir}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := tool(args...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(out)
	}
	must("init", "broker.example.com", "10.1.2.3")
	password := map[string]string{"s1/a": must("add", "s1/a"), "s1/b": must("add", "s1/b"), "s1/c": must("add", "s1/c")}
	password["s1/b"] = must("add", "s1/b") // a new one
	must("remove", "s1/c")
	must("init", "broker.example.com") // a new certificate; all else stays
	if got := must("list"); got != "s1/a\ns1/b" {
		t.Errorf("let in are %q", got)
	}
	for _, args := range [][]string{{"add", "s1"}, {"add", "s1/#"}, {"add", "s1/a", "s1/b"}, {"remove", "s1/c"}, {"init"}, {"init", "a b"}, {"burn"}} {
		if _, err := tool(args...); err == nil {
			t.Errorf("%v passed", args)
		}
	}
	for name, mode := range map[string]fs.FileMode{"ca.key": 0o600, "server.key": 0o640, "boxes.passwd": 0o640, "boxes.acl": 0o640, "cloud.passwd": 0o640, "ca.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		kit.Must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), mode)
		}
	}
	conf, err := os.ReadFile(kit.Repository(t, "deploy/mosquitto/mosquitto.conf"))
	kit.Must(t, err)
	acl, err := os.ReadFile(kit.Repository(t, "deploy/mosquitto/cloud.acl"))
	kit.Must(t, err)
	kit.Write(t, dir+"/cloud.acl", string(acl))
	boxes, clouds := kit.FreePort(t), kit.FreePort(t)
	text := strings.NewReplacer("/etc/mosquitto/floorwatch", dir, "listener 8883", fmt.Sprintf("listener %d 127.0.0.1", boxes),
		"listener 8884", fmt.Sprintf("listener %d 127.0.0.1", clouds)).Replace(string(conf))
	kit.Run(t, kit.Program{Name: kit.Tool(t, "mosquitto"), Args: []string{"-c", kit.Write(t, dir+"/mosquitto.conf", "user root\n"+text)}})
	trust, err := access.Trust(filepath.Join(dir, "ca.pem"))
	kit.Must(t, err)
	b := &broker{fmt.Sprintf("127.0.0.1:%d", boxes), fmt.Sprintf("127.0.0.1:%d", clouds), trust}
	kit.Wait(t, "mosquitto to listen", func() bool { return kit.Answers(b.cloud) && kit.Answers(b.boxes) })
	secret, err := os.ReadFile(filepath.Join(dir, "broker-password"))
	kit.Must(t, err)
	for _, c := range []struct {
		address, user, password string
		in                      bool
	}{
		{b.cloud, "cloud", strings.TrimSpace(string(secret)), true},
		{b.boxes, "cloud", strings.TrimSpace(string(secret)), false},
		{b.boxes, "s1/a", password["s1/a"], true},
		{b.boxes, "s1/b", password["s1/b"], true},
		{b.boxes, "s1/b", password["s1/a"], false},
		{b.boxes, "s1/c", password["s1/c"], false},
		{b.cloud, "s1/a", password["s1/a"], false},
	} {
		conn, err := b.connect(c.address, c.user, c.password, nil)
		if (err == nil) != c.in {
			t.Errorf("%s at %s: %v, want in: %t", c.user, c.address, err, c.in)
		}
		if err == nil {
			conn.Disconnect(0)
		}
	}
}
