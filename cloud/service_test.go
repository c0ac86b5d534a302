package cloud

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"floorwatch/cloud/broker"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/config"
	"floorwatch/internal/lab/kit"
)

const token = "0123456789abcdef"

func file(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate writes one for 127.0.0.1, signed by itself, and returns who trusts it.
func certificate(t *testing.T, dir string) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pages"}, DNSNames: []string{"localhost", "floorwatch.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(chain)
	return file(t, dir, "pages.crt", chain), file(t, dir, "pages.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})), trust
}

// startService runs a cloud with its own database, a real broker in process, and
// pages that speak TLS and want a token. It returns their address and a client
// that trusts them, with a jar for cookies.
func startService(t *testing.T) (string, *http.Client) {
	t.Helper()
	kit.UseTools(t, "influxd")
	b, err := broker.New(broker.Settings{Edges: map[string]string{}, CloudPassword: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, trust := certificate(t, dir)
	cfg := DefaultConfig()
	text := "data: " + dir + "/data\nbroker: {url: '" + b.URL() + "', password_file: " + file(t, dir, "password", []byte("secret\n")) + "}\n" +
		"influx: {child: true}\n" +
		"pages: {listen: '127.0.0.1:0', hosts: [floorwatch.example.com], token_file: " + file(t, dir, "token", []byte(token+"\n")) + ", cert: " + cert + ", key: " + key + "}\n"
	if err := config.Parse("cloud.yaml", []byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	db, err := metadata.Open(t.Context(), cfg.MetadataAt())
	kit.Must(t, err)
	kit.Must(t, site.Set(t.Context(), db, site.Registry{Stores: []site.Store{{ID: "s1"}}, Edges: []site.Edge{{Store: "s1", ID: "box"}}}, 1))
	kit.Must(t, db.Close())
	s, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	address, done := make(chan string, 1), make(chan error, 2)
	go func() { done <- b.Run(ctx) }()
	go func() { done <- s.Run(ctx, func(a string) { address <- a }) }()
	t.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-address:
		_, port, _ := strings.Cut(a, ":")
		return "https://localhost:" + port, &http.Client{Jar: jar, Timeout: 10 * time.Second, Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { // a bare Debian resolves no localhost
				return new(net.Dialer).DialContext(ctx, network, a)
			},
		}}
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	}
	return "", nil
}

func get(t *testing.T, c *http.Client, address string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestServiceOpensItsPagesToTheTokenOnly drives a real cloud over TLS.
func TestServiceOpensItsPagesToTheTokenOnly(t *testing.T) {
	t.Parallel()
	at, c := startService(t)
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	for _, path := range []string{"/api/sites", "/api/events", "/metrics"} {
		if status, body := get(t, c, at+path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s without token: %d %s", path, status, body)
		}
	}
	if _, body := get(t, c, at+"/", nil); !strings.Contains(body, `<form method="post" action="/login">`) {
		t.Errorf("a visitor sees no form: %.200s", body)
	}
	if status, body := get(t, c, at+"/api/sites", func(r *http.Request) { bearer(r); r.Host = "elsewhere.example.com" }); status != http.StatusForbidden {
		t.Errorf("another host name: %d %s", status, body)
	}
	if status, _ := get(t, c, at+"/api/sites", func(r *http.Request) { bearer(r); r.Host = "floorwatch.example.com" }); status != http.StatusOK {
		t.Errorf("its own host name: %d", status)
	}
	resp, err := c.PostForm(at+"/login", url.Values{"token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("sign in: %s over %s", resp.Status, resp.Proto)
	}
	if status, body := get(t, c, at+"/api/sites", nil); status != http.StatusOK || !strings.Contains(body, `"box"`) {
		t.Errorf("with the cookie: %d %s", status, body)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, body := get(t, c, at+"/metrics", nil)
		if strings.Contains(body, "\nfloorwatch_influx_up 1\n") {
			for _, want := range []string{
				"floorwatch_boxes 1\n", "floorwatch_boxes_online 0\n", `floorwatch_box_online{edge="box",store="s1"} 0`,
				"floorwatch_dead_letters 0\n", "# TYPE floorwatch_ingest_records_total counter\n", `floorwatch_ingest_delay_seconds{quantile="0.95"} 0`,
			} {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in\n%s", want, body)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the database did not come up:\n%s", body)
		}
		<-time.After(100 * time.Millisecond)
	}
}
