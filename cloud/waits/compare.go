package waits

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"floorwatch"
)

// Block is the length of the pieces of a window that are drawn again whole. Who
// queue together wait alike, so waits within half an hour are no independent
// witnesses; half hours nearly are.
const Block = 30 * time.Minute

// minBlocks is the fewest blocks of a window that say how much it varies.
const minBlocks = 4

// draws is how often each window is drawn again.
const draws = 400

// Comparison is how far the waits that ended in two windows are apart, B less A.
// Its intervals hold, in 95 of 100 cases, the difference between two kinds of day
// of which these two are examples; 0 outside an interval is a difference that
// does not come from chance alone.
type Comparison struct {
	BlockS float64    `json:"block_s"`
	A      Compared   `json:"a"`
	B      Compared   `json:"b"`
	Mean   Difference `json:"mean"`
	Median Difference `json:"median"`
	P90    Difference `json:"p90"`
}

// Compared is one side of a comparison.
type Compared struct {
	Window
	Blocks  int      `json:"blocks"` // of 30 minutes
	N       int      `json:"n"`
	MeanS   *float64 `json:"mean_s"`
	MedianS *float64 `json:"median_s"`
	P90S    *float64 `json:"p90_s"`
}

// Difference is B less A in seconds. Low and high are nil where a window is
// shorter than four blocks or nobody waited.
type Difference struct {
	ByS   *float64 `json:"by_s"`
	LowS  *float64 `json:"low_s"`
	HighS *float64 `json:"high_s"`
	// Clear: the interval leaves out 0.
	Clear bool `json:"clear"`
}

// Compare compares the waits of a and b, each with a seen beginning and a known
// end, direct ones among them.
//
// The error of each side comes from drawing its window again, draws times: blocks
// that may begin anywhere in the window, which closes on itself, until it is full
// (circular block bootstrap; Politis and Romano 1992). Both errors, each larger by
// sqrt(k/(k-1)) for k blocks, add up in squares; the interval takes Student's t
// with the degrees of freedom of Welch and Satterthwaite. The same records give
// the same answer.
func Compare(a []floorwatch.Wait, wa Window, b []floorwatch.Wait, wb Window) Comparison {
	one, two := newResample(a, wa), newResample(b, wb)
	c := Comparison{BlockS: Block.Seconds(), A: one.describe(), B: two.describe()}
	ea, eb := one.errors(), two.errors()
	for i, d := range []*Difference{&c.Mean, &c.Median, &c.P90} {
		d.fill(one.figures(one.ranks), two.figures(two.ranks), ea, eb, i)
	}
	return c
}

func (d *Difference) fill(a, b figures, ea, eb []figure, i int) {
	if a == nil || b == nil {
		return
	}
	by := b[i] - a[i]
	d.ByS = &by
	if ea == nil || eb == nil {
		return
	}
	va, vb := ea[i].variance, eb[i].variance
	low, high := by, by
	if va+vb > 0 {
		freedom := (va + vb) * (va + vb) / (va*va/ea[i].freedom + vb*vb/eb[i].freedom)
		width := student95(freedom) * math.Sqrt(va+vb)
		low, high = by-width, by+width
	}
	d.LowS, d.HighS, d.Clear = &low, &high, low > 0 || high < 0
}

// student95 is the 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5),
// within 0.5 % from 3 degrees of freedom on.
func student95(freedom float64) float64 {
	z, n := z95, freedom
	z3, z5, z7 := z*z*z, math.Pow(z, 5), math.Pow(z, 7)
	return z + (z3+z)/(4*n) + (5*z5+16*z3+3*z)/(96*n*n) + (3*z7+19*z5+17*z3-15*z)/(384*n*n*n)
}

// figures are mean, median and p90 in seconds; nil of nobody.
type figures []float64

// figure is the error of one of them.
type figure struct{ variance, freedom float64 }

