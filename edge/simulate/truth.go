package simulate

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"floorwatch"
)

// Truth is what really happened, in the product's own records: stays by the true
// ground point in the projected polygon with the zone's min_stay and merge_gap,
// waits from the queue to the beginning of service. What still ran at the end
// has a nil Exit or End. By Enter.
type Truth struct {
	Stays []floorwatch.Stay
	Waits []floorwatch.Wait
	Tally Tally
}

// visit is where a person is with respect to one zone.
type visit struct {
	in    bool
	enter floorwatch.Time
	seen  bool
}

// span is an unbroken time of one person inside one zone.
type span struct {
	person, zone        int
	enter, exit         floorwatch.Time // exit 0: still inside
	enterSeen, exitSeen bool
}

// recorder notes who is in which zone.
type recorder struct {
	view   *view
	scene  floorwatch.Scene
	rev    string
	camera string
	start  floorwatch.Time
	now    float64
	spans  []span
	inside map[*person]bool
}

func (r *recorder) stamp(t float64) floorwatch.Time {
	return r.start + floorwatch.Time(math.Round(t*1000))
}

// begin takes in somebody who appears.
func (r *recorder) begin(p *person) {
	p.truth = make([]visit, len(r.scene.Zones))
	g := r.view.ground(p.pos)
	for z := range p.truth {
		if contains(r.scene.Zones[z].Polygon, g) {
			p.truth[z] = visit{in: true, enter: r.stamp(r.now)}
			r.inside[p] = true
		}
	}
}

// see takes in where somebody went in the step that ends at t.
func (r *recorder) see(p *person, t float64) {
	if p.doing == gone {
		r.end(p, t)
		return
	}
	if p.pos == p.was {
		return
	}
	g := r.view.ground(p.pos)
	for z := range p.truth {
		v := &p.truth[z]
		if contains(r.scene.Zones[z].Polygon, g) == v.in {
			continue
		}
		at := r.crossing(p, z, t)
		if v.in {
			r.spans = append(r.spans, span{p.id, z, v.enter, at, v.seen, true})
			*v = visit{}
		} else {
			*v = visit{in: true, enter: at, seen: true}
		}
		r.inside[p] = true
	}
}

// crossing returns when, in the step that ends at t, the border was crossed, to
// the millisecond.
func (r *recorder) crossing(p *person, z int, t float64) floorwatch.Time {
	low, high := 0.0, 1.0
	before := p.truth[z].in
	for range 7 {
		mid := (low + high) / 2
		if contains(r.scene.Zones[z].Polygon, r.view.ground(lerp(p.was, p.pos, mid))) == before {
			low = mid
		} else {
			high = mid
		}
	}
	return r.stamp(t - step + step*high)
}

// end takes in that somebody is gone.
func (r *recorder) end(p *person, t float64) {
	for z, v := range p.truth {
		if v.in {
			r.spans = append(r.spans, span{p.id, z, v.enter, r.stamp(t), v.seen, false})
		}
	}
	delete(r.inside, p)
}

// records returns the stays and waits up to now.
func (r *recorder) records() ([]floorwatch.Stay, []floorwatch.Wait) {
	spans := slices.Clone(r.spans)
	for p := range r.inside {
		for z, v := range p.truth {
			if v.in {
				spans = append(spans, span{p.id, z, v.enter, 0, v.seen, false})
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.person, b.person), cmp.Compare(a.zone, b.zone), cmp.Compare(a.enter, b.enter))
	})
	var stays []floorwatch.Stay
	var waits []floorwatch.Wait
	for len(spans) > 0 {
		n := slices.IndexFunc(spans, func(s span) bool { return s.person != spans[0].person })
		if n < 0 {
			n = len(spans)
		}
		own := r.stays(spans[:n])
		stays = append(stays, own...)
		waits = append(waits, r.waits(own)...)
		spans = spans[n:]
	}
	slices.SortStableFunc(stays, func(a, b floorwatch.Stay) int {
		return cmp.Or(cmp.Compare(a.Enter, b.Enter), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.ID, b.ID))
	})
	slices.SortStableFunc(waits, func(a, b floorwatch.Wait) int {
		return cmp.Or(cmp.Compare(a.Enter, b.Enter), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.ID, b.ID))
	})
	return stays, waits
}

// stays joins the breaks of one person's spans and leaves out what is too short.
func (r *recorder) stays(spans []span) []floorwatch.Stay {
	var out []floorwatch.Stay
	for i := 0; i < len(spans); {
		s := spans[i]
		zone := r.scene.Zones[s.zone]
		var merged floorwatch.Time
		for i++; i < len(spans) && s.exit != 0 && spans[i].zone == s.zone && spans[i].enter.Sub(s.exit) <= zone.MergeGap; i++ {
			merged += spans[i].enter - s.exit
			s.exit, s.exitSeen = spans[i].exit, spans[i].exitSeen
		}
		end := s.exit
		if end == 0 {
			end = r.stamp(r.now)
		}
		if end.Sub(s.enter) < zone.MinStay {
			continue
		}
		out = append(out, r.stay(s, end, merged))
	}
	return out
}

