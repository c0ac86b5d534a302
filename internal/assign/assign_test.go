package assign

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bruteForce tries every assignment.
func bruteForce(n, m int, price float64, cost func(i, j int) float64) float64 {
	used := make([]bool, m)
	var best func(i int) float64
	best = func(i int) float64 {
		if i == n {
			return 0
		}
		least := price + best(i+1)
		for j := range m {
			if c := cost(i, j); !used[j] && c < price {
				used[j] = true
				least = min(least, c+best(i+1))
				used[j] = false
			}
		}
		return least
	}
	return best(0)
}

func TestAssignIsCheapest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 3000 {
		n, m := 1+r.IntN(6), 1+r.IntN(6)
		costs := make([]float64, n*m)
		for i := range costs {
			costs[i] = float64(r.IntN(12)) / 10 // ties on purpose
		}
		cost := func(i, j int) float64 { return costs[i*m+j] }
		match, sum, seen := Cheapest(n, m, 0.8, cost), 0.0, map[int]bool{}
		for i, j := range match {
			switch {
			case j < 0:
				sum += 0.8
			case seen[j] || cost(i, j) >= 0.8:
				t.Fatalf("round %d: impossible assignment %v of %v", round, match, costs)
			default:
				seen[j] = true
				sum += cost(i, j)
			}
		}
		if want := bruteForce(n, m, 0.8, cost); math.Abs(sum-want) > 1e-9 {
			t.Fatalf("round %d, %d x %d: cost %v, cheapest is %v", round, n, m, sum, want)
		}
	}
}

// TestAssign compares with all permutations.
func TestAssign(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		n, m := 1+rng.IntN(5), 1+rng.IntN(5)
		w := make([]float64, n*m)
		for i := range w {
			w[i] = max(0, rng.Float64()-0.3)
		}
		sum, used := 0.0, map[int]bool{}
		for i, j := range Heaviest(n, m, func(i, j int) float64 { return w[i*m+j] }) {
			if j < 0 {
				continue
			}
			if used[j] || w[i*m+j] == 0 {
				t.Fatalf("column %d is given wrongly", j)
			}
			used[j] = true
			sum += w[i*m+j]
		}
		if best := greatest(w, n, m, 0, 0); math.Abs(sum-best) > 1e-12 {
			t.Fatalf("%d x %d: %v, want %v", n, m, sum, best)
		}
	}
}

func greatest(w []float64, n, m, row int, used uint) (best float64) {
	if row == n {
		return 0
	}
	best = greatest(w, n, m, row+1, used)
	for j := range m {
		if used&(1<<j) == 0 {
			best = max(best, w[row*m+j]+greatest(w, n, m, row+1, used|1<<j))
		}
	}
	return best
}

func TestNothingToAssign(t *testing.T) {
	if got := Heaviest(0, 3, nil); len(got) != 0 {
		t.Errorf("no rows gave %v", got)
	}
	if got := Heaviest(2, 0, nil); !slices.Equal(got, []int{-1, -1}) {
		t.Errorf("no columns gave %v", got)
	}
}
