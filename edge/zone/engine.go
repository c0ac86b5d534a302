// Package zone turns the tracks of one camera into stays in its zones and
// crossings of its lines, and says when the camera was not watching. It is pure: what comes out is a function of
// the lines that went in, and of nothing else. Start with New, Feed it every
// line of the camera worker, and Close it at the end.
//
// # How a stay is told
//
// A person is where their ground point is. A stay begins with the first frame
// inside the polygon and ends with the first frame outside, so that mean dwell
// has no bias, but only a clear crossing counts: in a band around the border (3 %
// of the person's height wide) people count as being where they were,
// until they leave the band or have been on the other side for min_stay +
// merge_gap. The stay then begins or ends where the border was crossed. Breaks
// up to merge_gap are joined, whether the person stepped out or was out of
// sight; a stay shorter than min_stay is none. Who is out of sight for longer is
// looked for until bridge has passed (bridge.go says how, meet.go how ids are kept
// apart); who is not found has a stay that ends, lost, with the last sighting.
//
// # How a crossing is told
//
// A person crosses a line with the piece of path, from one sighting to the next,
// that passes between its end points; of two lines that meet in a point exactly
// one is crossed there. It counts once the person has come clear of the same band around the line, and
// only what is then left of the crossings to and fro, so that nobody is counted
// for swaying. A track that is lost and found under its number within
// lineMemory crosses in a straight line; one that appears is on the side on
// which it appears, so that a broken track is never counted twice.
//
// # What is promised
//
// Every record is certain when it comes out, within Scene.Settle of the moment
// it speaks of. Its stamp At is the moment at which it became certain by these
// rules. Ticks therefore change when records come out, and nothing else.
package zone

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"floorwatch"
)

// TickLag is how far behind its stamp a tick moves the engine's clock: frames
// that are still in the worker's hands when the agent writes the tick are
// younger than that and are still taken.
const TickLag = 5 * time.Second

// Engine is not safe for use by more than one goroutine.
type Engine struct {
	camera, rev, by string
	areas           []area
	lines           []line
	picture         floorwatch.Size // pixels of the polygons; zero: those of the stream
	stream          floorwatch.Size // pixels of the latest line

	tracks    map[int64]*track // people, by the number of their latest track
	spare     []*track         // forgotten ones, to be used again
	people    int64            // that there were
	newcomers []*newcomer      // of whom it is not decided who they are, by their first sighting
	bridge    floorwatch.Time  // the longest of the zones
	meetings  []meeting        // of people who came close
	present   []*track         // who was seen in the present frame
	now       floorwatch.Time
	begun     bool
	watch     watch
	forget    floorwatch.Time // a track unseen for longer is as good as new
	out       []settled
}

// settled is a record with its place in the order of what comes out.
type settled struct {
	at   floorwatch.Time
	zone int
	id   int64
	rec  floorwatch.Record
}

// New prepares an engine for one camera. It refuses a scene with a zone that
// has no area, a line that has no length, or a name that is not valid or used
// twice.
func New(camera string, scene floorwatch.Scene) (*Engine, error) {
	e := &Engine{camera: camera, picture: scene.Picture, tracks: make(map[int64]*track)}
	names := make(map[string]bool)
	for _, z := range scene.Zones {
		a, err := newArea(z)
		if err != nil {
			return nil, err
		}
		if names[z.Name] {
			return nil, fmt.Errorf("zone %s: the name is used twice", z.Name)
		}
		names[z.Name] = true
		e.areas = append(e.areas, a)
		e.forget = max(e.forget, a.hold)
		e.bridge = max(e.bridge, a.bridge)
	}
	for _, l := range scene.Lines {
		made, err := newLine(l)
		if err != nil {
			return nil, err
		}
		if names[l.Name] {
			return nil, fmt.Errorf("line %s: the name is used twice", l.Name)
		}
		names[l.Name] = true
		e.lines = append(e.lines, made)
		e.forget = max(e.forget, lineMemory)
	}
	e.rev = scene.Rev()
	return e, nil
}

// Now returns the time up to which the engine knows everything: the stamp of
// the latest line, or TickLag before the latest tick.
func (e *Engine) Now() floorwatch.Time { return e.now }