func (r *recorder) stay(s span, end, merged floorwatch.Time) floorwatch.Stay {
	name := r.scene.Zones[s.zone].Name
	stay := floorwatch.Stay{
		Header: floorwatch.Header{
			Kind: floorwatch.KindStay, Camera: r.camera, Zone: name, At: end, Rev: r.rev, By: "truth",
			ID: name + "-" + strconv.FormatInt(int64(s.enter), 10) + "-" + strconv.Itoa(s.person),
		},
		Enter: s.enter, EnterSeen: s.enterSeen, ExitSeen: s.exitSeen,
		SeenS: floorwatch.Seconds((end - merged).Sub(s.enter)), MergedS: floorwatch.Seconds(merged.Sub(0)),
		Tracks: []int64{int64(s.person)},
	}
	if s.exit != 0 {
		exit := s.exit
		stay.Exit = &exit
	}
	return stay
}

// waits tells by the words of docs/design.md what became of one person's stays in
// queues: the latest stay that a counter of its queue follows within reach was
// served; other stays in a queue were given up; a counter that none led to was
// reached directly.
func (r *recorder) waits(stays []floorwatch.Stay) []floorwatch.Wait {
	zone := make(map[string]floorwatch.Zone, len(r.scene.Zones))
	for _, z := range r.scene.Zones {
		zone[z.Name] = z
	}
	var counters, queues []floorwatch.Stay
	for _, s := range stays {
		switch zone[s.Zone].Role {
		case floorwatch.RoleQueue:
			queues = append(queues, s)
		case floorwatch.RoleService:
			counters = append(counters, s)
		}
	}
	byEnter := func(a, b floorwatch.Stay) int { return cmp.Compare(a.Enter, b.Enter) }
	slices.SortStableFunc(counters, byEnter)
	slices.SortStableFunc(queues, byEnter)
	var out []floorwatch.Wait
	served := make([]bool, len(queues))
	for i, c := range counters {
		names := r.queuesOf(zone[c.Zone])
		if len(names) == 0 {
			continue
		}
		from := -1
		for j, q := range queues {
			reach := zone[q.Zone].Reach
			if !served[j] && slices.Contains(names, q.Zone) && q.Enter <= c.Enter && (q.Exit == nil || c.Enter <= q.Exit.Add(reach)) {
				from = j
			}
		}
		switch first := zone[names[0]]; {
		case from >= 0:
			served[from] = true
			out = append(out, r.served(queues[from], c))
		case c.EnterSeen && !slices.ContainsFunc(counters[:i], func(o floorwatch.Stay) bool {
			return o.Exit == nil || c.Enter <= o.Exit.Add(first.Reach)
		}):
			out = append(out, r.direct(c, first.Name))
		}
	}
	for j, q := range queues {
		if !served[j] {
			out = append(out, r.unserved(q, zone[q.Zone]))
		}
	}
	return out
}

// queuesOf returns the queue zones that a service zone serves.
func (r *recorder) queuesOf(service floorwatch.Zone) []string {
	var names []string
	for _, z := range r.scene.Zones {
		if z.Role == floorwatch.RoleQueue && (len(service.Serves) == 0 || slices.Contains(service.Serves, z.Name)) {
			names = append(names, z.Name)
		}
	}
	return names
}

func waitOf(s floorwatch.Stay) floorwatch.Wait {
	w := floorwatch.Wait{Header: s.Header, Enter: s.Enter, End: s.Exit, EnterSeen: s.EnterSeen}
	w.Kind = floorwatch.KindWait
	return w
}

func (r *recorder) served(q, c floorwatch.Stay) floorwatch.Wait {
	w := waitOf(q)
	end := c.Enter
	w.End, w.At, w.Outcome, w.ServiceZone = &end, end, floorwatch.OutcomeServed, c.Zone
	return w
}

func (r *recorder) direct(c floorwatch.Stay, queue string) floorwatch.Wait {
	w := waitOf(c)
	end := c.Enter
	w.End, w.At, w.Outcome, w.Direct, w.ServiceZone, w.Zone = &end, end, floorwatch.OutcomeServed, true, c.Zone, queue
	w.ID = queue + "-" + strconv.FormatInt(int64(c.Enter), 10) + "-" + strconv.FormatInt(c.Tracks[0], 10)
	return w
}

// unserved judges a stay in a queue that no counter followed.
func (r *recorder) unserved(q floorwatch.Stay, zone floorwatch.Zone) floorwatch.Wait {
	w := waitOf(q)
	counter := slices.ContainsFunc(r.scene.Zones, func(z floorwatch.Zone) bool {
		return z.Role == floorwatch.RoleService && slices.Contains(r.queuesOf(z), zone.Name)
	})
	switch {
	case q.Exit == nil:
	case counter && q.Exit.Add(zone.Reach) > r.stamp(r.now):
		w.End = nil // a counter may still be reached
	case !q.ExitSeen:
		w.Outcome = floorwatch.OutcomeUnknown
	case counter:
		w.Outcome = floorwatch.OutcomeAbandoned
	default:
		w.Outcome = floorwatch.OutcomeLeft
	}
	return w
}
