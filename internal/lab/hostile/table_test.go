package hostile

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"floorwatch"
	"floorwatch/edge/outbox"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// Figures that say that good records flow.
const (
	acked  = "floorwatch_uplink_acked_records_total"
	stored = "floorwatch_ingest_records_total"
)

// row is one bad input: what is done, which program must say what, which figure
// must move, and which must grow once it is over.
type row struct {
	name   string
	of     func(w *world) *program
	inject func(t *testing.T, w *world) // nil: it is so from the start
	log    string                       // what its log must say then, a regular expression
	figure string
	moved  func(before, now float64) bool
	heal   func(t *testing.T, w *world) // nil: nothing, it goes on by itself
	grows  string
}

func cloud(w *world) *program   { return w.cloud }
func sources(w *world) *program { return w.sources }
func small(w *world) *program   { return w.small }

func more(before, now float64) bool   { return now > max(before, 0) }
func zero(_, now float64) bool        { return now == 0 }
func tiny(_, now float64) bool        { return now >= 0 && now < 1<<20 }
func seconds(_, now float64) bool     { return now >= 1 }
func camera(figure, of string) string { return figure + `{camera="` + of + `"}` }
func closes(of string) string         { return camera("floorwatch_camera_closes_total", of) }
func frames(of string) string         { return camera("floorwatch_camera_frames_total", of) }
func (w *world) path(n string) string { return filepath.Join(w.dir, n) }

// at returns what p has written and what a figure is, before a fault.
func (p *program) at(figure string) (written int, value float64) {
	if p == nil {
		return 0, -1
	}
	return len(p.Output()), p.figure(figure)
}

func (r row) run(t *testing.T, w *world) {
	began := time.Now()
	written, before := 0, -1.0
	if r.inject != nil {
		written, before = r.of(w).at(r.figure)
		r.inject(t, w)
	}
	p, says := r.of(w), regexp.MustCompile("(?m)^.*"+r.log+".*$")
	line := ""
	kit.Wait(t, "the log to say "+r.log, func() bool {
		line = says.FindString(p.Output()[written:])
		return line != ""
	})
	kit.Wait(t, r.figure+" to move", func() bool { return r.moved(before, p.figure(r.figure)) })
	if r.heal != nil {
		r.heal(t, w)
	}
	good := p.figure(r.grows)
	kit.Wait(t, r.grows+" to grow again", func() bool { return p.figure(r.grows) > max(good, 0) })
	t.Logf("%.1f s; %s", time.Since(began).Seconds(), line)
}

// begin starts all programs into a world without broker and database.
func begin() []row {
	return []row{
		{
			name: "broker is not there, box", of: sources,
			inject: func(t *testing.T, w *world) {
				w.cloud = w.start(t, "floorwatch-cloud", "cloud.yaml")
				w.sources = w.startBox(t, "sources")
			},
			log:    `uplink is down; records wait in the outbox.*connection refused`,
			figure: "floorwatch_uplink_connected", moved: zero,
			grows: "floorwatch_outbox_appended_total",
		},
		{
			name: "broker is not there, cloud", of: cloud,
			log:    `no connection to the broker; trying again.*connection refused`,
			figure: "floorwatch_broker_connected", moved: zero,
			heal: func(t *testing.T, w *world) {
				for user, password := range map[string]string{"cloud": "right", "s1/evil": "right", "s1/sources": "right", "s1/small": "wrong"} {
					w.password(t, user, password)
				}
				w.startBroker(t)
			},
			grows: "floorwatch_broker_connected",
		},
		{
			name: "broker refuses", of: small,
			inject: func(t *testing.T, w *world) { w.small = w.startBox(t, "small") },
			log:    `uplink is down; records wait in the outbox.*broker\.password_file`,
			figure: "floorwatch_uplink_connected", moved: zero,
			heal: func(t *testing.T, w *world) {
				w.password(t, "s1/small", "right")
				w.signal(t, syscall.SIGHUP)
			},
			grows: "floorwatch_uplink_connected",
		},
		{
			name: "InfluxDB is down at the start", of: cloud,
			log:    `cannot store; nothing is acknowledged and the boxes keep it; trying again.*connection refused`,
			figure: "floorwatch_influx_outages_total", moved: more,
			heal:  func(t *testing.T, w *world) { kit.Must(t, w.influx.Up()) },
			grows: stored,
		},
	}
}

