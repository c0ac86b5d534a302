package cloud

import (
	"context"
	"time"

	"floorwatch"
	"floorwatch/cloud/api"
	"floorwatch/cloud/command"
	"floorwatch/cloud/fleet"
	"floorwatch/cloud/ingest"
	"floorwatch/cloud/vault"
	"floorwatch/internal/metrics"
)

// status reads the aggregator's figures about itself.
type status struct {
	a      *Aggregator
	fleet  *fleet.Fleet
	live   *fleet.Live
	ingest *ingest.Ingest
	watch  *command.Watch
	db     *ingest.DB
	hub    *api.Hub
	// uploads takes footage in.
	uploads *vault.Uploads
}

// scrapeLimit bounds what a scrape asks of the database and the disk.
const scrapeLimit = 2 * time.Second

// figures returns what /metrics shows.
func (s *status) figures() []metrics.Figure {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	in := s.ingest.Stats()
	all := []metrics.Figure{
		{
			Name: "floorwatch_cloud_info", Help: "1, with what runs here.", Labels: []string{"version"},
			Samples: []metrics.Sample{{Value: 1, Labels: []string{floorwatch.BuildVersion}}},
		},
		metrics.Counter("floorwatch_ingest_batches_total", "Batches stored and acknowledged.", float64(in.Batches)),
		metrics.Counter("floorwatch_ingest_records_total", "Records of those, dead letters included.", float64(in.Records)),
		metrics.Counter("floorwatch_ingest_duplicates_total", "Records that came again after they were stored.", float64(in.Duplicates)),
		metrics.Counter("floorwatch_ingest_dead_letters_total", "Records and messages refused.", float64(in.DeadLetters)),
		metrics.Counter("floorwatch_ingest_unread_total", "Messages left to be sent again.", float64(in.Unread)),
		metrics.Gauge("floorwatch_broker_connected", "1 while the broker hands us messages.", metrics.Flag(s.ingest.Connected())),
		metrics.Counter("floorwatch_watch_ignored_total", "States and live figures that could not be shown.", float64(s.watch.Ignored())),
		metrics.Counter("floorwatch_influx_outages_total", "Writes to InfluxDB that had to be repeated.", float64(in.Outages)),
		metrics.Gauge("floorwatch_influx_up", "1 when InfluxDB answers.", metrics.Flag(s.a.Figures.Ping(ctx) == nil)),
		delay("floorwatch_influx_write_seconds", "One write, until InfluxDB confirmed.", in.Write),
		delay("floorwatch_ingest_delay_seconds", "From the time at which a record settled until it was confirmed.", in.Fresh),
		metrics.Gauge("floorwatch_event_streams", "Pages and programs that watch live.", float64(s.hub.Clients())),
	}
	if t, err := s.db.Totals(ctx); err == nil {
		all = append(all,
			metrics.Gauge("floorwatch_dead_letters", "Dead letters kept.", float64(t.Letters)),
			metrics.Gauge("floorwatch_dead_letters_bytes", "Their bytes.", float64(t.Bytes)),
			metrics.Counter("floorwatch_dead_letters_evicted_total", "Dead letters that had to leave unread.", float64(t.Evicted)))
	}
	up := s.uploads.Stats()
	all = append(all,
		metrics.Counter("floorwatch_vault_received_total", "Pieces of footage received whole and checked.", float64(up.Received)),
		metrics.Counter("floorwatch_vault_bytes_total", "Bytes of uploads.", float64(up.Bytes)),
		metrics.Counter("floorwatch_vault_refused_total", "Uploads not let in: unsigned, unknown, malformed.", float64(up.Refused)),
		metrics.Counter("floorwatch_vault_corrupt_total", "Pieces whose bytes were not those of their hash.", float64(up.Corrupt)),
		metrics.Counter("floorwatch_vault_failed_total", "Uploads that could not be served.", float64(up.Failed)))
	return append(append(all, s.troubles()), s.boxes()...)
}

// delay gives a distribution as a figure for each quantile.
func delay(name, help string, d ingest.Delay) metrics.Figure {
	f := metrics.Figure{Name: name, Help: help, Labels: []string{"quantile"}}
	for _, q := range []struct {
		name  string
		value time.Duration
	}{{"0.5", d.Median}, {"0.95", d.P95}, {"1", d.Max}} {
		f.Samples = append(f.Samples, metrics.Sample{Value: q.value.Seconds(), Labels: []string{q.name}})
	}
	return f
}

// troubles has a sample for each trouble of each box.
func (s *status) troubles() metrics.Figure {
	out := metrics.Figure{Name: "floorwatch_box_trouble", Help: "1 for each trouble of a box, as the page of boxes names them.", Labels: []string{"store", "edge", "what"}}
	for _, b := range s.fleet.Troubles() {
		for _, t := range b.Troubles {
			out.Samples = append(out.Samples, metrics.Sample{Value: 1, Labels: []string{b.Store, b.Edge, t.What}})
		}
	}
	return out
}

// boxes tells which registered boxes are there, by their state or last will.
func (s *status) boxes() []metrics.Figure {
	online := metrics.Figure{Name: "floorwatch_box_online", Help: "1 while the box says that it is online.", Labels: []string{"store", "edge"}}
	since := metrics.Figure{Name: "floorwatch_box_state_timestamp_seconds", Help: "When the box said its state; of a will, when it had connected.", Labels: online.Labels}
	count := 0.0
	edges := s.a.Sites.Now().Registry().Edges
	for _, e := range edges {
		labels := []string{e.Store, e.ID}
		st, known := s.live.State(e.Store, e.ID)
		is := metrics.Flag(known && st.State == floorwatch.StateOnline)
		count += is
		online.Samples = append(online.Samples, metrics.Sample{Value: is, Labels: labels})
		if known {
			since.Samples = append(since.Samples, metrics.Sample{Value: float64(st.T) / 1000, Labels: labels})
		}
	}
	return []metrics.Figure{
		metrics.Gauge("floorwatch_boxes", "Registered boxes.", float64(len(edges))),
		metrics.Gauge("floorwatch_boxes_online", "Of those, online.", count), online, since,
	}
}
