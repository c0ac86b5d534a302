package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/durable"
	"floorwatch/internal/finding"
	"floorwatch/internal/link"
	"floorwatch/internal/metrics"
)

// doctor tests an installed cloud. It may work beside a running one, which it asks
// for what only that can know.
type doctor struct {
	cfg     Config
	set     *Aggregator
	running metrics.Samples // what the running cloud says of itself; nil: it does not run
	pages   error           // why the address of the pages is not ours
}

// Doctor returns the tests of a cloud with this configuration; what the later ones
// need comes first. The error is that of Open.
func (c Config) Doctor(ctx context.Context) ([]finding.Part, error) {
	s, err := Open(c, nil)
	if err != nil {
		return nil, err
	}
	d := &doctor{cfg: c, set: s.set}
	d.running, d.pages = d.ask(ctx)
	return []finding.Part{
		finding.Alone("configuration", d.configuration),
		finding.Alone("data", d.data),
		{Name: "metadata", Test: d.metadata},
		{Name: "database", Test: d.database},
		{Name: "broker", Test: d.broker},
		finding.Alone("pages", d.listener),
		finding.Alone("records", d.records),
	}, nil
}

// ask reads the figures of the running cloud. Neither figures nor an error: nothing
// answers there.
func (d *doctor) ask(ctx context.Context) (metrics.Samples, error) {
	ctx, cancel := context.WithTimeout(ctx, finding.ReachTime)
	defer cancel()
	host, port, err := net.SplitHostPort(d.cfg.Pages.Listen)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme, trust := "http", &tls.Config{MinVersion: tls.VersionTLS12}
	if d.cfg.Pages.Cert != "" {
		scheme = "https"
		if trust, err = ownCertificate(d.cfg.Pages.Cert); err != nil {
			return nil, err
		}
	}
	transport := &http.Transport{TLSClientConfig: trust}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	if d.set.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.set.Token)
	}
	said, err := metrics.Read(&http.Client{Transport: transport}, req)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, nil
	case err != nil:
		return nil, err
	case !said.Have("floorwatch_cloud_info{"):
		return nil, errors.New("another program answers there")
	}
	return said, nil
}

// ownCertificate trusts the pages' own certificate, whatever its authority and the
// address by which we come.
func ownCertificate(path string) (*tls.Config, error) {
	trust, err := access.Trust(path)
	if err != nil {
		return nil, err
	}
	leaf, err := leafOf(path)
	if err != nil {
		return nil, err
	}
	if len(leaf.DNSNames) > 0 {
		trust.ServerName = strings.Replace(leaf.DNSNames[0], "*", "any", 1)
	} else if len(leaf.IPAddresses) > 0 {
		trust.ServerName = leaf.IPAddresses[0].String()
	}
	return trust, nil
}

func (d *doctor) configuration() []finding.Finding {
	state := "the cloud is not running"
	if d.running != nil {
		state = "the cloud is running"
	}
	return []finding.Finding{finding.Good("broker %s, pages on %s; %s", d.cfg.Broker.URL, d.cfg.Pages.Listen, state)}
}

// data tests the folder of everything that is not in a database of its own.
func (d *doctor) data() []finding.Finding {
	dir := d.cfg.Data
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return []finding.Finding{finding.Bad("create the folder for the cloud's user, as the package does", "%v", err)}
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err == nil {
		_ = f.Close()
		err = os.Remove(f.Name())
	}
	if err != nil {
		return []finding.Finding{finding.Bad("check permissions and the disk; run doctor as the cloud's user", "write to the data folder: %v", err)}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []finding.Finding{finding.Bad("check the disk", "%s does not answer: %v", dir, err)}
	}
	free, size := float64(st.Bavail)*float64(st.Bsize), float64(st.Blocks)*float64(st.Bsize)
	text := fmt.Sprintf("%s: %.1f of %.1f GB free", dir, free/1e9, size/1e9)
	if free < 0.1*size || free < 5e9 {
		return []finding.Finding{finding.Doubt("free some space, or use a larger disk: nothing is acknowledged once it is full", "%s", text)}
	}
	return []finding.Finding{finding.Good("%s", text)}
}

// metadata tests where halls and boxes are known.
func (d *doctor) metadata(ctx context.Context) []finding.Finding {
	at := d.cfg.MetadataAt()
	const next = "floorwatch-cloud site add -box BOX -key KEY HALL, as floorwatch-edge key prints it on the box"
	if _, err := os.Stat(at); !metadata.IsPostgres(at) && errors.Is(err, fs.ErrNotExist) {
		return []finding.Finding{finding.Doubt(next, "no hall and no box is registered yet")}
	}
	ctx, cancel := context.WithTimeout(ctx, finding.ReachTime)
	defer cancel()
	db, err := metadata.Open(ctx, at)
	if err != nil {
		return []finding.Finding{finding.Bad("check the key metadata, and that its server runs", "%s: %v", metadata.Redact(at), err)}
	}
	defer func() { _ = db.Close() }()
	sites, err := site.Read(ctx, db)
	if err != nil {
		return []finding.Finding{finding.Bad("restore it from a backup: docs/upgrade.md", "%s: %v", db, err)}
	}
	r := sites.At(floorwatch.TimeOf(time.Now())).Registry()
	text := fmt.Sprintf("%d hall(s), %d box(es) in %s", len(r.Stores), len(r.Edges), db)
	if len(r.Edges) == 0 {
		return []finding.Finding{finding.Doubt(next, "%s", text)}
	}
	return []finding.Finding{finding.Good("%s", text)}
}

