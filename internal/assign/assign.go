// Package assign pairs rows with columns, each at most once, so that the pairs
// are the best as a whole.
package assign

import "math"

// Heaviest is Cheapest for weights: the sum of the pairs' weights is greatest,
// and a weight of 0 or less is no pair.
func Heaviest(n, m int, weight func(i, j int) float64) []int {
	return Cheapest(n, m, 0, func(i, j int) float64 { return -weight(i, j) })
}

// Cheapest gives each of n rows at most one of m columns so that the sum of the
// pairs' costs, plus price for every row left alone, is least. A pair that
// costs price or more is never made. It returns the column of each row, or -1.
//
// Rows and columns that could be paired with nothing in common are solved
// apart: people stand in small groups, and the effort grows with the cube of a
// group and not of the crowd.
func Cheapest(n, m int, price float64, cost func(i, j int) float64) []int {
	match := make([]int, n)
	for i := range match {
		match[i] = -1
	}
	group := newGroups(n + m)
	costs := make([]float64, n*m)
	for i := range n {
		for j := range m {
			c := cost(i, j)
			if !(c < price) { // a NaN is no pair either
				c = math.Inf(1)
			} else {
				group.join(i, n+j)
			}
			costs[i*m+j] = c
		}
	}
	rows, cols := group.members(n, m)
	for g, is := range rows {
		js := cols[g]
		for a, b := range solve(len(is), len(js), price, func(a, b int) float64 { return costs[is[a]*m+js[b]] }) {
			if b >= 0 {
				match[is[a]] = js[b]
			}
		}
	}
	return match
}

// groups is a disjoint-set forest.
type groups []int

func newGroups(n int) groups {
	g := make(groups, n)
	for i := range g {
		g[i] = i
	}
	return g
}

func (g groups) root(i int) int {
	for g[i] != i {
		g[i] = g[g[i]]
		i = g[i]
	}
	return i
}

func (g groups) join(i, j int) { g[g.root(i)] = g.root(j) }

// members lists rows and columns of each group that holds both.
func (g groups) members(n, m int) (rows, cols [][]int) {
	index := map[int]int{}
	for j := range m {
		r := g.root(n + j)
		k, ok := index[r]
		if !ok {
			k = len(cols)
			index[r] = k
			cols, rows = append(cols, nil), append(rows, nil)
		}
		cols[k] = append(cols[k], j)
	}
	for i := range n {
		if k, ok := index[g.root(i)]; ok {
			rows[k] = append(rows[k], i)
		}
	}
	return rows, cols
}

// solve is Cheapest for one group: the Hungarian method with potentials and
// shortest augmenting paths (Kuhn 1955, Munkres 1957; in the form of Jonker
// and Volgenant 1987). Row i has a column of its own at the given price, which
// stands for staying alone. Infinite costs are pairs that must not be.
func solve(n, m int, price float64, cost func(i, j int) float64) []int {
	if n == 1 && m == 1 {
		return []int{0} // a group is joined by a pair below the price
	}
	at := func(i, j int) float64 {
		if j < m {
			return cost(i, j)
		}
		if j-m == i {
			return price
		}
		return math.Inf(1)
	}
	width := m + n
	u, v := make([]float64, n), make([]float64, width)
	owner := make([]int, width) // row of each column, -1 none
	for j := range owner {
		owner[j] = -1
	}
	for i := range n {
		augment(i, width, at, u, v, owner)
	}
	match := make([]int, n)
	for i := range match {
		match[i] = -1
	}
	for j, i := range owner[:m] {
		if i >= 0 {
			match[i] = j
		}
	}
	return match
}

// augment brings one more row in along the cheapest alternating path. The
// row's own column makes sure that there is one.
func augment(row, width int, at func(i, j int) float64, u, v []float64, owner []int) {
	dist := make([]float64, width) // cost of the cheapest path to a column
	from := make([]int, width)     // the column before it, -1 for the start
	done := make([]bool, width)
	for j := range dist {
		dist[j], from[j] = math.Inf(1), -1
	}
	i, last, reached := row, -1, 0.0
	for {
		next, best := -1, math.Inf(1)
		for j := range width {
			if done[j] {
				continue
			}
			if d := reached + at(i, j) - u[i] - v[j]; d < dist[j] {
				dist[j], from[j] = d, last
			}
			if dist[j] < best {
				next, best = j, dist[j]
			}
		}
		done[next], reached, last = true, best, next
		if owner[next] < 0 {
			break
		}
		i = owner[next]
	}
	u[row] += reached
	for j := range width {
		if done[j] && j != last {
			u[owner[j]] += reached - dist[j]
			v[j] -= reached - dist[j]
		}
	}
	for j := last; ; {
		p := from[j]
		if p < 0 {
			owner[j] = row
			return
		}
		owner[j] = owner[p]
		j = p
	}
}
