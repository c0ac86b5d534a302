package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"floorwatch"
	"floorwatch/cloud/waits"
	"floorwatch/internal/lab/score"
)

// customer is a row of a queue log, in whole seconds of its session's day.
type customer struct {
	id, lane           int64 // lane counts from 1 in order of appearance
	arrive, start, end int64
	served             bool
}

func (c customer) wait() score.Wait {
	w := score.Wait{Enter: float64(c.arrive), End: float64(c.start), Outcome: floorwatch.OutcomeAbandoned}
	if c.served {
		w.Outcome = floorwatch.OutcomeServed
	}
	return w
}

// logStart is the second at which a session's day begins in the replay: nobody
// joins before the camera looks.
const logStart = 3600

// readLog reads the sessions of a queue log. Who hung up at once was never in any
// zone.
func readLog(r io.Reader) (map[string][]customer, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read queue log: %w", err)
	}
	sessions, lanes := map[string][]customer{}, map[string]int64{}
	for i, row := range rows {
		if i == 0 || len(row) < 7 {
			continue
		}
		if lanes[row[5]] == 0 {
			lanes[row[5]] = int64(len(lanes) + 1)
		}
		c := customer{id: int64(i), lane: lanes[row[5]], served: row[6] == "1"}
		for k, v := range []*int64{&c.arrive, &c.start, &c.end} {
			if *v, err = strconv.ParseInt(row[2+k], 10, 64); err != nil || *v < 0 || *v > 2*86400 {
				return nil, fmt.Errorf("read queue log: row %d: %.40q is no second of a day", i+1, row[2+k])
			}
			*v += logStart
		}
		if c.arrive > c.start || c.start > c.end {
			return nil, fmt.Errorf("read queue log: row %d goes back in time", i+1)
		}
		if c.served || c.start > c.arrive {
			sessions[row[0]] = append(sessions[row[0]], c)
		}
	}
	return sessions, nil
}

// The hall in which logs are played: people stand in a line, one beside the
// other, the head at the left. They come from the lower edge of the picture and,
// if they give up, go there; the counters are above, and behind them is the upper
// edge. Pixels; a person is bodyTall.
const (
	hallWide, hallTall = 4000.0, 260.0
	bodyTall, place    = 60.0, 30.0
	queueTop, queueEnd = 150.0, 250.0
	logFPS             = 2
)

func logScene() floorwatch.Scene {
	band := func(top, end float64) []floorwatch.Point {
		return []floorwatch.Point{{X: 50, Y: top}, {X: hallWide - 50, Y: top}, {X: hallWide - 50, Y: end}, {X: 50, Y: end}}
	}
	return floorwatch.Scene{
		Zones: []floorwatch.Zone{
			floorwatch.NewZone("line", floorwatch.RoleQueue, band(queueTop, queueEnd)...),
			floorwatch.NewZone("till", floorwatch.RoleService, band(70, queueTop)...),
		},
		Picture: floorwatch.Size{Width: hallWide, Height: hallTall},
	}
}

// logCases are the queue logs.
var logCases = []string{"wellington", "bank-feb-1999"}

// Kinds of replay, in the place of a detector.
const (
	replayStays  = "stays"
	replayLines  = "lines"
	replayBroken = "lines, 10 % broken"
)

// runLog measures the sessions of a queue log: replayed as stays, and as camera
// lines, whole and with one track in ten broken.
func (r *bench) runLog(ctx context.Context, log string) ([]result, error) {
	sessions, err := readFile(filepath.Join(r.data, "queues", log+".csv"), readLog)
	if err != nil {
		return nil, err
	}
	var all [3]logScore
	for _, session := range slices.Sorted(maps.Keys(sessions)) {
		people := sessions[session]
		stays, err := measureStays(people)
		if err != nil {
			return nil, err
		}
		all[0].add(people, stays, nil)
		for k, share := range []float64{0, 0.1} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			lines := playLog(people, share)
			m, err := measure(logScene(), lines, 0, window)
			if err != nil {
				return nil, err
			}
			all[1+k].add(people, m, naiveWaits(naiveLog(lines), logScene()))
		}
	}
	var out []result
	for k, kind := range []string{replayStays, replayLines, replayBroken} {
		out = append(out, all[k].results(log, kind)...)
	}
	return out, nil
}

