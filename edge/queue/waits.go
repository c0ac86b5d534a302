// Package queue turns the stays of one camera into waits (Waits) and the records
// of one camera into interval figures (Intervals). Both are pure: what comes out
// is a function of the records that went in, and the time at which they are
// asked changes only when it comes out. Stage ties them to a source of stays.
package queue

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"floorwatch"
	"floorwatch/edge/zone"
)

// Waits tells for everybody who stood in a queue zone how long they waited and
// what came of it. It has to be fed stays twice, at their beginning (Exit nil)
// and at their end, because a wait ends when the service begins. It is not safe
// for use by more than one goroutine.
type Waits struct {
	queues   map[string]*queueZone
	counters map[string][]string // service zone -> queue zones it serves, in the scene's order
	people   map[int64]*walker
	gaps     []*floorwatch.Gap // observation gaps that a pending wait may fall into
	memory   floorwatch.Time   // how long a gap or a finished service matters
	missing  []missing         // people lost in a queue, by when they were told
}

// missing is somebody who was lost in a queue.
type missing struct {
	zone string
	at   floorwatch.Time
}

// missingFor is how long somebody who was lost may come forward, milliseconds.
const missingFor = floorwatch.Time(5 * 60 * 1000)

// queueZone is a queue zone, times in milliseconds.
type queueZone struct {
	served bool            // a service zone is in view
	reach  floorwatch.Time // longest way from the queue to the counter
	hold   floorwatch.Time // after leaving: when every counter within reach has been announced
	known  floorwatch.Time // after joining: when the stay in the queue has been announced
}

// walker is one person, from its first stay until nothing of it can matter.
type walker struct {
	joins     []*join
	direct    []direct
	serving   map[string]bool // running stays in service zones, by their ids
	served    bool            // there was a finished one
	servedEnd floorwatch.Time // its end
}

// join is one stay in a queue zone.
type join struct {
	stay *floorwatch.Stay // its latest record
	done bool             // its wait is out; only the end of the stay is awaited
	due  floorwatch.Time  // when it is certain that no counter was reached; 0 while inside
	// vanished: lost on the way to a counter
	vanished bool
}

// direct is a stay at a counter that no queue seems to have led to.
type direct struct {
	stay *floorwatch.Stay
	due  floorwatch.Time
}

// frameGap is floorwatch.MaxFrameGap in milliseconds, and the first millisecond
// in which it is exceeded.
const frameGap = floorwatch.Time(floorwatch.MaxFrameGap/time.Millisecond) + 1

// NewWaits prepares the waits of a scene. A service zone without Serves serves
// every queue zone.
func NewWaits(scene floorwatch.Scene) *Waits {
	w := &Waits{queues: make(map[string]*queueZone), counters: make(map[string][]string), people: make(map[int64]*walker)}
	for _, z := range scene.Zones {
		if z.Role == floorwatch.RoleQueue {
			w.queues[z.Name] = &queueZone{reach: ms(z.Reach), known: announce(z), hold: ms(z.Reach)}
			w.memory = max(w.memory, ms(z.Reach)+announce(z))
		}
	}
	for _, z := range scene.Zones {
		if z.Role != floorwatch.RoleService {
			continue
		}
		for _, q := range scene.Zones {
			l := w.queues[q.Name]
			if l == nil || len(z.Serves) > 0 && !slices.Contains(z.Serves, q.Name) {
				continue
			}
			w.counters[z.Name] = append(w.counters[z.Name], q.Name)
			l.served = true
			l.hold = max(l.hold, l.reach+announce(z))
			w.memory = max(w.memory, l.hold)
		}
	}
	return w
}

// Settle is the time after which an interval can no longer change: what the
// scene itself says, or longer where a counter takes longer to notice its
// customer than the queue does.
func Settle(scene floorwatch.Scene) time.Duration {
	longest := ms(scene.Settle())
	for _, l := range NewWaits(scene).queues {
		if l.served {
			longest = max(longest, l.hold)
		}
	}
	return time.Duration(longest) * time.Millisecond
}

func ms(d time.Duration) floorwatch.Time { return floorwatch.Time(d.Milliseconds()) }

// announce returns the longest time from the beginning of a stay in z until it
// is known to be one.
func announce(z floorwatch.Zone) floorwatch.Time {
	return ms(z.MinStay) + max(ms(z.MergeGap), ms(z.Bridge)) + frameGap
}

// Feed takes one record in, in order of At, and returns the waits that are
// certain by it. Other records than stays and gaps do not matter to it.
func (w *Waits) Feed(rec floorwatch.Record) []*floorwatch.Wait {
	switch r := rec.(type) {
	case *zone.Lost:
		if p := w.people[r.Person]; p != nil {
			p.vanish(w, r.Last)
		}
	case *floorwatch.Gap:
		w.gap(r)
	case *floorwatch.Stay:
		p := w.people[r.Person]
		if p == nil {
			p = &walker{serving: make(map[string]bool)}
			w.people[r.Person] = p
		}
		if l := w.queues[r.Zone]; l != nil {
			if r.Exit != nil && !r.ExitSeen {
				w.missing = append(w.missing, missing{r.Zone, *r.Exit})
			}
			return p.queued(l, r)
		}
		if queues := w.counters[r.Zone]; len(queues) > 0 {
			return w.counter(p, queues, r)
		}
	}
	return nil
}

