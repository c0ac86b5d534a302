package waits

import (
	"cmp"
	"math"
	"slices"

	"floorwatch"
)

// Began is the cohort of those who joined in a window. Who still waits, or was
// lost in the queue, has waited at least so long: right-censored. Their weight
// goes to those who waited longer (Kaplan and Meier 1958), so that a figure of
// the last minutes is not made of short waits only.
type Began struct {
	Cohort  string   `json:"cohort"`
	TargetS *float64 `json:"target_s"` // as of Finished, of the window up to AsOf
	N       int      `json:"n"`        // who joined, Direct among them
	Ended   int      `json:"ended"`    // of N
	Running int      `json:"running"`  // of N, at AsOf
	Unknown int      `json:"unknown"`  // of N: lost in the queue
	Direct  int      `json:"direct"`   // of N
	// RestrictedMeanS is the area under the curve up to RestrictedToS, the longest
	// observation. LastCensored: that one did not end, so the true mean is higher.
	RestrictedMeanS *float64 `json:"restricted_mean_s"`
	RestrictedToS   *float64 `json:"restricted_to_s"`
	// RestrictedErrorS and the intervals below say how far another window of the
	// same kind could have given other figures.
	RestrictedErrorS *float64  `json:"restricted_mean_error_s"`
	LastCensored     bool      `json:"last_censored"`
	MedianS          *float64  `json:"median_s"` // nil: the curve does not fall so far
	P90S             *float64  `json:"p90_s"`
	OverShare        *float64  `json:"over_target_share"` // of the curve at the target
	OverInterval     *Interval `json:"over_target_interval"`
	// Outcomes is the share of each until RestrictedToS (Aalen and Johansen 1978):
	// what is missing to 1 had not ended then.
	Outcomes         map[string]float64   `json:"outcomes"`
	OutcomeIntervals map[string]*Interval `json:"outcome_intervals"`
	AsOf             floorwatch.Time      `json:"as_of"`
}

// Observation is one wait as survival analysis sees it: its length in
// milliseconds, and how it ended; censored when Outcome is "".
type Observation struct {
	Length  floorwatch.Time
	Outcome string
}

// Begin describes those who joined in w, as known at asOf: waits that ended
// before it, and the beginnings (see Open) of those that still run. What ended
// later still ran at asOf.
func Begin(recs []floorwatch.Wait, open []floorwatch.Time, w Window, asOf floorwatch.Time, targets Targets) Began {
	b := Began{Cohort: CohortBegan, TargetS: targets.Of(Window{w.From, max(w.To, asOf)}), AsOf: asOf}
	var obs []Observation
	for i := range recs {
		r := &recs[i]
		if !r.EnterSeen || r.End == nil || !w.holds(r.Enter) || r.Enter >= asOf {
			continue
		}
		if r.Direct {
			b.Direct++
		}
		obs = append(obs, b.observe(r, asOf))
	}
	for _, enter := range open {
		if w.holds(enter) && enter < asOf {
			b.Running++
			obs = append(obs, Observation{Length: asOf - enter})
		}
	}
	b.N = len(obs)
	b.fill(NewCurve(obs))
	return b
}

// observe counts one wait and returns what is known of it at asOf.
func (b *Began) observe(r *floorwatch.Wait, asOf floorwatch.Time) Observation {
	switch {
	case *r.End >= asOf && !r.Direct:
		b.Running++
		return Observation{Length: asOf - r.Enter}
	case r.Outcome == floorwatch.OutcomeUnknown:
		b.Unknown++
		return Observation{Length: *r.End - r.Enter}
	}
	b.Ended++
	return Observation{*r.End - r.Enter, r.Outcome}
}

func (b *Began) fill(c Curve) {
	if b.N == 0 {
		return
	}
	mean := c.RestrictedMean(c.Last)
	b.RestrictedMeanS, b.RestrictedToS, b.LastCensored = &mean, seconds(c.Last), c.LastCensored
	b.MedianS, b.P90S = c.Quantile(0.5), c.Quantile(0.9)
	if b.TargetS != nil {
		if target := floorwatch.Time(*b.TargetS * 1000); target < c.Last || !c.LastCensored {
			b.OverShare, b.OverInterval = new(c.At(target)), c.Interval(target)
		}
	}
	b.RestrictedErrorS = new(c.RestrictedMeanError(c.Last))
	b.Outcomes, b.OutcomeIntervals = c.Outcomes, map[string]*Interval{}
	for k, share := range c.Outcomes {
		b.OutcomeIntervals[k] = logLog(share, c.IncidenceError(k, c.Last))
	}
}

// Curve is a Kaplan-Meier estimate: S(t), the share that waits longer than t,
// falls at Times[i] to S[i] and is flat between.
type Curve struct {
	Times        []floorwatch.Time
	S            []float64
	ErrorS       []float64          // standard error of S[i] (Greenwood 1926); 0 once S is 0
	Last         floorwatch.Time    // the longest observation
	LastCensored bool               // it did not end
	Outcomes     map[string]float64 // cumulative incidence at Last, by outcome
	falls        []fall             // one for each of Times
}

// fall is one moment at which waits ended.
type fall struct {
	atRisk, ends float64
	before       float64            // S before it
	by           map[string]float64 // ends by outcome
}

