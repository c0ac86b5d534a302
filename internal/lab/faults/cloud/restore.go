package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/internal/lab/chaos"
	"floorwatch/internal/lab/faults/bench"
	"floorwatch/internal/lab/faults/hall"
	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
)

// restoreDrill takes a backup of clouds at work, lets them go on, kills them,
// deletes their folders, puts the backup back, and looks for every record that a
// box has handed over. One box of each has no uplink when the backup is taken, and
// hands over what is older than that afterwards.
func restoreDrill(ctx context.Context, b *bench.Bench) (bench.Finding, error) {
	drills := b.Rounds(3, 1)
	var mu sync.Mutex
	var all drill
	err := bench.Each(ctx, drills, drills, func(ctx context.Context, i int) error {
		dir, err := b.Sub(fmt.Sprint("hall", i))
		if err != nil {
			return err
		}
		d := drill{b: b, dir: dir}
		err = d.run(ctx)
		mu.Lock()
		defer mu.Unlock()
		all.add(d)
		return err
	})
	text := fmt.Sprintf("%d clouds, each with 4 boxes at 25 records/s: backup under load in at most %.1f s, restore in at most %.1f s; of %s acknowledged records %s are not in the database, %s of them outside the spans booked for their boxes, %s older than the backup; %d doubled, %d wrong",
		drills, all.backup.Seconds(), all.restore.Seconds(), bench.Number(all.v.Records), bench.Number(all.v.Booked+all.v.Lost), bench.Number(all.v.Lost), bench.Number(all.older), all.v.Doubled, all.v.Wrong)
	return b.Judge(bench.Finding{
		Figure: text,
		Scope:  "a booked span begins 15 minutes before what a box had not handed over, for records that settle late; those here are at most a minute late, and the row allows them two minutes of the 15",
	},
		bench.That(all.v.Clean(), "records, 0 of them missing without a word, doubled or wrong"),
		bench.That(all.v.Booked > 0, "records that were handed over after the backup and are booked"),
		bench.That(b.Short || all.older > 0, "records among them that are older than the backup"),
		bench.That(all.kept, "sites and dead letters of before the backup"),
		bench.That(all.refused, "a backup that was killed is not taken for one, the cloud refuses what a killed restore left"),
	), err
}

// drill is one cloud's.
type drill struct {
	b               *bench.Bench
	dir             string
	v               hall.Judged
	older           int // records that are booked and ended before the backup
	backup, restore time.Duration
	kept, refused   bool
}

func (d *drill) add(e drill) {
	first := d.v.Records == 0
	d.v.Add(e.v)
	d.older += e.older
	d.backup, d.restore = max(d.backup, e.backup), max(d.restore, e.restore)
	d.kept, d.refused = e.kept && (first || d.kept), e.refused && (first || d.refused)
}

const (
	drillBoxes  = 4
	drillMargin = 13 * time.Minute // of the 15 that the cloud books to be sure
)