// Feed takes one line in and returns what has become certain by it, ordered by
// At: *floorwatch.Stay, with Exit nil when a stay has just been recognised and
// once more when it is over, *floorwatch.Crossing, and *floorwatch.Gap, with To nil when the gap has
// just been noticed and once more, under the same ID, when it has ended. A line
// whose stamp is not after the lines before it changes nothing and is an error.
func (e *Engine) Feed(f floorwatch.Frame) ([]floorwatch.Record, error) {
	if f.Event == floorwatch.EventTick {
		if t := f.T.Add(-TickLag); e.begun && t > e.now {
			e.advance(t)
		}
		return e.flush(), nil
	}
	if e.begun && f.T < e.now || f.Event == "" && e.watch.seen && f.T <= e.watch.lastFrame {
		return nil, fmt.Errorf("camera line at %d comes after one at %d: stamps must grow", f.T, e.now)
	}
	e.begun = true
	e.advance(f.T)
	if f.W > 0 && f.H > 0 {
		e.stream = floorwatch.Size{Width: f.W, Height: f.H}
	}
	switch f.Event {
	case "":
		e.frame(f)
	case floorwatch.EventOpen:
		e.open(f)
	case floorwatch.EventStall:
		e.dark(f.T, cmp.Or(f.Cause, CauseStall))
	case floorwatch.EventClosed:
		e.dark(f.T, cmp.Or(f.Cause, CauseClosed))
	}
	return e.flush(), nil
}

// Close returns what is left at the end of the input: stays whose person had
// left or was out of sight, which nothing can continue any more, the other stays
// with Exit nil, and a gap without end. The engine is of no use afterwards.
func (e *Engine) Close() []floorwatch.Record {
	if !e.begun {
		return nil
	}
	e.decideAll()
	for _, tr := range e.tracks {
		for z := range tr.visits {
			if v := &tr.visits[z]; v.active && (v.outAt != 0 || tr.absentAt != 0) {
				e.settle(e.now, z, tr)
			} else if v.active && v.qualified {
				e.emit(e.now, z, tr.person, e.stay(e.now, z, tr, tr.lastSeen))
			}
		}
	}
	e.endOfInput()
	return e.flush()
}

// advance moves the clock to t and settles what has become certain by then.
func (e *Engine) advance(t floorwatch.Time) {
	e.now = t
	e.noticeGap(t)
	e.decideDue(t)
	e.settleDue(t)
}

// settleVisits ends what is over for certain at t.
func (e *Engine) settleVisits(tr *track, t floorwatch.Time) (active bool) {
	for z := range tr.visits {
		v := &tr.visits[z]
		if !v.active {
			continue
		}
		if v.outAt == 0 && tr.absentAt == 0 && t == tr.lastSeen {
			active = true // as most of the time
			continue
		}
		if due := v.due(&e.areas[z], tr); due <= t {
			e.settle(max(due, tr.decided), z, tr)
		}
		active = active || v.active
	}
	return active
}

func (e *Engine) settleDue(t floorwatch.Time) {
	for id, tr := range e.tracks {
		active := e.settleVisits(tr, t)
		if t-tr.lastSeen > e.forget && !active {
			e.lose(tr)
			delete(e.tracks, id)
			e.meetings = slices.DeleteFunc(e.meetings, func(m meeting) bool { return m.a == tr || m.b == tr })
			e.spare = append(e.spare, tr)
		}
	}
}

// lostWithin is how long after leaving a queue it matters that somebody is lost,
// and lostNear how near to a counter, in heights.
const (
	lostWithin = floorwatch.Time(60_000)
	lostNear   = 1.5
)

// Lost says of somebody who had left a queue that they were lost near a counter,
// in the midst of the picture, and not found: they may be served there unseen.
//
// It is for queue alone and never published: its header says when it became certain.
type Lost struct {
	floorwatch.Header
	Person int64
	Last   floorwatch.Time // when they were last seen
}

// Span implements floorwatch.Record.
func (l *Lost) Span() (from floorwatch.Time, to *floorwatch.Time) { return l.Last, &l.At }

// Check implements floorwatch.Record.
func (l *Lost) Check() error { return errors.New("that somebody was lost is no record that is stored") }

