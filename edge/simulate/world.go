package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
)

// step is the time in seconds between two states of the hall. Truth is told from
// these alone, so that it depends on no frame rate.
const step = 0.1

// How people move: metres, seconds, metres per second.
const (
	walkMean, walkSD   = 1.25, 0.2
	walkMin, walkMax   = 0.7, 1.8
	shuffle            = 0.6  // speed in the line
	shuffleWithin      = 1.5  // of one's place
	joinWithin         = 0.7  // of the tail, outside the zone
	noticeMin          = 0.3  // until one sees that the line has moved
	noticeMax          = 1.2  //
	fidgetEvery        = 25.0 // standing people shift their feet
	fidgetBy           = 0.1  // by up to this
	handover           = 2.0  // a counter's pause between two customers
	lookAround         = 2.0  // how often one considers another line
	beside             = 0.55 // a companion's distance
	arrived            = 0.05 // of a place: there
	heightMean         = 1.68 // of people
	heightSD           = 0.09
	heightMin          = 1.3
	heightMax          = 2.0
	widthMin, widthMax = 0.46, 0.58
)

// doing is what a person is about.
type doing int

const (
	toQueue   doing = iota // on the way to the tail
	inQueue                // in the line
	toCounter              // called, or going there directly
	atCounter              // being served
	leaving
	following // a companion
	browsing
	onDuty // staff
	gone
)

// fate is what became of a customer.
type fate int

const (
	pending fate = iota
	servedFate
	gaveUp
)

type person struct {
	id            int
	doing         doing
	pos, was      point // now and one step ago
	height, width float64
	pace          float64
	route         []point // way points still ahead, before what doing aims at

	queue, counter int // index in the hall, -1: none
	slot           int // place in the line that the person has noticed
	noticeAt       float64
	quitAt         float64 // end of patience
	joinedAt       float64 // the line
	until          float64 // end of service, of a stop
	place          point   // where a browser or staff stands or goes
	stops          int     // still ahead of a browser
	shift          point   // where the feet are beside the place
	shiftAt        float64
	leader         *person
	fate           fate

	seen  sight   // what the picture shows of the person
	truth []visit // one per zone
}

// world is the state of a hall.
type world struct {
	hall     *Hall
	rand     *rand.Rand
	steps    int
	now      float64 // seconds since the start
	people   []*person
	born     int
	queues   []queueState
	counters []counterState
	visitors *clock
	browsers *clock
	truth    *recorder
	tally    Tally
}

type queueState struct {
	*Queue
	zone []point
	line []*person
}

type counterState struct {
	*Counter
	serves   []int
	customer *person
	readyAt  float64
}

// Tally counts customers, without companions, browsers and staff.
type Tally struct{ Arrived, Served, Abandoned, Inside int }

func newWorld(h *Hall, seed uint64, truth *recorder) *world {
	w := &world{
		hall: h, rand: stream(seed, 1), truth: truth,
		visitors: newClock(h.Customers, stream(seed, 2)), browsers: newClock(h.Browsers.Arrivals, stream(seed, 3)),
	}
	for i := range h.Queues {
		w.queues = append(w.queues, queueState{Queue: &h.Queues[i], zone: points(h.Queues[i].Zone)})
	}
	for i := range h.Counters {
		c := counterState{Counter: &h.Counters[i]}
		for j, q := range h.Queues {
			if len(c.Serves) == 0 || slices.Contains(c.Serves, q.Name) {
				c.serves = append(c.serves, j)
			}
		}
		w.counters = append(w.counters, c)
	}
	for _, s := range h.Staff {
		p := w.appear(s.Posts[0].point())
		p.doing, p.place = onDuty, p.pos
	}
	return w
}

func points(spots []Spot) []point {
	out := make([]point, len(spots))
	for i, s := range spots {
		out[i] = s.point()
	}
	return out
}

