package main

import (
	"fmt"
	"math"
	"runtime"
	"syscall"
	"time"

	"floorwatch"
	"floorwatch/edge/queue"
	"floorwatch/edge/track"
	"floorwatch/edge/zone"
	"floorwatch/internal/lab/score"
)

// measured is what the product makes of camera lines.
type measured struct {
	visits    []score.Visit
	waits     []score.Wait
	records   []floorwatch.Wait
	intervals []floorwatch.Interval
	cpu       float64 // seconds
}

// measure runs the box's own stages over lines; times count from start.
// Intervals come out where every is not 0.
func measure(scene floorwatch.Scene, lines []floorwatch.Frame, start floorwatch.Time, every time.Duration) (measured, error) {
	engine, err := zone.New("camera", scene)
	if err != nil {
		return measured{}, fmt.Errorf("prepare zones: %w", err)
	}
	return feed(engine, scene, lines, start, every)
}

// feed runs lines through a stage over a source of stays.
func feed(source queue.Lines, scene floorwatch.Scene, lines []floorwatch.Frame, start floorwatch.Time, every time.Duration) (measured, error) {
	stage, err := queue.NewStage(source, scene, every)
	if err != nil {
		return measured{}, fmt.Errorf("prepare stages: %w", err)
	}
	var m measured
	m.cpu, err = timed(func() error {
		for _, f := range lines {
			recs, err := stage.Feed(f)
			if err != nil {
				return fmt.Errorf("measure: %w", err)
			}
			m.take(recs, start)
		}
		recs, err := stage.Close()
		if err != nil {
			return fmt.Errorf("measure: %w", err)
		}
		m.take(recs, start)
		return nil
	})
	return m, err
}

func (m *measured) take(recs []floorwatch.Record, start floorwatch.Time) {
	for _, rec := range recs {
		switch r := rec.(type) {
		case *floorwatch.Stay:
			v := score.Visit{Zone: r.Zone, ID: r.ID, Enter: seconds(r.Enter, start), Exit: math.Inf(1)}
			if r.Exit != nil {
				v.Exit = seconds(*r.Exit, start)
			}
			m.visits = append(m.visits, v)
		case *floorwatch.Wait:
			if r.End != nil {
				m.records = append(m.records, *r)
				m.waits = append(m.waits, waitOf(r, start))
			}
		case *floorwatch.Interval:
			m.intervals = append(m.intervals, *r)
		}
	}
}

// waitOf is a wait that has ended, in seconds from start.
func waitOf(r *floorwatch.Wait, start floorwatch.Time) score.Wait {
	return score.Wait{Enter: seconds(r.Enter, start), End: seconds(*r.End, start), Outcome: r.Outcome, Unseen: !r.EnterSeen}
}

func seconds(t, start floorwatch.Time) float64 { return float64(t-start) / 1000 }

// follow gives the boxes of lines their ids with the product's tracker. It
// returns the processor time that it took, in seconds.
func follow(lines []floorwatch.Frame) (out []floorwatch.Frame, cpu float64) {
	k := track.New(track.Options{})
	out = make([]floorwatch.Frame, len(lines))
	cpu, _ = timed(func() error {
		for i, f := range lines {
			if f.Event == "" {
				f.People = k.Update(f.T, f.People)
			}
			out[i] = f
		}
		return nil
	})
	return out, cpu
}

// timed does something and returns the processor time of its thread, in seconds.
func timed(do func() error) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	err := do()
	return threadTime() - began, err
}

func threadTime() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_THREAD, &u) != nil {
		return math.NaN()
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// Classes of load. A visit's is told by the mean number of people in its zone
// meanwhile, itself included; a wait's by those who waited when it began; in
// truth, both for what is true and for what was told.
const (
	loadAll     = "all"
	loadEmpty   = "empty"
	loadBusy    = "busy"
	loadCrowded = "crowded"
)

// Limits of the classes: a visit alone is empty, as is a wait with nobody ahead.
const (
	busyPeople    = 1.5
	crowdedPeople = 4.5
)

var loads = []string{loadEmpty, loadBusy, loadCrowded}

func loadClass(people float64) string {
	switch {
	case people < busyPeople:
		return loadEmpty
	case people < crowdedPeople:
		return loadBusy
	}
	return loadCrowded
}

// crowd tells how many people truly were in a zone.
type crowd map[string][]score.Visit

func crowdOf(truth []score.Visit) crowd {
	c := crowd{}
	for _, v := range truth {
		c[v.Zone] = append(c[v.Zone], v)
	}
	return c
}

// load is the class of a visit.
func (c crowd) load(v score.Visit, duration float64) string {
	from, to := v.Enter, min(v.Exit, duration)
	if to <= from {
		return loadEmpty
	}
	var sum float64
	for _, o := range c[v.Zone] {
		sum += max(0, min(to, o.Exit)-max(from, o.Enter))
	}
	return loadClass(sum / (to - from))
}

// ofLoad keeps the visits of one class.
func (c crowd) ofLoad(visits []score.Visit, class string, duration float64) (out []score.Visit) {
	for _, v := range visits {
		if c.load(v, duration) == class {
			out = append(out, v)
		}
	}
	return out
}

// waitsOfLoad keeps the waits that began while so many truly waited.
func waitsOfLoad(waits, truth []score.Wait, class string) (out []score.Wait) {
	for _, w := range waits {
		ahead := 0
		for _, o := range truth {
			if o.Enter < w.Enter && o.End > w.Enter {
				ahead++
			}
		}
		if loadClass(1+float64(ahead)) == class {
			out = append(out, w)
		}
	}
	return out
}
