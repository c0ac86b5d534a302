package apart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"floorwatch/cloud"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/kit"
)

// TestUnits: systemd understands the units, and finds them well closed.
func TestUnits(t *testing.T) {
	t.Parallel()
	analyze := kit.Tool(t, "systemd-analyze")
	for name, worst := range map[string]string{"floorwatch-edge": "25", "floorwatch-cloud": "15"} {
		b, err := os.ReadFile(kit.Repository(t, "deploy/systemd/"+name+".service"))
		kit.Must(t, err)
		// systemd wants the program to be there.
		text := strings.Replace(string(b), "/usr/local/bin/"+name, "/bin/true", 1)
		unit := kit.Write(t, filepath.Join(t.TempDir(), name+".service"), text)
		if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if out, err := exec.Command(analyze, "security", "--offline=yes", "--threshold="+worst, unit).CombinedOutput(); err != nil {
			t.Errorf("%s is exposed by more than %s of 100: %v\n%s", name, worst, err, out)
		}
	}
}

// compose is what the test looks at of deploy/compose.yaml.
type compose struct {
	Services map[string]struct {
		Image    string
		Build    struct{ Context, Dockerfile string }
		Ports    []string
		Volumes  []string
		Secrets  []string
		Networks []string
	}
	Networks map[string]any
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
}

// TestCompose checks what can be without a Docker engine: the file is YAML, what
// it names is declared, what it mounts is in the repository or explained, and
// the aggregator's configuration is one.
func TestCompose(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(kit.Repository(t, "deploy/compose.yaml"))
	kit.Must(t, err)
	var c compose
	kit.Must(t, yaml.Unmarshal(b, &c))
	readme, err := os.ReadFile(kit.Repository(t, "deploy/compose/README.md"))
	kit.Must(t, err)
	exists := func(path string) {
		_, err := os.Stat(filepath.Join(kit.Repository(t, "deploy"), path))
		name := filepath.Base(path)
		explained := strings.HasPrefix(path, "./compose/secrets/") && regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\b`).Match(readme)
		if err != nil && !explained {
			t.Errorf("%s is mounted, not there and not explained in compose/README.md", path)
		}
	}
	for name, s := range c.Services {
		if (s.Image == "") == (s.Build.Dockerfile == "") {
			t.Errorf("%s has image %q and Dockerfile %q", name, s.Image, s.Build.Dockerfile)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, ".") {
				exists(source)
			} else if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s: volume %s is not declared", name, source)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s: secret %s is not declared", name, secret)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: network %s is not declared", name, n)
			}
		}
	}
	for _, s := range c.Secrets {
		exists(s.File)
	}
	if ports := c.Services["influxdb"].Ports; len(ports) > 0 {
		t.Errorf("the database is published: %q", ports)
	}
	cfg := cloud.DefaultConfig()
	kit.Must(t, config.Load(kit.Repository(t, "deploy/compose/cloud.yaml"), &cfg))
	for _, f := range []string{"../" + c.Services["cloud"].Build.Dockerfile, "mosquitto/mosquitto.conf"} {
		exists(f)
	}
}
