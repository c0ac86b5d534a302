package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"floorwatch"
	"floorwatch/cloud"
	"floorwatch/cloud/influx"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
	"floorwatch/internal/access"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// roleCloud is the whole aggregator; its database is given to it, so that it can
// be told apart.
const roleCloud = "cloud"

// Times of a fleet's run.
const (
	fleetCalm = 70 * time.Second // after all are connected: each has reported once, the first names are known
	asks      = 15               // of /api/boxes, half a second apart
)

// rest is what a fleet at rest costs: shares of a core, MiB resident.
type rest struct {
	Boxes     int     `json:"boxes"`
	Connected int     `json:"connected"`
	Start     float64 `json:"start_s"` // of the aggregator, until its pages answer
	Live      float64 `json:"live_per_s"`
	Records   float64 `json:"records_per_s"`
	Cloud     float64 `json:"cloud"`
	Broker    float64 `json:"broker"`
	DB        float64 `json:"db"`
	Boxs      float64 `json:"simulator"`
	CloudMiB  float64 `json:"cloud_mib"`
	BrokerMiB float64 `json:"broker_mib"`
	DBMiB     float64 `json:"db_mib"`
	Ask       float64 `json:"ask_s"` // /api/boxes, the median
	AskMax    float64 `json:"ask_max_s"`
	AskKB     float64 `json:"ask_kb"`
	Healthy   int     `json:"healthy"` // boxes without a trouble, as /api/boxes says
	Other     float64 `json:"other_load"`
	Unacked   int64   `json:"unacked"` // records a minute after the last was sent; no box sends again here
	Unread    float64 `json:"unread"`  // messages that ingest left to be sent again
}

// fleet measures fleets at rest, of each size as often as asked, in turns.
func (p *plan) fleet(ctx context.Context, sizes, out string, to io.Writer) error {
	var all []rest
	for range p.runs {
		for size := range strings.SplitSeq(sizes, ",") {
			connected, registered, both := strings.Cut(size, "/")
			n, err := strconv.Atoi(connected)
			m := n
			if both && err == nil {
				m, err = strconv.Atoi(registered)
			}
			if err != nil || n < 0 || m < max(n, 1) || m > 20_000 {
				return fmt.Errorf("fleet %.50q: want connected boxes, or CONNECTED/REGISTERED, with commas between: 1000,3000,0/10000", size)
			}
			_, _ = fmt.Fprintf(p.say, "%d boxes connected of %d: ", n, m)
			r, err := p.atRest(ctx, n, m)
			if err != nil {
				return fmt.Errorf("measure %d boxes: %w", n, err)
			}
			_, _ = fmt.Fprintf(p.say, "cloud %.1f %% of a core, others %.0f %%, %d unacknowledged, %.0f unread\n", 100*r.Cloud, 100*r.Other, r.Unacked, r.Unread)
			all = append(all, r)
		}
	}
	restTable(to, all)
	if out == "" {
		return nil
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.WriteFile(out, append(b, '\n'), 0o644)
	}
	return err
}