// database tests where the figures are kept.
func (d *doctor) database(ctx context.Context) []finding.Finding {
	if d.cfg.Influx.Child {
		path, err := influx.Find()
		switch {
		case err != nil:
			return []finding.Finding{finding.Bad("install the package floorwatch-cloud", "%v", err)}
		case d.running == nil:
			return []finding.Finding{finding.Good("the cloud runs %s itself, as a child", path)}
		case d.running["floorwatch_influx_up"] != 1:
			return []finding.Finding{finding.Bad("journalctl -u floorwatch-cloud says why; records wait with the boxes", "the database of the running cloud does not answer")}
		}
		return []finding.Finding{finding.Good("%s answers, a child of the running cloud", path)}
	}
	ctx, cancel := context.WithTimeout(ctx, finding.ReachTime)
	defer cancel()
	defer d.set.Figures.Close()
	in := d.cfg.Influx
	if err := d.set.Figures.Ping(ctx); err != nil {
		return []finding.Finding{finding.Bad("check that it runs, and influx.url", "%s: %v", in.URL, err)}
	}
	if err := d.set.Figures.Check(ctx); err != nil {
		return []finding.Finding{finding.Bad(fmt.Sprintf("check influx.token_file, and make what is missing: for 1.8 CREATE DATABASE %[1]s, and CREATE RETENTION POLICY %[2]s ON %[1]s DURATION %[3]dh REPLICATION 1; for 2.7 the bucket %[1]s/%[2]s",
			in.Database, in.Policy, int(d.cfg.Retention.Hours())), "%s answers, but: %v", in.URL, err)}
	}
	return []finding.Finding{finding.Good("%s answers and has %s with its policy %s", in.URL, in.Database, in.Policy)}
}

// broker tests the way to the boxes: certificate, credentials, topics. The running
// cloud is not disturbed: each session has a name of its own.
func (d *doctor) broker(ctx context.Context) []finding.Finding {
	login := d.set.Broker
	u, err := access.BrokerURL(login.URL)
	if err != nil {
		return []finding.Finding{finding.Bad("correct broker.url", "%v", err)}
	}
	var out []finding.Finding
	if u.Scheme == "tls" {
		f, ok := finding.Certificate(ctx, "broker.ca", u.Host, login.TLS)
		if out = append(out, f); !ok {
			return out
		}
	}
	signedIn := false
	l := &link.Link{
		Login:    func() (access.Login, error) { return login, nil },
		ClientID: login.Username + ":doctor", Key: "broker", Timeout: finding.ReachTime,
		Work: func(ctx context.Context, s *link.Session) error {
			signedIn = true
			return s.Subscribe(ctx, map[string]byte{floorwatch.TopicRoot + "/+/+/" + floorwatch.LeafState: 1})
		},
		Message: func(context.Context, *link.Session, mqtt.Message) {},
	}
	err = l.Once(ctx)
	switch {
	case !signedIn:
		return append(out, finding.Bad("check broker.username, broker.password_file, and that this is the cloud's own listener, 8884; the broker's log says more", "sign in as %s: %v", login.Username, err))
	case err != nil:
		return append(out, finding.Bad("give the broker deploy/mosquitto/cloud.acl for the cloud's listener: floorwatch-broker init does", "signed in as %s, but: %v", login.Username, err))
	}
	out = append(out, finding.Good("signed in as %s, and may hear the boxes", login.Username))
	if d.running != nil && d.running["floorwatch_broker_connected"] != 1 {
		out = append(out, finding.Bad("journalctl -u floorwatch-cloud says why", "the running cloud has no link to the broker"))
	}
	return out
}

// listener tests the address of the pages, and their certificate.
func (d *doctor) listener() []finding.Finding {
	var out []finding.Finding
	switch {
	case d.running != nil:
		out = append(out, finding.Good("the running cloud answers on %s", d.cfg.Pages.Listen))
	case d.pages != nil:
		out = append(out, finding.Bad("change pages.listen, or stop the other program: ss -ltnp shows it", "%s: %v", d.cfg.Pages.Listen, d.pages))
	default:
		ln, err := net.Listen("tcp", d.cfg.Pages.Listen)
		if err != nil {
			return append(out, finding.Bad("change pages.listen", "%v", err))
		}
		_ = ln.Close()
		out = append(out, finding.Good("%s is free", d.cfg.Pages.Listen))
	}
	if d.cfg.Pages.Cert == "" {
		return out
	}
	leaf, err := leafOf(d.cfg.Pages.Cert)
	if err != nil {
		return append(out, finding.Bad("correct pages.cert", "%v", err))
	}
	left := time.Until(leaf.NotAfter)
	text := fmt.Sprintf("certificate for %s holds until %s (%.0f days)", strings.Join(leaf.DNSNames, ", "), leaf.NotAfter.Format(time.DateOnly), left.Hours()/24)
	if left < 30*24*time.Hour {
		return append(out, finding.Doubt("renew it in time and restart the cloud", "%s", text))
	}
	return append(out, finding.Good("%s", text))
}

// records tells what the running cloud says of boxes and of what it refused.
func (d *doctor) records() []finding.Finding {
	if d.running == nil {
		return []finding.Finding{finding.Good("not looked at: the cloud is not running")}
	}
	out := []finding.Finding{finding.Good("%.0f of %.0f registered box(es) online", d.running["floorwatch_boxes_online"], d.running["floorwatch_boxes"])}
	if n := d.running["floorwatch_dead_letters"]; n > 0 {
		out = append(out, finding.Doubt("floorwatch-cloud dead-letters list says why", "%.0f records or messages were refused and are kept", n))
	}
	return out
}

// leafOf reads the first certificate of a PEM file.
func leafOf(path string) (*x509.Certificate, error) {
	pair, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	block, _ := pem.Decode(pair)
	if block == nil {
		return nil, fmt.Errorf("read certificate: %s holds none in PEM form", path)
	}
	return x509.ParseCertificate(block.Bytes)
}
