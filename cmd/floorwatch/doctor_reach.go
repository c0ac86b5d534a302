package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	"floorwatch/edge"
	"floorwatch/edge/relay"
	"floorwatch/internal/access"
	"floorwatch/internal/child"
	"floorwatch/internal/program"
)

const (
	reachTime  = 10 * time.Second
	expireSoon = 30 * 24 * time.Hour
)

// brokerChecks tests the way to the cloud: certificate, credentials, the topics
// of this box, and that the cloud stores what comes by them. Of a box that runs
// only its own word is asked: a second client of its name would cut it off.
func (d *doctor) brokerChecks(ctx context.Context) []check {
	login, err := d.box.Open()
	if err != nil {
		return []check{bad("write the secrets into the files that the configuration names, for the box's user alone", "%v", err)}
	}
	var out []check
	u, err := url.Parse(login.URL)
	if err != nil {
		return []check{bad("correct broker.url", "it is no address")}
	}
	if u.Scheme == "tls" {
		c, ok := certificate(ctx, "broker.ca", u.Host, login.TLS)
		if out = append(out, c); !ok {
			return out
		}
	}
	if d.busy {
		return append(out, d.link(ctx))
	}
	return append(out, d.delivery(ctx, login)...)
}

// certificate tests a TLS server and how long its certificate still holds.
func certificate(ctx context.Context, caKey, host string, trust *tls.Config) (c check, ok bool) {
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
func (d *doctor) link(ctx context.Context) check {
	if d.box.Metrics == "" {
		return doubt("set metrics, or stop the box and run doctor again", "the box is running and shows no figures")
	}
	figures, err := scrape(ctx, d.box.Metrics)
	switch {
	case err != nil:
		return bad("journalctl -u floorwatch-edge says more", "the box's figures cannot be read: %v", err)
	case figures["floorwatch_uplink_connected"] != 1:
		return bad("journalctl -u floorwatch-edge says why; or stop the box and run doctor again, which tests the broker itself", "the running box has no link to the broker")
	case figures["floorwatch_outbox_oldest_seconds"] > 120:
		return doubt("check that the cloud runs and knows this box", "the running box is linked, but its oldest record waits for %.0f s", figures["floorwatch_outbox_oldest_seconds"])
	}
	return good("the running box is linked, %.0f records wait", figures["floorwatch_outbox_records"])
}

// scrape reads the figures without labels of a /metrics.
func scrape(ctx context.Context, address string) (map[string]float64, error) {
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
	out := map[string]float64{}
	for lines := bufio.NewScanner(io.LimitReader(res.Body, 4<<20)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out, nil
}

// delivery signs in as the box, subscribes to its topics, and delivers one health
// record, which only a cloud that knows the box acknowledges.
func (d *doctor) delivery(ctx context.Context, login edge.Broker) []check {
	c := d.config
	o := mqtt.NewClientOptions().AddBroker(login.URL).SetClientID(c.Store + "/" + c.Edge).
		SetUsername(login.Username).SetPassword(login.Password).SetTLSConfig(login.TLS).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(reachTime).SetWriteTimeout(reachTime)
	client := mqtt.NewClient(o)
	if err := wait(client.Connect()); err != nil {
		return []check{bad("check the network, broker.username and broker.password_file, and that the broker knows them", "sign in as %s: %v", login.Username, err)}
	}
	defer client.Disconnect(100)
	out := []check{good("signed in as %s", login.Username)}
	acked := make(chan struct{}, 1)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:])
	for _, leaf := range []string{floorwatch.LeafAck, floorwatch.LeafCmd} {
		topic := floorwatch.Topic(c.Store, c.Edge, leaf)
		token := client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) {
			var a floorwatch.Ack
			if json.Unmarshal(m.Payload(), &a) == nil && a.Log == id {
				select {
				case acked <- struct{}{}:
				default:
				}
			}
		})
		err := wait(token)
		if s, ok := token.(*mqtt.SubscribeToken); err == nil && ok && s.Result()[topic] > 2 {
			err = errors.New("the broker refuses")
		}
		if err != nil {
			return append(out, bad("make the broker's access list anew: floorwatch-cloud acl", "subscribe to %s: %v", topic, err))
		}
	}
	batch, err := probe(c.Store, c.Edge, id)
	if err == nil {
		err = wait(client.Publish(floorwatch.Topic(c.Store, c.Edge, floorwatch.LeafUp), 1, false, batch))
	}
	if err != nil {
		return append(out, bad("look at the broker's log", "deliver: %v", err))
	}
	began := time.Now()
	select {
	case <-acked:
		return append(out, good("the cloud stored and acknowledged a record in %s", time.Since(began).Round(time.Millisecond)))
	case <-time.After(2 * reachTime):
		return append(out, bad("check that the cloud runs, that its registry has this box, and make the broker's access list anew: floorwatch-cloud acl",
			"the cloud acknowledged nothing in %s", 2*reachTime))
	case <-ctx.Done():
		return out
	}
}