// atRest connects n of m registered boxes and looks at everybody for a while.
func (p *plan) atRest(ctx context.Context, n, m int) (r rest, err error) {
	// max_queued_messages: a fleet that connects at once has 4 retained figures of each.
	s, err := p.newPlace(ctx, "")
	if err != nil {
		return r, err
	}
	defer s.end()
	conf := task{Broker: s.broker.Address, Endpoint: s.database.EndpointFile(), Dir: s.dir, Boxes: m, Profile: p.profile, For: fleetCalm + p.live}
	if err := preload(ctx, conf, n); err != nil {
		return r, err
	}
	if err := register(ctx, s.dir, m); err != nil {
		return r, err
	}
	began := time.Now()
	aggregator, err := play(ctx, roleCloud, conf)
	if err != nil {
		return r, err
	}
	defer aggregator.End()
	var at string
	if err := aggregator.Next(&at); err != nil {
		return r, err
	}
	err = kit.Until(ctx, "the pages", kit.Patience, func() (bool, error) { _, err := get(ctx, "http://"+at+"/healthz"); return err == nil, nil })
	if err != nil {
		return r, err
	}
	start := time.Since(began).Seconds()
	conf.Boxes = n
	boxes, err := play(ctx, roleFleet, conf)
	if err != nil {
		return r, err
	}
	defer boxes.End()
	var begin, end crowd
	if err := boxes.Next(&begin); err != nil {
		return r, err
	}
	if err := kit.Pause(ctx, fleetCalm); err != nil {
		return r, err
	}
	r = rest{Boxes: m, Connected: n, Start: start}
	if err := r.watch(ctx, s, aggregator, boxes, p.live); err != nil {
		return r, err
	}
	if err := boxes.Next(&end); err != nil {
		return r, err
	}
	r.Live, r.Records, r.Unacked = end.Live, end.Records, end.Unacked
	told, err := kit.ReadFigures(ctx, nil, at)
	if err != nil {
		return r, err
	}
	r.Unread = told.Get("floorwatch_ingest_unread_total")
	if r.Unacked > 0 {
		_, _ = fmt.Fprintf(p.say, "ingest: connected %.0f, %.0f batches, %.0f records, %.0f dead letters, InfluxDB up %.0f; the aggregator says:\n%s\n",
			told.Get("floorwatch_broker_connected"), told.Get("floorwatch_ingest_batches_total"), told.Get("floorwatch_ingest_records_total"),
			told.Get("floorwatch_ingest_dead_letters_total"), told.Get("floorwatch_influx_up"), aggregator.Tail())
	}
	return r, r.ask(ctx, at)
}

// watch reads what all have used in a while.
func (r *rest) watch(ctx context.Context, s *place, aggregator, boxes *kit.Process, while time.Duration) error {
	db, err := s.database.PID()
	if err != nil {
		return err
	}
	pids := [...]int{aggregator.PID(), s.broker.PID(), db, boxes.PID()}
	var used [2][len(pids)]usage
	var all [2]float64
	began := time.Now()
	for k := range used {
		if k > 0 {
			if err := kit.Pause(ctx, while); err != nil {
				return err
			}
		}
		for i, pid := range pids {
			if used[k][i], err = usageOf(pid); err != nil {
				return err
			}
		}
		if all[k], err = busy(); err != nil {
			return err
		}
	}
	wall := time.Since(began).Seconds()
	rest := all[1] - all[0]
	for i, share := range []*float64{&r.Cloud, &r.Broker, &r.DB, &r.Boxs} {
		cpu := used[1][i].cpu - used[0][i].cpu
		*share = cpu / wall
		rest -= cpu
	}
	r.Other = max(0, rest) / wall
	r.CloudMiB, r.BrokerMiB, r.DBMiB = used[1][0].resident, used[1][1].resident, used[1][2].resident
	return nil
}

// ask takes the time of /api/boxes.
func (r *rest) ask(ctx context.Context, at string) error {
	var took []float64
	for range asks {
		began := time.Now()
		body, err := get(ctx, "http://"+at+"/api/boxes")
		if err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		r.AskKB = float64(len(body)) / 1000
		var answer struct {
			Boxes  []struct{ Troubles []any }
			Counts struct{ Healthy int }
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		r.Healthy = answer.Counts.Healthy
		if err := kit.Pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	slices.Sort(took)
	r.Ask, r.AskMax = took[len(took)/2], took[len(took)-1]
	return nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %.200s", url, resp.Status, body)
	}
	return body, err
}

// restTable writes the medians of each size.
func restTable(to io.Writer, all []rest) {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "boxes\truns\tstart s\tlive/s\trecords/s\tcloud %\tmosquitto %\tinfluxd %\tsimulator %\tcloud MiB\tmosquitto MiB\tinfluxd MiB\t/api/boxes s\tworst\tkB\thealthy\tothers %\tunacknowledged\t")
	done := map[[2]int]bool{}
	for _, first := range all {
		size := [2]int{first.Connected, first.Boxes}
		if done[size] {
			continue
		}
		done[size] = true
		of := slices.DeleteFunc(slices.Clone(all), func(r rest) bool { return r.Connected != first.Connected || r.Boxes != first.Boxes })
		mid := func(f func(rest) float64) float64 {
			s := slices.Clone(of)
			slices.SortFunc(s, func(a, b rest) int { return cmp.Compare(f(a), f(b)) })
			return f(s[len(s)/2])
		}
		var unacked int64
		for _, r := range of {
			unacked += r.Unacked
		}
		_, _ = fmt.Fprintf(w, "%d of %d\t%d\t%.1f\t%.0f\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.3f\t%.3f\t%.0f\t%.0f\t%.0f\t%d\t\n", first.Connected, first.Boxes, len(of), mid(func(r rest) float64 { return r.Start }),
			mid(func(r rest) float64 { return r.Live }), mid(func(r rest) float64 { return r.Records }),
			100*mid(func(r rest) float64 { return r.Cloud }), 100*mid(func(r rest) float64 { return r.Broker }),
			100*mid(func(r rest) float64 { return r.DB }), 100*mid(func(r rest) float64 { return r.Boxs }),
			mid(func(r rest) float64 { return r.CloudMiB }), mid(func(r rest) float64 { return r.BrokerMiB }), mid(func(r rest) float64 { return r.DBMiB }),
			mid(func(r rest) float64 { return r.Ask }), mid(func(r rest) float64 { return r.AskMax }), mid(func(r rest) float64 { return r.AskKB }),
			mid(func(r rest) float64 { return float64(r.Healthy) }), 100*mid(func(r rest) float64 { return r.Other }), unacked)
	}
	_ = w.Flush()
}

