package score

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"

	"floorwatch"
	"floorwatch/internal/assign"
)

// Visit is one person in one zone, [Enter, Exit) in seconds. An Exit of +Inf
// means still inside at the end.
type Visit struct {
	Zone, ID    string
	Enter, Exit float64
}

// Dwell is the visit's length in seconds.
func (v Visit) Dwell() float64 { return v.Exit - v.Enter }

// ReadVisits reads visits as CSV with the header zone,id,enter_s,exit_s; lines
// with # are passed over, an empty exit_s is +Inf.
func ReadVisits(r io.Reader) ([]Visit, error) {
	c := csv.NewReader(r)
	c.Comment, c.FieldsPerRecord = '#', 4
	rows, err := c.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read visits: %w", err)
	}
	if len(rows) == 0 || !slices.Equal(rows[0], []string{"zone", "id", "enter_s", "exit_s"}) {
		return nil, fmt.Errorf("read visits: the first line is not zone,id,enter_s,exit_s")
	}
	var out []Visit
	for i, row := range rows[1:] {
		v := Visit{Zone: row[0], ID: row[1], Exit: math.Inf(1)}
		if v.Enter, err = strconv.ParseFloat(row[2], 64); err == nil && row[3] != "" {
			v.Exit, err = strconv.ParseFloat(row[3], 64)
		}
		if err == nil && !(v.Enter <= v.Exit) {
			err = fmt.Errorf("it ends before it begins")
		}
		if err != nil {
			return nil, fmt.Errorf("read visit %d: %w", i+1, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// Zone is a polygon in pixels.
type Zone struct {
	ID      string
	Polygon []floorwatch.Point
}

// holds tells by the even-odd rule whether a point is inside.
func (z Zone) holds(p floorwatch.Point) bool {
	in := false
	for i, a := range z.Polygon {
		b := z.Polygon[(i+len(z.Polygon)-1)%len(z.Polygon)]
		if (a.Y > p.Y) != (b.Y > p.Y) && p.X < (b.X-a.X)*(p.Y-a.Y)/(b.Y-a.Y)+a.X {
			in = !in
		}
	}
	return in
}

// Naive are the plain rules by which a track's frames in a zone become visits:
// the ones that truth is made with, and that a plain pipeline would use.
type Naive struct {
	FPS    float64
	Bridge float64 // seconds; a shorter break joins two
	Min    float64 // seconds; a shorter visit is none
}

// Visits applies them to tracks. Frame k covers [(k-1)/FPS, k/FPS).
func (n Naive) Visits(tracks []Row, zones []Zone) []Visit {
	type key struct {
		zone string
		id   int64
	}
	frames := map[key][]int{}
	for _, r := range tracks {
		for _, z := range zones {
			if z.holds(floorwatch.Person{X: r.X, Y: r.Y, W: r.W, H: r.H}.Ground()) {
				k := key{z.ID, r.ID}
				frames[k] = append(frames[k], r.Frame)
			}
		}
	}
	var out []Visit
	for k, seen := range frames {
		for _, run := range n.runs(seen) {
			v := Visit{k.zone, strconv.FormatInt(k.id, 10), thousandths(float64(run[0]-1) / n.FPS), thousandths(float64(run[1]) / n.FPS)}
			if v.Dwell() >= n.Min-1e-9 {
				out = append(out, v)
			}
		}
	}
	slices.SortFunc(out, func(a, b Visit) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Enter, b.Enter), cmp.Compare(a.Exit, b.Exit), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// runs splits frame numbers at the breaks that are not bridged.
func (n Naive) runs(frames []int) (runs [][2]int) {
	slices.Sort(frames)
	for _, f := range frames {
		last := len(runs) - 1
		if last < 0 || float64(f-runs[last][1]-1)/n.FPS >= n.Bridge {
			runs = append(runs, [2]int{f, f})
			continue
		}
		runs[last][1] = f
	}
	return runs
}

func thousandths(v float64) float64 { return math.Round(v*1000) / 1000 }

// Dwell is how visits compare with the truth. Figures that nothing is known of
// are NaN; times are in seconds.
type Dwell struct {
	Truth, Got, Matched int // visits
	// OccupancyMAE is the mean of |heads told - heads|, sampled once a second;
	// OccupancyBias without the absolute value.
	OccupancyMAE, OccupancyBias, OccupancyTruth float64
	Recall, Precision                           float64 // of visits: matched over Truth, over Got
	MAE                                         float64 // of the dwell of matched visits
	MeanTruth, MeanGot                          float64 // of all visits, matched or not
	Bias                                        float64 // MeanGot / MeanTruth - 1
	MedianTruth, MedianGot, P90Truth, P90Got    float64
	Net                                         float64 // person-seconds told too many (too few: negative)
	Absolute                                    float64 // person-seconds told wrong: too long, too short, missed and made up
}

// tIoU is the overlap in time from which two visits are the same.
const tIoU = 0.5

// Visits compares visits with the truth: pairs in time, zone by zone, whatever
// their ids. Open visits end at duration, in seconds.
func Visits(truth, got []Visit, zones []string, duration float64) Dwell {
	truth, got = closed(truth, zones, duration), closed(got, zones, duration)
	d := Dwell{Truth: len(truth), Got: len(got)}
	var errs, heads, wrong []float64
	for _, z := range zones {
		t, g := inZone(truth, z), inZone(got, z)
		pairs := pair(t, g, tIoU)
		for i, j := range pairs {
			if j >= 0 {
				wrong = append(wrong, math.Abs(g[j].Dwell()-t[i].Dwell()))
			}
		}
		d.Absolute += unmatched(t, g, pairs)
		a, b := occupancy(t, duration), occupancy(g, duration)
		for k := range a {
			heads, errs = append(heads, a[k]), append(errs, b[k]-a[k])
		}
	}
	d.Matched = len(wrong)
	d.Recall, d.Precision = ratio(float64(d.Matched), float64(d.Truth)), ratio(float64(d.Matched), float64(d.Got))
	d.MAE = Mean(wrong)
	d.Absolute += total(wrong)
	d.OccupancyBias, d.OccupancyTruth = Mean(errs), Mean(heads)
	for i := range errs {
		errs[i] = math.Abs(errs[i])
	}
	d.OccupancyMAE = Mean(errs)
	d.lengths(truth, got)
	return d
}

// lengths fills in the figures over all visits.
func (d *Dwell) lengths(truth, got []Visit) {
	t, g := dwells(truth), dwells(got)
	d.MeanTruth, d.MeanGot = Mean(t), Mean(g)
	d.Bias = d.MeanGot/d.MeanTruth - 1
	d.MedianTruth, d.MedianGot = Percentile(t, 50), Percentile(g, 50)
	d.P90Truth, d.P90Got = Percentile(t, 90), Percentile(g, 90)
	d.Net = total(g) - total(t)
}

// closed keeps the visits of the zones and ends those that are open.
func closed(visits []Visit, zones []string, duration float64) (out []Visit) {
	for _, v := range visits {
		if slices.Contains(zones, v.Zone) {
			if math.IsInf(v.Exit, 1) {
				v.Exit = duration
			}
			out = append(out, v)
		}
	}
	return out
}

func inZone(visits []Visit, zone string) (out []Visit) {
	for _, v := range visits {
		if v.Zone == zone {
			out = append(out, v)
		}
	}
	return out
}

func dwells(visits []Visit) (out []float64) {
	for _, v := range visits {
		out = append(out, v.Dwell())
	}
	return out
}

// Zones names the zones of visits, sorted.
func Zones(visits []Visit) []string {
	names := map[string]bool{}
	for _, v := range visits {
		names[v.Zone] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// pair gives each true visit the one told that shares most of its time, at best
// total, and returns its place, or -1. Spans of time that no visit crosses are
// paired apart: the effort grows with the busiest of them.
func pair(truth, got []Visit, least float64) []int {
	match := make([]int, len(truth))
	for i := range match {
		match[i] = -1
	}
	for _, s := range spans(truth, got) {
		for i, j := range assign.Heaviest(len(s.truth), len(s.got), func(i, j int) float64 { return shared(truth[s.truth[i]], got[s.got[j]], least) }) {
			if j >= 0 {
				match[s.truth[i]] = s.got[j]
			}
		}
	}
	return match
}

// shared is the time of both over the time of either, 0 below least.
func shared(a, b Visit, least float64) float64 {
	both := min(a.Exit, b.Exit) - max(a.Enter, b.Enter)
	if both <= 0 {
		return 0
	}
	return above(both/(max(a.Exit, b.Exit)-min(a.Enter, b.Enter)), least)
}

// together are the visits of a span of time, by their places.
type together struct{ truth, got []int }

// spans cuts time where nobody is inside.
func spans(truth, got []Visit) (out []together) {
	type one struct {
		Visit
		place int
		told  bool
	}
	all := make([]one, 0, len(truth)+len(got))
	for i, v := range truth {
		all = append(all, one{v, i, false})
	}
	for i, v := range got {
		all = append(all, one{v, i, true})
	}
	slices.SortStableFunc(all, func(a, b one) int { return cmp.Compare(a.Enter, b.Enter) })
	until := math.Inf(-1)
	for _, v := range all {
		if len(out) == 0 || v.Enter >= until {
			out = append(out, together{})
		}
		until = max(until, v.Exit)
		s := &out[len(out)-1]
		if v.told {
			s.got = append(s.got, v.place)
		} else {
			s.truth = append(s.truth, v.place)
		}
	}
	return out
}

// unmatched is the length of all visits that were missed or made up.
func unmatched(truth, got []Visit, pairs []int) (sum float64) {
	used := make([]bool, len(got))
	for i, j := range pairs {
		if j >= 0 {
			used[j] = true
			continue
		}
		sum += truth[i].Dwell()
	}
	for j, v := range got {
		if !used[j] {
			sum += v.Dwell()
		}
	}
	return sum
}

// occupancy counts heads at 0, 1, 2 ... s, up to before duration.
func occupancy(visits []Visit, duration float64) []float64 {
	heads := make([]float64, max(0, int(duration+epsilon)))
	for _, v := range visits {
		for k := max(0, int(math.Ceil(v.Enter))); k < len(heads) && float64(k) < v.Exit; k++ {
			heads[k]++
		}
	}
	return heads
}

// Mean returns the mean, NaN of nothing.
func Mean(v []float64) float64 { return total(v) / float64(len(v)) }

func total(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum
}

// Percentile returns the value below which p percent lie, between two values by
// straight line (numpy's default; Hyndman and Fan 1996, definition 7); NaN of
// nothing.
func Percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(v))
	at := float64(len(v)-1) * p / 100
	k := min(int(at), len(v)-1)
	next := min(k+1, len(v)-1)
	return sorted[k] + (at-float64(k))*(sorted[next]-sorted[k])
}