// appear makes a person at a place.
func (w *world) appear(at point) *person {
	w.born++
	r := w.rand
	p := &person{
		id: w.born, pos: at, was: at, queue: -1, counter: -1,
		height: min(max(heightMean+heightSD*r.NormFloat64(), heightMin), heightMax),
		width:  widthMin + (widthMax-widthMin)*r.Float64(),
		pace:   min(max(walkMean+walkSD*r.NormFloat64(), walkMin), walkMax),
	}
	w.truth.begin(p)
	w.people = append(w.people, p)
	return p
}

// advance plays one step.
func (w *world) advance() {
	w.steps++
	w.now = float64(w.steps) * step
	w.truth.now = w.now
	for _, n := range w.visitors.arrivals(w.now, step) {
		w.enter(n, w.customer)
	}
	for _, n := range w.browsers.arrivals(w.now, step) {
		w.enter(n, w.browser)
	}
	for i := range w.counters {
		w.call(&w.counters[i])
	}
	for _, p := range w.people {
		p.was = p.pos
		w.act(p)
		w.truth.see(p, w.now)
	}
	w.people = slices.DeleteFunc(w.people, func(p *person) bool { return p.doing == gone })
}

// enter lets a group of n in at a random door.
func (w *world) enter(n int, what func(*person)) {
	at := w.hall.Doors[w.rand.IntN(len(w.hall.Doors))].point()
	leader := w.appear(at)
	what(leader)
	for range n - 1 {
		p := w.appear(at)
		p.doing, p.leader = following, leader
		a := w.rand.Float64() * 2 * math.Pi
		p.shift = point{beside * math.Cos(a), beside * math.Sin(a) / 2}
	}
}

// customer sends a person to a free counter, or to the shortest line.
func (w *world) customer(p *person) {
	w.tally.Arrived++
	w.tally.Inside++
	if w.goDirect(p) {
		return
	}
	best := 0
	for i, q := range w.queues {
		if w.manned(i) && (!w.manned(best) || len(q.line) < len(w.queues[best].line)) {
			best = i
		}
	}
	p.doing, p.queue = toQueue, best
	p.route = points(w.queues[best].In)
}

// goDirect reserves a free counter for which nobody queues.
func (w *world) goDirect(p *person) bool {
	for i := range w.counters {
		c := &w.counters[i]
		if c.customer != nil || w.now < c.readyAt || !c.open(w.now) || w.waiting(c) {
			continue
		}
		c.customer = p
		p.doing, p.counter, p.route = toCounter, i, points(c.In)
		return true
	}
	return false
}

func (w *world) waiting(c *counterState) bool {
	return slices.ContainsFunc(c.serves, func(q int) bool { return len(w.queues[q].line) > 0 })
}

// manned tells whether an open counter serves queue q.
func (w *world) manned(q int) bool {
	return slices.ContainsFunc(w.counters, func(c counterState) bool { return c.open(w.now) && slices.Contains(c.serves, q) })
}

func (c *Counter) open(t float64) bool {
	if len(c.Open) == 0 {
		return true
	}
	return slices.ContainsFunc(c.Open, func(h Hours) bool { return t >= h.From.Seconds() && t < h.To.Seconds() })
}

// call fetches the head of the line that has waited longest.
func (w *world) call(c *counterState) {
	if c.customer != nil || w.now < c.readyAt || !c.open(w.now) {
		return
	}
	var first *person
	for _, q := range c.serves {
		if line := w.queues[q].line; len(line) > 0 && (first == nil || line[0].joinedAt < first.joinedAt) {
			first = line[0]
		}
	}
	if first == nil {
		return
	}
	w.stepOut(first)
	first.doing, first.route = toCounter, nil
	first.counter = slices.IndexFunc(w.counters, func(k counterState) bool { return k.Counter == c.Counter })
	c.customer = first
}

// stepOut takes a person out of the line.
func (w *world) stepOut(p *person) {
	q := &w.queues[p.queue]
	q.line = slices.DeleteFunc(q.line, func(o *person) bool { return o == p })
	p.queue = -1
}