// resample is a window that can be drawn again.
type resample struct {
	w      Window
	at     []floorwatch.Time // of the ends, in order
	ranks  []int             // of the waits, in the same order: places in sorted
	sorted []floorwatch.Time // waits in ms
	times  []int             // how often each place was drawn
	rng    *rand.Rand
}

func newResample(recs []floorwatch.Wait, w Window) *resample {
	r := &resample{w: w, rng: rand.New(rand.NewPCG(1, 2))}
	var in []floorwatch.Wait
	for _, x := range recs {
		if x.End != nil && w.holds(*x.End) && x.EnterSeen && x.Outcome != floorwatch.OutcomeUnknown {
			in = append(in, x)
		}
	}
	length := func(x floorwatch.Wait) floorwatch.Time { return *x.End - x.Enter }
	slices.SortFunc(in, func(a, b floorwatch.Wait) int {
		return cmp.Or(cmp.Compare(*a.End, *b.End), cmp.Compare(length(a), length(b)))
	})
	order := make([]int, len(in))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(length(in[i]), length(in[j])) })
	r.ranks, r.times = make([]int, len(in)), make([]int, len(in))
	for rank, i := range order {
		r.ranks[i] = rank
		r.sorted = append(r.sorted, length(in[i]))
	}
	for _, x := range in {
		r.at = append(r.at, *x.End)
	}
	return r
}

func (r *resample) blocks() int {
	return int((r.w.To - r.w.From) / floorwatch.Time(Block.Milliseconds()))
}

func (r *resample) describe() Compared {
	c := Compared{Window: r.w, Blocks: r.blocks(), N: len(r.at)}
	if f := r.figures(r.ranks); f != nil {
		c.MeanS, c.MedianS, c.P90S = &f[0], &f[1], &f[2]
	}
	return c
}

// figures describes the waits of some places.
func (r *resample) figures(ranks []int) figures {
	if len(ranks) == 0 {
		return nil
	}
	clear(r.times)
	var sum floorwatch.Time
	for _, k := range ranks {
		r.times[k]++
		sum += r.sorted[k]
	}
	out := figures{float64(sum) / 1000 / float64(len(ranks)), 0, 0}
	seen := 0
	need := [2]int{nearestRank(len(ranks), 0.5), nearestRank(len(ranks), 0.9)}
	for k, n := range r.times {
		for i := range need {
			if seen < need[i] && need[i] <= seen+n {
				out[1+i] = float64(r.sorted[k]) / 1000
			}
		}
		seen += n
	}
	return out
}

// errors draws the window again and returns the error of each figure; nil where
// too little is known.
func (r *resample) errors() []figure {
	k := r.blocks()
	if k < minBlocks || len(r.at) < 2 {
		return nil
	}
	var n float64
	var mean, square [3]float64
	drawn := make([]int, 0, 2*len(r.at))
	for range draws {
		if drawn = r.draw(drawn[:0], k); len(drawn) == 0 {
			continue
		}
		n++
		for i, v := range r.figures(drawn) {
			delta := v - mean[i] // Welford
			mean[i] += delta / n
			square[i] += delta * (v - mean[i])
		}
	}
	out := make([]figure, 3)
	for i := range out {
		out[i] = figure{square[i] / max(n-1, 1) * float64(k) / float64(k-1), float64(k - 1)}
	}
	return out
}

// draw appends the places of k blocks that begin anywhere.
func (r *resample) draw(to []int, k int) []int {
	span := r.w.To - r.w.From
	block := span / floorwatch.Time(k) // the window in k equal blocks, Block or a little more
	for range k {
		from := r.w.From + floorwatch.Time(r.rng.Int64N(int64(span)))
		to = r.between(to, from, from+block)
		to = r.between(to, from-span, from-span+block)
	}
	return to
}

func (r *resample) between(to []int, from, until floorwatch.Time) []int {
	i, _ := slices.BinarySearch(r.at, from)
	j, _ := slices.BinarySearch(r.at, until)
	return append(to, r.ranks[i:j]...)
}