// naiveLog makes plain stays of lines whose tracks are given.
func naiveLog(lines []floorwatch.Frame) []score.Visit {
	var zones []score.Zone
	for _, z := range logScene().Zones {
		zones = append(zones, score.Zone{ID: z.Name, Polygon: z.Polygon})
	}
	visits := score.Naive{FPS: logFPS, Bridge: 1, Min: 1}.Visits(rowsOf(lines), zones)
	began := seconds(lines[0].T, 0)
	for i := range visits {
		visits[i].Enter += began
		visits[i].Exit += began
	}
	return visits
}

const window = 5 * time.Minute

// logScore gathers sessions: each is moved to days of its own, so that windows of
// several do not fall together.
type logScore struct {
	truth, told, naive []score.Wait
	days, people       float64
	estimate           float64 // the realised mean, times people

	mean, realised, cross, law windowErrors
}

// windowErrors is how far an estimate of windows is off, over those in which at
// least three waits ended.
type windowErrors struct{ n, off, truth float64 }

func (e *windowErrors) add(told, truth float64) {
	e.n++
	e.off += math.Abs(told - truth)
	e.truth += truth
}

// share is the mean error as a share of the mean.
func (e windowErrors) share() float64 { return e.off / e.truth }

func (s *logScore) add(people []customer, m measured, naive []score.Wait) {
	var truth []score.Wait
	for _, c := range people {
		truth = append(truth, c.wait())
	}
	s.windows(truth, m)
	if mean := meanOf("line", m.records); mean.MeanS != nil {
		s.people += float64(mean.People)
		s.estimate += float64(mean.People) * *mean.MeanS
	}
	s.truth = append(s.truth, moved(truth, s.days)...)
	s.told = append(s.told, moved(m.waits, s.days)...)
	s.naive = append(s.naive, moved(naive, s.days)...)
	s.days += 3 * 86400
}

func moved(ws []score.Wait, by float64) []score.Wait {
	out := slices.Clone(ws)
	for i := range out {
		out[i].Enter += by
		out[i].End += by
	}
	return out
}

// windows compares four measurements of each window of five minutes with its
// truth: the plain mean of the waits that ended, the mean that people really had,
// the pairs of border crossings, and Little's law; the last two are of those who
// stood in the queue, who were served at once join them with 0 s.
func (s *logScore) windows(truth []score.Wait, m measured) {
	value := func(v *float64) float64 {
		if v == nil {
			return 0
		}
		return *v
	}
	for _, w := range score.Windows(truth, window.Seconds()) {
		if w.Ends < 3 {
			continue
		}
		from := floorwatch.Time(w.Start * 1000)
		span := waits.Window{From: from, To: from.Add(window)}
		near := m.around(span)
		s.mean.add(value(waits.Finish(near, span, nil).Waits.MeanS), w.Mean)
		s.realised.add(value(waits.NewPeople(near, nil, span.To.Add(time.Hour)).FinishedIn(span).MeanS), w.Mean)
		ivs := m.queue(span)
		little := waits.LittlesLaw(ivs, span, nil)
		var direct float64
		for _, iv := range ivs {
			direct += float64(iv.Direct)
		}
		diluted := func(v *float64, n int64) float64 { return value(v) * float64(n) / max(1, float64(n)+direct) }
		s.cross.add(diluted(little.CrossingS, little.Crossings), w.Mean)
		s.law.add(diluted(little.WaitS, little.Departed), w.Mean)
	}
}

// around returns the waits that had to do with w or the hour beside it.
func (m measured) around(w waits.Window) (out []floorwatch.Wait) {
	for _, r := range m.records {
		if *r.End >= w.From.Add(-time.Hour) && r.Enter < w.To.Add(time.Hour) {
			out = append(out, r)
		}
	}
	return out
}

