package waits

import (
	"cmp"
	"slices"

	"floorwatch"
)

// Began is the cohort of those who joined in a window. Who still waits, or was
// lost in the queue, has waited at least so long: right-censored. Their weight
// goes to those who waited longer (Kaplan and Meier 1958), so that a figure of
// the last minutes is not made of short waits only.
type Began struct {
	Cohort  string  `json:"cohort"`
	TargetS float64 `json:"target_s"`
	N       int     `json:"n"`       // who joined, Direct among them
	Ended   int     `json:"ended"`   // of N
	Running int     `json:"running"` // of N, at AsOf
	Unknown int     `json:"unknown"` // of N: lost in the queue
	Direct  int     `json:"direct"`  // of N
	// RestrictedMeanS is the area under the curve up to RestrictedToS, the longest
	// observation. LastCensored: that one did not end, so the true mean is higher.
	RestrictedMeanS *float64 `json:"restricted_mean_s"`
	RestrictedToS   *float64 `json:"restricted_to_s"`
	LastCensored    bool     `json:"last_censored"`
	MedianS         *float64 `json:"median_s"` // nil: the curve does not fall so far
	P90S            *float64 `json:"p90_s"`
	OverShare       *float64 `json:"over_target_share"` // of the curve at the target
	// Outcomes is the share of each until RestrictedToS (Aalen and Johansen 1978):
	// what is missing to 1 had not ended then.
	Outcomes map[string]float64 `json:"outcomes"`
	AsOf     floorwatch.Time    `json:"as_of"`
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
func Begin(recs []floorwatch.Wait, open []floorwatch.Time, w Window, asOf floorwatch.Time, target float64) Began {
	b := Began{Cohort: CohortBegan, TargetS: target, AsOf: asOf}
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
	b.fill(NewCurve(obs), floorwatch.Time(target*1000))
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

func (b *Began) fill(c Curve, target floorwatch.Time) {
	if b.N == 0 {
		return
	}
	mean := c.RestrictedMean(c.Last)
	b.RestrictedMeanS, b.RestrictedToS, b.LastCensored = &mean, seconds(c.Last), c.LastCensored
	b.MedianS, b.P90S = c.Quantile(0.5), c.Quantile(0.9)
	if target < c.Last || !c.LastCensored {
		b.OverShare = new(c.At(target))
	}
	b.Outcomes = c.Outcomes
}

// Curve is a Kaplan-Meier estimate: S(t), the share that waits longer than t,
// falls at Times[i] to S[i] and is flat between.
type Curve struct {
	Times        []floorwatch.Time
	S            []float64
	Last         floorwatch.Time    // the longest observation
	LastCensored bool               // it did not end
	Outcomes     map[string]float64 // cumulative incidence at Last, by outcome
}

// NewCurve estimates S by the product over the moments at which waits ended,
// S(t) = prod (1 - d/n) with d ends among n at risk, and the incidence of each
// outcome as sum S(t-) d_k/n. Where an end and a censoring coincide the end
// comes first: who was lost at t was still at risk at t. It sorts obs.
func NewCurve(obs []Observation) Curve {
	slices.SortFunc(obs, func(a, b Observation) int { return cmp.Compare(a.Length, b.Length) })
	c := Curve{Outcomes: map[string]float64{}}
	s := 1.0
	for i := 0; i < len(obs); {
		t, atRisk := obs[i].Length, float64(len(obs)-i)
		ends, censored := map[string]int{}, 0
		var d int
		for ; i < len(obs) && obs[i].Length == t; i++ {
			if obs[i].Outcome == "" {
				censored++
				continue
			}
			ends[obs[i].Outcome]++
			d++
		}
		for k, n := range ends {
			c.Outcomes[k] += s * float64(n) / atRisk
		}
		if d > 0 {
			s *= 1 - float64(d)/atRisk
			c.Times, c.S = append(c.Times, t), append(c.S, s)
		}
		c.Last, c.LastCensored = t, censored > 0
	}
	return c
}

// At returns S(t).
func (c Curve) At(t floorwatch.Time) float64 {
	i, found := slices.BinarySearch(c.Times, t)
	if found {
		i++
	}
	if i == 0 {
		return 1
	}
	return c.S[i-1]
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
