package main

import (
	"encoding/json"
	"math"

	"floorwatch/internal/lab/score"
)

// The pipelines.
const (
	productName = "floorwatch"
	ownName     = "floorwatch, own tracker"
	naiveName   = "naive"
)

// number is a figure that may be unknown, which is NaN here and null in JSON. It
// carries what the page shows and a little more: figures that differ in the last
// bits between machines are the same.
type number float64

// MarshalJSON rounds to six decimals.
func (n number) MarshalJSON() ([]byte, error) {
	if !n.known() {
		return []byte("null"), nil
	}
	return json.Marshal(math.Round(1e6*float64(n)) / 1e6)
}

func (n number) known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// result is what one pipeline made of one case. Parts that a case does not have
// are absent.
type result struct {
	Set            string         `json:"set"`
	Case           string         `json:"case"`
	Load           string         `json:"load"`
	Detector       string         `json:"detector"` // or what the boxes came from; of halls the noise
	Pipeline       string         `json:"pipeline"`
	HallLoad       string         `json:"hall_load,omitempty"` // of a hall: its class of load
	FramesPerCoreS number         `json:"frames_per_core_s,omitzero"`
	Boxes          *boxesOf       `json:"boxes,omitempty"`
	Tracks         *tracksOf      `json:"tracks,omitempty"`
	Visits         *visitsOf      `json:"visits,omitempty"`
	Waits          *waitsOf       `json:"waits,omitempty"`
	Windows        *windowFigures `json:"windows,omitempty"`

	boxes  score.Boxes
	tracks score.Tracking
}

// boxesOf are figures of detections.
type boxesOf struct {
	Recall    number `json:"recall"`
	Precision number `json:"precision"`
}

func boxFigures(b score.Boxes) *boxesOf {
	return &boxesOf{number(b.Recall()), number(b.Precision())}
}

// tracksOf are figures of tracks.
type tracksOf struct {
	MOTA      number `json:"mota"`
	IDF1      number `json:"idf1"`
	HOTA      number `json:"hota"`
	Recall    number `json:"recall"`
	Precision number `json:"precision"`
	FP        int    `json:"fp"`
	FN        int    `json:"fn"`
	IDSW      int    `json:"idsw"`
}

func trackFigures(t score.Tracking) *tracksOf {
	return &tracksOf{
		number(t.MOTA()), number(t.IDF1()), number(t.HOTA()),
		number(t.Recall()), number(t.Precision()), t.FP, t.FN, t.IDSW,
	}
}

// visitsOf are figures of stays; times in seconds.
type visitsOf struct {
	Truth         int    `json:"truth"`
	Got           int    `json:"got"`
	Recall        number `json:"recall"`
	Precision     number `json:"precision"`
	MeanTruth     number `json:"mean_truth_s"`
	MeanGot       number `json:"mean_got_s"`
	Bias          number `json:"mean_bias"`
	MAE           number `json:"dwell_mae_s"`
	MedianTruth   number `json:"p50_truth_s"`
	MedianGot     number `json:"p50_got_s"`
	P90Truth      number `json:"p90_truth_s"`
	P90Got        number `json:"p90_got_s"`
	OccupancyMAE  number `json:"occupancy_mae"`
	OccupancyBias number `json:"occupancy_bias"`
	Net           number `json:"net_error_s"`
	Absolute      number `json:"sum_absolute_error_s"`
}

func visitFigures(d score.Dwell) *visitsOf {
	return &visitsOf{
		d.Truth, d.Got, number(d.Recall), number(d.Precision), number(d.MeanTruth), number(d.MeanGot), number(d.Bias), number(d.MAE),
		number(d.MedianTruth), number(d.MedianGot), number(d.P90Truth), number(d.P90Got),
		number(d.OccupancyMAE), number(d.OccupancyBias), number(d.Net), number(d.Absolute),
	}
}

// waitsOf are figures of waits; times in seconds.
type waitsOf struct {
	Truth          int    `json:"truth"`
	Got            int    `json:"got"` // of known length
	MeanTruth      number `json:"mean_truth_s"`
	MeanGot        number `json:"mean_got_s"` // of the waits seen whole
	Bias           number `json:"mean_bias"`
	Estimate       number `json:"estimate_s"` // the mean that people really had, as the product tells it
	EstimateLow    number `json:"estimate_low_s"`
	EstimateHigh   number `json:"estimate_high_s"`
	EstimateBias   number `json:"estimate_bias"`
	MedianTruth    number `json:"p50_truth_s"`
	MedianGot      number `json:"p50_got_s"`
	P90Truth       number `json:"p90_truth_s"`
	P90Got         number `json:"p90_got_s"`
	P90Bias        number `json:"p90_bias"`
	AbandonedTruth number `json:"abandoned_truth"`
	AbandonedGot   number `json:"abandoned_got"`
	Unknown        number `json:"unknown"`
	MAE            number `json:"wait_mae_s"`
	Net            number `json:"net_error_s"`
	Absolute       number `json:"sum_absolute_error_s"`
}

func waitFigures(w score.Waiting) *waitsOf {
	none := number(math.NaN())
	return &waitsOf{
		Truth: w.Truth, Got: w.Got, MeanTruth: number(w.MeanTruth), MeanGot: number(w.MeanGot), Bias: number(w.MeanGot/w.MeanTruth - 1),
		Estimate: none, EstimateLow: none, EstimateHigh: none, EstimateBias: none,
		MedianTruth: number(w.MedianTruth), MedianGot: number(w.MedianGot),
		P90Truth: number(w.P90Truth), P90Got: number(w.P90Got), P90Bias: number(w.P90Got/w.P90Truth - 1),
		AbandonedTruth: number(w.AbandonedTruth), AbandonedGot: number(w.AbandonedGot), Unknown: number(w.UnknownGot),
		MAE: number(w.MAE), Net: number(w.Net), Absolute: number(w.Absolute),
	}
}

// withWaits adds the figures of waits, over all and by load.
func (r result) withWaits(truth, got []score.Wait) []result {
	r.Waits = waitFigures(score.Waits(truth, got))
	out := []result{r}
	for _, class := range loads {
		if t := waitsOfLoad(truth, truth, class); len(t) > 0 {
			out = append(out, result{
				Set: r.Set, Case: r.Case, Load: class, Detector: r.Detector, Pipeline: r.Pipeline,
				Waits: waitFigures(score.Waits(t, waitsOfLoad(got, truth, class))),
			})
		}
	}
	return out
}

// windowFigures are mean errors of windows of five minutes, as shares of the mean
// wait.
type windowFigures struct {
	Windows  int    `json:"windows"`
	Mean     number `json:"mean_error"`     // of the plain mean of the waits that ended
	Realised number `json:"realised_error"` // of the mean that people really had
	Crossing number `json:"crossing_error"` // of border crossings paired first in, first out
	Little   number `json:"little_error"`   // of Little's law
}
