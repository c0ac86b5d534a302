package apart

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch/cloud/site"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/halls"
)

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
	kit.Must(t, err)
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
	kit.Must(t, err)
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
	kit.Must(t, err)
	kit.Write(t, filepath.Join(a.dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func (a *authority) write(t *testing.T, name string, c *x509.Certificate, public *ecdsa.PublicKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	kit.Must(t, err)
	kit.Write(t, filepath.Join(a.dir, name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// trust returns TLS settings that trust the authority.
func (a *authority) trust(t *testing.T) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, "ca.crt"))
	kit.Must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// brokerFolder fills dir with what deploy/mosquitto/mosquitto.conf names and
// returns the path of that file, changed to lie there. passwords holds the
// boxes' by user name; the cloud's is "cloud".
func brokerFolder(t *testing.T, dir string, sites *site.Live, passwords map[string]string, edits ...string) string {
	t.Helper()
	conf, err := os.ReadFile(kit.Repository(t, "deploy/mosquitto/mosquitto.conf"))
	kit.Must(t, err)
	acl, err := os.ReadFile(kit.Repository(t, "deploy/mosquitto/cloud.acl"))
	kit.Must(t, err)
	kit.Write(t, dir+"/cloud.acl", string(acl))
	kit.Write(t, dir+"/boxes.acl", sites.Now().ACL())
	add := func(file, user, password string) {
		out, err := exec.Command(kit.Tool(t, "mosquitto_passwd"), "-b", write0(t, dir+"/"+file), user, password).CombinedOutput()
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
	return kit.Write(t, dir+"/mosquitto.conf", "user root\n"+text)
}

// registry returns these boxes of store s1.
func registry(boxes ...string) *site.Live {
	keys := map[string]site.Key{}
	for _, b := range boxes {
		keys[b] = ""
	}
	return site.Of(halls.One("s1", keys))
}

// write0 makes an empty file where there is none.
func write0(t *testing.T, path string) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	kit.Must(t, err)
	kit.Must(t, f.Close())
	return path
}
