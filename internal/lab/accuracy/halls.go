package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"floorwatch"
	"floorwatch/cloud/waits"
	"floorwatch/edge/simulate"
	"floorwatch/internal/lab/score"
)

// noises are the levels of the simulator.
var noises = []string{"clean", "realistic", "harsh"}

// hallSeed is the seed of the plays that are told one by one.
const hallSeed = 1

// played is one play of a hall: the truth and the lines.
type played struct {
	hall, noise string
	scene       floorwatch.Scene
	lines       []floorwatch.Frame
	truth       simulate.Truth
	boxes       []score.Row // true ones, once a second
	duration    float64
}

// scoreEvery is how many frames apart tracks are scored: a second.
const scoreEvery = simulate.DefaultFPS

// playHall plays a hall. Everything is drawn from the seed. length 0 is the
// hall's own.
func playHall(name, noise string, seed uint64, length time.Duration, withBoxes bool) (*played, error) {
	hall, err := simulate.Load(name)
	if err != nil {
		return nil, err
	}
	level, err := simulate.Level(noise)
	if err != nil {
		return nil, err
	}
	p := simulate.New(hall, simulate.Options{Seed: seed, Noise: level, Length: length})
	out := &played{hall: name, noise: noise, scene: p.Scene()}
	for f, ok := p.Next(); ok; f, ok = p.Next() {
		out.lines = append(out.lines, f)
		if withBoxes && f.Event == "" && f.N%scoreEvery == 0 {
			out.boxes = append(out.boxes, trueBoxes(f, p.Boxes())...)
		}
	}
	out.truth = p.Truth()
	out.duration = seconds(out.lines[len(out.lines)-1].T, simulate.DefaultStart)
	return out, nil
}

// trueBoxes are the people in the picture, cut at its edge, of whom at least
// three tenths are in it.
func trueBoxes(f floorwatch.Frame, boxes []simulate.Box) (rows []score.Row) {
	for _, b := range boxes {
		x, y := max(b.X, 0), max(b.Y, 0)
		w, h := min(b.X+b.W, float64(f.W))-x, min(b.Y+b.H, float64(f.H))-y
		if w > 0 && h > 0 && w*h >= 0.3*b.W*b.H {
			rows = append(rows, score.Row{Frame: int(f.N), ID: int64(b.Person), X: x, Y: y, W: w, H: h, Conf: 1, Class: 1})
		}
	}
	return rows
}

// waits are the true waits that ended.
func (p *played) waits() (out []score.Wait) {
	for i := range p.truth.Waits {
		if w := &p.truth.Waits[i]; w.End != nil {
			out = append(out, waitOf(w, simulate.DefaultStart))
		}
	}
	return out
}

// visits are the true stays.
func (p *played) visits() (out []score.Visit) {
	for _, s := range p.truth.Stays {
		v := score.Visit{Zone: s.Zone, ID: s.ID, Enter: seconds(s.Enter, simulate.DefaultStart), Exit: math.Inf(1)}
		if s.Exit != nil {
			v.Exit = seconds(*s.Exit, simulate.DefaultStart)
		}
		out = append(out, v)
	}
	return out
}

// load is the class of a play: by the mean number of people who truly wait.
func (p *played) load() string {
	var sum float64
	for _, w := range p.truth.Waits {
		end := simulate.DefaultStart + floorwatch.Time(1000*p.duration)
		if w.End != nil {
			end = *w.End
		}
		sum += seconds(end, w.Enter)
	}
	return loadClass(1 + sum/p.duration)
}

// told is what one pipeline made of a play.
type told struct {
	pipeline string
	rows     []score.Row // tracks, once a second
	visits   []score.Visit
	waits    []score.Wait
	mean     waits.Mean // of all its queue zones together
	fps      float64
}

// measureBox runs the box's stages over lines with ids.
func (p *played) measureBox(pipeline string, lines []floorwatch.Frame, cpu float64) (told, error) {
	m, err := measure(p.scene, lines, simulate.DefaultStart, 0)
	if err != nil {
		return told{}, fmt.Errorf("hall %s: %w", p.hall, err)
	}
	return told{
		pipeline: pipeline, rows: onceASecond(rowsOf(lines)), visits: m.visits, waits: m.waits,
		mean: realisedMean(p.scene, m.records), fps: float64(frames(lines)) / (cpu + m.cpu),
	}, nil
}