// register writes n halls below four provinces into the metadata, with a box each
// and the scenes that it has told.
func register(ctx context.Context, data string, n int) (err error) {
	db, err := metadata.Open(ctx, filepath.Join(data, cloud.MetadataFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var table strings.Builder
	table.WriteString("id,level,zh,en,parent,time_zone,box\nchain,chain,连锁,Chain,,Asia/Shanghai,\n")
	for p := range 4 {
		fmt.Fprintf(&table, "p%d,province,%d省,Province %d,chain,,\n", p, p, p)
	}
	var told []site.SceneVersion
	for i := range n {
		fmt.Fprintf(&table, "%s,,%d号厅,Hall %d,p%d,,%s\n", storeName(i), i, i, i%4, edge)
		for _, s := range fleetScenes() {
			record, err := floorwatch.MarshalRecord(s)
			if err != nil {
				return err
			}
			told = append(told, site.SceneVersion{Source: site.Source{Store: storeName(i), Edge: edge, Camera: s.Camera}, Rev: s.Rev, First: 1, Last: 1, Record: record.JSON})
		}
	}
	if _, err := site.Import(ctx, db, "fleet.csv", "csv", []byte(table.String()), 1); err != nil {
		return err
	}
	return site.PutScenes(ctx, db, told...)
}

// fleetScenes is what a box tells of itself and its cameras.
func fleetScenes() []*floorwatch.CameraScene {
	all := []*floorwatch.CameraScene{floorwatch.TellBox(fleetCameras, nil)}
	for i, camera := range fleetCameras {
		var s floorwatch.Scene
		for k, name := range fleetZones[2*i : 2*i+2] {
			x := float64(100 + 300*k)
			z := floorwatch.NewZone(name, floorwatch.RoleQueue, floorwatch.Point{X: x, Y: 100}, floorwatch.Point{X: x + 200, Y: 100}, floorwatch.Point{X: x + 200, Y: 300})
			z.Label = floorwatch.Label{ZH: "区域" + name, EN: "Zone " + name}
			s.Zones = append(s.Zones, z)
		}
		all = append(all, floorwatch.TellScene(camera, s))
	}
	return all
}

// playCloud is the aggregator as the product wires it.
func playCloud(ctx context.Context, t task, out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if t.Profile != "" {
		f, err := os.Create(t.Profile)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		// Of the time in which the costs are taken.
		go func() {
			if kit.Pause(ctx, fleetCalm+10*time.Second) == nil {
				_ = pprof.StartCPUProfile(f)
			}
		}()
		defer pprof.StopCPUProfile()
	}
	store := &influx.Client{Endpoint: influxdb.ReadEndpoint(t.Endpoint)}
	defer store.Close()
	if err := tell(out, ln.Addr().String()); err != nil {
		return err
	}
	a := &cloud.Aggregator{
		Data: t.Dir, Broker: access.Login{URL: "tcp://" + t.Broker}, Metadata: filepath.Join(t.Dir, cloud.MetadataFile), Figures: store, Listener: ln,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
