package waits

import (
	"cmp"
	"math"
	"slices"

	"floorwatch"
)

// Mean is the mean wait that the people of a cohort really had, with the
// interval that holds it in 95 of 100 cases. The interval is about measuring:
// these people, this window. It does not say what another day would bring.
type Mean struct {
	MeanS   *float64 `json:"mean_s"` // nil: nobody, or nothing complete to go by
	LowS    *float64 `json:"low_s"`
	HighS   *float64 `json:"high_s"`
	ErrorS  *float64 `json:"error_s"` // standard error
	People  int      `json:"people"`
	Joined  int      `json:"joined"`  // of People: lost and found again, as somebody
	Partly  int      `json:"partly"`  // of People: beginning or end never seen
	Running int      `json:"running"` // of People: they still wait
}

// z95 is the 97.5 % point of the normal distribution.
const z95 = 1.959964

// person is what is known of one person's wait.
type person struct {
	from, to     floorwatch.Time // where they were first and last seen waiting
	began, ended bool            // from is the beginning of the wait, to its end
	running      bool            // they still wait at to
	hidden       []float64       // times out of sight in between, s
	joins        int             // of those: between two records
	variance     float64         // of to - from, by how it was measured
}

func (p *person) length() floorwatch.Time { return p.to - p.from }

// People are the people behind the wait records of a queue zone.
//
// A wait is lost when its track breaks and nobody could be taken for the same
// person; then one record has no end (`unknown`) and another has no beginning.
// Who of those found is who of those lost cannot be told, and for a mean it need
// not be: the sum of all ends less the sum of all beginnings is the same however
// they are paired. Each one found is paired with the last one lost before, at
// most maxGap ago. Who is left over came or went while nobody could see them:
// had they stayed, they would have been found. So what is missing of their wait
// is part of one time out of sight. Where such times D are drawn at any moment,
// what is missing is h = E[D²]/2E[D] on average (the mean forward recurrence time
// of renewal theory), with the variance v = E[D³]/3E[D] - h²; the D are those of
// the window: the gaps between joined parts and the bridges within records.
//
// With x the lengths of the N people, h added where an end is missing, the mean
// is m = sum x / N. Its variance, with everything independent, is
//
//	(sum e² + sum v + sum q(1-q) (x - m)²) / N²
//
// where e are the standard errors of the records (Wait.ErrorS), the second sum is
// over those of whom an end is missing, and the third is over those whom the count
// may have wrong: one person too many or too few moves the mean by (x - m)/N. q is
// joinDoubt for those joined, partDoubt for those of whom an end is missing.
//
// Somebody who still waits is another case: their rest comes from the
// Kaplan-Meier curve of the cohort, in which they are censored. So does the rest of
// all where no time out of sight is known.
type People struct {
	all []person
	// mean and variance of what is missing where an end is, if somebody is known to
	// have been out of sight.
	missing, spread float64
	known           bool
}

// maxGap is the longest time after which somebody found is taken for one lost.
const maxGap floorwatch.Time = 60_000

const (
	joinDoubt = 0.1
	partDoubt = 0.5
)

