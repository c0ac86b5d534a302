package doctor

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
	"floorwatch/internal/finding"
	"floorwatch/internal/link"
	"floorwatch/internal/metrics"
)

// broker tests the way to the cloud: certificate, credentials, the topics
// of this box, and that the cloud stores what comes by them. Of a box that runs
// only its own word is asked: a second client of its name would cut it off.
func (d *Doctor) broker(ctx context.Context) []finding.Finding {
	login, err := d.Login()
	if err != nil {
		return []finding.Finding{finding.Bad("write the secrets into the files that the configuration names, for the box's user alone", "%v", err)}
	}
	var out []finding.Finding
	u, err := access.BrokerURL(login.URL)
	if err != nil {
		return []finding.Finding{finding.Bad("correct broker.url", "%v", err)}
	}
	if u.Scheme == "tls" {
		c, ok := finding.Certificate(ctx, "broker.ca", u.Host, login.TLS)
		if out = append(out, c); !ok {
			return out
		}
	}
	if d.running() {
		return append(out, d.link(ctx))
	}
	return append(out, d.delivery(ctx, login)...)
}

// link asks the running box for its link.
func (d *Doctor) link(ctx context.Context) finding.Finding {
	if d.Metrics == "" {
		return finding.Doubt("set metrics, or stop the box and run doctor again", "the box is running and shows no figures")
	}
	figures, err := scrape(ctx, d.Metrics)
	switch {
	case err != nil:
		return finding.Bad("journalctl -u floorwatch-edge says more", "the box's figures cannot be read: %v", err)
	case !figures.Have("floorwatch_edge_info{"):
		return finding.Bad("change the key metrics, or stop the other program: ss -ltnp shows it", "on %s another program answers, not this box", d.Metrics)
	case figures["floorwatch_uplink_connected"] != 1:
		return finding.Bad("journalctl -u floorwatch-edge says why; or stop the box and run doctor again, which tests the broker itself", "the running box has no link to the broker")
	case figures["floorwatch_outbox_oldest_seconds"] > 120:
		return finding.Doubt("check that the cloud runs and knows this box", "the running box is linked, but its oldest record waits for %.0f s", figures["floorwatch_outbox_oldest_seconds"])
	}
	for name, age := range figures {
		reason, ok := refusedFor(name)
		switch {
		case !ok:
		case age < refusedLately.Seconds():
			return finding.Bad(d.register(), "the running box is linked, but the cloud refuses records of it: %s", reason)
		default:
			return finding.Doubt("if that is mended: floorwatch-cloud dead-letters retry, on the cloud", "the running box is linked; %.0f min ago the cloud last refused records of it: %s", age/60, reason)
		}
	}
	return finding.Good("the running box is linked, %.0f records wait", figures["floorwatch_outbox_records"])
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

// scrape reads the figures of the running box.
func scrape(ctx context.Context, address string) (metrics.Samples, error) {
	ctx, cancel := context.WithTimeout(ctx, finding.ReachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return metrics.Read(http.DefaultClient, req)
}

// delivery signs in as the box, subscribes to its topics, and delivers one health
// record, which only a cloud that knows the box acknowledges.
func (d *Doctor) delivery(ctx context.Context, login access.Login) []finding.Finding {
	var out []finding.Finding
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:])
	acked := make(chan floorwatch.Ack, 1)
	l := &link.Link{
		Login:    func() (access.Login, error) { return login, nil },
		ClientID: d.Store + "/" + d.Edge, Key: "broker", Timeout: finding.ReachTime,
		Work: func(ctx context.Context, s *link.Session) error {
			out = append(out, finding.Good("signed in as %s", login.Username))
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
		return []finding.Finding{finding.Bad("check the network, broker.username and broker.password_file, and that the broker knows them", "sign in as %s: %v", login.Username, err)}
	}
	return out
}

// deliver sends the record and waits for the cloud; an error when ctx ends before.
func (d *Doctor) deliver(ctx context.Context, s *link.Session, id string, acked <-chan floorwatch.Ack) (finding.Finding, error) {
	for _, leaf := range []string{floorwatch.LeafAck, floorwatch.LeafCmd} {
		if err := s.Subscribe(ctx, map[string]byte{floorwatch.Topic(d.Store, d.Edge, leaf): 1}); err != nil {
			return finding.Bad("on the broker: floorwatch-broker add "+d.Store+"/"+d.Edge+" writes its access list anew", "%v", err), ctx.Err()
		}
	}
	batch, err := d.probe(id)
	if err == nil {
		err = s.Await(ctx, "deliver", s.Publish(floorwatch.Topic(d.Store, d.Edge, floorwatch.LeafUp), 1, false, batch))
	}
	if err != nil {
		return finding.Bad("look at the broker's log", "%v", err), ctx.Err()
	}
	began := time.Now()
	late := time.NewTimer(2 * finding.ReachTime)
	defer late.Stop()
	select {
	case a := <-acked:
		if a.Refused > 0 {
			return finding.Bad(d.register(), "the cloud refuses what this box sends: %s", a.Reason), nil
		}
		return finding.Good("the cloud stored and acknowledged a record in %s", time.Since(began).Round(time.Millisecond)), nil
	case err := <-s.Lost():
		return finding.Bad("look at the broker's log", "connection lost: %v", err), nil
	case <-late.C:
		return finding.Bad("check that the cloud runs (floorwatch-cloud doctor there), and that the broker's access list has this box: floorwatch-broker add "+d.Store+"/"+d.Edge,
			"the cloud acknowledged nothing in %s", 2*finding.ReachTime), nil
	case <-ctx.Done():
		return finding.Finding{}, ctx.Err()
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
func (d *Doctor) vault(ctx context.Context) []finding.Finding {
	if d.VaultURL == "" {
		return []finding.Finding{finding.Doubt("set backup.url to the cloud's address, where clips are to be watched in the cloud", "footage stays on this box: backup.url is not set")}
	}
	trust, err := access.Trust(d.VaultCA)
	if err != nil {
		return []finding.Finding{finding.Bad("correct backup.ca", "%v", err)}
	}
	u, err := url.Parse(d.VaultURL)
	if err != nil {
		return []finding.Finding{finding.Bad("correct backup.url", "not a valid address")}
	}
	var out []finding.Finding
	if u.Scheme == "https" {
		host := u.Host
		if u.Port() == "" {
			host = net.JoinHostPort(u.Hostname(), "443")
		}
		c, ok := finding.Certificate(ctx, "backup.ca", host, trust)
		if out = append(out, c); !ok {
			return out
		}
	}
	key, err := d.Key()
	if err != nil {
		return append(out, finding.Bad("restore the key from a backup", "%v", err))
	}
	claim := floorwatch.UploadClaim{
		Method: http.MethodHead, Offset: -1, At: floorwatch.TimeOf(time.Now()),
		Path: floorwatch.UploadPath + d.Store + "/" + d.Edge + "/" + strings.Repeat("0", 64),
	}
	ctx, cancel := context.WithTimeout(ctx, finding.ReachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, claim.Method, strings.TrimSuffix(d.VaultURL, "/")+claim.Path, nil)
	if err != nil {
		return append(out, finding.Bad("correct backup.url", "%v", err))
	}
	req.Header.Set(floorwatch.HeaderTime, strconv.FormatInt(int64(claim.At), 10))
	req.Header.Set(floorwatch.HeaderSignature, claim.Sign(key))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return append(out, finding.Bad("check the network and backup.url", "%v", err))
	}
	_ = res.Body.Close()
	switch res.StatusCode {
	case http.StatusNotFound, http.StatusOK:
		return append(out, finding.Good("%s knows this box and its key", u.Host))
	case http.StatusUnauthorized:
		return append(out, finding.Bad(d.register()+"; and set this box's clock", "%s does not accept this box's signature", u.Host))
	case http.StatusForbidden:
		return append(out, finding.Bad(d.register(), "%s does not know this box", u.Host))
	}
	return append(out, finding.Bad("check backup.url: it names the cloud's pages, or a proxy before them", "%s answers %s", u.Host, res.Status))
}
