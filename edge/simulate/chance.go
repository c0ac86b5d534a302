package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
)

// stream returns one of the independent random streams of a seed.
func stream(seed uint64, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

// sample draws a duration in seconds.
func (s Spread) sample(r *rand.Rand) float64 {
	mean, sd := s.Mean.Seconds(), s.SD.Seconds()
	switch s.Kind {
	case exponential:
		return mean * r.ExpFloat64()
	case gamma:
		shape := mean * mean / (sd * sd)
		return gammaSample(r, shape) * mean / shape
	case lognormal:
		v := math.Log(1 + sd*sd/(mean*mean)) // variance of the logarithm
		return mean * math.Exp(math.Sqrt(v)*r.NormFloat64()-v/2)
	}
	return mean
}

// gammaSample draws from the gamma distribution of scale 1 (Marsaglia and Tsang,
// A simple method for generating gamma variables, 2000).
func gammaSample(r *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gammaSample(r, shape+1) * math.Pow(r.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if math.Log(1-r.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// clock tells when the people of one Arrivals come.
type clock struct {
	Arrivals
	rand *rand.Rand
	left float64   // expected arrivals until the next one
	next float64   // seconds: the next burst
	come []float64 // seconds: arrivals of bursts, in order
}

func newClock(a Arrivals, r *rand.Rand) *clock {
	c := &clock{Arrivals: a, rand: r, left: r.ExpFloat64()}
	c.next = a.Bursts.Every.Seconds() * r.ExpFloat64()
	return c
}

// arrivals returns the sizes of the groups that come in (t - dt, t].
func (c *clock) arrivals(t, dt float64) []int {
	var out []int
	for c.left -= c.PerHour / 3600 * c.factor(t) * dt; c.left <= 0; c.left += c.rand.ExpFloat64() {
		out = append(out, c.size())
	}
	if c.Bursts.Every > 0 && t >= c.next {
		c.burst()
	}
	for len(c.come) > 0 && c.come[0] <= t {
		c.come = c.come[1:]
		out = append(out, c.size())
	}
	return out
}

func (c *clock) burst() {
	for range c.Bursts.People {
		c.come = append(c.come, c.next+c.Bursts.Over.Seconds()*c.rand.Float64())
	}
	slices.Sort(c.come)
	c.next += max(1, c.Bursts.Every.Seconds()*c.rand.ExpFloat64())
}

func (c *clock) factor(t float64) float64 {
	f := 1.0
	for _, l := range c.Profile {
		if t < l.From.Seconds() {
			break
		}
		f = l.Factor
	}
	return f
}

func (c *clock) size() int {
	if c.Groups.Share > 0 && c.rand.Float64() < c.Groups.Share {
		return 2 + c.rand.IntN(c.Groups.Size-1)
	}
	return 1
}