func (e *Engine) lose(tr *track) {
	if tr.leftAt == 0 || tr.lastSeen-tr.leftAt > lostWithin || tr.edge {
		return
	}
	near := lostNear * tr.height
	if slices.ContainsFunc(e.areas, func(a area) bool {
		return a.role == floorwatch.RoleService && borderDistance(a.polygon, tr.ground) <= near
	}) {
		at := tr.lastSeen + e.forget + 1
		e.emit(at, -1, tr.person, &Lost{floorwatch.Header{At: at}, tr.person, tr.lastSeen})
	}
}

// settle ends a visit; a stay that it was comes out.
func (e *Engine) settle(at floorwatch.Time, z int, tr *track) {
	v := &tr.visits[z]
	if v.qualified {
		s := e.stay(at, z, tr, tr.lastSeen)
		exit := v.end(tr.lastSeen)
		s.Exit, s.ExitSeen = &exit, v.outAt != 0 && v.exitSeen
		if v.outAt == 0 {
			s.ErrorS = round(math.Hypot(s.ErrorS, seconds(e.areas[z].unseen)))
		}
		e.emit(at, z, tr.person, s)
	}
	v.active = false
}

// stay returns the record of a stay whose person was last seen at last.
func (e *Engine) stay(at floorwatch.Time, z int, tr *track, last floorwatch.Time) *floorwatch.Stay {
	v, name := &tr.visits[z], e.areas[z].name
	h := e.header(floorwatch.KindStay, at)
	h.Zone = name
	h.ID = name + "-" + strconv.FormatInt(int64(v.enter), 10) + "-" + strconv.FormatInt(v.id, 10)
	return &floorwatch.Stay{
		Header: h, Enter: v.enter, EnterSeen: v.enterSeen,
		SeenS:    seconds(v.end(last) - v.enter - v.merged - v.bridged),
		MergedS:  seconds(v.merged),
		BridgedS: seconds(v.bridged), Bridges: v.bridges, ErrorS: round(math.Sqrt(v.variance)),
		Tracks: slices.Clone(tr.ids), Origin: floorwatch.Origin{Source: floorwatch.SourceCamera}, Person: tr.person, Appeared: tr.appeared(),
	}
}

// appeared returns when somebody was first seen in the midst of the picture; 0:
// they came in at its edge.
func (tr *track) appeared() floorwatch.Time {
	if tr.inside {
		return tr.born
	}
	return 0
}

func seconds(t floorwatch.Time) float64 { return float64(t) / 1000 }

// round rounds to whole milliseconds, as all times are.
func round(s float64) float64 { return math.Round(s*1000) / 1000 }

func (e *Engine) header(kind string, at floorwatch.Time) floorwatch.Header {
	return floorwatch.Header{Kind: kind, Camera: e.camera, At: at, Rev: e.rev, By: e.by}
}

// frame takes in where people are.
func (e *Engine) frame(f floorwatch.Frame) {
	e.light(f.T)
	if len(e.meetings) > 0 {
		e.unswap(&f)
	}
	var fresh []floorwatch.Person
	seen := 0
	for _, p := range f.People {
		if p.ID <= 0 {
			continue // a detection without a track is nobody yet
		}
		if tr, known := e.tracks[p.ID]; known {
			if tr.lastSeen != f.T { // the same id twice in one frame: the first counts
				s := e.sighting(f.T, p)
				e.see(tr, &s, true, f.T)
				seen++
			}
		} else if len(e.newcomers) == 0 || !e.follow(p.ID, e.sighting(f.T, p)) {
			fresh = append(fresh, p)
		}
	}
	if seen < len(e.tracks) || len(e.newcomers) > 0 {
		e.miss(f.T)
	}
	for _, p := range fresh {
		if e.tracks[p.ID] == nil && !e.follow(p.ID, e.sighting(f.T, p)) {
			e.arrive(p.ID, e.sighting(f.T, p))
		}
	}
	if e.bridge > 0 {
		e.meet(f.T)
	}
	e.settleDue(f.T)
}

// miss notes who is not in the frame at t.
func (e *Engine) miss(t floorwatch.Time) {
	for _, tr := range e.tracks {
		if tr.lastSeen != t && tr.absentAt == 0 {
			tr.absentAt = t
		}
	}
	for _, n := range e.newcomers {
		if n.missed == 0 && n.seen[len(n.seen)-1].at != t {
			n.missed = t
		}
	}
}