// probe is a batch of one health record.
func probe(store, edgeName, log string) ([]byte, error) {
	now := floorwatch.TimeOf(time.Now())
	rec, err := floorwatch.MarshalRecord(&floorwatch.Health{
		Header:  floorwatch.Header{Kind: floorwatch.KindHealth, ID: fmt.Sprintf("doctor-%d", now), At: now},
		Figures: map[string]float64{"doctor": 1}, Notes: []string{"floorwatch doctor looked at this box"},
	})
	if err != nil {
		return nil, err
	}
	return floorwatch.Batch{V: floorwatch.Version, Store: store, Edge: edgeName, Log: log, First: 1, N: 1, Records: []json.RawMessage{rec.JSON}}.Encode()
}

func wait(t mqtt.Token) error {
	if !t.WaitTimeout(2 * reachTime) {
		return fmt.Errorf("no answer in %s", 2*reachTime)
	}
	return t.Error()
}

// vault asks for an object that nobody has, with the box's signature.
func (d *doctor) vault(ctx context.Context) []check {
	b := d.config.Backup
	trust, err := access.Trust(b.CA)
	if err != nil {
		return []check{bad("correct backup.ca", "%v", err)}
	}
	u, err := url.Parse(b.URL)
	if err != nil {
		return []check{bad("correct backup.url", "it is no address")}
	}
	var out []check
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
	key, err := edge.LoadKey(d.config.Data)
	if err != nil {
		return append(out, bad("restore the key from a backup", "%v", err))
	}
	claim := floorwatch.UploadClaim{
		Method: http.MethodHead, Offset: -1, At: floorwatch.TimeOf(time.Now()),
		Path: floorwatch.UploadPath + d.config.Store + "/" + d.config.Edge + "/" + strings.Repeat("0", 64),
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, claim.Method, strings.TrimSuffix(b.URL, "/")+claim.Path, nil)
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
		return append(out, bad("put what floorwatch-edge key prints into the cloud's registry, and set this box's clock", "%s does not accept this box's signature", u.Host))
	case http.StatusForbidden:
		return append(out, bad("put what floorwatch-edge key prints into the cloud's registry", "%s does not know this box", u.Host))
	}
	return append(out, bad("check backup.url: it names the cloud's pages, or a proxy before them", "%s answers %s", u.Host, res.Status))
}

// seen is what a camera worker told.
type seen struct {
	first         time.Duration // until the first frame
	frames        int
	span          time.Duration // from the first to the last
	size          floorwatch.Size
	by, cause     string
	blank, frozen bool
}

// lookFor is how long a camera is watched, beside its opening.
const lookFor = 6 * time.Second

// camera opens a camera as the box does and looks at its stream.
func (d *doctor) camera(ctx context.Context, c *edge.Camera) []check {
	source, err := c.Address(c.Source)
	if err != nil {
		return []check{bad("write the password into the file that password_file names", "%v", err)}
	}
	s, err := d.watch(ctx, c, source)
	switch {
	case err != nil:
		return []check{bad("check the address with: ffprobe -rtsp_transport tcp ADDRESS; then cable, user and password", "%s", hideSecrets(err.Error(), source))}
	case s.frames == 0:
		return []check{bad("check address, user and password, and whether the camera allows one more viewer", "no picture: %s", hideSecrets(s.cause, source))}
	}
	rate := 0.0
	if s.span > 0 {
		rate = float64(s.frames-1) / s.span.Seconds()
	}
	out := []check{good("first picture after %.1f s, %d x %d, %.1f analysed a second, seen by %s", s.first.Seconds(), s.size.Width, s.size.Height, rate, s.by)}
	if rate < min(c.FPS, 5)/2 {
		out = append(out, doubt("a lower resolution of the stream, fewer cameras on this box, or a faster one", "only %.1f pictures a second are analysed, fps is %g", rate, c.FPS))
	}
	if s.blank || s.frozen {
		out = append(out, doubt("clean the lens, look at the camera", "its picture is black, covered or does not change"))
	}
	out = append(out, fits(c, s.size)...)
	if relay.Needed(c.Source) || !c.Record {
		return out
	}
	recorded, err := c.Address(c.Source)
	if c.Main != "" {
		recorded, err = c.Address(c.Main)
	}
	if err != nil {
		return append(out, bad("write the password into the file that password_file names", "%v", err))
	}
	return append(out, stream(ctx, recorded)...)
}

