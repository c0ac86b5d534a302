package main

import (
	"fmt"
	"math"
)

// goal is one line of the headline table: what was to be reached, and what was.
type goal struct {
	Case    string `json:"case"`
	Figure  string `json:"figure"`
	Want    string `json:"to_reach"`
	Got     number `json:"reached"`
	Naive   number `json:"naive"`
	Known   bool   `json:"measured"`
	Reached bool   `json:"ok"`
	unit    unit
}

// goals compares the results with what was to be reached.
func goals(rep *report) (out []goal) {
	out = append(out, rep.visitGoals("nanodet", "hog", 30, 32, 0.03)...)
	recall := rep.find("vtest", loadAll, "nanodet", productName)
	naive := rep.find("vtest", loadAll, "hog", naiveName)
	out = append(out,
		limit("vtest, `nanodet`", "recall of visits", "≥ 0.93", recall, naive, plain, func(r *result) number { return r.Visits.Recall }, atLeast(0.93)),
		limit("vtest, `nanodet`", "precision of visits", "≥ 0.93", recall, naive, plain, func(r *result) number { return r.Visits.Precision }, atLeast(0.93)),
		limit("vtest, `nanodet`", "occupancy MAE, people", "≤ 0.10", recall, naive, plain, func(r *result) number { return r.Visits.OccupancyMAE }, within(0.10)),
	)
	out = append(out, rep.visitGoals("motion", "motion", 29, 33, 0.1)...)
	mot, iou := rep.find(sumName, loadAll, "given", productName, "MOT17"), rep.find(sumName, loadAll, "given", naiveName, "MOT17")
	out = append(out,
		limit("MOT17 first halves, same detections", "IDF1", "≥ 85", mot, iou, percentOf, func(r *result) number { return r.Tracks.IDF1 }, atLeast(0.85)),
		limit("MOT17 first halves, same detections", "HOTA", "≥ 76", mot, iou, percentOf, func(r *result) number { return r.Tracks.HOTA }, atLeast(0.76)),
	)
	for _, class := range loads {
		ours, naive := rep.find(poolName, class, "realistic", productName), rep.find(poolName, class, "realistic", naiveName)
		name := "simulated halls, realistic noise, " + class
		out = append(out,
			limit(name, "mean wait", "within ±2 %", ours, naive, signed, meanBias, within(0.02)),
			limit(name, "p90 of waits", "within ±5 %", ours, naive, signed, func(r *result) number { return r.Waits.P90Bias }, within(0.05)),
			limit(name, "share abandoned", "within ±2 points", ours, naive, points, abandonedOff, within(0.02)),
		)
	}
	harsh, plainHarsh := rep.find(poolName, loadAll, "harsh", productName), rep.find(poolName, loadAll, "harsh", naiveName)
	out = append(out, limit("simulated halls, harsh noise", "mean wait", "within ±5 %", harsh, plainHarsh, signed, meanBias, within(0.05)))
	out = append(out, rep.coverageGoal())
	for _, log := range logCases {
		out = append(out, rep.logGoals(log)...)
	}
	return out
}

// meanBias is the error of the mean wait as the product tells it; a pipeline that
// tells none has that of its plain mean.
func meanBias(r *result) number {
	if r.Waits.EstimateBias.known() {
		return r.Waits.EstimateBias
	}
	return r.Waits.Bias
}

func abandonedOff(r *result) number { return r.Waits.AbandonedGot - r.Waits.AbandonedTruth }

func (rep *report) visitGoals(detector, naiveDetector string, least, most int, bias float64) []goal {
	ours, naive := rep.find("vtest", loadAll, detector, productName), rep.find("vtest", loadAll, naiveDetector, naiveName)
	name := fmt.Sprintf("vtest, `%s`", detector)
	return []goal{
		limit(name, "visits", fmt.Sprintf("%d to %d of 31", least, most), ours, naive, count, func(r *result) number { return number(r.Visits.Got) },
			func(v number) bool { return int(v) >= least && int(v) <= most }),
		limit(name, "mean dwell", fmt.Sprintf("within ±%.0f %%", 100*bias), ours, naive, signed, func(r *result) number { return r.Visits.Bias }, within(bias)),
	}
}

// coverageGoal is of 400 plays; of fewer it is not decided.
func (rep *report) coverageGoal() goal {
	g := goal{
		Case: "simulated halls, harsh noise", Figure: "95 % intervals that hold the mean that people really waited, of 400 fixed seeds", Want: "≥ 368",
		Got: number(math.NaN()), Naive: number(math.NaN()), unit: count,
	}
	if c := rep.Coverage; c != nil && c.Plays == 400 {
		g.Got, g.Known, g.Reached = number(c.Held), true, c.Held >= 368
	}
	return g
}

func (rep *report) logGoals(log string) []goal {
	stays, broken := rep.find(log, loadAll, replayStays, productName), rep.find(log, loadAll, replayBroken, productName)
	naive, lines := rep.find(log, loadAll, replayBroken, naiveName), rep.find(log, loadAll, replayLines, naiveName)
	name := "queue log " + log + ", 5-minute windows"
	identityFree := func(r *result) number { return min(r.Windows.Crossing, r.Windows.Little) }
	mean := func(r *result) number { return r.Windows.Mean }
	broke := limit(name, "error of the realised mean with them", "≤ 5 %", broken, nil, percentOf,
		func(r *result) number { return r.Windows.Realised }, within(0.05))
	if naive != nil {
		broke.Naive = naive.Windows.Mean
	}
	return []goal{
		limit(name, "error of the mean with stays", "exact", stays, lines, percentOf, mean, within(1e-9)),
		limit(name, "error without identity, the better of two ways", "≤ 4 %", stays, nil, percentOf, identityFree, within(0.04)),
		limit(name, "error of the mean with 10 % of the tracks broken", "≤ 5 %", broken, naive, percentOf, mean, within(0.05)),
		broke,
	}
}

// limit makes a goal of a figure; a result that is not there is not measured.
func limit(name, figure, want string, ours, naive *result, u unit, of func(*result) number, ok func(number) bool) goal {
	g := goal{Case: name, Figure: figure, Want: want, Got: number(math.NaN()), Naive: number(math.NaN()), unit: u}
	if naive != nil {
		g.Naive = of(naive)
	}
	if ours != nil {
		g.Got = of(ours)
		g.Known = g.Got.known()
		g.Reached = g.Known && ok(g.Got)
	}
	return g
}

func atLeast(v float64) func(number) bool { return func(n number) bool { return float64(n) >= v } }
func within(v float64) func(number) bool {
	return func(n number) bool { return math.Abs(float64(n)) <= v }
}

// find returns the result of a case, nil where there is none.
func (rep *report) find(name, load, detector, pipeline string, set ...string) *result {
	for i := range rep.Results {
		r := &rep.Results[i]
		if r.Case == name && r.Load == load && r.Detector == detector && r.Pipeline == pipeline && (len(set) == 0 || r.Set == set[0]) {
			return r
		}
	}
	return nil
}