// sighting brings a box to the pixels of the polygons.
func (e *Engine) sighting(t floorwatch.Time, p floorwatch.Person) sighting {
	sx, sy := e.scale()
	g := p.Ground()
	w, h := float64(e.stream.Width)-edgeMargin, float64(e.stream.Height)-edgeMargin
	return sighting{
		at: t, ground: floorwatch.Point{X: g.X * sx, Y: g.Y * sy}, height: p.H * sy,
		edge: e.stream.Width > 0 && (p.X <= edgeMargin || p.Y <= edgeMargin || p.X+p.W >= w || p.Y+p.H >= h),
	}
}

// see takes in where somebody was seen, the decision about whom fell at at. Of a
// person who is not known nothing is known before s.
func (e *Engine) see(tr *track, s *sighting, known bool, at floorwatch.Time) {
	if s.missed != 0 && tr.absentAt == 0 {
		tr.absentAt = s.missed
	}
	s.leapt = known && e.leapt(tr, s)
	for z := range e.areas {
		a, v := &e.areas[z], &tr.visits[z]
		if s.found && s.at-tr.lastSeen > a.find && v.active { // not for this zone
			e.settle(at, z, tr)
		}
		in, clear := a.locate(s.ground, s.height)
		if v.sight(a, tr, s, known && (!s.found || s.at-tr.lastSeen <= a.find), in, clear) {
			e.emit(at, z, tr.person, e.stay(at, z, tr, s.at))
		}
	}
	for i := range e.lines {
		if n := tr.passages[i].sight(&e.lines[i], tr.ground, s.ground, s.height, known); n != 0 {
			e.cross(s.at, at, i, tr.ids[len(tr.ids)-1], n > 0)
		}
	}
	tr.move(s, known)
	if e.bridge > 0 && s.at == e.now && !s.found {
		e.present = append(e.present, tr)
	}
}

func (e *Engine) cross(t, at floorwatch.Time, i int, id int64, in bool) {
	name := e.lines[i].name
	h := e.header(floorwatch.KindCrossing, at)
	h.ID = name + "-" + strconv.FormatInt(int64(t), 10) + "-" + strconv.FormatInt(id, 10)
	e.emit(at, len(e.areas)+i, id, &floorwatch.Crossing{Header: h, Line: name, T: t, In: in, Track: id})
}

func (e *Engine) newTrack(id int64) *track {
	var tr *track
	if n := len(e.spare); n > 0 {
		tr, e.spare = e.spare[n-1], e.spare[:n-1]
		clear(tr.visits)
		clear(tr.passages)
	} else {
		tr = &track{visits: make([]visit, len(e.areas)), passages: make([]passage, len(e.lines))}
	}
	e.people++
	*tr = track{id: id, person: e.people, ids: append(tr.ids[:0], id), visits: tr.visits, passages: tr.passages}
	e.tracks[id] = tr
	return tr
}

// scale returns the factors from the stream's pixels to the polygons'.
func (e *Engine) scale() (sx, sy float64) {
	if e.picture.Width <= 0 || e.picture.Height <= 0 || e.stream.Width == 0 {
		return 1, 1
	}
	return float64(e.picture.Width) / float64(e.stream.Width), float64(e.picture.Height) / float64(e.stream.Height)
}

// open begins a new session: nobody can be told to be who they were.
func (e *Engine) open(f floorwatch.Frame) {
	e.decideAll()
	for _, tr := range e.tracks {
		for z := range tr.visits {
			if tr.visits[z].active {
				e.settle(f.T, z, tr)
			}
		}
		e.spare = append(e.spare, tr)
	}
	clear(e.tracks)
	e.meetings, e.present = e.meetings[:0], e.present[:0]
	e.dark(f.T, CauseReopened)
	e.by = f.By
}

func (e *Engine) emit(at floorwatch.Time, zone int, id int64, rec floorwatch.Record) {
	e.out = append(e.out, settled{at, zone, id, rec})
}

// flush returns the records in an order that does not depend on chance: by time,
// gaps first, then by zone, line and track, a stay's beginning before its end.
func (e *Engine) flush() []floorwatch.Record {
	if len(e.out) == 0 {
		return nil
	}
	slices.SortStableFunc(e.out, func(a, b settled) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.zone, b.zone), cmp.Compare(a.id, b.id))
	})
	recs := make([]floorwatch.Record, len(e.out))
	for i, s := range e.out {
		recs[i] = s.rec
	}
	clear(e.out)
	e.out = e.out[:0]
	return recs
}