// queued takes in a stay in a queue zone.
func (p *walker) queued(l *queueZone, s *floorwatch.Stay) []*floorwatch.Wait {
	i := slices.IndexFunc(p.joins, func(j *join) bool { return j.stay.ID == s.ID })
	if i < 0 {
		i = len(p.joins)
		p.joins = append(p.joins, &join{stay: s})
	}
	j := p.joins[i]
	j.stay = s
	switch {
	case s.Exit == nil && j.done:
	case s.Exit == nil:
		return p.claim(j)
	case j.done:
		p.joins = slices.Delete(p.joins, i, i+1)
	case !l.served:
		p.joins = slices.Delete(p.joins, i, i+1)
		return []*floorwatch.Wait{verdict(s, s.At, left(s))}
	default:
		j.due = max(s.At, *s.Exit+l.hold)
	}
	return nil
}

func left(s *floorwatch.Stay) string {
	if s.ExitSeen {
		return floorwatch.OutcomeLeft
	}
	return floorwatch.OutcomeUnknown
}

// vanish takes note that somebody was lost: of whom that was on the way to a counter
// it is unknown whether they reached it.
func (p *walker) vanish(w *Waits, last floorwatch.Time) {
	for _, j := range p.joins {
		if s := j.stay; s.Exit != nil && last >= *s.Exit && last <= *s.Exit+w.queues[s.Zone].reach {
			j.vanished = true
		}
	}
}

// claim gives a counter that looked direct to a stay in the queue that had begun
// before it and took longer to be recognised.
func (p *walker) claim(j *join) []*floorwatch.Wait {
	for i, d := range p.direct {
		if d.stay.Enter >= j.stay.Enter {
			p.direct = slices.Delete(p.direct, i, i+1)
			return []*floorwatch.Wait{j.serve(d.stay, j.stay.At)}
		}
	}
	return nil
}

// counter takes in a stay in a service zone.
func (w *Waits) counter(p *walker, queues []string, s *floorwatch.Stay) []*floorwatch.Wait {
	if s.Exit != nil {
		delete(p.serving, s.ID)
		p.served, p.servedEnd = true, *s.Exit
		return nil
	}
	if p.serving[s.ID] {
		return nil // told again, because it was bridged
	}
	p.serving[s.ID] = true
	if j := w.source(p, queues, s.Enter); j != nil {
		return []*floorwatch.Wait{j.serve(s, s.At)}
	}
	first := w.queues[queues[0]]
	if len(p.serving) > 1 || p.served && s.Enter <= p.servedEnd+first.reach || !s.EnterSeen || s.Bridges > 0 {
		return nil // from counter to counter, or from we know not where
	}
	due := s.At
	for _, q := range queues {
		due = max(due, s.Enter+w.queues[q].known)
	}
	p.direct = append(p.direct, direct{s, due})
	return nil
}

// source returns the stay in the queue from which a counter was reached at t:
// the latest that runs or ended within reach.
func (w *Waits) source(p *walker, queues []string, t floorwatch.Time) *join {
	var best *join
	for _, j := range p.joins {
		s := j.stay
		if j.done || s.Enter > t || !slices.Contains(queues, s.Zone) {
			continue
		}
		if s.Exit != nil && t > *s.Exit+w.queues[s.Zone].reach {
			continue
		}
		if best == nil || s.Enter >= best.stay.Enter {
			best = j
		}
	}
	return best
}

// serve ends a wait with the beginning of the service.
func (j *join) serve(service *floorwatch.Stay, at floorwatch.Time) *floorwatch.Wait {
	j.done = true
	wait := verdict(j.stay, at, floorwatch.OutcomeServed)
	end := service.Enter
	wait.End, wait.ServiceZone = &end, service.Zone
	wait.BridgedS = min(wait.BridgedS+service.BridgedS, floorwatch.Seconds(end.Sub(wait.Enter)))
	wait.Bridges += service.Bridges
	wait.ErrorS = math.Hypot(wait.ErrorS, service.ErrorS)
	return wait
}

// verdict returns the wait of a stay in the queue, ended with the stay.
func verdict(s *floorwatch.Stay, at floorwatch.Time, outcome string) *floorwatch.Wait {
	wait := &floorwatch.Wait{
		Header: s.Header, Enter: s.Enter, End: s.Exit, Outcome: outcome, EnterSeen: s.EnterSeen,
		BridgedS: s.BridgedS, Bridges: s.Bridges, ErrorS: s.ErrorS, Origin: s.Origin,
	}
	wait.Kind, wait.At = floorwatch.KindWait, at
	return wait
}

// gap keeps an observation gap for as long as a verdict may depend on it.
func (w *Waits) gap(g *floorwatch.Gap) {
	if g.Of != floorwatch.OfObservation {
		return
	}
	if n := len(w.gaps); n > 0 && w.gaps[n-1].From == g.From {
		w.gaps[n-1] = g
		return
	}
	w.gaps = append(w.gaps, g)
}