func (d *drill) run(ctx context.Context) error {
	h, err := hall.NewWhole(ctx, d.b, d.dir, drillBoxes)
	if err != nil {
		return err
	}
	defer h.End()
	last, err := chaos.Start(h.Broker.Address) // the line of the last box
	if err != nil {
		return err
	}
	defer last.Close()
	lines := []string{h.Line.Addr, h.Line.Addr, h.Line.Addr, last.Addr}
	ledgers := filepath.Join(d.dir, "ledgers")
	c, err := hall.StartCrew(ctx, hall.Boxes{
		Dir: filepath.Join(d.dir, "boxes"), Ledger: ledgers, Broker: lines, Boxes: drillBoxes, Rate: 25, Preset: d.b.Rounds(5000, 500), Health: true,
	})
	if err != nil {
		return err
	}
	defer c.End()
	if err := d.before(ctx, h, c); err != nil {
		return err
	}
	d.b.Say("a box loses its uplink")
	last.Blackhole()
	if err := kit.Pause(ctx, time.Duration(d.b.Rounds(180, 2))*time.Second); err != nil {
		return err
	}
	if err := d.broken(ctx, h); err != nil {
		return err
	}
	copied, began := filepath.Join(d.dir, "copy"), time.Now()
	if _, err := d.command(ctx, h, "backup", copied); err != nil {
		return err
	}
	d.backup = time.Since(began)
	acked := c.Said().Acked
	d.b.Say("backed up; the box has its uplink again")
	last.Pass()
	last.Reset()
	if err := kit.Pause(ctx, time.Duration(d.b.Rounds(60, 1))*time.Second); err != nil {
		return err
	}
	err = c.Until(ctx, "records to be acknowledged after the backup", kit.Patience, func(s hall.Said) bool { return s.Acked > acked+100 && (d.b.Short || s.Oldest < 2) })
	if err != nil {
		return err
	}
	d.b.Say("the cloud dies with its disk")
	if err := errors.Join(h.Cloud.Kill(), d.wipe(ctx, h)); err != nil {
		return err
	}
	h.Cloud.End()
	if err := d.half(ctx, h, copied); err != nil {
		return err
	}
	began = time.Now()
	out, err := d.command(ctx, h, "restore", copied)
	if err != nil {
		return err
	}
	d.restore = time.Since(began)
	d.b.Say("put back: %s", strings.ReplaceAll(strings.TrimSpace(out), "\n", "; "))
	if err := h.StartCloud(ctx); err != nil {
		return err
	}
	if d.b.Short { // a new session sends at once what was on its way, else that takes half a minute
		h.Line.Reset()
		last.Reset()
	}
	if err := kit.Pause(ctx, time.Duration(d.b.Rounds(30, 1))*time.Second); err != nil {
		return err
	}
	if err := c.Finish(ctx); err != nil {
		return err
	}
	if d.kept, err = d.stays(ctx, h); err != nil {
		return err
	}
	return d.judge(ctx, h, copied, ledgers)
}

// before gives the cloud what is no record: a hall, and a dead letter.
func (d *drill) before(ctx context.Context, h *hall.Hall, c *hall.Crew) error {
	if _, err := d.command(ctx, h, "site", "add", "h9"); err != nil {
		return err
	}
	link, err := h.Sender()
	if err != nil {
		return err
	}
	defer link.Disconnect(100)
	if err := link.Batches(ctx, 0, []json.RawMessage{json.RawMessage(`{"kind":"poem","id":"bad-kind","at":1}`)}); err != nil {
		return err
	}
	if err := c.Until(ctx, "records to arrive", kit.Patience, func(s hall.Said) bool { return s.Acked > uint64(d.b.Rounds(20_000, 2000)) }); err != nil {
		return err
	}
	return kit.Pause(ctx, time.Duration(d.b.Rounds(20, 2))*time.Second)
}

// stays tells whether that is there.
func (d *drill) stays(ctx context.Context, h *hall.Hall) (bool, error) {
	sites, err := d.command(ctx, h, "site", "list")
	if err != nil {
		return false, err
	}
	letters, err := h.DeadLetters(ctx)
	return strings.Contains(sites, "h9") && strings.Contains(letters, "bad-kind"), err
}

// broken kills a backup in the midst of its work, and wants nobody to take what it
// left for a backup.
func (d *drill) broken(ctx context.Context, h *hall.Hall) error {
	into := filepath.Join(d.dir, "broken")
	p, err := kit.Program{Name: filepath.Join(d.b.Bin, "floorwatch-cloud"), Args: []string{"backup", "-config", filepath.Join(h.Dir, "cloud.yaml"), into}}.Start(ctx)
	if err != nil {
		return err
	}
	defer p.End()
	err = kit.Until(ctx, "a backup to begin", kit.Patience, func() (bool, error) {
		_, err := os.Stat(into + ".part/data")
		return err == nil, nil
	})
	if err := errors.Join(err, p.Kill()); err != nil {
		return err
	}
	_, whole := os.Stat(into)
	_, err = d.command(ctx, h, "restore", into+".part")
	d.refused = errors.Is(whole, fs.ErrNotExist) && err != nil && strings.Contains(err.Error(), "never finished")
	return nil
}

