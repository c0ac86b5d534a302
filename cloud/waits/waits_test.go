package waits_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"floorwatch"
	"floorwatch/cloud/waits"
)

func sec(s float64) floorwatch.Time { return floorwatch.Time(s * 1000) }

// wait makes a record, in seconds.
func wait(enter, end float64, outcome string) floorwatch.Wait {
	return floorwatch.Wait{Enter: sec(enter), End: new(sec(end)), Outcome: outcome, EnterSeen: true}
}

const (
	served    = floorwatch.OutcomeServed
	abandoned = floorwatch.OutcomeAbandoned
	unknown   = floorwatch.OutcomeUnknown
)

func equal(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	switch {
	case got == nil && !math.IsNaN(want):
		t.Errorf("%s: nothing, want %v", what, want)
	case got != nil && !(math.Abs(*got-want) < 1e-9):
		t.Errorf("%s: %v, want %v", what, *got, want)
	}
}

var none = math.NaN()

func TestFinish(t *testing.T) {
	direct := wait(150, 150, served)
	direct.Direct = true
	unseen := wait(100, 160, served)
	unseen.EnterSeen = false
	recs := []floorwatch.Wait{
		wait(50, 100, served),      // 50 s, ends with the window's first millisecond
		wait(90, 110, abandoned),   // 20 s
		wait(110, 140, served),     // 30 s
		wait(120, 180, unknown),    // in no duration
		wait(180, 200, served),     // ends when the window has ended
		wait(10, 99.999, served),   // ended before
		wait(130, 190, "left"),     // 60 s
		direct, unseen, {Enter: 1}, // the last one runs
	}
	f := waits.Finish(recs, waits.Window{From: sec(100), To: sec(200)}, waits.One(30))
	if f.Cohort != "finished" || f.Served != 4 || f.Abandoned != 1 || f.Left != 1 || f.Unknown != 1 || f.Direct != 1 || f.Unseen != 1 {
		t.Errorf("%+v", f)
	}
	if f.Waits.N != 5 || f.WithoutDirect.N != 4 || f.ServedWaits.N != 3 || f.AbandonedWaits.N != 1 || *f.Waits.Over != 2 {
		t.Errorf("%+v", f)
	}
	equal(t, "mean", f.Waits.MeanS, 160.0/5)
	equal(t, "mean without direct", f.WithoutDirect.MeanS, 160.0/4)
	equal(t, "median", f.Waits.MedianS, 30)
	equal(t, "p90", f.Waits.P90S, 60)
	equal(t, "over", f.Waits.OverShare, 0.4)
	equal(t, "abandoned after", f.AbandonedWaits.MeanS, 20)
	equal(t, "target", f.TargetS, 30)
	// Each is judged by what was in force when it ended: none before 120, 30 s from
	// then on, 60 s from 170.
	set := func(from float64, s int64) floorwatch.TargetSpan {
		return floorwatch.TargetSpan{From: sec(from), Wait: &floorwatch.SetTarget{Target: floorwatch.Target{WithinS: s}}}
	}
	w, changing := waits.Window{From: sec(100), To: sec(200)}, waits.Targets{set(120, 30), set(170, 60)}
	if f := waits.Finish(recs, w, changing); *f.Waits.Over != 0 || f.TargetS != nil || f.AbandonedWaits.Over != nil {
		t.Errorf("%+v", f)
	}
	changing = append(changing, set(180, 59), floorwatch.TargetSpan{From: sec(195)})
	if f := waits.Finish(recs, w, changing); *f.Waits.Over != 1 || f.Waits.N != 5 {
		t.Errorf("%+v", f)
	} else {
		equal(t, "of those with a target", f.Waits.OverShare, 1.0/3)
	}
	for _, c := range []struct {
		t    waits.Targets
		want float64
	}{{nil, none}, {waits.One(60), 60}, {waits.Targets{set(0, 30), set(200, 60)}, 30}, {waits.Targets{set(0, 30), set(150, 30)}, 30}, {changing, none}} {
		equal(t, "the one target", c.t.Of(w), c.want)
	}
	if f := waits.Finish(recs, w, nil); f.Waits.Over != nil || f.Waits.OverShare != nil || f.TargetS != nil || f.Waits.N != 5 {
		t.Errorf("judged by no target: %+v", f.Waits)
	}
	if nothing := waits.Finish(nil, waits.Window{To: 1}, waits.One(30)); nothing.Waits.MeanS != nil || nothing.Waits.OverShare != nil {
		t.Errorf("figures of nothing: %+v", nothing)
	}
}

