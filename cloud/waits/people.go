package waits

import (
	"cmp"
	"math"
	"slices"
	"sort"

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
	// weakFrom and weakTo: that beginning or end is missing, or may rest on a guess.
	weakFrom, weakTo bool
	running          bool      // they still wait at to
	hidden           []float64 // times out of sight in between, s
	bridged          bool      // a guess within one record
	doubted          bool      // its beginning or its end may be another's
	joins            int       // of records
	broken           int       // of records without beginning or end
	variance         float64   // of to - from, by how it was measured
}

func (p *person) length() floorwatch.Time { return p.to - p.from }

// People are the people behind the wait records of a queue zone.
//
// Tracks break and change their people. Every mistake of that kind makes an end
// too many and a beginning too many: somebody is lost (`unknown`, no end) and
// another is found (no beginning); or a guess takes a passer-by for somebody in
// the queue, whose wait ends with the passer-by's leaving, and the other way
// round; or two people swap numbers over the border of the zone, and in the same
// moment one wait ends and one begins. Who is whom cannot be told, and for a mean
// it need not be: the sum of all ends less the sum of all beginnings is the same
// however they are paired, so that only the number of people is to be put right.
// An end is put together with a beginning, the nearest first, where
//
//   - both are missing, up to lostGap apart;
//   - both are missing or in a record with guesses, up to guessGap apart, if
//     nobody was served at that end although there is a counter;
//   - they coincide within swapGap, and both are doubtful by their standard error
//     (doubtS): somebody leapt over the border, faster than anybody walks. That they
//     coincide alone says nothing: where a line is longer than its zone, each who
//     leaves lets another one in.
//
// Who is left over came or went while nobody could see them: had they stayed, they
// would have been found. So what is missing of their wait is part of one time out
// of sight. Where such times D are drawn at any moment, what is missing is
// h = E[D²]/2E[D] on average (the mean forward recurrence time of renewal theory),
// with the variance v = E[D³]/3E[D] - h²; the D are those of the records: bridges,
// and gaps of up to guessGap between those lost and found.
//
// With x the lengths of the N people, h added where an end is missing, the mean
// is m = sum x / N. Its variance, with everything independent, is
//
//	(sum e² + sum v + sum q(1-q) (x - m)²) / N²
//
// where e are the standard errors of the records (Wait.ErrorS), the second sum is
// over those of whom an end is missing, and the third is over those whom the count
// may have wrong: one person too many or too few moves the mean by (x - m)/N. q is
// joinDoubt for those joined, partDoubt for those of whom an end is missing,
// guessDoubt for those with guesses, plainDoubt for all others. Beside these, the rules above may fail all
// together, where people come and go in a way that looks like mistakes: then a
// share ruleDoubt of the J who are joined or seen in part is not, and m is wrong by
// ruleDoubt J m/N, which is added in squares, as is borderS. And where B records have
// no beginning or no end, others are likely to be wrong that do not look so: then m is
// wrong by brokenDoubt B/(N+B) m. The doubts are measured on simulated
// halls.
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

const (
	lostGap  floorwatch.Time = 300_000
	guessGap floorwatch.Time = 60_000
	swapGap  floorwatch.Time = 1_000
	doubtS                   = 5.0 // s, standard error from which an end or a beginning is doubtful
)

const (
	joinDoubt  = 0.3
	partDoubt  = 0.5
	guessDoubt = 0.05
	plainDoubt = 0.02
	ruleDoubt  = 0.25
	borderS    = 0.1 // s, by which all borders may be crossed late or early
	// brokenDoubt is the standard error of the mean where all records are broken, as a
	// share of it: people may have been hidden for all of their wait, or be counted twice.
	brokenDoubt = 1.0
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
		from: r.Enter, to: *r.End, began: r.EnterSeen, ended: r.Outcome != floorwatch.OutcomeUnknown || r.ErrorS > 0 && r.ErrorS < lostS && r.Bridges == 0,
		variance: r.ErrorS * r.ErrorS,
	}
	p.bridged = r.Bridges > 0
	if !p.began || !p.ended {
		p.broken = 1
	}
	p.doubted = p.began && p.ended && r.ErrorS >= doubtS
	p.weakFrom = !p.began || p.bridged
	p.weakTo = !p.ended || p.bridged && r.Outcome == floorwatch.OutcomeAbandoned
	for range min(r.Bridges, maxBridges) {
		p.hidden = append(p.hidden, r.BridgedS/float64(r.Bridges))
	}
	return p
}

