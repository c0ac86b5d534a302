package doctor

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/internal/access"
	"floorwatch/internal/link"
)

const (
	reachTime  = 10 * time.Second
	expireSoon = 30 * 24 * time.Hour
)

// broker tests the way to the cloud: certificate, credentials, the topics
// of this box, and that the cloud stores what comes by them. Of a box that runs
// only its own word is asked: a second client of its name would cut it off.
func (d *Doctor) broker(ctx context.Context) []Finding {
	login, err := d.Login()
	if err != nil {
		return []Finding{bad("write the secrets into the files that the configuration names, for the box's user alone", "%v", err)}
	}
	var out []Finding
	u, err := access.BrokerURL(login.URL)
	if err != nil {
		return []Finding{bad("correct broker.url", "%v", err)}
	}
	if u.Scheme == "tls" {
		c, ok := certificate(ctx, "broker.ca", u.Host, login.TLS)
		if out = append(out, c); !ok {
			return out
		}
	}
	if d.running() {
		return append(out, d.link(ctx))
	}
	return append(out, d.delivery(ctx, login)...)
}

// certificate tests a TLS server and how long its certificate still holds.
func certificate(ctx context.Context, caKey, host string, trust *tls.Config) (f Finding, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	dialer := &tls.Dialer{Config: trust}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	var unknown *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return bad("let its operator renew it, set this box's clock, or name its authority in "+caKey, "%s: %v", host, err), false
	case err != nil:
		return bad("check the network, the name and the firewall: nc -vz "+strings.Replace(host, ":", " ", 1), "%v", err), false
	}
	defer func() { _ = conn.Close() }()
	end := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
	left := time.Until(end)
	text := fmt.Sprintf("%s: certificate holds until %s (%.0f days)", host, end.Format(time.DateOnly), left.Hours()/24)
	if left < expireSoon {
		return doubt("let its operator renew it in time", "%s", text), true
	}
	return good("%s", text), true
}

// link asks the running box for its link.
func (d *Doctor) link(ctx context.Context) Finding {
	if d.Metrics == "" {
		return doubt("set metrics, or stop the box and run doctor again", "the box is running and shows no figures")
	}
	figures, err := scrape(ctx, d.Metrics)
	switch {
	case err != nil:
		return bad("journalctl -u floorwatch-edge says more", "the box's figures cannot be read: %v", err)
	case !figures.have("floorwatch_edge_info{"):
		return bad("change the key metrics, or stop the other program: ss -ltnp shows it", "on %s another program answers, not this box", d.Metrics)
	case figures["floorwatch_uplink_connected"] != 1:
		return bad("journalctl -u floorwatch-edge says why; or stop the box and run doctor again, which tests the broker itself", "the running box has no link to the broker")
	case figures["floorwatch_outbox_oldest_seconds"] > 120:
		return doubt("check that the cloud runs and knows this box", "the running box is linked, but its oldest record waits for %.0f s", figures["floorwatch_outbox_oldest_seconds"])
	}
	for name, age := range figures {
		reason, ok := refusedFor(name)
		switch {
		case !ok:
		case age < refusedLately.Seconds():
			return bad(d.register(), "the running box is linked, but the cloud refuses records of it: %s", reason)
		default:
			return doubt("if that is mended: floorwatch-cloud dead-letters retry, on the cloud", "the running box is linked; %.0f min ago the cloud last refused records of it: %s", age/60, reason)
		}
	}
	return good("the running box is linked, %.0f records wait", figures["floorwatch_outbox_records"])
}

// RefusedMetric has a sample for each reason for which the cloud refused records
// within the last hour, with the seconds since.
const RefusedMetric = "floorwatch_uplink_refused_seconds"

// refusedLately is how old a refusal is that still counts: of each camera a record
// comes at least once a minute.
const refusedLately = 3 * time.Minute

// refusedFor reads the reason out of such a sample's name.
func refusedFor(name string) (reason string, ok bool) {
	label, ok := strings.CutPrefix(name, RefusedMetric+"{reason=")
	if !ok {
		return "", false
	}
	reason, err := strconv.Unquote(strings.TrimSuffix(label, "}"))
	return reason, err == nil
}

// register says how the cloud gets to know this box.
func (d *Doctor) register() string {
	return fmt.Sprintf("on the cloud: floorwatch-cloud site add -box %s -key %s %s, then dead-letters retry; where another key is registered, docs/deploy.md has the way",
		d.Edge, cmp.Or(d.publicKey(), "KEY"), d.Store)
}