// queue returns the intervals of the queue zone that start in w.
func (m measured) queue(w waits.Window) (out []floorwatch.Interval) {
	for _, iv := range m.intervals {
		if iv.Zone == "line" && iv.Start >= w.From && iv.Start < w.To {
			out = append(out, iv)
		}
	}
	return out
}

func (s *logScore) results(log, kind string) []result {
	ours := result{Set: "queue logs", Case: log, Load: loadAll, Detector: kind, Pipeline: productName}
	ours.Windows = &windowFigures{
		Windows: int(s.mean.n), Mean: number(s.mean.share()), Realised: number(s.realised.share()), Crossing: number(s.cross.share()), Little: number(s.law.share()),
	}
	naive := ours
	naive.Pipeline, naive.Windows = naiveName, s.naiveWindows()
	out := ours.withWaits(s.truth, s.told)
	out[0].Waits.Estimate = number(s.estimate / s.people)
	out[0].Waits.EstimateBias = out[0].Waits.Estimate/out[0].Waits.MeanTruth - 1
	if len(s.naive) == 0 {
		return out
	}
	return append(out, naive.withWaits(s.truth, s.naive)...)
}

// naiveWindows are the means of the naive waits that ended in each window.
func (s *logScore) naiveWindows() *windowFigures {
	var e windowErrors
	told := map[float64]float64{}
	for _, w := range score.Windows(s.naive, window.Seconds()) {
		told[w.Start] = w.Mean
	}
	for _, w := range score.Windows(s.truth, window.Seconds()) {
		if mean := told[w.Start]; w.Ends >= 3 && !math.IsNaN(mean) {
			e.add(mean, w.Mean)
		}
	}
	return &windowFigures{Windows: int(e.n), Mean: number(e.share()), Realised: number(math.NaN()), Crossing: number(math.NaN()), Little: number(math.NaN())}
}

// script is a source of stays: the records of a log, one with each line.
type script struct {
	recs []floorwatch.Record
	now  floorwatch.Time
}

// Feed gives the next record.
func (s *script) Feed(f floorwatch.Frame) (out []floorwatch.Record, err error) {
	if s.now = f.T; len(s.recs) > 0 {
		out, s.recs = s.recs[:1], s.recs[1:]
	}
	return out, nil
}

// Close has nothing left.
func (s *script) Close() []floorwatch.Record { return nil }

// Now is the latest line's time.
func (s *script) Now() floorwatch.Time { return s.now }

