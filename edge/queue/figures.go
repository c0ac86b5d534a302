package queue

import (
	"cmp"
	"slices"

	"floorwatch"
)

// fill computes the figures of one zone in one interval.
func (l *ledger) fill(r *floorwatch.Interval, seen []span) {
	var inside []span
	var ended []floorwatch.Time
	for _, s := range l.stays {
		if s.Enter >= r.End {
			continue
		}
		exit := r.End
		if s.Exit != nil {
			exit = min(exit, *s.Exit)
		}
		if exit > s.Enter {
			inside = append(inside, span{s.Enter, exit})
		}
		l.move(r, s)
		if s.Exit != nil && *s.Exit >= r.Start && *s.Exit < r.End {
			ended = append(ended, *s.Exit-s.Enter)
		}
	}
	r.Stays = sum(ended)
	r.Crossings = sum(l.pairs.advance(l.stays, r.Start, r.End))
	r.Quality = quality(r)
	occupancy(r, inside, seen)
	if l.zone.Role == floorwatch.RoleQueue {
		l.fillWaits(r)
	}
}

// move counts who came, who went and who is still inside at the end.
func (l *ledger) move(r *floorwatch.Interval, s *floorwatch.Stay) {
	switch {
	case s.Enter < r.Start:
	case s.EnterSeen:
		r.Arrived++
	default:
		r.Appeared++
	}
	switch {
	case s.Exit == nil || *s.Exit >= r.End:
		r.Inside++
	case *s.Exit < r.Start:
	case s.ExitSeen:
		r.Departed++
	default:
		r.Lost++
	}
}

// fillWaits counts the waits that ended in the interval. The statistics leave
// out those whose beginning was not seen and those whose end is unknown.
func (l *ledger) fillWaits(r *floorwatch.Interval) {
	var ended []floorwatch.Time
	for _, w := range l.waits {
		if *w.End < r.Start || *w.End >= r.End {
			continue
		}
		switch w.Outcome {
		case floorwatch.OutcomeServed:
			r.Served++
		case floorwatch.OutcomeAbandoned:
			r.Abandoned++
		case floorwatch.OutcomeUnknown:
			r.Unknown++
			continue
		}
		if w.Direct {
			r.Direct++
		}
		if w.EnterSeen {
			ended = append(ended, *w.End-w.Enter)
		}
	}
	waits := sum(ended)
	r.Waits = &waits
}

// sum adds durations up in milliseconds, so that no order of them rounds
// differently.
func sum(durations []floorwatch.Time) floorwatch.Sum {
	if len(durations) == 0 {
		return floorwatch.Sum{}
	}
	var total floorwatch.Time
	for _, d := range durations {
		total += d
	}
	return floorwatch.Sum{
		N: int64(len(durations)), Sum: seconds(total),
		Min: seconds(slices.Min(durations)), Max: seconds(slices.Max(durations)),
	}
}

func seconds(t floorwatch.Time) float64 { return float64(t) / 1000 }

// step is one person more or fewer from a moment on.
type step struct {
	at floorwatch.Time
	by int64
}

// occupancy integrates the number of people over the observed time of the
// interval, and notes its extremes in it.
func occupancy(r *floorwatch.Interval, inside, seen []span) {
	steps := make([]step, 0, 2*len(inside)+1)
	for _, s := range inside {
		steps = append(steps, step{max(s.from, r.Start), 1}, step{max(s.to, r.Start), -1})
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	steps = append(steps, step{at: r.End})
	var watched, person floorwatch.Time
	var people int64
	first, from := true, r.Start
	for _, s := range steps {
		if t := overlap(seen, from, s.at); t > 0 {
			watched += t
			person += t * floorwatch.Time(people)
			if first || people < r.Min {
				r.Min = people
			}
			r.Max = max(r.Max, people)
			first = false
		}
		people += s.by
		from = s.at
	}
	r.ObservedS, r.PersonS = seconds(watched), seconds(person)
	r.Coverage = float64(watched) / float64(r.End-r.Start)
	if watched > 0 {
		r.Occupancy = float64(person) / float64(watched)
	}
}

// overlap returns the milliseconds of [from, to) that were observed.
func overlap(seen []span, from, to floorwatch.Time) floorwatch.Time {
	var sum floorwatch.Time
	for _, s := range seen {
		sum += max(0, min(to, s.to)-max(from, s.from))
	}
	return sum
}
