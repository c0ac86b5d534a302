package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/config"
)

// file is a configuration with nothing but a broker.
type file struct {
	Broker Broker `yaml:"broker"`
}

func (f *file) Check(r *config.Report) { f.Broker.Check(r, "broker") }

func TestCheck(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"tls://broker.example.com:8883", ""},
		{"tcp://127.0.0.1:1883", ""},
		{"tcp://[::1]:1883", ""},
		{"tcp://localhost:1883", ""},
		{"tcp://broker.example.com:1883", "want tls://HOST:8883; tcp:// only to this machine"},
		{"http://127.0.0.1:1883", "want tls://HOST:8883; tcp:// only"},
		{"tls://broker.example.com", "want tls://HOST:8883"},
		{"tls://me:secret@broker.example.com:8883", "holds a password"},
		{"tls://me:sec%ret@broker", "want tls://HOST:8883"},
		{"", "want tls://HOST:8883"},
	} {
		err := config.Parse("x.yaml", []byte("broker: {url: '"+c.url+"', password_file: p}\n"), &file{})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.url, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %q", c.url, err, c.want)
		case err != nil && strings.Contains(err.Error(), "sec"):
			t.Errorf("%q: the message shows the password: %v", c.url, err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b := Broker{URL: "tls://h:1", Password: config.Secret(write("password", "pass word\n"))}
	l, err := b.Open("store/box")
	if err != nil || l.Password != "pass word" || l.Username != "store/box" || l.TLS == nil || l.TLS.InsecureSkipVerify {
		t.Errorf("%+v %v", l, err)
	}
	b.CA = write("ca.pem", "no certificate")
	if _, err := b.Open("x"); err == nil || !strings.Contains(err.Error(), "broker.ca: read certificates: "+b.CA+" holds none in PEM form") {
		t.Errorf("%v", err)
	}
	b.CA = filepath.Join(dir, "absent")
	if _, err := b.Open("x"); err == nil {
		t.Error("an absent authority is no error")
	}
	b = Broker{Password: config.Secret(write("empty", "\n"))}
	if _, err := b.Open("x"); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("%v", err)
	}
}