// measureStays replays a session as stays.
func measureStays(people []customer) (measured, error) {
	scene := logScene()
	recs := []floorwatch.Record{&floorwatch.Gap{
		Header: floorwatch.Header{Kind: floorwatch.KindGap, Camera: "camera", ID: "start", Rev: scene.Rev()},
		Of:     floorwatch.OfObservation, To: new(floorwatch.Time(0)),
	}}
	at := []floorwatch.Time{0}
	stay := func(zone string, c customer, from, to int64) {
		enter, exit := floorwatch.Time(from*1000), floorwatch.Time(to*1000)
		s := floorwatch.Stay{
			Header: floorwatch.Header{
				Kind: floorwatch.KindStay, Camera: "camera", Zone: zone, Rev: scene.Rev(),
				ID: fmt.Sprintf("%s-%d-%d", zone, enter, c.id), At: enter + 1000,
			},
			Enter: enter, EnterSeen: true, Tracks: []int64{c.id}, Person: c.id,
		}
		over := s
		over.Exit, over.ExitSeen, over.At, over.SeenS = &exit, true, exit+1001, float64(to-from)
		recs, at = append(recs, &s, &over), append(at, s.At, over.At)
	}
	for _, c := range people {
		if c.start > c.arrive {
			stay("line", c, c.arrive, c.start)
		}
		if c.served {
			stay("till", c, c.start, c.end)
		}
	}
	order := make([]int, len(recs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
	sorted, lines := make([]floorwatch.Record, len(recs)), make([]floorwatch.Frame, len(recs))
	for k, i := range order {
		sorted[k], lines[k] = recs[i], floorwatch.Frame{T: at[i]}
	}
	lines = append(lines, floorwatch.Frame{T: lines[len(lines)-1].T + 3600_000})
	return feed(&script{recs: sorted}, scene, lines, 0, window)
}

// body is where a customer of a log is.
type body struct {
	customer
	slot   float64 // place in the line, 0 is the head, -1 not yet in it
	breaks int64   // millisecond at which the track is lost; 0: never
	found  int64   // and at which another begins
}

// playLog plays a session as camera lines; share of the waits have their track
// broken once, at a time drawn evenly, for 1 to 5 s.
func playLog(people []customer, share float64) []floorwatch.Frame {
	rng := rand.New(rand.NewPCG(1, uint64(len(people))))
	var last int64
	todo := make([]*body, 0, len(people))
	for _, c := range people {
		b := &body{customer: c, slot: -1}
		if wait := 1000 * (c.start - c.arrive); wait > 0 && rng.Float64() < share {
			b.breaks = 1000*c.arrive + rng.Int64N(wait)
			b.found = b.breaks + 1000 + rng.Int64N(4000)
		}
		todo, last = append(todo, b), max(last, c.end)
	}
	slices.SortStableFunc(todo, func(a, b *body) int { return cmp.Compare(a.arrive, b.arrive) })
	var lines []floorwatch.Frame
	var here []*body
	const step = 1000 / logFPS
	// The camera looks on until the last window has settled.
	for t := 1000 * (todo[0].arrive - 2*around); t <= 1000*last+2*window.Milliseconds(); t += step {
		for len(todo) > 0 && 1000*(todo[0].arrive-around) <= t {
			here, todo = append(here, todo[0]), todo[1:]
		}
		here = slices.DeleteFunc(here, func(b *body) bool { return t > 1000*(b.end+around) })
		f := floorwatch.Frame{T: floorwatch.Time(t), N: int64(len(lines) + 1), W: hallWide, H: hallTall, People: []floorwatch.Person{}}
		ahead := 0.0
		for _, b := range here {
			if t >= 1000*b.arrive && t < 1000*b.start {
				b.moveUp(ahead, step)
				ahead++
			}
			if b.breaks == 0 || t < b.breaks || t >= b.found {
				f.People = append(f.People, b.at(t, ahead))
			}
		}
		lines = append(lines, f)
	}
	return lines
}

// around is how long people are seen before they come and after they go, seconds.
const around = 2

// moveUp walks on to the place behind those ahead, half a place a second.
func (b *body) moveUp(ahead, step float64) {
	if b.slot < 0 {
		b.slot = ahead
	}
	b.slot = max(ahead, b.slot-step/2000)
}

// at is where somebody stands at t milliseconds; the tail of the line is where
// those stand who are about to join it. A counter is left to the right; who is
// served at once comes to it from the left.
func (b *body) at(t int64, tail float64) floorwatch.Person {
	const below, waiting, counter, above, aside = hallTall, (queueTop + queueEnd) / 2, 110, bodyTall, 40
	id, x, y, desk := b.id, 200+place*b.slot, 0.0, 200+120*float64(b.lane)
	if b.slot < 0 {
		x = 200 + place*tail
	}
	switch served := b.served && t >= 1000*b.start; {
	case served && t < 1000*b.end:
		x, y = desk, counter
	case served:
		x, y = desk+aside, above
	case b.start == b.arrive:
		x, y = desk-aside, above
	case t >= 1000*b.arrive && t < 1000*b.start:
		y = waiting
	default:
		y = below
	}
	if b.breaks > 0 && t >= b.breaks {
		id += 1_000_000
	}
	return floorwatch.Person{ID: id, X: x - 10, Y: y - bodyTall, W: 20, H: bodyTall, Score: 0.9}
}
