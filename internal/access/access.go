// Package access holds the configuration keys by which programs reach a broker,
// and the rules that keep passwords off the network: TLS with a verified name,
// or an address on this machine.
package access

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"floorwatch/internal/config"
)

// Broker holds the keys of a configuration that name an MQTT broker.
type Broker struct {
	URL      string        `yaml:"url"`
	CA       string        `yaml:"ca"`
	Username string        `yaml:"username"`
	Password config.Secret `yaml:"password_file"`
}

// Login is what the keys of a Broker name.
type Login struct {
	URL, Username, Password string
	TLS                     *tls.Config
}

// Check reports to r what cannot be connected to; key is where the keys stand.
func (b *Broker) Check(r *config.Report, key string) {
	at := key + ".url"
	u, err := BrokerURL(b.URL)
	if err != nil {
		r.Hide(at)
	}
	switch {
	case errors.Is(err, errPassword):
		r.Problem(at, "%v", err)
	case err != nil || u.Scheme != "tls" && !Loopback(u.Host):
		r.Problem(at, "want tls://HOST:8883; tcp:// only to this machine, as it shows the password to the network")
	}
	if b.Password == "" {
		r.Problem(key+".password_file", "want the file that holds the password on the broker")
	}
}

var errPassword = errors.New("holds a password; write it to a file and name it: username and password_file")

// BrokerURL reads the address of an MQTT broker: tcp:// or tls://, a host and a
// port, and nothing else. Its error says what is wanted and nothing of the address,
// which may hold a password.
func BrokerURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Port() == "" || u.Hostname() == "" || u.Scheme != "tcp" && u.Scheme != "tls":
		return nil, errors.New("want tcp://HOST:PORT or tls://HOST:PORT")
	case u.User != nil:
		return nil, errPassword
	}
	return u, nil
}

// Open reads the files that the keys name, and reports all that cannot be used;
// without a user name it is username.
func (b *Broker) Open(username string) (Login, error) {
	l := Login{URL: b.URL, Username: cmp.Or(b.Username, username)}
	var faults []error
	var err error
	if l.Password, err = ReadSecret(b.Password); err != nil {
		faults = append(faults, fmt.Errorf("broker.password_file: %w", err))
	}
	if l.TLS, err = Trust(b.CA); err != nil {
		faults = append(faults, fmt.Errorf("broker.ca: %w", err))
	}
	return l, errors.Join(faults...)
}

// ReadSecret reads a secret that must not be empty.
func ReadSecret(s config.Secret) (string, error) {
	text, err := s.Read()
	if err == nil && text == "" {
		err = fmt.Errorf("%s is empty; write the secret into it", string(s))
	}
	return text, err
}

// Trust returns TLS settings that check a server's name against the authorities
// in the PEM file at path, or against the system's when path is "".
func Trust(path string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if path == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificates: %s holds none in PEM form", path)
	}
	return cfg, nil
}

// Loopback tells whether host:port is an address of this machine alone.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
