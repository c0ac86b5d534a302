package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"floorwatch"
	cloudcommand "floorwatch/cloud/command"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/edge"
	"floorwatch/internal/access"
	"floorwatch/internal/identity"
	"floorwatch/internal/lab/kit"
)

// chain is a cloud of one hall with one box, as far as standards go: real broker,
// real metadata, and what carries standards.
type chain struct {
	broker *kit.Broker
	db     *metadata.DB
	sites  *site.Live
	live   *fleet.Live
}

func (c *chain) run(t *testing.T, key ed25519.PrivateKey) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	login := access.Login{URL: ("tcp://" + c.broker.Address)}
	commander := &cloudcommand.Commander{Broker: login, Sites: c.sites, Log: log}
	standards := &cloudcommand.Standards{Sites: c.sites, DB: c.db, Key: key, Do: commander.Do, Log: log, Every: 20 * time.Millisecond, Pause: 100 * time.Millisecond}
	watch := &cloudcommand.Watch{Broker: login, Sites: c.sites, OnLive: c.live.PutLive, Log: log, OnState: func(store, edge string, st floorwatch.State) error {
		standards.PutState(store, edge, st)
		return c.live.PutState(store, edge, st)
	}}
	done := make(chan error, 3)
	for _, part := range []func(context.Context) error{commander.Run, standards.Run, watch.Run} {
		go func() { done <- part(ctx) }()
	}
	return func() {
		cancel()
		for range 3 {
			kit.Must(t, <-done)
		}
	}
}

func (c *chain) open(t *testing.T, path string) {
	t.Helper()
	var err error
	c.db, err = metadata.Open(t.Context(), path)
	kit.Must(t, err)
	c.sites, err = site.Open(t.Context(), c.db, slog.New(slog.DiscardHandler))
	kit.Must(t, err)
}

func (c *chain) close(t *testing.T) {
	t.Helper()
	kit.Must(t, c.db.Close())
}

// target sets how long people may wait.
func (c *chain) target(t *testing.T, key ed25519.PrivateKey, within int64) {
	t.Helper()
	now := floorwatch.TimeOf(time.Now())
	_, err := site.Issue(t.Context(), c.db, floorwatch.Standard{Node: "acme", ValidFrom: now, Wait: &floorwatch.Target{WithinS: within, Share: 0.95}}, now, key)
	kit.Must(t, err)
	kit.Must(t, c.sites.Refresh(t.Context()))
}

// keeps returns the target that the box keeps on its disk, and whether the cloud
// heard of just that.
func (c *chain) keeps(data string) (within int64, told bool) {
	b, err := os.ReadFile(filepath.Join(data, "standard.json"))
	if err != nil {
		return 0, false
	}
	var s floorwatch.Signed
	var h floorwatch.HallStandard
	if json.Unmarshal(b, &s) != nil || json.Unmarshal([]byte(s.Body), &h) != nil {
		return -1, false
	}
	st, _ := c.live.State("h1", "box")
	return h.Spans[0].Wait.WithinS, st.Standard != nil && *st.Standard == s.Hash()
}