// cameraRows are faults of sources, each of a camera of its own.
func cameraRows() []row {
	return []row{
		{
			name: "source does not exist", of: sources,
			log:    `source cannot be served, trying again; check the camera's source.*missing\.mp4.*no such file`,
			figure: closes("missing"), moved: more,
			heal:  func(t *testing.T, w *world) { kit.Must(t, os.Link(w.path("film.mp4"), w.path("missing.mp4"))) },
			grows: frames("missing"),
		},
		{
			name: "source is not video", of: sources,
			log:    `source cannot be served, trying again; check the camera's source.*text\.mp4 is not a video`,
			figure: closes("text"), moved: more,
			heal: func(t *testing.T, w *world) {
				kit.Must(t, os.Rename(w.link(t, "film.mp4"), w.path("text.mp4")))
			},
			grows: frames("text"),
		},
		{
			name: "source ends", of: sources,
			inject: func(_ *testing.T, w *world) { w.cameras["ends"].Down() },
			log:    `camera worker ended, starting it again" camera=ends error="floorwatch-camera: read .*the camera or the network broke off`,
			figure: closes("ends"), moved: more,
			heal:  func(t *testing.T, w *world) { kit.Must(t, w.cameras["ends"].Up()) },
			grows: frames("ends"),
		},
		{
			name: "source stalls", of: sources,
			inject: func(_ *testing.T, w *world) { w.cameras["stalls"].Set(chaos.Fault{}, chaos.Fault{Hold: true}) },
			log:    `camera worker ended, starting it again" camera=stalls error="floorwatch-camera: read .*the camera or the network hangs`,
			figure: closes("stalls"), moved: more,
			heal: func(_ *testing.T, w *world) {
				w.cameras["stalls"].Pass()
				w.cameras["stalls"].Cut()
			},
			grows: frames("stalls"),
		},
		{
			name: "source changes its resolution", of: sources,
			inject: func(_ *testing.T, w *world) { w.cameras["resizes"].Turn(w.little) },
			log:    `the picture changed its size; zones are scaled to it.*camera=resizes width=160 height=120`,
			figure: camera("floorwatch_camera_size_changes_total", "resizes"), moved: more,
			grows: frames("resizes"),
		},
		{
			name: "source sends garbage", of: sources,
			inject: func(_ *testing.T, w *world) { w.cameras["garbage"].Set(chaos.Fault{}, chaos.Fault{Noise: true}) },
			log:    `camera worker ended, starting it again" camera=garbage`,
			figure: closes("garbage"), moved: more,
			heal: func(_ *testing.T, w *world) {
				w.cameras["garbage"].Pass()
				w.cameras["garbage"].Cut()
			},
			grows: frames("garbage"),
		},
		{
			name: "clock jumps", of: sources,
			inject: func(t *testing.T, w *world) {
				w.setClock(t, "300000")
				seen := w.sources.figure(frames("clock"))
				kit.Wait(t, "frames stamped five minutes ahead", func() bool { return w.sources.figure(frames("clock")) > seen+5 })
				w.setClock(t, "0")
			},
			log:    `the clock was set back; stamps go on from the last one.*check the box's time server" camera=clock`,
			figure: camera("floorwatch_camera_clock_set_back_total", "clock"), moved: more,
			grows: frames("clock"),
		},
	}
}

// databaseRows are faults of InfluxDB later on.
func databaseRows() []row {
	return []row{
		{
			name: "InfluxDB goes down", of: cloud,
			inject: func(_ *testing.T, w *world) { w.influx.Down() },
			log:    `cannot store; nothing is acknowledged and the boxes keep it; trying again`,
			figure: "floorwatch_influx_up", moved: zero,
			heal:  func(t *testing.T, w *world) { kit.Must(t, w.influx.Up()) },
			grows: stored,
		},
		{
			name: "InfluxDB is slow", of: cloud,
			inject: func(_ *testing.T, w *world) { w.influx.Set(chaos.Fault{}, chaos.Fault{Delay: 1500 * time.Millisecond}) },
			log:    `InfluxDB is slow; records wait with the boxes meanwhile, check its load and its disk`,
			figure: `floorwatch_influx_write_seconds{quantile="1"}`, moved: seconds,
			heal:  func(_ *testing.T, w *world) { w.influx.Pass() },
			grows: stored,
		},
	}
}

// brokerRows is a broker that dies later on, as the box and the cloud see it.
func brokerRows() []row {
	return []row{
		{
			name: "broker disappears, box", of: sources,
			inject: func(t *testing.T, w *world) { kit.Must(t, w.broker.Kill()) },
			log:    `uplink is down; records wait in the outbox`,
			figure: "floorwatch_uplink_connected", moved: zero,
			grows: "floorwatch_outbox_appended_total", // without it
		},
		{
			name: "broker disappears, cloud", of: cloud,
			log:    `no connection to the broker; trying again.*broker connection lost`,
			figure: "floorwatch_broker_connected", moved: zero,
			heal:  func(t *testing.T, w *world) { w.startBroker(t) },
			grows: stored,
		},
	}
}

