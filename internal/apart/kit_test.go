package apart

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"floorwatch/cloud"
	"floorwatch/internal/child"
	"floorwatch/internal/config"
)

// repository is the path of the project's root from this package.
const repository = "../.."

// until polls what for at most patience.
func until(t *testing.T, what string, patience time.Duration, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// authority is a CA for one test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes ca.pem in dir.
func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "floorwatch test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.write(t, "ca", a.cert, &a.key.PublicKey)
	return a
}

// issue makes NAME.crt and NAME.key for addresses.
func (a *authority) issue(t *testing.T, name string, addresses ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, s := range addresses {
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(s))
	}
	a.write(t, name, c, &key.PublicKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	write(t, filepath.Join(a.dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func (a *authority) write(t *testing.T, name string, c *x509.Certificate, public *ecdsa.PublicKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	must(t, err)
	write(t, filepath.Join(a.dir, name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// trust returns TLS settings that trust the authority.
func (a *authority) trust(t *testing.T) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, "ca.crt"))
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// process is a program that runs, in a network namespace if that is not "".
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error
}

// output keeps what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a program until the test ends, and shows its output if it fails.
func start(t *testing.T, namespace, name string, args ...string) *process {
	t.Helper()
	if namespace != "" { // ip replaces itself by the program
		name, args = "ip", append([]string{"netns", "exec", namespace, name}, args...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cmd: child.Command(ctx, name, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	bin, err := filepath.Abs(filepath.Join(repository, "bin"))
	must(t, err)
	p.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the program dies with its thread, so that one stays
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	must(t, <-started)
	t.Cleanup(func() {
		cancel()
		<-p.done
		if t.Failed() {
			t.Logf("%s %q:\n%s", name, args, tail(p.out.String()))
		}
	})
	return p
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// kill ends the process, and nothing but it, as kill -9 does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	must(t, p.cmd.Process.Kill())
	<-p.done
}

// end asks the process to end, and wants it to do so in order.
func (p *process) end(t *testing.T, within time.Duration) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("it did not end within %s", within)
	}
	if p.err != nil {
		t.Fatalf("it ended with %v", p.err)
	}
}

// program finds a program that make test installs.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not there; run make test, which installs it", name)
	return ""
}

// brokerFolder fills dir with what deploy/mosquitto/mosquitto.conf names and
// returns the path of that file, changed to lie there. passwords holds the
// boxes' by user name; the cloud's is "cloud".
func brokerFolder(t *testing.T, dir string, cfg *cloud.Config, passwords map[string]string, edits ...string) string {
	t.Helper()
	conf, err := os.ReadFile(repository + "/deploy/mosquitto/mosquitto.conf")
	must(t, err)
	acl, err := os.ReadFile(repository + "/deploy/mosquitto/cloud.acl")
	must(t, err)
	write(t, dir+"/cloud.acl", string(acl))
	write(t, dir+"/boxes.acl", cfg.ACL())
	add := func(file, user, password string) {
		out, err := exec.Command(program(t, "mosquitto_passwd"), "-b", write0(t, dir+"/"+file), user, password).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	for user, password := range passwords {
		add("boxes.passwd", user, password)
	}
	add("cloud.passwd", "cloud", "cloud")
	text := strings.NewReplacer(append([]string{"/etc/mosquitto/floorwatch", dir}, edits...)...).Replace(string(conf))
	// As root it would give its rights up and could not read the test's folder.
	return write(t, dir+"/mosquitto.conf", "user root\n"+text)
}

// write0 makes an empty file where there is none.
func write0(t *testing.T, path string) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	must(t, f.Close())
	return path
}

// registry returns a cloud's configuration with these boxes of store s1.
func registry(t *testing.T, boxes ...string) *cloud.Config {
	t.Helper()
	text := "stores: [{id: s1}]\nbroker: {url: 'tcp://127.0.0.1:1', password_file: x}\ninflux: {child: true}\nedges:\n"
	for _, b := range boxes {
		text += fmt.Sprintf("  - {store: s1, id: %s, key: %s=}\n", b, strings.Repeat("A", 43))
	}
	cfg := cloud.DefaultConfig()
	must(t, config.Parse("registry", []byte(text), &cfg))
	return &cfg
}
