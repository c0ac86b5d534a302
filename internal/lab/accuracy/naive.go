package main

import (
	"cmp"
	"slices"
	"time"

	"floorwatch"
	"floorwatch/internal/assign"
	"floorwatch/internal/lab/score"
)

// The naive pipeline, beside which every figure is set: what one has in an
// afternoon. Boxes of a score of at least naiveScore are joined to the track
// whose last box they overlap most, by at least naiveIoU; a track that has not
// been seen for naiveHold is over. A stay is a track's time in a zone
// (score.Naive); a wait is the stay in a queue zone, served if the same track is
// at a counter soon after.
const (
	naiveScore = 0.5
	naiveIoU   = 0.3
	naiveHold  = time.Second
)

// iouTracker follows boxes by overlap alone.
type iouTracker struct {
	tracks []iouTrack
	lastID int64
}

// iouTrack is a track's last box.
type iouTrack struct {
	score.Row
	seen floorwatch.Time
}

// update gives the boxes of a frame their ids.
func (k *iouTracker) update(f floorwatch.Frame) []score.Row {
	var rows []score.Row
	for _, p := range f.People {
		if p.Score >= naiveScore {
			rows = append(rows, row(f, p))
		}
	}
	k.tracks = slices.DeleteFunc(k.tracks, func(t iouTrack) bool { return f.T.Sub(t.seen) > naiveHold })
	match := assign.Heaviest(len(k.tracks), len(rows), func(i, j int) float64 {
		if like := score.IoU(k.tracks[i].Row, rows[j]); like >= naiveIoU {
			return like
		}
		return 0
	})
	found := make([]bool, len(rows))
	for i, j := range match {
		if j >= 0 {
			found[j], rows[j].ID = true, k.tracks[i].ID
			k.tracks[i] = iouTrack{rows[j], f.T}
		}
	}
	for j := range rows {
		if !found[j] {
			k.lastID++
			rows[j].ID = k.lastID
			k.tracks = append(k.tracks, iouTrack{rows[j], f.T})
		}
	}
	return rows
}

// row is a box of a line in MOT terms.
func row(f floorwatch.Frame, p floorwatch.Person) score.Row {
	return score.Row{Frame: int(f.N), ID: p.ID, X: p.X, Y: p.Y, W: p.W, H: p.H, Conf: 1, Class: 1}
}

// rowsOf lists the boxes of lines.
func rowsOf(frames []floorwatch.Frame) (rows []score.Row) {
	for _, f := range frames {
		for _, p := range f.People {
			rows = append(rows, row(f, p))
		}
	}
	return rows
}

// naiveTracks follows the boxes of a film.
func naiveTracks(frames []floorwatch.Frame) (rows []score.Row) {
	var k iouTracker
	for _, f := range frames {
		if f.Event == "" {
			rows = append(rows, k.update(f)...)
		}
	}
	return rows
}

// naiveWaits makes waits of stays: served if the same track is in a service zone
// at most reach seconds after it left the queue, otherwise given up. A stay at a
// counter without one in the queue is a wait of 0 s.
func naiveWaits(visits []score.Visit, scene floorwatch.Scene) []score.Wait {
	role, reach := map[string]floorwatch.Role{}, floorwatch.DefaultReach.Seconds()
	for _, z := range scene.Zones {
		role[z.Name] = z.Role
	}
	byTrack := map[string][]score.Visit{}
	for _, v := range visits {
		byTrack[v.ID] = append(byTrack[v.ID], v)
	}
	var out []score.Wait
	for _, vs := range byTrack {
		slices.SortFunc(vs, func(a, b score.Visit) int { return cmp.Compare(a.Enter, b.Enter) })
		for i, v := range vs {
			switch role[v.Zone] {
			case floorwatch.RoleQueue:
				w := score.Wait{Enter: v.Enter, End: v.Exit, Outcome: floorwatch.OutcomeAbandoned}
				for _, next := range vs[i+1:] {
					if role[next.Zone] == floorwatch.RoleService && next.Enter <= v.Exit+reach {
						w.End, w.Outcome = max(v.Enter, next.Enter), floorwatch.OutcomeServed
						break
					}
				}
				out = append(out, w)
			case floorwatch.RoleService:
				if i == 0 {
					out = append(out, score.Wait{Enter: v.Enter, End: v.Enter, Outcome: floorwatch.OutcomeServed})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b score.Wait) int { return cmp.Or(cmp.Compare(a.Enter, b.Enter), cmp.Compare(a.End, b.End)) })
	return out
}

// withMargin gives the boxes of the HOG detector back the margin of its window,
// which a plain use of OpenCV's detector leaves on: the box of the person is
// 0.525 of the window's width and 0.74 of its height.
func withMargin(frames []floorwatch.Frame) []floorwatch.Frame {
	out := slices.Clone(frames)
	for i := range out {
		out[i].People = slices.Clone(out[i].People)
		for j := range out[i].People {
			p := &out[i].People[j]
			w, h := p.W/0.525, p.H/0.74
			p.X, p.Y, p.W, p.H = p.X-(w-p.W)/2, p.Y-(h-p.H)/2, w, h
		}
	}
	return out
}