func diskRow() row {
	return row{
		name: "disk is full", of: small,
		inject: func(t *testing.T, w *world) { w.fill(t) },
		log:    `disk is full: recording stops; free space`,
		figure: "floorwatch_disk_free_bytes", moved: tiny,
		heal:  func(t *testing.T, w *world) { kit.Must(t, os.Remove(w.path("small/ballast"))) },
		grows: camera("floorwatch_segments_total", "small"),
	}
}

func (w *world) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	kit.Must(t, syscall.Kill(w.broker.PID(), s))
}

func (w *world) setClock(t *testing.T, ms string) {
	t.Helper()
	kit.Must(t, os.Rename(kit.Write(t, w.path("clock.new"), ms), w.path("clock")))
}

func (w *world) link(t *testing.T, name string) string {
	t.Helper()
	kit.Must(t, os.Link(w.path(name), w.path("link")))
	return w.path("link")
}

// fill leaves the small box nothing.
func (w *world) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(w.path("small/ballast"))
	kit.Must(t, err)
	defer func() { _ = f.Close() }()
	for {
		if _, err := f.Write(make([]byte, 64<<10)); err != nil {
			if !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
				t.Fatal(err)
			}
			return
		}
	}
}

// TestBadInput is the table. What can go wrong beside each other does.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	inOrder := func(t *testing.T, rows []row) {
		for _, r := range rows {
			if !t.Run(r.name, func(t *testing.T) { r.run(t, w) }) {
				t.FailNow()
			}
		}
	}
	inOrder(t, begin())
	ok := t.Run("beside each other", func(t *testing.T) {
		for _, r := range cameraRows() {
			t.Run(r.name, func(t *testing.T) { t.Parallel(); r.run(t, w) })
		}
		if w.disk {
			t.Run(diskRow().name, func(t *testing.T) { t.Parallel(); diskRow().run(t, w) })
		}
		t.Run("messages to the cloud", func(t *testing.T) { t.Parallel(); w.messages(t) })
		t.Run("messages to the box", func(t *testing.T) { t.Parallel(); w.acknowledgements(t) })
		t.Run("uploads", func(t *testing.T) { t.Parallel(); w.uploads(t) })
	})
	if !ok {
		t.FailNow()
	}
	inOrder(t, databaseRows())
	inOrder(t, brokerRows())
	w.compare(t)
}

// compare stops everything and holds the boxes' ledgers against the database:
// each record is there once, or still waits on its box.
func (w *world) compare(t *testing.T) {
	t.Helper()
	boxes := map[string]*program{"sources": w.sources, "small": w.small}
	for _, p := range boxes {
		kit.Must(t, p.Quit(kit.Patience))
	}
	kit.Must(t, w.cloud.Quit(kit.Patience))
	kept := influxdb.Stored(t, w.database)
	there, waiting := 0, 0
	for name := range boxes {
		ledger, _ := influxdb.ReadLedger(t, w.ledger(name))
		waits := w.waiting(t, name)
		for key, times := range ledger {
			switch {
			case times != 1 || kept[key] > 1 || kept[key]+waits[key] == 0:
				t.Errorf("%s: %d times in the ledger of %s, %d times in InfluxDB, %d times in the outbox", key, times, name, kept[key], waits[key])
			case kept[key] == 1:
				there++
			default:
				waiting++
			}
		}
	}
	if waiting > there/2 {
		t.Errorf("%d records are in InfluxDB and %d still wait, too many to show anything", there, waiting)
	}
	t.Logf("of two boxes %d records are in InfluxDB, once each, and %d wait unacknowledged", there, waiting)
}

// waiting returns what a stopped box has not got acknowledged.
func (w *world) waiting(t *testing.T, name string) map[string]int {
	t.Helper()
	o, err := outbox.Open(outbox.Settings{Dir: w.path(name + "/outbox"), MaxBytes: 8e6})
	kit.Must(t, err)
	defer func() { kit.Must(t, o.Close()) }()
	var text []byte
	for {
		b, err := o.Next(floorwatch.MaxBatchRecords, floorwatch.MaxBatchBytes)
		kit.Must(t, err)
		if b.N == 0 {
			break
		}
		for _, r := range b.Records {
			text = append(append(text, r...), '\n')
		}
	}
	all, _ := influxdb.ReadLedger(t, kit.Write(t, w.path(name+".waiting"), string(text)))
	return all
}
