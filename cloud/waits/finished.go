package waits

import "floorwatch"

// Finished is the cohort of the waits that ended in a window.
type Finished struct {
	Cohort         string `json:"cohort"`
	QuantileMethod string `json:"quantile_method"`
	// TargetS is the target in s; nil: none is set, or another one since within the window.
	TargetS *float64 `json:"target_s"`
	// Waits are all that ended with a seen beginning and a known end, also those
	// of 0 s (direct) and those that were given up.
	Waits          Dist `json:"waits"`
	WithoutDirect  Dist `json:"without_direct"`
	ServedWaits    Dist `json:"served_waits"`    // of Waits: those that led to a counter
	AbandonedWaits Dist `json:"abandoned_waits"` // of Waits: how long people waited before they gave up
	// People by outcome, whether their beginning was seen or not.
	Served    int `json:"served"`
	Abandoned int `json:"abandoned"`
	Left      int `json:"left"`
	Unknown   int `json:"unknown"` // lost inside the queue: in no duration
	Direct    int `json:"direct"`  // of Served: without a stay in the queue
	Unseen    int `json:"unseen"`  // beginning not seen: in no duration
}

// Finish describes the waits that ended in w, each judged by its target.
func Finish(recs []floorwatch.Wait, w Window, targets Targets) Finished {
	f := Finished{Cohort: CohortFinished, QuantileMethod: QuantileMethod, TargetS: targets.Of(w)}
	var all, queued, served, abandoned lengths
	for i := range recs {
		r := &recs[i]
		if r.End == nil || !w.holds(*r.End) {
			continue
		}
		f.count(r)
		if !r.EnterSeen || r.Outcome == floorwatch.OutcomeUnknown {
			continue
		}
		d := *r.End - r.Enter
		all.add(d, *r.End, targets)
		if !r.Direct {
			queued.add(d, *r.End, targets)
		}
		switch r.Outcome {
		case floorwatch.OutcomeServed:
			served.add(d, *r.End, targets)
		case floorwatch.OutcomeAbandoned:
			abandoned.add(d, *r.End, targets)
		}
	}
	f.Waits, f.WithoutDirect = all.dist(), queued.dist()
	f.ServedWaits, f.AbandonedWaits = served.dist(), abandoned.dist()
	return f
}

// lengths are waits, and how they were judged.
type lengths struct {
	ms []floorwatch.Time
	judged
}

func (l *lengths) add(d, end floorwatch.Time, t Targets) {
	l.ms = append(l.ms, d)
	l.judge(t, end, d)
}

func (l *lengths) dist() Dist {
	d := dist(l.ms)
	l.tell(&d)
	return d
}

// count takes a wait's outcome.
func (f *Finished) count(r *floorwatch.Wait) {
	switch r.Outcome {
	case floorwatch.OutcomeServed:
		f.Served++
	case floorwatch.OutcomeAbandoned:
		f.Abandoned++
	case floorwatch.OutcomeLeft:
		f.Left++
	case floorwatch.OutcomeUnknown:
		f.Unknown++
	}
	if r.Direct {
		f.Direct++
	}
	if !r.EnterSeen {
		f.Unseen++
	}
}

// Running is how many waited at a moment, and since how long the one who had
// waited longest. Placed says that beginnings are known to half an interval only.
type Running struct {
	At       floorwatch.Time `json:"at"`
	N        int             `json:"n"`
	LongestS *float64        `json:"longest_s"` // nil: nobody waits, or not known
	Placed   bool            `json:"placed"`
}

// RunningAt tells who waited at t, out of the records of waits that ended later
// and the beginnings (see Open) of those that have not ended.
func RunningAt(t floorwatch.Time, recs []floorwatch.Wait, open []floorwatch.Time) Running {
	r := Running{At: t}
	oldest := t
	add := func(enter floorwatch.Time) bool {
		if enter >= t {
			return false
		}
		r.N++
		oldest = min(oldest, enter)
		return true
	}
	for _, w := range recs {
		if w.EnterSeen && !w.Direct && w.End != nil && *w.End >= t {
			add(w.Enter)
		}
	}
	for _, enter := range open {
		if add(enter) {
			r.Placed = true
		}
	}
	if r.N > 0 {
		r.LongestS = seconds(t - oldest)
	}
	return r
}

// Open returns when those began to wait who have no record yet, because they
// still wait: per interval of the queue zone, whoever was seen to join, less the
// waits that began in it and have ended. Such a beginning is known to half an
// interval, and stands in its middle. An interval's figures settle after the
// waits that ended before its end, so none is missing; where records were lost
// the newest interval's number of people inside is the bound.
func Open(ivs []floorwatch.Interval, recs []floorwatch.Wait) []floorwatch.Time {
	joined := map[floorwatch.Time]int64{}
	var step floorwatch.Time
	var newest floorwatch.Interval
	for _, iv := range ivs {
		joined[iv.Start] += iv.Arrived
		step = iv.End - iv.Start
		if iv.End > newest.End {
			newest = iv
		}
	}
	if step <= 0 {
		return nil
	}
	for _, r := range recs {
		if r.EnterSeen && !r.Direct {
			start := r.Enter.Floor(step.Sub(0))
			joined[start]--
		}
	}
	var open []floorwatch.Time
	for start := newest.Start; len(open) < int(newest.Inside) && start > newest.Start-maxOpen; start -= step {
		for range min(joined[start], newest.Inside-int64(len(open))) {
			open = append(open, start+step/2)
		}
	}
	return open
}

// maxOpen bounds how far back somebody who still waits is looked for: a day.
const maxOpen floorwatch.Time = 24 * 3600 * 1000
