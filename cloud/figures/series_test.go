package figures

import "testing"

func TestQuantileIsNearestRank(t *testing.T) {
	for _, c := range []struct {
		n    int
		want float64
	}{{1, 1}, {2, 2}, {9, 9}, {10, 9}, {11, 10}, {100, 90}} {
		v := make([]float64, c.n)
		for i := range v {
			v[c.n-1-i] = float64(i + 1)
		}
		if got := Quantile(v, 0.9); *got != c.want {
			t.Errorf("p90 of 1..%d is %v, want %v", c.n, *got, c.want)
		}
	}
	if Quantile(nil, 0.9) != nil {
		t.Error("the quantile of nothing is not a number")
	}
}
