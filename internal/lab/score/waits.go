package score

import (
	"math"

	"floorwatch"
)

// Wait is one person's wait, [Enter, End) in seconds, with its outcome.
type Wait struct {
	Enter, End float64
	Outcome    string // one of floorwatch.Outcome…
	Unseen     bool   // its beginning was not seen: it has an outcome but no length
}

// Length is how long it lasted, in seconds.
func (w Wait) Length() float64 { return w.End - w.Enter }

// Waiting is how waits compare with the truth. Waits whose beginning was not seen
// or whose outcome is unknown count in the shares alone. Figures of nothing are NaN; times in seconds.
type Waiting struct {
	Truth, Got                   int // waits of known length
	MeanTruth, MeanGot           float64
	MedianTruth, MedianGot       float64
	P90Truth, P90Got             float64
	AbandonedTruth, AbandonedGot float64 // share of those with a known outcome
	UnknownGot                   float64 // share of all
	Matched                      int     // pairs in time, of those that waited at all
	MAE                          float64 // of matched waits
	Net                          float64 // person-seconds of wait told too many
	Absolute                     float64 // person-seconds told wrong, missed and made up included
}

// Waits compares waits with the truth, whatever their ids.
func Waits(truth, got []Wait) Waiting {
	var w Waiting
	t, g := known(truth), known(got)
	w.Truth, w.Got = len(t), len(g)
	a, b := dwells(t), dwells(g)
	w.MeanTruth, w.MeanGot = Mean(a), Mean(b)
	w.MedianTruth, w.MedianGot = Percentile(a, 50), Percentile(b, 50)
	w.P90Truth, w.P90Got = Percentile(a, 90), Percentile(b, 90)
	w.AbandonedTruth, _ = Shares(truth)
	w.AbandonedGot, w.UnknownGot = Shares(got)
	var wrong []float64
	pairs := pair(t, g, tIoU)
	for i, j := range pairs {
		if j >= 0 {
			wrong = append(wrong, math.Abs(g[j].Dwell()-t[i].Dwell()))
		}
	}
	w.Matched, w.MAE = len(wrong), Mean(wrong)
	w.Net, w.Absolute = total(b)-total(a), total(wrong)+unmatched(t, g, pairs)
	return w
}

// known are the waits whose length is known, as visits.
func known(waits []Wait) (out []Visit) {
	for _, w := range waits {
		if w.Outcome != floorwatch.OutcomeUnknown && !w.Unseen {
			out = append(out, Visit{Enter: w.Enter, Exit: w.End})
		}
	}
	return out
}

// Shares are the waits that were given up, of those with a known outcome, and
// those whose outcome is unknown, of all.
func Shares(waits []Wait) (abandoned, unknown float64) {
	var gone, lost float64
	for _, w := range waits {
		switch w.Outcome {
		case floorwatch.OutcomeAbandoned:
			gone++
		case floorwatch.OutcomeUnknown:
			lost++
		}
	}
	n := float64(len(waits))
	return ratio(gone, n-lost), ratio(lost, n)
}

// Window is what happened in a queue in [Start, Start+length) seconds.
type Window struct {
	Start    float64
	Arrivals int
	Ends     int     // waits that ended in it
	Mean     float64 // of those, seconds; NaN of none
	Queue    float64 // mean number of people waiting
}

// Windows cuts waits into windows of a length in seconds, aligned to 0, from the
// first that somebody joined in to the last in which a wait ended.
func Windows(waits []Wait, length float64) []Window {
	if len(waits) == 0 {
		return nil
	}
	first, last := math.Inf(1), math.Inf(-1)
	for _, w := range waits {
		first, last = min(first, w.Enter), max(last, w.End)
	}
	var out []Window
	for at := math.Floor(first/length) * length; at <= last; at += length {
		w := Window{Start: at}
		var sum float64
		for _, x := range waits {
			if x.Enter >= at && x.Enter < at+length {
				w.Arrivals++
			}
			if x.End >= at && x.End < at+length {
				w.Ends++
				sum += x.Length()
			}
			w.Queue += max(0, min(at+length, x.End)-max(at, x.Enter)) / length
		}
		w.Mean = sum / float64(w.Ends)
		out = append(out, w)
	}
	return out
}