func onceASecond(rows []score.Row) []score.Row {
	return slices.DeleteFunc(rows, func(r score.Row) bool { return r.Frame%scoreEvery != 0 })
}

// realisedMean is the product's estimate of the mean that people really waited,
// over all queues: each queue's weighs as many as its people.
func realisedMean(scene floorwatch.Scene, recs []floorwatch.Wait) (sum waits.Mean) {
	var total, variance float64
	for _, z := range scene.Zones {
		if z.Role != floorwatch.RoleQueue {
			continue
		}
		m := meanOf(z.Name, recs)
		if m.MeanS == nil {
			continue
		}
		n := float64(m.People)
		total, variance = total+n**m.MeanS, variance+n*n**m.ErrorS**m.ErrorS
		sum.People += m.People
	}
	if sum.People == 0 {
		return sum
	}
	mean, se := total/float64(sum.People), math.Sqrt(variance)/float64(sum.People)
	sum.MeanS, sum.ErrorS, sum.LowS, sum.HighS = &mean, &se, new(max(0, mean-z95*se)), new(mean+z95*se)
	return sum
}

// z95 is the 97.5 % point of the normal distribution.
const z95 = 1.959964

// meanOf is the product's estimate for the waits of one queue that ended.
func meanOf(zone string, recs []floorwatch.Wait) waits.Mean {
	var own []floorwatch.Wait
	for _, r := range recs {
		if r.Zone == zone {
			own = append(own, r)
		}
	}
	const ever = floorwatch.Time(1) << 50
	return waits.NewPeople(own, nil, ever).FinishedIn(waits.Window{To: ever})
}

// pipelines measures a play in all ways.
func (p *played) pipelines() ([]told, error) {
	ours, err := p.measureBox(productName, p.lines, 0)
	if err != nil {
		return nil, err
	}
	followed, cpu := follow(p.lines)
	own, err := p.measureBox(ownName, followed, cpu)
	if err != nil {
		return nil, err
	}
	tracks := naiveTracks(p.lines)
	visits := score.Naive{FPS: simulate.DefaultFPS, Bridge: 1, Min: 1}.Visits(tracks, scoreZones(p.scene))
	return []told{ours, own, {
		pipeline: naiveName, rows: onceASecond(tracks), visits: visits, waits: naiveWaits(visits, p.scene), fps: math.NaN(),
	}}, nil
}

func scoreZones(scene floorwatch.Scene) (out []score.Zone) {
	for _, z := range scene.Zones {
		out = append(out, score.Zone{ID: z.Name, Polygon: z.Polygon})
	}
	return out
}

// results scores what each pipeline made of the play.
func (p *played) results(all []told) (out []result) {
	visits, waits := p.visits(), p.waits()
	boxes := onceASecond(rowsOf(p.lines))
	for _, t := range all {
		b, tr := score.Detections(p.boxes, boxes, score.Options{}), score.Tracks(p.boxes, t.rows, score.Options{})
		r := result{
			Set: "halls", Case: p.hall, Load: loadAll, Detector: p.noise, Pipeline: t.pipeline, HallLoad: p.load(),
			FramesPerCoreS: number(t.fps), Boxes: boxFigures(b), Tracks: trackFigures(tr),
			Visits: visitFigures(score.Visits(visits, t.visits, score.Zones(visits), p.duration)),
		}
		rows := r.withWaits(waits, t.waits)
		rows[0].Waits.estimated(t.mean)
		out = append(out, rows...)
	}
	return out
}

// estimated fills in the product's estimate.
func (w *waitsOf) estimated(m waits.Mean) {
	if m.MeanS == nil {
		return
	}
	w.Estimate, w.EstimateLow, w.EstimateHigh = number(*m.MeanS), number(*m.LowS), number(*m.HighS)
	w.EstimateBias = w.Estimate/w.MeanTruth - 1
}

// hallPlay is a play with what was made of it.
type hallPlay struct {
	*played
	told    []told
	results []result
}

