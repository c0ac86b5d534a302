package score

import "math"

// Assign pairs each of n rows with at most one of m columns so that the sum of
// the pairs' weights is greatest, and returns the column of each row, or -1. A
// weight of 0 or less is no pair.
func Assign(n, m int, weight func(i, j int) float64) []int {
	match := make([]int, n)
	for i := range match {
		match[i] = -1
	}
	if n > m {
		for j, i := range Assign(m, n, func(j, i int) float64 { return weight(i, j) }) {
			if i >= 0 {
				match[i] = j
			}
		}
		return match
	}
	for j, i := range hungarian(n, m, func(i, j int) float64 { return -max(weight(i, j), 0) }) {
		if i >= 0 && weight(i, j) > 0 {
			match[i] = j
		}
	}
	return match
}

// hungarian gives every one of n rows one of m >= n columns at least total cost
// and returns the row of each column, or -1. It is the Hungarian method with
// potentials and shortest augmenting paths (Kuhn 1955; Jonker and Volgenant
// 1987).
func hungarian(n, m int, cost func(i, j int) float64) []int {
	owner := make([]int, m)
	for j := range owner {
		owner[j] = -1
	}
	u, v := make([]float64, n), make([]float64, m)
	s := search{dist: make([]float64, m), from: make([]int, m), done: make([]bool, m)}
	for i := range n {
		s.augment(i, cost, u, v, owner)
	}
	return owner
}

// search holds what looking for one path needs.
type search struct {
	dist []float64 // cost of the cheapest path to a column
	from []int     // the column before it, -1 for the start
	done []bool
}

// augment brings one more row in along the cheapest alternating path.
func (s *search) augment(row int, cost func(i, j int) float64, u, v []float64, owner []int) {
	for j := range s.dist {
		s.dist[j], s.from[j], s.done[j] = math.Inf(1), -1, false
	}
	i, last, reached := row, -1, 0.0
	for i >= 0 {
		next, best := -1, math.Inf(1)
		for j := range s.dist {
			if s.done[j] {
				continue
			}
			if d := reached + cost(i, j) - u[i] - v[j]; d < s.dist[j] {
				s.dist[j], s.from[j] = d, last
			}
			if next < 0 || s.dist[j] < best {
				next, best = j, s.dist[j]
			}
		}
		s.done[next], reached, last = true, best, next
		i = owner[next]
	}
	u[row] += reached
	for j, done := range s.done {
		if done && j != last {
			u[owner[j]] += reached - s.dist[j]
			v[j] -= reached - s.dist[j]
		}
	}
	for j := last; ; j = s.from[j] {
		if s.from[j] < 0 {
			owner[j] = row
			return
		}
		owner[j] = owner[s.from[j]]
	}
}
