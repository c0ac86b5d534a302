package outbox

import "slices"

// seqRange is a run of sequence numbers [First, End).
type seqRange struct {
	First uint64 `json:"first"`
	End   uint64 `json:"end"`
}

// ranges is a sorted set of sequence numbers, kept as spans that neither touch
// nor overlap.
type ranges []seqRange

// add takes [first, end) in.
func (r *ranges) add(first, end uint64) {
	if first >= end {
		return
	}
	i, _ := slices.BinarySearchFunc(*r, first, func(s seqRange, v uint64) int {
		if s.End < v {
			return -1
		}
		return 1
	})
	j := i
	for j < len(*r) && (*r)[j].First <= end {
		first = min(first, (*r)[j].First)
		end = max(end, (*r)[j].End)
		j++
	}
	*r = slices.Replace(*r, i, j, seqRange{first, end})
}

// skip returns the first number at or after n that is not in the set.
func (r ranges) skip(n uint64) uint64 {
	for _, s := range r {
		if n < s.First {
			return n
		}
		n = max(n, s.End)
	}
	return n
}

// before returns the start of the first span after n, or end when that is
// nearer: the numbers from n up to there are not in the set.
func (r ranges) before(n, end uint64) uint64 {
	for _, s := range r {
		if s.First >= n {
			return min(s.First, end)
		}
	}
	return end
}

// trim forgets the numbers below n.
func (r *ranges) trim(n uint64) {
	i := 0
	for i < len(*r) && (*r)[i].End <= n {
		i++
	}
	*r = slices.Delete(*r, 0, i)
	if len(*r) > 0 && (*r)[0].First < n {
		(*r)[0].First = n
	}
}

// count returns how many numbers the set holds.
func (r ranges) count() uint64 {
	var n uint64
	for _, s := range r {
		n += s.End - s.First
	}
	return n
}

// holes returns what of [first, end) is not in the set.
func (r ranges) holes(first, end uint64) []seqRange {
	var out []seqRange
	for n := r.skip(first); n < end; {
		e := r.before(n, end)
		out = append(out, seqRange{n, e})
		n = r.skip(e)
	}
	return out
}