// runHalls plays every hall at every level of noise.
func (r *bench) runHalls(ctx context.Context, names []string) ([]result, error) {
	var jobs [][2]string
	for _, noise := range noises {
		for _, name := range names {
			jobs = append(jobs, [2]string{name, noise})
		}
	}
	plays, err := parallel(ctx, len(jobs), func(i int) (hallPlay, error) {
		p, err := playHall(jobs[i][0], jobs[i][1], hallSeed, 0, true)
		if err != nil {
			return hallPlay{}, err
		}
		all, err := p.pipelines()
		if err != nil {
			return hallPlay{}, err
		}
		done := hallPlay{played: p, told: all, results: p.results(all)}
		p.lines, p.boxes = nil, nil
		r.say("hall %s, %s: played", p.hall, p.noise)
		return done, nil
	})
	if err != nil {
		return nil, err
	}
	var out []result
	for _, p := range plays {
		out = append(out, p.results...)
	}
	for _, noise := range noises {
		for _, class := range append([]string{loadAll}, loads...) {
			out = append(out, pooled(plays, noise, class)...)
		}
	}
	return out, nil
}

// poolName names the halls of one class of load together.
const poolName = "all halls"

// pooled puts the halls of one class together, one after the other in time.
func pooled(plays []hallPlay, noise, class string) (out []result) {
	for k, pipeline := range []string{productName, ownName, naiveName} {
		var truth, got []score.Wait
		var later, people, estimate float64
		for _, p := range plays {
			if p.noise != noise || class != loadAll && p.load() != class {
				continue
			}
			truth = append(truth, moved(p.played.waits(), later)...)
			got = append(got, moved(p.told[k].waits, later)...)
			later += 2 * p.duration
			if m := p.told[k].mean; m.MeanS != nil {
				people, estimate = people+float64(m.People), estimate+float64(m.People)**m.MeanS
			}
		}
		if len(truth) == 0 {
			continue
		}
		w := waitFigures(score.Waits(truth, got))
		if people > 0 {
			w.Estimate = number(estimate / people)
			w.EstimateBias = w.Estimate/w.MeanTruth - 1
		}
		out = append(out, result{Set: "halls", Case: poolName, Load: class, Detector: noise, Pipeline: pipeline, Waits: w})
	}
	return out
}

// parallel does n jobs on all cores and returns what came of them, in order. The
// first error ends it.
func parallel[T any](ctx context.Context, n int, do func(i int) (T, error)) ([]T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, next := make([]T, n), make(chan int)
	var workers sync.WaitGroup
	for range min(n, runtime.NumCPU()) {
		workers.Go(func() {
			for i := range next {
				v, err := do(i)
				if err != nil {
					cancel(err)
					return
				}
				out[i] = v
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return out, context.Cause(ctx)
}

// coverage is how often the interval held the truth.
type coverage struct {
	Plays int `json:"plays"`
	Held  int `json:"held"`
	// Bias is the mean of the estimates over the mean of the truths, less 1; Width
	// the mean half width of the interval as a share of the mean.
	Bias  number `json:"bias"`
	Width number `json:"half_width"`
	Halls int    `json:"halls"`
}

// runSeeds plays harsh halls under many seeds, the halls in turn, and counts how
// often the product's interval holds the mean that people really waited.
func (r *bench) runSeeds(ctx context.Context, names []string, n int, length time.Duration) (*coverage, error) {
	type answer struct {
		truth float64
		mean  waits.Mean
	}
	var mu sync.Mutex
	finished := 0
	answers, err := parallel(ctx, n, func(i int) (answer, error) {
		p, err := playHall(names[i%len(names)], "harsh", uint64(1000+i), length, false)
		if err != nil {
			return answer{}, err
		}
		m, err := measure(p.scene, p.lines, simulate.DefaultStart, 0)
		if err != nil {
			return answer{}, err
		}
		mu.Lock()
		defer mu.Unlock()
		if finished++; finished%50 == 0 {
			r.say("harsh seeds: %d of %d", finished, n)
		}
		return answer{score.Waits(p.waits(), nil).MeanTruth, realisedMean(p.scene, m.records)}, nil
	})
	if err != nil {
		return nil, err
	}
	c := coverage{Plays: n, Halls: min(n, len(names))}
	var truth, estimate, width float64
	for _, a := range answers {
		if a.mean.MeanS == nil || math.IsNaN(a.truth) {
			continue
		}
		if *a.mean.LowS <= a.truth && a.truth <= *a.mean.HighS {
			c.Held++
		}
		truth, estimate = truth+a.truth, estimate+*a.mean.MeanS
		width += (*a.mean.HighS - *a.mean.LowS) / 2
	}
	c.Bias, c.Width = number(estimate/truth-1), number(width/estimate)
	return &c, nil
}
