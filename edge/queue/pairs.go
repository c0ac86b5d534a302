package queue

import (
	"cmp"
	"math"
	"slices"

	"floorwatch"
)

// pairs measures how long people are in a zone without asking who is who: each
// stay, or piece of one, adds a beginning and takes one away again. Who is seen
// to leave takes the oldest away, and the time between is a duration: first in,
// first out. Who is lost takes away the beginning that is nearest to their own;
// it is kept aside for the next one who appears, for they are one person more
// often than not. Whoever appears when nothing is kept has a beginning that
// nobody knows, and which gives no duration.
type pairs struct {
	inside []beginning // by time
	aside  []beginning // of people who were lost, the latest lost last
	until  floorwatch.Time
}

// beginning is when somebody entered the zone.
type beginning struct {
	at      floorwatch.Time
	known   bool            // the border was seen crossed
	putAway floorwatch.Time // when they were lost
}

// aside bounds how long, and how many, beginnings are kept for people who were
// lost.
const (
	asideFor  = floorwatch.Time(5 * 60 * 1000)
	asideMost = 1000
)

// passing is a beginning or an end of a stay.
type passing struct {
	at   floorwatch.Time
	in   bool
	stay *floorwatch.Stay
}

// advance takes in what happened before end and returns the durations of those
// that ended from start on.
func (p *pairs) advance(stays map[string]*floorwatch.Stay, start, end floorwatch.Time) []floorwatch.Time {
	var passings []passing
	for _, s := range stays {
		if s.Enter >= p.until && s.Enter < end {
			passings = append(passings, passing{s.Enter, true, s})
		}
		if s.Exit != nil && *s.Exit >= p.until && *s.Exit < end {
			passings = append(passings, passing{*s.Exit, false, s})
		}
	}
	slices.SortFunc(passings, func(a, b passing) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.stay.Enter, b.stay.Enter), cmp.Compare(a.stay.ID, b.stay.ID))
	})
	var ended []floorwatch.Time
	for _, e := range passings {
		if d := p.pass(e); d >= 0 && e.at >= start {
			ended = append(ended, d)
		}
	}
	p.until = end
	return ended
}

// pass takes in one passing and returns the duration that ended, or -1.
func (p *pairs) pass(e passing) floorwatch.Time {
	switch {
	case e.in && e.stay.EnterSeen:
		p.insert(beginning{at: e.at, known: true})
	case e.in:
		p.insert(p.fetch(e.at))
	case len(p.inside) == 0: // it began before everything
	case !e.stay.ExitSeen:
		i := p.nearest(e.stay.Enter)
		b := p.inside[i]
		p.inside = slices.Delete(p.inside, i, i+1)
		b.putAway = e.at
		p.aside = append(p.aside, b)
		p.aside = p.aside[max(0, len(p.aside)-asideMost):]
	default:
		b := p.inside[0]
		p.inside = slices.Delete(p.inside, 0, 1)
		if b.known {
			return e.at - b.at
		}
	}
	return -1
}

func (p *pairs) insert(b beginning) {
	i, _ := slices.BinarySearchFunc(p.inside, b.at, func(b beginning, t floorwatch.Time) int { return cmp.Compare(b.at, t) })
	p.inside = slices.Insert(p.inside, i, b)
}

// fetch returns the beginning of somebody who appears at t.
func (p *pairs) fetch(t floorwatch.Time) beginning {
	if n := len(p.aside); n > 0 && p.aside[n-1].putAway >= t-asideFor {
		b := p.aside[n-1]
		p.aside = p.aside[:n-1]
		return b
	}
	p.aside = nil
	return beginning{at: t}
}

// nearest returns the beginning inside that is nearest to t.
func (p *pairs) nearest(t floorwatch.Time) int {
	i, _ := slices.BinarySearchFunc(p.inside, t, func(b beginning, t floorwatch.Time) int { return cmp.Compare(b.at, t) })
	if i == len(p.inside) || i > 0 && t-p.inside[i-1].at < p.inside[i].at-t {
		i--
	}
	return i
}

// quality says how far an interval's figures agree, see floorwatch.Interval.
func quality(r *floorwatch.Interval) float64 {
	q := 1.0
	if n := r.Arrived + r.Appeared + r.Departed + r.Lost; n > 0 {
		q = 1 - float64(r.Appeared+r.Lost)/float64(n)
	}
	a, b := r.Stays, r.Crossings
	if a.N == 0 || b.N == 0 {
		return q
	}
	x, y := a.Sum/float64(a.N), b.Sum/float64(b.N)
	chance := (max(a.Max, b.Max) - min(a.Min, b.Min)) / math.Sqrt(3*float64(min(a.N, b.N)))
	if off := math.Abs(x-y) - chance; off > 0 {
		q *= 1 - off/max(x, y)
	}
	return q
}
