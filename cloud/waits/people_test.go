package waits_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"floorwatch"
	"floorwatch/cloud/waits"
)

// near compares to the digits that are printed in the source.
func near(t *testing.T, what string, got, want, digits float64) {
	t.Helper()
	if math.Abs(got-want) > 0.5*math.Pow(10, -digits)+1e-12 {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestGreenwood compares with the standard errors of the same textbook example
// (Kalbfleisch and Prentice, "The Statistical Analysis of Failure Time Data",
// chapter 1; any package prints them), and the restricted mean with R, survfit
// with print.rmean: 23.29, se 2.83 up to 35 weeks. SAS stops at the last end, 23
// weeks, and prints 17.909 and, with its factor m/(m-1) for m = 7 falls counted
// by their 9 ends, 1.647.
func TestGreenwood(t *testing.T) {
	c := waits.NewCurve(observations(gehan6MP))
	for i, want := range []float64{0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346} {
		near(t, fmt.Sprintf("error of S at fall %d", i), c.ErrorS[i], want, 4)
	}
	near(t, "restricted mean", c.RestrictedMean(sec(35)), 23.29, 2)
	near(t, "its error", c.RestrictedMeanError(sec(35)), 2.83, 2)
	near(t, "mean to the last end", c.RestrictedMean(sec(23)), 17.909, 3)
	near(t, "its error with the factor of SAS", c.RestrictedMeanError(sec(23))*math.Sqrt(9.0/8), 1.647, 3)
	// 0.857^exp(±1.96·0.0764/(0.857·log 0.857)) and so on; R prints 0.620 to 0.952
	// and 0.188 to 0.680 with conf.type = "log-log".
	first, last := c.Interval(sec(6)), c.Interval(sec(40))
	near(t, "low", first.Low, 0.620, 3)
	near(t, "high", first.High, 0.952, 3)
	near(t, "low at the end", last.Low, 0.188, 3)
	near(t, "high at the end", last.High, 0.680, 3)
	if c.Interval(sec(5)) != nil {
		t.Error("an interval before anything ended")
	}
}

// TestAalenJohansen compares with three competing outcomes of 18 people whose
// incidences were computed with R (cmprsk, cuminc) and standard errors with Stata
// (stcompet, which uses the delta method); statsmodels' test of its
// CumIncidenceRight publishes both.
func TestAalenJohansen(t *testing.T) {
	times := []float64{1, 1, 2, 4, 4, 4, 6, 6, 7, 8, 9, 9, 9, 1, 2, 2, 4, 4}
	causes := []string{"a", "a", "a", "b", "b", "b", "c", "c", "c", "", "", "", "", "", "", "", "", ""}
	var obs []waits.Observation
	for i, x := range times {
		obs = append(obs, waits.Observation{Length: sec(x), Outcome: causes[i]})
	}
	c := waits.NewCurve(obs)
	for outcome, want := range map[string][2]float64{"a": {0.17037037, 0.08976251}, "b": {0.20740741, 0.10610391}, "c": {0.26666667, 0.12787781}} {
		near(t, outcome, c.Outcomes[outcome], want[0], 8)
		near(t, "error of "+outcome, c.IncidenceError(outcome, c.Last), want[1], 8)
	}
	near(t, "error of a at 1", c.IncidenceError("a", sec(1)), 0.07407407, 8)
	near(t, "error of c at 6", c.IncidenceError("c", sec(6)), 0.11196147, 8)
	near(t, "error of c before", c.IncidenceError("c", sec(4)), 0, 8)
}

// TestOneOutcomeIsOneMinusS: with a single outcome the incidence is 1 - S, and so
// is its error that of S.
func TestOneOutcomeIsOneMinusS(t *testing.T) {
	c := waits.NewCurve(observations(gehan6MP))
	for i, at := range c.Times {
		near(t, "error", c.IncidenceError(served, at), c.ErrorS[i], 9)
	}
}

func lost(enter, end float64) floorwatch.Wait { return wait(enter, end, unknown) }

// leap marks a wait that begins or ends with a leap over the border.
func leap(w floorwatch.Wait) floorwatch.Wait {
	w.ErrorS = 10
	return w
}

func found(enter, end float64) floorwatch.Wait {
	w := wait(enter, end, served)
	w.EnterSeen = false
	return w
}

var day = waits.Window{To: sec(86400)}

func TestThoseFoundAreThoseLost(t *testing.T) {
	people := waits.NewPeople([]floorwatch.Wait{
		wait(0, 100, served),
		lost(10, 50), lost(20, 60), found(65, 130), found(70, 150), // two of 110 and 140, or of 120 and 130
		lost(200, 220), found(600, 700), // too far apart: two people, partly seen
	}, nil, 0)
	m := people.FinishedIn(waits.Window{To: sec(200)})
	if m.People != 3 || m.Joined != 2 || m.Partly != 0 {
		t.Errorf("%+v", m)
	}
	equal(t, "mean", m.MeanS, 350.0/3)
	// They were out of sight for 5 s and 20 s; of the 20 s and 100 s of the last two
	// (25 + 400)/50 s are missing each.
	m = people.FinishedIn(day)
	if m.People != 5 || m.Partly != 2 {
		t.Errorf("%+v", m)
	}
	equal(t, "mean", m.MeanS, (350+20+100+2*8.5)/5)
	if empty := waits.NewPeople(nil, nil, 0).FinishedIn(day); empty.MeanS != nil || empty.People != 0 {
		t.Errorf("%+v of nobody", empty)
	}
	if m := waits.NewPeople([]floorwatch.Wait{lost(0, 50)}, nil, 0).FinishedIn(day); m.MeanS != nil {
		t.Errorf("%+v of somebody of whom no end is known", m)
	}
}

// TestMistakesOfTracks: a wait that a guess led out of the queue with a passer-by,
// another that a guess led in, and two that swapped numbers; but not those who
// come and go at the same time by chance, nor who was served.
func TestMistakesOfTracks(t *testing.T) {
	guess := func(w floorwatch.Wait) floorwatch.Wait {
		w.Bridges, w.BridgedS = 1, 4
		return w
	}
	mean := func(recs ...floorwatch.Wait) waits.Mean { return waits.NewPeople(recs, nil, 0).FinishedIn(day) }
	for name, c := range map[string]struct {
		recs   []floorwatch.Wait
		people int
	}{
		"guesses":           {[]floorwatch.Wait{guess(wait(0, 100, abandoned)), guess(wait(130, 300, served))}, 1},
		"guesses, too far":  {[]floorwatch.Wait{guess(wait(0, 100, abandoned)), guess(wait(170, 300, served))}, 2},
		"no guess":          {[]floorwatch.Wait{wait(0, 100, abandoned), guess(wait(130, 300, served))}, 2},
		"served":            {[]floorwatch.Wait{guess(wait(0, 100, served)), guess(wait(130, 300, served))}, 2},
		"swap":              {[]floorwatch.Wait{leap(wait(0, 100, abandoned)), leap(wait(100.1, 300, served))}, 1},
		"one after another": {[]floorwatch.Wait{wait(0, 100, served), wait(100.1, 300, served)}, 2},
		"overlap":           {[]floorwatch.Wait{lost(0, 100), found(90, 300)}, 1},
	} {
		if m := mean(c.recs...); m.People != c.people {
			t.Errorf("%s: %d people, want %d", name, m.People, c.people)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var busy []floorwatch.Wait
	for range 400 { // many coincide by chance
		begin := rng.Float64() * 10_000
		busy = append(busy, wait(begin, begin+60+rng.Float64()*200, served))
	}
	if m := mean(busy...); m.Joined > 0 {
		t.Errorf("%d of 400 were joined by chance", m.Joined)
	}
}

func TestErrorsOfRecordsAddUp(t *testing.T) {
	a, b := wait(0, 100, served), wait(0, 200, served)
	a.ErrorS, b.ErrorS = 3, 4
	m := waits.NewPeople([]floorwatch.Wait{a, b}, nil, 0).FinishedIn(day)
	equal(t, "mean", m.MeanS, 150)
	// Each of both is nobody, or two, with the probability of 0.02; borders 0.1 s.
	want := math.Sqrt((9+16+2*0.02*0.98*2500)/4 + 0.01)
	equal(t, "error", m.ErrorS, want)
	near(t, "low", *m.LowS, 150-1.959964*want, 5)
}

func TestWhoStillWaitsIsCensored(t *testing.T) {
	// One of three still waits, for 50 s: of the two who waited longer, 100 and 200,
	// the mean rest is 100.
	m := waits.NewPeople([]floorwatch.Wait{wait(0, 100, served), wait(0, 200, served)}, []floorwatch.Time{sec(150)}, sec(200)).BeganIn(day)
	equal(t, "mean", m.MeanS, (100+200+150)/3.0)
	if m.Running != 1 || m.People != 3 {
		t.Errorf("%+v", m)
	}
}

// measured is a day of waits as a camera would tell them: each with an error of
// its beginning and end, some broken, some without the beginning or the end.
type measured struct {
	recs     []floorwatch.Wait
	realised float64
	plain    float64 // mean of the complete records
}

// measure draws 60 to 180 waits from a lognormal distribution whose level swings
// through the window, and breaks a track at a rate of one in 150 s for 1 to 20 s.
// Three of four breaks are bridged on the spot, with an error; otherwise the
// person is lost, and found when they are seen again, unless they left before.
func measure(rng *rand.Rand) (m measured) {
	n := 60 + rng.IntN(120)
	var sum, plain float64
	var whole int
	for i := range n {
		begin := float64(i)*60 + rng.Float64()*60
		level := 4.6 + 0.5*math.Sin(begin/2000)
		length := math.Exp(level + 0.6*rng.NormFloat64())
		sum += length
		for _, r := range track(rng, begin, begin+length) {
			m.recs = append(m.recs, r)
			if r.EnterSeen && r.Outcome == served {
				whole++
				plain += floorwatch.Seconds(r.End.Sub(r.Enter))
			}
		}
	}
	m.realised, m.plain = sum/float64(n), plain/float64(whole)
	return m
}

// track measures one person who waits from begin to end.
func track(rng *rand.Rand, begin, end float64) (recs []floorwatch.Wait) {
	const sigma = 0.5
	part := floorwatch.Wait{Enter: sec(begin + sigma*rng.NormFloat64()), EnterSeen: true, ErrorS: sigma * math.Sqrt2}
	at := begin
	for {
		if at += rng.ExpFloat64() * 150; at >= end {
			part.End, part.Outcome = new(sec(end+sigma*rng.NormFloat64())), served
			return append(recs, part)
		}
		hidden := 1 + 19*rng.Float64()
		if rng.Float64() < 0.75 && at+hidden < end {
			at += hidden
			continue
		}
		part.End, part.Outcome, part.ErrorS = new(max(part.Enter, sec(at))), unknown, 60
		recs = append(recs, part)
		if at += hidden; at >= end {
			return recs
		}
		part = floorwatch.Wait{Enter: sec(at), ErrorS: sigma * math.Sqrt2}
	}
}

// TestIntervalHoldsTheRealisedMean: the nominal 95 % interval holds the mean that
// these people had in at least 368 of 400 fixed seeds, and the estimate has no
// bias worth mentioning, whereas the plain mean of complete records is too low.
func TestIntervalHoldsTheRealisedMean(t *testing.T) {
	t.Parallel()
	const seeds = 400
	var held int
	var bias, plain, width float64
	for seed := range uint64(seeds) {
		d := measure(rand.New(rand.NewPCG(seed, 7)))
		slices.SortFunc(d.recs, func(a, b floorwatch.Wait) int { return cmp.Compare(*a.End, *b.End) })
		m := waits.NewPeople(d.recs, nil, 0).FinishedIn(day)
		if *m.LowS <= d.realised && d.realised <= *m.HighS {
			held++
		}
		bias += (*m.MeanS/d.realised - 1) / seeds
		plain += (d.plain/d.realised - 1) / seeds
		width += (*m.HighS - *m.LowS) / d.realised / seeds
	}
	t.Logf("held in %d of %d, bias %+.2f %% (plain mean %+.1f %%), width %.1f %%", held, seeds, 100*bias, 100*plain, 100*width)
	if held < 368 || math.Abs(bias) > 0.01 || plain > -0.03 {
		t.Errorf("held in %d of %d, bias %v, plain %v", held, seeds, bias, plain)
	}
}