// watch runs the camera worker for a while.
func (d *doctor) watch(ctx context.Context, c *edge.Camera, source string) (s seen, err error) {
	path, err := program.Find(program.Camera)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, 25*time.Second)
	defer cancel()
	cmd := child.Command(ctx, path, "-detector", c.Detector, "-models", d.config.Models, "-fps", fmt.Sprint(c.FPS), "-pace", "real")
	cmd.Env = append(cmd.Environ(), "FLOORWATCH_SOURCE="+source)
	var tail child.Tail
	cmd.Stderr = &tail
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return s, fmt.Errorf("start the camera worker: %w", err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return s, fmt.Errorf("start the camera worker: %w", err)
	}
	var from, to floorwatch.Time
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		f, err := floorwatch.ParseFrame(scan.Bytes())
		if err != nil {
			continue
		}
		switch f.Event {
		case floorwatch.EventOpen:
			s.by = f.By
		case "":
			if s.frames++; s.frames == 1 {
				s.first, from = time.Since(began), f.T
				time.AfterFunc(lookFor, cancel)
			}
			to = f.T
			s.size = floorwatch.Size{Width: f.W, Height: f.H}
			s.blank, s.frozen = f.Picture == floorwatch.PictureBlank, f.Picture == floorwatch.PictureFrozen
		default:
			s.cause = f.Cause
		}
	}
	_ = cmd.Wait()
	s.span = to.Sub(from)
	if s.cause == "" {
		s.cause = strings.TrimSpace(tail.String())
	}
	return s, nil
}

// fits tests zones and lines against the picture.
func fits(c *edge.Camera, size floorwatch.Size) []check {
	scene := c.Scene()
	drawn := scene.Picture
	if drawn.Width == 0 {
		drawn = size
	} else if a, b := drawn.Width*size.Height, drawn.Height*size.Width; abs(a-b)*50 > a {
		return []check{doubt("draw the zones anew on the page's still", "zones were drawn on %d x %d, the picture is %d x %d: another shape", drawn.Width, drawn.Height, size.Width, size.Height)}
	}
	for _, z := range scene.Zones {
		for _, p := range z.Polygon {
			if p.X < -0.05*float64(drawn.Width) || p.Y < -0.05*float64(drawn.Height) || p.X > 1.05*float64(drawn.Width) || p.Y > 1.05*float64(drawn.Height) {
				return []check{doubt("draw it anew on the page's still, and write picture beside it", "zone %s reaches beyond the picture of %d x %d", z.Name, drawn.Width, drawn.Height)}
			}
		}
	}
	return []check{good("%d zone(s) lie in the picture", len(scene.Zones))}
}

func abs(n int) int { return max(n, -n) }

// stream asks ffprobe for codec and key frames of what is recorded.
func stream(ctx context.Context, source string) []check {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := child.Command(ctx, "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-select_streams", "v:0", "-read_intervals", "%+8",
		"-show_entries", "stream=codec_name,width,height,avg_frame_rate:packet=pts_time,flags", "-of", "json", source)
	var tail child.Tail
	cmd.Stderr = &tail
	b, err := cmd.Output()
	var said struct {
		Streams []struct {
			Codec  string `json:"codec_name"`
			Width  int
			Height int
		}
		Packets []struct {
			T     string `json:"pts_time"`
			Flags string
		}
	}
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil || len(said.Streams) == 0 {
		return []check{bad("check main_source", "what is recorded cannot be read: %s", hideSecrets(strings.TrimSpace(tail.String()), source))}
	}
	st := said.Streams[0]
	var keys []float64
	last := 0.0
	for _, p := range said.Packets {
		t, err := strconv.ParseFloat(p.T, 64)
		if err == nil && strings.HasPrefix(p.Flags, "K") {
			keys = append(keys, t)
		}
		last = max(last, t)
	}
	apart := last // until the next, at least
	if len(keys) > 0 {
		apart = last - keys[len(keys)-1]
	}
	for i := 1; i < len(keys); i++ {
		apart = max(apart, keys[i]-keys[i-1])
	}
	text := fmt.Sprintf("records %s, %d x %d, key frames %.1f s apart", st.Codec, st.Width, st.Height, apart)
	switch {
	case st.Codec != "h264" && st.Codec != "hevc":
		return []check{bad("set the camera to H.264 or H.265", "%s", text)}
	case apart > 2.2:
		return []check{doubt("set the camera's key frame interval (GOP, I-frame) to at most 2 s: a power cut takes that much footage", "%s", text)}
	case st.Codec == "hevc":
		return []check{doubt("set the camera to H.264 if clips are to play in every browser", "%s", text)}
	}
	return []check{good("%s", text)}
}

// hideSecrets takes the credentials of an address out of text.
func hideSecrets(text, source string) string {
	u, err := url.Parse(source)
	if err != nil || u.User == nil {
		return oneLine(text)
	}
	password, _ := u.User.Password()
	text = strings.ReplaceAll(text, source, u.Redacted())
	for _, secret := range []string{u.User.String(), password, url.QueryEscape(password), url.PathEscape(password)} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return oneLine(text)
}

func oneLine(text string) string {
	return fmt.Sprintf("%.300s", strings.Join(strings.Fields(text), " "))
}