// act lets a person do what is due and move.
func (w *world) act(p *person) {
	switch p.doing {
	case toQueue:
		w.approach(p)
	case inQueue:
		w.wait(p)
	case toCounter:
		c := &w.counters[p.counter]
		if w.walk(p, c.At.point(), p.pace) {
			p.doing, p.until = atCounter, w.now+w.serviceTime(c)
		}
	case atCounter:
		c := &w.counters[p.counter]
		w.stand(p, c.At.point())
		if w.now >= p.until {
			c.customer, c.readyAt = nil, w.now+handover
			w.leave(p, c.Out, servedFate)
		}
	case leaving:
		if w.walk(p, p.place, p.pace) {
			p.doing = gone
		}
	case following:
		w.follow(p)
	case browsing:
		w.wander(p)
	case onDuty:
		w.serveDuty(p)
	}
}

func (w *world) serviceTime(c *counterState) float64 {
	s := c.Service
	if s.Mean == 0 {
		s = w.hall.Service
	}
	return s.sample(w.rand)
}

// walk moves along the way points to a place and tells whether it is reached.
func (w *world) walk(p *person, to point, pace float64) bool {
	if len(p.route) > 0 {
		p.pos = towards(p.pos, p.route[0], pace*step)
		if dist(p.pos, p.route[0]) < arrived {
			p.route = p.route[1:]
		}
		return false
	}
	p.pos = towards(p.pos, to, pace*step)
	return dist(p.pos, to) < arrived
}

// stand keeps a person at a place, shifting the feet now and then.
func (w *world) stand(p *person, at point) {
	if w.now >= p.shiftAt {
		p.shift = point{fidgetBy * (2*w.rand.Float64() - 1), fidgetBy * (2*w.rand.Float64() - 1)}
		p.shiftAt = w.now + fidgetEvery*w.rand.ExpFloat64()
	}
	p.pos = towards(p.pos, point{at.x + p.shift.x, at.y + p.shift.y}, shuffle/2*step)
}

// approach walks to the tail; whoever is in the zone or close to the tail has joined.
func (w *world) approach(p *person) {
	q := &w.queues[p.queue]
	tail := along(q.Path, float64(len(q.line))*q.Spacing)
	w.walk(p, tail, p.pace)
	if dist(p.pos, tail) > joinWithin && !within(q.zone, p.pos) {
		return
	}
	p.doing, p.route, p.slot = inQueue, nil, len(q.line)
	p.noticeAt = math.Inf(1)
	p.joinedAt = w.now
	if p.quitAt == 0 { // patience goes on in another line
		p.quitAt = math.Inf(1)
	}
	if w.hall.Patience.Mean > 0 && math.IsInf(p.quitAt, 1) {
		p.quitAt = w.now + w.hall.Patience.sample(w.rand)
	}
	q.line = append(q.line, p)
}

// wait stands in the line, moves up, changes to a shorter one or gives up.
func (w *world) wait(p *person) {
	q := &w.queues[p.queue]
	if w.now >= p.quitAt {
		w.stepOut(p)
		w.leave(p, q.Out, gaveUp)
		return
	}
	i := slices.Index(q.line, p)
	if i != p.slot && math.IsInf(p.noticeAt, 1) {
		p.noticeAt = w.now + noticeMin + (noticeMax-noticeMin)*w.rand.Float64()
	}
	if w.now >= p.noticeAt {
		p.slot, p.noticeAt = i, math.Inf(1)
	}
	place := along(q.Path, float64(p.slot)*q.Spacing)
	switch d := dist(p.pos, place); {
	case d > shuffleWithin:
		w.walk(p, place, p.pace)
	case d > 2*fidgetBy:
		w.walk(p, place, shuffle)
	default:
		w.stand(p, place)
	}
	w.jockey(p, i)
}

// jockey changes to the tail of a line that is shorter by the hall's measure.
func (w *world) jockey(p *person, i int) {
	if w.hall.Jockey == 0 || len(w.queues) < 2 || math.Mod(w.now-p.joinedAt+step/2, lookAround) >= step {
		return
	}
	for j, q := range w.queues {
		if j != p.queue && w.manned(j) && len(q.line)+w.hall.Jockey <= i {
			w.stepOut(p)
			p.doing, p.queue, p.route = toQueue, j, nil
			return
		}
	}
}