// hazardVar is d/(n(n-d)), the term of Greenwood's sum; the last fall to 0 has
// none.
func (f fall) hazardVar() float64 {
	if f.ends >= f.atRisk {
		return 0
	}
	return f.ends / (f.atRisk * (f.atRisk - f.ends))
}

// NewCurve estimates S by the product over the moments at which waits ended,
// S(t) = prod (1 - d/n) with d ends among n at risk, and the incidence of each
// outcome as sum S(t-) d_k/n. The variance of S is S² sum d/(n(n-d)). Where an
// end and a censoring coincide the end comes first: who was lost at t was still
// at risk at t. It sorts obs.
func NewCurve(obs []Observation) Curve {
	slices.SortFunc(obs, func(a, b Observation) int { return cmp.Compare(a.Length, b.Length) })
	c := Curve{Outcomes: map[string]float64{}}
	s, greenwood := 1.0, 0.0
	for i := 0; i < len(obs); {
		t, censored := obs[i].Length, 0
		f := fall{atRisk: float64(len(obs) - i), before: s, by: map[string]float64{}}
		for ; i < len(obs) && obs[i].Length == t; i++ {
			if obs[i].Outcome == "" {
				censored++
				continue
			}
			f.by[obs[i].Outcome]++
			f.ends++
		}
		c.Last, c.LastCensored = t, censored > 0
		if f.ends == 0 {
			continue
		}
		for k, n := range f.by {
			c.Outcomes[k] += s * n / f.atRisk
		}
		s *= 1 - f.ends/f.atRisk
		greenwood += f.hazardVar()
		c.Times, c.S, c.ErrorS = append(c.Times, t), append(c.S, s), append(c.ErrorS, s*math.Sqrt(greenwood))
		c.falls = append(c.falls, f)
	}
	return c
}

// At returns S(t).
func (c Curve) At(t floorwatch.Time) float64 {
	if i := c.index(t); i > 0 {
		return c.S[i-1]
	}
	return 1
}

// index returns how many falls there are up to t.
func (c Curve) index(t floorwatch.Time) int {
	i, found := slices.BinarySearch(c.Times, t)
	if found {
		i++
	}
	return i
}

// Interval returns the 95 % interval of S(t) on the scale of log(-log S), which
// stays within 0 and 1 (Kalbfleisch and Prentice 1980); nil where S(t) is 0 or 1.
func (c Curve) Interval(t floorwatch.Time) *Interval {
	i := c.index(t)
	if i == 0 {
		return nil
	}
	return logLog(c.S[i-1], c.ErrorS[i-1])
}

// logLog is p^exp(-+ z se / (p log p)).
func logLog(p, se float64) *Interval {
	if p <= 0 || p >= 1 {
		return nil
	}
	width := z95 * se / -(p * math.Log(p))
	return &Interval{math.Pow(p, math.Exp(width)), math.Pow(p, math.Exp(-width))}
}

// Quantile returns the shortest time, in seconds, at which at least the share p
// has ended: the smallest t with S(t) <= 1-p. nil where S stays above.
func (c Curve) Quantile(p float64) *float64 {
	for i, s := range c.S {
		if s <= 1-p+1e-9 {
			return seconds(c.Times[i])
		}
	}
	return nil
}

// RestrictedMean returns the area under S from 0 to limit, in seconds.
func (c Curve) RestrictedMean(limit floorwatch.Time) float64 {
	area, s, from := 0.0, 1.0, floorwatch.Time(0)
	for i, t := range c.Times {
		if t >= limit {
			break
		}
		area += s * float64(t-from)
		s, from = c.S[i], t
	}
	return (area + s*float64(limit-from)) / 1000
}

// RestrictedMeanError returns the standard error of RestrictedMean(limit), in
// seconds: sum A(t)² d/(n(n-d)) over the falls before limit, A(t) the area under
// S from there to limit (Klein and Moeschberger, "Survival Analysis", 4.5).
func (c Curve) RestrictedMeanError(limit floorwatch.Time) float64 {
	whole, area, variance := c.RestrictedMean(limit), 0.0, 0.0
	s, from := 1.0, floorwatch.Time(0)
	for i, t := range c.Times {
		if t >= limit {
			break
		}
		area += s * float64(t-from) / 1000
		s, from = c.S[i], t
		variance += (whole - area) * (whole - area) * c.falls[i].hazardVar()
	}
	return math.Sqrt(variance)
}

// IncidenceError returns the standard error of an outcome's incidence at t by
// the delta method (Marubini and Valsecchi 1995): with I the incidence
// at t and I_j that at the j-th fall,
//
//	sum (I-I_j)² d/(n(n-d)) + sum S² (n-d_k) d_k/n³ - 2 sum (I-I_j) S d_k/n²
//
// where S is that before the fall, and d_k of the d ends are by the outcome.
func (c Curve) IncidenceError(outcome string, t floorwatch.Time) float64 {
	upTo := c.index(t)
	total, sofar, variance := 0.0, 0.0, 0.0
	for _, f := range c.falls[:upTo] {
		total += f.before * f.by[outcome] / f.atRisk
	}
	for _, f := range c.falls[:upTo] {
		n, dk := f.atRisk, f.by[outcome]
		sofar += f.before * dk / n
		rest := total - sofar
		variance += rest*rest*f.hazardVar() + f.before*f.before*(n-dk)*dk/(n*n*n) - 2*rest*f.before*dk/(n*n)
	}
	return math.Sqrt(max(0, variance))
}