// publicKey is the box's key as it is registered; "" while the box has none, which
// is not made here: it would belong to whoever runs doctor.
func (d *Doctor) publicKey() string {
	if _, err := os.Stat(d.KeyFile); err != nil {
		return ""
	}
	key, err := d.Key()
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// samples are those of a /metrics, by name and labels as they stand there.
type samples map[string]float64

// have tells whether one begins so.
func (s samples) have(prefix string) bool {
	for name := range s {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func scrape(ctx context.Context, address string) (samples, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	out := samples{}
	for lines := bufio.NewScanner(io.LimitReader(res.Body, 4<<20)); lines.Scan(); {
		text := lines.Text()
		end := strings.LastIndexByte(text, ' ')
		if end < 0 {
			continue
		}
		name, value := text[:end], text[end+1:]
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out, nil
}

// delivery signs in as the box, subscribes to its topics, and delivers one health
// record, which only a cloud that knows the box acknowledges.
func (d *Doctor) delivery(ctx context.Context, login access.Login) []Finding {
	var out []Finding
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:])
	acked := make(chan floorwatch.Ack, 1)
	l := &link.Link{
		Login:    func() (access.Login, error) { return login, nil },
		ClientID: d.Store + "/" + d.Edge, Key: "broker", Timeout: reachTime,
		Work: func(ctx context.Context, s *link.Session) error {
			out = append(out, good("signed in as %s", login.Username))
			f, err := d.deliver(ctx, s, id, acked)
			if err == nil {
				out = append(out, f)
			}
			return err
		},
		Message: func(_ context.Context, _ *link.Session, m mqtt.Message) {
			var a floorwatch.Ack
			if json.Unmarshal(m.Payload(), &a) == nil && a.Log == id {
				select {
				case acked <- a:
				default:
				}
			}
		},
	}
	if err := l.Once(ctx); len(out) == 0 {
		return []Finding{bad("check the network, broker.username and broker.password_file, and that the broker knows them", "sign in as %s: %v", login.Username, err)}
	}
	return out
}

// deliver sends the record and waits for the cloud; an error when ctx ends before.
func (d *Doctor) deliver(ctx context.Context, s *link.Session, id string, acked <-chan floorwatch.Ack) (Finding, error) {
	for _, leaf := range []string{floorwatch.LeafAck, floorwatch.LeafCmd} {
		if err := s.Subscribe(ctx, map[string]byte{floorwatch.Topic(d.Store, d.Edge, leaf): 1}); err != nil {
			return bad("on the broker: floorwatch-broker add "+d.Store+"/"+d.Edge+" writes its access list anew", "%v", err), ctx.Err()
		}
	}
	batch, err := d.probe(id)
	if err == nil {
		err = s.Await(ctx, "deliver", s.Publish(floorwatch.Topic(d.Store, d.Edge, floorwatch.LeafUp), 1, false, batch))
	}
	if err != nil {
		return bad("look at the broker's log", "%v", err), ctx.Err()
	}
	began := time.Now()
	late := time.NewTimer(2 * reachTime)
	defer late.Stop()
	select {
	case a := <-acked:
		if a.Refused > 0 {
			return bad(d.register(), "the cloud refuses what this box sends: %s", a.Reason), nil
		}
		return good("the cloud stored and acknowledged a record in %s", time.Since(began).Round(time.Millisecond)), nil
	case err := <-s.Lost():
		return bad("look at the broker's log", "connection lost: %v", err), nil
	case <-late.C:
		return bad("check that the cloud runs (floorwatch-cloud doctor there), and that the broker's access list has this box: floorwatch-broker add "+d.Store+"/"+d.Edge,
			"the cloud acknowledged nothing in %s", 2*reachTime), nil
	case <-ctx.Done():
		return Finding{}, ctx.Err()
	}
}

// probe is a batch of one health record, which asks for the box's key.
func (d *Doctor) probe(log string) ([]byte, error) {
	now := floorwatch.TimeOf(time.Now())
	rec, err := floorwatch.MarshalRecord(&floorwatch.Health{
		Header:  floorwatch.Header{Kind: floorwatch.KindHealth, ID: fmt.Sprintf("doctor-%d", now), At: now},
		Figures: map[string]float64{floorwatch.FigureProbe: 1}, Notes: []string{"floorwatch doctor looked at this box"},
		Key: d.publicKey(),
	})
	if err != nil {
		return nil, err
	}
	return floorwatch.Batch{V: floorwatch.Version, Store: d.Store, Edge: d.Edge, Log: log, First: 1, N: 1, Records: []json.RawMessage{rec.JSON}}.Encode()
}

// vault asks for an object that nobody has, with the box's signature.
func (d *Doctor) vault(ctx context.Context) []Finding {
	trust, err := access.Trust(d.VaultCA)
	if err != nil {
		return []Finding{bad("correct backup.ca", "%v", err)}
	}
	u, err := url.Parse(d.VaultURL)
	if err != nil {
		return []Finding{bad("correct backup.url", "not a valid address")}
	}
	var out []Finding
	if u.Scheme == "https" {
		host := u.Host
		if u.Port() == "" {
			host = net.JoinHostPort(u.Hostname(), "443")
		}
		c, ok := certificate(ctx, "backup.ca", host, trust)
		if out = append(out, c); !ok {
			return out
		}
	}
	key, err := d.Key()
	if err != nil {
		return append(out, bad("restore the key from a backup", "%v", err))
	}
	claim := floorwatch.UploadClaim{
		Method: http.MethodHead, Offset: -1, At: floorwatch.TimeOf(time.Now()),
		Path: floorwatch.UploadPath + d.Store + "/" + d.Edge + "/" + strings.Repeat("0", 64),
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, claim.Method, strings.TrimSuffix(d.VaultURL, "/")+claim.Path, nil)
	if err != nil {
		return append(out, bad("correct backup.url", "%v", err))
	}
	req.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(claim.At), 10))
	req.Header.Set(floorwatch.HeaderSignature, claim.Sign(key))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return append(out, bad("check the network and backup.url", "%v", err))
	}
	_ = res.Body.Close()
	switch res.StatusCode {
	case http.StatusNotFound, http.StatusOK:
		return append(out, good("%s knows this box and its key", u.Host))
	case http.StatusUnauthorized:
		return append(out, bad(d.register()+"; and set this box's clock", "%s does not accept this box's signature", u.Host))
	case http.StatusForbidden:
		return append(out, bad(d.register(), "%s does not know this box", u.Host))
	}
	return append(out, bad("check backup.url: it names the cloud's pages, or a proxy before them", "%s answers %s", u.Host, res.Status))
}
