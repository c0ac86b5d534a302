package waits

import "floorwatch"

// Little is the wait measured without identities, in two ways: from who was seen
// to cross the border inwards paired with who was seen to cross it outwards, first
// in, first out (floorwatch.Interval.Crossings), and by Little's law, W = L / rate:
// person-seconds per person who was seen to leave over the border, both while
// observed. A broken track shortens stays and makes more of them, but crosses no
// border; so these measurements are hurt less by it, and how far they and the
// stays are apart says how far to trust either. They cover the time in the zone,
// not the way to the counter.
type Little struct {
	// CrossingS is the mean of Crossings pairs; nil where there are none.
	CrossingS *float64 `json:"crossing_wait_s"`
	Crossings int64    `json:"crossings"`
	// CrossingDisagreement is as Disagreement.
	CrossingDisagreement *float64 `json:"crossing_disagreement"`

	WaitS    *float64 `json:"wait_s"` // nil: nothing observed, or nobody seen to leave
	Departed int64    `json:"departed"`
	// Disagreement is (WaitS - mean) / mean, where mean is that of the waits that
	// ended, without those of 0 s; nil where either is missing or the mean is 0.
	Disagreement *float64 `json:"disagreement"`
	Coverage     float64  `json:"coverage"` // share of the window that was observed
	ObservedS    float64  `json:"observed_s"`
	PersonS      float64  `json:"person_s"`
}

// LittleMinS is the shortest window, in seconds, for which Little's law is told:
// below it the people who stand across its borders outweigh the rest.
const LittleMinS = 300

// LittlesLaw measures the wait in a queue zone out of its intervals that start in
// w, and compares it with mean.
func LittlesLaw(ivs []floorwatch.Interval, w Window, mean *float64) Little {
	var l Little
	var crossed float64
	for _, iv := range ivs {
		if w.holds(iv.Start) {
			l.ObservedS += iv.ObservedS
			l.PersonS += iv.PersonS
			l.Departed += iv.Departed
			l.Crossings += iv.Crossings.N
			crossed += iv.Crossings.Sum
		}
	}
	if l.Crossings > 0 {
		l.CrossingS = new(crossed / float64(l.Crossings))
		l.CrossingDisagreement = apart(*l.CrossingS, mean)
	}
	span := floorwatch.Seconds(w.To.Sub(w.From))
	if span > 0 {
		l.Coverage = min(1, l.ObservedS/span)
	}
	if l.ObservedS <= 0 || l.Departed == 0 || span < LittleMinS {
		return l
	}
	l.WaitS = new(l.PersonS / float64(l.Departed))
	l.Disagreement = apart(*l.WaitS, mean)
	return l
}

// apart returns (v - mean) / mean, nil where there is none.
func apart(v float64, mean *float64) *float64 {
	if mean == nil || *mean <= 0 {
		return nil
	}
	return new((v - *mean) / *mean)
}

// Service is what happened at the counters of a queue in a window.
type Service struct {
	// Times are the stays in service zones that ended in the window, seen from
	// border to border: from start to end of the service.
	Times Dist `json:"times"`
	// Unsure stays appeared at the counter or were lost there: in no duration.
	Unsure int `json:"unsure"`
	// BusyS is person-seconds at the counters while observed; two at one counter
	// count twice.
	BusyS float64 `json:"busy_s"`
	// PerHour is people served per observed hour of the queue zone.
	PerHour *float64 `json:"served_per_hour"`
}

// Serve describes service: stays and intervals are those of the service zones,
// served is the number of people served in w, observed the seconds for which the
// queue was watched.
func Serve(stays []floorwatch.Stay, ivs []floorwatch.Interval, w Window, served int, observed float64) Service {
	var s Service
	var times []floorwatch.Time
	for i := range stays {
		x := &stays[i]
		switch {
		case x.Exit == nil || !w.holds(*x.Exit):
		case x.EnterSeen && x.ExitSeen:
			times = append(times, *x.Exit-x.Enter)
		default:
			s.Unsure++
		}
	}
	s.Times = dist(times)
	for _, iv := range ivs {
		if w.holds(iv.Start) {
			s.BusyS += iv.PersonS
		}
	}
	if observed > 0 {
		s.PerHour = new(float64(served) * 3600 / observed)
	}
	return s
}