// blind tells whether [from, to] was not observed whole.
func (w *Waits) blind(from, to floorwatch.Time) bool {
	return slices.ContainsFunc(w.gaps, func(g *floorwatch.Gap) bool {
		return g.From < to && (g.To == nil || *g.To > from)
	})
}

// Advance returns the waits that are certain at t, ordered by At: who has not
// reached a counter in time has given up, or is unknown where the track was
// lost or the camera did not watch.
func (w *Waits) Advance(t floorwatch.Time) []*floorwatch.Wait {
	out := w.drain(t)
	for id, p := range w.people {
		if len(p.joins) == 0 && len(p.direct) == 0 && len(p.serving) == 0 && (!p.served || p.servedEnd+w.memory < t) {
			delete(w.people, id)
		}
	}
	w.missing = slices.DeleteFunc(w.missing, func(m missing) bool { return m.at+missingFor+w.memory < t })
	w.gaps = slices.DeleteFunc(w.gaps, func(g *floorwatch.Gap) bool { return g.To != nil && *g.To+2*w.memory < t })
	return out
}

func (w *Waits) drain(t floorwatch.Time) []*floorwatch.Wait {
	var out []*floorwatch.Wait
	for _, p := range w.people {
		p.joins = slices.DeleteFunc(p.joins, func(j *join) bool {
			if j.due == 0 || j.due > t {
				return false
			}
			if !j.done {
				out = append(out, verdict(j.stay, j.due, w.outcome(j)))
			}
			return true
		})
		p.direct = slices.DeleteFunc(p.direct, func(d direct) bool {
			if d.due > t {
				return false
			}
			out = append(out, w.walkUp(d.stay, d.due))
			return true
		})
	}
	slices.SortFunc(out, func(a, b *floorwatch.Wait) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// outcome judges somebody who left the queue and reached no counter.
func (w *Waits) outcome(j *join) string {
	s := j.stay
	if !s.ExitSeen || j.vanished || w.blind(*s.Exit, *s.Exit+w.queues[s.Zone].reach) {
		return floorwatch.OutcomeUnknown
	}
	return floorwatch.OutcomeAbandoned
}

// walkUp is the wait of 0 s of somebody who went to the counter directly.
func (w *Waits) walkUp(s *floorwatch.Stay, at floorwatch.Time) *floorwatch.Wait {
	zone := w.counters[s.Zone][0]
	wait := verdict(s, at, floorwatch.OutcomeServed)
	end := s.Enter
	wait.Zone, wait.ServiceZone, wait.End, wait.Direct = zone, s.Zone, &end, true
	wait.ID = zone + strings.TrimPrefix(s.ID, s.Zone)
	if w.reappeared(s) {
		wait.EnterSeen, wait.Direct = false, false
	}
	return wait
}

// reappeared tells whether somebody at a counter may be one who was lost in its
// queue: they came from nowhere, nearer to the counter than reach.
func (w *Waits) reappeared(s *floorwatch.Stay) bool {
	if s.Appeared == 0 {
		return false
	}
	i := slices.IndexFunc(w.missing, func(m missing) bool {
		return m.at <= s.Enter && m.at >= s.Enter-missingFor && s.Appeared >= s.Enter-w.queues[m.zone].reach &&
			s.Appeared >= m.at && slices.Contains(w.counters[s.Zone], m.zone)
	})
	if i < 0 {
		return false
	}
	w.missing = slices.Delete(w.missing, i, i+1)
	return true
}

// Restart says that track ids start anew at t: whoever was on the way to a
// counter is unknown, since nobody can be told to be who they were.
func (w *Waits) Restart(t floorwatch.Time) []*floorwatch.Wait {
	out := w.drain(t)
	for _, p := range w.people {
		for _, j := range p.joins {
			if j.stay.Exit != nil && !j.done {
				end := *j.stay
				end.ExitSeen = false
				j.stay, j.due = &end, t
			}
		}
		for i := range p.direct {
			p.direct[i].due = t
		}
	}
	out = append(out, w.drain(t)...)
	clear(w.people)
	w.missing = nil
	return out
}

// Close returns the waits whose end is not known at t, the end of the input,
// with End nil, after those that are certain.
func (w *Waits) Close(t floorwatch.Time) []*floorwatch.Wait {
	out := w.drain(t)
	for _, p := range w.people {
		for i := range p.direct {
			p.direct[i].due = t
		}
	}
	out = append(out, w.drain(t)...)
	n := len(out)
	for _, p := range w.people {
		for _, j := range p.joins {
			if !j.done {
				wait := verdict(j.stay, t, "")
				wait.End = nil
				out = append(out, wait)
			}
		}
	}
	slices.SortFunc(out[n:], func(a, b *floorwatch.Wait) int {
		return cmp.Or(cmp.Compare(a.Enter, b.Enter), cmp.Compare(a.ID, b.ID))
	})
	clear(w.people)
	return out
}