// gehan holds the remission times in weeks of the leukaemia trial of Freireich et
// al., Blood 21 (1963), as Gehan, Biometrika 52 (1965) printed them; negative is
// censored.
var (
	gehan6MP     = []float64{6, 6, 6, -6, 7, -9, 10, -10, -11, 13, 16, -17, -19, -20, 22, 23, -25, -32, -32, -34, -35}
	gehanPlacebo = []float64{1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23}
)

func observations(weeks []float64) (obs []waits.Observation) {
	for _, w := range weeks {
		o := waits.Observation{Length: sec(math.Abs(w)), Outcome: served}
		if w < 0 {
			o.Outcome = ""
		}
		obs = append(obs, o)
	}
	return obs
}

// TestKaplanMeier compares with the worked example of the textbooks, such as
// Kleinbaum and Klein, "Survival Analysis", chapter 2: S after 6, 7, 10, 13, 16,
// 22 and 23 weeks, median 23.
func TestKaplanMeier(t *testing.T) {
	c := waits.NewCurve(observations(gehan6MP))
	times := []float64{6, 7, 10, 13, 16, 22, 23}
	want := []float64{0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482}
	if len(c.Times) != len(times) {
		t.Fatalf("falls at %v", c.Times)
	}
	for i := range times {
		if c.Times[i] != sec(times[i]) || math.Abs(c.S[i]-want[i]) > 0.00005 {
			t.Errorf("S(%v) = %v, want %v after %v", c.Times[i], c.S[i], want[i], times[i])
		}
	}
	if c.At(sec(5.999)) != 1 || c.At(sec(6)) != c.S[0] || c.At(sec(21.9)) != c.S[4] || c.At(sec(99)) != c.S[6] {
		t.Error("S between its falls")
	}
	equal(t, "median", c.Quantile(0.5), 23)
	equal(t, "p90", c.Quantile(0.9), none)
	if c.Last != sec(35) || !c.LastCensored {
		t.Errorf("last %v, censored %v", c.Last, c.LastCensored)
	}
	// The area under the steps above, by hand: 6·1 + 1·18/21 + 3·0.806723 + ….
	if m := c.RestrictedMean(c.Last); math.Abs(m-23.2874) > 0.0001 {
		t.Errorf("restricted mean %v", m)
	}
}

func TestWithoutCensoringSurvivalIsPlain(t *testing.T) {
	c := waits.NewCurve(observations(gehanPlacebo))
	if m := c.RestrictedMean(c.Last); math.Abs(m-182.0/21) > 1e-9 || c.LastCensored {
		t.Errorf("mean %v, want 8.6667", m)
	}
	equal(t, "median", c.Quantile(0.5), 8)
	equal(t, "incidence", new(c.Outcomes[served]), 1)
}

// TestCompetingOutcomes is worked by hand: five people; served at 1 of 5 at risk,
// somebody is lost at 2, abandoned at 3 of 3 at risk, served at 4 of 2, and the
// last one still waits at 5. S: 1, 4/5, 8/15, 4/15; served 1/5 + 8/15·1/2,
// abandoned 4/5·1/3.
func TestCompetingOutcomes(t *testing.T) {
	c := waits.NewCurve([]waits.Observation{{5, ""}, {2, ""}, {1, served}, {4, served}, {3, abandoned}})
	equal(t, "served", new(c.Outcomes[served]), 0.2+8.0/30)
	equal(t, "abandoned", new(c.Outcomes[abandoned]), 4.0/15)
	equal(t, "the rest still waits", new(c.At(5)), 4.0/15)
}

// TestIncidencesAddUp: whatever is censored, the incidences and S are the whole.
func TestIncidencesAddUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		obs := make([]waits.Observation, 1+rng.IntN(40))
		for i := range obs {
			obs[i] = waits.Observation{Length: floorwatch.Time(rng.IntN(20)), Outcome: []string{"", served, abandoned}[rng.IntN(3)]}
		}
		c := waits.NewCurve(obs)
		if sum := c.Outcomes[served] + c.Outcomes[abandoned] + c.At(c.Last); math.Abs(sum-1) > 1e-9 {
			t.Fatalf("%v: %v", obs, sum)
		}
		if !slices.IsSortedFunc(c.S, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) {
			t.Fatalf("S rises: %v", c.S)
		}
	}
}

