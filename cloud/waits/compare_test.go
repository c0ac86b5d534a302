package waits_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"floorwatch"
	"floorwatch/cloud/waits"
)

// hang draws eight hours of waits that hang together: the level of the log of the
// wait is an Ornstein-Uhlenbeck process with a memory of five minutes, two waits.
func hang(rng *rand.Rand) (recs []floorwatch.Wait) {
	level := rng.NormFloat64()
	for at := 0.0; at < 8*3600; {
		step := rng.ExpFloat64() * 120
		at += step
		keep := math.Exp(-step / 300)
		level = keep*level + math.Sqrt(1-keep*keep)*rng.NormFloat64()
		length := math.Exp(5 + 0.5*level + 0.25*rng.NormFloat64())
		if at < 8*3600 {
			recs = append(recs, wait(at-length, at, served))
		}
	}
	return recs
}

var shift = waits.Window{To: sec(8 * 3600)}

// naive is the interval of those who take every wait for a witness of its own.
func naive(a, b []floorwatch.Wait) (low, high float64) {
	moments := func(recs []floorwatch.Wait) (mean, variance float64) {
		for _, r := range recs {
			mean += floorwatch.Seconds(r.End.Sub(r.Enter)) / float64(len(recs))
		}
		for _, r := range recs {
			d := floorwatch.Seconds(r.End.Sub(r.Enter)) - mean
			variance += d * d / float64(len(recs)-1)
		}
		return mean, variance / float64(len(recs))
	}
	ma, va := moments(a)
	mb, vb := moments(b)
	return mb - ma - 1.96*math.Sqrt(va+vb), mb - ma + 1.96*math.Sqrt(va+vb)
}

// TestComparisonUnderDependence: with waits that hang together over a sixth of a
// block, between two days of the same kind the interval
// holds 0 nearly as often as it says (94 of 100; 90 with twice the memory); the naive one in 61.
func TestComparisonUnderDependence(t *testing.T) {
	t.Parallel()
	const pairs = 200
	var mean, median, p90, plain int
	for seed := range uint64(pairs) {
		rng := rand.New(rand.NewPCG(seed, 11))
		a, b := hang(rng), hang(rng)
		c := waits.Compare(a, shift, b, shift)
		for count, d := range map[*int]waits.Difference{&mean: c.Mean, &median: c.Median, &p90: c.P90} {
			if !d.Clear {
				*count++
			}
		}
		if low, high := naive(a, b); low <= 0 && high >= 0 {
			plain++
		}
	}
	t.Logf("of %d: mean %d, median %d, p90 %d, naive mean %d", pairs, mean, median, p90, plain)
	if min(mean, median, p90) < 0.92*pairs || plain > 0.7*pairs {
		t.Errorf("of %d: mean %d, median %d, p90 %d, naive mean %d", pairs, mean, median, p90, plain)
	}
}

func TestCompare(t *testing.T) {
	a := hang(rand.New(rand.NewPCG(1, 1)))
	var b []floorwatch.Wait
	for _, r := range a {
		b = append(b, wait(float64(r.Enter)/1000-600, float64(*r.End)/1000, served))
	}
	unseen, gone := wait(0, 3000, served), wait(0, 3000, unknown)
	unseen.EnterSeen = false
	c := waits.Compare(a, shift, append(b, unseen, gone, wait(0, 9*3600, served)), shift)
	if c.A.N != len(a) || c.B.N != len(a) || c.A.Blocks != 16 || !c.Mean.Clear || !c.Median.Clear || !c.P90.Clear {
		t.Fatalf("%+v", c)
	}
	near(t, "mean", *c.Mean.ByS, 600, 2)
	near(t, "median", *c.Median.ByS, 600, 2)
	near(t, "p90", *c.P90.ByS, 600, 2)
	if *c.Mean.LowS > 600 || *c.Mean.HighS < 600 {
		t.Errorf("%v to %v", *c.Mean.LowS, *c.Mean.HighS)
	}
	f := waits.Finish(a, shift, nil).Waits
	equal(t, "median of one", c.A.MedianS, *f.MedianS)
	equal(t, "p90 of one", c.A.P90S, *f.P90S)
	if again := waits.Compare(a, shift, append(b, unseen, gone), shift); !reflect.DeepEqual(again, c) {
		t.Error("the same records gave another answer")
	}
	short := waits.Compare(a, waits.Window{To: sec(3600)}, b, shift)
	if short.Mean.ByS == nil || short.Mean.LowS != nil || short.Mean.Clear {
		t.Errorf("%+v out of two blocks", short.Mean)
	}
	if nobody := waits.Compare(nil, shift, b, shift); nobody.Mean.ByS != nil || nobody.A.MeanS != nil {
		t.Errorf("%+v of nobody", nobody)
	}
}