// leave sends a person to the nearest door.
func (w *world) leave(p *person, out []Spot, f fate) {
	p.doing, p.fate, p.route = leaving, f, points(out)
	from := p.pos
	if len(p.route) > 0 {
		from = p.route[len(p.route)-1]
	}
	p.place = w.hall.Doors[0].point()
	for _, d := range w.hall.Doors[1:] {
		if dist(from, d.point()) < dist(from, p.place) {
			p.place = d.point()
		}
	}
	switch f {
	case servedFate:
		w.tally.Served++
		w.tally.Inside--
	case gaveUp:
		w.tally.Abandoned++
		w.tally.Inside--
	}
}

// follow stays beside the leader and leaves with them.
func (w *world) follow(p *person) {
	l := p.leader
	if l.doing == gone {
		if w.walk(p, l.pos, p.pace) {
			p.doing = gone
		}
		return
	}
	p.pos = towards(p.pos, point{l.pos.x + p.shift.x, l.pos.y + p.shift.y}, p.pace*step)
}

// browser begins a browser's tour.
func (w *world) browser(p *person) {
	p.doing, p.stops = browsing, w.hall.Browsers.Stops
	p.place, p.until, p.route = w.somewhere(), 0, points(w.hall.Browsers.Way)
}

// somewhere returns a random place in the browsers' zone.
func (w *world) somewhere() point {
	zone := points(w.hall.Browsers.Zone)
	low, high := zone[0], zone[0]
	for _, q := range zone {
		low, high = point{min(low.x, q.x), min(low.y, q.y)}, point{max(high.x, q.x), max(high.y, q.y)}
	}
	for range 1000 {
		q := point{low.x + (high.x-low.x)*w.rand.Float64(), low.y + (high.y-low.y)*w.rand.Float64()}
		if within(zone, q) {
			return q
		}
	}
	return zone[0] // of a zone without inside
}

func (w *world) wander(p *person) {
	switch {
	case p.until == 0:
		if w.walk(p, p.place, p.pace*0.7) {
			p.until = w.now + w.hall.Browsers.Stop.sample(w.rand)
		}
	case w.now < p.until:
		w.stand(p, p.place)
	case p.stops > 1:
		p.stops--
		p.place, p.until = w.somewhere(), 0
	default:
		back := slices.Clone(w.hall.Browsers.Way)
		slices.Reverse(back)
		w.leave(p, back, pending)
	}
}

// serveDuty goes from post to post.
func (w *world) serveDuty(p *person) {
	s := &w.hall.Staff[p.id-1] // staff appear first, in the hall's order
	if w.now >= p.until {
		p.stops = (p.stops + 1) % len(s.Posts)
		p.place = s.Posts[p.stops].point()
		p.until = w.now + max(1, s.Stop.sample(w.rand))
	}
	if dist(p.pos, p.place) > 2*fidgetBy {
		w.walk(p, p.place, p.pace)
		return
	}
	w.stand(p, p.place)
}

// along returns the point at a distance from the beginning of a path, which goes
// on straight beyond its end.
func along(path []Spot, d float64) point {
	for i := 1; ; i++ {
		a, b := path[i-1].point(), path[i].point()
		l := dist(a, b)
		if d <= l || i == len(path)-1 {
			return lerp(a, b, d/l)
		}
		d -= l
	}
}

// within tells whether p is in a polygon on the floor.
func within(polygon []point, p point) bool {
	in := false
	for i, a := range polygon {
		b := polygon[(i+1)%len(polygon)]
		if (a.y > p.y) != (b.y > p.y) && p.x < a.x+(p.y-a.y)*(b.x-a.x)/(b.y-a.y) {
			in = !in
		}
	}
	return in
}

// standing tells whether a person stands still: in a line, at a counter, at a shelf.
func (p *person) standing() bool { return p.pos == p.was }
