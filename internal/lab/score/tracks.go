package score

import (
	"maps"
	"math"
	"slices"

	"floorwatch/internal/assign"
)

// Match is the overlap (IoU) from which a box is at the place of the truth's;
// the epsilon keeps an overlap of exactly so much on the right side.
const (
	Match   = 0.5
	epsilon = 1e-9
)

// Options say how truth is to be read.
type Options struct {
	// MOT17: rows of the truth carry classes; only class 1 counts, and boxes at
	// the place of a distractor (classes 2, 7, 8, 12) are not scored, as the
	// benchmark has it.
	MOT17       bool
	First, Last int // frames to score, both included; 0: all
}

// moment is one frame: dense ids of truth and result, and their overlaps.
type moment struct {
	truth, got []int
	like       []float64 // len(truth) x len(got)
}

func (m *moment) at(i, j int) float64 { return m.like[i*len(m.got)+j] }

// film is all frames, and how often each id is seen in them.
type film struct {
	moments       []moment
	truth, got    []float64 // boxes of each id
	truthN, gotN  int       // boxes
	truthID, gots map[int64]int
}

// load sorts rows into frames.
func load(truth, got []Row, o Options) *film {
	f := &film{truthID: map[int64]int{}, gots: map[int64]int{}}
	byFrame := map[int]*[2][]Row{}
	for side, rows := range [2][]Row{truth, got} {
		for _, r := range rows {
			if o.First > 0 && r.Frame < o.First || o.Last > 0 && r.Frame > o.Last {
				continue
			}
			if byFrame[r.Frame] == nil {
				byFrame[r.Frame] = new([2][]Row)
			}
			byFrame[r.Frame][side] = append(byFrame[r.Frame][side], r)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(byFrame)) {
		t, g := byFrame[n][0], byFrame[n][1]
		if o.MOT17 {
			g = withoutDistractors(t, g)
		}
		t = slices.DeleteFunc(t, func(r Row) bool { return r.Conf == 0 || o.MOT17 && r.Class != 1 })
		f.add(t, g)
	}
	return f
}

// withoutDistractors drops the boxes that lie best on something that is no
// pedestrian and that the benchmark forgives.
func withoutDistractors(truth, got []Row) []Row {
	match := assign.Heaviest(len(got), len(truth), func(i, j int) float64 { return above(IoU(got[i], truth[j]), Match) })
	kept := got[:0]
	for i, j := range match {
		if j >= 0 {
			switch truth[j].Class {
			case 2, 7, 8, 12:
				continue
			}
		}
		kept = append(kept, got[i])
	}
	return kept
}

// above is like where it reaches limit, else 0.
func above(like, limit float64) float64 {
	if like >= limit-epsilon {
		return like
	}
	return 0
}

func (f *film) add(truth, got []Row) {
	m := moment{truth: dense(f.truthID, &f.truth, truth), got: dense(f.gots, &f.got, got)}
	m.like = make([]float64, 0, len(truth)*len(got))
	for _, t := range truth {
		for _, g := range got {
			m.like = append(m.like, IoU(t, g))
		}
	}
	f.truthN += len(truth)
	f.gotN += len(got)
	f.moments = append(f.moments, m)
}

// dense numbers ids from 0 and counts their boxes.
func dense(ids map[int64]int, boxes *[]float64, rows []Row) []int {
	out := make([]int, len(rows))
	for i, r := range rows {
		id, ok := ids[r.ID]
		if !ok {
			id = len(ids)
			ids[r.ID] = id
			*boxes = append(*boxes, 0)
		}
		(*boxes)[id]++
		out[i] = id
	}
	return out
}

// thresholds is the number of overlaps, 0.05 to 0.95, over which HOTA is a mean.
const thresholds = 19

// Tracking is how tracks compare with the truth. All its fields add up, so that
// the sum of several films is their common score (Add).
type Tracking struct {
	Frames, Truth, Got int // Truth, Got: boxes
	TP, FP, FN, IDSW   int // CLEAR MOT (Bernardin and Stiefelhagen 2008)
	IDTP, IDFP, IDFN   int // identity (Ristani et al. 2016)

	hotaTP, hotaFP, hotaFN, association [thresholds]float64 // HOTA (Luiten et al. 2021)
}

// Tracks compares tracks with the truth.
func Tracks(truth, got []Row, o Options) Tracking {
	f := load(truth, got, o)
	t := Tracking{Frames: len(f.moments), Truth: f.truthN, Got: f.gotN}
	t.clear(f)
	t.identity(f)
	t.hota(f)
	return t
}

// Add takes another film in.
func (t *Tracking) Add(u Tracking) {
	for _, p := range [][2]*int{
		{&t.Frames, &u.Frames},
		{&t.Truth, &u.Truth},
		{&t.Got, &u.Got},
		{&t.TP, &u.TP},
		{&t.FP, &u.FP},
		{&t.FN, &u.FN},
		{&t.IDSW, &u.IDSW},
		{&t.IDTP, &u.IDTP},
		{&t.IDFP, &u.IDFP},
		{&t.IDFN, &u.IDFN},
	} {
		*p[0] += *p[1]
	}
	for k := range thresholds {
		t.hotaTP[k] += u.hotaTP[k]
		t.hotaFP[k] += u.hotaFP[k]
		t.hotaFN[k] += u.hotaFN[k]
		t.association[k] += u.association[k]
	}
}

// clear counts hits and switches. A pair of the frame before stays together
// where it still can; the others are paired at greatest overlap.
func (t *Tracking) clear(f *film) {
	const none, stay = -1, 1000
	last, previous := make([]int, len(f.truth)), make([]int, len(f.truth))
	for i := range last {
		last[i], previous[i] = none, none
	}
	for k := range f.moments {
		m := &f.moments[k]
		hits := 0
		match := assign.Heaviest(len(m.truth), len(m.got), func(i, j int) float64 {
			w := above(m.at(i, j), Match)
			if w > 0 && previous[m.truth[i]] == m.got[j] {
				w += stay
			}
			return w
		})
		for i := range previous {
			previous[i] = none
		}
		for i, j := range match {
			if j < 0 {
				continue
			}
			id, got := m.truth[i], m.got[j]
			if last[id] != none && last[id] != got {
				t.IDSW++
			}
			last[id], previous[id] = got, got
			hits++
		}
		t.TP += hits
		t.FN += len(m.truth) - hits
		t.FP += len(m.got) - hits
	}
}

// identity pairs whole tracks so that most boxes agree.
func (t *Tracking) identity(f *film) {
	common := newTable(f)
	for k := range f.moments {
		m := &f.moments[k]
		for i, a := range m.truth {
			for j, b := range m.got {
				if m.at(i, j) >= Match-epsilon {
					*common.at(a, b)++
				}
			}
		}
	}
	for a, b := range assign.Heaviest(len(f.truth), len(f.got), func(a, b int) float64 { return *common.at(a, b) }) {
		if b >= 0 {
			t.IDTP += int(*common.at(a, b))
		}
	}
	t.IDFN, t.IDFP = f.truthN-t.IDTP, f.gotN-t.IDTP
}

// table holds a number for each pair of ids.
type table struct {
	width int
	v     []float64
}

func newTable(f *film) table { return table{len(f.got), make([]float64, len(f.truth)*len(f.got))} }

func (t table) at(a, b int) *float64 { return &t.v[a*t.width+b] }

// hota pairs boxes by overlap and by how well their whole tracks agree, and
// counts, for each threshold, the pairs and what became of their tracks.
func (t *Tracking) hota(f *film) {
	align := alignment(f)
	var pairs [thresholds]table
	for k := range pairs {
		pairs[k] = newTable(f)
	}
	for k := range f.moments {
		m := &f.moments[k]
		match := assign.Heaviest(len(m.truth), len(m.got), func(i, j int) float64 { return *align.at(m.truth[i], m.got[j]) * m.at(i, j) })
		for k := range thresholds {
			hits := 0
			for i, j := range match {
				if j >= 0 && m.at(i, j) >= threshold(k)-epsilon {
					*pairs[k].at(m.truth[i], m.got[j])++
					hits++
				}
			}
			t.hotaTP[k] += float64(hits)
			t.hotaFN[k] += float64(len(m.truth) - hits)
			t.hotaFP[k] += float64(len(m.got) - hits)
		}
	}
	for k := range pairs {
		for a := range f.truth {
			for b := range f.got {
				if n := *pairs[k].at(a, b); n > 0 {
					t.association[k] += n * n / max(1, f.truth[a]+f.got[b]-n)
				}
			}
		}
	}
}

func threshold(k int) float64 { return 0.05 + 0.05*float64(k) }

// alignment is how well two whole tracks agree: their overlap, shared out among
// all that overlap, over all their boxes.
func alignment(f *film) table {
	sum := newTable(f)
	for k := range f.moments {
		m := &f.moments[k]
		rows, cols := make([]float64, len(m.truth)), make([]float64, len(m.got))
		for i := range m.truth {
			for j := range m.got {
				rows[i] += m.at(i, j)
				cols[j] += m.at(i, j)
			}
		}
		for i, a := range m.truth {
			for j, b := range m.got {
				like := m.at(i, j)
				if whole := rows[i] + cols[j] - like; whole > 1e-12 {
					*sum.at(a, b) += like / whole
				}
			}
		}
	}
	for a := range f.truth {
		for b := range f.got {
			v := sum.at(a, b)
			*v /= max(1e-12, f.truth[a]+f.got[b]-*v)
		}
	}
	return sum
}

// ratio is a/b, and 0 where b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// MOTA is 1 minus the share of errors of all kinds; it can be negative.
func (t Tracking) MOTA() float64 {
	return 1 - float64(t.FN+t.FP+t.IDSW)/float64(max(1, t.Truth))
}

// Recall is the share of the truth's boxes that were found.
func (t Tracking) Recall() float64 { return ratio(float64(t.TP), float64(t.Truth)) }

// Precision is the share of the boxes told that are true.
func (t Tracking) Precision() float64 { return ratio(float64(t.TP), float64(t.TP+t.FP)) }

// IDF1 is the share of boxes with the right identity, over whole tracks.
func (t Tracking) IDF1() float64 {
	return ratio(2*float64(t.IDTP), float64(2*t.IDTP+t.IDFP+t.IDFN))
}

// HOTA is the mean over all overlaps of the geometric mean of detection and
// association.
func (t Tracking) HOTA() float64 {
	var sum float64
	for k := range thresholds {
		detection := t.hotaTP[k] / max(1, t.hotaTP[k]+t.hotaFN[k]+t.hotaFP[k])
		association := t.association[k] / max(1, t.hotaTP[k])
		sum += math.Sqrt(detection * association)
	}
	return sum / thresholds
}

// Boxes is how detections alone compare with the truth.
type Boxes struct{ Truth, Got, Found int }

// Detections pairs boxes frame by frame, whatever their ids, at greatest overlap.
func Detections(truth, got []Row, o Options) Boxes {
	numbered := slices.Clone(got)
	for i := range numbered {
		numbered[i].ID = int64(i)
	}
	f := load(truth, numbered, o)
	b := Boxes{Truth: f.truthN, Got: f.gotN}
	for k := range f.moments {
		m := &f.moments[k]
		for _, j := range assign.Heaviest(len(m.truth), len(m.got), func(i, j int) float64 { return above(m.at(i, j), Match) }) {
			if j >= 0 {
				b.Found++
			}
		}
	}
	return b
}

// Add takes another film in.
func (b *Boxes) Add(c Boxes) {
	b.Truth += c.Truth
	b.Got += c.Got
	b.Found += c.Found
}

// Recall is the share of the truth's boxes that were found.
func (b Boxes) Recall() float64 { return ratio(float64(b.Found), float64(b.Truth)) }

// Precision is the share of the boxes told that are true.
func (b Boxes) Precision() float64 { return ratio(float64(b.Found), float64(b.Got)) }