func TestBegin(t *testing.T) {
	w := waits.Window{From: sec(100), To: sec(200)}
	direct := wait(120, 120, served)
	direct.Direct = true
	recs := []floorwatch.Wait{
		wait(99, 150, served),     // joined before
		wait(100, 130, served),    // 30 s
		wait(110, 150, abandoned), // 40 s
		wait(120, 170, unknown),   // at least 50 s
		wait(190, 301, served),    // still ran at 300: at least 110 s
		direct,
	}
	b := waits.Begin(recs, []floorwatch.Time{sec(150), sec(250)}, w, sec(300), waits.One(35))
	if b.N != 6 || b.Ended != 3 || b.Running != 2 || b.Unknown != 1 || b.Direct != 1 || !b.LastCensored {
		t.Fatalf("%+v", b)
	}
	// S: 5/6 from 0 s, 4/6 from 30 s, 3/6 from 40 s; the last one is seen for 150 s.
	equal(t, "restricted mean", b.RestrictedMeanS, (30*5.0+10*4+110*3)/6)
	equal(t, "restricted to", b.RestrictedToS, 150)
	equal(t, "median", b.MedianS, 40)
	equal(t, "p90", b.P90S, none)
	equal(t, "over", b.OverShare, 4.0/6)
	equal(t, "served", new(b.Outcomes[served]), 2.0/6)
	equal(t, "abandoned", new(b.Outcomes[abandoned]), 1.0/6)
	if nobody := waits.Begin(nil, nil, w, sec(300), waits.One(35)); nobody.RestrictedMeanS != nil || nobody.N != 0 {
		t.Errorf("%+v", nobody)
	}
}

func interval(start, n float64, arrived, inside int64) floorwatch.Interval {
	return floorwatch.Interval{Start: sec(start), End: sec(start + n), Arrived: arrived, Inside: inside, Coverage: 1, ObservedS: n}
}

func TestOpenAndRunning(t *testing.T) {
	ivs := []floorwatch.Interval{interval(0, 60, 2, 1), interval(60, 60, 3, 2), interval(120, 60, 1, 2)}
	recs := []floorwatch.Wait{wait(10, 70, served), wait(50, 100, served), wait(61, 90, abandoned), wait(70, 190, served), wait(130, 185, unknown)}
	open := waits.Open(ivs, recs)
	if !slices.Equal(open, []floorwatch.Time{sec(90)}) {
		t.Fatalf("open %v, want the middle of the second minute", open)
	}
	r := waits.RunningAt(sec(180), recs, open)
	if r.N != 3 || !r.Placed {
		t.Errorf("%+v", r)
	}
	equal(t, "longest", r.LongestS, 110)
	// Two records of the second minute were lost: not more run than are inside.
	ivs[2].Inside = 1
	if open := waits.Open(ivs, recs[:2]); len(open) != 1 || open[0] != sec(150) {
		t.Errorf("open %v, want one, the newest", open)
	}
	if waits.Open(nil, recs) != nil || waits.RunningAt(5, nil, nil).LongestS != nil {
		t.Error("something out of nothing")
	}
}

func TestLittlesLaw(t *testing.T) {
	w := waits.Window{From: 0, To: sec(600)}
	a, b := interval(0, 300, 0, 0), interval(300, 300, 0, 0)
	a.PersonS, a.Departed, a.ObservedS = 200, 4, 150
	b.PersonS, b.Departed, b.ObservedS = 100, 2, 300
	l := waits.LittlesLaw([]floorwatch.Interval{a, b, interval(600, 300, 0, 0)}, w, new(40.0))
	equal(t, "wait", l.WaitS, 50)
	equal(t, "disagreement", l.Disagreement, 0.25)
	equal(t, "coverage", &l.Coverage, 0.75)
	for name, l := range map[string]waits.Little{
		"too short":    waits.LittlesLaw([]floorwatch.Interval{a}, waits.Window{To: sec(299)}, nil),
		"nobody left":  waits.LittlesLaw([]floorwatch.Interval{interval(0, 300, 0, 0)}, w, nil),
		"not observed": waits.LittlesLaw(nil, w, nil),
	} {
		if l.WaitS != nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestServe(t *testing.T) {
	stay := func(enter, exit float64, sure bool) floorwatch.Stay {
		return floorwatch.Stay{Enter: sec(enter), Exit: new(sec(exit)), EnterSeen: true, ExitSeen: sure}
	}
	iv := interval(0, 300, 0, 0)
	iv.PersonS = 120
	s := waits.Serve([]floorwatch.Stay{stay(0, 100, true), stay(50, 90, true), stay(200, 250, false), stay(290, 301, true)},
		[]floorwatch.Interval{iv}, waits.Window{To: sec(300)}, 5, 150)
	equal(t, "mean", s.Times.MeanS, 70)
	equal(t, "per hour", s.PerHour, 120)
	if s.Unsure != 1 || s.BusyS != 120 || s.Times.N != 2 {
		t.Errorf("%+v", s)
	}
	if s := waits.Serve(nil, nil, waits.Window{To: 1}, 0, 0); s.PerHour != nil {
		t.Error("a rate without coverage")
	}
}