// half kills a restore in the midst of its work, and wants the cloud to refuse what
// it left. The next restore begins anew.
func (d *drill) half(ctx context.Context, h *hall.Hall, copied string) error {
	p, err := kit.Program{Name: filepath.Join(d.b.Bin, "floorwatch-cloud"), Args: []string{"restore", "-config", filepath.Join(h.Dir, "cloud.yaml"), copied}}.Start(ctx)
	if err != nil {
		return err
	}
	defer p.End()
	err = kit.Until(ctx, "a restore to begin", kit.Patience, func() (bool, error) {
		_, err := os.Stat(filepath.Join(h.Data(), "vault.sqlite"))
		return err == nil, nil
	})
	if err := errors.Join(err, p.Kill()); err != nil {
		return err
	}
	_, err = d.command(ctx, h, "check")
	d.refused = d.refused && err != nil && strings.Contains(err.Error(), "being put back")
	return nil
}

// wipe deletes the cloud's folder. Its database, a child of the one that was
// killed, may take a moment to die, and writes meanwhile.
func (d *drill) wipe(ctx context.Context, h *hall.Hall) error {
	return kit.Until(ctx, "the cloud's folder to be gone", kit.Patience, func() (bool, error) {
		err := os.RemoveAll(h.Data())
		if err == nil {
			err = kit.Pause(ctx, 100*time.Millisecond)
		}
		_, there := os.Stat(h.Data())
		return err == nil && errors.Is(there, fs.ErrNotExist), ctx.Err()
	})
}

// command runs floorwatch-cloud with the hall's configuration.
func (d *drill) command(ctx context.Context, h *hall.Hall, words ...string) (string, error) {
	at := 1
	if words[0] == "site" {
		at = 2
	}
	args := append(append(append([]string{}, words[:at]...), "-config", filepath.Join(h.Dir, "cloud.yaml")), words[at:]...)
	cmd := exec.CommandContext(ctx, filepath.Join(d.b.Bin, "floorwatch-cloud"), args...)
	cmd.Env = append(os.Environ(), "PATH="+kit.SearchPath())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("floorwatch-cloud %s: %w: %s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

// judge looks for every record of the ledgers.
func (d *drill) judge(ctx context.Context, h *hall.Hall, copied, ledgers string) error {
	at, err := h.Endpoint()
	if err != nil {
		return err
	}
	rows, err := influxdb.Query(ctx, at, `SELECT "from", "to", edge FROM gap WHERE cause = 'restored'`)
	if err != nil {
		return err
	}
	type span struct{ From, To floorwatch.Time }
	gaps := map[string]span{}
	for _, r := range rows {
		var s span
		if _, err := fmt.Sscan(r["from"], &s.From); err != nil {
			return fmt.Errorf("read a booked span %v: %w", r, err)
		}
		if _, err := fmt.Sscan(r["to"], &s.To); err != nil {
			return fmt.Errorf("read a booked span %v: %w", r, err)
		}
		gaps[r["edge"]] = s
	}
	b, err := os.ReadFile(filepath.Join(copied, "manifest.json"))
	if err != nil {
		return err
	}
	var manifest struct{ From floorwatch.Time }
	if err := json.Unmarshal(b, &manifest); err != nil {
		return err
	}
	d.v, err = h.JudgeBut(ctx, ledgers, func(box string, end floorwatch.Time) bool {
		s, ok := gaps[box]
		if !ok || end < s.From.Add(drillMargin) || end > s.To {
			return false
		}
		if end < manifest.From.Add(-time.Minute) { // a record ends a minute before it is queued
			d.older++
		}
		return true
	})
	return err
}