// lostS is the standard error, in seconds, of a wait whose end is not known. An
// unknown outcome with a smaller one is of somebody who was seen to leave.
const lostS = 20.0

// maxBridges bounds what one record may claim.
const maxBridges = 1000

// pair is an end of one part and a beginning of another that may be one mistake.
type pair struct {
	end, begin int
	cost       floorwatch.Time // how far they are apart, and more the less sure
}

// join puts parts together; they are sorted by from.
func join(parts []person) []person {
	next, found := make(map[int]int), make(map[int]bool)
	after := func(i, j int) bool { // j comes after i already
		for {
			n, ok := next[i]
			if !ok || n == j {
				return ok
			}
			i = n
		}
	}
	for _, p := range pairs(parts) {
		if _, used := next[p.end]; !used && !found[p.begin] && !after(p.begin, p.end) {
			next[p.end], found[p.begin] = p.begin, true
		}
	}
	people := make([]person, 0, len(parts))
	for i := range parts {
		if !found[i] {
			people = append(people, chain(parts, next, i))
		}
	}
	return people
}

// pairs returns the ends and beginnings that may be one mistake, the likeliest
// first.
func pairs(parts []person) (all []pair) {
	for i := range parts {
		first := sort.Search(len(parts), func(j int) bool { return parts[j].from >= parts[i].to-lostGap })
		for j := first; j < len(parts) && parts[j].from <= parts[i].to+lostGap; j++ {
			if i == j || parts[j].to < parts[i].from {
				continue
			}
			if p, ok := match(&parts[i], &parts[j]); ok {
				p.end, p.begin = i, j
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.end, b.end), cmp.Compare(a.begin, b.begin))
	})
	return all
}

func sq(x float64) float64 { return x * x }

// stood tells whether somebody waited at all.
func (p *person) stood() bool { return p.to > p.from }

func apartBy(a, b *person) floorwatch.Time { return max(a.to-b.from, b.from-a.to) }

// match tells whether a's end and b's beginning may be one mistake.
func match(a, b *person) (p pair, ok bool) {
	p.cost = apartBy(a, b)
	switch {
	case !a.ended && !b.began && p.cost <= lostGap:
		p.cost += 1000
	case a.doubted && b.doubted && p.cost <= swapGap:
	case a.weakTo && b.weakFrom && b.stood() && p.cost <= guessGap:
		p.cost += 2000
	default:
		return p, false
	}
	return p, true
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
		if gap := q.from - p.to; !p.ended && !q.began && gap > 0 && gap <= guessGap {
			p.hidden = append(p.hidden, floorwatch.Seconds(gap.Sub(0)))
		}
		p.hidden = append(p.hidden, q.hidden...)
		p.to, p.ended, p.joins, p.bridged = q.to, q.ended, p.joins+1, p.bridged || q.bridged
		p.broken += q.broken
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
	broken := 0.0
	for i, x := range cohort {
		broken += float64(x.broken)
		rest, spread := p.rest(x, curve)
		lengths[i] = floorwatch.Seconds(x.length().Sub(0)) + rest
		sum, variance = sum+lengths[i], variance+spread+x.variance
	}
	mean := sum / float64(m.People)
	for i, x := range cohort {
		q := m.count(x)
		variance += q * (1 - q) * (lengths[i] - mean) * (lengths[i] - mean)
	}
	n := float64(m.People)
	m.fill(mean, math.Sqrt(variance/(n*n)+sq(borderS)+sq(ruleDoubt*float64(m.Joined+m.Partly)/n*mean)+sq(brokenDoubt*broken/(n+broken)*mean)))
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
	case x.bridged:
		return guessDoubt
	}
	return plainDoubt
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