// NewPeople puts the records of a zone together; open are the beginnings of those
// who still wait at asOf (see Open).
func NewPeople(recs []floorwatch.Wait, open []floorwatch.Time, asOf floorwatch.Time) *People {
	parts := make([]person, 0, len(recs)+len(open))
	for i := range recs {
		if r := &recs[i]; r.End != nil {
			parts = append(parts, part(r))
		}
	}
	slices.SortFunc(parts, func(a, b person) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	p := &People{all: join(parts)}
	p.outOfSight()
	for _, enter := range open {
		p.all = append(p.all, person{from: enter, to: asOf, began: true, running: true})
	}
	return p
}

func part(r *floorwatch.Wait) person {
	p := person{
		from: r.Enter, to: *r.End, began: r.EnterSeen, ended: r.Outcome != floorwatch.OutcomeUnknown,
		variance: r.ErrorS * r.ErrorS,
	}
	for range min(r.Bridges, maxBridges) {
		p.hidden = append(p.hidden, r.BridgedS/float64(r.Bridges))
	}
	return p
}

// maxBridges bounds what one record may claim.
const maxBridges = 1000

// join pairs who was found with who was lost last before; parts are sorted by
// from.
func join(parts []person) []person {
	lost := make([]int, 0, len(parts)) // by to
	for i := range parts {
		if !parts[i].ended {
			lost = append(lost, i)
		}
	}
	slices.SortStableFunc(lost, func(a, b int) int { return cmp.Compare(parts[a].to, parts[b].to) })
	next, found := make(map[int]int, len(lost)), make(map[int]bool, len(lost))
	var missing []int // lost and not found yet, the last one last
	for i := range parts {
		if parts[i].began {
			continue
		}
		for len(lost) > 0 && parts[lost[0]].to <= parts[i].from {
			missing, lost = append(missing, lost[0]), lost[1:]
		}
		n := len(missing) - 1
		if n < 0 || parts[missing[n]].to < parts[i].from-maxGap || missing[n] == i {
			continue
		}
		next[missing[n]], found[i] = i, true
		missing = missing[:n]
	}
	people := make([]person, 0, len(parts))
	for i := range parts {
		if !found[i] {
			people = append(people, chain(parts, next, i))
		}
	}
	return people
}

// chain follows a person from the first part on.
func chain(parts []person, next map[int]int, i int) person {
	p := parts[i]
	for {
		j, ok := next[i]
		if !ok {
			return p
		}
		q := &parts[j]
		p.hidden = append(append(p.hidden, floorwatch.Seconds(q.from.Sub(p.to))), q.hidden...)
		p.to, p.ended, p.joins = q.to, q.ended, p.joins+1
		p.variance += q.variance
		i = j
	}
}

// outOfSight works out what is missing where an end is.
func (p *People) outOfSight() {
	var one, two, three float64
	for i := range p.all {
		for _, d := range p.all[i].hidden {
			one, two, three = one+d, two+d*d, three+d*d*d
		}
	}
	if one <= 0 {
		return
	}
	p.known = true
	p.missing = two / (2 * one)
	p.spread = max(0, three/(3*one)-p.missing*p.missing)
}

// FinishedIn estimates the mean of those who ended in w.
func (p *People) FinishedIn(w Window) Mean {
	return p.mean(func(x *person) bool { return !x.running && w.holds(x.to) })
}

// BeganIn estimates the mean of those who joined in w, were they all to end.
func (p *People) BeganIn(w Window) Mean {
	return p.mean(func(x *person) bool { return w.holds(x.from) })
}

// mean sums the cohort up. Of whom neither end was seen is no person here: most
// often nobody stood there.
func (p *People) mean(in func(*person) bool) (m Mean) {
	var obs []Observation
	var cohort []*person
	for i := range p.all {
		x := &p.all[i]
		if !in(x) || !x.began && !x.ended {
			continue
		}
		o := Observation{x.length(), floorwatch.OutcomeLeft}
		if p.censored(x) {
			o.Outcome = ""
		}
		obs, cohort = append(obs, o), append(cohort, x)
	}
	m.People = len(cohort)
	if !slices.ContainsFunc(cohort, func(x *person) bool { return x.began && x.ended }) {
		return m
	}
	curve := NewCurve(obs)
	lengths := make([]float64, len(cohort))
	var sum, variance float64
	for i, x := range cohort {
		rest, spread := p.rest(x, curve)
		lengths[i] = floorwatch.Seconds(x.length().Sub(0)) + rest
		sum, variance = sum+lengths[i], variance+spread+x.variance
	}
	mean := sum / float64(m.People)
	for i, x := range cohort {
		q := m.count(x)
		variance += q * (1 - q) * (lengths[i] - mean) * (lengths[i] - mean)
	}
	m.fill(mean, math.Sqrt(variance)/float64(m.People))
	return m
}

// censored tells whether nothing is known of what is missing but that they waited
// longer.
func (p *People) censored(x *person) bool {
	return x.running || !p.known && (!x.began || !x.ended)
}

func (m *Mean) fill(mean, se float64) {
	m.MeanS, m.ErrorS = &mean, &se
	m.LowS, m.HighS = new(max(0, mean-z95*se)), new(mean+z95*se)
}

// count counts how a person is known, and returns how likely the count is wrong.
func (m *Mean) count(x *person) float64 {
	switch {
	case x.running:
		m.Running++
		return 0
	case !x.began || !x.ended:
		m.Partly++
		return partDoubt
	case x.joins > 0:
		m.Joined++
		return joinDoubt
	}
	return 0
}

// rest returns mean and variance of what is missing of a person's wait, in
// seconds.
func (p *People) rest(x *person, curve Curve) (mean, variance float64) {
	switch {
	case p.censored(x):
		return curve.rest(x.length())
	case !x.began || !x.ended:
		return p.missing, p.spread
	}
	return 0, 0
}

// rest returns the mean, in seconds, and the variance of what those who have
// waited for t still wait, by the curve; the longest observation counts as an end
// where it is none (Efron 1967).
func (c Curve) rest(t floorwatch.Time) (mean, variance float64) {
	i := c.index(t)
	left := c.At(t)
	if left <= 0 {
		return 0, 0
	}
	var second float64
	add := func(share float64, at floorwatch.Time) {
		x := floorwatch.Seconds(at.Sub(t))
		mean += share / left * x
		second += share / left * x * x
	}
	s := left
	for ; i < len(c.Times); i++ {
		add(s-c.S[i], c.Times[i])
		s = c.S[i]
	}
	add(s, max(t, c.Last))
	return mean, max(0, second-mean*mean)
}
