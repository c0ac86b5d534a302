package influx

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/internal/durable"
)

// addressFile says where the running child answers, to other processes of ours:
// its URL, and the address of InfluxDB's own protocol, by which it is dumped.
const addressFile = "address"

// freeAddress returns a loopback address that nobody listens at. The child does
// not say which port it was given for its own protocol, so it is told one. If
// another process takes it meanwhile the child ends, and is started again.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a port for influxd: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (s *Server) tell(url, rpc string) error {
	return durable.WriteFile(filepath.Join(s.Dir, addressFile), fmt.Appendf(nil, "%s %s\n", url, rpc), 0o600)
}

// Running returns where the child answers that another process runs on Dir, and
// the address for Dump.
func (s *Server) Running() (at Endpoint, rpc string, err error) {
	b, err := os.ReadFile(filepath.Join(s.Dir, addressFile))
	if err != nil {
		return at, "", fmt.Errorf("find influxdb: %w; has the cloud run with this configuration, in this folder?", err)
	}
	var found bool
	if at.URL, rpc, found = strings.Cut(strings.TrimSpace(string(b)), " "); !found {
		return at, "", fmt.Errorf("find influxdb: %s holds no two addresses; restart the cloud, which writes them", filepath.Join(s.Dir, addressFile))
	}
	password, err := os.ReadFile(filepath.Join(s.Dir, passwordFile))
	if err != nil {
		return at, "", fmt.Errorf("read influxd's password: %w", err)
	}
	at.Token = adminUser + ":" + string(bytes.TrimSpace(password))
	return at, rpc, answers(rpc)
}

// DumpArgs are the arguments of influxd that copy a database of a 1.8 at work into
// dir. The span is all there can be, and is named because of what it does: without
// one, influxd leaves out what it still holds in memory when it is busy, says so
// in its log alone, and reports success; with one it tries again, or fails.
func DumpArgs(rpc, database, dir string) []string {
	return []string{
		"backup", "-portable", "-host", rpc, "-db", database,
		"-start", "1970-01-01T00:00:00Z", "-end", "2262-01-01T00:00:00Z", dir,
	}
}

// LoadArgs are the arguments of influxd that put such a copy into a 1.8 that has
// no such database.
func LoadArgs(rpc, database, dir string) []string {
	return []string{"restore", "-portable", "-host", rpc, "-db", database, dir}
}

// Dump copies a database of a 1.8 at work into dir: all that was confirmed before
// is in it.
func Dump(ctx context.Context, bin, rpc, database, dir string) error {
	bin, err := find(bin)
	if err != nil {
		return err
	}
	if err := answers(rpc); err != nil {
		return err
	}
	return influxd(ctx, bin, DumpArgs(rpc, database, dir)...)
}

// answers wants a database at work.
func answers(rpc string) error {
	c, err := net.DialTimeout("tcp", rpc, dialTimeout)
	if err != nil {
		return fmt.Errorf("find influxdb: %w; it is copied while it works: start it, or the cloud whose child it is", err)
	}
	return c.Close()
}

const dialTimeout = 10 * time.Second

// load puts what Seed holds into a database that is not there yet.
func (s *Server) load(ctx context.Context, bin, rpc string) error {
	db, _ := s.names()
	return influxd(ctx, bin, LoadArgs(rpc, db, s.Seed)...)
}

func influxd(ctx context.Context, bin string, args ...string) error {
	cmd := exec.CommandContext(ctx, bin, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		text := strings.TrimSpace(said.String())
		return fmt.Errorf("influxd %s: %w; its last words: %s", args[0], err, text[max(0, len(text)-500):])
	}
	return nil
}

// Census returns how many records of each kind begin or end in [from, to), as
// their points' times say.
func (c *Client) Census(ctx context.Context, from, to floorwatch.Time) (map[string]int64, error) {
	at, client, err := c.connect()
	if err != nil {
		return nil, err
	}
	db, rp := c.names()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tables, err := influxQL(ctx, client, at, db, fmt.Sprintf(`SELECT count("at") AS "n" FROM %s.%s./.*/ WHERE %s`,
		quoteName(db), quoteName(rp), Query{From: from, To: to}.within()))
	if err != nil {
		return nil, fmt.Errorf("count records: %w", err)
	}
	out := map[string]int64{}
	for _, t := range tables {
		cur := newCursor(t.Columns)
		for _, v := range t.Values {
			cur.row = v
			out[t.Name] += cur.int("n")
		}
		if cur.err != nil {
			return nil, fmt.Errorf("count records: %w", cur.err)
		}
	}
	return out, nil
}

// Settled is how far the cloud has what a box has to say.
type Settled struct {
	Store, Edge string
	// Until: all that the box's outbox took before then is here; 0: not known.
	Until floorwatch.Time
	// Interval is the length of the box's newest interval, which was over before
	// the outbox took it.
	Interval floorwatch.Time
}

// SettledOf says so of every box of which the database holds health or intervals.
// A box says with its health how old the oldest record is that it still has to
// hand over.
func (c *Client) SettledOf(ctx context.Context) ([]Settled, error) {
	at, client, err := c.connect()
	if err != nil {
		return nil, err
	}
	db, rp := c.names()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	all := map[[2]string]*Settled{}
	var order []*Settled
	for _, ask := range []struct {
		field, kind string
		take        func(s *Settled, at, v float64)
	}{
		{figure + string(floorwatch.FigureBacklog), floorwatch.KindHealth, func(s *Settled, at, v float64) {
			s.Until = floorwatch.Time(at - v*1000)
		}},
		{"end", floorwatch.KindInterval, func(s *Settled, at, v float64) { s.Interval = floorwatch.Time(v - at) }},
	} {
		tables, err := influxQL(ctx, client, at, db, fmt.Sprintf(`SELECT last(%s) AS "v" FROM %s.%s.%s GROUP BY "store", "edge"`,
			quoteName(ask.field), quoteName(db), quoteName(rp), quoteName(ask.kind)))
		if err != nil {
			return nil, fmt.Errorf("ask how far the boxes are: %w", err)
		}
		for _, t := range tables {
			k := [2]string{t.Tags["store"], t.Tags["edge"]}
			if all[k] == nil {
				all[k] = &Settled{Store: k[0], Edge: k[1]}
				order = append(order, all[k])
			}
			cur := newCursor(t.Columns)
			for _, v := range t.Values {
				cur.row = v
				ask.take(all[k], float64(cur.int("time"))/1e6, cur.float("v"))
			}
			if cur.err != nil {
				return nil, fmt.Errorf("ask how far the boxes are: %w", cur.err)
			}
		}
	}
	out := make([]Settled, 0, len(order))
	for _, s := range order {
		out = append(out, *s)
	}
	return out, nil
}