func TestStandardsReachTheirBoxes(t *testing.T) {
	c := &chain{broker: kit.Mosquitto(t, ""), live: fleet.NewLive()}
	dir := t.TempDir()
	c.open(t, filepath.Join(dir, "metadata.sqlite"))
	_, err := site.Import(t.Context(), c.db, "f.csv", "csv", []byte("id,level,parent,box\nacme,chain,,\nh1,,acme,box\n"), 1)
	kit.Must(t, err)
	kit.Must(t, c.sites.Refresh(t.Context()))
	key, err := identity.Load(filepath.Join(dir, "cloud.key"))
	kit.Must(t, err)
	public := identity.Text(key.Public().(ed25519.PublicKey))

	data := filepath.Join(dir, "box")
	var said screen
	startBox := func(cloudKey string) (stop func()) {
		cfg := edge.DefaultConfig()
		cfg.Store, cfg.Edge, cfg.Data, cfg.CloudKey = "h1", "box", data, cloudKey
		a := &edge.Agent{Config: cfg, Safe: true, Broker: edge.Broker{URL: ("tcp://" + c.broker.Address)}, Log: slog.New(slog.NewTextHandler(&said, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		return func() { cancel(); kit.Must(t, <-done) }
	}
	kept := func(what string, want int64) {
		t.Helper()
		kit.Wait(t, what, func() bool { within, told := c.keeps(data); return within == want && told })
	}

	stopCloud := c.run(t, key)
	c.target(t, key, 600)
	stopBox := startBox("")
	kit.Wait(t, "a box without the key says what to set", func() bool {
		return strings.Contains(said.String(), "set cloud_key to what floorwatch-cloud key prints")
	})
	if _, err := os.Stat(filepath.Join(data, "standard.json")); !os.IsNotExist(err) {
		t.Errorf("kept without a key: %v", err)
	}
	stopBox()
	stopBox = startBox(public)
	kept("with the key it is taken", 600)
	old, err := os.ReadFile(filepath.Join(data, "standard.json"))
	kit.Must(t, err)
	c.target(t, key, 300)
	kept("a new one comes at once", 300)

	// What was said while the box was away reaches it when it is back.
	stopBox()
	c.target(t, key, 240)
	stopBox = startBox(public)
	kept("the box is back", 240)

	// Somebody on the broker says again what held before.
	var replay floorwatch.Signed
	kit.Must(t, json.Unmarshal(old, &replay))
	b, err := json.Marshal(floorwatch.Command{
		V: 1, ID: strings.Repeat("e", 16), Do: floorwatch.DoStandard, Expires: floorwatch.TimeOf(time.Now().Add(time.Hour)), Standard: &replay,
	})
	kit.Must(t, err)
	thief := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(("tcp://" + c.broker.Address)).SetProtocolVersion(4).SetClientID("thief"))
	if tok := thief.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer thief.Disconnect(0)
	thief.Publish(floorwatch.Topic("h1", "box", floorwatch.LeafCmd), 1, false, b).WaitTimeout(10 * time.Second)
	kit.Wait(t, "the box refuses what is old", func() bool { return strings.Contains(said.String(), "which the box keeps") })
	kept("what it had", 240)

	// The cloud's key is lost: the box goes on with what it keeps, until it is told the
	// new key; then it takes what is signed with that.
	stopCloud()
	lost, err := identity.Load(filepath.Join(dir, "new.key"))
	kit.Must(t, err)
	stopCloud = c.run(t, lost)
	c.target(t, lost, 180)
	kit.Wait(t, "another key is refused", func() bool { return strings.Contains(said.String(), "if the cloud has a new key") })
	kept("what it had", 240)
	stopBox()
	stopBox = startBox(identity.Text(lost.Public().(ed25519.PublicKey)))
	kept("with the new key", 180)

	// The cloud is put back from a backup of before: what it holds is told anew, above
	// what the box keeps.
	stopCloud()
	c.close(t)
	b, err = os.ReadFile(filepath.Join(dir, "metadata.sqlite"))
	kit.Must(t, err)
	c.open(t, filepath.Join(dir, "metadata.sqlite"))
	stopCloud = c.run(t, lost)
	c.target(t, lost, 120)
	kept("what came after the backup", 120)
	stopCloud()
	c.close(t)
	c.open(t, kit.Write(t, filepath.Join(dir, "restored.sqlite"), string(b)))
	defer c.close(t)
	stopCloud = c.run(t, lost)
	kept("what the backup holds", 180)
	stopCloud()

	// A day without an uplink, and a restart in it.
	stopBox()
	before := len(said.String())
	stopBox = startBox(identity.Text(lost.Public().(ed25519.PublicKey)))
	kit.Wait(t, "the box runs", func() bool { return strings.Contains(said.String()[before:], "uplink is up") })
	if within, _ := c.keeps(data); within != 180 || strings.Contains(said.String()[before:], "does not count") {
		t.Errorf("after a restart without the cloud: %d s\n%s", within, said.String())
	}
	stopBox()
}
