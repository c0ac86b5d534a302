package waits

import (
	"slices"

	"floorwatch"
)

// Targets are how long waits were to last at most, by the moment at which they
// ended: spans in order, each until the next. Without any nothing is judged.
type Targets []floorwatch.TargetSpan

// One is one target, in seconds, whenever a wait ended.
func One(s int64) Targets {
	return Targets{{Wait: &floorwatch.SetTarget{Target: floorwatch.Target{WithinS: s}}}}
}

// at returns the limit of a wait that ended at a moment; false where none was set.
func (t Targets) at(end floorwatch.Time) (limit floorwatch.Time, ok bool) {
	i, found := slices.BinarySearchFunc(t, end, func(s floorwatch.TargetSpan, end floorwatch.Time) int { return int(s.From - end) })
	if !found {
		i--
	}
	if i < 0 || t[i].Wait == nil {
		return 0, false
	}
	return floorwatch.Time(t[i].Wait.WithinS * 1000), true
}

// Of returns the target that is the same from one moment to another, in seconds;
// nil where there is none, or several.
func (t Targets) Of(w Window) *float64 {
	first, ok := t.at(w.From)
	for _, s := range t {
		if s.From > w.From && s.From < w.To && (s.Wait == nil || floorwatch.Time(s.Wait.WithinS*1000) != first) {
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return seconds(first)
}

// judged counts waits that were longer than their target.
type judged struct{ n, over int }

// judge looks at a wait that lasted so long.
func (j *judged) judge(t Targets, end, length floorwatch.Time) {
	limit, ok := t.at(end)
	if !ok {
		return
	}
	j.n++
	if length > limit {
		j.over++
	}
}

// tell says how many of d were longer, where a target was set for any of them.
func (j judged) tell(d *Dist) {
	if j.n > 0 {
		d.Over, d.OverShare = new(j.over), new(float64(j.over)/float64(j.n))
	}
}
